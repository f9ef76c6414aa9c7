"""Prepare in calls of some seconds: what the controller prints, and what a call finds of the one before."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keyturn import sqlite_file
from keyturn.lifecycle import prepare
from support.faults import Host
from support.lab import ROOT


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose calls prepare one page of five rows each."""
    monkeypatch.setattr(prepare, "SECONDS", 0)
    monkeypatch.setattr(sqlite_file.pages, "__defaults__", ((), 5))
    made = Host(tmp_path / "host")
    made.go_to("staged")
    yield made
    made.stop()


def test_calls_go_on_and_say_how_far_they_are(host: Host) -> None:
    said = []
    while "progress" in (result := prepare.run(host.rotation())):
        assert result["rotation"]["phase"] == "preparing"
        said.append(re.sub(r"[\d,]+ rows/s, \d+ s", "RATE rows/s, N s", result["progress"]))
    assert said == [f"{read} of 12 rows prepared, RATE rows/s, N s left" for read in (5, 10)]
    assert result["rotation"]["phase"] == "prepared"
    assert [step["phase"] for step in result["rotation"]["history"]].count("preparing") == 1
    assert result["rotation"]["prepared"]["read"] == 12
    host.go_forward()
    host.check_ended("committed")


@pytest.mark.parametrize("damage", ["changed", "cut", "nonsense", "gone"])
def test_a_side_file_that_does_not_match_is_thrown_away(host: Host, damage: str) -> None:
    prepare.run(host.rotation())
    side = host.state_file("prepared.db")
    content = side.read_bytes()
    if damage == "gone":
        side.unlink()
    else:
        bad = {"changed": content[:-9] + b"damaged!!", "cut": content[:4096], "nonsense": b"nonsense" * 500}
        side.write_bytes(bad[damage])
    assert prepare.run(host.rotation())["rotation"]["prepared"]["read"] == 5
    host.go_forward()
    host.check_ended("committed")


def test_what_a_killed_call_has_written_is_taken_back(host: Host) -> None:
    prepare.run(host.rotation())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.SideFile, "checksum", lambda side: 1 / 0)
        patch.setattr(prepare, "side_file", lambda journal: prepare.SideFile(journal.path("prepared.db")))
        with pytest.raises(ZeroDivisionError):
            prepare.run(host.rotation())
    # the file has come further than the journal: it does not match, and is made anew
    assert prepare.run(host.rotation())["rotation"]["prepared"]["read"] == 5
    host.go_back()
    host.check_ended("rolled_back")


def test_the_plugin_prints_each_answer_and_returns_the_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("plugin", ROOT / "plugins/action/keyturn_host.py")
    assert spec is not None and spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    answers: list[dict[str, Any]] = [{"progress": "1 of 3 rows"}, {"progress": "2 of 3 rows"}, {"changed": True}]

    class Action(plugin.ActionModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._task = SimpleNamespace(action="keyturn_prepare", args={"rotation": "the"})

        def _execute_module(self, name: str, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            assert (name, args) == ("keyturn_phase", {"phase": "prepare", "rotation": "the"})
            return answers.pop(0)

    monkeypatch.setattr(plugin.ActionBase, "run", lambda self, tmp, task_vars: {})
    assert Action().run(task_vars={"inventory_hostname": "app1"}) == {"changed": True}
    assert capsys.readouterr().out.splitlines() == ["app1: 1 of 3 rows", "app1: 2 of 3 rows"]
