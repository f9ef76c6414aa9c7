"""The decision table, the document of an incident with its deadlines, the steps and what comes of them. No playbook runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn import incident
from keyturn.base import timestamps
from keyturn.base.errors import KeyturnError
from keyturn.incident import markdown, plan, reminders, runs
from keyturn.inputs.application import Application
from keyturn.inputs.validation import validated
from keyturn.records import rotation_log
from support.lab import ROOT
from support.steps import take

DATA = ROOT / "applications/trader_ai"
SHIPPED = Application(DATA)
POLICY = yaml.safe_load((DATA / "policy.yml").read_text())["incident"]
SECRETS = SHIPPED.part("catalogue.yml", "secrets")
ROWS, ORDER, TICKS = (SHIPPED.part("incident.yml", part) for part in ("table", "order", "ticks"))
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ALL = [*ORDER]
BROUGHT = [one for one in ALL if SECRETS[one]["retire"]["kind"] == "revoke"]
ROTATION = "20260131T120000Z-0123456789abcdef"
NOWHERE = {name: {"hf_token": {"used": False}} for name in "ab"}


def planned(leaked: str, *named: str, opened: bool = False) -> list[dict[str, Any]]:
    return plan.steps(ROWS[leaked], named, ORDER, SECRETS, opened)


def test_what_no_host_holds_is_skipped_and_stays_in_the_document() -> None:
    row = ROWS["key_and_database"]
    steps = plan.steps(row, [], ORDER, SECRETS, True, unused={"hf_token", "db_key"})
    skipped = {step["name"] for step in steps if step["state"] == "skipped"}
    assert skipped == {"rotate db_key", "replace access tokens", "rotate hf_token", "prove the old hf_token dead"}
    assert {step["evidence"] for step in steps if step["state"] == "skipped"} == {"not used here: no host holds it"}
    header = {"id": "I", "environment": "e", "drill": False, "leaked": "key", "title": "t", "since": "s", "by_hand": []}
    assert "rotate hf_token (precaution: uses models at the account's cost): not used here" in plan.text(
        header, ORDER, steps
    )


@pytest.mark.parametrize(
    ("held", "turned", "skipped"),
    [
        (NOWHERE, "", True),
        (NOWHERE, "refused", True),
        (NOWHERE, "committed", False),
        ({"a": {"hf_token": {"used": False}}, "b": {"hf_token": {"used": True}}}, "", False),
        ({"a": {"hf_token": {"used": False}}, "b": {}}, "", False),
        ({}, "", False),
    ],
    ids=["nowhere", "never turned", "turned before", "on one host", "one gave no answer", "nobody was asked"],
)
def test_a_secret_is_unused_when_every_host_says_so_and_the_log_knows_no_other(
    tmp_path: Path, held: dict[str, Any], turned: str, skipped: bool
) -> None:
    """A host in other hands would keep what it has stolen from being turned."""
    if turned:
        at = timestamps.text(NOW)
        ended = {"event": "ended", "rotation_id": ROTATION, "secret": "hf_token", "outcome": turned, "hosts": ["a"]}
        ended |= {"at": at, "started": at, "finished": at, "variables": [], "environment": "local"}
        rotation_log.append(tmp_path, ended | {"reason": "x", "rotated_by": "x", "verified_by": "nobody"})
    arguments = {
        "action": "open",
        "folder": str(tmp_path),
        "id": "INC-1",
        "leaked": "credentials",
        "affected": ["hf_token"],
        "without_evidence": "a test",
        "held": held,
        "table": ROWS,
        "order": ORDER,
        "secrets": SECRETS,
        "checklists": POLICY,
    }
    opened = take("incident", arguments, check_mode=True)["incident"]
    (step,) = [step for step in opened["steps"] if step["name"] == "rotate hf_token"]
    assert step["state"] == ("skipped" if skipped else "todo")


def names(steps: list[dict[str, Any]], tier: str) -> list[str]:
    return [step["name"] for step in steps if step["tier"] == tier]


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_is_whole_and_names_what_is_there() -> None:
    assert set(ROWS) == {"credentials", "key", "database", "key_and_database", "laptop", "ci"}
    for name, row in ROWS.items():
        validated(name, plan.ROW, row)
    plan.check_table(ROWS, ORDER, SECRETS)
    points = {action["id"] for one in POLICY.values() for action in one["actions"]}
    assert set(TICKS) | set(SHIPPED.part("incident.yml", "material")) <= points


def test_what_an_inventory_has_chosen_is_in_each_row_that_has_the_file_with_the_values() -> None:
    more = list(SHIPPED.offered)
    chosen = SHIPPED._replace(optional=tuple(more))
    rows, order = (chosen.part("incident.yml", part) for part in ("table", "order"))
    plan.check_table(rows, order, chosen.part("catalogue.yml", "secrets"))
    named = {leaked: {*row["affected"], *row["precaution"]} & {*more} for leaked, row in rows.items()}
    assert named == {leaked: set() if leaked == "database" else set(more) for leaked in rows}
    assert not {*ORDER} & {*more}, "what is not chosen is in none"


@pytest.mark.parametrize(
    ("leaked", "named", "affected"),
    [
        ("credentials", ["hf_token"], ["rotate hf_token", "prove the old hf_token dead"]),
        ("key", [], ["rotate db_key"]),
        ("database", [], ["rotate db_key", "replace access tokens"]),
        ("key_and_database", [], ["rotate db_key", "replace access tokens"]),
        (
            "key_and_database",
            ["plaid"],
            ["rotate plaid", "rotate db_key", "replace access tokens", "prove the old plaid dead"],
        ),
        (
            "laptop",
            [],
            [f"rotate {one}" for one in ALL] + [f"prove the old {one} dead" for one in BROUGHT],
        ),
        (
            "ci",
            [],
            [f"rotate {one}" for one in ALL] + [f"prove the old {one} dead" for one in BROUGHT],
        ),
    ],
)
def test_each_row_says_what_is_done_at_once(leaked: str, named: list[str], affected: list[str]) -> None:
    steps = planned(leaked, *named)
    assert names(steps, "affected") == affected
    later = {step["secret"] for step in steps if step["tier"] == "precaution"}
    at_once = {step["secret"] for step in steps if step["tier"] == "affected"}
    # the database lies in no folder with the other values
    assert later == (set() if leaked == "database" else set(ALL) - at_once)
    assert [step["condition"] for step in steps if step["kind"] == "tokens"] == {
        "database": ["if_plaintext"],
        "key_and_database": ["always"],
    }.get(leaked, [])


def test_precautions_come_after_all_that_is_affected_is_rotated() -> None:
    steps = [step["name"] for step in planned("key_and_database")]
    assert steps == [
        "rotate db_key",
        "replace access tokens",
        *(f"rotate {one}" for one in ALL if one != "db_key"),
        *(f"prove the old {one} dead" for one in BROUGHT),
    ]


def test_a_plan_is_shown_where_a_setting_is_missing_and_nothing_begins(tmp_path: Path) -> None:
    arguments = {
        "action": "open",
        "folder": str(tmp_path),
        "id": "INC-1",
        "leaked": "key",
        "environment": "test",
        "table": ROWS,
        "order": ORDER,
        "secrets": SECRETS,
        "checklists": POLICY,
        "material": SHIPPED.part("incident.yml", "material"),
    }
    seen = take("incident", arguments, check_mode=True)
    assert "rotate db_key (affected" in seen["text"]
    assert seen["missing"].startswith("keyturn_incident_age_recipient must be the public key (age1...)")
    assert seen["steps"] == []
    with pytest.raises(KeyturnError, match="keyturn_incident_age_recipient must be the public key"):
        take("incident", arguments)
    assert not list(tmp_path.rglob("*"))
    assert take("incident", arguments | {"without_evidence": "none here"}, check_mode=True)["missing"] == ""
    seen = take("incident", arguments | {"id": "../x"}, check_mode=True)
    assert "incident    without an id in test" in seen["text"]
    assert seen["missing"].startswith("keyturn_incident_id must be 1 to 64 letters")
    with pytest.raises(KeyturnError, match="keyturn_incident_id must be"):
        take("incident", arguments | {"id": "../x", "without_evidence": "none here"})


def test_an_open_rotation_is_ended_first() -> None:
    assert planned("key", opened=True)[0]["name"] == "end the open rotation"


def test_what_nobody_can_mean_is_refused() -> None:
    with pytest.raises(KeyturnError, match="only a person knows which"):
        planned("credentials")
    with pytest.raises(KeyturnError, match="keyturn_incident_affected names moon"):
        planned("key", "moon")
    with pytest.raises(KeyturnError, match=r"^incident\.yml: no order for secret hf_token: say"):
        plan.check_table(ROWS, {name: "" for name in ORDER if name != "hf_token"}, SECRETS)
    others = sorted(set(ALL) - {"db_key"})
    with pytest.raises(KeyturnError, match=rf"incident\.yml: table\.key names {', '.join(others)}"):
        plan.check_table({"key": ROWS["key"]}, ORDER, {"db_key": SECRETS["db_key"]})
    for bad in ("", "../x", "a" * 65, "a b"):
        with pytest.raises(KeyturnError, match="keyturn_incident_id"):
            plan.check_id(bad)


# -- the document ------------------------------------------------------------------------------------------------------


def header(leaked: str = "key", **more: Any) -> dict[str, Any]:
    row = ROWS[leaked]
    given = {"id": "INC-7", "environment": "staging", "drill": False, "leaked": leaked, "title": row["title"]}
    given |= {"by_hand": row["by_hand"], "since": "2026-01-24T12:00:00Z", "operator": "ann", "affected": ["db_key"]}
    return given | {"without_evidence": "", "material": SHIPPED.part("incident.yml", "material")} | more


def made(leaked: str = "key", *named: str) -> incident.Document:
    return incident.begin(header(leaked), planned(leaked, *named), POLICY, NOW)


def finish(document: incident.Document, tier: str, at: str = "2026-01-31T12:03:20Z") -> None:
    for step in document["steps"]:
        if step["tier"] == tier:
            step.update(state="done", at=at, evidence="seen")


def test_the_deadlines_are_the_policys() -> None:
    assert {one["name"]: one["due"] for one in made()["checklists"]} == {
        "immediate": "2026-01-31T13:00:00Z",
        "short_term": "2026-02-01T12:00:00Z",
        "long_term": "2026-02-07T12:00:00Z",
    }


def test_a_point_is_late_after_its_deadline_and_not_before() -> None:
    document = made()
    hour = NOW + timedelta(hours=1)
    assert incident.late([document], hour) == []
    late = incident.late([document], hour + timedelta(seconds=1))
    assert [one.point for one in late] == ["rotate_affected", "review_access_logs", "notify_security", "document"]
    assert len(incident.late([document], NOW + timedelta(days=8))) == 13
    assert len(incident.near([document], NOW - timedelta(seconds=1))) == 0
    assert len(incident.near([document], NOW)) == 4
    assert "LATE  2026-01-31T13:00:00Z  document: Document incident details" in incident.table(
        [document], NOW + timedelta(hours=2)
    )


def test_only_evidence_ticks_a_point() -> None:
    document = made()
    incident.mark_dead(document)
    incident.tick_by_evidence(document, TICKS, "", NOW)
    assert {one.point for one in incident.open_points(document)} & set(TICKS) == {
        "rotate_affected",
        "rotate_related",
        "notify_security",
    }
    finish(document, "affected")
    incident.mark_dead(document)
    assert document["dead"] == {"at": "2026-01-31T12:03:20Z", "seconds": 200}
    incident.tick_by_evidence(document, TICKS, "chat at 2026-01-31T12:00:01Z", NOW)
    assert {one.point for one in incident.open_points(document)} & set(TICKS) == {"rotate_related"}
    finish(document, "precaution")
    incident.tick_by_evidence(document, TICKS, "", NOW)
    assert {one.point for one in incident.open_points(document)} & set(TICKS) == set()
    assert "document" in {one.point for one in incident.open_points(document)}, "only a person can say that it is whole"


def test_a_person_ticks_with_a_note() -> None:
    document = made()
    incident.tick(document, "training", "bob", {"user": "bob"}, "on\nMonday", NOW)
    assert "- 2026-01-31T12:00:00Z, bob: on Monday" in markdown.render(document)
    incident.tick(document, "training", "mallory", {}, "again", NOW)
    assert "mallory" not in markdown.render(document), "a tick was overwritten"
    with pytest.raises(KeyturnError, match="no point lunch; open are: rotate_affected, "):
        incident.tick(document, "lunch", "bob", {}, "x", NOW)
    with pytest.raises(KeyturnError, match="keyturn_incident_note is empty"):
        incident.tick(document, "monitoring", "bob", {}, " ", NOW)


def test_nobody_forges_a_line_of_the_document() -> None:
    document = made()
    document["operator"] = "eve\n- [x] Rotate ALL affected keys (`rotate_affected`)"
    held = {"name": "logs/x`\n\n## All is well\n<b>", "bytes": 3, "sha256": "11"}
    document["evidence"] = [
        {"host": "app1", "file": "app1-before.tar.gz.age", "at": "x", "sha256": "0", "members": [held], "missing": {}}
    ]
    text = markdown.render(document)
    assert "- [x] " not in text and "\n## All is well" not in text and "<b>" not in text


def test_the_document_for_people_has_every_point_and_stays_in_its_cells() -> None:
    document = made()
    document["steps"][0]["evidence"] = "a | b <script> [x](y)"
    document["evidence"] = [
        {
            "host": "app1",
            "file": "app1-before.tar.gz.age",
            "at": "2026-01-31T12:00:10Z",
            "sha256": "00",
            "members": [{"name": "files.jsonl", "bytes": 3, "sha256": "11"}],
            "missing": {"journal": "journalctl shows nothing"},
        }
    ]
    text = markdown.render(document)
    assert text.count("- [ ] ") == 13
    assert "a \\| b &lt;script> \\[x](y)" in text
    assert "- `app1-before.tar.gz.age` of app1, collected 2026-01-31T12:00:10Z, SHA-256 `00`" in text
    assert "- **Missing**: journal of app1: journalctl shows nothing" in text
    assert text.count("to be found in: no sealed evidence holds it") == 4
    document["evidence"][0]["members"] += [{"name": "alpaca/orders.json", "bytes": 3, "sha256": "22"}]
    document["evidence"][0]["members"] += [{"name": "journal.jsonl", "bytes": 3, "sha256": "33"}]
    text = markdown.render(document)
    assert text.count("to be found in: no sealed evidence holds it") == 1
    assert "to be found in: alpaca of app1 in `app1-before.tar.gz.age`" in text


def test_a_second_run_widens_and_keeps_what_was_done() -> None:
    document = made("key_and_database")
    finish(document, "affected")
    done = [step["name"] for step in document["steps"] if step["state"] == "done"]
    incident.widen(document, planned("key_and_database", "plaid"))
    found = {step["name"]: step for step in document["steps"]}
    assert [name for name, step in found.items() if step["state"] == "done"] == done
    assert (found["rotate plaid"]["tier"], found["prove the old plaid dead"]["tier"]) == ("affected", "affected")
    incident.widen(document, planned("key_and_database"))
    assert {step["name"]: step["tier"] for step in document["steps"]}["rotate plaid"] == "affected"


def test_another_story_under_the_same_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="was opened with leaked key, not ci"):
        incident.check_same(made(), header("ci"))
    incident.write(tmp_path / "incidents/INC-7", made())
    with pytest.raises(KeyturnError, match=r"there is no incident INC-8 .*it has: INC-7"):
        incident.read(tmp_path / "incidents/INC-8")
    assert [one["id"] for one in incident.read_all(tmp_path)] == ["INC-7"]
    assert (tmp_path / "incidents/INC-7").stat().st_mode & 0o777 == 0o700


def test_the_status_shows_what_is_open_and_late(tmp_path: Path) -> None:
    incident.write(tmp_path / "incidents/INC-7", made())
    summary = {"id": "INC-7", "open": 13, "late": 4, "due": "2026-01-31T13:00:00Z"}
    assert incident.summaries(tmp_path, NOW + timedelta(hours=2)) == [summary]


def test_people_are_reminded_of_what_is_near_and_overdue() -> None:
    status = {
        "secrets": {
            "jwt": {"title": "JWT", "state": "overdue", "last_rotated": "2025-10-01T00:00:00Z", "max_age_days": 90},
            "db_key": {"title": "Key", "state": "due", "last_rotated": None, "max_age_days": 90},
        }
    }
    found = reminders.reminders(status, [made()], "https://reports.example/staging", NOW)
    assert [(one["event"], one["id"]) for one in found] == [
        ("overdue", "jwt-2025-10-01"),
        *(
            ("deadline_near", f"INC-7-{point}")
            for point in ("rotate_affected", "review_access_logs", "notify_security", "document")
        ),
    ]
    assert found[1]["facts"]["link"] == "https://reports.example/staging/incidents/INC-7/incident.md"
    assert reminders.reminders({}, [], "", NOW) == []


# -- the steps ---------------------------------------------------------------------------------------------------------


class Stage:
    """An environment whose playbooks only write down the report that they are told to write."""

    def __init__(self, reports: Path, document: incident.Document) -> None:
        self.reports = reports
        self.folder = reports / "incidents/INC-7"
        self.played: list[tuple[str, dict[str, Any]]] = []
        self.outcomes: list[str] = []
        self.brought: list[str] = []
        self.effect: Callable[[str, Mapping[str, Any]], int] = lambda playbook, variables: 0
        incident.write(self.folder, document)

    def play(self, playbook: str, variables: Mapping[str, Any], log: Path) -> int:
        self.played.append((playbook, dict(variables)))
        if "keyturn_rotation_id" in variables and self.outcomes:
            self.report(variables["keyturn_rotation_id"], self.outcomes.pop(0))
        return self.effect(playbook, variables)

    def report(self, rotation_id: str, outcome: str, plaintext: int = 0) -> None:
        proofs = [{"verdict": "accepted", "wanted": "accepted"}]
        host = {"proofs": proofs, "rows": {"plaintext": plaintext}}
        fields = ("secret", "variables", "environment", "reason", "started", "finished", "operator")
        report = dict.fromkeys(fields, "") | {"rotation_id": rotation_id, "hosts": {"here": host}}
        document = report | {"outcome": outcome, "failure": None if outcome == "committed" else "it is so"}
        (self.reports / f"{rotation_id}.json").write_text(json.dumps(document))

    def run(self, name: str) -> tuple[str, str]:
        scene = runs.Scene(self.reports, SECRETS, self.brought, False, self.play, lambda: NOW)
        runs.run(self.folder, name, scene)
        step = incident.step_of(incident.read(self.folder), name)
        return step["state"], step["evidence"]

    def attempts(self, name: str) -> list[str]:
        return list(incident.step_of(incident.read(self.folder), name)["attempts"])


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, made("key_and_database", "alpaca"))


def test_a_rotation_is_started_once_and_its_report_counts(stage: Stage) -> None:
    stage.outcomes = ["committed"]
    state, evidence = stage.run("rotate db_key")
    (identity,) = stage.attempts("rotate db_key")
    assert (state, evidence) == ("done", f"committed, 1 of 1 proofs, report {identity}")
    ((playbook, variables),) = stage.played
    assert playbook == "_lifecycle"
    assert variables == {
        "keyturn_secret": "db_key",
        "keyturn_rotation_id": identity,
        "keyturn_reason": "incident INC-7",
        "keyturn_operator": "ann",
        "keyturn_backup_retention_days": 0,
        "keyturn_override_open_orders": "incident INC-7",
        "keyturn_override_staging": "incident INC-7",
    }
    stage.run("rotate db_key")
    assert len(stage.played) == 1, "what is done was done again"


def test_a_precaution_does_not_stop_the_trading_engine_with_open_orders(stage: Stage) -> None:
    stage.outcomes = ["committed"]
    stage.run("rotate jwt")
    assert "keyturn_override_open_orders" not in stage.played[0][1]


def test_a_rotation_that_failed_is_tried_again_as_another(stage: Stage) -> None:
    stage.outcomes = ["rolled_back", "committed"]
    assert stage.run("rotate db_key") == ("failed", "it is so")
    assert stage.run("rotate db_key")[0] == "done"
    assert len(set(stage.attempts("rotate db_key"))) == 2


def test_a_run_that_wrote_no_report_is_named_by_its_log_and_repeated_as_itself(stage: Stage) -> None:
    assert stage.run("rotate db_key") == ("failed", "no report was written, see rotate-db_key.log")
    stage.outcomes = ["committed"]
    assert stage.run("rotate db_key")[0] == "done"
    assert len(stage.attempts("rotate db_key")) == 1


@pytest.mark.parametrize("left", ["interrupted", "needs_attention"])
def test_a_killed_rotation_is_resumed(stage: Stage, left: str) -> None:
    stage.outcomes = [left]
    stage.run("rotate db_key")
    (identity,) = stage.attempts("rotate db_key")

    def resume(playbook: str, variables: Mapping[str, Any]) -> int:
        stage.report(identity, "committed")
        return 0

    stage.effect = resume
    assert stage.run("rotate db_key")[0] == "done"
    assert [playbook for playbook, _ in stage.played] == ["_lifecycle", "resume"]
    assert stage.played[1][1] == {"keyturn_backup_retention_days": 0}, "what opens with the leaked value would be kept"
    assert len(stage.attempts("rotate db_key")) == 1


def test_one_that_needs_attention_and_has_ended_is_not_resumed_for_ever(stage: Stage) -> None:
    """Somebody has put another value into a file, and then the right one."""
    stage.outcomes = ["needs_attention", "committed"]
    stage.run("rotate db_key")
    path = stage.reports / f"{stage.attempts('rotate db_key')[0]}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"hosts": {"here": {"phase": "closed"}}}))
    assert stage.run("rotate db_key")[0] == "done"
    assert [playbook for playbook, _ in stage.played] == ["_lifecycle", "_lifecycle"]


def test_a_killed_run_whose_rotation_had_committed_needs_nothing(stage: Stage) -> None:
    stage.outcomes = ["interrupted"]
    stage.run("rotate db_key")
    stage.report(stage.attempts("rotate db_key")[0], "committed")
    assert stage.run("rotate db_key")[0] == "done"
    assert len(stage.played) == 1


def test_a_credential_that_nobody_brought_is_waited_for_without_a_run(stage: Stage) -> None:
    state, evidence = stage.run("rotate alpaca")
    assert state == "waiting"
    assert evidence.startswith(
        "bring KEYTURN_NEW_ALPACA_API_KEY, KEYTURN_NEW_ALPACA_SECRET_KEY in the environment (by read -rs"
    )
    assert stage.run("prove the old alpaca dead") == ("waiting", "after: rotate alpaca")
    assert stage.played == []
    stage.brought = ["KEYTURN_NEW_ALPACA_API_KEY", "KEYTURN_NEW_ALPACA_SECRET_KEY"]
    stage.outcomes = ["committed"]
    assert stage.run("rotate alpaca")[0] == "done"
    stage.effect = lambda playbook, variables: 2
    state, evidence = stage.run("prove the old alpaca dead")
    assert (state, "Delete the old keys" in evidence) == ("waiting", True)
    stage.effect = lambda playbook, variables: 0
    assert stage.run("prove the old alpaca dead") == ("done", "rejected by its provider on every host")


def test_tokens_count_only_with_the_numbers_of_each_host(stage: Stage) -> None:
    assert stage.run("replace access tokens")[0] == "failed", "an exit code alone was believed"

    def replace(playbook: str, variables: Mapping[str, Any]) -> int:
        found = {"here": {"total": 11, "done": 11, "proven": 11}}
        Path(variables["keyturn_replacement_summary"]).write_text(json.dumps(found))
        return 0

    stage.effect = replace
    assert stage.run("replace access tokens") == ("done", "here: 11 of 11 replaced and proved")


@pytest.mark.parametrize(("plaintext", "state"), [(0, "skipped"), (2, "done")])
def test_a_database_without_its_key_gives_away_its_plaintext_rows(tmp_path: Path, plaintext: int, state: str) -> None:
    stage = Stage(tmp_path, made("database"))
    assert stage.run("replace access tokens")[0] == "waiting"
    stage.outcomes = ["committed"]
    stage.run("rotate db_key")
    stage.report(stage.attempts("rotate db_key")[0], "committed", plaintext)

    def replace(playbook: str, variables: Mapping[str, Any]) -> int:
        Path(variables["keyturn_replacement_summary"]).write_text('{"here": {"total": 1, "proven": 1}}')
        return 0

    stage.effect = replace
    assert stage.run("replace access tokens")[0] == state


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        runs.alone(tmp_path),
        pytest.raises(KeyturnError, match=r"is being worked on by another run, or .* \(pid \d+\)"),
        runs.alone(tmp_path, wait_seconds=0),
    ):
        pass
    with runs.alone(tmp_path):
        pass


def test_a_run_that_would_ask_at_each_secret_is_refused() -> None:
    runs.check_asks_nobody({"vault_ids": ["dev@/p"], "vault_password_files": ["/p"], "ask_vault_pass": False})
    for asking in ({"ask_vault_pass": True}, {"become_ask_pass": True}, {"vault_ids": ["dev@prompt"]}):
        with pytest.raises(KeyturnError, match="would ask again for each secret"):
            runs.check_asks_nobody(asking)


def test_moments_are_read_as_they_are_written() -> None:
    assert timestamps.parse(timestamps.text(NOW)) == NOW
    with pytest.raises(KeyturnError, match="a moment looks like"):
        timestamps.parse("yesterday")
