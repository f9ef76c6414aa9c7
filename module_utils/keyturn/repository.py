"""A checkout of the application: what git would take, has taken, and ever took, and the template of its environment."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import consumers, dotenv
from .findings import Finding

# never in a repository: what the application writes, and names that people give to copies
SECRET_FILES = (
    ".env",
    ".env.production",
    ".env.bak",
    "data/bank_accounts.db",
    "data/bank_accounts.db-wal",
    "backup.db",
)
TEMPLATES = (".env.example", ".env.template", ".env.sample")
PATTERNS = (".env", ".env.*", "*.db", "*.db-wal", "*.db-journal")


def look(folder: Path, variables: Sequence[str]) -> Iterator[Finding]:
    """Check the template of ``folder``, and git where it is in a checkout."""
    yield from _template(folder, variables)
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return
    try:
        yield from _git_findings(folder)
    except OSError:
        what = f"{folder} is a git checkout, and there is no git to look at it with"
        yield Finding("warning", "never in git", what, "install git, and run this again")


def _git_findings(folder: Path) -> Iterator[Finding]:
    open_names = [name for name in SECRET_FILES if _git(folder, "check-ignore", "--quiet", "--no-index", name) is None]
    if open_names:
        what = f"git in {folder} does not ignore {', '.join(open_names)}"
        yield Finding("error", "never in git", what, "add .env*, !.env.example, *.db and *.db-* to .gitignore")
    tracked = _named(_git(folder, "ls-files", "--", *PATTERNS))
    for name in tracked:
        yield Finding(
            "error", "never in git", f"{folder / name} is committed", f"git rm --cached {name}, rotate what it holds"
        )
    added = _named(_git(folder, "log", "--all", "--diff-filter=A", "--name-only", "--format=", "--", *PATTERNS))
    for name in sorted(set(added) - set(tracked)):
        what = f"{name} was committed in {folder} once"
        yield Finding("error", "never in git", what, "every value in it is known: rotate it; then rewrite the history")


def _named(output: str | None) -> list[str]:
    return [name for name in (output or "").splitlines() if name and Path(name).name not in TEMPLATES]


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, None where it ends with another code than 0. A checkout of another user is looked at as well."""
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout if done.returncode == 0 else None


def _template(folder: Path, variables: Sequence[str]) -> Iterator[Finding]:
    for template in TEMPLATES:
        path = folder / template
        if not path.exists():
            continue
        held = dotenv.read(path.read_bytes(), variables)
        for name, value in held.items():
            if value and not consumers.is_placeholder(value):
                what = f"{path} has what looks like a real {name}"
                yield Finding("error", "templates", what, f"write a placeholder there, and rotate {name}")
