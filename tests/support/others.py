"""Ground that belongs to another user, who is a real one: what root does there is done beside somebody who may change it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def ground() -> Iterator[Path]:
    """A folder of the user nobody's, in one of root's that everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        made = folder / "app"
        made.mkdir()
        give(made)
        yield made
    finally:
        shutil.rmtree(folder)


def give(*paths: Path, user: int = NOBODY) -> None:
    """Give files to a user."""
    for path in paths:
        os.chown(path, user, user, follow_symlinks=False)


def as_nobody(attack: Callable[[], object]) -> None:
    """Let the user nobody do something; an error there fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.seteuid(0)  # in whatever it was called from
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            attack()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, "what nobody was to do failed"
