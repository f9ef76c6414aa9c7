"""SIGKILL before every system call of a switch that reloads a service, and of its way back: both ways end it whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keyturn.host.phases import commit, rollback, stage, turn
from support import selection
from support.faults import Call, record
from support.reloading import App


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    made = App(tmp_path / "host")
    yield made
    made.stop()


def check_ended(app: App, outcome: str, value: str) -> None:
    """Check that file and process have one value, and nothing of a kill is left."""
    journal = app.rotation().application.journals()[-1]
    assert (journal.phase, journal.record["outcome"]) == ("closed", outcome)
    whole = app.value() == value and app.answers("/ask", value)
    assert whole, "file or process has another value"
    assert not list(app.app.rglob("*.keyturn*")) and not journal.path("pending.json").exists()


def settled(app: App, module: str, **parameters: object) -> list[Call]:
    """Return the calls that two runs in a row make: the end of a reload is waited for, and one may look once more than others do."""
    calls: list[Call] = []
    while (found := app.calls(module, **parameters)) != calls:
        calls = found
        app.restore("begin")
    return calls


@pytest.mark.parametrize("module", ["switch", pytest.param("rollback", marks=pytest.mark.exhaustive)])
def test_a_kill_before_any_call_ends_whole(
    app: App, module: str, record_property: Callable[[str, object], None]
) -> None:
    parameters = {"cause": "a test"} if module == "rollback" else {}
    stage.run(app.rotation())
    if module == "rollback":
        turn.run(app.rotation(), "switched")
    app.save("begin")
    new = app.rotation().staged_values(app.rotation().application.journals()[-1]).new["SHOP_TOKEN"]
    calls = settled(app, module, **parameters)
    series = f"SIGKILL at every call, {module} by a reload"
    chosen = [calls[index] for index in selection.calls(series, [call.name for call in calls])]
    record_property("points", [series, len(chosen), len(calls)])
    fired = converged = 0
    for call in chosen:
        app.restore("begin")
        fired += app.killed_module(module, call, **parameters)
        assert app.value() in ("first-value", new)
        app.save("fault")
        if app.rotation().application.journals()[-1].decision is None:
            turn.run(app.rotation(), "proved")
            commit.run(app.rotation(), "both")
            check_ended(app, "committed", new)
            app.restore("fault")
        rollback.run(app.rotation(), "a test", abandon_commit=False)
        check_ended(app, "rolled_back", "first-value")
        converged += 1
    record(series, {"points": len(chosen), "fired": fired, "lost_rows": 0, "converged": converged})
    assert chosen and fired == len(chosen)
