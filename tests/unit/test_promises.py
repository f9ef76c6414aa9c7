"""The page of promises names commands that there are."""

from __future__ import annotations

import re

import pytest
from support.lab import ROOT

PAGE = (ROOT / "docs/promises.md").read_text()
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith(("| promise", "|---"))]


@pytest.mark.parametrize("row", ROWS)
def test_each_promise_can_be_tried_again(row: str) -> None:
    command = row.split("|")[-2]
    paths = re.findall(r"tests/\w+/\w+\.py", command)
    targets = re.findall(r"make (\w+)", command)
    assert paths or targets
    assert all((ROOT / path).is_file() for path in paths)
    assert all(re.search(rf"^[\w ]*\b{target}\b[\w ]*:", (ROOT / "Makefile").read_text(), re.M) for target in targets)
