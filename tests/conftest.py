"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support.lab import Lab

# how long an example takes says how busy the machine is, nothing else
settings.register_profile("keyturn", deadline=None)
settings.load_profile("keyturn")


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
