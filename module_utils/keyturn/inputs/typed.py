"""Commands as a person types them here. A message names a playbook, as ``resume.yml``: how it is started, only the run knows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from .tree import IN_A_COLLECTION, ROOT

# an application has files of these names as well, and messages mean those
FILES = ("monitoring", "policy")
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("[a-z]*.yml")}.difference(FILES)
NAMED = re.compile(rf"(?<![\w/.-])({'|'.join(sorted(PLAYBOOKS))})\.yml\b")
WRAPPED = (ROOT / ".venv/bin/ansible-playbook").exists()


def typed(text: str, inventories: Iterable[str] = ()) -> str:
    """Return a message with each playbook in it as the command that runs it, for the ``inventories`` that were named to this run."""
    named = "".join(f" -i {shlex.quote(_near(one))}" for one in inventories)
    return NAMED.sub(lambda found: f"{_start(found[1])}{named}", text)


def _start(playbook: str) -> str:
    if IN_A_COLLECTION:
        return f"ansible-playbook keyturn.core.{playbook}"
    return (
        f"{_near(ROOT / 'bin/keyturn')} {playbook}"
        if WRAPPED
        else f"ansible-playbook {_near(ROOT / 'playbooks')}/{playbook}.yml"
    )


def _near(place: Path | str) -> str:
    """Return a path as it is typed from where the run was started; an inventory may be a list of hosts, which is none."""
    path = Path(place)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else place)
