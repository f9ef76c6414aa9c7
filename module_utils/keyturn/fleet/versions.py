"""The steps of a rotation in the store, as the controller takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..base.errors import KeyturnError
from ..base.generate import GENERATORS
from ..base.shown import harmless
from ..host.phases.answers import HostAnswer
from ..stores.contract import BY_HAND, Store, Version, refuse_other
from .recovery import needs_value

Result = dict[str, object]


@dataclass(frozen=True)
class Step:
    """One step: the store, the path in it, and the parameters of the module ``keyturn_store``."""

    store: Store
    path: str
    check_mode: bool
    rotation_id: str
    variables: Sequence[str]
    generator: str | None
    new_values: Mapping[str, str] | None
    hosts: Mapping[str, HostAnswer]
    old: Mapping[str, str]
    new: Mapping[str, str]
    abandoned: str


def find(step: Step) -> Result:
    """Return the pending value of this rotation, or one that a person has put there."""
    pending = step.store.read(step.path).pending
    if pending is None or pending.rotation_id not in ("", step.rotation_id):
        return {"changed": False}
    return {"changed": False, "new_values": _whole(step, pending)}


def _whole(step: Step, pending: Version) -> dict[str, str]:
    """Return a pending value of exactly the secret's variables: a host writes every one that it is given into its files."""
    if set(pending.values) != set(step.variables):
        raise KeyturnError(
            f"{step.path}: the pending value in the store has {harmless(', '.join(sorted(pending.values)))} and the secret has "
            f"{', '.join(step.variables)}: write it with exactly these names ({BY_HAND})"
        )
    return dict(pending.values)


def stage(step: Step) -> Result:
    """Make the new value pending and return it: what this rotation has staged before, what was brought, or a new one."""
    if not needs_value(step.rotation_id, step.hosts):
        return {"changed": False}
    if step.check_mode:
        step.store.read(step.path)  # the login and the policy are good for that much
        return {"changed": True}
    if step.abandoned:
        step.store.discard(step.path, step.abandoned)
    pending = step.store.read(step.path).pending
    if pending is not None and pending.rotation_id == step.rotation_id and step.new_values is None:
        values = _whole(step, pending)
    else:
        values = dict(step.new_values or _generated(step))
    changed = step.store.stage(step.path, step.rotation_id, values)
    _check_kept(step, values)
    return {"changed": changed, "new_values": values}


def _check_kept(step: Step, values: Mapping[str, str]) -> None:
    """Refuse a store that does not give back what it has taken: a host would learn a value that can never become current."""
    pending = step.store.read(step.path).pending
    if pending is None or (dict(pending.values), pending.rotation_id) != (dict(values), step.rotation_id):
        step.store.discard(step.path, step.rotation_id)
        raise KeyturnError(
            f"{step.path}: the store has taken the new value and does not give it back; no host has learned it: see what "
            "keyturn_store names, and what stands between it and this controller, then rotate anew"
        )


def _generated(step: Step) -> dict[str, str]:
    if step.generator is None:
        raise KeyturnError(f"{step.path}: no new value came with this call: run the playbook again")
    return {name: GENERATORS[step.generator]() for name in step.variables}


def compare(step: Step) -> Result:
    """Refuse while the store and the hosts hold different current values: nobody knows which is right."""
    refuse_other(step.path, step.store.read(step.path), step.old, step.new)
    return {"changed": False}


def promote(step: Step) -> Result:
    """Make the pending value current."""
    if step.check_mode:
        return {"changed": True}
    return {"changed": step.store.promote(step.path, step.rotation_id, step.old, step.new)}


def discard(step: Step) -> Result:
    """Forget the pending value."""
    return {"changed": not step.check_mode and step.store.discard(step.path, step.rotation_id)}


def destroy(step: Step) -> Result:
    """Forget the previous value."""
    return {"changed": not step.check_mode and step.store.destroy_previous(step.path, step.rotation_id)}


STEPS: dict[str, Callable[[Step], Result]] = {
    "compare": compare,
    "destroy": destroy,
    "discard": discard,
    "find": find,
    "promote": promote,
    "stage": stage,
}
