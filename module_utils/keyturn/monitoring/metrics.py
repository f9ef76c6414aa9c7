"""What Keyturn knows of an environment, in Prometheus' text format for node-exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NotRequired, TypedDict

from ..base import timestamps

DAY = 86400
HELP = {
    "keyturn_status_time_seconds": "When status.yml last looked.",
    "keyturn_environment_broken": "1 where a host gives no answer, the rotation log does not verify or a rotation has no report.",
    "keyturn_secret_broken": "1 where a rotation is open, or a host holds another value than others, than its last rotation left, or none.",
    "keyturn_secret_age_seconds": "Age of the value at that time; absent where it was never rotated.",
    "keyturn_secret_max_age_seconds": "Age that the policy allows; absent where it sets none.",
    "keyturn_secret_open_rotations": "Hosts with an unfinished rotation.",
    "keyturn_secret_open_revocations": "Old credentials that are not proved dead.",
    "keyturn_secret_open_revocations_seconds": "How long the oldest of them waits.",
}


class Waiting(TypedDict):
    """An old credential that is not proved dead, since when."""

    since: str


class Line(TypedDict):
    """What is read of a secret in a status."""

    state: str
    last_rotated: str | None
    max_age_days: int | None
    open_on: Sequence[str]
    open_revocations: Mapping[str, Waiting]


class Log(TypedDict, total=False):
    """What is read of the log in a status."""

    problem: str | None


class Status(TypedDict):
    """What is read of a status: ``docs/status.schema.json``."""

    at: str
    unreachable: Sequence[str]
    log: NotRequired[Log]
    unreported: NotRequired[Mapping[str, object]]
    secrets: Mapping[str, Line]


def textfile(status: Status, environment: str) -> str:
    """Return the metrics of what ``keyturn_status`` said; names and times only, so anybody may read them."""
    lines = []
    for name, samples in _by_name(status).items():
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
        for labels, value in samples:
            said = ",".join(
                f'{label}="{_quoted(text)}"' for label, text in {"environment": environment, **labels}.items()
            )
            lines.append(f"{name}{{{said}}} {value}")
    return "\n".join(lines) + "\n"


def _by_name(status: Status) -> dict[str, list[tuple[dict[str, str], int]]]:
    found: dict[str, list[tuple[dict[str, str], int]]] = {}
    for name, labels, value in _samples(status):
        found.setdefault(name, []).append((labels, value))
    return found


def _samples(status: Status) -> Iterator[tuple[str, dict[str, str], int]]:
    now = _seconds(status["at"])
    log = status.get("log") or {}
    yield "keyturn_status_time_seconds", {}, now
    yield (
        "keyturn_environment_broken",
        {},
        int(bool(status["unreachable"] or log.get("problem") or status.get("unreported"))),
    )
    for secret, line in status["secrets"].items():
        labels = {"secret": secret}
        yield "keyturn_secret_broken", labels, int(line["state"] == "broken")
        if line["last_rotated"]:
            yield "keyturn_secret_age_seconds", labels, now - _seconds(line["last_rotated"])
        if line["max_age_days"]:
            yield "keyturn_secret_max_age_seconds", labels, line["max_age_days"] * DAY
        yield "keyturn_secret_open_rotations", labels, len(line["open_on"])
        revocations = line["open_revocations"].values()
        yield "keyturn_secret_open_revocations", labels, len(revocations)
        oldest = min((_seconds(one["since"]) for one in revocations), default=now)
        yield "keyturn_secret_open_revocations_seconds", labels, now - oldest


def _seconds(text: str) -> int:
    return int(timestamps.parse(text).timestamp())


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
