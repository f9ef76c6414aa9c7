"""The manager of each service, by the inventory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .script import ScriptService
from .service import Service

if TYPE_CHECKING:
    from ..inputs.catalogue import ServiceSpec


def _systemd(name: str, spec: ServiceSpec, app_root: Path, app_user: str | None, state: Path) -> Service:
    from .systemd import SystemdService

    return SystemdService(name, spec, app_root, app_user, state)


MANAGERS: dict[str, Callable[[str, ServiceSpec, Path, str | None, Path], Service]] = {
    "script": ScriptService,
    "systemd": _systemd,
}


def service(name: str, spec: ServiceSpec, app_root: Path, app_user: str | None, state: Path) -> Service:
    """Return the service of the inventory's entry ``name``."""
    return MANAGERS[spec["manager"]](name, spec, app_root, app_user, state)
