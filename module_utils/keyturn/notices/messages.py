"""What people are told of an event: a subject and a text, made of names, times, fingerprints and places, never of values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template
from typing import NamedTuple

from ..base.errors import KeyturnError

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,159}")


class Message(NamedTuple):
    """One message. ``id`` is the same for a repetition, so that nobody is told twice; ``time`` is ISO 8601 in UTC."""

    id: str
    event: str
    environment: str
    time: str
    subject: str
    text: str
    facts: dict[str, str]


TEMPLATES: dict[str, tuple[str, str]] = {
    "sessions_invalidated": (
        "$environment: all users must sign in again",
        "The secret that signs the sessions of $environment was replaced at $time.\n"
        "Every session has ended. Users sign in again; nothing else is asked of them.\n"
        "\nhosts      $hosts\n",
    ),
    "rotation_done": (
        "$environment: $title was rotated",
        "$title of $environment is on its new value on every host ($outcome).\n"
        "\nrotation   $rotation_id, $reason, by $operator\nended      $time\nvalues     $fingerprints\nreport     $link\n",
    ),
    "rotation_failed": (
        "$environment: rotation of $title ended as $outcome",
        "The rotation of $title in $environment did not succeed: $outcome.\n"
        "\nrotation   $rotation_id, $reason, by $operator\nended      $time\ncause      $failure\nreport     $link\n"
        "\nThe report says which host is on what; docs/recovery.md says what to do.\n",
    ),
    "overdue": (
        "$environment: $title is overdue",
        "$title of $environment was last rotated $last_rotated and must be rotated every $max_age_days days.\n"
        "\nRotate it, then look at status.yml.\n",
    ),
    "incident_opened": (
        "$environment: incident $incident is open ($leaked)",
        "Incident $incident was opened in $environment at $time by $operator.\n"
        "\nleaked     $leaked\naffected   $affected\ndocument   $link\non call    $on_call\nreport to  $incident_report\n"
        "\nThe affected secrets are being rotated now. The document has the checklists and their deadlines.\n",
    ),
    "deadline_near": (
        "$environment: incident $incident, $point is due $due",
        "Of incident $incident in $environment this is still open:\n"
        "\n$point: $task\ndue        $due\ndocument   $link\non call    $on_call\nreport to  $incident_report\n"
        "\nTick it with tick_incident.yml when it is done.\n",
    ),
}

# of an application whose policy names nobody; an incident waits for no name
CONTACTS = {name: f"nobody is named: contacts.{name} in policy.yml" for name in ("on_call", "incident_report")}


def message(
    event: str, identity: str, environment: str, time: str, facts: Mapping[str, object], drill: bool = False
) -> Message:
    """Return the message of ``event``. ``identity`` is what it is about, such as a rotation's id.

    What comes from outside, as the name of a pipeline's actor, is made one line.
    """
    name = f"{event}-{identity}"
    if not ID.fullmatch(name):
        raise KeyturnError(f"a message about {event} needs an identity of letters, digits and . _ -")
    words = {key: _line(value) for key, value in facts.items()}
    known = {**CONTACTS, **words, "environment": environment, "time": time}
    subject, text = (Template(part) for part in TEMPLATES[event])
    try:
        said = subject.substitute(known), text.substitute(known)
    except KeyError as error:
        raise KeyturnError(f"a message about {event} needs the fact {error.args[0]}") from None
    mark = ("[drill] ", "This is a drill.\n\n") if drill else ("", "")
    return Message(name, event, environment, time, mark[0] + said[0], mark[1] + said[1], words)


def _line(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
