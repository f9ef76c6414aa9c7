"""The report of a rotation, and the audit trail that is made from it."""

from __future__ import annotations

import html
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn.base import shown
from keyturn.host.journal import PHASES
from keyturn.host.phases import turn
from keyturn.records import lives, report, report_text, rotation_log
from keyturn.steps import report as reporting
from support import reports

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())
HEADER = {
    "rotation_id": "20260101T000000Z-0123456789abcdef",
    "secret": "db_key",
    "title": "Database Encryption Key",
    "variables": ["DATABASE_ENCRYPTION_KEY"],
    "environment": "local",
    "reason": "scheduled",
    "operator": "somebody",
    "downtime_budget_seconds": 60,
    "started": "2026-01-01T00:00:05Z",
}
FULL = {
    "old": {"DATABASE_ENCRYPTION_KEY": "kt:0123456789ab"},
    "new": {"DATABASE_ENCRYPTION_KEY": "kt:ba9876543210"},
    "rows": {"two_layer": 5, "one_layer": 2, "plaintext": 1, "empty": 0},
    "downtime_seconds": 61.25,
    "backup": {
        "path": "/state/backup.db",
        "bytes": 4096,
        "sha256": "0" * 64,
        "opens_with": {"DATABASE_ENCRYPTION_KEY": "kt:0123456789ab"},
        "expires": "2026-02-01T00:00:00Z",
    },
    "proofs": [
        {
            "proof": "process",
            "subject": "backend",
            "verdict": "accepted",
            "wanted": "accepted",
            "detail": "started after the change",
        },
        {
            "proof": "http",
            "subject": "backend",
            "verdict": "not configured",
            "wanted": "accepted",
            "detail": "proof_path is not set",
        },
        {
            "proof": "rows",
            "subject": "data.db",
            "verdict": "rejected",
            "wanted": "accepted",
            "detail": "1 rows do not open",
        },
    ],
    "findings": ["1 rows are plaintext"],
}


def host(phase: str, outcome: str | None = None, began: str = "2026-01-01T00:00:01Z", **fields: Any) -> dict[str, Any]:
    """A journal's record that has come to ``phase``; ``closed`` comes from ``last`` or from the whole way."""
    last = fields.pop("last", "proved" if phase == "closed" else phase)
    history = [{"phase": name, "at": began} for name in PHASES[: PHASES.index(last) + 1]]
    if phase == "closed":
        history.append({"phase": "closed", "at": began})
    record = {"phase": phase, "started": began, "history": history, **fields}
    examined = {name: FULL[name] for name in ("old", "rows", "findings")}
    return record | (examined | {"outcome": outcome} if outcome else {})


COMMITTED = host("closed", "committed")
BACK = host("closed", "rolled_back", last="switched")
UNTOUCHED = host("closed", "rolled_back", last="staged")
SAID_NOTHING: dict[str, Any] = {}

OUTCOMES = {
    "committed": [("", [COMMITTED]), ("", [COMMITTED, COMMITTED])],
    "rolled_back": [("cause", [BACK]), ("cause", [BACK, UNTOUCHED]), ("", [UNTOUCHED])],
    "committed_in_part": [
        ("cause", [COMMITTED, BACK]),
        ("cause", [COMMITTED, UNTOUCHED]),
        ("", [COMMITTED, BACK, BACK]),
    ],
    "refused": [("cause", []), ("cause", [SAID_NOTHING]), ("cause", [UNTOUCHED]), ("cause", [UNTOUCHED, SAID_NOTHING])],
    "interrupted": [
        *[("cause", [host(phase)]) for phase in PHASES[:-1]],
        *[("", [COMMITTED, host(phase)]) for phase in PHASES[:-1]],
        *[("cause", [BACK, host(phase)]) for phase in PHASES[:-1]],
        ("cause", [COMMITTED, BACK, SAID_NOTHING]),
        ("", [COMMITTED, SAID_NOTHING]),
        ("cause", [COMMITTED, SAID_NOTHING]),
        # who does not answer after the others have been touched may stand on the new value
        ("cause", [BACK, SAID_NOTHING]),
        ("cause", [host("proved", decision="commit")]),
    ],
}


@pytest.mark.parametrize(
    ("expected", "failure", "records"),
    [(expected, *case) for expected, cases in OUTCOMES.items() for case in cases],
)
def test_the_outcome_of_a_fleet_in_any_order(expected: str, failure: str, records: list[dict[str, Any]]) -> None:
    for order in itertools.permutations(records):
        hosts = {f"host{number}": record for number, record in enumerate(order)}
        built = report.build(HEADER, hosts, failure, ended=True)
        assert built["outcome"] == expected == report.outcome(hosts, failure)
        lost = [name for name, record in hosts.items() if record.get("phase", "closed") != "closed" and not failure]
        assert (built["failure"] or "").startswith(
            f"{lost[0]}: nothing more was heard after the phase" if lost else failure
        )
        assert bool(built["failure"]) == bool(failure or lost)
        assert report.build(HEADER, hosts, failure, ended=False)["outcome"] == "interrupted"
        jsonschema.validate(built, SCHEMA)


@pytest.mark.parametrize("outcome", SCHEMA["properties"]["outcome"]["enum"])
def test_a_workflow_is_told_what_follows(outcome: str) -> None:
    signed = dict.fromkeys(rotation_log.COMMITTED, f"sign_off.yml -e keyturn_rotation_id={HEADER['rotation_id']} ")
    follows = (signed | dict.fromkeys(("interrupted", "needs_attention"), "resume.yml")).get(outcome, "")
    told = report_text.stats(report.build(HEADER, {"a": COMMITTED}, "", ended=True) | {"outcome": outcome})
    assert told["outcome"] == outcome
    assert told["next"].startswith(follows) and bool(told["next"]) is bool(follows)


def test_a_rotation_that_a_person_has_taken_back_says_who(tmp_path: Path) -> None:
    """No attempt of it has failed: it was killed, or goes on in another terminal."""
    built = report.build(HEADER, {"a": BACK | {"failure": "rollback.yml was run by bob"}}, "", ended=True)
    assert report.ending(built, "back", "") == ""
    assert "cause      rollback.yml was run by bob" in report_text.text(built, tmp_path).splitlines()
    (event,) = lives.of_reports([built], [])
    assert (event["kind"], event["detail"]) == ("failure", "rollback.yml was run by bob")


def test_a_report_is_whole_valid_and_durable(tmp_path: Path) -> None:
    hosts = {
        "b": host("closed", "committed", **FULL),
        "a": host("closed", "committed", pid=17, secret="db_key", **FULL),
    }
    built = report.build(HEADER, hosts, "", ended=True)
    jsonschema.validate(built, SCHEMA)
    assert built["started"] == "2026-01-01T00:00:01Z" and built["finished"] >= built["started"]
    assert list(built["hosts"]) == ["a", "b"]
    assert set(built["hosts"]["a"]) == {"phase", "outcome", *FULL}, "what the journal says besides stays in the journal"
    path = report.write(tmp_path / "reports" / "local", built)
    assert path.name == "20260101T000000Z-0123456789abcdef.json" and json.loads(path.read_text()) == built
    assert report.final(path, built) == built


@pytest.mark.parametrize("phase", PHASES[:-1])
def test_an_open_report_may_be_written_again(tmp_path: Path, phase: str) -> None:
    built = report.build(HEADER, {"a": host(phase)}, "", ended=False)
    path = report.write(tmp_path, built)
    assert report.final(path, built) is None and report.final(tmp_path / "none.json", built) is None


def test_a_host_that_returns_changes_the_report(tmp_path: Path) -> None:
    without = report.build(HEADER, {"a": COMMITTED, "b": {}}, "", ended=True, excluded={"b": "away"})
    path = report.write(tmp_path, without)
    assert without["outcome"] == "committed_with_exclusions"
    assert report.final(path, without) == without
    assert report.final(path, report.build(HEADER, {"a": COMMITTED, "b": COMMITTED}, "", ended=True)) is None


def test_the_text_tells_what_the_report_holds() -> None:
    text = report_text.text(
        report.build(HEADER, {"a": host("closed", "committed", **FULL)}, "", ended=True), Path("r.json")
    )
    for line in (
        "COMMITTED: Database Encryption Key (db_key) in local",
        "DATABASE_ENCRYPTION_KEY: kt:0123456789ab -> kt:ba9876543210",
        "5 two_layer, 2 one_layer, 1 plaintext, 0 empty",
        "61.2 s (OVER the budget of 60 s)",
        "backup     /state/backup.db (opens with kt:0123456789ab, until 2026-02-01T00:00:00Z)",
        "proof      rows of data.db: rejected (1 rows do not open)",
        "finding    1 rows are plaintext",
        "report     r.json",
    ):
        assert line in text
    back = report_text.text(report.build(HEADER, {"a": BACK | FULL}, "why", ended=True), Path("r.json"))
    assert "cause      why" in back and "kt:0123456789ab (kept)" in back and "kt:ba9876543210" not in back


@given(
    st.dictionaries(st.sampled_from("abc"), st.sets(st.sampled_from(sorted(FULL)))),
    st.sampled_from(PHASES),
    st.booleans(),
)
def test_the_text_lacks_what_is_missing_and_nothing_else(hosts: dict[str, set[str]], phase: str, ended: bool) -> None:
    """Whatever a host has not come to: the report is valid, the text stands, and each host is in it."""
    records = {name: host(phase, **{field: FULL[field] for field in fields}) for name, fields in hosts.items()}
    built = report.build(HEADER, records | {"silent": {}}, "", ended)
    jsonschema.validate(built, SCHEMA)
    lines = report_text.text(built, Path("r.json")).splitlines()
    refused = built["outcome"] == "refused"
    assert lines[0].endswith(": nothing was changed") is refused
    assert {"silent: said nothing", *(f"{name}: {phase}" for name in hosts)} <= {*lines} or refused


# -- the log ---------------------------------------------------------------------------------------------------------


def attempt(number: int = 0, controller: str = "c1") -> dict[str, Any]:
    return {"id": f"attempt-{number}", "controller": controller, "pid": number, "process_started": 1.0}


def identity(number: int) -> str:
    return f"20260101T000000Z-{number:016x}"


def entry(number: int = 0, outcome: str = "committed", **changes: Any) -> dict[str, Any]:
    hosts = {"a": COMMITTED | FULL} if outcome == "committed" else {"a": BACK}
    built = report.build(HEADER, hosts, "" if outcome == "committed" else "why", ended=True)
    assert built["outcome"] == outcome
    fixed = {"rotation_id": identity(number), "finished": "2026-01-01T00:01:00Z"}
    return rotation_log.record(built | fixed, attempt(number)) | {"at": "2026-01-01T00:01:00Z"} | changes


def begun(number: int = 0, controller: str = "c1", rotation: str = "") -> dict[str, Any]:
    plan = HEADER | {"rotation_id": rotation or identity(number), "attempt": attempt(number, controller)}
    return rotation_log.started(plan)


def test_a_record_counts_the_proofs() -> None:
    assert entry()["verified_by"] == "keyturn, 1 of 2 proofs"
    assert entry(outcome="rolled_back")["verified_by"] == "nobody"
    assert entry()["hosts"] == ["a"] and entry()["rotated_by"] == "somebody"


def test_what_opened_the_way_stays_in_report_and_log_also_of_a_run_that_was_killed(tmp_path: Path) -> None:
    common = reports.BEGUN | {"folder": str(tmp_path)}
    plan = HEADER | {"attempt": attempt(), "overrides": {"staging": "INC-7"}, "sessions": "kept"}
    reporting.run(common | {"plan": plan, "hosts": {"a": {}}, "ended": False}, False)
    again = HEADER | {"attempt": attempt(1, "c2"), "overrides": {}, "sessions": "kept"}
    reporting.run(common | {"plan": dict(again), "hosts": {"a": {}}, "ended": False}, False)
    reporting.run(common | {"plan": dict(again), "hosts": {"a": BACK}, "failure": "why", "ended": True}, False)
    folder = tmp_path / HEADER["environment"]
    setup, *records = rotation_log.read(folder)
    assert (setup["event"], setup["number"]) == ("setup", 1), "an environment is seen for the first time once"
    assert [line["event"] for line in records] == ["started", "ended", "started", "ended"]
    assert all(line["overrides"] == {"staging": "INC-7"} for line in records)
    assert report.documents(folder)[0]["overrides"] == {"staging": "INC-7"}
    assert rotation_log.table(records).count("overridden staging: INC-7") == 2


def test_the_log_grows_by_one_line_and_a_repetition_adds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "by it"
    for number in (0, 1, 0, 1, 1):
        rotation_log.append(folder, entry(number))
    rotation_log.append(folder, entry(0, "rolled_back"))
    records = rotation_log.read(folder)
    assert [(line["rotation_id"], line["outcome"]) for line in records] == [
        (identity(0), "committed"),
        (identity(1), "committed"),
        (identity(0), "rolled_back"),
    ]
    assert entry(0).items() <= records[0].items()
    assert (folder / rotation_log.TABLE).read_text() == rotation_log.table(records)
    assert not list(folder.glob("*.keyturn*"))


def test_a_kill_before_the_table_leaves_it_to_the_repetition(tmp_path: Path) -> None:
    rotation_log.append(tmp_path, entry())
    (tmp_path / rotation_log.TABLE).unlink()
    rotation_log.append(tmp_path, entry())
    assert (tmp_path / rotation_log.TABLE).read_text() == rotation_log.table(rotation_log.read(tmp_path))


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from keyturn.records import rotation_log
for line in sys.stdin:
    rotation_log.append(Path(sys.argv[1]), json.loads(line))
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", program, tmp_path]
    processes = [subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write("".join(json.dumps(entry(one)) + "\n" for one in range(number * 10, number * 10 + 15)))
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0]
    records = rotation_log.read(tmp_path)
    assert sorted(line["rotation_id"] for line in records) == sorted(identity(number) for number in range(35))
    assert (tmp_path / rotation_log.TABLE).read_text().count("\n") == 2 + 35
    assert rotation_log.verify(tmp_path, {})["records"] == 35


# -- the policy's table ----------------------------------------------------------------------------------------------


def cells(line: str) -> list[str]:
    """The cells of one line, as GitHub's Markdown reads it: a backslash takes the next character out of the syntax."""
    found, escaped = [""], False
    for character in line:
        if escaped or character not in "\\|":
            found[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            found.append("")
    return [cell.strip() for cell in found[1:-1]]


def test_a_name_from_outside_is_no_markdown() -> None:
    line = rotation_log.table([entry(1, rotated_by="<img src=x> [sign](http://x) `a` &lt;\x1b[2J")]).splitlines()[-1]
    assert "&lt;img src=x> \\[sign](http://x) \\`a\\` &amp;lt;\\\\x1b\\[2J" in line


@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["committed", "rolled_back", "refused"])), max_size=4))
def test_the_table_parses_back(rotations: list[tuple[str, str]]) -> None:
    """Who ran it comes from outside (a pipeline's actor), so its text may hold anything."""
    records = [entry(number, rotated_by=who) | {"outcome": outcome} for number, (who, outcome) in enumerate(rotations)]
    head, rule, *lines = rotation_log.table(records).removesuffix("\n").split("\n")
    assert cells(head) == ["Date", "Key Type", "Reason", "Rotated By", "Verified By"] and set(rule) == {"|", "-"}
    assert [list(map(html.unescape, cells(line))) for line in lines] == [
        [
            "2026-01-01",
            "DATABASE_ENCRYPTION_KEY",
            "scheduled" if outcome == "committed" else f"scheduled ({outcome})",
            " ".join(shown.harmless(who, lines=True).split()),
            "keyturn, 1 of 2 proofs",
        ]
        for who, outcome in rotations
    ]


def test_the_schema_has_every_phase_and_every_step_that_takes_time() -> None:
    host = SCHEMA["$defs"]["host"]["properties"]
    assert host["phase"]["enum"] == [*PHASES]
    assert [*host["times"]["properties"]] == [*report_text.STEPS]
    lists = {step for kind in (turn.LIST_OF_ITS_OWN, turn.SHARED_LIST) for taken in kind.values() for step in taken}
    assert lists <= {*report_text.STEPS}
