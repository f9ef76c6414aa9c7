"""Values are nowhere on a host but in its store and its consumers, and nowhere on the controller."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest
from dotenv import dotenv_values
from support.canary import PLAIN, Processes, Scanner
from support.fleet import HOSTS, JWT, KEY, Fleet, container

pytestmark = pytest.mark.new_application
# whatever a module, a service or a login may leave behind, and the two homes of values, for the files beside them
PLACES = "tmp var/tmp run dev/shm root home var/log var/lib/keyturn var/lib/systemd etc/systemd opt/trader-ai"


@pytest.mark.covering
@pytest.mark.parametrize("playbook", ["rotate_jwt_secret", "rotate_db_key"])
def test_a_rotation_shows_no_value(fleet: Fleet, playbook: str, tmp_path: Path) -> None:
    known = values(fleet, "old")
    noisy = {"ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log")}
    since = time.time()
    with Processes() as processes:
        code, output = fleet.play(playbook, "-vvvv", "--diff", **noisy)
    assert code == 0, output
    assert "ESTABLISH SSH CONNECTION" in output, "the run was not at -vvvv"
    known |= values(fleet, "new")
    variable = JWT if playbook == "rotate_jwt_secret" else KEY
    scanner = Scanner(known)
    for host in HOSTS:
        homes = {place for place, content in left_behind(host) if f"{host} {variable} (new)" in scanner.find(content)}
        assert "opt/trader-ai/.env" in homes, "the scan does not see the value where it is"

    def places() -> Iterator[tuple[str, bytes]]:
        yield "stdout", output.encode()
        # every process of the machine and of the hosts; an EnvironmentFile's values are in the environment by its nature
        yield from ((kind, content) for kind, content in processes.seen if kind == "cmdline")
        yield from ((str(path), path.read_bytes()) for path in [*fleet.reports.rglob("*.*"), tmp_path / "ansible.log"])
        for host in HOSTS:
            yield f"journald of {host}", journald(host, since)
            yield from ((f"{host}: {place}", content) for place, content in left_behind(host) if not is_home(place))

    seen = list(places())
    arguments = b"".join(content for place, content in seen if place == "cmdline")
    assert b"sshd: root@notty" in arguments, "no process of a host was seen"
    assert all(any(place.startswith(f"{host}: ") for place, _ in seen) for host in HOSTS)
    assert sorted(f"{name} in {place}" for place, content in seen for name in scanner.find(content)) == []


def values(fleet: Fleet, when: str) -> dict[str, str]:
    """Return all values of all hosts, by names for messages."""
    found = {}
    for host in HOSTS:
        held = dotenv_values(stream=io.StringIO(fleet.run(host, "cat /opt/trader-ai/.env")))
        found |= {f"{host} {name} ({when})": value for name, value in held.items() if value and name not in PLAIN}
    return found


def is_home(place: str) -> bool:
    """Tell whether values may be there: the consumer, and the store of a rotation until its retention ends."""
    path = PurePath(place)
    return place == "opt/trader-ai/.env" or (path.is_relative_to("var/lib/keyturn") and path.name == "previous.json")


def left_behind(host: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the files of a host."""
    command = ["podman", "exec", container(host), "sh", "-c", f"tar -c -C / --ignore-failed-read {PLACES} 2>/dev/null"]
    archive = subprocess.run(command, capture_output=True, check=False).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            file = files.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def journald(host: str, since: float) -> bytes:
    """Return all that the journal of a host took since a time, whole."""
    command = [
        "podman",
        "exec",
        container(host),
        "journalctl",
        "--no-pager",
        "-o",
        "export",
        f"--since=@{int(since) - 1}",
    ]
    lines = subprocess.run(command, capture_output=True, check=True).stdout
    assert lines, "the journal is empty"
    return lines
