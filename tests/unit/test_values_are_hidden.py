"""Whatever a phase reads is masked in all that its module returns, before anything can go wrong with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from keyturn.base.errors import KeyturnError
from keyturn.entry import module
from keyturn.entry.module import Phase
from keyturn.host.journal import Journal
from keyturn.host.phases import ask_provider, commit, delivery, replace_tokens, retire, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs.catalogue import ENTRY
from keyturn.inputs.validation import validated
from support.brought import VARIABLES
from support.fakes import FakePlaid
from support.faults import Host
from support.lab import KEY, Lab, catalogue

MASKED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
NEW = "a-value-that-a-person-has-brought"


def hiding(rotation: Rotation, **changes: Any) -> tuple[Rotation, set[str]]:
    """The rotation, and the set of what it hides."""
    hidden: set[str] = set()
    return dataclasses.replace(rotation, hide=hidden.update, **changes), hidden


def test_a_phase_hides_what_it_reads_and_what_it_makes(host: Host) -> None:
    rotation, hidden = hiding(host.rotation())
    stage.run(rotation)
    host.learn()
    known = {"old": host.old, "new": host.new}
    assert {name for name, value in known.items() if value in hidden} == {"old", "new"}
    for call in (lambda told: turn.run(told, "proved"), lambda told: commit.run(told, "both")):
        rotation, hidden = hiding(host.rotation())
        call(rotation)
        assert {name for name, value in known.items() if value in hidden} == {"old", "new"}


def test_a_refused_stage_hides_what_it_was_given(host: Host) -> None:
    """Refused before anything is read: the application's file is gone."""
    host.lab.env.unlink()
    rotation, hidden = hiding(host.rotation())
    with pytest.raises(KeyturnError):
        stage.run(rotation, new_values={KEY: NEW})
    assert hidden == {NEW}


READERS: dict[str, Callable[[Rotation, Journal], Any]] = {
    "current": lambda rotation, journal: rotation.current_values()[KEY],
    "staged, old": lambda rotation, journal: rotation.staged_values(journal).old[KEY],
    "staged, new": lambda rotation, journal: rotation.staged_values(journal).new[KEY],
}


@pytest.mark.parametrize("reader", READERS)
def test_a_message_that_holds_a_value_is_masked(host: Host, capsys: pytest.CaptureFixture[str], reader: str) -> None:
    """No code writes such a message; what hides a value must not rest on that."""
    host.go_to("staged")

    def leaking(rotation: Rotation) -> dict[str, Any]:
        raise KeyturnError(f"it is {READERS[reader](rotation, host.rotation().application.open_journal())}!")  # type: ignore[arg-type]

    with patch_module_args({"rotation": host.parameters()}), pytest.raises(SystemExit):
        module.run_phase(leaking, Phase(module.ROTATION))
    said = json.loads(capsys.readouterr().out)["msg"]
    assert "it is " in said and "!" in said
    shown = [name for name, value in (("old", host.old), ("new", host.new)) if value in said]
    assert shown == [], "a value was shown"


def test_the_new_value_of_a_call_that_is_refused_at_once_is_masked(tmp_path: Path) -> None:
    """Its parameters are wrong, so that no code of a phase has hidden anything."""
    lab = Lab(tmp_path)
    wrong = lab.rotation(services={"backend": {"manager": "hope"}})
    answer = lab.module("stage", rotation=wrong, new_values={KEY: NEW})
    assert answer["failed"]
    shown = NEW in json.dumps(answer)
    assert not shown, "the new value was shown"
    # since 2.21 ansible-core does not repeat the arguments of a call that fails
    assert MASKED in json.dumps(answer) or "invocation" not in answer


@pytest.fixture
def plaid(tmp_path: Path) -> Iterator[tuple[Lab, Rotation, FakePlaid]]:
    """A host whose service is down, its Plaid credential staged, and the provider that knows nobody."""
    with FakePlaid() as fake:
        lab = Lab(tmp_path)
        entry = catalogue()["plaid"] | {"provider": {"kind": "plaid", "url": fake.url}, "services": []}
        given = {"secret": "plaid", "entry": validated("entry", ENTRY, entry), "app_user": None, "services": {}}
        rotation = Rotation(**lab.rotation() | given | {"app_root": lab.app, "state_dir": lab.state})
        yield lab, rotation, fake


def test_what_is_asked_of_a_provider_is_hidden(plaid: tuple[Lab, Rotation, FakePlaid]) -> None:
    _, rotation, fake = plaid
    held = rotation.current_values()
    pair = tuple(held[name] for name in VARIABLES["plaid"])
    fake.valid = {pair: "ours"}
    stage.run(rotation, new_values=held | {"PLAID_SECRET": NEW})

    told, hidden = hiding(rotation)
    assert ask_provider.run(told)["verdict"] == "accepted"
    assert pair[1] in hidden

    journal = rotation.application.open_journal()
    assert journal is not None
    journal.update(retire={"state": "open"})
    told, hidden = hiding(rotation)
    with pytest.raises(KeyturnError, match="still accepts the old credential"):
        retire.ask(told, [journal])
    assert pair[1] in hidden


def test_what_replaces_tokens_is_hidden(plaid: tuple[Lab, Rotation, FakePlaid]) -> None:
    lab, rotation, _ = plaid
    entry = validated("entry", ENTRY, lab.rotation()["entry"])
    issuer = rotation.entry
    told, hidden = hiding(rotation, secret="db_key", entry=entry)
    with pytest.raises(KeyturnError, match="the credential in use is rejected"):
        replace_tokens.run(told, issuer, 1)
    assert {*rotation.current_values().values(), lab.key()} <= hidden


def test_what_is_delivered_is_hidden(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(delivery.Host):
        """A host without systemd that holds another secret's value."""

        def __init__(self, holdings: Any) -> None:
            self.holdings = holdings

        def check(self) -> None: ...

        def now(self) -> Any: ...

        def values(self, now: Any) -> dict[str, str]:
            return {"JWT_SECRET_KEY": NEW}

    monkeypatch.setattr(delivery, "Host", Bare)
    monkeypatch.setattr(delivery.os, "geteuid", lambda: 0)
    rotation, hidden = hiding(host.rotation())
    with pytest.raises(KeyturnError, match=f"{KEY} has no value on this host"):
        delivery.run([rotation])
    assert hidden == {NEW}
