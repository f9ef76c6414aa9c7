"""The life of each secret: what has happened to it and what is to come, as events in time.

An event is flat, so that the page, the JSON and the CSV of a status are the same: ``kind``, ``secret``, ``at``, ``until`` (None where it
goes on, or has no length), ``state``, ``detail``, ``id``, ``by``, ``reason``, ``downtime_seconds`` and ``downtime_budget_seconds``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack, cast

from .rotation_log import COMMITTED, Record
from .shapes import CalendarLine, Event, More, Report

KINDS = ("rotation", "failure", "revocation", "incident", "due")
COLUMNS = (
    "kind",
    "secret",
    "at",
    "until",
    "state",
    "detail",
    "id",
    "by",
    "reason",
    "downtime_seconds",
    "downtime_budget_seconds",
)


def event(kind: str, secret: str, at: str | None, state: str, **more: Unpack[More]) -> Event:
    """Return an event; what is not said of it is None."""
    said = {"kind": kind, "secret": secret, "at": at, "state": state}
    return cast(Event, dict.fromkeys(COLUMNS) | said | more)


def of_reports(reports: Sequence[Report], records: Sequence[Record]) -> list[Event]:
    """Return the rotations, those that have failed, and the revocations that followed, from the reports and the log's records."""
    ends = {str(one["rotation_id"]): one["finished"] for one in records if one.get("event") == "revoked"}
    return [
        *(_rotation(one) for one in reports),
        *(_revocation(one, ends) for one in reports if _revokes(one)),
    ]


def _rotation(report: Report) -> Event:
    return event(
        "rotation" if report["outcome"] in COMMITTED else "failure",
        report["secret"],
        report["started"],
        report["outcome"],
        until=report["finished"],
        detail=why(report),
        id=report["rotation_id"],
        by=report["operator"],
        reason=report["reason"],
        downtime_seconds=longest(report),
        downtime_budget_seconds=report["downtime_budget_seconds"],
    )


def why(report: Report) -> str:
    """Return what has stopped a rotation: this attempt, earlier ones, or who has taken it back; empty where nothing has."""
    if report["failure"] or report["outcome"] in COMMITTED:
        return report["failure"] or ""
    causes = [one["cause"] for one in report.get("causes", [])]
    return "; then ".join(
        causes or dict.fromkeys(filter(None, (host.get("failure") for host in report["hosts"].values())))
    )


def longest(report: Report) -> float:
    """Return the longest downtime of a host."""
    return max((host.get("downtime_seconds", 0.0) for host in report["hosts"].values()), default=0.0)


def _revokes(report: Report) -> list[str]:
    """Return since when the old value of a rotation has to be proved dead, by its hosts; none where nothing has to."""
    said = [host.get("retire") or {} for host in report["hosts"].values()]
    return [one["since"] for one in said if "since" in one] if report["outcome"] in COMMITTED else []


def _revocation(report: Report, ends: Mapping[str, str | None]) -> Event:
    end = ends.get(report["rotation_id"])
    return event(
        "revocation",
        report["secret"],
        min(_revokes(report)),
        "proved dead" if end else "open",
        until=end,
        detail="the provider has rejected the old value" if end else "nobody has proved that the old value is dead",
        id=report["rotation_id"],
    )


def of_incidents(documents: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Return the incidents, one for each secret that was affected."""
    return [
        event(
            "incident",
            secret,
            one["opened"],
            "drill" if one["drill"] else "affected secrets dead" if one["dead"] else "affected secrets live",
            until=(one["dead"] or {}).get("at"),
            detail=one["title"],
            id=one["id"],
            by=one["operator"],
            reason=one["leaked"],
        )
        for one in documents
        for secret in one["affected"]
    ]


def of_calendar(calendar: Iterable[CalendarLine], now: str) -> list[Event]:
    """Return the dates at which secrets are due."""
    return [
        event(
            "due",
            line["secret"],
            line["due"],
            "overdue" if line["due"] < now else "due" if line["turn"] else "waits",
            detail=f"the next window of rotate_due.yml opens at {line['next_window']}",
        )
        for line in calendar
        if line["due"]
    ]


def in_order(events: Iterable[Event]) -> list[Event]:
    """Return events, the oldest first."""
    return sorted(events, key=lambda one: (one["at"], KINDS.index(one["kind"]), one["secret"], str(one["id"])))
