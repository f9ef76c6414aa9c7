"""Consumers on real files, also as a user that the file system does not let through."""

from __future__ import annotations

import base64
import errno
import os
import random
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keyturn.base import durable, procfs
from keyturn.base.errors import KeyturnError
from keyturn.base.procfs import UserAndGroups
from keyturn.ground import consumers
from keyturn.ground.consumers import Consumer, dotenv

OLD = "old-secret-value"
NEW = "new-secret-value"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
MODULES = Path(consumers.__file__).parents[3]

# Runs one call as another user and prints its KeyturnError. It becomes that user only after the imports, as the
# interpreter itself may stand where the user cannot go.
AS_USER = """
import os, sys
from pathlib import Path
from keyturn.ground import consumers
from keyturn.base.errors import KeyturnError
consumer = consumers.Consumer("dotenv", Path(sys.argv[2]))
user = int(sys.argv[3])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
calls = {
    "check": lambda: consumers.check_replaceable(consumer),
    "read": lambda: consumers.read(consumer, ["NAME"]),
    "rehearse": lambda: consumers.rehearse(consumer),
    "replace": lambda: consumers.replace(consumer, {"NAME": "new-secret-value"}),
}
try:
    calls[sys.argv[1]]()
except KeyturnError as error:
    print(error)
"""


def as_nobody(call: str, path: Path) -> str:
    """The message of the KeyturnError that the user ``nobody`` gets, empty when there is none."""
    run = subprocess.run(
        [sys.executable, "-B", "-c", AS_USER, call, path, str(NOBODY)],
        env={"PYTHONPATH": str(MODULES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def _write(folder: Path) -> Path:
    path = folder / ".env"
    path.write_text(f"# head\nNAME={OLD}\nOTHER=x\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _write(tmp_path)


@pytest.fixture
def open_file() -> Iterator[Path]:
    """A file in a folder that every user can reach and write; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield _write(Path(folder))


def consumer(path: Path) -> Consumer:
    return Consumer("dotenv", path)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(KeyturnError) as caught:
        call()
    assert OLD not in str(caught.value)
    assert NEW not in str(caught.value)
    return str(caught.value)


# -- read, findings, changed_at --------------------------------------------------------------------------------------


def test_reads_all_names(file: Path) -> None:
    assert consumers.read(consumer(file), ["NAME", "OTHER"]) == {"NAME": OLD, "OTHER": "x"}


@pytest.mark.parametrize("content", [b"A=1\n", b"NAME=\n", b"NAME\n", b"NAME=''\n"])
def test_a_missing_or_empty_value_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    message = refusal(lambda: consumers.read(consumer(file), ["NAME"]))
    assert message == (
        f"NAME is not set in {file}: add it with its current value; where this host needs none, leave it out of "
        "keyturn_secrets_here"
    )


def test_a_missing_file_is_refused_by_every_call(tmp_path: Path) -> None:
    missing = consumer(tmp_path / "none")
    for call in (
        lambda: consumers.read(missing, ["NAME"]),
        lambda: consumers.findings(missing, ["NAME"], []),
        lambda: consumers.changed_at(missing),
        lambda: consumers.check_replaceable(missing),
        lambda: consumers.check_writable(missing, {"NAME": OLD}),
        lambda: consumers.replace(missing, {"NAME": NEW}),
    ):
        wanted = "restore it with the values that the application runs on, for its user alone (0600)"
        assert refusal(call) == f"{missing.path} does not exist: {wanted}"


def test_errors_of_the_format_name_the_file(file: Path) -> None:
    file.write_text("NAME=${OTHER}\n")
    assert refusal(lambda: consumers.read(consumer(file), ["NAME"])).startswith(f"{file}: NAME on line 1 refers to")
    file.write_bytes(b"\xff")
    assert refusal(lambda: consumers.findings(consumer(file), [], [])).startswith(f"{file}: line 1 is not UTF-8")


def test_an_unknown_format_is_refused(file: Path) -> None:
    message = refusal(lambda: consumers.read(Consumer("toml", file), ["NAME"]))
    assert message == f"{file}: the format toml is unknown: use one of dotenv, file, ini, json, yaml"


def test_findings_name_the_file(file: Path) -> None:
    file.write_text(f"# {OLD}\nNAME={OLD}\n")
    assert consumers.findings(consumer(file), ["NAME"], [OLD]) == [
        f"{file}: line 1: a comment still holds a value of NAME; remove it there"
    ]


def test_changed_at_is_the_time_of_the_file_behind_a_link(file: Path, tmp_path: Path) -> None:
    os.utime(file, (1000, 2000.5))
    link = tmp_path / "link"
    link.symlink_to(file)
    assert consumers.changed_at(consumer(link)) == 2000.5


@needs_root
def test_a_file_that_the_user_cannot_read_is_refused(open_file: Path) -> None:
    assert as_nobody("read", open_file) == f"{open_file}: Permission denied to the user 65534: run as its owner"


# -- check_replaceable -----------------------------------------------------------------------------------------------


def test_a_plain_file_and_a_link_to_it_are_replaceable(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(".env")
    before = sorted(tmp_path.iterdir())
    consumers.check_replaceable(consumer(file))
    consumers.check_replaceable(consumer(link))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("target", ["none", "link", "none/none"])
def test_a_link_to_nothing_is_refused(tmp_path: Path, target: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    for call in (
        lambda: consumers.check_replaceable(consumer(link)),
        lambda: consumers.replace(consumer(link), {"NAME": NEW}),
    ):
        assert refusal(call).startswith(f"{link}: the symbolic link leads to nothing; point it to")
    assert link.is_symlink()


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        for call in (consumers.check_replaceable, lambda c: consumers.read(c, ["NAME"])):
            message = refusal(lambda path=path, call=call: call(consumer(path)))
            assert message == f"{path}: this is not a regular file; name the file that holds the values"


def test_hard_links_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "second").hardlink_to(file)
    assert refusal(lambda: consumers.check_replaceable(consumer(file))).startswith(f"{file} has 2 hard links")
    refusal(lambda: consumers.replace(consumer(file), {"NAME": NEW}))
    assert OLD in file.read_text()


@needs_root
def test_another_users_file_is_refused(open_file: Path) -> None:
    open_file.chmod(0o644)
    expected = f"{open_file} belongs to the user 0, not to {NOBODY}: run as its owner or as root"
    assert as_nobody("check", open_file) == expected
    assert as_nobody("replace", open_file) == expected
    assert OLD in open_file.read_text()


@needs_root
def test_a_group_that_the_user_cannot_give_is_refused(open_file: Path) -> None:
    os.chown(open_file, NOBODY, 1)
    assert as_nobody("check", open_file).startswith(
        f"{open_file} belongs to the group 1, of which the user {NOBODY} is no member"
    )
    os.chown(open_file, NOBODY, NOBODY)
    assert as_nobody("check", open_file) == ""


@needs_root
def test_a_folder_that_the_user_cannot_write_is_refused(open_file: Path) -> None:
    os.chown(open_file, NOBODY, NOBODY)
    open_file.parent.chmod(0o755)
    assert as_nobody("check", open_file).startswith(f"{open_file.parent} cannot be written by the user {NOBODY}, ")


@needs_root
def test_a_folder_that_the_user_cannot_enter_is_refused(open_file: Path) -> None:
    open_file.parent.chmod(0o700)
    for call in ("check", "read", "replace"):
        assert as_nobody(call, open_file) == f"{open_file}: Permission denied to the user 65534: run as its owner"


@needs_root
def test_a_read_only_file_system_is_refused(file: Path) -> None:
    script = f"mount -t tmpfs none {file.parent} && cp /dev/stdin {file} && mount -o remount,ro {file.parent} && "
    script += f'{sys.executable} -B -c "$AS_USER" check {file} 0'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        input=file.read_text(), env={**os.environ, "PYTHONPATH": str(MODULES), "AS_USER": AS_USER},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        pytest.skip("no mount namespaces here")
    assert run.stdout.strip() == f"{file} is on a read-only file system: mount it writable"


# -- check_reader ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "groups", "by"),
    [
        (0o640, {5, 61001}, "the group 61001"),
        (0o644, {5}, "everybody"),
        (0o604, {61001}, ""),
        (0o640, {5}, ""),
        (0o600, {5}, ""),
    ],
)
@needs_root
def test_a_reader_that_the_new_file_would_shut_out_is_refused(file: Path, mode: int, groups: set[int], by: str) -> None:
    os.chown(file, 61000, 61001)
    file.chmod(mode)
    reader = UserAndGroups(61234, frozenset(groups))
    if by:
        said = refusal(lambda: consumers.check_reader(consumer(file), reader))
        assert said.startswith(f"{file} is readable by {by}, on which the user 61234 of the service depends, and ")
        assert said.endswith(f": chown 61234 {file} && chmod 600 {file}")
    else:
        consumers.check_reader(consumer(file), reader)
    for user in (0, 61000):
        consumers.check_reader(consumer(file), UserAndGroups(user, frozenset(groups)))


def test_credentials_are_those_of_the_process() -> None:
    held = procfs.user_and_groups(os.getpid())
    assert held == UserAndGroups(os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))
    assert procfs.user_and_groups(2**22 + 1) is None


# -- check_writable --------------------------------------------------------------------------------------------------


def test_check_writable_tells_whether_a_rollback_could_put_the_values_back(file: Path) -> None:
    consumers.check_writable(consumer(file), {"NAME": OLD})
    file.write_text('NAME="back\\\\slash"\n')
    before = file.read_bytes()
    values = consumers.read(consumer(file), ["NAME"])
    assert consumers.replace(consumer(file), values) is None
    assert refusal(lambda: consumers.check_writable(consumer(file), values)).startswith(
        f"{file}: the value for NAME cannot be written"
    )
    assert file.read_bytes() == before


# -- replace ---------------------------------------------------------------------------------------------------------


def test_replaces_the_value_and_leaves_no_other_file(file: Path) -> None:
    consumers.replace(consumer(file), {"NAME": NEW})
    assert file.read_text() == f"# head\nNAME={NEW}\nOTHER=x\n"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, 0o600), (0o644, 0o600), (0o400, 0o400), (0o440, 0o400), (0o777, 0o600)]
)
def test_the_mode_stays_or_becomes_stricter(file: Path, mode: int, expected: int) -> None:
    file.chmod(mode)
    consumers.replace(consumer(file), {"NAME": NEW})
    assert stat.S_IMODE(file.stat().st_mode) == expected
    assert consumers.read(consumer(file), ["NAME"]) == {"NAME": NEW}


def test_a_mode_that_is_wanted_comes_back(file: Path) -> None:
    consumers.replace(consumer(file), {"NAME": NEW}, 0o640)
    assert consumers.mode(consumer(file)) == 0o640


@needs_root
def test_owner_and_group_stay(file: Path) -> None:
    os.chown(file, 61234, 64321)
    consumers.replace(consumer(file), {"NAME": NEW})
    assert (file.stat().st_uid, file.stat().st_gid) == (61234, 64321)


@needs_root
def test_an_owner_who_is_not_root_replaces_his_read_only_file(open_file: Path) -> None:
    os.chown(open_file, NOBODY, NOBODY)
    open_file.chmod(0o400)
    assert as_nobody("replace", open_file) == ""
    status = open_file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (NOBODY, NOBODY, 0o400)
    assert f"NAME={NEW}\n" in open_file.read_text()


def test_the_file_behind_links_is_replaced_and_the_links_stay(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "env").write_text(f"NAME={OLD}\n")
    (tmp_path / "middle").symlink_to("shared/env")
    link = tmp_path / ".env"
    link.symlink_to("middle")
    consumers.replace(consumer(link), {"NAME": NEW})
    assert (link.readlink(), (tmp_path / "middle").readlink()) == (Path("middle"), Path("shared/env"))
    assert (folder / "env").read_text() == f"NAME={NEW}\n"
    assert list(folder.iterdir()) == [folder / "env"]


def test_an_unchanged_file_is_not_written(file: Path) -> None:
    file.chmod(0o644)
    before = file.stat()
    consumers.replace(consumer(file), {"NAME": OLD})
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_a_name_that_is_missing_is_refused_before_anything_is_written(file: Path) -> None:
    before = file.stat().st_ino
    message = refusal(lambda: consumers.replace(consumer(file), {"NAME": NEW, "ABSENT": NEW}))
    assert message.startswith(f"{file}: ABSENT is not set")
    assert (file.stat().st_ino, OLD in file.read_text()) == (before, True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EPERM])
@pytest.mark.parametrize("function", ["write", "rename", "fchmod", "fsync"])
def test_an_error_of_the_system_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise OSError(code, os.strerror(code), NEW)

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, function, fail)
        message = refusal(lambda: consumers.replace(consumer(file), {"NAME": NEW}))
    assert message == f"{file}: {os.strerror(code)}"
    assert consumers.read(consumer(file), ["NAME"]) == {"NAME": OLD}
    assert list(file.parent.iterdir()) == [file]


@needs_root
@pytest.mark.parametrize("call", ["replace", "rehearse"])
def test_a_full_disk_leaves_the_old_file(file: Path, call: str) -> None:
    """A real one: a tmpfs of one page, which the old file fills."""
    script = f"mount -t tmpfs -o size=4k none {file.parent} && cp /dev/stdin {file} && "
    script += f'{sys.executable} -B -c "$AS_USER" {call} {file} 0 && ls -A {file.parent} && cat {file}'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        input=file.read_text(), env={**os.environ, "PYTHONPATH": str(MODULES), "AS_USER": AS_USER},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        pytest.skip("no mount namespaces here")
    message, _, left = run.stdout.partition("\n")
    assert message.startswith(f"{file}: ") and "No space left on device" in message
    assert left == f".env\n{file.read_text()}"


# -- is_placeholder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "your_32_plus_char_encryption_key_here", "your-secret-key", "YOUR_API_KEY", "changeme", "CHANGE_ME", "change-me!",
        "ChangeThis", "please-change-me", "replace_with_a_key", "REPLACE-ME", "<new-key>", "<your key>", "{{ db_key }}",
        "[secret]", "%SECRET%", "__DB_KEY__", "xxx", "XXXXXXXX", "sk-xxxxxxxx", "***", "...", "???", "0000", "TODO", "tbd",
        "none", "example", "dummy_token", "test-key", "secret", "my_secret_key", "supersecret", "insert-token-here",
        "put_your_key_here", "paste your token", "api_key_here", "key-placeholder", "generate_a_secret", " changeme ", "",
    ],
)  # fmt: skip
def test_placeholders(value: str) -> None:
    assert consumers.is_placeholder(value)


def test_real_values_are_no_placeholders() -> None:
    source = random.Random(7)
    for _ in range(3000):
        raw = source.randbytes(32)
        for value in (base64.urlsafe_b64encode(raw).decode(), base64.b64encode(raw).decode(), raw.hex()):
            assert not consumers.is_placeholder(value)
    for value in ("postgres://user@host/db", "correct horse battery staple", "Tr0ub4dor&3", "exchange-meter-77"):
        assert not consumers.is_placeholder(value)


def test_every_format_has_its_functions() -> None:
    form = consumers.FORMATS["dotenv"](consumer(Path(".env")))
    assert (form.whole, form.read, form.replace, form.findings) == (True, dotenv.read, dotenv.replace, dotenv.findings)
