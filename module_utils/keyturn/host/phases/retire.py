"""Retire: the old credential is dead only when its provider rejects it. Then its last copy is destroyed."""

from __future__ import annotations

from collections.abc import Mapping

from ... import providers
from ...base.errors import KeyturnError
from .. import probes, values
from ..journal import Journal, utc_now
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Holding
from . import retention
from .answers import HostAnswer

REJECTED = "rejected"


def run(holding: Holding, step: str) -> HostAnswer:
    """``ask`` on every host, and only when all have heard a rejection ``close`` on every host."""
    opened = [journal for journal in _retired(holding) if journal.retire["state"] == "open"]
    changed = bool(opened) and not holding.check_mode
    if changed:
        with holding.application.lock(f"retire: {step}", LOCK_WAIT_SECONDS):
            STEPS[step](holding, opened)
    return {"changed": changed, "revocations": [_told(journal) for journal in _retired(holding)]}


def ask(holding: Holding, opened: list[Journal]) -> None:
    """Ask about each old credential and write the answer down; KeyturnError unless all are rejected and the new one works.

    Before anybody is asked, the consumers are compared: one that still holds another value would go on to use it.
    """
    current = holding.current_values()
    title = providers.PROVIDERS[holding.entry["provider"]["kind"]].title
    for journal in opened:
        old = values.previous(journal)
        holding.hide(old.values())
        reply = holding.ask_provider(old)
        journal.update(retire=journal.retire | {"verdict": reply.verdict, "evidence": reply.detail})
        if reply.verdict != REJECTED:
            steps = "; ".join(holding.entry["retire"]["steps"])
            still = "still accepts" if reply.verdict == "accepted" else "does not say whether it rejects"
            raise KeyturnError(
                f"{title} {still} the old credential of rotation {journal.folder.name} ({reply.detail}), which stays on the "
                f"list: {steps}; then run this again"
            )
    _check_current(holding, title, current)


def _check_current(holding: Holding, title: str, current: Mapping[str, str]) -> None:
    """See that nobody has deleted the wrong one, and that nothing still uses the old one."""
    reply = holding.ask_provider(current)
    if reply.verdict != "accepted":
        raise KeyturnError(
            f"{title} says {reply.verdict} of the credential that is in use ({reply.detail}): was the wrong one deleted? "
            "The old one stays on the list until the one in use works"
        )
    logs = [probe for probe in holding.entry["probes"] if probe["kind"] == "log"]
    question = Question("new", current, current, holding.service_list(), None)
    failure = probes.first_failure(probes.ask(logs, question))
    if failure:
        raise KeyturnError(f"{failure}: something still uses the old credential; restart it, then run this again")


def close(holding: Holding, opened: list[Journal]) -> None:
    """Destroy what was rejected: this host has heard it, and by the order of the steps every other host as well."""
    for journal in opened:
        said = journal.retire
        if said.get("verdict") != REJECTED:
            raise KeyturnError(f"rotation {journal.folder.name}: nobody has heard a rejection; run confirm_revoked.yml")
        retention.destroy(journal)
        journal.update(retire={"state": "revoked", "since": utc_now(), "evidence": said["evidence"]})


def _retired(holding: Holding) -> list[Journal]:
    return [
        journal
        for journal in holding.application.journals()
        if journal.secret == holding.secret and journal.has("retire")
    ]


def _told(journal: Journal) -> dict[str, object]:
    fields = ("rotation_id", "secret", "reason", "operator", "started", "old")
    return {**journal.fields(*fields), **journal.retire}


STEPS = {"ask": ask, "close": close}
