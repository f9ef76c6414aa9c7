"""What a name promises: a module of which it says `_info` only reads, and every module that only tells something has such a name."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

LIBRARY = Path(__file__).parents[2] / "library"
# these tell nothing: they refuse, or make the plan that others follow
REFUSE = {"keyturn_agree", "keyturn_plan", "keyturn_validate"}


def in_check_mode(module: Path) -> str:
    """Return what the documentation of a module says that it does in check mode."""
    texts = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == "DOCUMENTATION"
    }
    attributes = yaml.safe_load(texts["DOCUMENTATION"]).get("attributes", {})
    return str(attributes.get("check_mode", {}).get("description", ""))


def test_a_module_that_only_reads_is_named_info() -> None:
    modules = {path.stem: in_check_mode(path) for path in sorted(LIBRARY.glob("*.py"))}
    assert len(modules) > 30
    # what changes nothing in either mode, and not in check mode alone
    reads = {
        name for name, text in modules.items() if text.startswith(("Changes nothing anyway", "Changes nothing, with"))
    }
    assert {name for name in modules if name.endswith("_info")} == reads - REFUSE
    assert reads > REFUSE
