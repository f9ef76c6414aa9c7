"""With which outcome a run has done what it promises, and what a report keeps over the attempts to end a rotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.host.journal import PHASES
from keyturn.records import report, report_text
from keyturn.steps import report as reporting
from support import reports
from support.lab import ROOT, catalogue
from unit.test_report_and_log import BACK, COMMITTED, HEADER, OUTCOMES, UNTOUCHED, attempt, host

ENTRY = catalogue()["db_key"] | {"max_age_days": 90}
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
ALL = SCHEMA["properties"]["outcome"]["enum"]
ATTENTION = host("closed", "needs_attention", last="staged", attention="it holds another value", held={})
ENDS = {outcome: (cases[0][0], cases[0][1]) for outcome, cases in OUTCOMES.items()} | {
    "needs_attention": ("why", [ATTENTION]),
    "committed_unproved": ("", [COMMITTED | {"unproved": "why"}]),
}


def table() -> dict[tuple[str, str], int]:
    """The exit codes of docs/recovery.md, by outcome and playbook."""
    lines = (ROOT / "docs/recovery.md").read_text().splitlines()
    head, _, *rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return {(row[0], name): int(code) for row in rows for name, code in zip(head[1:], row[1:], strict=True)}


def wish_of(playbook: Path) -> str:
    """Which end a playbook promises: the one that it names, else the new value."""
    given: dict[str, str] = {}
    for play in yaml.safe_load(playbook.read_text()):
        given |= play.get("vars", {})
    return given.get("rotation_wish", "forward")


def test_every_outcome_of_every_playbook_has_the_exit_code_of_the_table() -> None:
    codes = table()
    assert {outcome for outcome, _ in codes} == set(ALL)
    for (outcome, name), code in codes.items():
        playbooks = sorted((ROOT / "playbooks").glob(name))
        assert playbooks, name
        failure, records = ENDS.get(outcome, ("", [COMMITTED]))
        hosts = {f"host{number}": record for number, record in enumerate(records)}
        excluded = {"gone": "away"} if outcome == "committed_with_exclusions" else {}
        built = report.build(HEADER, hosts | {name: {} for name in excluded}, failure, True, excluded)
        assert built["outcome"] == outcome
        for playbook in playbooks:
            said = report.ending(
                built, wish_of(playbook), failure if outcome != "rolled_back" or name != "rollback.yml" else ""
            )
            assert bool(said) == bool(code), (outcome, playbook.name, said)


def test_the_way_that_the_plays_take_has_no_promise_of_its_own() -> None:
    """What decides over the exit code is the wish that the playbook of the person has, not the way that was possible."""
    for path in (ROOT / "playbooks").glob("_*.yml"):
        assert "rotation_wish:" not in path.read_text()
    tasks = yaml.safe_load((ROOT / "roles/rotation/tasks/report.yml").read_text())
    assert tasks[0]["block"][0]["keyturn_report"]["wish"] == "{{ rotation_wish | default('forward') }}"


@pytest.mark.parametrize("wish", ["forward", "back"])
def test_no_promise_is_kept_by_a_run_that_failed_or_took_too_long(wish: str) -> None:
    end = COMMITTED if wish == "forward" else BACK
    built = report.build(HEADER, {"a": end}, "", True)
    assert report.ending(built, wish, "") == ""
    assert "why" in report.ending(built, wish, "why")
    slow = report.build(HEADER, {"a": end | {"downtime_seconds": 61.0}}, "", True)
    assert "a was down for longer than the budget" in report.ending(slow, wish, "")


# -- what a report keeps -----------------------------------------------------------------------------------------------


def attempts(folder: Path, *runs: tuple[str, dict[str, Any]], **plans: Any) -> dict[str, Any]:
    """Write the begin and the end of each run (its failure, and what its hosts said), as the playbooks do; return the report."""
    common = {
        "folder": str(folder),
        "excluded": {},
        "entry": ENTRY,
        "checklist": [],
        "link": "",
        "by_key": False,
        "wish": "forward",
    }
    for number, (failure, hosts) in enumerate(runs):
        plan = HEADER | {"attempt": attempt(number), "sessions": "kept"} | plans.get(f"run{number}", {})
        silent: dict[str, Any] = {name: {} for name in hosts}
        reporting.run(common | {"plan": dict(plan), "hosts": silent, "failure": "", "ended": False}, False)
        reporting.run(common | {"plan": dict(plan), "hosts": hosts, "failure": failure, "ended": True}, False)
    (document,) = report.documents(folder / HEADER["environment"])
    return reports.valid(document)


def test_causes_are_kept_in_order_and_told(tmp_path: Path) -> None:
    open_one = host("switching")
    document = attempts(
        tmp_path,
        ("b: no disk", {"a": COMMITTED, "b": open_one}),
        ("b: no disk", {"a": COMMITTED, "b": open_one}),
        ("b: no answer", {"a": COMMITTED, "b": open_one}),
        ("", {"a": COMMITTED, "b": BACK}),
    )
    assert document["outcome"] == "committed_in_part"
    assert [one["cause"] for one in document["causes"]] == ["b: no disk", "b: no answer"]
    said = report_text.text(document, Path("r.json"))
    assert said.index("b: no disk") < said.index("b: no answer")
    assert report.ending(document, "forward", "").startswith("committed_in_part: b: no disk; then b: no answer")
    assert report_text.facts(document, "")["failure"] == "b: no disk; then b: no answer"


def test_why_a_rotation_was_begun_is_not_forgotten_by_the_run_that_ends_it(tmp_path: Path) -> None:
    first = {"reason": "incident INC-7", "started": "2026-01-01T00:00:00Z"}
    document = attempts(
        tmp_path,
        ("why", {"a": host("switched")}),
        ("", {"a": COMMITTED}),
        run0=first,
    )
    assert document["reason"] == "incident INC-7"
    assert document["started"] == "2026-01-01T00:00:00Z"


def test_what_a_host_said_last_stays_when_it_says_nothing_more(tmp_path: Path) -> None:
    there = host("switched", old={"V": "kt:0123456789ab"}, new={"V": "kt:ba9876543210"})
    document = attempts(
        tmp_path, ("b: lost", {"a": COMMITTED, "b": there}), ("b cannot be reached", {"a": COMMITTED, "b": {}})
    )
    assert document["hosts"]["b"]["phase"] == "switched"
    assert document["outcome"] == "interrupted"
    assert "either may be in use" in report_text.text(document, Path("r.json"))


def test_who_was_left_out_and_is_not_any_more_has_said_nothing() -> None:
    before = report.build(HEADER, {"a": COMMITTED, "b": {}}, "", True, {"b": "away"})
    built = reports.valid(report.build(HEADER, {"a": COMMITTED, "b": {}}, "", True, before=before))
    assert (built["outcome"], built["hosts"]["b"]) == ("interrupted", {})


def test_a_report_of_before_keeps_its_one_cause() -> None:
    before = {
        "failure": "why",
        "finished": "2026-01-01T00:01:00Z",
        "hosts": {},
        "reason": "scheduled",
        "started": "2026-01-01T00:00:00Z",
    }
    built = report.build(HEADER, {"a": UNTOUCHED}, "", True, before=before)
    assert built["causes"] == [{"at": "2026-01-01T00:01:00Z", "cause": "why"}]
    assert built["outcome"] == "rolled_back", "an old cause is not this run's"


# -- a stop for nothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ("switching", "only when it has stopped"),
        ("switched", "when it runs on it"),
        ("proved", "another one of its batch"),
    ],
)
def test_a_host_that_was_stopped_for_nothing_says_for_how_long_and_why(last: str, why: str) -> None:
    back = host("closed", "rolled_back", last=last, downtime_seconds=3.21)
    built = reports.valid(report.build(HEADER, {"a": back, "b": COMMITTED}, "a: why", True))
    assert list(filter(None, (one.get("late") for one in built["hosts"].values()))) == [built["hosts"]["a"]["late"]]
    told = report.ending(built, "forward", "a: why")
    for said in (told, report_text.text(built, Path("r.json"))):
        assert "down for 3.2 s, and back on the old value" in said
        assert why in said


@pytest.mark.parametrize("record", [UNTOUCHED, COMMITTED, host("switched"), {}])
def test_nothing_is_late_of_a_host_that_was_not_stopped_for_nothing(record: dict[str, Any]) -> None:
    assert "late" not in report.build(HEADER, {"a": record}, "why", True)["hosts"]["a"]


def test_the_phases_behind_the_stop_all_have_their_reason() -> None:
    assert list(report.LATE) == list(PHASES[PHASES.index("switching") : PHASES.index("closed")])
