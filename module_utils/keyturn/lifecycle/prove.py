"""Prove: behaviour shows that the host runs on the new value and that the old one is dead."""

from __future__ import annotations

from .. import probes
from ..errors import KeyturnError
from ..journal import Journal
from ..probes import Proof, Question
from ..procfs import Moment
from ..rotation import Rotation
from ..values import Side, Staged
from .common import check_files_hold_new


def would(rotation: Rotation, begun: Journal | None) -> str:
    """Say what would be asked."""
    return f"prove the new value by: {', '.join(['process', *(probe['kind'] for probe in rotation.entry['probes'])])}"


def run(rotation: Rotation, journal: Journal) -> bool:
    """Collect the proofs; KeyturnError names the first that fails."""
    if journal.decision == "commit":
        return False
    staged = rotation.staged_values(journal)
    check_files_hold_new(rotation, staged)
    proofs = collect(rotation, journal, staged)
    migration = rotation.migration(staged.old, staged.new)
    failure = probes.first_failure(proofs)
    if failure:
        journal.update(proofs=proofs)
        raise KeyturnError(failure)
    residue = migration.residue() if migration else {}
    journal.enter("proved", proofs=proofs, findings=journal.record["findings"] + _residue_findings(residue))
    return True


def collect(rotation: Rotation, journal: Journal, staged: Staged) -> list[Proof]:
    """Return all proofs for the side that the journal is on."""
    back = journal.decision == "rollback"
    side: Side = "old" if back else "new"
    live, dead = (staged.old, staged.new) if back else (staged.new, staged.old)
    services = rotation.service_list()
    ask = rotation.ask_provider if rotation.entry["provider"] else None
    account = journal.record.get("account", "")
    question = Question(side, live, dead, services, rotation.migration(staged.old, staged.new), ask, account)
    return [
        *probes.process(services, Moment(*journal.record["changed"])),
        *probes.environment(services, rotation.with_aliases(live)),
        *probes.ask(rotation.entry["probes"], question),
    ]


def _residue_findings(residue: dict[str, int]) -> list[str]:
    return [
        f"{name} still holds {count} ciphertexts under the old value in free parts of its pages: "
        "run VACUUM in a maintenance window"
        for name, count in residue.items()
    ]
