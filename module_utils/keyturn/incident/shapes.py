"""What the document of an incident is made of, as types. ``SHAPE`` of the room is what a file is checked by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict


class Row(TypedDict):
    """A row of the decision table: what is done when this has leaked."""

    title: str
    affected: list[str]
    precaution: list[str]
    tokens: str
    by_hand: list[str]


class Step(TypedDict):
    """One thing that the response does, and what came of it."""

    name: str
    kind: str
    tier: str
    secret: str
    condition: str
    state: str
    attempts: list[str]
    evidence: str
    at: str


class Ticked(TypedDict):
    """When a point was done, by whom, and what shows it."""

    at: str
    by: str
    evidence: str
    login: NotRequired[Mapping[str, str]]


class Point(TypedDict):
    """A point of a checklist."""

    id: str
    task: str
    done: Ticked | None


class Checklist(TypedDict):
    """A checklist of the policy with its deadline."""

    name: str
    title: str
    due: str
    points: list[Point]


class Action(TypedDict):
    """What the policy says of a point."""

    id: str
    text: str


class Planned(TypedDict):
    """A checklist as the policy has it: its deadline counts from the opening."""

    title: str
    within_hours: float
    actions: Sequence[Action]


class Member(TypedDict):
    """A file in an archive of evidence."""

    name: str
    bytes: int
    sha256: str


class Note(TypedDict):
    """The archive of a host, or that it gave none, and what is missing in it."""

    host: str
    members: list[Member]
    missing: dict[str, str]
    file: NotRequired[str | None]
    sha256: NotRequired[str]
    at: NotRequired[str]


class Dead(TypedDict):
    """When the last affected secret died, and how many seconds after the opening."""

    at: str
    seconds: int


class Header(TypedDict):
    """What a person said and the table has decided."""

    id: str
    leaked: str
    title: str
    environment: str
    since: str
    operator: str
    login: NotRequired[Mapping[str, str]]
    drill: bool
    without_evidence: str
    by_hand: list[str]
    affected: list[str]
    material: NotRequired[dict[str, list[str]]]


class Document(Header):
    """The document, which is the journal as well."""

    schema: int
    opened: str
    steps: list[Step]
    evidence: list[Note]
    dead: Dead | None
    checklists: list[Checklist]
