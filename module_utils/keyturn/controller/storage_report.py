"""The action ``keyturn_storage_report``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import catalogue, durable, findings, isolation, repository
from ..ansible_module import validated
from ..errors import KeyturnError
from ..findings import SEVERITIES, Finding
from ..stores import rights

ARGUMENTS: dict[str, Any] = {
    "hosts": {"type": "dict", "required": True},
    "secrets": {"type": "dict", "required": True},
    "environment": {"type": "str", "required": True},
    "reports": {"type": "path", "required": True},
    "production": {"type": "bool", "required": True},
    "store": {"type": "dict", "required": True},
    "checkout": {"type": "path"},
    "fail_at": {"type": "str", "default": "error", "choices": list(SEVERITIES)},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Add what only the controller can see to what the hosts have found; write it down, and say what is too bad."""
    elsewhere = isolation.held_elsewhere(Path(given["reports"]), given["environment"])
    found = {
        host: [*said["findings"], *_told(_shared(said["values"], elsewhere, given["secrets"]))]
        for host, said in given["hosts"].items()
    }
    found["controller"] = list(_told(_of_environment(given)))
    bad = [
        f"{place}: {one['what']}"
        for place, all_of in found.items()
        for one in findings.at_least(given["fail_at"], all_of)
    ]
    if not check_mode:
        folder = Path(given["reports"]) / given["environment"]
        durable.make_reports_folder(folder)
        durable.write_json(folder / "storage.json", found)
    return {"changed": False, "findings": found, "bad": sorted(bad), "text": findings.table(found)}


def _told(found: Iterator[Finding]) -> Iterator[dict[str, str]]:
    return (one._asdict() for one in found)


def _shared(
    held: Mapping[str, Mapping[str, str]], elsewhere: Mapping[str, str], secrets: Mapping[str, Any]
) -> Iterator[Finding]:
    """No value is used in two environments, but for the variables that are one at the provider."""
    for secret, shown in held.items():
        may_stay = secrets[secret].get("source", {}).get("may_stay", [])
        for name, mark in shown.items():
            if mark in elsewhere and name not in may_stay:
                what = f"{name} {mark} is also {elsewhere[mark]}"
                yield Finding(
                    "error", "one environment each", what, f"rotate {secret} in the environment that is less worth"
                )


def _of_environment(given: Mapping[str, Any]) -> Iterator[Finding]:
    if given["store"]["kind"] != "dotenv":
        yield from _rights(given)
    elif given["production"]:
        what = f"{given['environment']} keeps its values on its hosts alone"
        yield Finding("error", "a secret store", what, "set keyturn_store: docs/stores.md says how to move there")
    if given["checkout"]:
        folder = Path(given["checkout"])
        names = [name for entry in given["secrets"].values() for name in entry["variables"]]
        yield from repository.look(folder, names)
        yield from _history(folder)


def _rights(given: Mapping[str, Any]) -> Iterator[Finding]:
    """The login of an environment reads that environment alone, and not one whose name begins alike."""
    spec = validated("keyturn_store", catalogue.STORE, given["store"], catalogue.STORE_REQUIRED_IF)
    mine = given["environment"]
    others = isolation.environments(Path(given["reports"])) - {mine} | {f"{mine}-another"}
    try:
        readable = rights.beyond(spec, mine, sorted(others))
    except KeyturnError as error:
        what = f"what the store's login may read was not looked at: {error}"
        yield Finding("warning", "least privilege", what, "run this with the login that the pipeline has")
        return
    for other in readable:
        what = f"the store's login for {mine} may read the environment {other} too"
        remedy = "give each environment a role of its own: files/openbao-policy.hcl, files/iam-policy.json"
        yield Finding("error" if given["production"] else "warning", "least privilege", what, remedy)


def _history(folder: Path) -> Iterator[Finding]:
    """What a scanner finds in all that was ever committed; it is told by file and line, never by value."""
    try:
        from detect_secrets.core.scan import scan_diff
        from detect_secrets.settings import default_settings
    except ImportError:
        yield Finding(
            "warning", "never in git", f"the history of {folder} was not searched", "make setup installs detect-secrets"
        )
        return
    command = ["git", "-C", str(folder), "log", "--patch", "--all", "--unified=0", "--no-color", "--no-ext-diff"]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        yield Finding("warning", "never in git", f"{folder} is no git checkout", "name one by keyturn_checkout")
        return
    with default_settings() as settings:
        settings.disable_filters(
            "detect_secrets.filters.common.is_invalid_file"
        )  # a file may be gone, its history is not
        places = {(secret.filename, secret.type) for secret in scan_diff(done.stdout)}
    for file, kind in sorted(places):
        what = f"{file} in the history of {folder}: {kind}"
        yield Finding("error", "never in git", what, "look at it; where it is real, rotate it and rewrite the history")
