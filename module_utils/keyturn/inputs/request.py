"""The plan, on the controller: is the request whole and legal, and which rotation is it."""

from __future__ import annotations

import os
import pwd
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

from ..base import timestamps
from ..base.errors import KeyturnError
from ..base.shown import harmless
from .reason import REASON

INCIDENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# who has started this run comes before who has started the first of its runs
PIPELINE_ACTORS = ("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID")


class Plan(TypedDict, total=False):
    """A rotation as it is fixed before the first host is asked; ``steps/plan.py`` makes it."""

    rotation_id: str
    secret: str
    environment: str
    reason: str
    operator: str
    overrides: dict[str, str]
    started: str
    attempt: Any  # of fleet/attempts.py, which lies above
    revision: str
    holders: list[str]
    until: str
    source: str
    unit: str
    examines_first: bool
    looks: bool
    decided: bool
    store: str
    drains: bool
    migrates: bool
    shares: bool
    has_inverse: bool
    issues: bool
    old_lives: bool
    batches: list[Any]  # numbers, or shares such as 50%
    logged: list[str]
    # of the catalogue's entry
    title: str
    variables: list[str]
    value: str
    switch: str
    overlap: str
    sessions: str
    downtime_budget_seconds: float


def rotation_id(now: datetime | None = None) -> str:
    """Return a new id of 33 characters that sorts by time: the UTC time, then 16 hexadecimal digits.

    The first four of these are the fraction of the second (to 15 us), the others are random. ``now`` is for tests.
    """
    now = now or datetime.now(UTC)
    fraction = (now.microsecond << 16) // 1_000_000
    return f"{now:%Y%m%dT%H%M%SZ}-{fraction:04x}{secrets.token_hex(6)}"


def check_rotation_id(given: str) -> str:
    """Return a given id; KeyturnError when it is none (it becomes a folder's name and a store's request token)."""
    if not timestamps.ROTATION_ID.fullmatch(given):
        raise KeyturnError("keyturn_rotation_id must look like 20260131T235959Z-0123456789abcdef (32 to 64 characters)")
    return given


def check_overrides(given: Mapping[str, str]) -> dict[str, str]:
    """Return the overrides that are in force; KeyturnError for a reason that cannot stand in the log."""
    found = {name: reason for name, reason in given.items() if reason}
    for name, reason in found.items():
        if not REASON.fullmatch(str(reason)):
            raise KeyturnError(
                f"keyturn_override_{name} must be a reason of 1 to 120 letters, digits, spaces or . _ : # / -"
            )
    return found


def operator(environment: Mapping[str, str]) -> str:
    """Return who runs this: the pipeline's actor, or the user."""
    for name in PIPELINE_ACTORS:
        if environment.get(name):
            return harmless(environment[name])
    return pwd.getpwuid(os.getuid()).pw_name
