"""Both steps of a commit in one call: in their order, and what is left when the second one fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import commit, finish, prove, rollback
from keyturn.host.phases.answers import open_journal
from support.faults import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host that has proved its new value."""
    made = Host(tmp_path / "host")
    made.go_to("proved")
    yield made
    made.stop()


def test_both_steps_end_the_rotation_and_a_repetition_changes_nothing(host: Host) -> None:
    assert commit.run(host.rotation(), "both")["changed"]
    host.check_ended("committed")
    assert not commit.run(host.rotation(), "both")["changed"]


def test_the_decision_stands_when_the_second_step_fails(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object) -> None:
        raise KeyturnError("3 rows still need the old value")

    with monkeypatch.context() as patch:
        patch.setattr(finish, "_check_nothing_needs_old", refuse)
        with pytest.raises(KeyturnError, match="3 rows still need"):
            commit.run(host.rotation(), "both")
    (journal,) = host.lab.journals()
    assert (journal["phase"], journal["decision"]) == ("proved", "commit")
    with pytest.raises(KeyturnError, match=r"it only goes forward, run resume\.yml"):
        rollback.run(host.rotation(), cause="a test", abandon_commit=False)
    commit.run(host.rotation(), "both")
    host.check_ended("committed")


def test_nothing_is_closed_before_the_decision(host: Host) -> None:
    """Until every host has decided, each must be able to go back."""
    before = host.lab.journals()
    with pytest.raises(KeyturnError, match="is not decided on this host"):
        commit.run(host.rotation(), "finish")
    assert host.lab.journals() == before
    rollback.run(host.rotation(), cause="a test", abandon_commit=False)
    host.check_ended("rolled_back")


def test_no_step_is_taken_before_the_proof(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    host.go_to("switched")
    with pytest.raises(KeyturnError, match="is not proved on this host"):
        commit.run(host.rotation(), "both")
    assert not host.lab.journals()[0].get("decision")
    host.stop()


def test_neither_proof_nor_end_while_the_file_holds_the_old_value_again(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    old = host.lab.env.read_bytes()
    host.go_to("switched")
    rotation = host.rotation()
    new = host.lab.env.read_bytes()
    host.lab.env.write_bytes(old)
    with pytest.raises(
        KeyturnError, match=r"is the old value .* again .* goes back; see that nobody does, then rotate again"
    ):
        prove.run(rotation, open_journal(rotation))
    host.lab.env.write_bytes(new)
    prove.run(rotation, open_journal(rotation))
    host.lab.env.write_bytes(old)
    with pytest.raises(
        KeyturnError, match=r"is the old value .* again .* put the new value back .* then run resume.yml"
    ):
        commit.run(rotation, "both")
    assert host.lab.journals()[0]["phase"] == "proved"
    host.lab.env.write_bytes(new)
    commit.run(rotation, "both")
    assert [(journal["phase"], journal["outcome"]) for journal in host.lab.journals()] == [("closed", "committed")]
    host.stop()
