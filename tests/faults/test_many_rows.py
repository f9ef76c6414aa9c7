"""SIGKILL at sampled system calls where rows go through batches, in many pages and several calls of prepare.

KEYTURN_MANY_ROWS and KEYTURN_MANY_KILLS take other numbers, for a night's run: a million rows take minutes for each kill,
most of it for the stock Fernet that then reads every row.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from keyturn.host.phases import prepare, turn
from support import selection
from support.faults import Call, Host, record

ROWS = int(os.environ.get("KEYTURN_MANY_ROWS", "5000"))
SAMPLE = int(os.environ.get("KEYTURN_MANY_KILLS", "3"))
STRACE_COUNTS_TO = 65535
SERIES = [
    ("prepare", "staged", "delete"),
    ("switch", "prepared", "delete"),
    ("switch", "prepared", "wal"),
    ("rollback", "proved", "delete"),
]


def in_turn(calls: Sequence[Call], chance: random.Random) -> Iterator[Call]:
    """Yield calls at random, one of each name and then the next: nearly all of them write pages."""
    by_name: dict[str, list[Call]] = defaultdict(list)
    for call in chance.sample(calls, len(calls)):
        if call.number <= STRACE_COUNTS_TO:
            by_name[call.name].append(call)
    for one_of_each in itertools.zip_longest(*by_name.values()):
        yield from (call for call in one_of_each if call)


@pytest.fixture
def host(tmp_path: Path, journal_mode: str) -> Iterator[Host]:
    made = Host(tmp_path / "host", journal_mode, ROWS)
    yield made
    made.stop()


@pytest.mark.covering("module")
@pytest.mark.parametrize(("module", "phase", "journal_mode"), SERIES, ids=["-".join(line) for line in SERIES])
def test_a_kill_among_many_rows_loses_nothing(
    host: Host,
    journal_mode: str,
    module: str,
    phase: str,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    parameters = {"cause": "a test"} if module == "rollback" else {}
    host.go_to(phase)
    if module == "prepare":
        with monkeypatch.context() as patch:
            patch.setattr(prepare, "SECONDS", 0)
            assert "progress" in turn.run(host.rotation(), "prepared")
    host.save("begin")
    calls = host.calls(module, **parameters)
    seed = os.environ[selection.SEED]
    record_property("points", [f"SIGKILL at sampled calls, {module}, {journal_mode}", SAMPLE, len(calls)])
    lost = converged = 0
    # polls of a service make a run now and then a call shorter than the clean one, and then its last call is not reached
    for call in in_turn(calls, selection.draw(f"{module}.{journal_mode}")):
        if converged == SAMPLE:
            break
        print(call)
        host.restore("begin")
        if host.killed_module(module, call, **parameters):
            host.learn()
            lost += host.lost_rows()
            host.check_invariants()
            host.check_converges()
            converged += 1
    record(
        f"SIGKILL at sampled calls, {ROWS:,} rows, {module}, {journal_mode}",
        {"points": SAMPLE, "fired": converged, "lost_rows": lost, "converged": converged, "note": f"seed {seed}"},
    )
    assert (lost, converged) == (0, SAMPLE)
