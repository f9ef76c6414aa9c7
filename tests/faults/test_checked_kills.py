"""SIGKILL at the calls of a switch that programs of the application's do, over data that only they read: it is whole, on one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import selection
from support.faults import WAYS, Host, record
from support.turning import keep_in_vault, read


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    keep_in_vault(made)
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("module", "phase"),
    [("switch", "prepared"), pytest.param("rollback", "switched", marks=pytest.mark.exhaustive)],
)
def test_a_kill_before_any_call_leaves_it_whole(
    host: Host, module: str, phase: str, record_property: Callable[[str, object], None]
) -> None:
    parameters = {"cause": "a test"} if module == "rollback" else {}
    host.go_to(phase)
    host.save("begin")
    calls = host.calls(module, **parameters)
    series = f"SIGKILL at every call, {module}, data that programs turn"
    chosen = [calls[index] for index in selection.calls(series, [call.name for call in calls])]
    record_property("points", [series, len(chosen), len(calls)])
    fired = 0
    for number, call in enumerate(chosen):
        host.restore("begin")
        if not host.killed_module(module, call, **parameters):
            continue
        fired += 1
        host.learn()
        back = WAYS[number % 2] == "back" or host.journal().get("decision") == "rollback"
        host.go_back() if back else host.go_forward()
        assert (read(host), host.journal()["outcome"]) == ("first", "rolled_back" if back else "committed")
        assert (host.lab.key() == host.old) == back
        assert host.lab.get("/health") == 200
    record(series, {"points": len(chosen), "fired": fired, "lost_rows": 0, "converged": fired})
    assert fired == len(chosen)
