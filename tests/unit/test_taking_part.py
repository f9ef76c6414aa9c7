"""Which hosts take part in a play of the lifecycle, and who goes on at all."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet.taking_part import hosts_of, who_goes_on

LISTS = ("accept", "lead", "reencrypt", "accept_back", "reencrypt_back")
HOSTS = ["app1", "app2", "app3"]
SHARED = ("prepare_shared", "stop_shared", "turn_shared")
PLAYS = (
    *(
        "reach",
        "examine",
        "keep",
        "stage",
        "compare",
        "issue",
        *LISTS,
        *SHARED,
        "turn",
        "turn_in_steps",
        "decide",
        "promote",
        "end_old",
        "finish",
    ),
    *("take_value_back", "take_back", "forget_new"),
)


def plan(**more: Any) -> dict[str, Any]:
    return {
        "until": "committed",
        "store": "dotenv",
        "unit": "batch",
        "drains": False,
        "examines_first": False,
        "issues": False,
        "old_lives": False,
        "overlap": "none_needed",
        "shares": False,
        **more,
    }


def plays(
    described: dict[str, Any], hosts: list[str] = HOSTS, speaker: str = "app1", back: bool = False
) -> dict[str, Any]:
    """Return the plays that take place, with their hosts where these are not all."""
    found = {play: hosts_of(play, described, hosts, speaker, back) for play in PLAYS}
    return {play: None if part == hosts else part for play, part in found.items() if part}


@pytest.mark.parametrize(
    ("described", "taking_place"),
    [
        (plan(), {"stage", "turn"}),
        (plan(drains=True), {"stage", "turn_in_steps"}),
        (plan(store="openbao"), {"keep", "stage", "compare", "turn_in_steps"}),
        (plan(unit="fleet"), {"stage", "turn", "decide", "finish"}),
        (plan(unit="fleet", drains=True), {"stage", "turn_in_steps", "decide", "finish"}),
        (plan(unit="fleet", store="openbao"), {"stage", "compare", "turn", "decide", "promote", "finish"}),
        (plan(unit="fleet", shares=True), {"reach", "stage", *SHARED, "turn", "decide", "finish"}),
        (plan(unit="fleet", shares=True, until="ready"), {"reach"}),
        (plan(unit="fleet", examines_first=True), {"examine", "stage", "turn", "decide", "finish"}),
        (plan(unit="fleet", examines_first=True, until="ready"), {"examine"}),
        (plan(overlap="key_list"), {"stage", "turn"}),
        (plan(overlap="key_list", drains=True), {"stage", "lead", "reencrypt", "turn_in_steps"}),
        (
            plan(overlap="key_list", unit="fleet"),
            {"stage", "accept", "lead", "reencrypt", "turn", "decide", "finish"},
        ),
    ],
)
def test_a_play_takes_place_where_it_has_something_to_do(described: dict[str, Any], taking_place: set[str]) -> None:
    assert plays(described).keys() == taking_place


def test_one_host_speaks_for_a_shared_value_and_each_for_its_own() -> None:
    shared = plan(unit="fleet", store="openbao")
    assert plays(shared)["compare"] == plays(shared)["promote"] == ["app1"]
    assert plays(shared, speaker="app3")["promote"] == ["app3"]
    assert plays(plan(store="openbao"))["compare"] is None


def test_one_host_turns_what_all_share_while_all_are_stopped() -> None:
    shared = plays(plan(unit="fleet", shares=True), speaker="app2")
    assert [shared[play] for play in SHARED] == [["app2"], None, ["app2"]]
    assert not {"prepare_shared", "turn_shared"} & plays(plan(unit="fleet", shares=True), speaker="").keys()


def test_one_host_turns_what_all_share_while_all_serve_under_a_list_of_keys() -> None:
    listed = plan(unit="fleet", shares=True, overlap="key_list")
    forward, back = (plays(listed, speaker="app2", back=back) for back in (False, True))
    assert [forward[play] for play in ("accept", "lead", "reencrypt", "turn")] == [None, None, ["app2"], None]
    assert [back[play] for play in ("accept_back", "reencrypt_back", "take_back")] == [None, ["app2"], None]
    assert not {*SHARED, "reencrypt_back"} & forward.keys()
    assert not {"reencrypt", "reencrypt_back"} & plays(listed, speaker="", back=True).keys()


def test_one_host_alone_turns_what_it_could_share_in_one_call() -> None:
    assert not {*SHARED} & plays(plan(unit="fleet", shares=True), ["app1"]).keys()


def test_one_host_tells_the_issuer_and_the_old_value_ends_before_any_forgets_it() -> None:
    issued = plan(unit="fleet", issues=True)
    assert plays(issued) == {
        "issue": ["app1"],
        "end_old": ["app1"],
        **dict.fromkeys(("stage", "turn", "decide", "finish")),
    }
    assert plays(issued, back=True)["take_value_back"] == ["app1"]
    both_live = plays(issued | {"old_lives": True}, back=True)
    assert "take_value_back" not in both_live
    assert both_live["forget_new"] is None, "every host has kept the rotation open until then"
    assert "finish" in plays(issued, ["app1"]), "one host alone does not finish before the old value is ended"


def test_one_host_alone_finishes_when_it_decides_but_not_before_a_store() -> None:
    assert "finish" not in plays(plan(unit="fleet"), ["app1"])
    assert "finish" in plays(plan(unit="fleet", store="openbao"), ["app1"])


def test_a_fleet_goes_back_only_when_a_phase_has_failed_and_a_batch_does_it_itself() -> None:
    assert "take_back" in plays(plan(unit="fleet"), back=True)
    assert "take_back" not in plays(plan(), back=True)
    assert "accept_back" in plays(plan(unit="fleet", overlap="key_list"), back=True)
    assert "accept_back" not in plays(plan(unit="fleet"), back=True)


def test_nobody_takes_part_before_the_hosts_are_fixed() -> None:
    assert plays(plan(unit="fleet"), hosts=[], back=True) == {}


def test_a_host_that_gives_no_answer_is_left_out_only_where_each_has_its_own_value() -> None:
    assert who_goes_on("per_host", HOSTS, {}, ["app2"]) == ["app1", "app3"]
    assert who_goes_on("shared", HOSTS, {"app2": "its board is broken"}, ["app2"]) == ["app1", "app3"]
    with pytest.raises(KeyturnError, match=r"^app2 cannot be reached, and all hosts must hold the same value"):
        who_goes_on("shared", HOSTS, {}, ["app2"])


def test_a_host_that_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(
        KeyturnError, match=r"^keyturn_exclude names app9, and the application's hosts are app1, app2, app3$"
    ):
        who_goes_on("per_host", HOSTS, {"app9": "gone"}, [])
