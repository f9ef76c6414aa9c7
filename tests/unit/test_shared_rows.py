"""Rows that several hosts share: one of them turns them while all are stopped, and none starts on a value that they are not under."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.base.sides import Side
from keyturn.ground import rows
from keyturn.ground.rows.contract import Census, Unreached
from keyturn.host import probes
from keyturn.host.phases import commit, reach_info, rollback, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue, meaning
from keyturn.inputs.validation import validated
from unit.test_row_stores import ENTRY, KIND, ROTATION_ID, JsonRows, Notes, anew

HOSTS = ("app1", "app2", "app3")
NEW = {"NOTES_KEY": "second-key"}
ALL = ("prepared", "stopped", "turned", "proved")
LISTED = ("prepared", "accepts", "leads", "turned", "proved")
# hosts that do not reach the notes, by the folder of their application
AWAY: set[Path] = set()
# who has had them open from before
STALE: list[str] = []


class SharedRows(JsonRows):
    """The notes of all hosts in one file, which a host that is away does not reach."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        root: Path,
        variables: Sequence[str],
        values: Mapping[Side, Mapping[str, str]],
        accepted: Collection[str],
    ) -> None:
        super().__init__(spec, root, variables, values, accepted)
        self.root, self.label = root, "the notes of all"

    def _read(self) -> dict[str, str]:
        reached({}, self.root)
        return super()._read()

    def sample(self) -> Census:
        held = dict([*self._read().items()][:1])
        sides = {item: self._side(stored) for item, stored in held.items()}
        under: dict[Side, int] = {side: [*sides.values()].count(side) for side in ("old", "new")}  # type: ignore[misc]
        return {
            "rows": {"sealed": len(held)},
            "under": under,
            "refused": [*sides.values()].count(None),
            "refusals": "a",
            "empty_tables": [],
        }

    def opened_before(self, seconds: float) -> list[str]:
        return STALE


def reached(spec: Mapping[str, Any], root: Path) -> None:
    if root in AWAY:
        raise Unreached("the notes of all are not reached")


class Fleet:
    """Three hosts with one value and one file of notes."""

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        self.hosts = {}
        for name in HOSTS:
            (folder / name).mkdir()
            self.hosts[name] = Notes(folder / name, entry)
        self.file = Path(entry["migration"]["file"])
        self.speaker, self.rows_under = "app1", ""
        self.write("first-key")
        self.file.chmod(0o600)

    def write(self, key: str) -> None:
        self.file.write_text(json.dumps({name: f"{key}:{name}" for name in "abcd"}))

    def under(self) -> set[str]:
        return {stored.partition(":")[0] for stored in json.loads(self.file.read_text()).values()}

    def rotation(self, host: str, **more: Any) -> Rotation:
        told = {"speaker": self.speaker, "speaks": host == self.speaker, "rows_under": self.rows_under}
        return self.hosts[host].rotation(**told | more)

    def stage(self) -> dict[str, Any]:
        return {host: stage.run(self.rotation(host), NEW)["rotation"] for host in HOSTS}

    def turn(self, until: str, *hosts: str) -> dict[str, Any]:
        """Take hosts to a step, and hear as the controller does what the speaker says of the rows."""
        taking_part = hosts or ((self.speaker,) if until in ("prepared", "turned") else HOSTS)
        told = {}
        for host in taking_part:
            while "progress" in (answer := turn.run(self.rotation(host), until)):
                pass
            told[host] = answer["rotation"]
        self.rows_under = told.get(self.speaker, {}).get("rows_under", self.rows_under)
        return told

    def back(self, until: str, *hosts: str) -> dict[str, Any]:
        taking_part = hosts or ((self.speaker,) if until == "turned" else HOSTS)
        told = {host: rollback.run(self.rotation(host), "a test", False, until)["rotation"] for host in taking_part}
        self.rows_under = told.get(self.speaker, {}).get("rows_under", self.rows_under)
        return told

    def keys(self) -> set[str]:
        return {host.key() for host in self.hosts.values()}


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    monkeypatch.setitem(
        rows.KINDS, "shared_rows", KIND._replace(code=lambda: SharedRows, reach=reached, places=lambda *_: [])
    )
    monkeypatch.setattr(probes, "PROBES", anew(probes).PROBES)
    migration = {"kind": "shared_rows", "file": str(tmp_path / "notes.json")}
    more = {"value": "shared", "switch": "together", "migration": migration, "probes": [{"kind": "json_rows"}]}
    yield validated("entry", anew(catalogue).ENTRY, ENTRY | more)
    AWAY.clear()
    STALE.clear()


@pytest.fixture
def listed(tmp_path: Path, entry: dict[str, Any]) -> Fleet:
    """Hosts whose application reads a list of keys."""
    more = {"overlap": "key_list", "switch": "rolling", "key_list": {"separator": ",", "grace_seconds": 0}}
    return Fleet(tmp_path, entry | more)


@pytest.fixture
def fleet(tmp_path: Path, entry: dict[str, Any]) -> Fleet:
    return Fleet(tmp_path, entry)


def test_one_host_turns_the_rows_of_all(fleet: Fleet) -> None:
    staged = fleet.stage()
    assert [staged[host]["rows"] for host in HOSTS] == [{"sealed": 4}, {}, {}]
    assert {record["speaker"] for record in staged.values()} == {"app1"}
    fleet.turn("prepared")
    stopped = fleet.turn("stopped")
    assert {record["phase"] for record in stopped.values()} == {"switching"} and fleet.under() == {"first-key"}
    assert fleet.turn("turned")["app1"]["turned"]["turned"] == 4
    assert fleet.under() == {"second-key"} and fleet.keys() == {"first-key"}
    proved = fleet.turn("proved")
    assert fleet.keys() == {"second-key"} and "backup" in proved["app1"] and "backup" not in proved["app2"]
    opened = {
        host: [line["detail"] for line in record["proofs"] if line["proof"] == "rows"]
        for host, record in proved.items()
    }
    assert opened["app1"] == ["4 rows open under the new value, none under the other"]
    assert opened["app2"] == [
        "1 rows open under the new value, none under the other, of those looked at: app1 opens all"
    ]
    (fleet.file.parent / f"left-of-{ROTATION_ID}").touch()
    ended = {host: commit.run(fleet.rotation(host), "both")["rotation"]["outcome"] for host in reversed(HOSTS)}
    assert set(ended.values()) == {"committed"}
    assert not [*fleet.file.parent.glob("left-of-*")], "who turned them removes what that has left"


def test_what_was_done_is_not_done_again_and_another_step_may_come_twice(fleet: Fleet) -> None:
    fleet.stage()
    for step in ALL:
        fleet.turn(step)
        told = fleet.turn(step)
    assert told["app1"]["turned"] == {"turned": 4, "on_the_fly": 0, "left": ""} and fleet.keys() == {"second-key"}


@pytest.mark.parametrize("host", HOSTS[1:])
def test_no_host_starts_before_the_rows_are_turned(fleet: Fleet, host: str) -> None:
    fleet.stage()
    fleet.turn("prepared")
    fleet.turn("stopped")
    with pytest.raises(KeyturnError, match="its rows are not known to be under the new value, and app1 turns them"):
        fleet.turn("proved", host)
    assert fleet.keys() == {"first-key"}


@pytest.mark.parametrize("steps", range(len(ALL) + 1))
def test_all_go_back_from_any_step_and_one_turns_the_rows(fleet: Fleet, steps: int) -> None:
    fleet.stage()
    for step in ALL[:steps]:
        fleet.turn(step)
    for until in ("stopped", "turned", "rolled_back"):
        ended = fleet.back(until)
    assert {record["outcome"] for record in ended.values()} == {"rolled_back"}
    assert fleet.keys() == fleet.under() == {"first-key"}


def test_no_host_goes_back_before_the_rows_do(fleet: Fleet) -> None:
    fleet.stage()
    for step in ALL:
        fleet.turn(step)
    fleet.back("stopped")
    with pytest.raises(KeyturnError, match="its rows are not known to be under the old value"):
        fleet.back("rolled_back", "app2")
    assert fleet.keys() == {"second-key"}


@pytest.mark.parametrize("steps", range(1, len(ALL)))
@pytest.mark.parametrize("way", ["forward", "back"])
def test_another_host_takes_over_from_one_that_has_died(fleet: Fleet, steps: int, way: str) -> None:
    """What the first has done is seen in the rows; it comes back when the others have ended, and turns nothing any more."""
    fleet.stage()
    for step in ALL[:steps]:
        fleet.turn(step)
    fleet.speaker, fleet.rows_under = "app2", ""
    if way == "forward":
        for step in ALL:
            fleet.turn(step, *(host for host in ("app2", "app3") if step in ("stopped", "proved") or host == "app2"))
        fleet.turn("proved", "app1")
    else:
        for until in ("stopped", "turned", "rolled_back"):
            fleet.back(until, *(("app2",) if until == "turned" else ("app2", "app3")))
        fleet.back("rolled_back", "app1")
    side = "second-key" if way == "forward" else "first-key"
    assert fleet.keys() == fleet.under() == {side}


def test_a_host_that_does_not_reach_the_rows_goes_by_the_word_of_who_turns_them(fleet: Fleet) -> None:
    AWAY.add(fleet.hosts["app3"].app)
    holding = {"holding": fleet.rotation("app3")}
    assert reach_info.run(**holding) == {"changed": False, "reaches": False, "why": "the notes of all are not reached"}
    assert reach_info.run(fleet.rotation("app2"))["reaches"]
    found = fleet.stage()["app3"]["findings"]
    assert any("is not reached from here: app1 turns and proves its rows" in line for line in found)
    fleet.turn("prepared")
    fleet.turn("stopped")
    with pytest.raises(KeyturnError, match="its rows are not known to be under the new value"):
        fleet.turn("switched", "app3")
    fleet.turn("turned")
    fleet.turn("switched", "app3")
    assert fleet.hosts["app3"].key() == "second-key"
    with pytest.raises(
        KeyturnError, match=r"nothing has shown by its behaviour .*not reached from here: app1 opens them"
    ):
        fleet.turn("proved", "app3")
    fleet.back("stopped")
    with pytest.raises(KeyturnError, match="its rows are not known to be under the old value"):
        fleet.back("rolled_back", "app3")
    fleet.back("turned")
    assert fleet.back("rolled_back")["app3"]["outcome"] == "rolled_back"


def test_a_row_that_cannot_be_turned_is_refused_from_any_host(fleet: Fleet) -> None:
    fleet.write("a third key")
    for host in HOSTS:
        with pytest.raises(KeyturnError, match="cannot be turned"):
            stage.run(fleet.rotation(host), NEW)


def test_one_host_alone_turns_what_it_could_share_in_one_call(fleet: Fleet) -> None:
    stage.run(fleet.rotation("app1"), NEW)
    assert fleet.turn("proved", "app1")["app1"]["phase"] == "proved" and fleet.under() == {"second-key"}


def test_a_check_tells_who_turns_and_who_leaves_the_rows(fleet: Fleet) -> None:
    told = {host: turn.run(fleet.rotation(host, check_mode=True), "proved")["would"] for host in ("app1", "app2")}
    assert "turn the rows" in told["app1"] and "turn the rows" not in told["app2"]
    assert "leave the rows to app1" in told["app2"]


# -- a list of keys ------------------------------------------------------------------------------------------------------


def test_one_host_turns_the_rows_while_all_read_both_keys(listed: Fleet) -> None:
    listed.stage()
    listed.turn("accepts")
    listed.turn("leads")
    assert listed.keys() == {"second-key,first-key"} and listed.under() == {"first-key"}
    assert listed.turn("turned")["app1"]["rows_under"] == "new" and listed.under() == {"second-key"}
    proved = listed.turn("proved")
    assert listed.keys() == {"second-key"} and "backup" in proved["app1"] and "backup" not in proved["app2"]
    (listed.file.parent / f"left-of-{ROTATION_ID}").touch()
    ended = {host: commit.run(listed.rotation(host), "both")["rotation"]["outcome"] for host in HOSTS}
    assert set(ended.values()) == {"committed"} and not [*listed.file.parent.glob("left-of-*")]


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_drops_the_old_key_before_the_rows_are_turned(listed: Fleet, host: str) -> None:
    listed.stage()
    listed.turn("accepts")
    listed.turn("leads")
    with pytest.raises(KeyturnError, match=r"not known to be under the new value|does not have no row under the old"):
        listed.turn("proved", host)
    assert listed.keys() == {"second-key,first-key"}


@pytest.mark.parametrize("steps", range(len(LISTED) + 1))
def test_all_go_back_from_any_step_of_a_list_and_one_turns_the_rows(listed: Fleet, steps: int) -> None:
    listed.stage()
    for step in LISTED[:steps]:
        listed.turn(step, *(HOSTS if step != "turned" else ()))
    listed.back("accepts")
    if steps > 2:
        assert listed.keys() == {"first-key,second-key"}
    if steps > 3:
        with pytest.raises(KeyturnError, match="its rows are not known to be under the old value"):
            listed.back("rolled_back", "app2")
    listed.back("turned")
    assert {record["outcome"] for record in listed.back("rolled_back").values()} == {"rolled_back"}
    assert listed.keys() == listed.under() == {"first-key"}


@pytest.mark.parametrize("steps", range(1, len(LISTED)))
@pytest.mark.parametrize("way", ["forward", "back"])
def test_another_host_turns_the_rows_for_one_that_has_died_under_a_list(listed: Fleet, steps: int, way: str) -> None:
    listed.stage()
    for step in LISTED[:steps]:
        listed.turn(step, *(HOSTS if step != "turned" else ()))
    listed.speaker, listed.rows_under = "app2", ""
    others = HOSTS[1:]
    if way == "forward":
        for step in LISTED[1:]:
            listed.turn(step, *(others if step != "turned" else ()))
        for step in ("accepts", "leads", "proved"):
            listed.turn(step, "app1")
    else:
        for until in ("accepts", "turned", "rolled_back"):
            listed.back(until, *(others if until != "turned" else ()))
        listed.back("rolled_back", "app1")
    assert listed.keys() == listed.under() == {"second-key" if way == "forward" else "first-key"}


@pytest.mark.parametrize("reached", ["accepts", "leads"])
def test_hosts_that_have_ended_do_nothing_more_when_one_that_was_left_out_is_back(listed: Fleet, reached: str) -> None:
    listed.stage()
    listed.turn("accepts")
    if reached == "leads":
        listed.turn("leads")
    listed.speaker, others = "app2", HOSTS[1:]
    for step in ("leads", "turned", "proved"):
        listed.turn(step, *(others if step != "turned" else ()))
    for host in others:
        commit.run(listed.rotation(host), "both")
    for step in LISTED:
        listed.turn(step, *(HOSTS if step != "turned" else ()))
    assert listed.keys() == listed.under() == {"second-key"}


def test_who_has_had_the_rows_open_from_before_keeps_the_old_key(listed: Fleet) -> None:
    listed.stage()
    listed.turn("accepts")
    listed.turn("leads")
    STALE.append("session 7 of app")
    with pytest.raises(KeyturnError, match="session 7 of app has been open since before the hosts read the new key"):
        listed.turn("turned")
    STALE.clear()
    listed.turn("turned")
    STALE.append("session 7 of app")
    with pytest.raises(KeyturnError, match="session 7 of app has been open"):
        listed.turn("proved")
    assert listed.keys() == {"second-key,first-key"}
    for until in ("accepts", "turned", "rolled_back"):
        listed.back(until)
    assert listed.keys() == listed.under() == {"first-key"}


@pytest.mark.parametrize(("value", "switch"), [("per_host", "rolling"), ("shared", "rolling")])
def test_rows_that_are_one_for_all_have_one_value(entry: dict[str, Any], value: str, switch: str) -> None:
    other = entry | {"value": value, "switch": switch}
    with pytest.raises(KeyturnError, match="are one for all hosts, and so is the value that opens them"):
        meaning._check_rows("here", other)
