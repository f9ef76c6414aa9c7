"""Looks for values where none may be: in every form that a tool may write them in, in every place that it may write to."""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from keyturn.base import durable

from support.lab import KEY, SERVERS, Lab
from support.processes import kill, marked, new_mark

# Whatever a controller, a host or a logger may leave behind, besides the folder of the lab itself.
PLACES = (Path.home() / ".ansible", Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/var/log"))
TURNED = (KEY, "JWT_SECRET_KEY")
PLAIN = ("PLAID_ENV", "LOG_LEVEL", "PLAID_BASE_URL", "ALPACA_BASE_URL")
PIECE = 26  # of a token, 18 characters are the same in every other test's
BIGGEST = 1 << 26


def forms(value: str) -> set[bytes]:
    """Return what betrays ``value``: itself, its beginning and its end, and what encoders make of it."""
    raw = value.encode()
    found = {raw.rstrip(b"="), raw[:PIECE], raw.rstrip(b"=")[-PIECE:]}
    found |= {raw.hex().encode(), raw.hex().upper().encode(), urllib.parse.quote(value, safe="").encode()}
    for content in {raw, _key_bytes(raw)} - {b""}:
        found.add(content.hex().encode())
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + content)
            # the characters at both ends also depend on what stands beside the value
            core = encoded[-(-shift * 8 // 6) : len(encoded.rstrip(b"=")) - 1]
            found |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def _key_bytes(raw: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(raw)
    except binascii.Error:
        return b""


class Scanner:
    """Knows values by a name, and says by these names what it finds: a value is never printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.forms = {name: forms(value) for name, value in values.items() if len(value) >= 12}

    def find(self, content: bytes) -> set[str]:
        """Return the names of the values that ``content`` holds in any form."""
        return {name for name, needles in self.forms.items() if any(needle in content for needle in needles)}

    def leaks(self, places: Iterator[tuple[str, bytes]], lab: Lab) -> list[str]:
        """Return place and name of each value where it may not be."""
        return sorted(
            f"{name} in {place}"
            for place, content in places
            for name in self.find(content)
            if not may_hold(lab, Path(place), name)
        )


def secrets(lab: Lab) -> dict[str, str]:
    """Return the secrets of the application as they are now, by names for messages."""
    values = {name: value for name, value in dotenv_values(lab.env).items() if value and name not in PLAIN}
    return values | {f"token of {item}": token for item, token in lab.tokens.items()}


def may_hold(lab: Lab, place: Path, name: str) -> bool:
    """Tell whether a value has its home there; what a killed write leaves beside a file may hold what the file may."""
    base = durable.LEFT.sub("", place.name)
    if place.is_relative_to(lab.app) and base == ".env":
        return not name.startswith("token")
    if place.is_relative_to(lab.state) and base in ("previous.json", "pending.json"):
        return name.startswith(TURNED)
    if place.parent == lab.database.parent or (place.is_relative_to(lab.state) and base.startswith("backup.db")):
        return name.startswith("row") or (name.startswith("token") and lab.plaintext_item in name)
    return False


def left_behind(lab: Lab, since: float) -> Iterator[tuple[str, bytes]]:
    """Yield every file of the lab, and those of the machine that were written after ``since``."""
    # other tests work beside us: /tmp/pytest-of-NAME, and servers of databases, whose files are large and change all the time
    ours = {Path("/", *lab.folder.parts[1:3]), *Path("/tmp").glob(f"{SERVERS}*")}
    yield from ((str(path), path.read_bytes()) for path in lab.folder.rglob("*") if path.is_file())
    for place in PLACES:
        for folder, names, files in os.walk(place):
            inner = [Path(folder, name) for name in names]
            # what is mounted there is not what a run has left: /proc, in a system that somebody is building
            names[:] = [path.name for path in inner if path not in ours and not path.is_mount()]
            for path in (Path(folder, name) for name in files):
                try:
                    status = path.lstat()
                    if path.is_file() and status.st_mtime >= since - 1 and status.st_size < BIGGEST:
                        yield str(path), path.read_bytes()
                except OSError:  # gone in the meantime, or not for us to read: then not for others either
                    continue
    yield from _journald(since)


def _journald(since: float) -> Iterator[tuple[str, bytes]]:
    if Path("/run/systemd/journal/socket").exists() and shutil.which("journalctl"):
        command = ["journalctl", "--no-pager", "-o", "export", f"--since=@{int(since) - 1}"]
        yield "journald", subprocess.run(command, capture_output=True, check=False).stdout


class Processes:
    """Collects arguments and environment of every process of the machine for as long as the block lasts."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, bytes]] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)

    def places(self) -> Iterator[tuple[str, bytes]]:
        """Yield what was seen."""
        yield from self.seen

    def _work(self) -> None:
        while not self._end.wait(0.01):
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    for kind in ("cmdline", "environ"):
                        try:
                            self.seen.add((kind, (process / kind).read_bytes()))
                        except OSError:
                            continue


class Run:
    """A playbook whose every process, on controller and host, can be killed at once; the application lives on."""

    def __init__(self, lab: Lab, playbook: str, *arguments: str, **environment: str) -> None:
        self.mark = new_mark()
        self.process = subprocess.Popen(
            lab.command(playbook, *arguments),
            cwd=Path(__file__).parents[2],
            env=lab.environment() | environment | self.mark,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> bytes:
        """Kill all with SIGKILL, and return what was printed until then."""
        # the service's scripts start with a clean environment, so that the application has not got the mark
        kill(lambda: marked(self.mark))
        return self.process.communicate()[0]
