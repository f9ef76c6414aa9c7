"""Issue: what is done once for all hosts at who issues the value, by the host that speaks for them.

The journal has each step before it is taken, and the issuer's answer is no evidence: that is a question with the value itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import issuers
from ...base.errors import KeyturnError
from ...issuers.contract import Told, Unanswered
from ..journal import Journal
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..values import Staged
from .answers import HostAnswer, forward_journal, open_journal, refuse_decided, result, timed, would

if TYPE_CHECKING:
    from ...issuers.contract import Issuer


def run(
    rotation: Rotation, step: str, cause: str, abandon_commit: bool, admins_password: str | None = None
) -> HostAnswer:
    """``set`` before any host is switched, ``retire`` when all have decided.

    ``unset`` before any goes back where the new value has replaced the old one, and when all are back where both live.
    """
    rotation = dataclasses.replace(rotation, admins_password=admins_password)
    if step == "unset":
        return unset(rotation, cause, abandon_commit)
    if rotation.check_mode:
        return would(_would(rotation) if step == "set" else "have the issuer accept the old value no more")
    with rotation.application.lock(f"issue: {step}", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        changed = FORWARD[step](rotation, journal)
        return result(journal, changed)


def _would(rotation: Rotation) -> str:
    old = rotation.current_values()
    new = old | issuers.chosen(rotation.entry["issuer"], rotation.variables, old)
    _open(rotation, Staged(old, new)).prepare()
    return f"have the issuer ({rotation.entry['issuer']['kind']}) accept the new value"


def set_value(rotation: Rotation, journal: Journal) -> bool:
    """Have the new value accepted. One that was taken while the answer was lost is found by asking."""
    if journal.reached("issued"):
        return False
    staged = rotation.staged_values(journal)
    issuer = _open(rotation, staged)
    with timed(journal, "issue"):
        journal.record.pop("withdrawn", None)  # of a way back that was not taken
        again = journal.reached("issuing")
        if not again:
            journal.enter("issuing", findings=journal.findings + issuer.prepare())
        if not (again and rotation.ask_provider(staged.new).verdict == "accepted"):
            _tell(rotation, issuer.set, staged.new, "new")
        mark = issuer.mark()
    journal.enter("issued", issuer_mark=mark)
    return True


def unset(rotation: Rotation, cause: str, abandon_commit: bool) -> HostAnswer:
    """Have the old value accepted again, where the issuer may have taken the new one. A value of neither is somebody else's."""
    journal = rotation.application.get(rotation.rotation_id)
    if journal is None or journal.closed or not journal.reached("staged"):
        return {"changed": False, "rotation": journal.record if journal else {}}
    refuse_decided(rotation, journal, abandon_commit)
    if rotation.check_mode:
        return would("have the issuer accept the old value again")
    with rotation.application.lock("issue: unset", LOCK_WAIT_SECONDS):
        journal = open_journal(rotation)
        if journal.closed:
            return result(journal, changed=False)
        refuse_decided(rotation, journal, abandon_commit)
        if issuers.old_lives(rotation.entry["issuer"]) and journal.touched and not journal.has("turned_back"):
            raise KeyturnError(
                "this host may run on the new value, which its issuer goes on to accept: mend what kept it from going back, then run "
                "rollback.yml"
            )
        staged = rotation.staged_values(journal)
        if _may_hold_new(rotation, journal, staged):
            journal.update(decision="rollback", failure=journal.record.get("failure") or cause)
            if issuers.old_lives(rotation.entry["issuer"]):
                _tell(rotation, _open(rotation, staged).unset, staged.new, "new", "rejected")
            else:
                _tell(rotation, _open(rotation, staged).unset, staged.old, "old")
        journal.update(withdrawn=True)
        return result(journal, changed=True)


def _may_hold_new(rotation: Rotation, journal: Journal, staged: Staged) -> bool:
    """Tell whether there is something to take back.

    Where the new value replaces the old one, a call of ours that got no answer may still be under way: the same call with the old
    value comes after it. Where both live, it harms nothing that the new one comes late.
    """
    reply = rotation.ask_provider(staged.new)
    if reply.verdict == "unknown":
        raise KeyturnError(
            f"the issuer does not say whether it has the new value ({reply.detail}): see why, then run rollback.yml"
        )
    if reply.verdict == "accepted":
        return True
    under_way = journal.reached("issuing") and not issuers.old_lives(rotation.entry["issuer"])
    return under_way and rotation.ask_provider(staged.old).verdict == "accepted"


def retire(rotation: Rotation, journal: Journal) -> bool:
    """Have the old value accepted no more, and see that it is so."""
    if journal.closed or journal.has("issuer_retired"):
        return False
    if journal.decision != "commit":
        raise KeyturnError(f"rotation {rotation.rotation_id} is not decided on this host (phase {journal.phase})")
    staged = rotation.staged_values(journal)
    findings, failure = [], ""
    try:
        if rotation.entry["issuer"]["strategy"] != "overlap" or _is_ours(rotation, staged):
            findings = _open(rotation, staged).retire(journal.record.get("issuer_mark", ""))
    except Unanswered as error:
        failure = f"{error}; "
    reply = rotation.ask_provider(staged.old)
    if reply.verdict != "rejected":
        raise KeyturnError(
            f"{failure}the old value is {reply.verdict} after it was retired ({reply.detail}): mend that, then run resume.yml"
        )
    journal.update(issuer_retired=reply.detail, findings=journal.findings + findings)
    return True


def _is_ours(rotation: Rotation, staged: Staged) -> bool:
    """Tell whether the old value lives, and so is the application's: its user could have written what another application logs in with.

    An issuer ends by an administrator's right what it is told to end. Of one that changes a named account there is nothing to choose.
    """
    reply = rotation.ask_provider(staged.old)
    if reply.verdict == "unknown":
        raise KeyturnError(
            f"the issuer does not say whether it has the old value ({reply.detail}), and was not told to end it: see why, then run "
            "resume.yml"
        )
    return reply.verdict == "accepted"


def _tell(
    rotation: Rotation, call: Callable[[], None], value: dict[str, str], side: str, wanted: str = "accepted"
) -> None:
    """Make a call, and ask with the value, whatever became of the call; KeyturnError where the answer is another than is ``wanted``."""
    failure = None
    try:
        call()
    except KeyturnError as error:
        failure = error
    reply = rotation.ask_provider(value)
    if reply.verdict != wanted:
        asked = f"the {side} value is {reply.verdict} ({reply.detail})"
        raise KeyturnError(
            f"{failure}; {asked}" if failure else f"the issuer has taken the call, and {asked}: see what else it checks"
        )


def _open(rotation: Rotation, staged: Staged) -> Issuer:
    lock = rotation.application.folder / "issuer"
    told = Told(
        *(rotation.rotation_id, staged.old, staged.new, rotation.hide),
        scripts=rotation.scripts,
        lock=lock,
        admins_password=rotation.admins_password,
    )
    return issuers.issuer(rotation.entry["issuer"], rotation.entry["provider"], rotation.variables, told)


FORWARD = {"set": set_value, "retire": retire}
