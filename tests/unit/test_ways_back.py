"""The ways back: what only was staged needs nobody's consent, and an end says what the files hold, not what they should."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values, set_key, unset_key
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.fleet import recovery
from keyturn.host.phases import ask_provider, rollback, stage, turn
from keyturn.host.phases.common import stamp
from keyturn.records import report, report_text
from support import reports
from support.fakes import FakeHuggingFace
from support.faults import Host
from support.lab import KEY, catalogue
from unit.test_report_and_log import HEADER

THIRD, NEW = "hf_" + "3" * 34, "hf_" + "4" * 34
TOKEN = "HF_TOKEN"


@pytest.fixture
def given_out(tmp_path: Path) -> Iterator[tuple[Host, FakeHuggingFace]]:
    """A host whose secret a provider has given out, and the provider, which knows the old value and the new one."""
    with FakeHuggingFace() as fake:
        entry = catalogue()["hf_token"] | {"provider": {"kind": "huggingface", "url": fake.url}}
        made = Host(tmp_path / "host", secret="hf_token", entry=entry)
        fake.valid = {(str(dotenv_values(made.lab.env)[TOKEN]),): "trader:read", (NEW,): "trader:read"}
        yield made, fake
        made.stop()


def put(host: Host, name: str, value: str) -> None:
    set_key(host.lab.env, name, value, quote_mode="never")


def journal(host: Host) -> dict[str, Any]:
    (found,) = host.lab.journals()
    return found


def told(host: Host, failure: str = "another host failed") -> dict[str, Any]:
    return report.build(HEADER, {"here": journal(host)}, failure, ended=True)


# -- an end that is looked at ----------------------------------------------------------------------------------------


def third_value(host: Host) -> None:
    put(host, KEY, Fernet.generate_key().decode())


def new_value_by_hand(host: Host) -> None:
    put(host, KEY, host.new)


def no_value(host: Host) -> None:
    unset_key(host.lab.env, KEY)


def no_file(host: Host) -> None:
    host.lab.env.unlink()


def a_folder(host: Host) -> None:
    host.lab.env.unlink()
    host.lab.env.mkdir()


@pytest.mark.parametrize(
    ("edit", "phase"),
    [
        (third_value, "staged"),
        (third_value, "prepared"),
        (new_value_by_hand, "staged"),
        (no_value, "staged"),
        (no_file, "prepared"),
        (a_folder, "staged"),
    ],
)
def test_the_end_tells_what_the_file_holds_and_keeps_the_value_from_before(
    host: Host, edit: Callable[[Host], None], phase: str
) -> None:
    host.more["backup_retention_days"] = 0
    host.go_to(phase)
    edit(host)
    held = dotenv_values(host.lab.env)[KEY] if host.lab.env.is_file() and edit is not no_value else None
    host.go_back()
    found = journal(host)
    assert (found["phase"], found["outcome"]) == ("closed", "needs_attention")
    assert found["held"] == ({KEY: fingerprint(held)} if held else {})
    assert host.stored_values() == {"previous.json": host.old}, "the only copy of the value that opens the rows is gone"
    document = told(host)
    reports.valid(document)
    assert document["outcome"] == "needs_attention"
    text = report_text.text(document, Path("r.json"))
    assert "(kept)" not in text
    assert (fingerprint(held) if held else str(host.lab.env)) in document["failure"]
    assert str(host.state_file("previous.json")) in document["failure"]


@pytest.mark.parametrize("phase", ["staged", "switched"])
def test_an_end_on_the_old_value_was_seen(host: Host, phase: str) -> None:
    host.go_to(phase)
    host.go_back()
    assert journal(host)["held"] == journal(host)["old"]
    document = told(host, "" if phase == "staged" else "why")
    assert document["outcome"] == "rolled_back"
    assert f"{KEY}: {fingerprint(host.old)} (kept)" in report_text.text(document, Path("r.json"))


def test_an_open_host_is_not_told_to_keep_what_nobody_has_looked_at(host: Host) -> None:
    host.go_to("staged")
    assert "(not switched)" in report_text.text(told(host), Path("r.json"))


def test_a_second_file_counts_as_well(host: Host) -> None:
    (host.lab.app / "second.json").write_text(json.dumps({"key": host.old}))
    consumer = {"format": "json", "path": "second.json", "keys": {KEY: "key"}, "form": "literal"}
    entry = catalogue()["db_key"] | {"max_age_days": 90}
    host.more["entry"] = entry | {"consumers": [*entry["consumers"], consumer]}
    host.go_to("staged")
    (host.lab.app / "second.json").write_text(json.dumps({"key": Fernet.generate_key().decode()}))
    host.go_back()
    assert journal(host)["outcome"] == "needs_attention"
    assert "second.json" in told(host)["failure"]


def test_a_service_that_does_not_start_keeps_nothing_open_that_was_not_switched(host: Host) -> None:
    host.go_to("staged")
    host.stop()
    (host.lab.app / "start.sh").write_text("#!/bin/sh\nexit 7\n")
    host.go_back()
    assert journal(host)["outcome"] == "needs_attention"
    assert "this rotation has switched nothing here" in told(host)["failure"]


# -- what only was staged --------------------------------------------------------------------------------------------


def test_what_only_was_staged_is_discarded_whatever_the_provider_says(given_out: tuple[Host, FakeHuggingFace]) -> None:
    host, fake = given_out
    put(host, TOKEN, THIRD)
    stage.run(host.rotation(), new_values={TOKEN: NEW})
    said = ask_provider.run(host.rotation())
    assert (said["verdict"], said["touched"]) == ("rejected", False)
    host.go_back()
    assert journal(host)["outcome"] == "rolled_back"
    assert journal(host)["held"] == {TOKEN: fingerprint(THIRD)}
    assert fake.violations == []


def test_a_host_that_was_switched_is_not_put_back_on_a_dead_value(given_out: tuple[Host, FakeHuggingFace]) -> None:
    host, fake = given_out
    stage.run(host.rotation(), new_values={TOKEN: NEW})
    turn.run(host.rotation(), "switched")
    fake.valid.pop(next(iter(fake.valid)))
    said = ask_provider.run(host.rotation())
    assert (said["verdict"], said["touched"]) == ("rejected", True)
    with pytest.raises(KeyturnError, match="is rejected at its provider and is not put back"):
        rollback.run(host.rotation(), cause="a test", abandon_commit=False)


def test_what_the_host_holds_is_read_anew_until_it_is_switched(given_out: tuple[Host, FakeHuggingFace]) -> None:
    host, _fake = given_out
    right = str(dotenv_values(host.lab.env)[TOKEN])
    put(host, TOKEN, THIRD)
    stage.run(host.rotation(), new_values={TOKEN: NEW})
    began = journal(host)
    put(host, TOKEN, right)
    again = stage.run(host.rotation())  # as resume.yml does it: nobody brings the new value again
    assert again["changed"]
    assert (journal(host)["old"], journal(host)["new"]) == ({TOKEN: fingerprint(right)}, began["new"])
    assert json.loads(host.state_file("previous.json").read_text()) == {TOKEN: right}
    assert journal(host)["started"] == began["started"]
    assert not stage.run(host.rotation())["changed"]
    turn.run(host.rotation(), "switched")
    assert dotenv_values(host.lab.env)[TOKEN] == NEW


def test_a_new_value_that_stands_there_already_is_no_new_one(given_out: tuple[Host, FakeHuggingFace]) -> None:
    host, _fake = given_out
    stage.run(host.rotation(), new_values={TOKEN: NEW})
    put(host, TOKEN, NEW)
    with pytest.raises(KeyturnError, match="new"):
        stage.run(host.rotation())
    host.go_back()
    assert journal(host)["outcome"] == "needs_attention"


@pytest.mark.parametrize("phase", ["staged", "switching"])
def test_the_advice_fits_what_was_done(host: Host, phase: str) -> None:
    host.go_to("prepared")
    if phase == "switching":
        path = host.state_file("journal.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"phase": "switching", "stopped": stamp()}))
    third_value(host)
    wanted = (
        "keep what stands there, put one of the two back .previous.json"
        if phase == "switching"
        else "is discarded; see that the right one stands"
    )
    with pytest.raises(KeyturnError, match=wanted):
        turn.run(host.rotation(), "switched")


# verdict and whether the switch had begun, None for a host that gave no answer
ANSWERS: list[tuple[list[tuple[str, bool] | None], bool]] = [
    ([("accepted", True)], False),
    ([("rejected", True)], True),
    ([("unknown", True), ("accepted", True)], True),
    ([("rejected", False)], False),
    ([("rejected", False), ("accepted", False)], False),
    # a value of nobody's on a host that was only staged is no reason to keep the others on the new one
    ([("accepted", True), ("rejected", False)], False),
    ([("rejected", True), ("accepted", False)], True),
    # who is away may have been switched
    ([("rejected", False), None], True),
    ([("accepted", False), None], False),
    ([None, None], True),
    ([], True),
]


@pytest.mark.parametrize(("answers", "stays"), ANSWERS)
def test_who_keeps_the_fleet_where_it_is(answers: list[tuple[str, bool] | None], stays: bool) -> None:
    given = [
        {"unreachable": True} if one is None else {"verdict": one[0], "touched": one[1], "rotation": {}}
        for one in answers
    ]
    assert recovery.stays(given) is stays


def test_an_assessment_that_failed_or_was_never_made_is_not_taken_for_consent() -> None:
    fine = {"verdict": "accepted", "touched": False}
    assert recovery.stays([fine, {"failed": True, "msg": "why"}])
    assert not recovery.stays([fine, {}])
