"""git in somebody else's checkout. Its configuration may name programs, and none of them is run."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from ..base import programs, shown
from ..base.errors import KeyturnError
from . import owner
from .scripts import PATH

SECONDS, MOST_BYTES = 300, 1 << 26
# What the command line gives wins over a checkout's own configuration.
OFF = {
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "false",
    "diff.submodule": "short",
    "log.mailmap": "false",
    "log.showSignature": "false",
    "protocol.allow": "never",
    "submodule.recurse": "false",
}
# what only an option of the command itself turns off
PATCH = ("--patch", "--no-ext-diff", "--no-textconv", "--no-show-signature", "--submodule=short")
CONVERTER = r"^diff\..*\.textconv$"


def top(folder: Path) -> Path | None:
    """Return the checkout that ``folder`` lies in, None where it is in none."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)


def run(folder: Path, *arguments: str) -> bytes | None:
    """Return what git says, None where it ends with another code than 0. OSError where there is none."""
    try:
        done = programs.said(command(folder, *arguments), MOST_BYTES, SECONDS, **_started(folder))
    except subprocess.TimeoutExpired:
        raise KeyturnError(
            f"git {arguments[0]} in {folder} did not end within {SECONDS} s: look there by hand"
        ) from None
    if done.code is None:
        raise KeyturnError(f"git {arguments[0]} in {folder} says more than {MOST_BYTES >> 20} MiB: look there by hand")
    return done.content if done.code == 0 else None


@contextlib.contextmanager
def output(folder: Path, *arguments: str) -> Iterator[IO[bytes]]:
    """Open the output of git, to be read in pieces; KeyturnError where it ends with another code than 0."""
    with programs.Process(
        command(folder, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **_started(folder),
    ) as git:
        yield cast(IO[bytes], git.stdout)
    if git.returncode:
        raise KeyturnError(no_checkout(folder))


def no_checkout(folder: Path) -> str:
    """Say that the folder is none."""
    return f"{folder} is no git checkout: name one by keyturn_checkout"


def command(folder: Path, *arguments: str) -> list[str]:
    """Return the command line."""
    settings = [option for name, value in _settings(folder).items() for option in ("-c", f"{name}={value}")]
    return ["git", "--no-pager", *settings, "-C", str(folder), *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment for git, or for a program that calls it: settings of this user, and the network, are away."""
    settings = _settings(folder)
    told = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        told |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return told | {
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": os.devnull,
        "LANG": "C.UTF-8",
        "PATH": os.environ.get("PATH", PATH),
    }


def check_programs(folder: Path) -> None:
    """Refuse a checkout whose own configuration names a program that another caller of git than this file would run."""
    found = run(folder, "config", "--name-only", "--get-regexp", CONVERTER)
    if found:
        named = ", ".join(sorted(set(found.decode(errors="replace").split())))
        raise KeyturnError(
            f"the configuration of {folder} names a program ({shown.name(named)}) that a scanner of its history would run: search a fresh "
            "clone"
        )


def _settings(folder: Path) -> dict[str, str]:
    return OFF | {"safe.directory": str((top(folder) or folder).resolve())}


def _started(folder: Path) -> programs.Started:
    """What the process is started with: as the one who may change the checkout, where root looks at that of another user."""
    user = owner.reader((top(folder) or folder) / ".git")
    if user is None:
        return {"env": environment(folder)}
    return {"env": environment(folder), "user": user.uid, "group": user.gid, "extra_groups": user.groups}
