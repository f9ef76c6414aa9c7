"""What follows from what the hosts have said: each question of ``run_state.py``, with hosts that failed, are silent or were not asked."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.fleet import run_state

ID = "20260101T000000Z-0123456789abcdef"


def told(phase: str, rotation_id: str = ID, **more: Any) -> dict[str, Any]:
    return {"rotation": {"rotation_id": rotation_id, "phase": phase, **more}}


def test_of_data_without_an_inverse_hosts_wait_for_those_that_may_not_go_back() -> None:
    switched = {"rotation_looked": told("switched")}
    hosts = {
        "refuses": {**switched, "rotation_allowed": {"failed": True, "msg": "it would lose what was written"}},
        "is silent": {**switched, "rotation_allowed": {"unreachable": True, "msg": "no route"}},
        "may": {**switched, "rotation_allowed": told("switched")},
        "was only staged": {"rotation_looked": told("staged"), "rotation_allowed": {"unreachable": True, "msg": "no"}},
    }
    assert run_state.held_back(hosts) == ["refuses", "is silent"]


def test_the_last_word_of_each_host_counts() -> None:
    hosts = {
        "app1": {"rotation_staged": told("staged"), "rotation_turned": told("proved")},
        "app2": {"rotation_staged": told("staged"), "rotation_turned": {"failed": True, "msg": "no"}},
        "app3": {"rotation_looked": told("proved", "another"), "rotation_left_open": told("switching")},
        "app4": {"rotation_staged": {"skipped": True}, "rotation_looked": {"rotation": None}},
        "app5": {},
    }
    phases = {host: record.get("phase") for host, record in run_state.records(hosts, ID).items()}
    assert phases == {"app1": "proved", "app2": "staged", "app3": "switching", "app4": None, "app5": None}


def test_what_the_way_back_starts_anew_is_what_a_switch_has_begun_on() -> None:
    hosts = {
        "app1": {"rotation_turned": told("proved")},
        "app2": {"rotation_looked": told("switching")},
        "app3": {"rotation_staged": told("staged")},
        "app4": {"rotation_turned": told("proved"), "rotation_went_back": told("proved", turned_back=True)},
        "app5": {"rotation_turned": told("proved"), "rotation_went_back": told("closed")},
        "app6": {"rotation_turned": told("proved", "another")},
        "app7": {"rotation_turned": told("accepts")},
    }
    assert run_state.switched(hosts, ID) == ["app1", "app2", "app7"]


def test_a_cause_names_its_host_and_the_controller_needs_no_name() -> None:
    hosts = {"localhost": {"rotation_failure": "refused"}, "app1": {"rotation_failure": "full"}, "app2": {}}
    assert run_state.causes(hosts) == ["refused", "app1: full"]


def test_who_is_silent_is_asked_nothing_and_is_no_answer() -> None:
    hosts = {
        "app1": {"rotation_looked": told("staged")},
        "app2": {"rotation_looked": {"unreachable": True}},
        "app3": {},
    }
    assert run_state.unreachable(hosts) == ["app2"]
    assert run_state.looked(hosts) == {"app1": told("staged"), "app3": {}}
    assert run_state.answers(hosts) == {"app1": told("staged"), "app2": None, "app3": None}


@pytest.mark.parametrize(
    ("decided", "left"),
    [
        ({"app1": told("decided", decision="commit")}, []),
        ({"app1": told("decided", decision="commit"), "app2": {}}, ["app2"]),
        ({"app1": told("proved"), "app2": {"skipped": True}}, ["app1", "app2"]),
        ({"app1": {"failed": True, "lost": True}, "app2": told("decided", decision="commit")}, []),
    ],
    ids=["all", "one was not asked", "none", "a lost one says nothing"],
)
def test_who_has_not_decided(decided: dict[str, Any], left: list[str]) -> None:
    hosts = {host: {"rotation_decided": answer} for host, answer in decided.items()}
    assert run_state.undecided(hosts, ID, "fleet") == left


def test_nothing_goes_back_to_a_value_that_is_not_accepted() -> None:
    def hosts(*verdicts: str) -> dict[str, Any]:
        return {f"app{n}": {"rotation_asked_provider": {"verdict": one}} for n, one in enumerate(verdicts)}

    assert not run_state.stays(hosts("accepted", "accepted"))
    assert run_state.stays(hosts("accepted", "unknown"))


@pytest.mark.parametrize(
    ("told", "stays"),
    [({"changed": True}, False), ({"skipped": True}, False), ({"failed": True}, True), ({"unreachable": True}, True)],
)
def test_no_host_forgets_a_value_that_its_issuer_may_still_want(told: dict[str, Any], stays: bool) -> None:
    asked = {"rotation_asked_provider": {"verdict": "accepted"}}
    hosts: dict[str, Any] = {"app1": {**asked, "rotation_taken_back": told}, "app2": asked}
    assert run_state.stays(hosts) is stays
    assert not run_state.stays(hosts, "the new one is dead as well")


CLOSED = {
    "looked": {"rotation": None, "closed": {ID: {"phase": "closed", "decision": "rollback", "outcome": "rolled_back"}}}
}


@pytest.mark.parametrize(
    ("told", "back"),
    [
        ({"went_back": told("switching", decision="rollback", turned_back=True)}, True),
        ({"went_back": told("staged", decision="rollback")}, True),
        ({"went_back": told("closed", decision="rollback", outcome="needs_attention")}, True),
        (CLOSED, True),
        ({"looked": {"rotation": None, "closed": {}}}, True),
        ({"turned": told("proved"), "went_back": {"failed": True, "msg": "no"}}, False),
        ({"turned": told("proved"), "left_open": told("switching", decision="rollback")}, False),
        ({"turned": told("proved"), "went_back": {"lost": True}}, False),
        ({"turned": told("proved"), "went_back": {"skipped": True}}, False),
        ({"decided": {"lost": True}}, False),
        ({"looked": {"unreachable": True}}, False),
        ({"finished": told("closed", decision="commit", outcome="committed")}, False),
    ],
)
def test_all_are_back_when_each_has_said_so(told: dict[str, Any], back: bool) -> None:
    host = {f"rotation_{call}": answer for call, answer in told.items()}
    assert run_state.all_back({"app1": {"rotation_looked": CLOSED["looked"]}, "app2": host}, ID) is back


def test_one_host_speaks_for_a_shared_value() -> None:
    hosts: dict[str, Any] = {"app1": {}, "app2": {}}
    own = {"shares": False, "rotation_id": ID}
    assert run_state.speaker(hosts, own, "app2") == "app2"
    assert run_state.speaker(hosts, own, "gone") == "app1"
    assert run_state.speaker({}, own, "") == ""


REACHES, NOT = (
    {"rotation_reached": {"reaches": True, "why": ""}},
    {"rotation_reached": {"reaches": False, "why": "no login"}},
)
SHARED = {"shares": True, "rotation_id": ID}


@pytest.mark.parametrize(
    ("hosts", "speaker"),
    [
        ({"app1": REACHES, "app2": REACHES}, "app1"),
        ({"app1": NOT, "app2": REACHES}, "app2"),
        ({"app1": {"rotation_reached": {"unreachable": True}}, "app2": REACHES}, "app2"),
        ({"app1": REACHES, "app2": {**REACHES, "rotation_looked": told("switching")}}, "app2"),
        ({"app1": REACHES, "app2": {**REACHES, "rotation_looked": told("switching", "another")}}, "app1"),
        ({"app1": {**NOT, "rotation_looked": told("switching")}, "app2": REACHES}, "app2"),
        ({"app1": {**REACHES, "rotation_prepared": {"failed": True, "lost": True}}, "app2": REACHES}, "app2"),
        ({"app1": {**REACHES, "rotation_went_back": {"failed": True, "lost": True}}, "app2": REACHES}, "app2"),
        ({"app1": {**REACHES, "rotation_prepared": {"failed": True, "msg": "full"}}, "app2": REACHES}, "app1"),
        ({"app1": NOT, "app2": {}}, ""),
    ],
    ids=[
        "the first",
        "that reaches it",
        "and answers",
        "who knows the rotation comes first",
        "of another it knows nothing",
        "who knows it and does not reach it does not",
        "one that is lost is replaced",
        "also on the way back",
        "one that fails is not",
        "nobody",
    ],
)
def test_who_turns_what_all_hosts_share(hosts: dict[str, Any], speaker: str) -> None:
    assert run_state.speaker(hosts, SHARED, "") == speaker


def test_why_nobody_reaches_what_all_share() -> None:
    assert run_state.unreached({"app1": NOT, "app2": {}}) == ["app1: no login", "app2: it gives no answer"]


def test_the_side_that_the_speaker_has_told_is_the_last_one() -> None:
    turned = {"rotation_prepared": told("switching", rows_under="new")}
    assert run_state.rows_under({"app1": {"rotation_staged": told("staged")}}, ID) == ""
    assert run_state.rows_under({"app1": turned, "app2": {}}, ID) == "new"
    assert (
        run_state.rows_under({"app1": turned | {"rotation_went_back": told("switching", rows_under="old")}}, ID)
        == "old"
    )
    assert run_state.rows_under({"app1": {"rotation_looked": told("switching", "another", rows_under="new")}}, ID) == ""


def test_what_the_inventory_leaves_out_is_named_by_host() -> None:
    hosts = {
        "app1": dict.fromkeys(run_state.NEEDED, "x"),
        "app2": {"keyturn_environment": "test", "keyturn_services": {}},
    }
    assert run_state.missing(hosts) == ["keyturn_app_root of app2"]
