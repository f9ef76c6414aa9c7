"""The page about shapes of services has the tables that the tests' own rows make."""

from __future__ import annotations

from support import shapes


def test_the_shipped_page_is_made_from_the_rows() -> None:
    assert shapes.written(shapes.PAGE.read_text()) == shapes.PAGE.read_text(), "run make docs"


def test_every_shape_that_works_is_told_by_its_kind() -> None:
    assert {shape.kind for shape in shapes.WORKS.values()} == {*shapes.HAPPENS, *shapes.OPTIONS}
