"""What a file has beyond owner and mode: the new file has it too, nobody else reads it, and what forbids it shows before a stop."""

from __future__ import annotations

import dataclasses
import errno
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import attributes
from keyturn.base.attributes import GROUP, MASK, NAMED_GROUP, OTHERS, OWNER, USER
from keyturn.base.errors import KeyturnError
from keyturn.base.procfs import UserAndGroups
from keyturn.ground import consumers
from keyturn.ground.consumers import Consumer
from keyturn.host import storage
from keyturn.host.phases import rollback, stage
from support.faults import Host
from unit.test_consumers import as_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and sets flags")
NOBODY, GUEST = 65534, 4242
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def listed(path: Path, *more: tuple[int, int, int], group: int = 0, others: int = 0, name: str = ACCESS) -> bytes:
    """Set an access list as setfacl does: the three of the mode, a mask, and ``more`` (whom, what, number); return it."""
    none = 0xFFFFFFFF
    entries = sorted([(OWNER, 6, none), (GROUP, group, none), (MASK, 4, none), (OTHERS, others, none), *more])
    found = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, name, found)
    return found


def flag(path: Path, letters: str) -> None:
    if subprocess.run(["chattr", letters, path], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no flags")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, without flags at the end; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)
        subprocess.run(["chattr", "-R", "-ia", made], check=False, capture_output=True)


@pytest.fixture
def env(folder: Path) -> Consumer:
    (folder / ".env").write_text("NAME=old\n")
    (folder / ".env").chmod(0o600)
    return Consumer("dotenv", folder / ".env")


def opens(path: Path, user: int, group: int = GUEST) -> bool:
    """Ask the kernel."""
    done = subprocess.run(["cat", path], user=user, group=group, extra_groups=[], check=False, capture_output=True)
    return done.returncode == 0


def turn(env: Consumer) -> None:
    """There, in two ways, and back."""
    before = consumers.mode(env)
    consumers.replace(env, {"NAME": "new"})
    consumers.write(env, b"NAME=newer\n", 0o600)
    assert consumers.mode(env) == 0o600
    consumers.replace(env, {"NAME": "old"}, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user.note", b"a person's"),
        ("trusted.note", b"an administrator's"),
        ("security.selinux", b"system_u:object_r:etc_t:s0\0"),
        ("security.capability", struct.pack("<IIIII", 0x02000000, 1024, 0, 0, 0)),
    ],
)
def test_an_attribute_stays(env: Consumer, name: str, value: bytes) -> None:
    os.setxattr(env.path, name, value)
    turn(env)
    assert os.getxattr(env.path, name) == value


def test_an_access_list_stays_and_its_reader_reads(env: Consumer) -> None:
    mine = listed(env.path, (USER, 4, NOBODY), (NAMED_GROUP, 4, GUEST))
    for values, mode in (({"NAME": "new"}, None), ({"NAME": "old"}, consumers.mode(env))):
        consumers.replace(env, values, mode)
        assert os.getxattr(env.path, ACCESS) == mine
        assert opens(env.path, NOBODY) and opens(env.path, GUEST) and not opens(env.path, GUEST, NOBODY)
    turn(env)
    assert os.getxattr(env.path, ACCESS) == mine


def test_what_the_owning_group_and_others_may_goes_and_comes_back(env: Consumer) -> None:
    mine = listed(env.path, (USER, 4, NOBODY), group=4, others=4)
    before = consumers.mode(env)
    assert before == 0o644
    consumers.replace(env, {"NAME": "new"})
    assert consumers.mode(env) == 0o600 and opens(env.path, NOBODY) and not opens(env.path, GUEST)
    consumers.replace(env, {"NAME": "old"}, before)
    assert os.getxattr(env.path, ACCESS) == mine and opens(env.path, GUEST)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_list_of_the_folder_opens_nothing(env: Consumer, folder: Path, mode: int) -> None:
    """At the way back the mode of before is set, whose group bits would be the mask of such a list."""
    env.path.chmod(mode)
    listed(folder, (USER, 4, NOBODY), name=DEFAULT)
    turn(env)
    assert ACCESS not in os.listxattr(env.path)
    assert consumers.mode(env) == mode and opens(env.path, NOBODY) == (mode == 0o644)


@pytest.mark.parametrize("letter", ["d", "A", "S", "dS"])
def test_a_flag_stays(env: Consumer, letter: str) -> None:
    flag(env.path, f"+{letter}")
    before = attributes.of(env.path).flags
    turn(env)
    assert attributes.of(env.path).flags == before


@pytest.mark.parametrize(
    ("named", "refused"),
    [
        ([(USER, 4, NOBODY)], ""),
        ([(NAMED_GROUP, 4, NOBODY)], ""),
        ([(USER, 4, GUEST)], "is readable by the group root"),
        ([(USER, 0, GUEST), (NAMED_GROUP, 0, NOBODY)], "is readable by the group root"),
    ],
)
def test_a_reader_by_the_list_stays_one_and_no_other(env: Consumer, named: Any, refused: str) -> None:
    listed(env.path, *named, group=4)
    reader = UserAndGroups(NOBODY, frozenset({NOBODY, 0}))
    if refused:
        with pytest.raises(KeyturnError, match=refused):
            consumers.check_reader(env, reader)
    else:
        consumers.check_reader(env, reader)


# -- what cannot be kept or replaced ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("letter", "name"), [("i", "immutable"), ("a", "append-only")])
@pytest.mark.parametrize("place", ["", ".env"])
def test_a_flag_that_forbids_it_is_named(env: Consumer, folder: Path, letter: str, name: str, place: str) -> None:
    flag(folder / place, f"+{letter}")
    with pytest.raises(KeyturnError, match=rf"{folder / place} is {name}, .*: chattr -{letter} {folder / place}"):
        consumers.check_replaceable(env)


def test_a_rehearsal_leaves_nothing(env: Consumer, folder: Path) -> None:
    before = env.path.stat()
    consumers.rehearse(env)
    assert list(folder.iterdir()) == [env.path] and env.path.stat() == before


def test_an_attribute_that_this_user_cannot_set_is_told_by_the_rehearsal(env: Consumer, folder: Path) -> None:
    for path in (folder, env.path):
        os.chown(path, NOBODY, NOBODY)
    assert as_nobody("rehearse", env.path) == ""
    os.setxattr(env.path, "security.note", b"an administrator's")
    assert as_nobody("rehearse", env.path) == (
        f"{env.path}: a file with its size, owner and attributes cannot take its place (Operation not permitted), tried beside it: "
        f"allow that in {folder}"
    )
    assert list(folder.iterdir()) == [env.path]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    subprocess.run(["chattr", "-R", "-ia", made.lab.app], check=False, capture_output=True)
    made.stop()


def test_a_rotation_that_could_not_write_is_refused_while_the_service_runs(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = host.rotation().service_list()[0].pid()
    for place, letter in ((host.lab.env, "i"), (host.lab.database, "i"), (host.lab.database, "a"), (host.lab.app, "a")):
        flag(place, f"+{letter}")
        for check_mode in (True, False):
            with pytest.raises(KeyturnError, match=f"chattr -{letter} {place}$"):
                stage.run(dataclasses.replace(host.rotation(), check_mode=check_mode))
        flag(place, f"-{letter}")

    assert host.rotation().application.journals() == []

    def full(*given: Any) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(attributes, "put", full)
        with pytest.raises(KeyturnError, match="cannot take its place \\(Disk quota exceeded\\)"):
            stage.run(host.rotation())
    (host.lab.app / ".env.keyturn-0123456789abcdef").touch()  # as a kill would have left it
    assert rollback.run(host.rotation(), "a test", abandon_commit=False)["rotation"]["outcome"] == "rolled_back"
    assert list(host.lab.app.glob("*.keyturn*")) == []
    assert host.rotation().service_list()[0].pid() == pid


def test_the_check_of_storage_names_who_reads_by_the_list(host: Host) -> None:
    path = host.lab.env
    host.lab.database.chmod(0o600)
    listed(path, (USER, 4, 0), (USER, 4, NOBODY), (NAMED_GROUP, 4, GUEST), (USER, 0, GUEST), group=4)
    found: Any = storage.look([host.rotation()], production=False)["findings"]
    assert [(one["severity"], one["what"], one["remedy"]) for one in found if one["rule"] == "permissions"] == [
        ("error", f"{path} has mode 0640", f"setfacl -m g::-,o::- {path}, once the user of the service owns it"),
        (
            "warning",
            f"{path} can be read by u:{NOBODY},g:{GUEST}, by its access list",
            f"take out whom the service does not need: setfacl -x u:{NOBODY},g:{GUEST} {path}",
        ),
    ]
