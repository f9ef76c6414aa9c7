"""The pages of the reference that are made from specs are as the specs are, and each variable is told of by a person as well."""

from __future__ import annotations

import re

import pytest
from keyturn.inputs import variables
from support import reference, repeated
from support.lab import ROOT

MADE = reference.pages()
REPEATED = repeated.files()
TOLD = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in MADE]


@pytest.mark.parametrize("name", MADE)
def test_the_shipped_page_is_made_from_the_specs(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == MADE[name], "run make docs"


@pytest.mark.parametrize("name", REPEATED)
def test_what_is_repeated_of_the_catalogue_is_as_the_catalogue_is(name: str) -> None:
    assert (ROOT / name).read_text() == REPEATED[name], "run make docs"


def test_every_playbook_has_its_row() -> None:
    page = (reference.FOLDER / "playbooks.md").read_text()
    playbooks = [path.name for path in (ROOT / "playbooks").glob("[a-z]*.yml")]
    assert [name for name in playbooks if f"`{name}`" not in page] == [], "write a row by hand"


def test_every_field_and_module_has_its_row() -> None:
    for module in (ROOT / "library").glob("*.py"):
        assert f"\n## {module.stem}\n" in MADE["modules.md"]
    for field in ("`generator`", "`health_url`", "`kms_key`", "### `migration.columns[]`", "`keyturn_until`"):
        assert field in MADE["fields.md"]


def test_a_page_says_what_each_variable_means() -> None:
    pages = "\n".join(page.read_text() for page in TOLD)
    lacking = [
        name for name in variables.VARIABLES.keys() - set(variables.PARTS) if not re.search(rf"\b{name}\b", pages)
    ]
    assert lacking == []
