"""What the controller does in one task, taken as the action's plugin takes it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from keyturn.inputs.documented import arguments
from keyturn.inputs.validation import taken

LIBRARY = Path(__file__).parents[2] / "library"


def take(name: str, given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Run the action ``keyturn_NAME`` and return its result."""
    action = import_module(f"keyturn.steps.{name}")
    spec = arguments(LIBRARY / f"keyturn_{name}.py")
    return dict(action.run(taken(name, action, spec, dict(given)), check_mode))
