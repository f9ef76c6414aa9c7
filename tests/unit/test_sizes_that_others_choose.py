"""What another user lets grow: its environment, its descriptors, a log, a file with a hole, a history. None of it holds a rotation up."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base import attributes, durable, files, folders, json_text, log_lines, procfs, programs
from keyturn.base.errors import KeyturnError
from keyturn.ground import consumers, git, repository
from keyturn.ground.consumers import Consumer, dotenv
from keyturn.ground.rows import fernet_sqlite, sqlite_file, sqlite_time, token_scan
from keyturn.ground.rows.fernet_sqlite import FernetSqlite
from keyturn.ground.rows.sqlite_file import Database
from keyturn.ground.scripts import Scripts
from keyturn.host import copies, probes, readers
from keyturn.host.phases import prepare, stage
from keyturn.records import evidence
from keyturn.services import script as scripted
from keyturn.services import systemd
from support.faults import Host
from support.lab import KEY
from support.others import NOBODY, needs_root
from test_evidence import SINCE
from test_strangers import SECRET, service, stranger

GIB = 1 << 30


# -- processes -----------------------------------------------------------------------------------------------------


def claim(size: int) -> bool:
    """Say of this process, by prctl(2), that its environment is as large, in memory that costs nothing."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *3 * [ctypes.c_int], ctypes.c_long]
    libc.prctl(4, 1, 0, 0, 0)  # after a change of user its own numbers are hidden from it
    at = libc.mmap(None, size, 1, 0x4022, -1, 0)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    code, data, stack, arguments = fields[23:25], fields[42:44], fields[25], fields[45:47]
    numbers = [int(text) for text in (*code, *data, fields[44])] + [libc.sbrk(0), int(stack), *map(int, arguments)]
    said = struct.pack("<11QQII", *numbers, at, at + size, 0, 0, 0xFFFFFFFF)
    return libc.prctl(35, 14, said, len(said), 0) == 0


@contextlib.contextmanager
def running(does: Callable[[], Any]) -> Iterator[int]:
    """A process of the user nobody's that has done something, and waits."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(60)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(told, b"1" if does() is not False else b"0")
            signal.pause()
        os._exit(1)
    try:
        if os.read(heard, 1) != b"1":
            pytest.skip("this kernel does not allow it")
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(heard)
        os.close(told)


@needs_root
def test_an_environment_of_any_size_takes_no_memory() -> None:
    def most() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with running(lambda: claim(GIB)) as pid:
        before = most()
        assert procfs.environment(pid, ["KEY"]) == {} and procfs.given(pid, ["value"]) == set()
        assert most() - before < 1 << 17, "KiB"


def test_a_variable_is_found_by_its_name_and_a_value_under_any() -> None:
    with subprocess.Popen(["sleep", "60"], env={"AKEY": "1", "KEY": "a=b", "EMPTY": ""}) as one:
        while procfs.command_name(one.pid) != "sleep":
            pass
        assert procfs.environment(one.pid, ["KEY", "EMPTY", "EY", "NONE"]) == {"KEY": "a=b", "EMPTY": ""}
        assert procfs.given(one.pid, ["a=b", "a", "1"]) == {"a=b", "1"}
        one.kill()


@pytest.mark.parametrize(
    "look", [lambda: procfs.holders([Path("/etc/passwd")]), lambda: procfs.holders_of("1")], ids=["a file", "a socket"]
)
def test_descriptors_without_end_are_named_by_who_has_them(look: Callable[[], Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(procfs, "LOOK_SECONDS", 0, raising=False)
    with pytest.raises(
        KeyturnError, match=r"could not be seen within 0 s: process \d+ \(.*\) of the user \d+ has \d+ open"
    ):
        look()


class Asked(dict[int, int]):
    """Counts."""

    times = 0

    def get(self, *key: Any) -> Any:
        """Count."""
        self.times += 1
        return super().get(*key)


def test_a_line_of_processes_of_any_length_is_walked_once() -> None:
    length = 1 << 15
    parents = {pid: pid - 1 for pid in range(2, length)} | {1: 0, length: length + 1, length + 1: length}
    known: dict[int, str | None] = {100: "backend", 99: None}
    asked = Asked(parents)
    found = [readers._owner(pid, known, asked) for pid in parents]
    assert asked.times <= length + 1
    assert found == [None] * 98 + ["backend"] * (length - 100) + [None] * 3


# -- addresses -----------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_stranger_at_another_address_of_the_name_for_a_moment_gets_no_token(
    tmp_path: Path, monkeypatch: Any, address: str
) -> None:
    """It listens when the connection is made, and neither when the service is looked at before nor after."""
    with socket.create_server((address, 0)) as ours:
        port = ours.getsockname()[1]
        with contextlib.ExitStack() as stack:
            one = service(f"http://localhost:{port}", tmp_path)
            sockets, looks = type(one).sockets, []
            monkeypatch.setattr(socket, "getaddrinfo", _both(socket.getaddrinfo))

            def appearing(self: Any, url: str, *more: str) -> Any:
                looks.append(url)
                if len(looks) == 1:
                    found = sockets(self, url, *more)
                    looks.append(stack.enter_context(stranger(socket.AF_INET6, ("::1", port))))
                    return found
                os.kill(looks[1].pid, signal.SIGSTOP)
                monkeypatch.setattr(procfs, "listening_on", _without(looks[1].pid, procfs.listening_on))
                return sockets(self, url, *more)

            monkeypatch.setattr(type(one), "sockets", appearing)
            # which of the two is seen first is chance, and nothing is sent in either case
            with pytest.raises(KeyturnError, match=r"was taken by process \d+ .* of the user 65534|nothing was sent"):
                list(probes.jwt_token(probes.Question("new", {"J": SECRET}, None, [one], None), {"path": "/"}))


def _both(getaddrinfo: Any) -> Any:
    def found(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        hosts = ("::1", "127.0.0.1") if host == "localhost" else (host,)
        return [one for each in hosts for one in getaddrinfo(each, port, *more, **named)]

    return found


def _without(pid: int, listening: Any) -> Any:
    """What is listened on, without a process that has closed its socket, and goes on with the connection that it has taken."""
    return lambda port: [one for one in listening(port) if one.user != NOBODY]


# -- logs ----------------------------------------------------------------------------------------------------------


def test_lines_are_read_one_by_one_and_of_a_long_one_the_beginning() -> None:
    text = b"\0\0one\r\n\n" + b"x" * 9000 + b"\ntwo \xff\rthree\nlast"
    assert list(log_lines.split(text)) == ["one", "", "x" * log_lines.LINE_BYTES, "two \ufffd\rthree", "last"]
    assert list(log_lines.split(b"")) == []
    assert iter(log_lines.split(b"a\n")) is not None and not isinstance(log_lines.split(b"\n"), list)


def test_copies_of_a_log_are_no_more_than_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "LOG_BYTES", 1000)
    one = service("http://127.0.0.1:1", tmp_path, log_file="log")
    (tmp_path / "log").write_bytes(b"before\n")
    mark = one._log_at(tmp_path / "log", None)
    for number in range(10):
        (tmp_path / f"log.{number}").write_bytes(b"before\n" + b"x" * 900)
    (tmp_path / "log").write_bytes(b"another")
    assert sum(map(len, one._behind(mark))) == 1000


def test_a_program_that_prints_without_end_is_ended() -> None:
    assert programs.said(["yes"], 1000, 60) == (b"y\n" * 500, None)
    assert programs.said(["sh", "-c", "echo a; exit 3"], 1000, 60) == (b"a\n", 3)
    with pytest.raises(subprocess.TimeoutExpired):
        programs.said(["sleep", "60"], 1000, 0.05)


def test_a_history_that_unfolds_without_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(git, "MOST_BYTES", 3, raising=False)
    with pytest.raises(KeyturnError, match="says more than 0 MiB: look there by hand"):
        git.run(tmp_path, "rev-parse", "--git-dir")


def test_logs_of_an_incident_have_a_size_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LOGS_BYTES", 1000, raising=False)
    monkeypatch.setattr(evidence, "MOST_LOGS", 12, raising=False)
    (tmp_path / "logs").mkdir()
    for number in range(20):
        (tmp_path / f"logs/{number}.log").write_bytes(b"x" * 300)
    (tmp_path / "balancer").write_bytes(b"first")
    found = evidence.logs(evidence.Scene({}, tmp_path, {}, [f"{tmp_path}/balancer"], SINCE))
    assert found.pop("logs/names.json").count(b"\n") == 13 and found["logs/0001.log"] == b"first"
    assert sum(map(len, found.values())) == 1000


# -- files ---------------------------------------------------------------------------------------------------------


def test_what_a_file_repeats_is_told_so_often_and_no_more() -> None:
    """To find the number of a line takes the more time the further on it stands."""
    said = dotenv.findings(b"A=1\n" * 30 + b"# 1\n" * 30, ["A"], ["1"])
    assert said[0].endswith(", 20 and 10 more; the last one counts, remove the others") and len(said) == 21


def test_parts_of_a_text_are_replaced_at_once() -> None:
    assert json_text.spliced("a1b22c", [(3, 5, "x"), (1, 2, "")]) == "abxc"
    assert json_text.spliced("a", []) == "a"


def test_a_file_with_values_has_a_size(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\n" * (1 << 18) + b"#")
    with pytest.raises(KeyturnError, match="it is larger than 1048576 bytes"):
        consumers.read(Consumer("dotenv", tmp_path / ".env"), ["A"])


def test_a_hole_is_not_read(tmp_path: Path) -> None:
    """Sixteen terabytes of nothing would be read for a day."""
    key = Fernet(Fernet.generate_key())
    token = key.encrypt(b"access-1")
    with (tmp_path / "db").open("wb") as file:
        file.write(token)
        file.seek(1 << 40)
        file.write(key.encrypt(b"access-2"))
        file.truncate((1 << 43) + 5)
    assert (
        token_scan.left_over(tmp_path / "db", Fernet.generate_key().decode(), lambda text: bool(key.decrypt(text)), 60)
        == 2
    )


def test_what_cannot_be_read_is_not_free_of_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "db").write_bytes(b"bytes")

    def broken(*_: Any) -> bytes:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(token_scan.os, "pread", broken)
    with pytest.raises(OSError, match="the disk fails"):
        token_scan.left_over(tmp_path / "db", Fernet.generate_key().decode(), lambda text: True, 60)


@contextlib.contextmanager
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count how many names of folders are ever in memory at a time."""
    counted, alive = [0], [0]
    scandir = os.scandir

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.entry = entry
            alive[0] += 1
            counted[0] = max(counted[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

        def __getattr__(self, name: str) -> Any:
            return getattr(self.entry, name)

    @contextlib.contextmanager
    def scanned(folder: Any) -> Iterator[Iterator[Entry]]:
        with scandir(folder) as entries:
            yield map(Entry, entries)

    def listed(folder: Any) -> list[str]:
        raise AssertionError(f"all names of {folder} at a time")

    monkeypatch.setattr(os, "scandir", scanned)
    monkeypatch.setattr(os, "listdir", listed)
    yield counted


LOOKS: dict[str, Callable[[Path], Any]] = {
    "what a kill has left": lambda folder: durable.left(folder / ".env"),
    "a write": lambda folder: durable.write_file(folder / ".env", b"A=1"),
    "templates": repository._templates,
    "rotated logs": lambda folder: service("http://127.0.0.1:1", folder, log_file="log")._rotated(),
    "logs of a pattern": lambda folder: list(folders.matching(f"{folder}/*.log")),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_folder_of_names_without_end_is_named_and_takes_no_memory(
    look: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (tmp_path / f"x{number}").touch()
    with names(monkeypatch) as most:
        LOOKS[look](tmp_path)
        assert most[0] < 10
        monkeypatch.setattr(folders, "MOST_NAMES", 299)
        with pytest.raises(KeyturnError, match=r"has more than 299 names, which are not looked through"):
            LOOKS[look](tmp_path)


def test_logs_of_an_incident_say_where_there_were_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_NAMES", 10, raising=False)
    (tmp_path / "logs").mkdir()
    for number in range(20):
        (tmp_path / f"logs/{number}.log").touch()
    (tmp_path / "first").write_bytes(b"first")
    found = evidence.logs(evidence.Scene({}, tmp_path, {}, [f"{tmp_path}/first"], SINCE))
    assert found["logs/0001.log"] == b"first"
    assert "logs/*.log has more than 10 names" in json.loads(found["logs/names.json"])["left out"]


def test_a_tree_of_empty_folders_has_an_end(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_BELOW", 40, raising=False)
    for number in range(10):
        (host.lab.app / f"empty/{number}/a/b/c").mkdir(parents=True)
    held = {KEY: host.lab.key()}
    assert f"{host.lab.app} has more than 40 names" in copies.undeclared([(host.rotation(), held)])[1][0]
    listed = evidence.files(evidence.Scene({}, host.lab.app, {}, [], SINCE))["files.jsonl"].decode().splitlines()
    assert json.loads(listed[0])["path"].startswith(str(host.lab.app))
    assert json.loads(listed[-1])["left out"].startswith(f"{host.lab.app} has more than 40 names")


def test_copies_are_told_up_to_a_number(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_COPIES", 3, raising=False)
    held = {KEY: host.lab.key()}
    for number in range(9):
        (host.lab.app / f"copy{number}").write_text(held[KEY])
    found, unseen = copies.undeclared([(host.rotation(), held)])
    assert len(found) == 3 and "was looked through for 3 copies only" in unseen[0]


# -- databases -----------------------------------------------------------------------------------------------------


def test_a_database_that_grows_after_the_look_fills_no_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy lies on root's disk: what the database may come to is known when it begins."""
    stage.run(host.rotation())
    journal = host.rotation().application.open_journal()
    assert journal is not None
    migration = host.rotation().migration({KEY: host.lab.key()}, None)
    assert migration is not None
    with monkeypatch.context() as patch, pytest.raises(KeyturnError, match="MiB of disk space are needed"):
        patch.setattr(Database, "size", 1 << 50)
        prepare.backup(journal, migration, online=True)
    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyturnError, match=r"has grown to .* pages while it was copied"),
    ):
        patch.setattr(sqlite_file, "BACKUP_PAGES", 1)
        patch.setattr(Database, "size", 0)
        migration.backup(journal.folder, online=True)
    assert not journal.path("backup.db").exists()


def test_rows_that_are_written_as_fast_as_they_are_read_have_an_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(host.rotation())
    rotation = host.rotation()
    journal = rotation.application.open_journal()
    assert journal is not None
    prepare.run(rotation, journal)
    journal.record["phase"] = "preparing"
    for name in ("MORE_ROWS", "ROWS_TIMES"), ("MORE_BYTES", "SIDE_TIMES"):
        with monkeypatch.context() as patch, pytest.raises(KeyturnError, match="something writes them as fast as they"):
            for one in name:
                patch.setattr(prepare, one, 0, raising=False)
            prepare.run(rotation, journal)


def test_wide_rows_come_in_pages_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "PAGE_BYTES", 1000, raising=False)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (k, v)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(number, "x" * 400) for number in range(10)])
    target = sqlite_file.column(connection, "t", ["k"], "v")
    found = list(sqlite_file.pages(connection, target))
    assert [len(page) for page in found] == [3, 3, 3, 1]
    assert [row.item for page in found for row in page] == list(range(10))


def test_a_row_has_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "ROW_BYTES", 1000, raising=False)
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.executescript("CREATE TABLE t (k, v); INSERT INTO t VALUES (1, zeroblob(2000));")
    with pytest.raises(KeyturnError, match="SQLITE_TOOBIG"), Database(tmp_path / "db").reading() as connection:
        connection.execute("SELECT v FROM t").fetchone()


# -- time ----------------------------------------------------------------------------------------------------------

# one function in one step of SQLite's, which takes the product of the lengths
SLOW = "instr(hex(zeroblob({0}000)), hex(zeroblob({0}00)) || '1')"


def made(path: Path, check: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE t (k, v CHECK ({check} >= 0 OR k IS NULL))")
        connection.execute("INSERT INTO t VALUES (1, 1)")
        connection.commit()
    return path


def test_rows_that_compute_without_end_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_time, "SECONDS", 0)
    monkeypatch.setattr(sqlite_time, "BYTES_A_SECOND", 1 << 40)
    monkeypatch.setattr(sqlite_time, "STEPS", 1000)
    path = made(tmp_path / "db", "k")
    said = r"SQLITE_INTERRUPT|it has not come to an end: look at the expressions of its schema"
    endless = "WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n"
    for opened in (Database(path).reading(), Database(path).writing()):
        with pytest.raises(KeyturnError, match=said), opened as connection:
            connection.execute(endless).fetchone()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"), sqlite_file.roots(path) as connection:
        connection.execute(endless).fetchone()


def test_a_single_step_without_end_is_the_end_of_the_process(tmp_path: Path) -> None:
    path = made(tmp_path / "db", SLOW.format(1))
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(told, 1)
        sqlite_time.SECONDS, sqlite_time.GRACE_SECONDS = 0.1, 0.1
        with contextlib.suppress(BaseException), Database(path).writing() as connection:
            connection.execute(f"UPDATE t SET v = 2 WHERE {SLOW.format(4000)} IS NULL")
        os._exit(0)
    os.close(told)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    said = json.loads(os.read(heard, 4096))
    os.close(heard)
    assert said["failed"] and said["msg"].startswith(f"{path}: SQLite has not come to an end within 0 s: look at")


def test_files_beside_a_database_give_it_no_time(tmp_path: Path) -> None:
    path = made(tmp_path / "db", "k")
    before = sqlite_time.allowed(path)
    for companion in Database(path).files[1:]:
        companion.write_bytes(os.urandom(1 << 20) * 8)
    assert sqlite_time.allowed(path) == before
    with path.open("ab") as file:
        file.write(bytes(1 << 20))
    assert before < sqlite_time.allowed(path)
    assert sqlite_time.allowed(Path("/proc/kcore")) <= 4 * 3600


def test_no_size_gives_a_database_more_than_four_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_time, "BYTES_A_SECOND", 0.001)
    assert sqlite_time.allowed(made(tmp_path / "db", "k")) == 4 * 3600


def wordy(path: Path, views: int) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (k, v)")
        for number in range(views):
            connection.execute(f"CREATE VIEW v{number} AS SELECT '{'x' * 900_000}'")
    return path


def test_a_schema_has_a_size_before_it_is_read(tmp_path: Path) -> None:
    wordy(tmp_path / "db", 20)
    declared = {"table": "t", "key": "k", "column": "v", "plaintext": "^access-"}
    store = FernetSqlite(
        {"database": "db", "columns": [declared]}, tmp_path, "KEY", {"old": Fernet.generate_key().decode()}
    )
    for look in (store.open_rows, store.census, store.check_schema):
        with pytest.raises(KeyturnError, match=r"db.*its schema has more than 16 MiB of text, which is not read"):
            look()


def test_what_sqlite_itself_takes_of_memory_has_a_limit(tmp_path: Path) -> None:
    """It is one for the whole process, and cannot be raised again."""
    path = wordy(tmp_path / "db", 20)
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        sqlite_file.DISTRUST = (*sqlite_file.DISTRUST[:-1], "hard_heap_limit=10000000")
        try:
            with Database(path).reading() as connection:
                connection.execute("SELECT count(*) FROM t").fetchone()
        except KeyturnError as error:
            os.write(told, str(error).encode())
        os._exit(0)
    os.close(told)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.read(heard, 4096).startswith(f"{path}: SQLite would take more than 768 MiB of memory".encode())
    os.close(heard)
    with Database(path).reading() as connection:
        assert connection.execute("PRAGMA hard_heap_limit").fetchone() == (3 << 28,)


# -- leases --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def leased(path: Path) -> Iterator[int]:
    """A process that takes a lease on a file as soon as it can, again and again, and lets go of none."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        signal.signal(signal.SIGIO, lambda *_: None)
        descriptor = os.open(path, os.O_RDWR)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        os.write(told, b"1")
        while True:
            signal.pause()
    assert os.read(heard, 1) == b"1"
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(heard)
        os.close(told)


@pytest.mark.parametrize("end", ["", "-wal", "-journal"])
def test_a_lease_is_not_waited_for_by_each_opening(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lets whoever opens the file wait for 45 seconds, and who holds the lease may take it again."""
    path = made(tmp_path / "db", "k")
    beside = tmp_path / f"db{end}"
    beside.touch()
    monkeypatch.setattr(files._patience, "seconds", 0.2)
    with leased(beside) as pid:
        for opened in (Database(path).reading(), Database(path).writing()):
            with (
                pytest.raises(
                    KeyturnError, match=rf"db{end} is under a lease of .*\(pid {pid}\), .*: end that process"
                ),
                opened,
            ):
                pass
        for look in (files.read, attributes.check_changeable):
            with pytest.raises(KeyturnError, match="under a lease"):
                look(beside)


def test_while_a_database_is_open_nobody_takes_a_lease_on_it(tmp_path: Path) -> None:
    path = made(tmp_path / "db", "k")
    with path.open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        for opened in (Database(path).reading(), Database(path).writing()):
            with opened, pytest.raises(BlockingIOError):
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


def test_templates_have_a_size_and_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MOST_TEMPLATES", 3, raising=False)
    for number in range(5):
        (tmp_path / f".env{number}.example").write_text("A=1")
    assert len(repository._templates(tmp_path)) == 3
    for path in tmp_path.iterdir():
        path.write_bytes(bytes((1 << 20) + 1))
    assert repository._templates(tmp_path) == []
    monkeypatch.undo()
    for path in tmp_path.glob(".env*"):
        path.unlink()
    (tmp_path / ".env.example").write_text(f"KEY=value{' ' * 1001}#")
    assert repository._templates(tmp_path) == []


def test_bytes_that_only_begin_as_tokens_do_are_searched_for_a_time(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"gAAAAA" * 2000)
    assert token_scan.left_over(tmp_path / "db", Fernet.generate_key().decode(), lambda text: False, 0) is None


def test_a_file_that_was_not_looked_through_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fernet_sqlite, "RESIDUE_SECONDS", 0)
    held = {KEY: host.lab.key()}
    store = host.rotation().migration(held, {KEY: Fernet.generate_key().decode()})
    assert store is not None
    assert "bank_accounts.db was not looked through for ciphertexts under the old value" in "; ".join(store.residue())


def test_a_command_that_prints_without_end_has_not_succeeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"manager": "systemd", "unit": "app", "stop_timeout_seconds": 30, "health_timeout_seconds": 30}
    unit = systemd.SystemdService("engine", spec, tmp_path, None, tmp_path)
    monkeypatch.setattr(systemd, "LOG_BYTES", 1 << 10)
    with pytest.raises(KeyturnError, match="service engine: yes printed more than"):
        unit._run("yes")


@pytest.mark.parametrize("blank", [" ", "\t", "\u3000"])
@pytest.mark.parametrize("format_", ["dotenv", "ini", "yaml"])
def test_a_file_of_values_has_no_run_of_blanks(tmp_path: Path, format_: str, blank: str) -> None:
    path = tmp_path / "held"
    path.write_text(f"KEY=value{blank * 1001}\n")
    path.chmod(0o600)
    with pytest.raises(KeyturnError, match="more than 1000 blanks one after the other"):
        consumers.content(consumers.Consumer(format_, path, root=tmp_path))
    path.write_text(f"KEY=value{blank * 1000}\n")
    assert consumers.content(consumers.Consumer(format_, path, root=tmp_path))


def test_a_program_that_a_kill_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "KILL_SECONDS", 0.1)
    monkeypatch.setattr(
        os, "killpg", lambda group, number: None
    )  # as the kernel does while a file system does not answer
    with pytest.raises(KeyturnError, match=r"sleep in .* \(process \d+\) does not end although it is killed"):
        Scripts(tmp_path, None).run(["sleep", "5"], 0.1)


# -- what others let be parsed -------------------------------------------------------------------------------------

DENSE = {
    "empty texts": ("[%s]", '""'),
    "texts": ("[%s]", '"x"'),
    "wide texts": ("[%s]", '"\U0001f600"'),
    "undeclared texts": ('{"b": [%s]}', '"\U0001f600"'),
    "keys": ("{%s}", '"{number}": 0'),
    "objects": ("[%s]", '{{"": ""}}'),
    "lists": ("[%s]", "[]"),
}


def json_store(folder: Path, *documents: str) -> FernetSqlite:
    declared = {"table": "t", "key": "k", "column": "v", "plaintext": "^access-", "paths": ["[*]"]}
    with contextlib.closing(sqlite3.connect(folder / "db")) as connection, connection:
        connection.execute("CREATE TABLE t (k, v)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(documents))
    key = Fernet.generate_key().decode()
    return FernetSqlite({"database": "db", "columns": [declared]}, folder, "KEY", {"old": key})


@pytest.mark.parametrize("dense", DENSE)
def test_a_page_of_json_takes_no_more_memory_than_a_page(
    dense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text may have a value in every two of its characters, and reading takes hundreds of bytes for each."""
    monkeypatch.setattr(sqlite_file, "PAGE_BYTES", most := 1 << 20)
    form, part = DENSE[dense]
    store = json_store(tmp_path, *[form % ",".join(part.format(number=number) for number in range(500))] * 16)
    read = 0
    with store.database.reading() as connection:
        for page in sqlite_file.pages(connection, store.columns(connection)[0]):
            tracemalloc.start()
            store.turners[0].open([row.stored for row in page])
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 2 * most
            read += len(page)
    assert read == 16


def test_a_text_of_json_has_a_size_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_Decoder", None)  # nothing is made of it
    texts = "[" + "0," * 100_000 + "0]", '"' + "x" * (1 << 22) + '"'
    census = json_store(tmp_path, *texts).open_rows()
    assert census["refused"] == 2
    for said in ("100,000 values", "4 MiB"):
        assert f"is JSON of more than {said}, which is not read" in census["refusals"]


@pytest.mark.parametrize("depth", [60, 900, 100_000])
def test_a_json_file_that_is_nested_without_end_is_refused_by_name(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"a":' * depth + "1" + "}" * depth)
    path.chmod(0o600)
    with pytest.raises(
        KeyturnError, match=r"settings\.json.*(in one another|nested too deeply|values, which is not read)"
    ):
        consumers.findings(
            consumers.Consumer("json", path, keys={"KEY": "k"}, forms={"KEY": "kept"}), ["KEY"], ["value"]
        )
