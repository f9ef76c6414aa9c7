"""Where the values are to stand: nothing is lost on the way back, and nothing stays in clear on the way there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.host.phases.delivery import Host, Layout

ENV = Path("/opt/app/.env")
HELD = {"JWT_SECRET_KEY": "a-value-of-the-tests"}


class Bare(Host):
    """A host without systemd, in check mode: nothing is sealed."""

    def __init__(self) -> None:
        self.holdings = [SimpleNamespace(check_mode=True)]  # type: ignore[list-item]
        self.systemd_credential = SimpleNamespace(path=Path("/etc/credstore.encrypted/app"), sealed="app")  # type: ignore[assignment]

    def files(self) -> dict[Path, list[str]]:
        return {ENV: ["JWT_SECRET_KEY"]}


def layout(content: str, credential: bytes | None = None) -> Layout:
    return Layout({ENV: content.encode()}, {ENV: 0o640}, credential)


def test_there_the_file_keeps_its_other_lines_and_is_its_owners_alone() -> None:
    wanted = Bare().wanted(layout("A=1\nJWT_SECRET_KEY=a-value-of-the-tests\nB=2\n"), HELD, sealed=True)
    assert (wanted.files, wanted.modes, wanted.sealed) == ({ENV: b"A=1\nB=2\n"}, {ENV: 0o600}, True)


@pytest.mark.parametrize(
    "line", ["# a-value-of-the-tests", "URL=x?key=a-value-of-the-tests", "C=YS12YWx1ZS1vZi10aGUtdGVzdHM"]
)
def test_there_a_value_in_another_line_is_refused(line: str) -> None:
    with pytest.raises(KeyturnError, match="would go on to hold JWT_SECRET_KEY in clear"):
        Bare().wanted(layout(f"JWT_SECRET_KEY=a-value-of-the-tests\n{line}\n"), HELD, sealed=True)


def test_back_an_empty_line_takes_the_value() -> None:
    wanted = Bare().wanted(layout("A=1\nJWT_SECRET_KEY=\n", b"sealed"), HELD, sealed=False)
    assert wanted.files == {ENV: b"A=1\nJWT_SECRET_KEY=a-value-of-the-tests\n"}
    assert not wanted.sealed


def test_back_a_value_that_no_entry_names_is_not_lost() -> None:
    with pytest.raises(KeyturnError, match=r"holds HF_TOKEN, which no entry .* it would be lost"):
        Bare().wanted(layout("", b"sealed"), HELD | {"HF_TOKEN": "another"}, sealed=False)


def test_half_of_the_way_is_no_place_to_go_back_to() -> None:
    whole, empty = layout("JWT_SECRET_KEY=a-value-of-the-tests\n", b"sealed"), layout("", b"sealed")
    assert not Bare().origin(whole, HELD, sealed=True).sealed
    assert Bare().origin(empty, HELD, sealed=True) == empty
    assert Bare().origin(whole, HELD, sealed=False) == whole
