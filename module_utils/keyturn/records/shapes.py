"""What the controller's records and a status are made of, as types. ``SHAPE`` of each file is what a document is checked by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from ..host.journal import Head, JournalRecord
from ..inputs.application import Rule, Threshold

# -- a report ----------------------------------------------------------------------------------------------------------


class Point(TypedDict):
    """A point of a checklist: what the policy says, and the evidence for it."""

    id: str
    text: str
    state: str
    detail: str


class HostReport(JournalRecord, total=False):
    """What a report has of a host: ``HOST_FIELDS`` of its journal, why it was left out, and why it was stopped for nothing."""

    excluded: str
    late: str


class Cause(TypedDict):
    """What has stopped an attempt."""

    at: str
    cause: str


class Report(TypedDict, total=False):
    """The report of a rotation."""

    schema: int
    rotation_id: str
    secret: str
    title: str
    variables: list[str]
    environment: str
    reason: str
    operator: str
    downtime_budget_seconds: float
    revision: str
    started: str
    finished: str | None
    outcome: str
    failure: str | None
    causes: list[Cause]
    overrides: dict[str, str]
    decided: bool
    hosts: dict[str, HostReport]
    log_head: Head
    checklist: list[Point]


# -- the policy --------------------------------------------------------------------------------------------------------


class Wanted(TypedDict):
    """A point that the policy wants: of the checklist, or of what is done in an incident."""

    id: str
    text: str


class Review(TypedDict):
    """When the policy is reviewed; a status says whether that is late."""

    next: str
    last: NotRequired[str]
    frequency: NotRequired[str]
    late: NotRequired[bool]


class Instruction(TypedDict):
    """A step of a procedure."""

    title: str
    how: str
    notes: NotRequired[Sequence[str]]


class Procedure(TypedDict):
    """How a secret is rotated."""

    title: str
    complexity: str
    downtime: str
    impact: str
    commands: Sequence[str]
    steps: Sequence[Instruction]


class Tier(TypedDict):
    """What is done in an incident within some hours."""

    title: str
    within_hours: int
    actions: Sequence[Wanted]


class Place(TypedDict):
    """Where values are kept, and how."""

    title: str
    do: Sequence[str]
    dont: Sequence[str]


class Metric(TypedDict):
    """What of an integration is watched."""

    title: str
    watched: Sequence[str]


class Policy(TypedDict, total=False):
    """The policy of an application: ``policy.yml``."""

    version: str
    updated: str
    owner: str
    purpose: str
    review: Review
    schedule: Mapping[str, Rule]
    triggers: Mapping[str, str]
    procedures: Mapping[str, Procedure]
    incident: Mapping[str, Tier]
    storage: Mapping[str, Place]
    metrics: Sequence[Metric]
    thresholds: Sequence[Threshold]
    checklist: Sequence[Wanted]
    appendix: Sequence[Mapping[str, str]]
    contacts: Mapping[str, Mapping[str, str]]


# -- a status ----------------------------------------------------------------------------------------------------------


class Revocation(TypedDict):
    """An old credential that waits for its end: since when, and on which hosts."""

    since: str
    hosts: list[str]


class StatusLine(TypedDict):
    """What a secret needs: its age, by host what its values differ in or is wrong, where it is open, what is to be revoked."""

    title: str
    state: str
    unused: bool
    last_rotated: str | None
    age_days: int | None
    max_age_days: int | None
    switch: str
    differ: dict[str, str]
    problems: dict[str, str]
    open_on: list[str]
    open_revocations: dict[str, Revocation]
    revoke: list[str]


class CalendarLine(TypedDict):
    """When a secret is turned, and what of its status that follows from."""

    secret: str
    title: str
    unused: bool
    switch: str
    age_days: int | None
    max_age_days: int | None
    due: str | None
    next_window: str | None
    turn: bool


class Chain(TypedDict):
    """What the log's chain says, the signatures in it, and the first thing that does not hold."""

    records: int
    sealed: int
    head: Head
    signatures: NotRequired[str]
    problem: NotRequired[str | None]


class Unfinished(TypedDict):
    """An attempt that has no end."""

    rotation_id: str
    secret: str
    by: str
    controller: str
    since: str


class Unreported(TypedDict):
    """A rotation that hosts have committed and no report tells the end of.

    ``begun`` where one tells the begin, ``known`` where one or the log knows it at all: any other may be made up.
    """

    secret: str
    hosts: list[str]
    begun: bool
    known: bool


class Unsigned(TypedDict):
    """A committed rotation whose checklist is not closed: the points that are open, those that only a person can see, and its time."""

    rotation_id: str
    secret: str
    open: list[str]
    points: list[str]
    signer: str
    until: str
    late: bool
    by_key: bool


class Past(TypedDict):
    """A rotation of the past, as a status shows it."""

    rotation_id: str
    secret: str
    title: str
    outcome: str
    started: str
    finished: str | None
    reason: str
    operator: str
    downtime_seconds: float
    downtime_budget_seconds: float
    hosts: list[str]
    checklist: list[Point]
    signer: str
    closed: bool


class More(TypedDict, total=False):
    """What may be said of an event besides."""

    until: str | None
    detail: str | None
    id: str | None
    by: str | None
    reason: str | None
    downtime_seconds: float | None
    downtime_budget_seconds: float | None


class Event(More):
    """Something in the life of a secret (``lives.py``)."""

    kind: str
    secret: str
    at: str
    state: str


class Audit(TypedDict, total=False):
    """What the controller's own records say of an environment (``audit.look``)."""

    log: Chain
    unfinished: list[Unfinished]
    unreported: dict[str, Unreported]
    unsigned: list[Unsigned]
    timeline: list[Past]
    events: list[Event]
    review: Review
    environments: dict[str, dict[str, str]]


class Status(Audit, total=False):
    """The status of an environment: ``docs/status.schema.json``."""

    schema: int
    state: str
    at: str
    unreachable: list[str]
    expired: dict[str, list[str]]
    secrets: dict[str, StatusLine]
    calendar: list[CalendarLine]
    unsent: list[str]
    incidents: Sequence[Mapping[str, object]]
    attention: list[dict[str, str]]
