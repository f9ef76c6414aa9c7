"""The pages of docs/reference/ that are made from specs: what a field may be, the roles' variables, the modules.

``python -m support.reference`` writes them anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any

import yaml
from keyturn.inputs import catalogue, variables
from keyturn.inputs.catalogue import Spec

from support.lab import ROOT

FOLDER = ROOT / "docs/reference"
FRAGMENT = "extends_documentation_fragment"
MADE = "<!-- made by `make docs` from {} -->"
# what Ansible's documentation marks, as Markdown has it
MARKS = {"C": "`{}`", "V": "`{}`", "O": "`{}`", "I": "*{}*", "B": "**{}**", "M": "[`{0}`](#{0})"}


def marked(text: str | list[str], between: str = " ") -> str:
    """Return a description with its marks as Markdown has them, safe in a cell of a table."""
    whole = text if isinstance(text, str) else between.join(text)
    said = re.sub(r"\b([CVOIBM])\(([^)]*)\)", lambda found: MARKS[found[1]].format(found[2]), whole)
    return said.replace("|", r"\|").strip()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table, and an empty one."""
    names = [*head]
    lines = [names, ["---"] * len(names), *rows]
    return [*(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines), ""]


def kind_of(option: Mapping[str, Any]) -> str:
    """Return what an option of a spec may be."""
    if "options" in option:
        return "a list, see below" if option["type"] == "list" else "see below"
    if "choices" in option:
        return ", ".join(f"`{one}`" if one else "empty" for one in option["choices"])
    return f"list of {option['elements']}" if "elements" in option else str(option["type"])


def default_of(option: Mapping[str, Any]) -> str:
    """Return what counts where nobody says an option."""
    if option.get("required"):
        return "required"
    given = option.get("default")
    if given is None or given in ("", [], {}):
        return "" if given is None else "empty"
    if isinstance(given, str) and "{{" in given:
        return "by other variables"
    return f"`{yaml.safe_dump(given, default_flow_style=True).removesuffix('...' + chr(10)).strip()}`"


# --- what a field may be ---

FIELDS = (
    ("## An entry of `secrets` in `catalogue.yml`", catalogue.ENTRY, []),
    ("## A service in `keyturn_services`", catalogue.SERVICE, catalogue.SERVICE_REQUIRED_IF),
    ("## The secret store, `keyturn_store`", catalogue.STORE, catalogue.STORE_REQUIRED_IF),
)


def fields() -> str:
    """Return the page of all fields."""
    return "\n".join(
        [
            "# What each field may be",
            "",
            MADE.format("`inputs/variables.py` and `inputs/catalogue.py`"),
            "",
            "A run refuses by name what is not here, before it asks a host. What a field means stands with [the variables](variables.md),",
            "[the entry of a secret](../contributing/secret.md#the-entry) and [the stores](../stores.md).",
            "",
            "## Variables",
            "",
            *table(("variable", "may be"), _variables()),
            *(line for heading, spec, needs in FIELDS for line in _spec(heading, spec, needs)),
        ]
    )


def _variables() -> Iterator[tuple[str, str]]:
    own = yaml.safe_load((ROOT / "applications/trader_ai/variables.yml").read_text())
    kinds = {**variables.VARIABLES, **{name: variables.kind_of(told) for name, told in own.items()}}
    for name in sorted(kinds.keys() - set(variables.PARTS)):
        yield f"`{name}`", kinds[name].says


def _spec(heading: str, spec: Spec, needs: list[list[Any]], place: str = "") -> Iterator[str]:
    yield from (heading, "")
    yield from table(
        ("field", "may be", "if left out"),
        ((f"`{name}`", kind_of(option), default_of(option)) for name, option in sorted(spec.items())),
    )
    for field, value, wanted in needs:
        if wanted:
            yield f"- `{field}: {value}` wants {', '.join(f'`{one}`' for one in wanted)}."
    yield from [""] if any(wanted for *_, wanted in needs) else []
    for name, option in sorted(spec.items()):
        if "options" in option:
            inner = f"{place}{name}" + ("[]" if option["type"] == "list" else "")
            yield from _spec(f"### `{inner}`", option["options"], option.get("required_if", []), f"{inner}.")


# --- the roles ---


def roles() -> str:
    """Return the page of the roles' variables."""
    lines = [
        "# Variables of the roles",
        "",
        MADE.format("each role's `meta/argument_specs.yml` and `defaults/main.yml`"),
        "",
        "The playbooks call the roles. An inventory sets what begins with `monitoring_`; the others are what a playbook hands on.",
        "",
    ]
    for page in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        role = page.parents[1]
        standard = role / "defaults/main.yml"
        defaults = yaml.safe_load(standard.read_text()) if standard.exists() else {}
        lines += [f"## {role.name}", ""]
        for name, about in yaml.safe_load(page.read_text())["argument_specs"].items():
            lines += [f"**{name}**: {marked(about['short_description'])}.", "", *_options(about["options"], defaults)]
    return "\n".join(lines)


def _options(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    return table(
        ("variable", "may be", "if left out", "meaning"),
        (
            (
                f"`{name}`",
                kind_of(option),
                default_of({**option, "default": defaults.get(name, option.get("default"))}),
                marked(option["description"]),
            )
            for name, option in options.items()
        ),
    )


# --- the modules ---


def modules() -> str:
    """Return the page of the modules."""
    lines = [
        "# Modules",
        "",
        MADE.format("the documentation in `library/`"),
        "",
        "The playbooks call them. `keyturn_haproxy` is one that hooks of an inventory use as well. `ansible-doc NAME` shows the same with",
        "examples.",
        "",
        *_shared(),
    ]
    for page in sorted((ROOT / "library").glob("*.py")):
        lines += _module(page)
    return "\n".join(lines)


OF_APPLICATION = "[`application`](#what-each-phase-is-told)"
SHARED = {
    "keyturn": "[`rotation`](#what-each-phase-is-told)",
    "keyturn.secrets": f"{OF_APPLICATION} and `secrets`, the catalogue (`keyturn_secrets`) or a part of it",
    "keyturn.secret": f"{OF_APPLICATION}, `secret`, the name of an entry of the catalogue, and `entry`, that entry",
}


def _shared() -> list[str]:
    """Return the section about what most modules take."""
    shared = run_path(str(ROOT / "plugins/doc_fragments/keyturn.py"))["ModuleDocFragment"]
    (rotation,) = yaml.safe_load(shared.DOCUMENTATION)["options"].values()
    application = yaml.safe_load(shared.SECRETS)["options"]["application"]
    return [
        "## What each phase is told",
        "",
        f"As `rotation`: {marked(rotation['description'])} A call that is about no rotation takes `application`, with",
        f"{', '.join(f'`{name}`' for name in application['suboptions'])} of these.",
        "",
        *table(("field", "may be", "if left out", "meaning"), _parameters(rotation["suboptions"])),
    ]


def _parameters(options: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, ...]]:
    for name, option in options.items():
        yield f"`{within}{name}`", kind_of(option), default_of(option), marked(option["description"])
        yield from _parameters(option.get("suboptions", {}), f"{within}{name}.")


def _module(page: Path) -> list[str]:
    about, returned = (yaml.safe_load(text) for text in _texts(page))
    shared = SHARED.get(about.get(FRAGMENT, ""), "")
    own = about.get("options", {})
    parameters = table(("parameter", "may be", "if left out", "meaning"), _parameters(own))
    answer = table(("returns", "is", "when", "meaning"), _returned(returned)) if returned else []
    return [
        f"## {page.stem}",
        "",
        marked(about["description"]),
        "",
        *([f"It takes {shared}{', and these:' if own else '.'}", ""] if shared else []),
        *(parameters if own else []),
        *answer,
    ]


def _returned(returned: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in returned.items():
        yield f"`{name}`", kind_of(value), marked(value["returned"]), marked(value["description"])


def _texts(page: Path) -> tuple[str, str]:
    """Return what a module says of itself and of its answer."""
    said = {
        ast.unparse(node.targets[0]): node.value.value
        for node in ast.parse(page.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    return said["DOCUMENTATION"], said["RETURN"]


def pages() -> dict[str, str]:
    """Return each page by the name of its file."""
    return {
        name: re.sub(r"\n{3,}", "\n\n", made()).rstrip("\n") + "\n"
        for name, made in {"fields.md": fields, "roles.md": roles, "modules.md": modules}.items()
    }


if __name__ == "__main__":
    for file, text in pages().items():
        (FOLDER / file).write_text(text)
