"""Finish: the second step of a commit, only when every host of the unit has decided."""

from __future__ import annotations

from ...base import durable
from ...base.errors import KeyturnError
from .. import values
from ..journal import Journal, utc_now
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..values import Staged
from . import evidence, retention, shared
from .answers import HostAnswer, forward_journal, result, timed, would
from .common import check_files_hold_new


def run(rotation: Rotation) -> HostAnswer:
    """Close the journal: one more census, the evidence for the checklist, then the new value's staging copy and the prepared rows go."""
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("close the journal and catalogue the backup", begun)
    with rotation.application.lock("finish", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        if journal.closed:
            return result(journal, changed=False)
        if journal.decision != "commit":
            raise KeyturnError(f"rotation {rotation.rotation_id} is not decided on this host (phase {journal.phase})")
        if not journal.has("counted"):
            with timed(journal, "finish"):
                staged = rotation.staged_values(journal)
                check_files_hold_new(rotation, staged, decided=True)
                _check_nothing_needs_old(rotation, staged)
                found = evidence.collect(rotation, journal)
            sealed = journal.record.get("turned", {}).get("encrypted")
            findings = [*journal.findings, *([f"rows of before: {sealed}"] if sealed else [])]
            journal.update(counted=True, evidence=found, findings=findings)
        values.discard_pending(journal)
        close(rotation, journal, "committed")
        return result(journal, changed=True)


def close(rotation: Rotation, journal: Journal, outcome: str) -> None:
    """End the rotation on this host: catalogue its backup, prune what has expired."""
    for path in journal.kept("prepared"):
        durable.remove(path)
    if rotation.shares and rotation.speaks:
        _forget(rotation, journal)
    finished = utc_now()
    fields = retention.kept(journal, outcome, rotation.backup_retention_days)
    if outcome == "committed" and rotation.entry["retire"]["kind"] == "revoke":
        fields["retire"] = {"state": "open", "since": finished}
    journal.enter("closed", **fields | {"outcome": outcome, "finished": finished})
    retention.prune(rotation.application)


def _forget(rotation: Rotation, journal: Journal) -> None:
    """Remove what the rows' store has left in the data. Where that fails the rotation ends all the same: ``verify.yml`` names it."""
    try:
        store = rotation.migration(values.previous(journal), None) if journal.reached("staged") else None
        if store is not None:
            store.forget(rotation.rotation_id)
    except KeyturnError as error:
        journal.update(findings=[*journal.findings, f"what it has left in the data stays there: {error}"])


def _check_nothing_needs_old(rotation: Rotation, staged: Staged) -> None:
    store = rotation.migration(staged.old, staged.new)
    if store is None:
        return
    from ...ground.rows.contract import OTHER_WRITER

    for part in store.parts:
        census = shared.census(rotation, part)
        if census is not None and (census["under"]["old"] or census["refused"]):
            raise KeyturnError(
                f"{part.name}: {census['under']['old']} rows still need the old value and {census['refused']} are refused"
                f"{': ' if census['refusals'] else ''}{census['refusals']}; the old value is kept and the rotation stays open: "
                f"{OTHER_WRITER}, then run resume.yml"
            )
