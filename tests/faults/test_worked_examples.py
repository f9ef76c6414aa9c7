"""Applications of others, from the package index: their keys are turned while they write, by the folders that we ship for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.fingerprint import fingerprint
from keyturn.inputs.application import Application
from support.canary import Scanner
from support.faults import Play, hold, record, release
from support.lab import ROOT
from support.postgres import Server, server
from support.worked import ROWS, Airflow, Hub, Worked, Writer

STATES = ("staged", "prepared", "switching", "switched", "proved", "decided")
# of Airflow, which takes its time, each state has one of the two ways, and the switch both
KILLS = [
    (Airflow, state, way)
    for number, state in enumerate(STATES)
    for way in ("resume", "rollback")
    if state == "switching" or (way == "resume") == bool(number % 2)
]


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worked]:
    """An application that runs, with data that its own API has made."""
    application = request.node.callspec.params["application"]
    (tmp_path / "host").mkdir()
    found = application(tmp_path / "host")
    found.start()
    found.fill()
    yield found
    found.stop()


@pytest.mark.covering
@pytest.mark.parametrize("way", ["resume", "rollback"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("application", [Hub])
def test_a_kill_while_jupyterhub_writes_loses_nothing(
    lab: Worked, application: type[Worked], state: str, way: str
) -> None:
    check_kill(lab, state, way)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("application", "state", "way"), KILLS)
def test_a_kill_while_airflow_writes_loses_nothing(
    lab: Worked, application: type[Worked], state: str, way: str
) -> None:
    check_kill(lab, state, way)


def check_kill(lab: Worked, state: str, way: str) -> None:
    """Turn the key while clients write, kill all of the run in a state, end it, and hold what is read against what was acknowledged."""
    old = lab.key()
    hold(lab, state)
    with Writer(lab) as writer:
        run = Play(lab, "rotate", "-e", f"keyturn_secret={lab.secret}")
        run.wait_for(state)
        run.kill("all")
        release(lab)
        done = lab.play(way)
        if way == "rollback" and state == "decided":
            assert "only goes forward, run resume.yml" in done.stdout
            done = lab.play("resume")
        assert done.returncode == 0, done.stdout
        writer.wait_for(ROWS)  # with the key that it has now
    goes_on = way == "resume" or state == "decided"
    assert (lab.key() != old) == goes_on
    lost = writer.lost()
    assert lost == []
    (journal,) = lab.journals()
    assert (journal["phase"], journal["outcome"]) == ("closed", "committed" if goes_on else "rolled_back")
    note = f"{state}: {way}, {writer.count} writes"
    record(
        f"SIGKILL while {lab.application} writes",
        {"points": 1, "fired": 1, "lost_rows": len(lost), "converged": 1} | {"note": note},
    )


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as made:
        yield made


WAYS = ["one key", "list", "own command"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", WAYS)
def test_jupyterhub_on_postgresql_is_turned_while_it_writes(postgres: Server, tmp_path: Path, way: str) -> None:
    check_postgresql(Hub(tmp_path, postgres.database("hub"), way))


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", WAYS)
def test_airflow_on_postgresql_is_turned_while_it_writes(postgres: Server, tmp_path: Path, way: str) -> None:
    check_postgresql(Airflow(tmp_path, postgres.database("airflow"), way))


def check_postgresql(lab: Worked) -> None:
    """Turn the key while a client writes, and hold what the application reads against what it has acknowledged."""
    lab.start()
    try:
        lab.fill()
        old = lab.key()
        with Writer(lab) as writer:
            writer.wait_for(ROWS)
            done = lab.play("rotate", "-e", f"keyturn_secret={lab.secret}")
            assert done.returncode == 0, done.stdout
            writer.wait_for(ROWS)
        assert lab.key() not in (old, "") and lab.separator not in lab.key()
        assert writer.lost() == []
        (journal,) = lab.journals()
        done = lab.play("verify")
        assert (journal["outcome"], done.returncode) == ("committed", 0), done.stdout
        print(
            f"{lab.application} on PostgreSQL, {lab.way}: {writer.count} writes, none lost, down for {journal['downtime_seconds']} s"
        )
    finally:
        lab.stop()


@pytest.mark.parametrize("application", [Hub, pytest.param(Airflow, marks=pytest.mark.exhaustive)])
def test_what_people_have_described_is_found(lab: Worked, application: type[Worked], tmp_path: Path) -> None:
    written = {path: path.read_bytes() for path in lab.app.rglob("*.env")}
    before = lab.read()
    done = lab.play("rotate", "-e", f"keyturn_secret={lab.secret}", "--check")
    assert done.returncode == 0, done.stdout
    lab.forget_description()
    folder = tmp_path / "adopted"
    done = lab.play("adopt", "-e", f"keyturn_dest={folder}")
    assert done.returncode == 0, done.stdout
    assert fingerprint(lab.key()) in done.stdout
    values = {"key": lab.key(), **{f"value of {name}": str(value) for name, value in before.items()}}
    files = "".join(path.read_text() for path in folder.iterdir())
    assert Scanner(values).find((done.stdout + files).encode()) == set()
    assert {path: path.read_bytes() for path in written} == written
    assert lab.read() == before
    done = lab.play("validate", "-e", f"keyturn_application={folder}")
    assert done.returncode == 0, done.stdout
    (found,) = Application(folder).part("catalogue.yml", "secrets").values()
    (shipped,) = Application(ROOT / "applications" / lab.application).part("catalogue.yml", "secrets").values()
    filled = {place for place in columns(shipped) if place[0] not in lab.told.get("keyturn_allow_empty_tables", ())}
    assert columns(found) == filled
    for name in ("source", "variables"):
        assert found[name] == shipped[name]
    assert found["migration"].get("key") == shipped["migration"].get("key")


def columns(entry: Any) -> set[tuple[str, str]]:
    """Return the columns of a catalogue's entry."""
    return {(one["table"], one["column"]) for one in entry["migration"]["columns"]}
