"""Ask the provider whether the old value still lives, before anything goes back to it."""

from __future__ import annotations

from ...base.errors import KeyturnError
from .. import values
from ..journal import Journal, Verdict, utc_now
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from .answers import HostAnswer, result, would

ACCEPTED: Verdict = {"verdict": "accepted", "detail": "nobody outside can have ended it"}


def run(rotation: Rotation) -> HostAnswer:
    """Write down what the provider says of the old value, and return it. A value that is dead is never put back.

    A person who knows better overrides that with a reason, such as when the new value is dead as well.
    """
    journal = rotation.application.get(rotation.rotation_id)
    if journal is None or journal.closed:
        return {
            "changed": False,
            "verdict": "accepted",
            "touched": False,
            "rotation": journal.record if journal else {},
        }
    # where nothing was switched, and no issuer told, there is nothing to put back: only a staged value to forget
    touched = journal.reached("issuing")
    if rotation.check_mode:
        said = _ask(rotation, journal)
        only = (
            "go back only to a value that its provider accepts"
            if touched
            else "discard what was staged, whatever the provider says of the old value"
        )
        told = would(f"{only}: it says {said['verdict']} ({said['detail']})")
        return told | {"verdict": said["verdict"], "touched": touched, "rotation": journal.record}
    with rotation.application.lock("ask_provider", LOCK_WAIT_SECONDS):
        said = _ask(rotation, journal)
        journal.update(old_credential={**said, "at": utc_now()})
        return result(journal, changed=True) | {"verdict": said["verdict"], "touched": touched}


def _ask(rotation: Rotation, journal: Journal) -> Verdict:
    if not rotation.entry["provider"]:
        return ACCEPTED
    reason = rotation.overrides.get("dead_value")
    if reason:
        return {"verdict": "accepted", "detail": f"overridden: {reason}"}
    try:
        old = values.read(journal).old if journal.reached("staged") else rotation.current_values()
    except KeyturnError as error:
        return {"verdict": "unknown", "detail": str(error)}
    rotation.hide(old.values())
    reply = rotation.ask_provider(old)
    return {"verdict": reply.verdict, "detail": reply.detail}
