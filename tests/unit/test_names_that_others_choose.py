"""What an application's user makes of a name: a folder's, a link's, a program's. None of it makes root, or another user, do anything."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.ground import git, owner
from keyturn.ground.scripts import KEYCTL, Scripts
from keyturn.host import storage
from keyturn.host.journal import Application
from keyturn.host.phases import commit, holdings_info, stage, turn
from keyturn.records import evidence
from keyturn.services import systemd
from support.faults import Host
from support.others import NOBODY, as_nobody, give, ground, needs_root
from test_evidence import SINCE
from test_start_gate import Unit

pytestmark = needs_root
OTHER = 1  # daemon, whom every host has
UNIT_LINES = "app\n[Service]\nExecStartPre=+touch pwned\n#"


@pytest.fixture
def home() -> Iterator[Path]:
    with ground() as made:
        yield made


def lead(home: Path, target: Path | str) -> Path:
    """Let the application's folder be another one, as its user: a link in its home."""
    link = home / "current"
    as_nobody(lambda: (link.unlink(missing_ok=True), link.symlink_to(target)))
    return link


def folder_of(home: Path, user: int, name: str = "other") -> Path:
    made = home.parent / name
    made.mkdir(parents=True)
    give(made, user=user)
    return made


# -- the application's name ----------------------------------------------------------------------------------------


def test_where_a_link_leads_gives_no_application_another_ones_state(home: Path, tmp_path: Path) -> None:
    """The state, the gate and the credential are named by the application's folder: one that collides would be another's."""
    names = {Application(tmp_path, lead(home, target)).folder for target in (".", folder_of(home, OTHER), "nowhere")}
    assert names == {Application(tmp_path, home / "x" / ".." / "current").folder}
    (home.parent / "link").symlink_to("app")
    assert Application(tmp_path, home.parent / "link").folder == Application(tmp_path, home).folder, "which is root's"


def test_the_name_of_a_folder_is_no_line_of_a_unit(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "UNITS", tmp_path / "units")
    (tmp_path / "units").mkdir()
    unit = Unit(tmp_path)
    as_nobody((home / UNIT_LINES).mkdir)
    unit.fit_start_gate(Application(tmp_path, lead(home, UNIT_LINES)).folder / "switching")
    with pytest.raises(KeyturnError, match="cannot stand in a unit file: give that folder another name"):
        unit.fit_start_gate(Application(tmp_path, home / UNIT_LINES).folder / "switching")
    assert all("ExecStartPre" not in path.read_text() for path in (tmp_path / "units").rglob("*.conf"))


# -- whose programs are run ----------------------------------------------------------------------------------------


def program(folder: Path, name: str = "check.sh") -> Path:
    path = folder / name
    path.write_text(f'#!/bin/sh\nid -u >"{folder}/ran"\n')
    path.chmod(0o755)
    return path


def test_a_check_never_runs_as_whom_a_link_led_to(home: Path, host: Host) -> None:
    """The folder is another's when its owner is asked, and the attacker's when the program is run."""
    give(program(home), home / "check.sh")
    (home / "ran").touch()
    (home / "ran").chmod(0o666)
    host.lab.app = lead(home, folder_of(home, OTHER))
    with contextlib.suppress(KeyturnError):
        scripts = host.rotation().scripts
        assert scripts is not None
        lead(home, ".")
        scripts.run(["./check.sh"], 60)
    assert (home / "ran").read_text() == ""
    lead(home, ".")
    scripts = host.rotation().scripts
    assert scripts is not None and scripts.run(["./check.sh"], 60) == 0
    assert (home / "ran").read_text() == f"{NOBODY}\n"


def test_a_program_that_is_put_there_after_the_look_does_not_run_as_root(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def late(*args: Any, **more: Any) -> Any:
        as_nobody(lambda: program(home))
        return popen(*args, **more)

    monkeypatch.setattr(subprocess, "Popen", late)
    with pytest.raises(KeyturnError, match=r"check\.sh would run as root, and the user nobody may change it"):
        Scripts(home, None).run(["./check.sh"], 60)
    assert not (home / "ran").exists()


def test_no_program_is_brought_into_a_private_folder(home: Path) -> None:
    """What lies behind a folder that only root may enter is open to who stands in it."""
    inner = folder_of(home, 0, "private/inner")
    (inner / "file").write_text("of root's")
    inner.parent.chmod(0o700)
    with pytest.raises(
        KeyturnError, match="cannot be entered by the user nobody, who runs its programs: Permission denied"
    ):
        Scripts(lead(home, inner), "nobody").run(["cat", "file"], 60)
    assert Scripts(lead(home, "."), "nobody").run(["test", "-w", "."], 60) == 0


READS_KEY = "import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(%d, 11, %d, None, 0) < 0)"


def test_no_program_is_passed_the_keys_of_who_has_logged_in(home: Path) -> None:
    libc, keyctl = ctypes.CDLL(None), KEYCTL.get(os.uname().machine)
    if keyctl is None or libc.syscall(keyctl, 1, None) < 0:
        pytest.skip("this machine has no keyrings")
    key = libc.syscall(keyctl - 2, b"user", b"of-the-test", b"of the operator", 15, -3)
    assert libc.syscall(keyctl, 11, key, None, 0) == 15
    assert Scripts(home, "nobody").run(["/usr/bin/python3", "-c", READS_KEY % (keyctl, key)], 60) == 1


def test_git_runs_as_nobody_whom_a_link_leads_past(home: Path) -> None:
    folder_of(home, OTHER, "other/deep")
    give(home.parent / "other", user=OTHER)
    lead(home, "../other/deep/../../app/hostile").rename(home / ".git")
    as_nobody((home / "hostile").mkdir)
    with pytest.raises(KeyturnError, match="one user besides root may be able to change"):
        git.run(home, "rev-parse", "--git-dir")


def test_what_several_may_change_is_read_as_none_of_them(home: Path) -> None:
    other = folder_of(home, OTHER)
    (other / "log").write_text("another application's")
    link = lead(home, other / "log")
    with pytest.raises(KeyturnError, match=r"by the user nobody and .* by the user daemon"), owner.looking(link):
        pass


# -- what root itself opens ----------------------------------------------------------------------------------------

OPENED: list[str] = []
WATCHED: list[str] = []


def watch(event: str, args: tuple[Any, ...]) -> None:
    if WATCHED and event in ("open", "os.scandir", "os.listdir") and os.geteuid() == 0:
        path = str(args[0])
        if path.startswith(WATCHED[0]) and not (event == "open" and args[2] & os.O_PATH):
            OPENED.append(f"{event} {path}")


@pytest.fixture
def theirs(home: Path) -> Iterator[Host]:
    """A host whose application is nobody's."""
    made = Host(home.parent / "host", theirs=True)
    sys.addaudithook(watch)
    OPENED.clear()
    WATCHED.append(str(made.lab.app))
    yield made
    WATCHED.clear()
    made.stop()


def test_root_itself_opens_nothing_of_the_applications(theirs: Host) -> None:
    """A link there leads where its user likes, and to open some devices is enough: a watchdog that nobody feeds boots the host."""
    rotation = dataclasses.replace(theirs.rotation(), app_user="nobody")
    stage.run(rotation)
    turn.run(rotation, "proved")
    commit.run(rotation, "both")
    storage.look([rotation], production=True)
    holdings_info.run([rotation])
    services = {"backend": {"log_file": "server.py"}}
    scene = evidence.Scene({}, theirs.lab.app, services, [], SINCE)
    assert evidence.collect(scene, ["files", "logs"])[1] == {}
    assert OPENED == []


def test_a_process_that_another_may_end_leaves_no_core(home: Path) -> None:
    """It holds values, and a file of the database that is mapped into it may be shortened at any time."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with owner.acting(home / "x"):
            assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
            with owner.own():
                assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
        assert resource.getrlimit(resource.RLIMIT_CORE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_log_that_the_inventory_names_is_read_as_who_may_exchange_it(home: Path) -> None:
    secret = home.parent / "secret"
    secret.write_text("of root's")
    secret.chmod(0o600)
    as_nobody(lambda: (home / "a.log").symlink_to(secret))
    as_nobody(lambda: (home / "b.log").write_text("of its own"))
    found = evidence.logs(evidence.Scene({}, home / "elsewhere", {}, [f"{home}/*.log"], SINCE))
    assert found["logs/0001.log"] == b"it was not read: Permission denied\n"
    assert found["logs/0002.log"] == b"of its own"
