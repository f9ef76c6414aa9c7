"""What stands before a unit's program: the command is taken from the unit's files as it is, and the launcher hands values over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.ground.consumers import systemd_credential_file
from keyturn.services import systemd
from keyturn.services.systemd import LAUNCH, LAUNCHER, LAUNCHER_TEXT, SystemdService

CREDENTIAL = Path("/etc/credstore.encrypted/trader-ai-1")


RUNS = subprocess.CompletedProcess([], 0, "ExecStart={ path=/bin/one ; argv[]=/bin/one }", "")


class Unit(SystemdService):
    """A unit whose files lie in a folder of the test, with a systemd that does what it is told."""

    def __init__(self, files: list[Path]) -> None:
        super().__init__("backend", {"unit": "trader-ai"}, Path("/opt/trader-ai"), None, Path("/var/lib/keyturn"))
        self.files = files

    def definitions(self) -> list[Path]:
        return [*self.files, *systemd.UNITS.glob("trader-ai.service.d/*")]

    def _run(self, *command: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        path = self._drop_in(LAUNCH) if "Id" not in command else Path()
        loaded = f"DropInPaths={path}\nExecStart={{ path={systemd.LAUNCHER} ; argv[]=x }}" if path.is_file() else ""
        return subprocess.CompletedProcess(command, 0, "trader-ai.service\n" if "Id" in command else loaded, "")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "UNITS", tmp_path / "units")
    monkeypatch.setattr(systemd, "LAUNCHER", tmp_path / "lib/with-credential")
    (tmp_path / "units").mkdir()


def unit(folder: Path, *texts: str) -> Unit:
    files = [folder / f"{number}.conf" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return Unit(files)


def drop_in(folder: Path) -> list[str]:
    return (folder / "units/trader-ai.service.d" / LAUNCH).read_text().splitlines()


@pytest.mark.parametrize(
    ("texts", "command"),
    [
        (["[Service]\nExecStart=/usr/bin/python3 -m trader_ai\n"], "{} trader-ai-1 /usr/bin/python3 -m trader_ai"),
        (["[Service]\nExecStart = -/bin/app 'a b' %n \\\n  $X\n"], "-{} trader-ai-1 /bin/app 'a b' %n    $X"),
        (["[Service]\nExecStart=/bin/app a \\\n  # a note\n  b\n"], "{} trader-ai-1 /bin/app a    b"),
        (["[Service]\nExecStart=/bin/one\n", "[Service]\nExecStart=\nExecStart=/bin/two\n"], "{} trader-ai-1 /bin/two"),
    ],
    ids=["plain", "a prefix and a line that goes on", "a comment within", "a drop-in of the site"],
)
def test_the_command_stays_as_the_unit_has_it(tmp_path: Path, texts: list[str], command: str) -> None:
    service = unit(tmp_path, *texts)
    assert service.launched_with() == ""
    service.launch_with(CREDENTIAL)
    assert drop_in(tmp_path)[-2:] == ["ExecStart=", f"ExecStart={command.format(tmp_path / 'lib/with-credential')}"]
    assert service.launched_with() == "trader-ai-1"
    assert service.is_launched_with(CREDENTIAL)
    before = drop_in(tmp_path)
    service.launch_with(CREDENTIAL)
    assert drop_in(tmp_path) == before, "its own drop-in is no command of the unit"
    service.launch_alone()
    assert service.launched_with() == ""


def test_what_has_changed_since_is_launched_anew(tmp_path: Path) -> None:
    service = unit(tmp_path, "# H\u00e4ndler\n[Service]\nExecStart=/bin/one\n")
    service.files[0].write_bytes(service.files[0].read_text().encode("latin-1"))
    old = os.umask(0o077)
    try:
        service.launch_with(CREDENTIAL)
    finally:
        os.umask(old)
    launcher = tmp_path / "lib/with-credential"
    assert launcher.parent.stat().st_mode & 0o777 == launcher.stat().st_mode & 0o777 == 0o755
    service.files[0].write_text("[Service]\nExecStart=/bin/one --workers 2\n")
    assert not service.is_launched_with(CREDENTIAL)
    service.launch_with(CREDENTIAL)
    assert drop_in(tmp_path)[-1].endswith("/bin/one --workers 2")
    launcher.unlink()
    assert not service.is_launched_with(CREDENTIAL)
    with pytest.raises(KeyturnError, match="with the credential trader-ai-1, of another keyturn_app_root"):
        service.check_launch(CREDENTIAL.with_name("trader-ai-2"))


def test_a_unit_with_a_root_of_its_own_would_not_find_the_launcher(tmp_path: Path) -> None:
    text = "[Service]\nExecStart=/bin/one\nRootDirectory=/srv/root\n"
    with pytest.raises(KeyturnError, match=r"has a root of its own \(RootDirectory=/srv/root\), in which"):
        unit(tmp_path, text).check_launch(CREDENTIAL)
    unit(tmp_path, text, "[Service]\nRootDirectory=\n").check_launch(CREDENTIAL)


@pytest.mark.parametrize("state", ["yes", "no"])
def test_a_drop_in_that_a_kill_left_unloaded_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    service = unit(tmp_path, "[Service]\nExecStart=/bin/one\n")
    service.launch_with(CREDENTIAL)
    called: list[str] = []

    def run(*command: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        called.append(command[1])
        said = f"DropInPaths={service._drop_in(LAUNCH)}\nNeedDaemonReload={state}"
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(service, "_run", run)
    service.launch_with(CREDENTIAL)
    assert called.count("daemon-reload") == (state == "yes")


def test_a_drop_in_that_systemd_has_never_loaded_goes_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back of a delivery whose load was refused."""
    service = unit(tmp_path, "[Service]\nExecStart=/bin/one\n")
    service.launch_with(CREDENTIAL)
    refused = subprocess.CompletedProcess([], 1, "", "")
    monkeypatch.setattr(service, "_run", lambda *command, seconds=0: refused if "daemon-reload" in command else RUNS)
    with pytest.raises(KeyturnError, match="it wants 16 MiB free in /run"):
        service.launch_with(CREDENTIAL)
    service.launch_alone()


def test_a_command_that_another_drop_in_has_is_not_launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = unit(tmp_path, "[Service]\nExecStart=/bin/one\n")
    service.launch_with(CREDENTIAL)
    assert service.is_launched_with(CREDENTIAL)
    monkeypatch.setattr(service, "_run", lambda *command, seconds=0: RUNS)
    assert not service.is_launched_with(CREDENTIAL)


@pytest.mark.parametrize("lines", ["", "ExecStart=/bin/one\nExecStart=/bin/two", "ExecStart=@/bin/one one"])
def test_a_unit_without_one_command_is_refused(tmp_path: Path, lines: str) -> None:
    with pytest.raises(KeyturnError, match=r"backend: the unit trader-ai.service has \d ExecStart= lines"):
        unit(tmp_path, f"[Service]\n{lines}\n").launch_with(CREDENTIAL)


def test_the_launcher_hands_every_value_over_exactly(tmp_path: Path) -> None:
    values = {"PLAIN": "a", "QUOTED": 'it\'s "this" # $HOME ${X} \\n', "UNICODE": "schlüssel", "EMPTY": ""}
    (tmp_path / "name").write_bytes(systemd_credential_file.written(values))
    launcher = tmp_path / LAUNCHER.name
    launcher.write_text(LAUNCHER_TEXT)
    program = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    done = subprocess.run(
        [sys.executable, "-I", launcher, "name", sys.executable, "-c", program, "an argument"],
        env={"CREDENTIALS_DIRECTORY": str(tmp_path), "PLAIN": "of the unit", "KEPT": "yes", "LC_ALL": "C.UTF-8"},
        text=True,
        capture_output=True,
        check=True,
    )
    arguments, environment = json.loads(done.stdout)
    assert arguments == ["an argument"]
    assert {name: environment[name] for name in values} == values
    assert environment["KEPT"] == "yes"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"A": 1}', b"NAME=value"])
def test_what_is_no_credential_is_refused(content: bytes) -> None:
    with pytest.raises(KeyturnError, match=r"migrate_delivery\.yml"):
        systemd_credential_file.read(content, ["A"])


def test_a_value_is_replaced_and_the_others_stay() -> None:
    content = systemd_credential_file.written({"A": "1", "B": "2"})
    assert systemd_credential_file.read(systemd_credential_file.replace(content, {"A": "3"}), ["A", "B", "C"]) == {
        "A": "3",
        "B": "2",
        "C": None,
    }
