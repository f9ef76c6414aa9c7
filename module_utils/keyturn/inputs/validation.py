"""What is given is validated by the spec that documents it, whoever gives it: a module's task, the inventory, an action."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

from ..base import shape
from ..base.errors import KeyturnError
from . import catalogue
from .catalogue import ServiceSpec, Spec, StoreSpec

# What an action of the controller is given, and what it answers: its documentation in library/ is the shape of both.
Parameters = Mapping[str, Any]
Answer = dict[str, object]


def validated(where: str, spec: Spec, value: object, required_if: object = None) -> dict[str, Any]:
    """Return ``value`` with defaults; KeyturnError names ``where`` and the legal values."""
    if not isinstance(value, dict):
        raise KeyturnError(f"{where} must be a mapping")
    own = copy.deepcopy(dict(spec))  # a default is handed out as it is, and filled in where it stands
    try:
        outcome = ArgumentSpecValidator(own, required_if=required_if).validate(value)
    except (AttributeError, TypeError):  # of what should be a mapping or a list and is none
        raise KeyturnError(
            f"{where}: something in it is of another type than docs/reference/variables.md says"
        ) from None
    if outcome.errors.errors:
        raise KeyturnError(f"{where}: {'; '.join(_said(error) for error in outcome.errors.errors)}")
    return dict(outcome.validated_parameters)


def taken(name: str, action: ModuleType, spec: Spec, arguments: object) -> dict[str, Any]:
    """Return what the action ``name`` of the controller was given, with defaults, when it is what the action may rest on."""
    found = validated(f"keyturn_{name}", spec, arguments)
    form = action.shape(found) if hasattr(action, "shape") else getattr(action, "SHAPE", {})
    remedy = "see what the inventory, the catalogue or the host says there"
    shape.check(f"keyturn_{name}", {"*": shape.TEXTS}, found, remedy)
    shape.check(f"keyturn_{name}", form, found, remedy)
    return found


def _said(error: Exception) -> str:
    # AnsibleModule writes these words itself, the validator alone leaves them out
    return f"Unsupported parameters: {error}" if isinstance(error, UnsupportedError) else str(error)


def services(described: Mapping[str, object]) -> dict[str, ServiceSpec]:
    """Return ``keyturn_services`` with defaults."""
    return {
        name: validated(f"keyturn_services.{name}", catalogue.SERVICE, spec, catalogue.SERVICE_REQUIRED_IF)
        for name, spec in described.items()
    }


def store(described: object) -> StoreSpec:
    """Return ``keyturn_store`` with defaults."""
    from ..base import http  # only the controller asks this

    spec = validated("keyturn_store", catalogue.STORE, described, catalogue.STORE_REQUIRED_IF)
    if spec["url"] is not None and (fault := http.fault(spec["url"])):
        raise KeyturnError(f"keyturn_store: url {fault}; docs/stores.md says how a login comes")
    return spec
