"""The lists of keys that files hold on the way from the old value to the new one, where the application reads such a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rotation import Rotation
    from .values import Staged


def accepting(rotation: Rotation, staged: Staged) -> dict[str, str]:
    """Return the values with which a process reads both keys and writes under the old one."""
    return _joined(rotation, staged.old, staged.new)


def leading(rotation: Rotation, staged: Staged) -> dict[str, str]:
    """Return the values with which a process reads both keys and writes under the new one."""
    return _joined(rotation, staged.new, staged.old)


def between(rotation: Rotation, staged: Staged) -> list[dict[str, str]]:
    """Return what files may hold besides the old value and the new one; nothing where the application reads one key."""
    return [accepting(rotation, staged), leading(rotation, staged)] if rotation.separator else []


def _joined(rotation: Rotation, first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    joined = {name: f"{first[name]}{rotation.separator}{second[name]}" for name in rotation.variables}
    rotation.hide(joined.values())
    return joined
