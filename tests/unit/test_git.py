"""A checkout whose owner has put programs into its configuration: none of them runs, neither as root nor on the controller."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.ground import checkout, git, repository
from support.others import NOBODY, ground, needs_root

VALUE = "Zq3-canary_of-a-generated-value_0123456789abc="
HISTORY = {
    "a converter": ("diff.x.textconv", "{program}"),
    "signatures": ("log.showSignature", "true"),
    "a signature's program": ("gpg.program", "{program}"),
    "an external diff": ("diff.external", "{program}"),
}


def theirs(folder: Path, *arguments: str) -> None:
    """Run git as the owner of the checkout."""
    names = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    given = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if folder.stat().st_uid == NOBODY else {}
    command = ["git", "-c", "init.defaultBranch=main", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **names, "HOME": "/"}, **given)  # type: ignore[call-overload]


def with_program(folder: Path, settings: dict[str, str]) -> Path:
    """Make a checkout that names a program; return what the program leaves when it is run."""
    ran, program = folder / ".git/ran", folder / ".git/program"
    theirs(folder, "init")
    program.write_text(f"#!/bin/sh\nid -u >{ran}\nexit 1\n")
    program.chmod(0o755)
    (folder / ".gitattributes").write_text("* diff=x\n")
    (folder / "code.py").write_text(f'key = "{VALUE}"\n')
    theirs(folder, "add", ".")
    theirs(folder, "commit", "-m", "all")
    for name, value in settings.items():
        theirs(folder, "config", name, value.format(program=program))
    if "core.fsmonitor" in settings:
        theirs(folder, "update-index", "--fsmonitor")
    ran.unlink(missing_ok=True)
    return ran


@pytest.fixture
def app() -> Iterator[Path]:
    with ground() as made:
        yield made


LOOKS: dict[str, Callable[[Path], object]] = {
    "host": lambda folder: list(repository.look(folder, ["JWT_SECRET_KEY"], [])),
    "controller": lambda folder: list(checkout.holding(folder, {fingerprint(VALUE)}, lambda line: None)),
}


@needs_root
@pytest.mark.parametrize("look", LOOKS)
def test_a_monitor_of_files_is_not_run(app: Path, look: str) -> None:
    ran = with_program(app, {"core.fsmonitor": "{program}"})
    assert LOOKS[look](app), "git has answered: something is found"
    assert not ran.exists()


def test_neither_is_one_of_ones_own_checkout(tmp_path: Path) -> None:
    ran = with_program(tmp_path, {"core.fsmonitor": "{program}"})
    assert LOOKS["controller"](tmp_path)
    assert not ran.exists()


def test_nothing_that_a_history_is_shown_with_is_run(tmp_path: Path) -> None:
    ran = with_program(tmp_path, dict(HISTORY.values()))
    added = [line for _, lines in checkout._added(tmp_path) for line in lines]
    assert f'key = "{VALUE}"' in added
    assert not ran.exists()


def test_a_scanner_that_calls_git_itself_is_not_let_near_a_converter(tmp_path: Path) -> None:
    with_program(tmp_path, {"core.fsmonitor": "{program}"})
    git.check_programs(tmp_path)
    theirs(tmp_path, "config", "diff.x.textconv", "./program")
    with pytest.raises(KeyturnError, match=r"names a program \(diff.x.textconv\)"):
        checkout._by_gitleaks(tmp_path)


@needs_root
def test_git_is_its_owner_and_knows_no_other_checkout(app: Path) -> None:
    with_program(app, {})
    (app / "sub").mkdir()
    given = git._started(app / "sub")
    assert (given["user"], given["group"]) == (NOBODY, NOBODY)
    assert f"safe.directory={app}" in git.command(app / "sub")
    assert not {"USER", "SSH_AUTH_SOCK", "GIT_DIR"} & given["env"].keys()


@needs_root
def test_a_template_that_is_a_pipe_or_a_device_is_passed_over(app: Path) -> None:
    os.mkfifo(app / ".env.example")
    (app / ".env.sample").symlink_to("/dev/zero")
    assert list(repository.look(app, ["JWT_SECRET_KEY"], [])) == []
