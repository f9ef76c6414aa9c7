"""Prove: behaviour shows that the host runs on the new value and that the old one is dead."""

from __future__ import annotations

import time

from ... import issuers
from ...base.errors import KeyturnError
from ...base.sides import Side
from ...services.service import POLL_LONGEST
from .. import probes
from ..journal import Journal, JournalRecord
from ..probes import Proof, Question
from ..rotation import Rotation
from ..values import Staged
from .common import check_files_hold_new

# what a service that was reloaded is believed by
RELOADED = ("command", "http", "jwt")


def would(rotation: Rotation, begun: Journal | None) -> str:
    """Say what would be asked."""
    return f"prove the new value by: {', '.join(['process', *(probe['kind'] for probe in rotation.entry['probes'])])}"


def run(rotation: Rotation, journal: Journal) -> bool:
    """Collect the proofs; KeyturnError names the first that fails."""
    if journal.decision == "commit":
        return False
    staged = rotation.staged_values(journal)
    check_files_hold_new(rotation, staged, decided=False)
    proofs = collect(rotation, journal, staged)
    store = rotation.migration(staged.old, staged.new)
    failure = probes.first_failure(proofs)
    if failure:
        journal.update(proofs=proofs)
        raise KeyturnError(failure)
    proved: JournalRecord = {"proofs": proofs}
    if not probes.have_shown(proofs):
        proved["unproved"] = _accepted_unproved(rotation, journal, proofs)
    proved["findings"] = journal.findings + (store.residue() if store and rotation.speaks else [])
    journal.enter("proved", **proved)
    return True


def _accepted_unproved(rotation: Rotation, journal: Journal, proofs: list[Proof]) -> str:
    """Return a person's reason to go on with a value that nothing has shown to work; KeyturnError where there is none."""
    reason = rotation.overrides.get("unproved")
    if not reason:
        journal.update(proofs=proofs)
        silent = [
            f"{line['proof']} of {line['subject']}: {line['detail']}"
            for line in proofs
            if line["verdict"] != "accepted"
        ]
        raise KeyturnError(
            f"nothing has shown by its behaviour that the new value works ({'; '.join(silent) or 'no probe asks'}): set proof_path of a "
            f"service or keyturn_checks, or accept it by keyturn_accept_unproved: REASON"
        )
    return reason


def collect(rotation: Rotation, journal: Journal, staged: Staged) -> list[Proof]:
    """Return all proofs for the side that the journal is on. The end of a reload nobody tells: it is waited for."""
    limits = [rotation.services[name]["health_timeout_seconds"] for name in rotation.reloaded]
    deadline = time.monotonic() + max(limits, default=0)
    while True:
        proofs = _collect(rotation, journal, staged)
        if probes.first_failure(proofs) is None or time.monotonic() >= deadline:
            return proofs
        time.sleep(POLL_LONGEST)


def prove_back(rotation: Rotation, journal: Journal, staged: Staged) -> None:
    """Write down what shows that this host is back on the old value; KeyturnError where something shows another thing."""
    proofs = collect(rotation, journal, staged)
    journal.update(proofs=proofs)
    if failure := probes.first_failure(proofs):
        raise KeyturnError(
            f"the old value is back, but {failure}; the rotation stays open: mend that, then run rollback.yml"
        )


def tells_apart(rotation: Rotation, journal: Journal, staged: Staged) -> bool:
    """Tell whether the probes find a service that has still the other value. Such as do not show nothing of a reload.

    One that sees the other value refused needs no comparison: the service may have read its files by itself.
    """
    asked = [probe for probe in rotation.entry["probes"] if probe["kind"] in RELOADED]
    lines = probes.ask(asked, _question(rotation, journal, staged))
    return probes.first_failure(lines) is not None or any(line["wanted"] == "rejected" for line in lines)


def _collect(rotation: Rotation, journal: Journal, staged: Staged) -> list[Proof]:
    question = _question(rotation, journal, staged)
    return [
        *probes.process(question.services, journal.changed, rotation.reloaded),
        *probes.environment(question.services, question.live, rotation.given),
        *probes.ask(rotation.entry["probes"], question),
    ]


def _question(rotation: Rotation, journal: Journal, staged: Staged) -> Question:
    """What the probes are asked about the side that the journal is on."""
    back = journal.decision == "rollback"
    side: Side = "old" if back else "new"
    live, dead = (staged.old, staged.new) if back else (staged.new, staged.old)
    ask = rotation.ask_provider if rotation.entry["provider"] else None
    account = journal.record.get("account", "")
    return Question(
        side,
        live,
        dead,
        rotation.service_list(),
        rotation.migration(staged.old, staged.new),
        ask,
        account,
        rotation.value_of,
        rotation.scripts,
        "" if rotation.speaks else rotation.speaker,
        dies=bool(rotation.entry["issuer"]) and not issuers.old_lives(rotation.entry["issuer"]),
    )
