"""A rotation that was begun on the controller and that no host knows: the next command ends it, in report and log."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from keyturn.fleet import abandoned, attempts
from keyturn.records import audit, report, rotation_log
from keyturn.steps import fleet, recover
from keyturn.steps import report as reporting
from support import reports
from support.lab import catalogue
from support.steps import take
from unit.test_report_and_log import COMMITTED, HEADER, host

ID, ENVIRONMENT = HEADER["rotation_id"], HEADER["environment"]
NOTHING: dict[str, Any] = {"rotation": {}, "closed": {}}


def begin(folder: Path, **attempt: Any) -> Path:
    """Open the report as a run does that is killed then; return the environment's folder."""
    run = attempts.mine() | {"process": [0, 0], **attempt}
    silent = {"plan": HEADER | {"attempt": run, "sessions": "kept"}, "hosts": {"a": {}, "b": {}}}
    reporting.run(reports.BEGUN | {"folder": str(folder)} | silent, False)
    return folder / ENVIRONMENT


def state(folder: Path) -> tuple[str, list[str]]:
    """The outcome of the report, and the ends in the log."""
    (document,) = report.documents(folder)
    reports.valid(document)
    records = rotation_log.read(folder)
    assert audit.chain(folder, [document], {})["problem"] is None
    return document["outcome"], [one["outcome"] for one in records if one["event"] == "ended"]


def recovered(folder: Path, wish: str, check_mode: bool = False, **hosts: Any) -> dict[str, Any]:
    given = {"wish": wish, "hosts": hosts or {"a": NOTHING, "b": NOTHING}, "secrets": {}, "reports": str(folder)}
    given |= {"rotation_id": ""}
    return recover.run(given, check_mode)


@pytest.mark.parametrize("wish", ["forward", "back"])
def test_both_ways_out_end_it_once(tmp_path: Path, wish: str) -> None:
    folder = begin(tmp_path)
    assert state(folder) == ("interrupted", [])
    dry = recovered(folder, wish, check_mode=True)
    assert (dry["ended"], state(folder)) == ([ID], ("interrupted", []))
    said = recovered(folder, wish)
    assert (said["way"], said["ended"], said["changed"]) == ("none", [ID], True)
    assert said["message"].startswith(f"rotation {ID}: the run was killed before any host knew the rotation")
    assert state(folder) == ("refused", ["killed"])
    assert recovered(folder, wish)["ended"] == []
    assert state(folder) == ("refused", ["killed"])


def test_the_next_rotation_asks_the_hosts_and_ends_it(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    assert abandoned.suspected(folder) == [ID], "the plan must know that the hosts are to be asked"
    next_one = HEADER | {"rotation_id": "20260102T000000Z-0123456789abcdef", "value": "shared", "overrides": {}}
    given = {"plan": next_one, "excluded": {}, "staging": "", "production": False, "typed": [], "folder": str(tmp_path)}
    looked = {name: {"rotation_looked": NOTHING} for name in "ab"}
    fleet.run(given | {"hosts": looked, "max_age_days": 7}, True)
    assert state(folder)[0] == "interrupted"
    fleet.run(given | {"hosts": looked, "max_age_days": 7}, False)
    assert state(folder) == ("refused", ["killed"])
    assert abandoned.suspected(folder) == []


def test_one_of_which_the_log_knows_the_end_already_is_ended_in_its_report(tmp_path: Path) -> None:
    """As the next rotation has left it, which did not ask the hosts."""
    folder = begin(tmp_path)
    rotation_log.end_killed(folder, ID, "another attempt")
    recovered(folder, "back")
    assert state(folder) == ("refused", ["killed"])


def test_one_that_was_killed_before_its_report_is_ended_in_the_log(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    (folder / f"{ID}.json").unlink()
    assert recovered(folder, "back")["ended"] == [ID]
    assert [one["outcome"] for one in rotation_log.read(folder) if one["event"] == "ended"] == ["killed"]
    assert not (folder / f"{ID}.json").exists()


OPEN = {"rotation": host("staged") | {"rotation_id": ID, "secret": "db_key"}, "closed": {}}
CLOSED = {"rotation": {}, "closed": {ID: COMMITTED | {"secret": "db_key", "decision": "commit"}}}


@pytest.mark.parametrize("said", [OPEN, CLOSED])
def test_what_a_host_knows_is_not_ended_here(tmp_path: Path, said: dict[str, Any]) -> None:
    folder = begin(tmp_path)
    assert recovered(folder, "forward", a=NOTHING, b=said)["ended"] == []
    assert state(folder) == ("interrupted", [])


def test_a_host_that_gives_no_answer_may_know_it(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    assert recovered(folder, "back", a=NOTHING)["ended"] == []
    assert state(folder) == ("interrupted", [])


def test_a_host_that_has_known_it_and_was_made_anew_is_no_proof(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    (document,) = report.documents(folder)
    report.write(folder, document | {"hosts": {"a": {"phase": "switching"}, "b": {}}})
    assert recovered(folder, "back")["ended"] == []


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    alive = {name: attempts.mine()[name] for name in ("pid", "process")}
    folder = begin(tmp_path, **alive)
    assert abandoned.suspected(folder) == []
    assert recovered(folder, "forward")["ended"] == []
    assert state(folder) == ("interrupted", [])


def test_of_another_controller_only_a_person_knows(tmp_path: Path) -> None:
    folder = begin(tmp_path, controller="elsewhere")
    assert abandoned.suspected(folder) == []
    assert abandoned.close(folder, {"a": NOTHING, "b": NOTHING}, "status.yml", False) == []
    assert recovered(folder, "back")["ended"] == [ID]


def test_a_run_that_was_taken_for_dead_and_lives_tells_its_own_end(tmp_path: Path) -> None:
    folder = begin(tmp_path, controller="elsewhere")
    recovered(folder, "back")
    document = report.build(HEADER, {"a": COMMITTED, "b": COMMITTED}, "", True)
    assert report.final(folder / f"{ID}.json", document) is None


def test_the_plan_lets_the_hosts_be_asked_only_where_there_is_reason(tmp_path: Path) -> None:
    services = {"backend": {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": "http://x/"}}
    known = {"keyturn_environment": ENVIRONMENT, "keyturn_app_root": "/srv", "keyturn_services": services}
    given = {
        "application": "/nowhere",
        "secrets": {"db_key": catalogue()["db_key"] | {"max_age_days": 90}},
        "secret": "db_key",
        "reason": "x",
        "hosts": {"a": known},
    }
    for begun, reports_dir in itertools.product((False, True), (True, False)):
        folder = begin(tmp_path / "killed") if begun else tmp_path / "none"
        more = {"reports": str(folder)} if reports_dir else {}
        looks = take("plan", given | more)["plan"]["looks"]
        assert looks is (begun and reports_dir)
