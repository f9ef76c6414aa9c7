"""The staging gate: what has not been turned and proved on staging, with the same Keyturn, is not turned on production."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import durable
from .errors import KeyturnError

CODE = ("library", "module_utils", "playbooks", "plugins", "roles")
SUFFIXES = (".py", ".yml")


def revision(root: Path) -> str:
    """Return 16 hexadecimal digits that stand for the code and the catalogue under ``root``; inventories do not count."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def check(reports: Iterable[dict[str, Any]], staging: str, header: dict[str, Any], max_age_days: int) -> str:
    """Return the rotation on staging that lets this one pass; KeyturnError says what is missing.

    ``reports`` are those of the environment ``staging``, ``header`` is the plan of the rotation that asks.
    """
    title, own = header["title"], header["revision"]
    turned = [report for report in reports if report["secret"] == header["secret"] and report["outcome"] == "committed"]
    if not turned:
        raise KeyturnError(f"{title} was never committed on {staging}: {_remedy(staging, header['secret'])}")
    same = [report for report in turned if report.get("revision") == own]
    if not same:
        last = max(turned, key=_finished)
        raise KeyturnError(
            f"{title} was last committed on {staging} by another revision of Keyturn ({last.get('revision', 'unknown')}, this "
            f"is {own}): {_remedy(staging, header['secret'])}"
        )
    last = max(same, key=_finished)
    age = datetime.fromisoformat(header["started"]) - datetime.fromisoformat(last["finished"])
    if age > timedelta(days=max_age_days):
        raise KeyturnError(
            f"{title} was last committed on {staging} {age.days} days ago ({last['rotation_id']}), and "
            f"keyturn_staging_max_age_days is {max_age_days}: {_remedy(staging, header['secret'])}"
        )
    return str(last["rotation_id"])


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of an environment; KeyturnError where its folder is not there."""
    if not folder.is_dir():
        raise KeyturnError(
            f"{folder} does not exist, so nobody knows what was turned there: keep the reports of all environments in one "
            "keyturn_reports_dir, or bring them there before this run"
        )
    found = (durable.read_json(path) for path in folder.glob("[0-9]*.json"))
    return [report for report in found if report and "outcome" in report]


def _finished(report: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(report["finished"]).astimezone(UTC)


def _remedy(staging: str, secret: str) -> str:
    return (
        f"rotate {secret} on {staging} first. In an incident give its id as the reason, by keyturn_override_staging, "
        "which stands in the report"
    )
