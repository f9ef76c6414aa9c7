"""What may be said by whoever starts a pipeline: a name of a list, or words of a pattern. It becomes data, and never a template.

``ci/rotate`` runs this file as a program: ENVIRONMENT PLAYBOOK, the rest by the environment. It prints the option for ``-e``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping

from ..base.errors import KeyturnError
from .reason import REASON
from .request import INCIDENT_ID
from .tree import ROOT

# what turns a secret or ends a rotation, what looks, and what is run every day: nothing that a person answers for by name
PLAYBOOKS = (
    # each but the daily one turns the secret of its name, and `rotate` any that the catalogue has
    *sorted({path.stem for path in (ROOT / "playbooks").glob("rotate*.yml")} - {"rotate_due"}),
    *("resume", "rollback", "confirm_revoked", "migrate_delivery"),
    *("verify", "verify_log", "check_storage"),
    *("rotate_due", "prune", "status", "notify"),
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
FOLDER = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._@+-]+)+/?")
# by the variable of the environment: the pattern, and its words
SAID = {
    "KEYTURN_REASON": (REASON, "1 to 120 letters, digits, spaces or . _ : # / -"),
    "KEYTURN_SECRET": (NAME, "the name of a secret of the catalogue: letters, digits, _ and -"),
    "KEYTURN_INCIDENT": (INCIDENT_ID, "1 to 64 letters, digits or . _ -"),
    "KEYTURN_OVERRIDE_LOG": (REASON, "1 to 120 letters, digits, spaces or . _ : # / -"),
    "KEYTURN_REPORTS_DIR": (FOLDER, "a path that begins with /, of letters, digits and . _ @ + -, without `..`"),
    "KEYTURN_INVENTORIES": (FOLDER, "a path that begins with /, of letters, digits and . _ @ + -, without `..`"),
}


def variables(environment: str, playbook: str, environ: Mapping[str, str]) -> dict[str, object]:
    """Return the variables of a run; ``environ`` are those of the environment. KeyturnError for what is not on the list or no such word.

    The text of what is refused is not told: it would be read where the pipeline's output is.
    """
    if not NAME.fullmatch(environment):
        raise KeyturnError("the environment must be the name of a folder of inventories: letters, digits, _ and -")
    if playbook not in PLAYBOOKS:
        raise KeyturnError(f"a pipeline runs no such playbook: KEYTURN_PLAYBOOK is scheduled, {', '.join(PLAYBOOKS)}")
    asked = {name: environ.get(name, "") for name in SAID}
    for name, text in asked.items():
        pattern, words = SAID[name]
        if text and not pattern.fullmatch(text):
            raise KeyturnError(f"{name} must be {words}: nothing was run")
    incident, secret = asked["KEYTURN_INCIDENT"], asked["KEYTURN_SECRET"]
    if (playbook == "rotate") != bool(secret):
        raise KeyturnError(
            "KEYTURN_SECRET names the secret for the playbook rotate, and no other takes it: nothing was run"
        )
    typed: dict[str, object] = {
        "keyturn_reason": asked["KEYTURN_REASON"] or (f"incident {incident}" if incident else "scheduled"),
        "keyturn_override_staging": incident,
        "keyturn_override_log": asked["KEYTURN_OVERRIDE_LOG"],
        # GitHub and GitLab say so
        "keyturn_pipeline": bool(environ.get("CI")),
    }
    folder = asked["KEYTURN_REPORTS_DIR"]
    return typed | ({"keyturn_reports_dir": folder} if folder else {}) | ({"keyturn_secret": secret} if secret else {})


def option(typed: Mapping[str, object]) -> str:
    """Return variables for ``-e``: their texts are data, which Ansible takes for no template whatever stands in them."""
    return f"{{{', '.join(f'{json.dumps(name)}: {_data(value)}' for name, value in typed.items())}}}"


def _data(value: object) -> str:
    # of a marked text Ansible guesses the type anew, and takes an empty one for nothing and "7" for a number: none of those has a brace
    mark = "!unsafe " if isinstance(value, str) and "{" in value else ""
    return mark + json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    try:
        print(option(variables(sys.argv[1], sys.argv[2], os.environ)))
    except KeyturnError as error:
        print(f"ci/rotate: {error}", file=sys.stderr)
        sys.exit(2)
