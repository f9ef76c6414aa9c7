"""SIGKILL before every system call with which a phase changes something.

strace delivers the signal at the entry of a call, so the disk holds what the calls before it did. The calls are those of
a clean run: `make exhaustive` takes all of them and leaves each by both ways, shared out to several tests, so that two
workers have an even load. `make test` takes one of each name and one within each step of the order of writes, and leaves them
by the two ways by turns. `switch` and `rollback`, which touch the database, are killed in both journal modes. Where the
application is another user's, root works with that user's ids on its ground and as itself elsewhere: `make test` takes kills of both.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import forked, others, selection
from support.faults import WAYS, Call, Host, record

SHARES = 4 if selection.exhaustive() else 1
# What is killed, the phase that it starts from, and the journal mode of the database, which may have texts with tokens in them as well,
# or a second database beside it, or a value that stands in files of every sort, and of which the key is made by a rule.
SERIES = [
    ("switch", "prepared", "delete"),
    ("switch", "prepared", "wal and everywhere"),
    ("switch", "prepared", "delete and JSON"),
    ("switch", "prepared", "delete and two"),
    ("switch", "prepared", "delete and program"),
    ("rollback", "proved", "delete"),
    ("rollback", "switched", "wal"),
    *(
        [
            ("switch", "prepared", "wal"),
            ("rollback", "switched", "delete and everywhere"),
            ("rollback", "switched", "delete and JSON"),
            ("switch", "prepared", "wal and two"),
            ("rollback", "switched", "delete and two"),
            ("rollback", "switched", "wal and program"),
            ("rollback", "switching", "delete and program"),
            ("prepare", "staged", "delete and two"),
            ("commit", "decided", "delete and two"),
        ]
        if selection.exhaustive()
        else []
    ),
    ("stage", "nothing", "delete"),
    ("prepare", "staged", "delete"),
    ("commit", "decided", "delete"),
    ("switch", "prepared", "delete and theirs"),
    *(
        [
            ("switch", "prepared", "wal and theirs"),
            ("rollback", "switched", "delete and theirs"),
            ("stage", "nothing", "delete and theirs"),
        ]
        if selection.exhaustive()
        else []
    ),
]


@pytest.fixture
def host(tmp_path: Path, journal_mode: str) -> Iterator[Host]:
    mode, _, more = journal_mode.partition(" and ")
    if more == "theirs" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with others.ground() if more == "theirs" else contextlib.nullcontext(tmp_path / "app") as app:
        given = {
            "documents": more == "JSON",
            "vault": more == "two",
            "everywhere": more == "everywhere",
            "theirs": more == "theirs",
            "program": 60 * (more == "program"),
        }
        made = Host(app.parent / "host", mode, **given)  # type: ignore[arg-type]
        yield made
        made.stop()


def taken(series: str, calls: list[Call]) -> list[int]:
    """Return which calls are killed; of those that are made by turns as two users, a few of each."""
    if not any(call.acting for call in calls):
        return selection.calls(series, [call.name for call in calls])
    if selection.exhaustive():
        return list(range(len(calls)))
    kinds = [(call.acting, call.name.startswith(selection.ENDS_A_STEP)) for call in calls]
    return selection.covering(range(len(calls)), lambda index: [kinds[index]], selection.draw(series))


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize(("module", "phase", "journal_mode"), SERIES, ids=["-".join(line) for line in SERIES])
def test_a_kill_before_any_call_loses_nothing(
    host: Host,
    journal_mode: str,
    module: str,
    phase: str,
    share: int,
    record_property: Callable[[str, object], None],
) -> None:
    parameters = {"rollback": {"cause": "a test"}, "commit": {"step": "finish"}}.get(module, {})
    if phase != "nothing":
        host.go_to(phase)
    host.save("begin")
    calls = host.calls(module, **parameters)
    # Where all are taken, one more of each name: it must not be reached, or a kill before it counts as well.
    counts = Counter(call.name for call in calls) if selection.exhaustive() else {}
    beyond = [Call(name, number + 1) for name, number in counts.items()]
    series = f"SIGKILL at every call, {module}, {journal_mode}"
    assert {call.acting for call in calls} == ({True, False} if host.theirs else {False})
    chosen = [calls[index] for index in taken(series, calls)][share::SHARES]
    record_property("points", [series, len(chosen), len(calls[share::SHARES])])
    reached = []
    lost = converged = 0
    todo = [*chosen, *beyond[share::SHARES]]
    for number, call in enumerate(todo):
        host.restore("begin")
        if host.killed_module(module, call, **parameters):
            reached.append(call)
            if call not in calls:
                todo.append(Call(call.name, call.number + 1))
            host.learn()
            lost += host.lost_rows()
            host.check_invariants()
            host.check_converges(selection.by_turns(series, WAYS, number))
            converged += 1
    record(series, {"points": len(chosen), "fired": len(reached), "lost_rows": lost, "converged": converged})
    assert chosen
    assert set(chosen) <= set(reached), "a kill did not fire"
    assert (lost, converged) == (0, len(reached))


def test_what_a_module_imports_first_is_no_call_of_its_own(tmp_path: Path) -> None:
    """A run that wrote compiled code would make calls that no run after it makes, and kills before those would not fire."""
    module, arguments = tmp_path / "module.py", tmp_path / "arguments"
    module.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport imported_first\n")
    (tmp_path / "imported_first.py").write_text("print('was imported')\n")
    arguments.write_text("{}")
    assert "was imported" in forked.run(str(module), str(arguments)).stdout
    assert not list(tmp_path.rglob("*.pyc"))
