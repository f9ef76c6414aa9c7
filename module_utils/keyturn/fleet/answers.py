"""What the controller takes from others: the hosts, the inventory, the run so far.

A host may be in other hands, and then says what it likes. So each answer is taken here once, before Ansible or Keyturn acts on it: it
has the shape of its action, nothing beside it, and texts that do nothing where they are shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..base import json_text, shape, timestamps
from ..base.fingerprint import MARK
from ..base.shown import LONGEST, harmless
from ..ground.rows import KINDS
from ..ground.rows.contract import LOGIN_PARTS
from ..host import journal
from ..host.phases.answers import HostAnswer

NOTHING = {"*": re.compile("(?!)")}
JOURNAL = (NOTHING, journal.SHAPE)
# the end of a rotation, as ``keyturn_rotation_info`` tells it
PAST = {
    "rotation_id": timestamps.ROTATION_ID,
    "secret": str,
    "phase": journal.PHASES,
    "finished": (None, timestamps.SHAPE),
    **dict.fromkeys(("decision", "outcome"), (None, str)),
    **dict.fromkeys(("old", "new"), (None, journal.MARKS)),
    "retire": (None, journal.RETIRE),
    "log_head?": (None, journal.HEAD),
}
CLOSED = {timestamps.ROTATION_ID: PAST}
LOOKED = {"rotation?": JOURNAL, "closed?": CLOSED, "unreachable?": bool}
# a host that failed, or was only asked, tells no rotation
STAGED = (
    {"unreachable": True},
    {
        "rotation": {**dict.fromkeys(("old?", "new?"), (None, journal.MARKS)), "phase?": str, "rows?": {"*": int}},
        "place": str,
        "clock_offset": float,
    },
    {"rotation?": None, "unreachable?": bool},
)
HERE = {"keyturn_secrets_here?": [str]}
POINTS = [{"id": str, "text": str}]
PLAN = {
    "rotation_id": timestamps.ROTATION_ID,
    **dict.fromkeys(("secret", "title", "environment", "reason", "operator", "revision"), str),
    "variables": [str],
    "started": timestamps.SHAPE,
    "value": ("per_host", "shared"),
    "sessions": str,
    "downtime_budget_seconds": float,
    "overrides": {"*": str},
    "attempt": {"id": str, "controller": str, "pid": int, "process": object},
}


def state(secrets: Iterable[str]) -> dict[str, object]:
    """Return the shape of what ``keyturn_rotation_info`` says of each host, with all ``secrets``; None for no answer."""
    held = {secret: {"used": bool, "values": journal.MARKS, "problem": str} for secret in secrets}
    return {"*": (None, {"rotation": JOURNAL, "closed": CLOSED, "expired": [timestamps.ROTATION_ID], "held": held})}


# -- the answer of each call --------------------------------------------------------------------------------------------------

EXAMINED = {
    "phase": "not begun",
    "secret": str,
    "old": journal.MARKS,
    "rows": {"*": int},
    "findings": [str],
    "credential?": {**dict.fromkeys(("verdict", "detail", "account"), str), "findings": [str]},
}
CHANGED = {"changed": bool}
OF_A_ROTATION = {**CHANGED, "rotation?": JOURNAL, "would?": str, "diff?": dict.fromkeys(("before", "after"), str)}
FINDING = dict.fromkeys(("severity", "rule", "what", "remedy"), str)
REVOCATION = {
    "rotation_id": timestamps.ROTATION_ID,
    **dict.fromkeys(("secret", "reason", "operator"), str),
    "started": timestamps.SHAPE,
    "old": journal.MARKS,
    **journal.RETIRE,
}
VERIFIED = {
    "used": bool,
    "values": journal.MARKS,
    "rows": {"*": int},
    "services": {"*": str},
    **{key: [str] for key in ("problems", "findings")},
}
# of a look at an application of which nothing is known yet: names and counts, and fingerprints in the place of values
SECRET = {
    **dict.fromkeys(("name", "place", "section", "key"), str),
    "format": ("dotenv", "environment", "file", "ini", "json", "yaml"),
    "inside": ("", "url"),
    "number": int,
    "rule": ("", "hex", "sha256"),
    "mark": ("", MARK),
}
SURVEY = {
    **CHANGED,
    **{key: [SECRET] for key in ("keys", "secrets")},
    "columns": [
        {
            **dict.fromkeys(("database", "table", "column", "path", "flag"), str),
            "login": {f"{part}?": str for part in ("url", *LOGIN_PARTS)},
            "key": [str],
            "store": tuple(KINDS),
            "objects": bool,
            **dict.fromkeys(("rows", "empty", "plain", "unopened"), int),
            "under": {"*": int},
        }
    ],
    "services": [{"name": str, "unit": bool, "user": int, "does": [str], "ports": [int]}],
    **{key: [str] for key in ("databases", "findings")},
    "text": str,
}
DIGEST = re.compile("[0-9a-f]{64}")
SOURCES = ("alpaca", "files", "journal", "logs", "plaid")
# the names are ours: they stand in the document of an incident
MEMBER = re.compile(
    r"files\.jsonl|journal\.log|logs/(\d{4,6}\.log|names\.json)|alpaca/(account|activities|orders)\.json|plaid/items\.jsonl"
)
# by the action, ``keyturn_NAME``; what an answer has beside these names is dropped, at every depth
OF_PHASES: Mapping[str, Mapping[str, object]] = {
    "ask_provider": {**OF_A_ROTATION, "verdict": ("accepted", "rejected", "unknown"), "touched": bool},
    "commit": OF_A_ROTATION,
    "issue": OF_A_ROTATION,
    "prune": {**CHANGED, "pruned": [timestamps.ROTATION_ID], "would?": str},
    "reach_info": {**CHANGED, "reaches": bool, "why": str},
    "rollback": OF_A_ROTATION,
    "rotation_info": {
        **CHANGED,
        "rotation": JOURNAL,
        "closed": CLOSED,
        "expired?": [timestamps.ROTATION_ID],
        "held?": {"*": {"used": bool, "values": journal.MARKS, "problem": str}},
    },
    "stage": {**OF_A_ROTATION, "rotation?": (*JOURNAL, EXAMINED), "clock_offset": float, "place": str},
    "turn": {**OF_A_ROTATION, "progress?": {"done": int, "total": int, "seconds": float}},
}
ANSWERS: Mapping[str, Mapping[str, object]] = {
    **OF_PHASES,
    "delivery": {
        **CHANGED,
        "delivery": str,
        **{key: [str] for key in ("names", "services")},
        "would?": str,
        "downtime_seconds?": float,
    },
    "evidence": {
        **CHANGED,
        "archive?": str,
        "members?": [{"name": MEMBER, "bytes": int, "sha256": DIGEST}],
        "missing": {f"{source}?": str for source in SOURCES} | NOTHING,
    },
    "haproxy": {**CHANGED, "kept_out": bool},
    "replace_tokens": {
        **CHANGED,
        **dict.fromkeys(("total", "done"), int),
        "proven?": int,
        **{key: [str] for key in ("relink_required", "gone")},
        "ended": bool,
    },
    "retire": {**CHANGED, "revocations": [REVOCATION]},
    "storage_info": {**CHANGED, "findings": [FINDING], "values": {"*": journal.MARKS}},
    "survey_info": SURVEY,
    "holdings_info": {**CHANGED, "verified": {"*": VERIFIED}, "problems": [str], "text": str},
    "watcher": {**CHANGED, "did": [str]},
}
# of several lines each; every other text is one line
LINES = ("would", "text", "diff")
# a mapping with such a name is one of its own objects to Ansible
THEIRS = "__ansible"
# what one answer may be: reports and later runs carry much of it. Logs lie in evidence, and all that has ended in a state
MOST_BYTES, MORE_BYTES = 1 << 20, {"evidence": 1 << 28, "replace_tokens": 1 << 24, "rotation_info": 1 << 24}
# of a list or a mapping; by the name of one that grows with the application's rows, or with the years
MOST_ENTRIES, MORE_ENTRIES = 1000, {"closed": 10_000, "relink_required": 1 << 20, "gone": 1 << 20}
# of an answer before it is read: a value of two characters takes some sixty bytes, and so does a line
MOST_VALUES = 1 << 21
LONGEST_LINE, LONGEST_NAME = 1 << 12, 1 << 8
DEEPEST = 40
# all calls of one piece of work, which goes on from where it has come to when somebody asks again
MOST_HOURS = 24
WARNINGS = 20


class Unfit(Exception):
    """An answer that is none; the text says why, and has nothing of the answer."""


def most(action: str) -> int:
    """Return how long the answer to an action may be, in bytes."""
    return MORE_BYTES.get(action, MOST_BYTES)


def excess(action: str, output: str) -> str:
    """Say by how much what a host has printed is more than an answer may be, empty where it is not; seen before anything is made of it."""
    if len(output) > most(action):
        return f"{len(output):,} characters"
    found = json_text.values(output) + output.count("\n")
    return f"{found:,} values and lines" if found > MOST_VALUES else ""


def taken(action: str, said: Mapping[str, object], rotation_id: str = "") -> dict[str, object]:
    """Return a host's answer to ``keyturn_ACTION``, of a call that was about a rotation where ``rotation_id`` is given.

    One of another shape is a failure of the host, as one that says itself that it has failed.
    """
    try:
        warnings = [harmless(_words(one)) for one in _list(said.get("warnings"))[:WARNINGS]]
        told: dict[str, object] = {"warnings": warnings} if warnings else {}
        if said.get("failed"):
            return {
                **told,
                "failed": True,
                "msg": harmless(str(said.get("msg", "the host gives no reason")), lines=True),
            }
        known = {name.removesuffix("?") for name in ANSWERS[action]}
        found = {name: _clean(name, value) for name, value in said.items() if name in known - {"archive"}}
        if "archive" in said and "archive" in known:  # base64, and large
            found["archive"] = said["archive"]
        misfit = next(shape.misfits("", ANSWERS[action], found), "")
        about: Any = found.get("rotation") or {}
        if misfit or (rotation_id and about.get("rotation_id", rotation_id) != rotation_id):
            raise Unfit(misfit.lstrip(".") or "rotation.rotation_id must be the one that was asked for")
    except Unfit as why:
        return {"failed": True, "msg": f"what the host has answered is no answer to keyturn_{action}: {why}. {REMEDY}"}
    return {**told, **shape.fitting(ANSWERS[action], found)}


REMEDY = (
    "Its Python, or the Keyturn that was sent there, may be in other hands: look at the host before it is trusted again"
)


def alone(output: str) -> str:
    """Return the lines of the answer in what a host has printed; all of it where there is none."""
    lines = output.split("\n")
    begins = [number for number, line in enumerate(lines) if line.lstrip().startswith("{")]
    ends = [number for number, line in enumerate(lines, 1) if line.rstrip().endswith("}")]
    found = lines[begins[0] : ends[-1]] if begins and ends else []
    return "\n".join(found) if found else output


def check_secret(said: HostAnswer, host: str, asked: str | None) -> None:
    """Refuse what a host tells of another secret than it was ``asked`` about: nobody has looked at that one elsewhere."""
    if others := sorted({str(line["secret"]) for line in said.get("revocations", ()) if "secret" in line} - {asked}):
        raise Unfit(f"{host} tells of a revocation of {', '.join(others)}, and was asked about {asked}. {REMEDY}")


# -- work that takes several calls --------------------------------------------------------------------------------------------


class Progress(NamedTuple):
    """How far work has come that needs another call: steps that only grow in number, at most ``total``, and a line about it."""

    done: int
    total: int
    line: str


def progress(action: str, said: HostAnswer) -> Progress | None:
    """Return how far the work is that an answer tells of; None where no other call is needed."""
    if said.get("failed"):
        return None
    if action == "turn" and "progress" in said:
        read = said["progress"]
        done, total, seconds = read["done"], read["total"], read["seconds"]
        rate = max(done, 1) / max(seconds, 0.001)
        what = "turned" if said.get("rotation", {}).get("phase") == "turning" else "prepared"
        line = f"{done:,} of {total:,} rows {what}, {rate:,.0f} rows/s, {max(total - done, 0) / rate:.0f} s left"
        return Progress(done, total, line)
    if action == "replace_tokens" and not said["ended"]:
        # of each token two steps: it is replaced, and proved; one that is lost or gone takes none any more
        steps = said["done"] + said.get("proven", 0) + 2 * len(said["relink_required"]) + 2 * len(said["gone"])
        line = f"{said['done']} of {said['total']} tokens replaced, {said.get('proven', 0)} proved"
        return Progress(steps, 2 * (said["total"] + len(said["gone"])), line)
    return None


class Work:
    """One piece of work of a host, by as many calls as it takes. Each brings it on, and all of them have an end."""

    def __init__(self, action: str, host: str) -> None:
        self.action, self.host = action, host
        self.done, self.most = 0, 0
        self.ends = time.monotonic() + MOST_HOURS * 3600

    def left(self, said: HostAnswer) -> str:
        """Return the line about what an answer leaves to further calls, empty for nothing; Unfit where none is to be made."""
        told = progress(self.action, said)
        if told is None:
            return ""
        # rows may be added while it works, but not as many as there are
        self.most = self.most or 2 * told.total
        if not self.done < told.done <= min(told.total, self.most):
            raise Unfit(
                f"{self.host} says that work is left and makes no progress: it was at {self.done:,} and is at {told.done:,} of "
                f"{told.total:,}. {REMEDY}"
            )
        if time.monotonic() > self.ends:
            raise Unfit(
                f"{self.host} has worked for {MOST_HOURS} hours and is at {told.done:,} of {told.total:,}: see what keeps it, then run "
                "the same again or resume.yml, which go on from there"
            )
        self.done = told.done
        return told.line


def _words(warning: object) -> str:
    """Return the text of a warning, which may be one of Ansible's own objects."""
    event = warning.get("event") if isinstance(warning, Mapping) else None
    return str(event.get("msg") if isinstance(event, Mapping) else warning)


def _list(found: object) -> list[object]:
    return found if isinstance(found, list) else []


def _clean(name: str, found: object, depth: int = 0, lines: bool = False) -> object:
    """Return plain data with harmless texts; Unfit for what JSON has no word for, and for what is too deep or has too many entries."""
    lines = lines or (depth == 0 and name in LINES)
    if depth > DEEPEST:
        raise Unfit("it is nested too deep")
    if isinstance(found, str):
        return harmless(found, lines, LONGEST if lines else LONGEST_LINE)
    most = MOST_ENTRIES if depth else MORE_ENTRIES.get(name, MOST_ENTRIES)
    if isinstance(found, Mapping | list | tuple) and len(found) > most:
        raise Unfit(f"{harmless(name, longest=LONGEST_NAME)} has {len(found):,} entries, and may have {most:,}")
    if isinstance(found, Mapping):
        own = {str(key): one for key, one in found.items() if not str(key).startswith(THEIRS)}
        return {harmless(key, longest=LONGEST_NAME): _clean(key, one, depth + 1, lines) for key, one in own.items()}
    if isinstance(found, list | tuple):
        return [_clean(name, one, depth + 1, lines) for one in found]
    if found is None or isinstance(found, bool | int | float):
        return found
    raise Unfit(f"it holds a {type(found).__name__}")
