"""What a page or a pipeline has to repeat of the shipped application's data, since nothing reads it there; and the names of actions.

``python -m support.repeated`` writes it anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from keyturn.inputs.application import Application

from support.lab import ROOT

VALUE = {"shared": "one value for all hosts", "per_host": "each host its own"}
SWITCH = {"together": "all hosts at once", "rolling": "one host first, then batches"}
OVERLAP = {"both": "old and new are both valid", "none": "the new one kills the old one"}


def files() -> dict[str, str]:
    """Return each file as it has to be, by its path in the checkout."""
    application = Application(ROOT / "applications/trader_ai")
    secrets, policy = application.part("catalogue.yml", "secrets"), application.part("policy.yml")
    playbooks = {name: policy["procedures"][name]["commands"][0].removesuffix(".yml") for name in secrets}
    offered = application.offered
    all_of_them, every = secrets | offered, playbooks | {name: f"rotate_{name}" for name in offered}
    aged = json.dumps([playbooks[name] for name in secrets if name in policy["schedule"]])
    made = (
        (
            "docs/reference/playbooks.md",
            r"(?<=---\|\n)(\| `rotate_.*\n)+",
            "".join(_playbooks(all_of_them, every, offered)),
        ),
        ("docs/policy-line-by-line.md", r"(?<=---\|\n)(\| `[A-Z_]+`.*\n)+", "".join(_values(secrets, playbooks))),
        (
            ".github/workflows/rotate.yml",
            r"( +- rotate_\w+\n)+",
            "".join(f"{' ' * 10}- {one}\n" for one in every.values()),
        ),
        (".github/workflows/rotate.yml", r"(?<=')\[\"rotate_.*?\](?=')", aged),
        ("applications/trader_ai/awx/templates.yml", r"(?<= choices: )\[.*\]", f"[{', '.join(all_of_them)}]"),
    )
    found: dict[str, str] = {}
    for file, place, text in made:
        found[file], times = re.subn(place, text.replace("\\", r"\\"), found.get(file) or (ROOT / file).read_text())
        if not times:
            raise LookupError(f"{file} has no place for what stands there of the catalogue")
    return found


def _playbooks(secrets: dict[str, Any], playbooks: dict[str, str], offered: Collection[str]) -> Iterator[str]:
    for name, entry in secrets.items():
        brought = ["a person brings it"] if entry["source"]["kind"] == "supplied" else []
        ends = ["every session ends"] if entry.get("sessions") == "invalidated" else []
        overlap = [OVERLAP[entry["overlap"]]] if entry["overlap"] in OVERLAP else []
        chosen = ["where the inventory has chosen it (`keyturn_optional_secrets`)"] if name in offered else []
        how = "; ".join([*chosen, *brought, VALUE[entry["value"]], SWITCH[entry["switch"]], *overlap, *ends])
        proved = "at the provider " if "provider" in entry else ""
        yield f"| `{playbooks[name]}.yml` | rotates the {entry['title']}: {how} | committed and proved {proved}on every host |\n"


def _values(secrets: dict[str, Any], playbooks: dict[str, str]) -> Iterator[str]:
    for name, entry in secrets.items():
        own = f"`{playbooks[name]}.yml`"
        revoked = entry["retire"]["kind"] == "revoke"
        how = f"{own}, then `confirm_revoked.yml`" if revoked else f"`rotate_due.yml` when it is due, {own} at any time"
        yield f"| {'<br>'.join(f'`{variable}`' for variable in entry['variables'])} | {how} |\n"


# of a step that needs no more of Ansible than its arguments; no link to the base, since archives and copies lose those
ACTION = '''"""The action ``{name}``: a step of the controller, as ``keyturn_controller`` runs it."""

from ansible.plugins.loader import action_loader

ActionModule = action_loader.get("keyturn_controller", class_only=True)
'''


def unnamed() -> list[Path]:
    """Return the action of each step of the controller that has no file yet."""
    steps = (ROOT / "module_utils/keyturn/steps").glob("[a-z]*.py")
    actions = (ROOT / f"plugins/action/keyturn_{step.name}" for step in steps)
    return [action for action in actions if not action.exists()]


if __name__ == "__main__":
    for action in unnamed():
        action.write_text(ACTION.format(name=action.stem))
    for file, text in files().items():
        (ROOT / file).write_text(text)
