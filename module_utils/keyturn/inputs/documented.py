"""The documentation of an action of the controller is its argument spec, which stands nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .catalogue import Spec

OF_A_SPEC = ("type", "required", "default", "choices", "elements")


def arguments(page: Path) -> Spec:
    """Return the argument spec that the file ``page`` documents."""
    for node in ast.parse(page.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            return _spec(yaml.safe_load(ast.literal_eval(node.value))["options"])
    raise LookupError(f"{page} documents nothing")


def _spec(options: Mapping[str, Mapping[str, Any]]) -> Spec:
    def one(about: Mapping[str, Any]) -> dict[str, object]:
        within = {"options": _spec(about["suboptions"])} if "suboptions" in about else {}
        return {word: about[word] for word in OF_A_SPEC if word in about} | within

    return {name: one(about) for name, about in options.items()}
