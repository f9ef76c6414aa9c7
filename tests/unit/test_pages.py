"""What a page for contributors names is there, and what is run before a commit is what `make lint` runs."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from picture import ROOT as TREE
from picture import WIDEST, shown, svg
from support.lab import ROOT

from bench import readme

OF_THE_ROOT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in OF_THE_ROOT), *sorted((ROOT / "docs").rglob("*.md"))]
ABOUT_CODE = [
    page
    for page in PAGES
    if page.parent.name in ("contributing", "decisions") or page.name in ("architecture.md", "CONTRIBUTING.md")
]
FILE = re.compile(r"`([a-z0-9_./-]+\.(?:py|yml|md|toml|json))`")
# what a host keeps, what a run writes, and files that are not the repository's own
ELSEWHERE = {
    "journal.json",
    "pending.json",
    "previous.json",
    "status.json",
    "accounts.json",
    "config/config.json",
    "main.py",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for place, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        target = (page.parent / place) if place else page
        assert target.exists(), f"{place} is not there"
        heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, (
            anchor
        )


@pytest.mark.parametrize("page", ABOUT_CODE, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    def is_there(name: str) -> bool:
        return any((folder / name).exists() for folder in (ROOT, ROOT / "module_utils/keyturn", ROOT / "docs")) or (
            "/" not in name and any(ROOT.glob(f"[a-z]*/**/{name}"))
        )

    assert [name for name in FILE.findall(page.read_text()) if name not in ELSEWHERE and not is_there(name)] == []


def test_before_a_commit_the_linters_of_make_are_run() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0].splitlines()[1:]
    linters = [re.sub(r"^@(\$\(\w+\) )?| \.$", "", line.strip()) for line in recipe]
    assert len(linters) > 4
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [one["repo"] for one in hooks] == ["local"], "nothing is fetched"
    entries = [hook["entry"] for hook in hooks[0]["hooks"]]
    assert [linter for linter in linters if not any(linter in entry for entry in entries)] == []


def test_the_readme_is_short_and_has_the_figures_of_the_benchmark() -> None:
    page = readme.PAGE.read_text()
    assert readme.written(page, json.loads(readme.RESULTS.read_text())) == page, "run make docs"
    assert len(page.splitlines()) < 90, "what is long belongs to docs/guides or docs/reference"


def test_every_page_is_listed() -> None:
    listed = {
        (ROOT / "docs" / place).resolve()
        for place in re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs/README.md").read_text())
    }
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page.parent.name not in ("contributing", "decisions")}
    assert pages - listed - {ROOT / "docs/README.md"} == set()


def test_the_picture_is_made_by_its_script() -> None:
    path = ROOT / "docs/run.svg"
    lines: list[str] = []
    for text in ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text"):
        place = (int(text.attrib["y"]) - 32) // 19
        lines += [""] * (place - len(lines)) + [text.text or ""]
    assert svg(lines) == path.read_text(), "run make picture"
    assert any(line.startswith("COMMITTED: ") for line in lines)


def test_a_picture_has_no_path_of_this_machine_and_no_line_that_is_too_long() -> None:
    output = f"{TREE}/x <&>\n\n{'y' * 200}\n\n[x] a point\nmore\n"
    command, first, empty, last = shown(output)
    assert command.startswith("$ ")
    assert (first, empty, len(last)) == ("~/keyturn/x <&>", "", WIDEST)
    assert "~/keyturn/x &lt;&amp;&gt;</text>" in svg([first])
