"""A service that is left down fails the test that leaves it, unless the test says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import standing
from support.faults import Host
from support.lab import Lab


def test_a_service_that_keyturn_would_leave_down_is_found(host: Host) -> None:
    assert host.lab.left() == []
    standing.check(left_open=False)
    host.go_to("staged")
    pid = (host.lab.app / "run/pid").read_text()
    gate = host.rotation().application.folder / "switching"
    gate.touch()
    assert host.lab.left() == [f"{gate} keeps it down"]
    gate.unlink()
    host.stop()
    host.lab.watch("backend")
    with pytest.raises(AssertionError, match="keyturn has left it so"):
        standing.check(left_open=False)
    standing.check(left_open=True)
    host.start()
    assert (host.lab.app / "run/pid").read_text() != pid
    with pytest.raises(AssertionError, match="take the mark left_open away"):
        standing.check(left_open=True)


def test_what_a_test_stops_itself_is_not_missed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.start()
    lab.stop()
    standing.check(left_open=False)
