"""Who else has a value: real processes, beside a service that is known."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn.base import procfs
from keyturn.base.errors import KeyturnError
from keyturn.host import readers
from keyturn.host.phases import examination, stage
from support.faults import Host
from support.lab import KEY


@contextlib.contextmanager
def process(**environment: str) -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], **environment}) as running:
        while procfs.command_name(running.pid) != "sleep":
            pass
        yield running.pid
        running.kill()


def test_a_process_that_was_started_with_the_value_is_named_and_no_value(host: Host) -> None:
    rotation = host.rotation()
    held = {KEY: host.lab.key()}
    with process(OTHER="nothing"):
        assert readers.others(rotation, held) == []
    with process(ANY_NAME=host.lab.key()) as pid:
        (found,) = readers.others(rotation, held)
        assert found.certain and not found.declared
        assert f"has {KEY} in its environment, and is not restarted with it" in str(found)
        assert host.lab.key() not in str(found)
        began = procfs.started_at(pid)
        assert began is not None
        assert readers.others(rotation, held, began._replace(seconds=began.seconds - 1)) == [], "it has started since"
        assert readers.others(rotation, {KEY: "short"}) == []


def test_who_would_go_on_to_write_rows_under_the_old_key_is_refused(host: Host) -> None:
    refused = pytest.raises(KeyturnError, match="rows that it writes would not open: add it to keyturn_services")
    with process(ANY_NAME=host.lab.key()), refused:
        stage.run(host.rotation())


def test_a_service_of_another_secret_is_a_finding(host: Host) -> None:
    with process(ANY_NAME=host.lab.key()) as pid:
        rotation = host.rotation()
        (host.lab.app / "other.pid").write_text(str(pid))
        other = {**rotation.services["backend"], "pid_file": "other.pid", "health_url": None, "health_line": "up"}
        both = dataclasses.replace(rotation, services={**rotation.services, "other": other})
        (found,) = readers.others(both, {KEY: host.lab.key()})
        assert str(found).startswith("service other has") and found.declared
        assert str(found) in examination.examine(both).findings


@pytest.mark.parametrize("answer", ["exit 1", "exec sleep 60", None], ids=["fails", "hangs", "is not there"])
def test_a_systemd_that_does_not_answer_is_not_nobody(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    (tmp_path / "bin").mkdir()
    if answer:
        (tmp_path / "bin/systemctl").write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin" if answer else str(tmp_path / "bin"))
    monkeypatch.setattr(readers, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(readers, "ASK_SECONDS", 0.2)
    rotation = host.rotation()
    (found,) = readers.others(rotation, {KEY: host.lab.key()})
    assert not found.certain and not found.declared, "no rotation is refused for it"
    assert f"a unit that reads {host.lab.env} by EnvironmentFile= would not be seen, since systemd" in str(found)


@pytest.mark.parametrize(
    ("group", "named"),
    [
        ("/system.slice/other.service", "other.service"),
        ("/system.slice/other.service/of-its-own/below", "other.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/other.service", "other.service"),
        ("/init.scope", ""),
        ("/", ""),
    ],
)
def test_the_unit_of_a_process_is_the_innermost(monkeypatch: pytest.MonkeyPatch, group: str, named: str) -> None:
    monkeypatch.setattr(procfs, "cgroups", lambda pid: [group])
    assert readers.unit_of(os.getpid()) == named
