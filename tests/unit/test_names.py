"""What a name promises: a module of which it says `_info` only reads, and every module that only tells something has such a name."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

LIBRARY = Path(__file__).parents[2] / "library"
# these tell nothing: they refuse, or make the plan that others follow
REFUSE = {"keyturn_agree", "keyturn_plan", "keyturn_validate"}


def only_reads(module: Path) -> bool:
    """Tell whether the documentation of a module says that it changes nothing in either mode."""
    texts = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == "DOCUMENTATION"
    }
    page = yaml.safe_load(texts["DOCUMENTATION"])
    said = str(page.get("attributes", {}).get("check_mode", {}).get("description", ""))
    return page.get("extends_documentation_fragment") == "keyturn.info" or said.startswith(
        ("Changes nothing anyway", "Changes nothing, with")
    )


def test_a_module_that_only_reads_is_named_info() -> None:
    modules = {path.stem: only_reads(path) for path in sorted(LIBRARY.glob("*.py"))}
    assert len(modules) > 30
    reads = {name for name, only in modules.items() if only}
    assert {name for name in modules if name.endswith("_info")} == reads - REFUSE
    assert reads > REFUSE
