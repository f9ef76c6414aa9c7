"""SIGKILL at the calls of a switch that programs of the application's do, over data that only they read: it is whole, on one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from support import selection
from support.faults import WAYS, Host, record
from support.turning import CHECKED, NO_INVERSE, WORD, keep_in_vault, read, write


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("migration", "module", "phase"),
    [
        (CHECKED, "switch", "prepared"),
        pytest.param(CHECKED, "rollback", "switched", marks=pytest.mark.exhaustive),
        pytest.param(NO_INVERSE, "switch", "prepared", marks=pytest.mark.exhaustive),
        # the word is given once: what goes on after the kill has it from the journal, or goes forward
        (NO_INVERSE, "rollback", "switched"),
    ],
)
def test_a_kill_before_any_call_leaves_it_whole(
    host: Host, migration: dict[str, Any], module: str, phase: str, record_property: Callable[[str, object], None]
) -> None:
    keep_in_vault(host, migration)
    parameters = {"cause": "a test"} if module == "rollback" else {}
    host.go_to(phase)
    last = "first"
    if migration is NO_INVERSE and module == "rollback":
        host.more |= WORD
        write(host, host.new, last := "later")
    host.save("begin")
    calls = host.calls(module, **parameters)
    series = f"SIGKILL at every call, {module}, data that programs turn{'' if 'back' in migration else ', without an inverse'}"
    chosen = [calls[index] for index in selection.calls(series, [call.name for call in calls])]
    record_property("points", [series, len(chosen), len(calls)])
    fired = 0
    for number, call in enumerate(chosen):
        host.restore("begin")
        if not host.killed_module(module, call, **parameters):
            continue
        fired += 1
        host.learn()
        decided = host.journal().get("decision") == "rollback"
        back = WAYS[number % 2] == "back" or decided
        (go_back(host, decided) if migration is NO_INVERSE else host.go_back()) if back else host.go_forward()
        assert (read(host), host.journal()["outcome"]) == (("first", "rolled_back") if back else (last, "committed"))
        assert (host.lab.key() == host.old) == back
        assert host.lab.get("/health") == 200
    record(series, {"points": len(chosen), "fired": fired, "lost_rows": 0, "converged": fired})
    assert fired == len(chosen)


def go_back(host: Host, decided: bool) -> None:
    """Go back without a word; with one only where the service was started, and nobody has given it before the kill."""
    host.more["overrides"] = {}
    try:
        host.go_back()
    except KeyturnError as refused:
        assert (not decided, host.journal()["phase"], "no inverse" in str(refused)) == (True, "switched", True)
        host.more |= WORD
        host.go_back()
    finally:
        host.more |= WORD
