"""Two hosts share a value, and somebody has put another one into the file of one: nothing stays open, and both ways out work."""

from __future__ import annotations

from pathlib import Path

import yaml
from dotenv import dotenv_values, set_key
from keyturn.base.fingerprint import fingerprint
from support import reports
from support.brought import PLAYBOOKS, bench
from support.lab import Lab

TOKEN = "HF_TOKEN"
THIRD = "hf_" + "3" * 34


def join(lab: Lab, other: Lab) -> None:
    """Make ``other`` a second host of the inventory of ``lab``."""
    document = yaml.safe_load((lab.inventory / "hosts.yml").read_text())
    host = yaml.safe_load((other.inventory / "hosts.yml").read_text())["trader_ai"]
    own = ("keyturn_app_root", "keyturn_state_dir", "keyturn_services")
    document["trader_ai"]["hosts"]["there"] = host["hosts"]["here"] | {name: host["vars"][name] for name in own}
    (lab.inventory / "hosts.yml").write_text(yaml.safe_dump(document))


def held(lab: Lab) -> str:
    return fingerprint(str(dotenv_values(lab.env)[TOKEN]))


def test_what_was_staged_is_discarded_whatever_a_provider_says_and_adopt_ends_on_one_value(tmp_path: Path) -> None:
    with bench(tmp_path / "a") as desk:
        here, there = desk.lab, Lab(tmp_path / "b", variables=desk.lab.variables, plaid_url=desk.lab.plaid_url)
        join(here, there)
        there.start()
        try:
            right = held(here)
            set_key(there.env, TOKEN, THIRD, quote_mode="never")
            desk.make("hf_token")
            done = here.play(PLAYBOOKS["hf_token"], **desk.bring("hf_token"))
            assert done.returncode == 2
            report = reports.report(here)
            assert report["outcome"] == "refused", report["failure"]
            assert f"there: {TOKEN} {fingerprint(THIRD)}" in report["failure"]
            phases = [journal["phase"] for lab in (here, there) for journal in lab.journals()]
            assert phases == ["closed", "closed"]
            assert [held(here), held(there)] == [right, fingerprint(THIRD)]

            done = here.play(PLAYBOOKS["hf_token"], "-e", "keyturn_adopt=here", **desk.bring("hf_token"))
            assert done.returncode == 0, done.stdout
            assert held(here) == held(there)
            assert desk.is_new("hf_token")
        finally:
            there.stop()
