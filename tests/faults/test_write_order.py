"""What a power loss would leave: each step is durable before the next begins. A SIGKILL cannot see that, strace can."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from keyturn.base import durable
from keyturn.ground.rows import sqlite_file
from support.faults import Host
from support.lab import KEY

TRACED = "openat,write,pwrite64,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,fsync,fdatasync,fchmod"
FOLDER = "(folder)"
GATE = "switching"
TEMPORARY = ".keyturn"
TRIED = f".env{TEMPORARY}"


class Event(NamedTuple):
    """One call that had an effect: its name, and the name of the file (of a folder: with ``(folder)`` behind it)."""

    call: str
    file: str


@pytest.fixture
def host(tmp_path: Path, journal_mode: str) -> Iterator[Host]:
    made = Host(tmp_path / "host", journal_mode)
    yield made
    made.stop()


def events(host: Host, module: str, **parameters: Any) -> list[Event]:
    """Run a module and return what it did below the lab's folder, in order."""
    done = host.module(module, "-y", "-s", "0", "-e", f"trace={TRACED}", **parameters)
    assert done.returncode == 0, done.stdout
    found = []
    for line in host.log.read_text().splitlines():
        call = re.match(r"(\w+)\(", line)
        if call is None or " = -1 " in line or (call[1] == "openat" and "O_CREAT" not in line):
            continue
        name = re.sub(r"at2?$", "", call[1])
        # by descriptor; the new file's name for openat, within its folder; the new name for rename
        quoted = re.findall(r'(?:<([^>]+)>, )?"([^"]+)"', line)
        if name in ("rename", "unlink", "mkdir", "open") and quoted:
            path = str(Path(*quoted[-1]))
        else:
            descriptor = re.match(r"\w+\(\d+<([^>]+)>", line)
            path = descriptor[1] if descriptor else ""
        if path.startswith(str(host.lab.folder)) and not path.endswith(("/lock", ".json.args")):
            shown = durable.LEFT.sub(TEMPORARY, Path(path).name)
            found.append(Event(name, shown + (FOLDER if Path(path).is_dir() else "")))
    return found


def position(found: Sequence[Event], call: str, file: str, last: bool = False) -> int:
    """Return where ``call`` happened to ``file``, the first time or the last."""
    places = [index for index, event in enumerate(found) if event == Event(call, file)]
    assert places, f"no {call} of {file} in {found}"
    return places[-1 if last else 0]


def folders(host: Host) -> dict[str, Path]:
    """Return the folder of each file that is replaced outside the folder of the rotation."""
    return {".env": host.lab.app, TRIED: host.lab.app, GATE: host.rotation().application.folder}


def check_durable(found: Sequence[Event], host: Host) -> None:
    """Check each file that is replaced or removed: content fsynced before the rename, folder fsynced right after."""
    renamed = [(index, event.file) for index, event in enumerate(found) if event.call == "rename"]
    assert renamed
    for index, name in renamed:
        before = [event for event in found[:index] if event.file == f"{name.removesuffix(TEMPORARY)}{TEMPORARY}"]
        assert before[-1].call == "fsync", f"{name} is renamed before its content is durable"
        assert "write" in {event.call for event in before}
        after = found[index + 1]
        folder = folders(host).get(name, host.state_file(name).parent).name
        assert after == Event("fsync", folder + FOLDER), f"{name}: its new name is not durable before the next step"
    for index, event in enumerate(found):
        if event.call == "unlink" and event.file in ("pending.json", "prepared.db", "previous.json", "backup.db", GATE):
            folder = folders(host).get(event.file, host.state_file(event.file).parent).name
            assert found[index + 1] == Event("fsync", folder + FOLDER)


def check_database(found: Sequence[Event], journal_mode: str, before: int, after: int) -> None:
    """Check that the rows' transaction is made and durable between two events."""
    database = "bank_accounts.db"
    files = [event.file.startswith(database) for event in found]
    written = [index for index, event in enumerate(found) if files[index] and event.call == "pwrite64"]
    synced = [index for index, event in enumerate(found) if files[index] and event.call == "fdatasync"]
    assert before < written[0], "rows change before the step is durable"
    assert position(found, "pwrite64", database, last=True) < synced[-1] < after, (
        "rows are not durable before the files"
    )
    if journal_mode == "wal":
        assert Event("ftruncate", f"{database}-wal") in found or Event("unlink", f"{database}-wal") in found
    else:
        gone = position(found, "unlink", f"{database}-journal")
        assert found[gone + 1] == Event("fdatasync", f"data{FOLDER}"), "the end of the transaction is not durable"


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_each_step_is_durable_before_the_next(host: Host, journal_mode: str) -> None:
    host.lab.state.mkdir(mode=0o700)
    stage = events(host, "stage")
    check_durable(stage, host)
    names = [event.file for event in stage if event.call == "rename"]
    assert names == ["journal.json", TRIED, "previous.json", "pending.json", "journal.json"]
    assert position(stage, "unlink", TRIED) < position(stage, "rename", "previous.json"), (
        "nothing is left of what was tried"
    )
    made = position(stage, "mkdir", host.state_file("x").parent.name + FOLDER)
    assert stage[made + 1] == Event("fsync", f"rotations{FOLDER}")

    prepare = events(host, "prepare")
    check_durable(prepare, host)
    # the copy is made durable by us, the side file by SQLite
    for name, call in (("backup.db", "fsync"), ("prepared.db", "fdatasync")):
        assert position(prepare, call, name, last=True) > position(prepare, "pwrite64", name, last=True)
        assert position(prepare, call, name, last=True) < position(prepare, "rename", "journal.json", last=True)

    switch = events(host, "switch")
    check_durable(switch, host)
    names = [event.file for event in switch if event.call == "rename"]
    assert names == ["journal.json", GATE, ".env", *["journal.json"] * 3], "each step of the switch, and its times"
    assert position(switch, "rename", "journal.json") < position(switch, "rename", GATE)
    assert position(switch, "rename", "journal.json", last=True) > position(switch, "unlink", GATE)
    check_database(switch, journal_mode, position(switch, "rename", GATE), position(switch, "rename", ".env"))

    host.save("switched")
    rollback = events(host, "rollback", cause="a test")
    check_durable(rollback, host)
    check_database(rollback, journal_mode, position(rollback, "rename", GATE), position(rollback, "rename", ".env"))
    assert position(rollback, "rename", ".env") < position(rollback, "unlink", "pending.json")
    assert rollback[-2] == Event("rename", "journal.json"), "the journal is closed last"

    host.restore("switched")
    assert host.module("prove").returncode == 0
    decide = events(host, "commit", step="decide")
    check_durable(decide, host)
    assert [event.file for event in decide if event.call in ("rename", "unlink")] == ["journal.json"]
    finish = events(host, "commit", step="finish")
    check_durable(finish, host)
    assert position(finish, "unlink", "pending.json") < position(finish, "rename", "journal.json", last=True)
    assert finish[-2] == Event("rename", "journal.json"), "the journal is closed last"


def test_nothing_of_the_old_value_stays_in_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that grow move within their page. SQLite overwrites what they leave only when told so, unless built to."""
    connect = sqlite3.connect

    def careless(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA secure_delete=OFF")
        return connection

    monkeypatch.setattr(sqlite_file.sqlite3, "connect", careless)
    host = Host(tmp_path / "host", encrypt_plaintext_rows=True)
    try:
        plaintexts = [token.encode() for item, token in host.lab.tokens.items() if host.forms[item] == "plaintext"]
        assert plaintexts
        host.go_to("switched")
        content = b"".join(path.read_bytes() for path in host.lab.database.parent.iterdir())
        migration = host.rotation().migration({KEY: host.old}, {KEY: host.new})
        assert migration is not None
        left = sum(token in content for token in plaintexts) + len(migration.residue())
        assert left == 0
    finally:
        host.stop()
