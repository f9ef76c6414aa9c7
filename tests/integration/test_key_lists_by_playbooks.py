"""A list of keys through the playbooks: forward while a client writes, and back where a host does not come up on the new key alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support import reports
from support.evidence import Client, lost
from support.lab import KEY, Lab, catalogue

LIST = {"overlap": "key_list", "key_list": {"separator": ",", "grace_seconds": 0}, "switch": "rolling"}
# this Lab is the application of a folder, and what it reads stands in its `.env`
READS_A_LIST = "TRADER_AI_KEY_SEPARATOR=,\n"
FAILS_WITHOUT_A_LIST = 'case "$(sed -n "s/^{key}=//p" .env)" in *,*) ;; *) [ ! -e refuse ] || exit 3 ;; esac\n'


@pytest.fixture
def options(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    chosen = tmp_path / "chosen.yml"
    chosen.write_text(yaml.safe_dump({"keyturn_secrets": {"db_key": catalogue()["db_key"] | LIST | request.param}}))
    lab.stop()
    lab.env.write_text(lab.env.read_text() + READS_A_LIST)
    lab.start()
    return ["-e", f"@{chosen}"]


def hook(lab: Lab, name: str, fails: int) -> str:
    """Write a file of tasks that notes when it ran, and whether the application had a list of keys then; one time it ``fails``."""
    path = lab.folder / f"{name}.yml"
    command = f"echo {name} $(grep -q '^{KEY}=.*,' {lab.env} && echo list || echo alone) >> {lab.folder}/hooks"
    command += f"; [ $(grep -c {name} {lab.folder}/hooks) != {fails} ]"
    path.write_text(yaml.safe_dump([{"name": name, "ansible.builtin.shell": command, "changed_when": True}]))
    return str(path)


@pytest.mark.covering()
@pytest.mark.parametrize(
    "options", [{"value": "shared"}, {"value": "per_host"}], ids=["shared", "per_host"], indirect=True
)
def test_a_list_is_turned_while_a_client_writes(lab: Lab, options: list[str]) -> None:
    old = lab.key()
    with Client(lab) as client:
        done = lab.play("rotate", "-e", "keyturn_secret=db_key", *options)
    assert done.returncode == 0, done.stdout
    assert lab.key() != old and "," not in lab.key()
    assert client.reads["bad"] == 0 and client.written
    assert lost(lab, lab.tokens | client.written) == [], "what was acknowledged is gone"
    report = reports.report(lab)
    (host,) = report["hosts"].values()
    assert {"back_up", "lead", "reencrypt", "drop", "prove"} <= host["times"].keys()
    assert report["outcome"] == "committed"


@pytest.mark.parametrize("options", [{"value": "shared"}], ids=["shared"], indirect=True)
def test_a_host_that_does_not_come_up_on_the_new_key_alone_goes_back_by_itself(lab: Lab, options: list[str]) -> None:
    old, tokens = lab.key(), lab.tokens_read()
    hooks = {f"keyturn_{name}_hook": hook(lab, name, fails) for name, fails in (("drain", 5), ("return", 3))}
    lab.break_start(FAILS_WITHOUT_A_LIST.replace("{key}", KEY))
    (lab.app / "refuse").touch()
    done = lab.play("rotate", "-e", "keyturn_secret=db_key", "-e", json.dumps(hooks), *options)
    assert done.returncode == 2, done.stdout
    seen = (lab.folder / "hooks").read_text().splitlines()
    assert seen[:5] == ["drain alone", "return list", "drain list", "return list", "drain list"]
    # it has the new key alone, comes up on both again, and then not on the old one; the balancer does not do all that it is told
    assert seen[5:] == ["drain alone", "return list", "drain list"], "the way back restarts before everybody's eyes"
    assert (
        "here stays drained until it is back" in done.stdout and "here goes back without being drained" in done.stdout
    )
    # on the old key alone it does not come up either, so that the way back waits for whoever mends it, and every row is readable
    assert reports.report(lab)["outcome"] == "interrupted"
    (lab.app / "refuse").unlink()
    done = lab.play("rollback", *options)
    assert done.returncode == 0, done.stdout
    assert lab.key() == old and lab.tokens_read() == tokens
    assert reports.report(lab)["outcome"] == "rolled_back"
