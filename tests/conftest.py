"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support import reports, selection, standing
from support.lab import Lab

# how long an example takes says how busy the machine is, nothing else
settings.register_profile("keyturn", deadline=None)
settings.load_profile("keyturn")

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(selection.SEED, str(random.randrange(10**8)))  # the workers inherit it
    config.pluginmanager.register(AtOnce(config), "at_once")


class AtOnce:
    """Says what failed when it fails: a run that is cut off has told it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the test and the place, where this process prints at all."""
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal:
            crash = getattr(report.longrepr, "reprcrash", None)
            terminal.write_line(
                f"\n{report.nodeid} ({report.when}, {report.duration:.0f} s): {str(crash or report.longrepr)[:2000]}"
            )


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is loaded stays: no test has to look through it for what is not used any more
    gc.set_threshold(50_000)


def pytest_report_header() -> str:
    return f"points of the matrices: {_which()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not selection.exhaustive():
        kept = selection.select(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = selection.summary(
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
    )
    if lines:
        terminalreporter.section(f"points taken: {_which()}")
        terminalreporter.write("\n".join([*lines, ""]))
    figures = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if (name, report.when) == ("figure", "call")
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write("\n".join([*figures, ""]))
    late = [
        f"{value}  ({report.nodeid})"
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if (name, report.when) == ("late", "call")
    ]
    if late:
        terminalreporter.section(f"{len(late)} refusals after a stop")
        terminalreporter.write("\n".join([*late, ""]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    result = yield  # and what the test has made is still there
    standing.check(item.get_closest_marker("left_open") is not None)
    return result


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.when == "call":
        item.user_properties += [("late", cause) for cause in reports.refused_after_the_stop]
        reports.refused_after_the_stop.clear()


def _which() -> str:
    seed = os.environ[selection.SEED]
    return (
        "all"
        if selection.exhaustive()
        else f"one of each kind, by the seed {seed} ({selection.SEED}={seed} repeats it)"
    )


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Make labs whose services end with the test."""
    labs: list[Lab] = []

    def make(**options: Any) -> Lab:
        folder = tmp_path / f"lab{len(labs)}"
        folder.mkdir()
        labs.append(Lab(folder, **options))
        return labs[-1]

    yield make
    for lab in labs:
        lab.stop()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """One lab of 12 rows in all forms, its service running."""
    made = make_lab()
    made.start()
    return made
