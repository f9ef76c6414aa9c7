"""Values are in the store and the consumers, and nowhere else: not in output, logs, reports, arguments, remote temp."""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values
from support.canary import PLACES, Processes, Run, Scanner, left_behind, secrets
from support.evidence import lost
from support.faults import hold, release
from support.lab import KEY, ROOT, Lab
from support.tables import settings_table


def play(
    lab: Lab, scanner: Callable[[], Scanner], playbook: str = "rotate_db_key", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a playbook as talkative as it can be, look everywhere, and return what it printed."""
    since = time.time()
    (lab.folder / "facts").mkdir(exist_ok=True)
    noisy = {
        "ANSIBLE_LOG_PATH": str(lab.folder / "ansible.log"),
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(lab.folder / "facts"),
    }
    with Processes() as processes:
        done = lab.play(playbook, "-vvvv", "--diff", **noisy, **more)

    def places() -> Iterator[tuple[str, bytes]]:
        yield "stdout", done.stdout.encode()
        yield "stderr", done.stderr.encode()
        yield from processes.places()
        yield from left_behind(lab, since)

    assert "ESTABLISH LOCAL CONNECTION" in done.stdout, "the run was not at -vvvv"
    assert (lab.folder / "ansible.log").stat().st_size > 10_000
    arguments_seen = b"".join(content for kind, content in processes.seen if kind == "cmdline")
    assert b"ansible-playbook" in arguments_seen
    assert b"/bin/sh\0-c\0" in arguments_seen, "no call of a module was seen"
    assert scanner().leaks(places(), lab) == []
    return done


def test_a_whole_rotation_shows_no_value(lab: Lab) -> None:
    known = secrets(lab)

    def scanner() -> Scanner:
        new = lab.key()
        assert new != known[KEY]
        return Scanner(known | {f"{KEY} (new)": new})

    done = play(lab, scanner)
    assert done.returncode == 0, done.stdout
    assert f"+{KEY}=kt:" in done.stdout


def test_a_value_that_hosts_share_shows_under_no_setting_and_to_no_callback(lab: Lab) -> None:
    """All settings that are called harmless at once, and a callback that writes down whatever it gets."""
    known, dump = secrets(lab), lab.folder / "dump"
    settings = {name: value for row in settings_table() for name, value in row.tried.items()}
    settings |= {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/support/callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "dump_all",
    }

    def scanner() -> Scanner:
        return Scanner(known | {"JWT_SECRET_KEY (new)": str(dotenv_values(lab.env)["JWT_SECRET_KEY"])})

    done = play(lab, scanner, "rotate_jwt_secret", KEYTURN_DUMP=str(dump), **settings)
    assert done.returncode == 0, done.stdout
    assert dotenv_values(lab.env)["JWT_SECRET_KEY"] != known["JWT_SECRET_KEY"]
    seen = dump.read_text()
    assert "v2_runner_on_ok" in seen and "sent_at" in seen and "'new': {'JWT_SECRET_KEY': 'kt:" in seen
    assert "done with _execute_module (keyturn_phase" in done.stdout, "the run was not debugged"


def test_a_refused_row_shows_no_value(lab: Lab) -> None:
    foreign = Fernet.generate_key().decode()
    stored = base64.urlsafe_b64encode(Fernet(foreign).encrypt(b"access-x")).decode()
    with contextlib.closing(sqlite3.connect(lab.database)) as connection:
        connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = 'item-00002'", (stored,))
        connection.commit()
    scanner = Scanner(secrets(lab) | {"row item-00002": stored})
    assert scanner.find(lab.database.read_bytes()), "the row is not there"
    done = play(lab, lambda: scanner)
    assert done.returncode == 2, done.stdout
    assert "opens under no value that is known" in done.stdout


def test_a_rotation_that_takes_itself_back_shows_no_value(lab: Lab) -> None:
    known, env = secrets(lab), lab.env.read_bytes()
    seen = lab.folder.parent / "seen.env"
    lab.break_start(f'[ "$(sha256sum <.env)" = "{{checksum}}" ] || {{ cp .env {seen}; exit 7; }}\n')

    def scanner() -> Scanner:
        new = str(dotenv_values(seen)[KEY])
        assert new != known[KEY]
        return Scanner(known | {f"{KEY} (new)": new})

    done = play(lab, scanner)
    assert done.returncode == 2, done.stdout
    assert "start.sh ended with exit code 7" in done.stdout
    assert lab.report()["outcome"] == "rolled_back"
    assert lab.env.read_bytes() == env
    assert lost(lab, lab.tokens) == []


def test_a_malformed_key_shows_no_value(lab: Lab) -> None:
    malformed = Fernet.generate_key().decode()[:-3] + "!"
    lab.env.write_text(lab.env.read_text().replace(lab.key(), malformed))
    done = play(lab, lambda: Scanner(secrets(lab)))
    assert done.returncode == 2, done.stdout
    assert f"{KEY} is not a Fernet key" in done.stdout


PHASES = {
    "staging": "the value is not at home yet",
    "staged": "beside the service",
    "preparing": "beside the service",
    "prepared": "beside the service",
    "switching": "in the stop",
    "switched": "on the new value",
    "proved": "on the new value",
    "decided": "only forward",
}


# ended by the playbook, as talkative as the run that was killed; the others by a module
RESUMED = "switching"


@pytest.mark.covering(phase=PHASES.get)
@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_of_everything_leaves_no_value_behind(lab: Lab, phase: str) -> None:
    known, since = secrets(lab), time.time()
    hold(lab, phase)
    run = Run(lab, "rotate_db_key", "-vvvv", "--diff", ANSIBLE_LOG_PATH=str(lab.folder / "ansible.log"))
    wait_for(lab, phase, run)
    printed = run.kill()
    assert run.process.returncode == -9, "the rotation had ended before the kill"
    release(lab)
    (journal,) = lab.journals()
    new = next(iter(lab.state.rglob("pending.json")), None)
    held = {f"{KEY} (new)": new.read_text().split('"')[3]} if new else {}
    places = [("stdout", printed), *left_behind(lab, since)]
    assert Scanner(known | held).leaks(iter(places), lab) == []
    rotation = lab.rotation(journal["rotation_id"])
    if phase == RESUMED:
        done = play(lab, lambda: Scanner(known | held), "resume")
        assert done.returncode == 0, done.stdout
    elif journal.get("decision") == "commit":
        lab.step("commit", rotation=rotation, step="finish")
    else:
        lab.step("rollback", rotation=rotation, cause="a test")
    assert lost(lab, lab.tokens) == []
    assert Scanner(known | held).leaks(left_behind(lab, since), lab) == []


def wait_for(lab: Lab, phase: str, run: Run) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and run.process.poll() is None:
        for path in lab.state.glob("*/rotations/*/journal.json"):
            text = path.read_text()
            if ('"decision": "commit"' if phase == "decided" else f'"phase": "{phase}"') in text:
                return
        time.sleep(0.002)
    run.kill()
    pytest.fail(f"the rotation never came to {phase}")


# -- the scanner itself --------------------------------------------------------------------------------------------

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda raw: raw,
    "cut off": lambda raw: raw[:26],
    "its end": lambda raw: raw[-27:],
    "base64": base64.b64encode,
    "base64 with a word before": lambda raw: base64.b64encode(b"KEY=" + raw + b"\n"),
    "base64 with two letters before": lambda raw: base64.b64encode(b"ab" + raw + b"cd"),
    "URL-safe base64": base64.urlsafe_b64encode,
    "hex": lambda raw: raw.hex().encode(),
    "HEX": lambda raw: raw.hex().upper().encode(),
    "URL-encoded": lambda raw: urllib.parse.quote(raw.decode(), safe="").encode(),
    "the bytes of the key in hex": lambda raw: base64.urlsafe_b64decode(raw).hex().encode(),
    "the bytes of the key in base64": lambda raw: base64.b64encode(base64.urlsafe_b64decode(raw)),
}


@pytest.fixture
def quiet(tmp_path: Path) -> Lab:
    """A lab whose service is not needed."""
    return Lab(tmp_path)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_scanner_knows_every_form(encoder: str) -> None:
    value = Fernet.generate_key().decode()
    content = b"before " + ENCODERS[encoder](value.encode()) + b" after"
    assert Scanner({"it": value}).find(content) == {"it"}
    assert Scanner({"it": Fernet.generate_key().decode()}).find(content) == set()


def test_the_scanner_finds_a_value_in_every_place(quiet: Lab) -> None:
    values = {"canary": Fernet.generate_key().decode()}
    name, since = f"keyturn-{uuid.uuid4().hex}", time.time()
    folders = [place for place in PLACES if os.access(place, os.W_OK)]
    folders += [Path.home() / ".ansible/tmp", quiet.app / "logs", quiet.reports, quiet.state / "x/rotations/y"]
    planted = [folder / name for folder in folders]
    planted += [quiet.app / ".env.backup", quiet.state / "x/rotations/y/journal.json", quiet.folder / "ansible.log"]
    planted += [quiet.state / "x/rotations/y/prepared.db", quiet.database.with_name(quiet.database.name + "-wal")]
    try:
        for path in planted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"a line with {values['canary']} in it\n")
        found = Scanner(values).leaks(left_behind(quiet, since), quiet)
    finally:
        for path in planted:
            path.unlink(missing_ok=True)
    assert set(found) == {f"canary in {path}" for path in planted}
    # at home they are no leak
    home = {KEY: quiet.key()}
    assert Scanner(home).leaks(left_behind(quiet, since), quiet) == []


def test_the_scanner_sees_arguments_and_environments(quiet: Lab) -> None:
    values = {"argument": uuid.uuid4().hex, "variable": uuid.uuid4().hex}
    code = "import time; time.sleep(0.3)"
    with Processes() as processes:
        subprocess.run([sys.executable, "-c", code, values["argument"]], env={"X": values["variable"]}, check=True)
    found = Scanner(values).leaks(processes.places(), quiet)
    assert found == ["argument in cmdline", "variable in environ"]
