"""A checkout of the application: what git would take, has taken, and ever took, and the template of its environment."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..base import files, folders, shown
from ..base.errors import KeyturnError
from ..base.findings import Finding
from . import consumers, git, owner
from .consumers import dotenv

# never in a repository, beside the application's databases: its environment, and names that people give to copies
SECRET_FILES = (".env", ".env.production", ".env.bak", "backup.db")
MOST_TEMPLATES = 100
TEMPLATES = (".example", ".template", ".sample")
PATTERNS = (".env", ".env.*", "*.db", "*.db-wal", "*.db-journal")


def look(folder: Path, variables: Sequence[str], databases: Sequence[str]) -> Iterator[Finding]:
    """Check the template of ``folder``, and git where it is in a checkout. ``databases`` are the application's, by their paths in it."""
    try:
        yield from _template(folder, variables)
    except KeyturnError as error:
        yield Finding("warning", "templates", str(error), "mend that, and run this again")
    if git.top(folder) is None:
        return
    try:
        yield from _git_findings(folder, databases)
    except OSError:
        what = f"{folder} is a git checkout, and there is no git to look at it with"
        yield Finding("warning", "never in git", what, "install git, and run this again")
    except KeyturnError as error:
        yield Finding("warning", "never in git", str(error), "mend that, and run this again")


def _git_findings(folder: Path, databases: Sequence[str]) -> Iterator[Finding]:
    if _git(folder, "rev-parse", "--git-dir") is None:
        raise KeyturnError(f"git does not read the checkout that {folder} is in, as the user whose it is")
    written = [
        f"{path}{end}" for path in dict.fromkeys(databases) if not Path(path).is_absolute() for end in ("", "-wal")
    ]
    names = [*SECRET_FILES, *written]
    open_names = [name for name in names if _git(folder, "check-ignore", "--quiet", "--no-index", name) is None]
    if open_names:
        what = f"git in {folder} does not ignore {', '.join(open_names)}"
        yield Finding("error", "never in git", what, "add .env*, !.env.example, *.db and *.db-* to .gitignore")
    tracked = _named(_git(folder, "ls-files", "--", *PATTERNS))
    for name in tracked:
        # a pull of that commit deletes the file in every other checkout, perhaps the one that a host runs on
        remedy = (
            "keep a copy outside of each checkout, since the next pull deletes it there; "
            f"git rm --cached -- {shown.argument(name)}, rotate what it holds"
        )
        yield Finding("error", "never in git", f"{folder / name} is committed", remedy)
    added = _named(_git(folder, "log", "--all", "--diff-filter=A", "--name-only", "--format=", "--", *PATTERNS))
    for name in sorted(set(added) - set(tracked)):
        what = f"{name} was committed in {folder} once"
        yield Finding(
            "error",
            "never in git",
            what,
            "every value in it is known: rotate it; then rewrite the history, in a fresh clone",
        )


def _named(output: str | None) -> list[str]:
    return [name for name in (output or "").splitlines() if name and Path(name).suffix not in TEMPLATES]


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, None where it ends with another code than 0."""
    said = git.run(folder, *arguments)
    return None if said is None else said.decode(errors="replace")


def _template(folder: Path, variables: Sequence[str]) -> Iterator[Finding]:
    for path, content in _templates(folder):
        held = dotenv.read(content, variables)
        for name, value in held.items():
            if value and not consumers.is_placeholder(value):
                what = f"{path} has what looks like a real {name}"
                yield Finding("error", "templates", what, f"write a placeholder there, and rotate {name}")


def _templates(folder: Path) -> list[tuple[Path, bytes]]:
    """The templates of the environment in the folder; what is no file of text there is none."""
    found = []
    with owner.looking(folder / ".env"):
        names = (entry.name for entry in folders.listed(folder) if entry.name.startswith(".env"))
        for name in heapq.nsmallest(MOST_TEMPLATES, (name for name in names if name.endswith(TEMPLATES))):
            path = folder / name
            with contextlib.suppress(OSError, KeyturnError):
                content = files.read(path, consumers.MOST_BYTES)
                consumers.check_blanks(content)
                found.append((path, content))
    return found
