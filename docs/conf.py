"""The pages as a site (``make site``), by Sphinx: links and headings that are not there are errors."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

project = "Keyturn"
copyright = "the Keyturn maintainers, GPL-3.0-or-later"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Keyturn"
html_show_sourcelink = False
# the last draws diagrams: `make site` brings it, so that the site fetches nothing
html_static_path = ["site.css", "diagrams.js", "../.venv/mermaid.min.js"]
html_css_files = ["site.css"]
# an anchor is made as GitHub makes it, where the pages are read as well
myst_heading_anchors = 6
highlight_language = "none"
myst_fence_as_directive = ["mermaid"]
# a page may have a table in the place of headings of every level
suppress_warnings = ["myst.header"]

# what stands in the margin: a page, or pages by a pattern
NAVIGATION: dict[str, tuple[str, ...]] = {
    "What it is": ("docs/guides/first-rotation", "docs/promises", "docs/performance"),
    "Guides": ("docs/guides/*", "docs/stores", "docs/production", "docs/recovery", "docs/incident"),
    "Operation": ("docs/monitoring", "docs/notification", "docs/storage", "docs/security", "docs/policy-line-by-line"),
    "Reference": ("docs/reference/*", "docs/settings", "docs/policy", "docs/dependencies"),
    "Why, and how to change it": (
        "docs/architecture",
        "docs/decisions/README",
        "CONTRIBUTING",
        "docs/contributing/README",
        "SECURITY",
        "CHANGELOG",
        "docs/README",
    ),
}
# below a page of the margin
BELOW = {"docs/decisions/README": "[0-9]*", "docs/contributing/README": "[a-z]*"}


def pages(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the pages under each caption; one that stands by its name elsewhere does not come by a pattern as well."""
    named = {name for wanted in NAVIGATION.values() for name in wanted}
    for caption, wanted in NAVIGATION.items():
        found = {
            name: [str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.glob(f"{name}.md"))]
            for name in wanted
        }
        yield caption, [one for name, paths in found.items() for one in paths if one == name or one not in named]


def toctree(caption: str, wanted: list[str]) -> str:
    """Return the directive that puts pages into the margin."""
    head = ["", "```{toctree}", ":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join([*head, "", *wanted, "```", ""])


def add_navigation(app: Any, name: str, source: list[str]) -> None:
    """Add the margin to the front page: GitHub would show it as text, so it does not stand in the file."""
    if name == "index":
        source[0] += "".join(toctree(caption, wanted) for caption, wanted in pages(Path(app.srcdir)))
    if name in BELOW:
        source[0] += toctree("", [BELOW[name]])


class Diagram(Directive):  # type: ignore[misc]
    """A fence ``mermaid``, which GitHub draws as well: its text, for the page's script to draw."""

    has_content = True

    def run(self) -> list[Any]:
        """Return the text as it stands."""
        return [nodes.raw("", f'<pre class="mermaid">{escape(chr(10).join(self.content))}</pre>', format="html")]


def add_scripts(app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Have a page with a diagram draw it."""
    if 'class="mermaid"' in context.get("body", ""):
        app.add_js_file("mermaid.min.js")
        app.add_js_file("diagrams.js", loading_method="defer")


def setup(app: Any) -> None:
    """Connect with Sphinx."""
    app.add_directive("mermaid", Diagram)
    app.connect("source-read", add_navigation)
    app.connect("html-page-context", add_scripts)
