"""The journal, the lock and the private folders, on a real file system with real second processes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from keyturn.base import durable
from keyturn.base.errors import KeyturnError
from keyturn.host import values
from keyturn.host.journal import PHASES, Application, Journal
from keyturn.inputs.request import check_rotation_id, rotation_id

FIELDS = {"secret": "db_key", "operator": "somebody"}
IDS = ["20260101T000000Z-0123456789abcdef", "20260101T000001Z-0123456789abcdef", "20270101T000000Z-0000000000000000"]


@pytest.fixture
def application(tmp_path: Path) -> Application:
    (tmp_path / "app").mkdir()
    return Application(tmp_path / "state", tmp_path / "app")


def begin(application: Application, rotation: str = IDS[0]) -> Journal:
    with application.lock("test", 0):
        return application.begin(rotation, **FIELDS)


# -- the journal -----------------------------------------------------------------------------------------------------


def test_each_phase_is_on_disk_before_the_call_returns(application: Application) -> None:
    journal = begin(application)
    for phase in PHASES[1:]:
        assert not journal.closed
        journal.enter(phase, mark=phase)
        [read] = application.journals()
        assert read.record == journal.record and read.record["mark"] == phase
        assert read.phase == phase and read.decision is None
        position = PHASES.index(phase)
        assert [read.reached(other) for other in PHASES] == [n <= position for n in range(len(PHASES))]
    assert journal.closed
    assert [step["phase"] for step in journal.record["history"]] == list(PHASES)
    assert stat.S_IMODE(journal.path("journal.json").stat().st_mode) == 0o600


def test_an_update_keeps_the_phase_and_a_decision_is_read_back(application: Application) -> None:
    journal = begin(application)
    journal.update(decision="commit")
    [read] = application.journals()
    assert (read.phase, read.decision, len(read.record["history"])) == ("staging", "commit", 1)


def test_an_unknown_phase_is_no_phase(application: Application) -> None:
    with pytest.raises(ValueError):
        begin(application).reached("nonsense")


def test_one_rotation_is_open_for_each_application(application: Application, tmp_path: Path) -> None:
    assert application.open_journal() is None and application.find(IDS[0]) is None and application.get(IDS[0]) is None
    first = begin(application)
    found = application.find(IDS[0])
    assert found is not None and found.record == first.record
    with pytest.raises(
        KeyturnError, match=rf"{IDS[0]} of db_key is open .*staging, by somebody.*resume.yml.*rollback.yml"
    ):
        application.find(IDS[1])
    (tmp_path / "other").mkdir()
    assert Application(tmp_path / "state", tmp_path / "other").find(IDS[1]) is None

    first.enter("closed")
    assert application.open_journal() is None and application.find(IDS[1]) is None
    closed = application.find(IDS[0])
    assert closed is not None and closed.closed


def test_rotations_come_in_the_order_of_their_ids(application: Application) -> None:
    for rotation in (IDS[2], IDS[0], IDS[1]):
        begin(application, rotation).enter("closed")
    (application.folder / "rotations" / "20250101T000000Z-killed-before-its-journal").mkdir(mode=0o700)
    (application.folder / "rotations" / "a file").touch()
    assert [journal.folder.name for journal in application.journals()] == IDS
    assert sorted([made := rotation_id(), *IDS])[0] == IDS[0] and len(made) == 33


def test_ids_of_one_second_sort_by_time_and_differ() -> None:
    second = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    made = [rotation_id(second + timedelta(microseconds=part)) for part in (0, 20, 1000, 500_000, 999_999, 1_000_000)]
    assert made == sorted(made)
    assert [check_rotation_id(rotation)[:21] for rotation in made] == [
        "20260131T235959Z-0000",
        "20260131T235959Z-0001",
        "20260131T235959Z-0041",
        "20260131T235959Z-8000",
        "20260131T235959Z-ffff",
        "20260201T000000Z-0000",
    ]
    assert rotation_id(second) != rotation_id(second)


def test_two_roots_of_one_name_are_two_applications_and_a_link_is_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "app").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "app")
    folders = [Application(tmp_path, tmp_path / name).folder for name in ("a/app", "b/app", "link", "a/../a/app")]
    assert folders[0] != folders[1] and folders[0] == folders[2] == folders[3]


@pytest.mark.parametrize("content", ["", '{"phase": "sta', "[]", "null", "\ufffd"])
def test_a_torn_journal_is_named(application: Application, content: str) -> None:
    path = begin(application).path("journal.json")
    path.write_text(content)
    with pytest.raises(KeyturnError, match=f"{path} is not a JSON object"):
        application.open_journal()


def test_a_temporary_file_that_a_kill_left_is_replaced(application: Application) -> None:
    journal = begin(application)
    left = journal.path("journal.json.keyturn-0123456789abcdef")
    left.write_text("half")
    left.chmod(0o644)
    journal.enter("staged")
    assert not left.exists() and application.journals()[0].phase == "staged"
    assert stat.S_IMODE(journal.path("journal.json").stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_journal(application: Application) -> None:
    journal = begin(application)
    with pytest.raises(TypeError):
        journal.enter("staged", broken=object())
    with pytest.raises(OSError):
        durable.write_file(journal.path("journal.json"), b"{}", before_rename=lambda fd: os.fchmod(-1, 0))
    assert application.journals()[0].phase == "staging"
    assert [path.name for path in journal.folder.iterdir()] == ["journal.json"]


# -- the staged values -----------------------------------------------------------------------------------------------


def test_staged_values_are_private_and_gone_when_told(application: Application) -> None:
    journal = begin(application)
    with pytest.raises(KeyturnError, match="staged values are missing"):
        values.read(journal)
    both = values.Staged({"KEY": "old"}, {"KEY": "new"})
    values.stage(journal, both)
    assert values.read(journal) == both and values.staged_before(journal) == both.new
    for name in (values.PENDING, values.PREVIOUS):
        assert stat.S_IMODE(journal.path(name).stat().st_mode) == 0o600
    values.discard_pending(journal)
    values.discard_pending(journal)
    assert values.staged_before(journal) is None and not journal.path(values.PENDING).exists()
    with pytest.raises(KeyturnError, match="staged values are missing"):
        values.read(journal)
    values.destroy_previous(journal)
    assert [path.name for path in journal.folder.iterdir()] == ["journal.json"]


# -- the lock --------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from keyturn.host.journal import Application
with Application(Path(sys.argv[1]), Path(sys.argv[2])).lock("switch", 0):
    print("ready", flush=True)
    sys.stdin.read()
"""


def holder(application: Application, app_root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, application.state_dir, app_root]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_the_lock_waits_then_names_the_process_and_ends_with_it(application: Application, tmp_path: Path) -> None:
    process = holder(application, tmp_path / "app")
    try:
        began = time.monotonic()
        named = pytest.raises(KeyturnError, match=rf"still at work on this host \(switch, pid {process.pid}\)")
        with named, application.lock("stage", 0.3):
            pytest.fail("two processes hold the lock")
        assert time.monotonic() - began >= 0.3
        with Application(tmp_path / "state", tmp_path).lock("stage", 0):
            pass  # another application is not kept waiting
    finally:
        process.kill()
        process.wait()
    with application.lock("stage", 5):
        held = json.loads((application.folder / "lock").read_text())
        assert (held["call"], held["pid"]) == ("stage", os.getpid())


def test_a_call_that_ends_in_time_is_waited_for(application: Application, tmp_path: Path) -> None:
    process = holder(application, tmp_path / "app")
    assert process.stdin is not None
    process.stdin.close()
    with application.lock("stage", 30):
        pass
    assert process.wait() == 0


def test_the_lock_is_released_by_an_error_and_no_child_inherits_it(application: Application) -> None:
    with pytest.raises(RuntimeError), application.lock("stage", 0):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
        raise RuntimeError
    try:
        with application.lock("stage", 2):  # the kernel closes the child's descriptor a moment after it began
            pass
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_lock_without_its_text_is_still_a_lock(application: Application, tmp_path: Path, content: str) -> None:
    process = holder(application, tmp_path / "app")
    try:
        (application.folder / "lock").write_text(content)
        with pytest.raises(KeyturnError, match="still at work on this host: wait"), application.lock("stage", 0):
            pass
    finally:
        process.kill()
        process.communicate()


# -- private folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["state", "application", "rotations"])
@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o777])
def test_a_folder_that_others_can_enter_is_refused(application: Application, which: str, mode: int) -> None:
    begin(application)
    folder = {
        "state": application.state_dir,
        "application": application.folder,
        "rotations": application.folder / "rotations",
    }[which]
    folder.chmod(mode)
    for call in (application.check, application.journals, application.open_journal, lambda: application.find(IDS[0])):
        with pytest.raises(KeyturnError, match=rf"{folder} is open to other users: chmod 700"):
            call()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
@pytest.mark.parametrize("which", ["state", "rotations"])
def test_a_folder_of_another_user_is_refused(application: Application, which: str) -> None:
    begin(application)
    folder = application.state_dir if which == "state" else application.folder / "rotations"
    os.chown(folder, 65534, 65534)
    with pytest.raises(KeyturnError, match=f"{folder} belongs to the user 65534 and keyturn runs as 0"):
        application.open_journal()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_refused(application: Application, tmp_path: Path, kind: str) -> None:
    if kind == "file":
        application.state_dir.write_text("")
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        application.state_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyturnError, match="is not a folder"):
        application.open_journal()


def test_everything_that_is_made_is_private(application: Application) -> None:
    os.umask(before := os.umask(0))
    os.umask(0)
    try:
        journal = begin(application)
        values.stage(journal, values.Staged({}, {}))
    finally:
        os.umask(before)
    for path in [application.state_dir, *application.state_dir.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_asking_makes_nothing(application: Application) -> None:
    assert application.open_journal() is None
    assert not application.state_dir.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_state_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from keyturn.base.errors import KeyturnError
from keyturn.host.journal import Application
os.setgid(65534); os.setuid(65534)
try:
    with Application(Path(sys.argv[1]), Path("/")).lock("stage", 0): pass
except KeyturnError as error:
    print(error)
"""
    folder = tmp_path / "root's"
    for made, mode in ((folder, 0o755), (folder / "closed", 0o700)):
        made.mkdir()
        made.chmod(mode)
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and parent not in (Path("/"), Path("/tmp")):
            parent.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for place, message in (
        (folder / "state", "cannot be made by the user 65534"),
        (folder / "closed" / "state", "cannot be read by the user 65534"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, place], env=environment, capture_output=True, text=True, check=False
        )
        assert message in done.stdout, done.stderr
