"""One step of the response to an incident: which playbook runs, and what came of it.

Each step is an ``ansible-playbook`` of its own, so that one that fails does not end the others. No value is in its arguments.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypedDict

from .. import incident
from ..base import durable, timestamps
from ..base.errors import KeyturnError
from ..host import probes
from ..host.rotation import LOCK_WAIT_SECONDS
from ..inputs import pipeline
from ..inputs import request as planning
from ..inputs.catalogue import Entry
from ..providers.supplied import PREFIX, by_a_person
from ..records.rotation_log import COMMITTED
from .shapes import Document, Step

# what is read of the report of a step
REPORT = {
    "outcome": str,
    "failure?": (None, str),
    "hosts": {"*": {"proofs?": [{"verdict": str, "wanted": str}], "rows?": {"*": int}}},
}
CONTINUED = ("interrupted", "needs_attention")
ASKING = {"ask_vault_pass": "--ask-vault-pass", "ask_pass": "--ask-pass", "become_ask_pass": "--ask-become-pass"}

Variables = Mapping[str, object]

# What opens with a leaked value goes with it.
FORGET: Variables = {"keyturn_backup_retention_days": 0}

# Runs a playbook with extra variables, its output going to a file, and returns the exit code.
Play = Callable[[str, Variables, Path], int]


class Scene(NamedTuple):
    """Where a step works: the environment's folder of reports, the catalogue, and what the run knows beside it."""

    reports: Path
    secrets: Mapping[str, Entry]
    brought: Sequence[str]
    vaulted: bool
    play: Play
    now: Callable[[], datetime]


class Options(TypedDict, total=False):
    """What of the command line of ``ansible-playbook`` would make each step ask a person."""

    ask_vault_pass: bool
    ask_pass: bool
    become_ask_pass: bool
    vault_ids: Sequence[str] | None


class Host(TypedDict, total=False):
    """What is read of a host in the report of a step."""

    phase: str
    proofs: list[dict[str, str]]
    rows: dict[str, int]


class Report(TypedDict, total=False):
    """What is read of the report of a step, nothing where there is none."""

    outcome: str
    failure: str | None
    hosts: dict[str, Host]


def check_asks_nobody(options: Options) -> None:
    """Refuse options of ``ansible-playbook`` with which each step would ask a person for a password."""
    asking = [name for option, name in ASKING.items() if options.get(option)]
    asking += ["--vault-id @prompt" for one in options.get("vault_ids") or () if str(one).endswith("prompt")]
    if asking:
        raise KeyturnError(
            f"{', '.join(asking)} would ask again for each secret; nothing was changed: give the password by a file "
            "(--vault-password-file, --become-password-file, keys for SSH)"
        )


@contextlib.contextmanager
def alone(folder: Path, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[int]:
    """Hold the incident for one step. A step outlives the run that was killed, and is waited for, then named."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _acquire(fd, folder.name, wait_seconds)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield fd
    finally:
        os.close(fd)


def _acquire(fd: int, incident_id: str, wait_seconds: float) -> None:
    if not durable.take_lock(fd, wait_seconds):
        holder = os.pread(fd, 32, 0).decode() or "unknown"
        raise KeyturnError(
            f"incident {incident_id} is being worked on by another run, or by what a killed run has left behind (pid {holder}): "
            "wait until it ends, then run this again"
        )


def run(folder: Path, name: str, scene: Scene) -> Step:
    """Do one step and write down what came of it, before and after; a step that is done does nothing."""
    document = incident.read(folder)
    step = incident.step_of(document, name)
    if step["state"] in incident.DONE:
        return step
    state, evidence = KINDS[step["kind"]](folder, document, step, scene)
    # a host may have written it, and a table has a line for each step
    step.update({"state": state, "evidence": " ".join(evidence.split()), "at": timestamps.text(scene.now())})
    incident.write(folder, document)
    return step


def _rotate(folder: Path, document: Document, step: Step, scene: Scene) -> tuple[str, str]:
    last = step["attempts"][-1] if step["attempts"] else ""
    if _is_open(_report(scene, last)):
        # the run that began it was killed, or could not end it: forward is the only way out of a leaked value
        scene.play("resume", FORGET, _log(folder, step))
    if _report(scene, last).get("outcome") in COMMITTED:
        return "done", _committed(scene, last)
    if wanted := _to_bring(scene, scene.secrets[step["secret"]]):
        return "waiting", wanted
    if not last or scene.reports.joinpath(f"{last}.json").exists():
        last = planning.rotation_id()
        step["attempts"].append(last)
    step["state"] = "running"
    incident.write(folder, document)
    scene.play("_lifecycle", _told(document, step, last), _log(folder, step))
    report = _report(scene, last)
    if report.get("outcome") in COMMITTED:
        return "done", _committed(scene, last)
    return "failed", str(report.get("failure") or f"no report was written, see {_log(folder, step).name}")


def _to_bring(scene: Scene, entry: Entry) -> str:
    """Say what a person has to bring before the secret can be rotated, empty where nothing is missing."""
    missing = [PREFIX + name for name in entry["variables"] if PREFIX + name not in scene.brought]
    if not by_a_person(entry) or not missing or scene.vaulted:
        return ""
    return (
        f"bring {', '.join(missing)} in the environment (by read -rs, for the shell's history), or "
        f"a file by keyturn_new_values, and run this again. {'; '.join(entry['source']['steps'])}"
    )


def _told(document: Document, step: Step, rotation_id: str) -> Variables:
    """Return the variables of a rotation in an incident."""
    reason = f"{'drill' if document['drill'] else 'incident'} {document['id']}"
    return {
        "keyturn_secret": step["secret"],
        "keyturn_rotation_id": rotation_id,
        "keyturn_reason": reason,
        "keyturn_operator": document["operator"],
        # a leaked value does not wait for staging
        "keyturn_override_staging": reason,
        **FORGET,
        **({"keyturn_override_open_orders": reason} if step["tier"] == "affected" else {}),
    }


def _is_open(report: Report) -> bool:
    """One that needs attention may have ended on every host: then nothing goes on, and another one begins."""
    ends = {host.get("phase") for host in report.get("hosts", {}).values()}
    return report.get("outcome") in CONTINUED and ends != {"closed"}


def _committed(scene: Scene, rotation_id: str) -> str:
    report = _report(scene, rotation_id)
    lines = [line for host in report["hosts"].values() for line in host.get("proofs", [])]
    proofs = [line for line in lines if line["verdict"] != "not configured"]
    return f"{report['outcome']}, {sum(map(probes.holds, proofs))} of {len(proofs)} proofs, report {rotation_id}"


def _tokens(folder: Path, document: Document, step: Step, scene: Scene) -> tuple[str, str]:
    if step["condition"] == "if_plaintext":
        rotated = [one for one in document["steps"] if one["kind"] == "rotate" and _has_rows(scene, one)]
        if not rotated or any(one["state"] != "done" for one in rotated):
            return "waiting", "whether rows stand in plaintext is known when the database key is rotated"
        reports = [_report(scene, one["attempts"][-1]) for one in rotated]
        rows = [host.get("rows", {}) for report in reports for host in report["hosts"].values()]
        if not any(one.get("plaintext") for one in rows):
            return "skipped", "no row stands in plaintext"
    step["state"] = "running"
    incident.write(folder, document)
    summary = folder / "replaced.json"
    code = scene.play("replace_plaid_tokens", {"keyturn_replacement_summary": str(summary)}, _log(folder, step))
    found = durable.read_json(summary, {"*": {"proven?": int, "total?": int}}) or {}
    said = "; ".join(
        f"{host}: {one.get('proven', 0)} of {one.get('total', 'an unknown number')} replaced and proved"
        for host, one in sorted(found.items())
    )
    if code == 0 and said:
        return "done", said
    return "failed", f"{said or 'not all tokens are replaced'}, see {_log(folder, step).name}"


def _has_rows(scene: Scene, step: Step) -> bool:
    return bool(scene.secrets[step["secret"]]["migration"]["kind"] != "none")


def _revoke(folder: Path, document: Document, step: Step, scene: Scene) -> tuple[str, str]:
    rotated = next(one for one in document["steps"] if one["kind"] == "rotate" and one["secret"] == step["secret"])
    if rotated["state"] != "done":
        return "waiting", f"after: {rotated['name']}"
    code = scene.play("confirm_revoked", {"keyturn_secret": step["secret"]}, _log(folder, step))
    if code == 0:
        return "done", "rejected by its provider on every host"
    steps = "; ".join(scene.secrets[step["secret"]]["retire"]["steps"])
    return "waiting", f"the provider does not reject it yet. {steps}; then run this again"


def _resume(folder: Path, document: Document, step: Step, scene: Scene) -> tuple[str, str]:
    # what is open may be a rotation of the leaked value, begun by a run of this incident that was killed
    code = scene.play("resume", FORGET, _log(folder, step))
    if code == 0:
        return "done", "the rotation that stood open has ended"
    return "failed", f"the open rotation does not end, see {_log(folder, step).name}"


def _report(scene: Scene, rotation_id: str) -> Report:
    found: Report | None = durable.read_json(scene.reports / f"{rotation_id}.json", REPORT)
    return found or {}


def _log(folder: Path, step: Step) -> Path:
    return folder / f"{step['name'].replace(' ', '-')}.log"


KINDS: dict[str, Callable[[Path, Document, Step, Scene], tuple[str, str]]] = {
    "resume": _resume,
    "revoke": _revoke,
    "rotate": _rotate,
    "tokens": _tokens,
}


def as_option(variables: Variables) -> list[str]:
    """Return variables as an option, after which they win over every other place. Who opened the incident is a name from outside."""
    return ["-e", pipeline.option(variables)] if variables else []
