"""The staging gate: what has not been turned and proved on staging, with the same Keyturn, is not turned on production."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TypedDict, cast

from ..base import durable, files, timestamps
from ..base.errors import KeyturnError
from ..inputs.request import Plan

CODE = ("library", "module_utils", "playbooks", "plugins", "roles")
SETTINGS = "ansible.cfg"
DEPENDENCIES = "pyproject.toml"
# what decides whether there is a gate, and how wide it is: an inventory says it, which people review, and not a command line
VARIABLES = ("keyturn_production", "keyturn_staging", "keyturn_staging_max_age_days")


class StagingReport(TypedDict, total=False):
    """What is read of a report on staging."""

    outcome: str
    secret: str
    rotation_id: str
    revision: str
    finished: str | None


def revision(root: Path, application: Path) -> str:
    """Return 16 hexadecimal digits that stand for all that decides what a rotation does, but the inventories.

    That is every file of the code and Ansible's settings under ``root``, the folder of the application, wherever it lies, and the
    version of what is installed of its dependencies and of theirs.
    """
    declared = tomllib.loads((root / DEPENDENCIES).read_text())
    wanted = [*declared["project"]["dependencies"], *declared["dependency-groups"]["stores"]]
    digest = hashlib.sha256(repr(sorted(_installed(wanted, set()))).encode())
    inside = (path for folder in CODE for path in (root / folder).rglob("*"))
    mine = [*sorted(path for path in inside if path.is_file() and path.suffix != ".pyc"), root / SETTINGS]
    data = sorted(application.glob("*.yml"))
    for path, base in [*((path, root) for path in mine), *((path, application.parent) for path in data)]:
        content = files.read(path)
        digest.update(f"{path.relative_to(base)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _installed(requirements: Sequence[str], seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield name and version of each requirement that is installed, and of what it requires; extras are nobody's wish here."""
    for requirement in requirements:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.name not in seen:
            seen.add(found.name)
            yield found.name, found.version
            yield from _installed([one for one in found.requires or () if "extra ==" not in one], seen)


def check_shut(plan: Plan, staging: str, typed: Iterable[str]) -> None:
    """Refuse what opens the gate without a word: one of ``VARIABLES`` on the command line (``typed``), or no staging."""
    if typed:
        raise KeyturnError(
            f"{', '.join(sorted(typed))} on the command line would move the staging gate: {_reason('leave it out')}"
        )
    if not staging:
        raise KeyturnError(
            f"{plan['environment']} is in production, and keyturn_staging names no environment that goes first: "
            + _reason("name one in the inventory")
        )
    if staging == plan["environment"]:
        raise KeyturnError(
            f"keyturn_staging is {staging} itself: {_reason('name another environment in the inventory')}"
        )


def check(reports: Iterable[StagingReport], staging: str, plan: Plan, max_age_days: int) -> str:
    """Return the rotation on staging that lets this one pass; KeyturnError says what is missing.

    ``reports`` are those of the environment ``staging``, ``plan`` is that of the rotation that asks.
    """
    title, own = plan["title"], plan["revision"]
    turned = [report for report in reports if report["secret"] == plan["secret"] and report["outcome"] == "committed"]
    if not turned:
        raise KeyturnError(f"{title} was never committed on {staging}: {_remedy(staging, plan['secret'])}")
    same = [report for report in turned if report.get("revision") == own]
    if not same:
        last = max(turned, key=_finished)
        raise KeyturnError(
            f"{title} was last committed on {staging} by another revision of Keyturn ({last.get('revision', 'unknown')}, this "
            f"is {own}): {_remedy(staging, plan['secret'])}"
        )
    last = max(same, key=_finished)
    age = datetime.fromisoformat(plan["started"]) - _finished(last)
    if age > timedelta(days=max_age_days):
        raise KeyturnError(
            f"{title} was last committed on {staging} {age.days} days ago ({last['rotation_id']}), and "
            f"keyturn_staging_max_age_days is {max_age_days}: {_remedy(staging, plan['secret'])}"
        )
    return str(last["rotation_id"])


def read_reports(folder: Path) -> list[StagingReport]:
    """Return the reports of an environment; KeyturnError where its folder is not there."""
    if not folder.is_dir():
        raise KeyturnError(
            f"{folder} does not exist, so nobody knows what was turned there: keep the reports of all environments in one "
            "keyturn_reports_dir, or bring them there before this run"
        )
    form = {
        "outcome": str,
        "secret": str,
        "rotation_id": timestamps.ROTATION_ID,
        "revision?": str,
        "finished": (None, timestamps.SHAPE),
    }
    return [
        cast(StagingReport, found) for path in folder.glob("[0-9]*.json") if (found := durable.read_json(path, form))
    ]


def _finished(report: StagingReport) -> datetime:
    return datetime.fromisoformat(str(report["finished"])).astimezone(UTC)


def _remedy(staging: str, secret: str) -> str:
    return _reason(f"rotate {secret} on {staging} first")


def _reason(remedy: str) -> str:
    return f"{remedy}. In an incident give its id as the reason, by keyturn_override_staging, which stands in report and log"
