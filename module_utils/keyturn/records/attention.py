"""What a person must look at: a rotation that cannot go back, since the old value is dead, or files that hold a value of nobody's."""

from __future__ import annotations

from collections.abc import Mapping

from ..host.journal import PHASES, JournalRecord, Verdict

Hosts = Mapping[str, JournalRecord]


def needed(hosts: Hosts) -> bool:
    """Tell whether a rotation is open on a host whose old value is not accepted, or has ended where another value was found."""
    return _cannot_go_back(hosts) or any(record.get("attention") for record in hosts.values())


def _cannot_go_back(hosts: Hosts) -> bool:
    return any(_dead(record) and record.get("phase") != "closed" for record in hosts.values())


def sentence(hosts: Hosts) -> str:
    """Return what a person has to know, empty where nothing needs attention."""
    found = [f"{name}: {record['attention']}" for name, record in sorted(hosts.items()) if record.get("attention")]
    return "; ".join([*found, *([_who_is_on_what(hosts)] if _cannot_go_back(hosts) else [])])


def _who_is_on_what(hosts: Hosts) -> str:
    verdicts = sorted({str(_said(record).get("verdict")) for record in hosts.values() if _dead(record)})
    on_new = sorted(name for name, record in hosts.items() if _switched(record))
    others = sorted(set(hosts) - set(on_new))
    return (
        f"the old value is {' and '.join(verdicts)} at its provider, so nothing goes back; on the new value: "
        f"{', '.join(on_new) or 'none'}; not on it: {', '.join(others) or 'none'}; mend the cause, then run resume.yml"
    )


def _said(record: JournalRecord) -> Verdict:
    return record.get("old_credential") or {}


def _dead(record: JournalRecord) -> bool:
    return bool(_said(record).get("verdict", "accepted") != "accepted")


def _switched(record: JournalRecord) -> bool:
    phase = record.get("phase")
    return phase in PHASES and PHASES.index(str(phase)) >= PHASES.index("switched")
