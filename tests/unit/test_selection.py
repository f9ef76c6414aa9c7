"""The rule by which a run takes points of a matrix: every kind is among them, whatever the seed."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import selection

CALLS = st.lists(st.sampled_from(["write", "fsync", "rename", "unlink", "fchmod", "pwrite64"]), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def not_exhaustive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(selection.EXHAUSTIVE, raising=False)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"))), st.integers())
def test_every_kind_is_among_the_points_that_are_taken(kinds: list[tuple[int, str]], seed: int) -> None:
    taken = selection.covering(range(len(kinds)), lambda index: kinds[index], random.Random(seed))
    every = {kind for pair in kinds for kind in pair}
    assert {kind for index in taken for kind in kinds[index]} == every
    assert taken == sorted(set(taken)), "each once, in their order"
    assert len(taken) <= len(every)


def test_which_point_of_a_kind_is_taken_is_chance() -> None:
    points = [(number, "a kind") for number in range(20)]
    found = {selection.covering(points, lambda point: point[1:], random.Random(seed))[0] for seed in range(200)}
    assert found == set(points)


@given(names=CALLS, seed=st.integers(0, 9))
def test_calls_are_taken_of_each_name_and_within_each_step(names: list[str], seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(selection.SEED, str(seed))
        taken = selection.calls("a series", names)
        assert taken == selection.calls("a series", names), "a seed repeats a run"
        patch.setenv(selection.EXHAUSTIVE, "1")
        assert selection.calls("a series", names) == list(range(len(names)))
    assert {names[index] for index in taken} == set(names)
    steps = selection.steps(names)
    assert {steps[index] for index in taken} == set(steps)


def test_a_step_ends_where_a_file_comes_to_its_name_or_goes() -> None:
    names = ["write", "fsync", "rename", "fsync", "unlink", "fsync"]
    assert selection.steps(names) == [0, 0, 0, 1, 1, 2]


MATRIX = """
import pytest

@pytest.mark.covering("fault", ("phase", "way"))
@pytest.mark.parametrize("fault", ["power", "network", "controller"])
@pytest.mark.parametrize("phase", ["stage", "switch"])
@pytest.mark.parametrize("way", ["back", "forward"])
def test_matrix(fault, phase, way):
    pass

@pytest.mark.covering(number=lambda number: number % 2)
@pytest.mark.parametrize("number", range(6))
def test_derived(number):
    pass

@pytest.mark.covering
@pytest.mark.parametrize("number", range(6))
def test_alike(number):
    pass

@pytest.mark.exhaustive
def test_long():
    pass

def test_other():
    pass
"""


def items(pytester: pytest.Pytester) -> list[pytest.Item]:
    pytester.makeini("[pytest]\nmarkers =\n covering\n exhaustive\n")
    return pytester.getitems(MATRIX)


def test_a_parametrized_matrix_is_covered_and_what_is_left_is_said(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(selection.SEED, "7")
    found = items(pytester)
    kept = selection.select(found)
    taken = [item.callspec.params for item in kept if item.name.startswith("test_matrix")]
    assert {one["fault"] for one in taken} == {"power", "network", "controller"}
    assert len({(one["phase"], one["way"]) for one in taken}) == 4 == len(taken)
    assert "test_other" in [item.name for item in kept]
    lines = selection.summary(SimpleNamespace(user_properties=item.user_properties) for item in kept)
    counts = [["1", "of", "6", "test_alike"], ["2", "of", "6", "test_derived"], ["4", "of", "12", "test_matrix"]]
    assert [line.split() for line in lines[:3]] == counts
    assert {item.callspec.params["number"] % 2 for item in kept if item.name.startswith("test_derived")} == {0, 1}
    assert [line.rpartition("::")[2] for line in lines[3:]] == ["test_long"]
