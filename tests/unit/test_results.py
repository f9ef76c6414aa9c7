"""No result of ours uses a key that Ansible takes for its own: from 2.21 on such a key becomes what Ansible means by it."""

from __future__ import annotations

import ast
from importlib import import_module

import pytest
import yaml
from support.lab import ROOT

# of ansible-core 2.21, and what a play reads of any result before that
RESERVED = {
    *(
        "_ansible_",
        "ansible_facts",
        "ansible_job_id",
        "ansible_stats",
        "async_result",
        "attempts",
        "break_when_result",
        "censored",
    ),
    *(
        "changed_when_result",
        "deprecations",
        "exception",
        "failed_when_result",
        "false_condition",
        "finished",
        "include_args",
    ),
    *(
        "include_file",
        "invocation",
        "item",
        "module_stderr",
        "module_stdout",
        "notify",
        "rc",
        "registered_values",
        "results",
        "retries",
    ),
    *("skip_reason", "skipped", "skipped_reason", "started", "stderr", "stdout", "unreachable", "warnings"),
}
# those whose meaning is ours as well
SHARED = {"changed", "diff", "failed", "msg"}
MODULES = sorted((ROOT / "library").glob("keyturn_*.py"))


def documented(text: str) -> set[str]:
    """The keys that a module says it returns."""
    assigned = {node.targets[0].id: node.value for node in ast.parse(text).body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    return set(yaml.safe_load(assigned["RETURN"].value))  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", MODULES, ids=[path.stem for path in MODULES])
def test_no_result_has_a_key_of_ansibles(module: object) -> None:
    assert documented(ROOT.joinpath(str(module)).read_text()) & RESERVED == set()


def test_the_keys_that_this_ansible_reserves_are_known() -> None:
    result = getattr(import_module("ansible._internal._task"), "UnifiedTaskResult", None)
    if result is None:
        pytest.skip("before 2.21 ansible-core has no list of them")
    of = result.get_result_key_to_resolved_field_mapping(source_is_module=False)
    unknown = {key for key in of if not key.startswith("_ansible_")} - RESERVED - SHARED
    assert unknown == set()


def test_no_result_that_code_puts_together_has_one_either() -> None:
    """Results are known by their key ``changed``, whatever the documentation says of them."""
    found = {}
    for path in [*(ROOT / "module_utils/keyturn").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *MODULES]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                if "changed" in keys and keys & RESERVED:
                    found[f"{path.name}:{node.lineno}"] = keys & RESERVED
    assert found == {}
