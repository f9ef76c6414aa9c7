"""The start gate of a unit: a drop-in whose condition is read back as systemd reads it, where systemd looks for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.services import systemd
from keyturn.services.systemd import DROP_IN, SystemdService


def quoted(path: Path) -> str:
    """A name of many, as `systemctl show` prints it."""
    return '"{}"'.format(str(path).replace("\\", r"\\")) if "\\" in str(path) else str(path)


class Unit(SystemdService):
    """A unit of a systemd that knows one file and its drop-ins, as they were when it last loaded them."""

    def __init__(self, folder: Path, unit: str = "trader-ai", known: str = "trader-ai.service") -> None:
        self.name, self.spec = "backend", {"unit": unit}
        self.folder, self.known = folder, known
        self.told: list[str] = []
        self.stamps: list[int] = []
        self.loaded: list[Path] = []

    def _run(self, *command: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        _, verb, *arguments = command
        self.told.append(verb)
        if verb == "daemon-reload":
            # of one name, the file of the first folder counts; all are read by their names
            found = [
                path for name in ("control", "units") for path in (self.folder / name).glob(f"{self.known}.d/*.conf")
            ]
            self.loaded = sorted({path.name: path for path in reversed(found)}.values(), key=lambda path: path.name)
            self.stamps = self.times()
        loaded = " ".join(map(quoted, self.loaded)) if arguments[-1:] == [self.known] else ""
        if "Id" in arguments:
            said = f"{self.known}\n"
        elif "--property" in arguments:
            said = loaded if "DropInPaths" in arguments else ""
        else:
            said = f"DropInPaths={loaded}\nNeedDaemonReload={'yes' if self.times() != self.stamps else 'no'}"
        return subprocess.CompletedProcess(command, 0, said, "")

    def times(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in self.loaded if path.exists()]


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unit:
    monkeypatch.setattr(systemd, "UNITS", tmp_path / "units")
    (tmp_path / "units").mkdir()
    return Unit(tmp_path)


def condition(folder: Path, unit: str = "trader-ai.service") -> str:
    """The one condition of the drop-in, and nothing else is set in it."""
    lines = (folder / f"units/{unit}.d" / DROP_IN).read_text().splitlines()
    section, line = [line for line in lines if not line.startswith("#")]
    assert section == "[Unit]"
    return line


def would_start(said: str) -> bool:
    """Ask systemd itself."""
    return subprocess.run(["systemd-analyze", "condition", said], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", ["switching", "with a blank", "of%name"])
def test_the_unit_starts_only_while_the_gate_is_open(unit: Unit, tmp_path: Path, name: str) -> None:
    gate = tmp_path / name
    unit.fit_start_gate(gate)
    assert condition(tmp_path) == f"ConditionPathExists=!{gate}".replace("%", "%%")
    assert would_start(condition(tmp_path))
    gate.touch()
    assert not would_start(condition(tmp_path))
    gate.unlink()
    assert would_start(condition(tmp_path))


def test_the_gate_of_another_state_folder_takes_the_place_of_the_one_before(unit: Unit, tmp_path: Path) -> None:
    for name, loaded in (("one", 1), ("one", 1), ("other", 2)):
        unit.fit_start_gate(tmp_path / name)
        assert condition(tmp_path) == f"ConditionPathExists=!{tmp_path / name}"
        assert unit.told.count("daemon-reload") == loaded, "systemd knows another condition than the file has"


@pytest.mark.parametrize(
    "named", ["trader-2.1", "trader.ai", "trader@1", "trader ai", "/srv/data", "trader.timer", "trader"]
)
def test_the_drop_in_stands_where_systemd_looks(unit: Unit, tmp_path: Path, named: str) -> None:
    known = subprocess.run(
        ["systemd-escape", "--mangle", named], check=True, capture_output=True, text=True
    ).stdout.strip()
    Unit(tmp_path, named, known).fit_start_gate(tmp_path / "gate")
    assert condition(tmp_path, known) == f"ConditionPathExists=!{tmp_path / 'gate'}"


def test_a_second_name_of_a_unit_is_not_where_its_drop_in_stands(unit: Unit, tmp_path: Path) -> None:
    Unit(tmp_path, "alias", "trader-ai.service").fit_start_gate(tmp_path / "gate")
    assert condition(tmp_path) == f"ConditionPathExists=!{tmp_path / 'gate'}"


@pytest.mark.parametrize("answer", ["", "trader-1.service\n\ntrader-2.service"])
def test_a_name_of_none_or_of_several_is_refused(unit: Unit, tmp_path: Path, answer: str) -> None:
    with pytest.raises(KeyturnError, match=r"systemd has (0|2) units for trader\*, and one is needed: correct `unit`"):
        Unit(tmp_path, "trader*", answer).fit_start_gate(tmp_path / "gate")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("units/trader-ai.service.d/zzz-site.conf", "[Unit]\nConditionPathExists=\n"),
        (
            "units/trader-ai.service.d/zz-later.conf",
            "[Unit]\n# all anew\nConditionPathExists = \nConditionPathExists=/etc\n",
        ),
        ("units/trader-ai.service.d/zzz-site.conf", "[Unit]\nConditionHost=\n"),
        (f"control/trader-ai.service.d/{DROP_IN}", ""),
    ],
    ids=["taken back", "and another one", "with all conditions", "a file in its place"],
)
def test_a_drop_in_without_effect_is_refused(unit: Unit, tmp_path: Path, place: str, text: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(text)
    with pytest.raises(
        KeyturnError, match=rf"{DROP_IN} sets ConditionPathExists, without effect: systemctl cat trader-ai.service"
    ):
        unit.fit_start_gate(tmp_path / "gate")


def test_a_drop_in_that_systemd_has_not_loaded_is_refused(
    unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "known", "another.service")
    unit.unit = "trader-ai.service"
    with pytest.raises(KeyturnError, match="without effect"):
        unit.fit_start_gate(tmp_path / "gate")
