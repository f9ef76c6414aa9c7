"""The word of one host, which may be in other hands, and what follows from it for the others, the store, the log and the screen."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.action import ActionBase
from keyturn.base import shape, timestamps
from keyturn.base.errors import KeyturnError
from keyturn.entry.module import attempt
from keyturn.fleet import agreement, answers, recovery, run_state
from keyturn.host import journal
from keyturn.records import audit, report, report_text, rotation_log, status
from keyturn.steps import fleet
from keyturn.stores.contract import Held, Version, must_promote
from support.faults import ROTATION_ID
from support.lab import ROOT
from test_answers import REAL
from test_choice_of_way import CATALOGUE, ID, NOTHING, opened
from test_incident import Stage, made
from test_no_defect import AT, PLAN, RECORD, STATE, environment, parameters, take
from test_report_and_log import COMMITTED, HEADER
from test_staging_gate import HEADER as GATED

# -- a rotation that one host tells of ----------------------------------------------------------------------------------------


def test_a_rotation_that_one_host_has_made_up_begins_on_no_other() -> None:
    hosts = {"a": opened("staged"), "b": NOTHING, "c": NOTHING}
    with pytest.raises(
        KeyturnError, match=f"{ID} is open on a, neither log nor reports know it, and b, c would"
    ) as told:
        recovery.choose("forward", hosts, CATALOGUE, known={})
    assert f"-e keyturn_rotation_id={ID}" in str(told.value)
    # a person may know it, as of reports that are lost, and so does the controller that has begun it
    assert recovery.choose("forward", hosts, CATALOGUE, known={}, named=ID)["way"] == "forward"
    assert recovery.choose("forward", hosts, CATALOGUE, known={ID: "jwt"})["way"] == "forward"
    # and where all tell of it, it begins nowhere
    assert recovery.choose("forward", {"a": opened("staged")}, CATALOGUE, known={})["way"] == "forward"


@pytest.mark.parametrize("outcome", ["refused", "committed"])
def test_a_rotation_that_is_over_begins_on_no_other_by_the_word_of_a_host(tmp_path: Path, outcome: str) -> None:
    """A host that has joined since knows nothing of it, and would be turned without a proof of staging and without a record."""
    hosts = {"a": opened("staged"), "b": NOTHING}
    over: Any = {"known": {ID: "jwt"}, "over": {ID: outcome}}
    with pytest.raises(KeyturnError, match=f"{ID} is open on a, log and report .* as {outcome}, and b would begin it"):
        recovery.choose("forward", hosts, CATALOGUE, **over)
    assert recovery.choose("back", hosts, CATALOGUE, **over)["way"] == "back"
    assert recovery.choose("forward", hosts, CATALOGUE, named=ID, **over)["way"] == "forward"
    assert recovery.choose("forward", {"a": opened("staged")}, CATALOGUE, **over)["way"] == "forward"
    # the report tells it, and of a run that was killed it may tell more than the log
    assert report.over(tmp_path) == {}
    report.write(tmp_path, report.build(HEADER, {}, "x", False) | {"outcome": outcome, "rotation_id": ID})
    assert report.over(tmp_path) == {ID: outcome}


def test_what_one_host_says_to_be_open_is_named_as_its_word(tmp_path: Path) -> None:
    """A host in other hands would have resume.yml and rotate_due.yml look for a rotation that nobody has begun."""
    lie = opened("staged")
    lie["rotation"]["rotation_id"] = other = "20260202T000000Z-0123456789abcdef"
    word = "as that host says and neither log nor reports know"
    with pytest.raises(KeyturnError, match=f"{ID} on a; {other} on b, {word} .*keyturn_exclude"):
        recovery.choose("forward", {"a": opened("staged"), "b": lie}, CATALOGUE, known={ID: "jwt"})
    assert word in recovery.choose("back", {"a": opened("staged"), "b": NOTHING}, CATALOGUE)["message"]
    assert word not in recovery.choose("back", {"a": opened("staged")}, CATALOGUE, known={ID: "jwt"})["message"]
    environment(tmp_path)
    given = parameters(tmp_path)["due_info"]
    told = STATE | {"rotation": RECORD | {"phase": "staged", "rotation_id": other}}
    with pytest.raises(KeyturnError, match=f"rotation {other} on b, {word} .*nothing was rotated"):
        take("due_info", given | {"hosts": {"a": STATE, "b": told}})


@pytest.mark.parametrize("known", [{ID: "jwt"}, {}], ids=["known", "not known"])
def test_a_host_does_not_say_which_secret_the_rotation_of_others_turns(known: dict[str, str]) -> None:
    lie = opened("staged")
    lie["rotation"]["secret"] = "db_key"
    with pytest.raises(KeyturnError, match="a: db_key"):
        recovery.choose("forward", {"a": lie, "b": opened("staged")}, CATALOGUE, known=known)


def test_the_action_asks_log_and_reports(tmp_path: Path) -> None:
    environment(tmp_path)
    given = parameters(tmp_path)["recover"]
    known = {"rotation": RECORD | {"phase": "staged", "decision": None, "outcome": None}, "closed": {}}
    with pytest.raises(KeyturnError, match="it has ended as committed, and b would begin it"):
        take("recover", given | {"hosts": {"a": known, "b": NOTHING}})
    path = tmp_path / f"local/{RECORD['rotation_id']}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"outcome": "interrupted"}))
    assert take("recover", given | {"hosts": {"a": known, "b": NOTHING}})["way"] == "forward"
    lie = copy.deepcopy(known)
    lie["rotation"]["rotation_id"] = "20260202T000000Z-0123456789abcdef"
    with pytest.raises(KeyturnError, match="neither log nor reports know it"):
        take("recover", given | {"hosts": {"a": lie, "b": NOTHING}})
    with pytest.raises(KeyturnError, match="b could not be looked at"):
        take("recover", given | {"hosts": {"a": known, "b": {}}})


def test_no_host_opens_the_gate_of_production(tmp_path: Path) -> None:
    plan = PLAN | GATED
    given = {"plan": plan, "staging": "staging", "max_age_days": 7, "folder": str(tmp_path), "production": True}
    given |= {"typed": [], "excluded": {}}

    def asked(rotation_id: str) -> str:
        told = {"rotation": {"rotation_id": rotation_id, "secret": "jwt"}, "closed": {}}
        return str(fleet.run(given | {"hosts": {"app1": {"rotation_looked": told}}}, True)["passed"])

    # of a rotation that only a host tells of a person may type the id: this run alone has begun it
    rotation_log.append(tmp_path / GATED["environment"], rotation_log.started(plan))
    with pytest.raises(KeyturnError, match="does not exist, so nobody knows what was turned there"):
        asked(GATED["rotation_id"])
    earlier = plan | {"attempt": PLAN["attempt"] | {"id": "an earlier one"}}
    rotation_log.append(tmp_path / GATED["environment"], rotation_log.started(earlier))
    assert asked(GATED["rotation_id"]) == "", "one that has begun goes on"
    with pytest.raises(KeyturnError, match="does not exist, so nobody knows what was turned there"):
        asked("20260101T000000Z-fedcba9876543210")
    # nor is what a new log has taken over from hosts anybody else's word
    taken_over: Any = {"event": rotation_log.TAKEN_OVER, "rotation_id": GATED["rotation_id"], "outcome": "committed"}
    assert not rotation_log.has_begun([taken_over], plan)
    assert rotation_log.has_begun([taken_over | {"event": "ended"}], plan)
    # what the gate has refused has not begun, whatever a host tells of it
    refused = {"event": "ended", "outcome": "refused", "at": AT, "started": AT, "finished": AT}
    refused |= {name: GATED[name] for name in ("rotation_id", "secret")} | {"rotated_by": "x", "verified_by": "nobody"}
    refused |= {"variables": [], "environment": GATED["environment"], "reason": "x", "hosts": []}
    rotation_log.append(tmp_path / GATED["environment"], refused)
    with pytest.raises(KeyturnError, match="does not exist, so nobody knows what was turned there"):
        asked(GATED["rotation_id"])


def test_no_command_is_advised_that_would_begin_what_a_host_has_made_up(tmp_path: Path) -> None:
    """`rotate.yml` with such an id would begin it on the others; and a host can make up as many as it likes."""
    ids = [f"20260101T000000Z-{number:016x}" for number in range(1000)]
    told = {"rotation": {}, "closed": {one: RECORD | {"rotation_id": one} for one in ids}}
    found = audit.unreported([], {"a": told, "b": NOTHING}, [])
    (line,) = status.unreported_lines(found)
    assert ids[0] in line and "and 999 more" in line and "leave it out by keyturn_exclude" in line
    assert "rotate.yml" not in line
    # one that the log knows is none of a host's making
    found = audit.unreported([], {"a": told}, [{"rotation_id": ids[0], "event": "ended", "outcome": "committed"}])
    assert f"run rotate.yml -e keyturn_secret=db_key -e keyturn_rotation_id={ids[0]}" in next(
        status.unreported_lines(found)
    )


# -- who has decided ----------------------------------------------------------------------------------------------------------

FINISHED = {"rotation": {}, "closed": {ID: {"outcome": "committed", "decision": "commit", "phase": "closed"}}}


def staged(decision: str | None = None, **more: Any) -> dict[str, Any]:
    return {"rotation": {"rotation_id": ID, "phase": "proved", "decision": decision, **more}}


def test_who_decided_in_an_earlier_run_has_decided() -> None:
    hosts = {
        "a": {"rotation_looked": staged("commit") | {"closed": {}}},
        "b": {"rotation_looked": staged("commit") | {"closed": {}}, "rotation_staged": {"failed": True, "msg": "no"}},
    }
    assert run_state.undecided(hosts, ID, "fleet") == []


@pytest.mark.parametrize(
    "lie",
    [
        {"rotation_looked": {"failed": True, "msg": "no"}},
        {"rotation_looked": staged() | {"closed": {}}},
        {"rotation_looked": NOTHING, "rotation_decided": {"failed": True, "msg": "no"}},
    ],
    ids=["it fails", "it has not decided", "it knows of nothing"],
)
def test_where_one_has_finished_no_other_makes_the_rest_go_back(lie: dict[str, Any]) -> None:
    hosts = {"a": {"rotation_looked": FINISHED}, "b": {"rotation_looked": staged("commit") | {"closed": {}}}, "c": lie}
    assert run_state.undecided(hosts, ID, "fleet") == []
    assert run_state.finished(hosts, ID) == ["a"]


def test_one_that_was_left_out_does_not_go_back_where_the_others_have_finished() -> None:
    hosts = {name: {"rotation_looked": FINISHED} for name in "ab"}
    back = {"rotation_looked": staged() | {"closed": {}}, "rotation_turned": {"failed": True, "msg": "no"}}
    assert run_state.undecided({**hosts, "c": back}, ID, "fleet") == []


@pytest.mark.parametrize("wish", ["forward", "back"])
@pytest.mark.parametrize("decision", [None, "rollback"])
def test_what_all_had_decided_no_host_takes_back(wish: str, decision: str | None) -> None:
    """The one that has finished is away, and the next would go back by the word of the third: they would be parted."""
    hosts = {"b": staged("commit", secret="jwt"), "c": staged(decision, secret="jwt")}
    looked = {name: said | {"closed": {}} for name, said in hosts.items()}
    chosen: Any = {"known": {ID: "jwt"}, "decided": [ID]}
    if wish == "forward":
        assert recovery.choose(wish, looked, CATALOGUE, **chosen)["way"] == "forward"
    else:
        with pytest.raises(KeyturnError, match="it only goes forward"):
            recovery.choose(wish, looked, CATALOGUE, **chosen)


def test_a_decision_of_this_run_is_not_taken_back_by_a_later_answer() -> None:
    hosts = {name: {"rotation_looked": NOTHING, "rotation_decided": staged("commit")} for name in "bc"}
    hosts["c"]["rotation_asked_provider"] = staged()
    assert run_state.undecided(hosts, ID, "fleet") == []
    # nor is what the report keeps, by which the next run goes forward
    told = {
        name: COMMITTED | {"phase": "proved", "outcome": None} | one
        for name, one in run_state.records(hosts, ID).items()
    }
    assert report.build(HEADER, told, "x", True)["decided"]


def test_who_has_gone_back_is_not_left_alone_by_a_decision_that_another_tells_late() -> None:
    """One did not decide, so that the first batch went back; then it says on its way back that it has decided."""
    hosts = {name: {"rotation_looked": NOTHING, "rotation_decided": staged("commit")} for name in "ab"}
    hosts["a"]["rotation_went_back"] = staged("rollback")
    hosts["c"] = {"rotation_decided": {"failed": True, "msg": "no"}, "rotation_went_back": staged("commit")}
    assert run_state.undecided(hosts, ID, "fleet") == ["a"], "b goes back as well"


def test_a_report_keeps_that_all_had_decided() -> None:
    said = COMMITTED | {"phase": "proved", "outcome": None, "decision": "commit"}
    first = report.build(HEADER, {"a": said, "b": said, "c": {}}, "x", True, {"c": "away"})
    assert first["decided"]
    lie = said | {"decision": "rollback"}
    assert report.build(HEADER, {"a": said, "b": lie}, "x", True, before=first)["decided"]
    assert "decided" not in report.build(HEADER, {"a": said, "b": lie}, "x", True)
    assert "decided" not in report.build(HEADER, {"a": {}, "b": {}}, "x", False)


def test_who_says_alone_that_it_has_finished_keeps_nobody_from_going_back() -> None:
    hosts = {"a": {"rotation_looked": FINISHED}} | {
        name: {"rotation_looked": NOTHING, "rotation_turned": staged()} for name in "bc"
    }
    assert run_state.undecided(hosts, ID, "fleet") == ["b", "c"]


def test_who_has_not_decided_has_not_finished_whatever_it_says_besides() -> None:
    lie = {"rotation": {"rotation_id": ID, "phase": "proved", "outcome": "committed"}, "closed": {}}
    hosts = {
        "a": {"rotation_looked": staged() | {"closed": {}}},
        "b": {"rotation_looked": staged("commit") | {"closed": {}}},
        "c": {"rotation_looked": lie},
    }
    assert run_state.undecided(hosts, ID, "fleet") == ["a", "c"]
    assert run_state.finished(hosts, ID) == [], "all go back, and none is kept by what c says"


def test_nobody_tells_of_another_secret_than_was_asked_about() -> None:
    line = {"state": "revoked", "secret": "plaid", "rotation_id": ID, "evidence": "x"}
    answers.check_secret({"revocations": [line, {"state": "open", "rotation_id": ID}]}, "c", "plaid")
    with pytest.raises(answers.Unfit, match="c tells of a revocation of plaid, and was asked about alpaca"):
        answers.check_secret({"revocations": [line]}, "c", "alpaca")


def test_a_rotation_that_went_back_has_no_old_value_that_could_be_dead(tmp_path: Path) -> None:
    given = parameters(tmp_path)["log_revocations"]
    folder = Path(given["folder"])
    told = {"state": "revoked", "secret": "jwt", "rotation_id": GATED["rotation_id"], "evidence": "x"}
    ended = {"event": "ended", "outcome": "rolled_back", "at": AT, "started": AT, "finished": AT, "hosts": ["a"]}
    ended |= {"rotation_id": GATED["rotation_id"], "secret": "jwt", "variables": [], "environment": "local"}
    ended |= {"reason": "x", "rotated_by": "x", "verified_by": "nobody"}
    rotation_log.append(folder, ended)
    answer = take("log_revocations", given | {"hosts": {"c": [told]}})
    assert answer["dead"] == [] and answer["revoked"] == [] and len(answer["unknown"]) == 1


def test_a_host_of_which_nothing_is_known_has_not_said_that_it_has_not_decided() -> None:
    hosts = {"a": {"rotation_looked": staged("commit") | {"closed": {}}}, "b": {"rotation_looked": {"failed": True}}}
    assert run_state.undecided(hosts, ID, "fleet") == []
    hosts["b"] = {"rotation_staged": {"failed": True}}  # of a first run, in which nobody can have decided before
    assert run_state.undecided(hosts, ID, "fleet") == ["b"]


def test_what_has_gone_back_already_takes_the_others_with_it() -> None:
    gone = {"rotation": {}, "closed": {ID: {"outcome": "rolled_back", "decision": "rollback"}}}
    hosts = {"a": {"rotation_looked": FINISHED}, "b": {"rotation_looked": gone}}
    assert run_state.undecided(hosts, ID, "fleet") == ["b"]
    # of a value of its own each host ends for itself
    assert run_state.undecided(
        {"a": {"rotation_looked": FINISHED}, "b": {"rotation_looked": staged()}}, ID, "batch"
    ) == ["b"]


def plugin(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"plugins/action/keyturn_{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.ActionModule


PLUGINS = {name: plugin(name) for name in ("commit", "stage")}


@pytest.mark.parametrize(
    ("name", "answer", "done"),
    [
        ("commit", REAL["commit"], True),
        ("commit", {"changed": True, "rotation": RECORD | {"decision": None}}, False),
        ("commit", {"changed": True, "rotation": {}}, False),
        ("commit", {"changed": True}, False),
        ("commit", {"changed": True, "would": "decide to commit"}, False),
        ("stage", REAL["stage"], True),
        ("stage", REAL["stage"] | {"rotation": RECORD | {"new": {}}}, False),
        ("stage", {"changed": True}, False),
    ],
)
def test_a_host_that_has_answered_has_done_what_the_others_rely_on(
    name: str, answer: dict[str, Any], done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    made = object.__new__(PLUGINS[name])
    args = {"rotation": {"rotation_id": ROTATION_ID}, "step": "decide"}
    monkeypatch.setattr(PLUGINS[name], "_execute_module", lambda *_, **__: dict(answer))
    for check_mode in (False, True):
        made._task = SimpleNamespace(action=f"keyturn_{name}", args=args, check_mode=check_mode)
        found = made.run(task_vars={"inventory_hostname": "app1"})
        assert bool(found.get("failed")) is not (done or check_mode)


# -- the store ----------------------------------------------------------------------------------------------------------------


def test_a_pending_value_is_not_given_up_because_a_host_says_that_it_holds_the_old_one() -> None:
    old, new = Version({"V": "the old one"}, ""), Version({"V": "the new one"}, ID)
    with pytest.raises(KeyturnError, match="is not what the hosts say that they hold"):
        must_promote("x", Held(old, new, None), ID, old.fingerprints, old.fingerprints)
    # a kill between the two writes leaves the pending one
    assert not must_promote("x", Held(new, new, None), ID, old.fingerprints, new.fingerprints)
    assert must_promote("x", Held(old, new, None), ID, old.fingerprints, new.fingerprints)


def test_what_is_promoted_is_what_the_hosts_have_agreed_on() -> None:
    text = (ROOT / "roles/rotation/tasks/promote.yml").read_text()
    assert "rotation_staged.rotation.new" in text and "rotation_decided" not in text


# -- the report and the log ---------------------------------------------------------------------------------------------------

# names that a journal may have, or that a report is made of, with what no host has there
ODD: dict[str, Any] = {
    "held": "x",
    "attention": ["x"],
    "unproved": 5,
    "late": "x",
    "excluded": "x",
    "evidence": {"logs": {}, "readers": 5},
    "backup": {"path": "x", "opens_with": {}, "bytes": []},
    "history": [{"phase": 5, "at": AT}],
    "unheard": {"of": ["x"] * 5},
}


@pytest.mark.parametrize("name", ODD)
def test_no_name_in_a_rotation_is_taken_as_it_comes(name: str) -> None:
    found = answers.taken("commit", {"changed": True, "rotation": RECORD | {name: ODD[name]}})
    assert found.get("failed") or found["rotation"].get(name) == RECORD.get(name)


def test_a_drill_that_tells_no_rows_is_no_defect(tmp_path: Path) -> None:
    environment(tmp_path)
    told = RECORD | {"evidence": {"logs": {}, "backup": {"ok": True}}}
    found = answers.taken("commit", {"changed": True, "rotation": told})
    given = parameters(tmp_path)["report"] | {"hosts": {"a": found.get("rotation", {})}}
    given["plan"] = PLAN | {"rotation_id": "20260103T000000Z-0123456789abcdef"}
    assert attempt(lambda: take("report", given))[1] == ""


def test_what_a_shape_does_not_name_is_left_out_at_every_depth() -> None:
    form = {"a": [{"b?": int}], "c?": (None, {"*": {"d": str}}), "e?": dict}
    found = {"a": [{"b": 1, "x": 2}, {"x": 1}], "c": {"y": {"d": "1", "x": 2}}, "e": {"x": 1}, "x": 1}
    wanted = {"a": [{"b": 1}, {}], "c": {"y": {"d": "1"}}, "e": {"x": 1}}
    assert shape.fitting(form, found) == wanted
    assert shape.fitting(form, {"a": [], "c": None}) == {"a": [], "c": None}


def test_a_rotation_is_a_mapping() -> None:
    for action in ("commit", "stage", "rotation_info", "turn"):
        assert answers.taken(action, REAL[action] | {"rotation": None})["failed"]


def test_what_a_host_has_not_said_is_no_defect() -> None:
    hosts = {name: {"place": name, "clock_offset": 0.0, "old": None, "new": None} for name in "ab"}
    hosts["a"]["old"] = {"V": "kt:1"}
    with pytest.raises(KeyturnError, match="the hosts hold different values now"):
        agreement.check("shared", hosts, "")


def test_a_revocation_is_logged_with_what_the_log_knows_of_its_rotation(tmp_path: Path) -> None:
    environment(tmp_path)
    given = parameters(tmp_path)["log_revocations"]
    lie = {name: RECORD[name] for name in ("rotation_id", "secret", "started", "old")}
    lie |= {
        "state": "revoked",
        "operator": "alice",
        "reason": "forged",
        "since": "0999-01-01T00:00:00Z",
        "evidence": "x",
    }
    assert take("log_revocations", given | {"hosts": {"a": [lie]}})["revoked"] == [ROTATION_ID]
    last = rotation_log.read(tmp_path / "local")[-1]
    assert (last["event"], last["rotated_by"], last["reason"]) == ("revoked", "somebody", "scheduled")
    assert last["started"] > "2026" and last["finished"] > "2026"
    take("log_revocations", given | {"hosts": {"a": [lie]}})
    assert rotation_log.read(tmp_path / "local")[-1] == last, "a repetition adds nothing"


def test_no_text_of_a_host_is_a_line_of_the_report() -> None:
    forged = "x\n\napp2: committed\nlog head   record 7, " + "0" * 64
    found = report.build(HEADER, {"app1": COMMITTED}, f"app1: {forged}", True)
    lines = report_text.text(found, Path("/r")).split("\n")
    assert not [line for line in lines if line.startswith(("app2", "log head"))]
    assert any(line.strip().startswith("log head") for line in lines), "it is told, behind its cause"


def test_a_rotation_has_not_begun_before_its_id_says(tmp_path: Path) -> None:
    told = COMMITTED | {"started": "0001-01-01T00:00:00Z"}
    assert report.build(HEADER, {"app1": told}, "", True)["started"] == "2026-01-01T00:00:00Z"


# -- fingerprints -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark", ["kt:0123456789ab; app2 holds none; run x", "kt:0123456789AB", "kt:0123456789ab\n", ""]
)
def test_a_host_has_no_other_text_where_a_fingerprint_stands(mark: str) -> None:
    """Sentences of the status and the report have it in their midst, beside commands that a person copies."""
    held = STATE["held"] | {"db_key": {"used": True, "values": {"JWT_SECRET_KEY": mark}, "problem": ""}}
    for action, said in (
        ("rotation_info", STATE | {"changed": False, "held": held}),
        ("commit", {"changed": True, "rotation": RECORD | {"new": {"JWT_SECRET_KEY": mark}}}),
        ("storage_info", {"changed": False, "findings": [], "values": {"db_key": {"JWT_SECRET_KEY": mark}}}),
    ):
        assert "must be a fingerprint like kt:0123456789ab" in answers.taken(action, said)["msg"]


# -- moments ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment",
    [
        "2026-02-30T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T00:00:00Z",
        "2026-04-31T00:00:00Z",
    ],
)
def test_a_moment_that_is_none_has_not_the_shape(moment: str) -> None:
    assert list(shape.misfits("", timestamps.SHAPE, moment)) != []
    said = copy.deepcopy(STATE)
    said["closed"][ROTATION_ID] |= {"finished": moment}
    assert answers.taken("rotation_info", {"changed": False, **said})["failed"]
    said = copy.deepcopy(STATE)
    said["closed"][ROTATION_ID]["retire"] |= {"since": moment}
    assert answers.taken("rotation_info", {"changed": False, **said})["failed"]


def test_what_is_written_is_a_moment() -> None:
    for year in (2024, 2026, 2100):
        for month in range(1, 13):
            for day in (1, 28):
                assert not list(shape.misfits("", timestamps.SHAPE, f"{year}-{month:02}-{day:02}T23:59:59Z"))
    assert not list(shape.misfits("", timestamps.SHAPE, "2024-02-29T00:00:00Z"))
    assert not list(shape.misfits("", journal.RETIRE, {"state": "open", "since": AT}))


# -- the metrics --------------------------------------------------------------------------------------------------------------


def test_a_host_exports_metrics_of_itself_alone() -> None:
    """With ``honor_labels`` it could say of any environment that its status is fresh, and that nothing is broken."""
    told = {"monitoring_address": "192.0.2.1", "keyturn_environment": "test"}
    ports = {"monitoring_mtail_port": 3903, "monitoring_node_port": 9100}
    given = {
        "groups": {"trader_ai": ["app1"]},
        "hostvars": {"app1": told},
        "monitoring_node_targets": ["192.0.2.9:9100"],
    }
    given |= {
        "monitoring_address": "",
        "monitoring_environment": "test",
        "lookup": lambda _, name: ports.get(name, "trader_ai"),
    }
    template = (ROOT / "roles/monitoring/templates/scrape.yml.j2").read_text()
    found = yaml.safe_load(
        jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(template).render(given)
    )
    honoured = {
        job["job_name"]: [one["targets"] for one in job["static_configs"]]
        for job in found["scrape_configs"]
        if "honor_labels" in job
    }
    assert honoured == {"keyturn-controller": [["192.0.2.9:9100"]]}
    assert {job["job_name"] for job in found["scrape_configs"]} == {
        "keyturn-mtail",
        "keyturn-node",
        "keyturn-controller",
    }


def test_a_log_that_begins_anew_takes_no_rotation_over_that_cannot_have_been(tmp_path: Path) -> None:
    told = {"rotation": {}, "closed": {"../x": RECORD}}
    given = parameters(tmp_path)["log"] | {"head": "", "allowed_signers": "", "hosts": {"a": told}}
    given["begin"] = {"reason": "lost", "environment": "local", "operator": "x"}
    with pytest.raises(KeyturnError, match="closed must be a mapping by the id of a rotation"):
        take("log", given)
    assert rotation_log.read(tmp_path / "local") == []


def test_no_host_fills_the_log(tmp_path: Path) -> None:
    """It never gets shorter, and no run goes on with one that is too long to be read."""
    environment(tmp_path)
    given = parameters(tmp_path)["log_replacement"]
    many = answers.taken(
        "replace_tokens",
        {"changed": True, "total": 1, "done": 0, "relink_required": ["x" * 4000] * 4000, "gone": [], "ended": True},
    )
    before = len(rotation_log.read(tmp_path / "local"))
    for _ in range(2):
        take("log_replacement", given | {"hosts": {"a": many}})
    assert len(rotation_log.read(tmp_path / "local")) == before + 2
    assert (tmp_path / "local" / rotation_log.LINES).stat().st_size < 1 << 18
    long = {"event": "setup", "at": AT, "environment": "x" * (1 << 17)}
    assert rotation_log.append(tmp_path / "a", long) == rotation_log.append(tmp_path / "a", long), (
        "a repetition adds nothing"
    )


def test_a_host_that_fails_takes_no_step_of_an_incident_with_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, made("key_and_database", "alpaca"))

    def replace(playbook: str, variables: Any) -> int:
        found = {"a": {"total": 2, "proven": 2}, "b": {"failed": True, "msg": "no"}}
        Path(variables["keyturn_replacement_summary"]).write_text(json.dumps(found))
        return 2

    stage.effect = replace
    state, evidence = stage.run("replace access tokens")
    assert state == "failed"
    assert evidence.startswith("a: 2 of 2 replaced and proved; b: 0 of an unknown number replaced and proved, see ")


def test_what_a_host_says_is_one_line_of_a_step(tmp_path: Path) -> None:
    stage = Stage(tmp_path, made("key_and_database", "alpaca"))
    stage.outcomes = ["rolled_back"]
    written = stage.report
    stage.report = lambda rotation_id, outcome, plaintext=0: _spoil(
        written(rotation_id, outcome), tmp_path, rotation_id
    )  # type: ignore[method-assign]
    assert stage.run("rotate db_key") == ("failed", "a: x rotate jwt: done")


def _spoil(_: None, folder: Path, rotation_id: str) -> None:
    path = folder / f"{rotation_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"failure": "a: x\nrotate jwt: done"}))
