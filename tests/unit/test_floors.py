"""Each room of the code uses only rooms on floors below its own, so that one knows from a folder where its code may run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "module_utils/keyturn"
# from the ground up; rooms of one floor do not know each other
FLOORS = (
    {"base"},
    {"ground"},
    {"providers"},
    {"issuers"},
    {"inputs"},
    {"services", "stores"},
    {"host"},
    {"notices"},
    {"records", "monitoring"},
    {"fleet"},
    {"incident"},
    {"steps"},
    {"entry"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent != ROOT
}


def imports(name: str) -> Iterator[str]:
    """Yield the files that a file imports, wherever in it."""
    path = FILES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            up = package[: len(package) + 1 - node.level]
            origin = ".".join([*up, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                full = f"{origin}.{alias.name}".strip(".")
                yield full if full in FILES else origin


def test_every_room_has_a_floor() -> None:
    assert {name.split(".")[0] for name in FILES} == set(FLOOR)
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"], "a file stands in a room"


def test_imports_go_down_only() -> None:
    arrows = [(name, used) for name in FILES for used in imports(name)]
    assert len(arrows) > 300
    rooms = [(name.split(".")[0], used.split(".")[0], name, used) for name, used in arrows]
    assert [
        f"{name} uses {used}" for room, other, name, used in rooms if room != other and FLOOR[other] >= FLOOR[room]
    ] == []


def test_no_imports_go_in_a_circle() -> None:
    """Within a room as well: what a file needs is there before it is."""
    needs = {name: {used for used in imports(name) if used in FILES and used != name} for name in FILES}
    done: set[str] = set()
    while ready := {name for name, used in needs.items() if name not in done and used <= done}:
        done |= ready
    assert needs.keys() - done == set()
