"""The data under a key, and the table of the row stores. A host imports the code of its own store alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from ...base.sides import Side
    from .contract import Readable, RowStore, Spec

    Open = Callable[[Spec, Path, Sequence[str], Mapping[Side, Mapping[str, str]], Collection[str]], RowStore]


class Kind(NamedTuple):
    """A row store: its options in the catalogue's ``migration``, the forms of its rows in a report, the probe that shows them, its code.

    ``places`` are the files on a host that must be on a disk and private, by the ``migration`` and the application's folder. ``open`` gets
    these two, the secret's variables, the values by side and variable (KeyturnError where one is no key), and the keys of rows that may
    have another shape than is declared. What no argument spec can say, ``check`` of the file NAME_meaning.py says on the controller.
    ``reach`` is of data that is one for all hosts: it refuses (Unreached) where this host does not reach it. One that ``runs`` a program
    of the application's is given its ``scripts`` within the ``migration``.
    """

    options: Mapping[str, Spec]
    required: Sequence[str]
    forms: Sequence[str]
    probe: str
    places: Callable[[Spec, Path], list[Path]]
    code: Callable[[], Open]
    reach: Callable[[Spec, Path], None] | None = None
    runs: bool = False

    @property
    def open(self) -> Open:
        """Return what makes the store of a migration."""
        return self.code()


def _sqlite() -> Open:
    from .sqlite_store import SqliteStore

    return SqliteStore


def _postgresql() -> Open:
    from .fernet_postgresql import PostgresqlStore

    return PostgresqlStore


def _reach_postgresql(spec: Spec, root: Path) -> None:
    from .fernet_postgresql import reach

    reach(spec, root)


FERNET_COLUMN = {
    "table": {"type": "str", "required": True},
    "key": {"type": "list", "elements": "str", "required": True},
    "column": {"type": "str", "required": True},
    "plaintext": {"type": "str"},
    "flag": {"type": "str"},
    "paths": {"type": "list", "elements": "str"},
}
# how the value becomes the key of the rows, where it is not the key itself
FERNET_KEY = {
    "rule": {"type": "str", "required": True, "choices": ["hex", "pbkdf2_sha256", "sha256"]},
    "salt": {"type": "str"},
    "iterations": {"type": "int"},
}
# by its rule, what makes a value of which the key is made
GENERATORS = {"": "fernet", "hex": "hex", "sha256": "token_urlsafe"}
FERNET: Spec = {
    "columns": {"type": "list", "elements": "dict", "options": FERNET_COLUMN},
    "key": {
        "type": "dict",
        "options": FERNET_KEY,
        "required_if": [["rule", "pbkdf2_sha256", ["salt", "iterations"]]],
    },
}
# the variables of a file in which the login of a database stands: its URL, or its parts by the names that PostgreSQL gives them
LOGIN = {
    "path": {"type": "path", "default": ".env"},
    "url": {"type": "str"},
    "parts": {"type": "dict"},
}
FORMS = ("two_layer", "one_layer", "json", "plaintext", "empty")
# each keeps its data in one place
ALONE: dict[str, Kind] = {
    "fernet_sqlite": Kind(
        options={"database": {"type": "path"}, **FERNET},
        required=["database", "columns"],
        forms=FORMS,
        probe="fernet_rows",
        places=lambda spec, root: [root / spec["database"]],
        code=_sqlite,
    ),
}


def _places_of_all(spec: Spec, root: Path) -> list[Path]:
    return [place for one in spec["stores"] for place in ALONE[one["kind"]].places(one, root)]


def _several(
    spec: Spec,
    root: Path,
    variables: Sequence[str],
    values: Mapping[Side, Mapping[str, str]],
    accepted: Collection[str],
) -> RowStore:
    from .several import Several

    given = {"separator": spec["separator"]} if "separator" in spec else {}
    stores = [ALONE[one["kind"]].open({**one, **given}, root, variables, values, accepted) for one in spec["stores"]]
    return Several(stores)


def _delegated(
    spec: Spec,
    root: Path,
    variables: Sequence[str],
    values: Mapping[Side, Mapping[str, str]],
    accepted: Collection[str],
) -> RowStore:
    from .command import Delegated

    inside, told = spec["rows"], {side: held[variables[0]] for side, held in values.items()}
    rows = READABLE[inside["kind"]].open(inside, root, variables, values, accepted)
    return Delegated(spec["turn"], spec["scripts"], cast("Readable", rows), told)


def _checked(
    spec: Spec,
    root: Path,
    variables: Sequence[str],
    values: Mapping[Side, Mapping[str, str]],
    accepted: Collection[str],
) -> RowStore:
    from .command_checked import Checked

    return Checked(spec, spec["scripts"], {side: held[variables[0]] for side, held in values.items()})


def _one_of(kinds: Mapping[str, Kind]) -> dict[str, Spec]:
    """Return what a store within a migration takes."""
    options = {name: dict(option) for kind in kinds.values() for name, option in kind.options.items()}
    return {"kind": {"type": "str", "required": True, "choices": [*kinds]}, **options}


def _required(kinds: Mapping[str, Kind]) -> list[list[object]]:
    return [["kind", name, kind.required] for name, kind in kinds.items()]


# those whose rows another program may turn, since they show what it has done
READABLE: dict[str, Kind] = {
    **ALONE,
    "fernet_postgresql": Kind(
        options={
            **FERNET,
            "login": {
                "type": "dict",
                "options": LOGIN,
                "required_one_of": [["url", "parts"]],
                "mutually_exclusive": [["url", "parts"]],
            },
        },
        required=["login", "columns"],
        forms=FORMS,
        probe="fernet_rows",
        places=lambda spec, root: [],
        code=_postgresql,
        reach=_reach_postgresql,
    ),
}
PROGRAM: Spec = {
    "type": "dict",
    "options": {
        "command": {"type": "list", "elements": "str", "required": True},
        "environment": {"type": "dict", "default": {}},
        "input": {"type": "str"},
        "seconds": {"type": "int", "default": 3600},
    },
}
KINDS: dict[str, Kind] = {
    **READABLE,
    "several": Kind(
        options={
            "stores": {"type": "list", "elements": "dict", "options": _one_of(ALONE), "required_if": _required(ALONE)}
        },
        required=["stores"],
        forms=(),  # those of its stores
        probe="rows",
        places=_places_of_all,
        code=lambda: _several,
    ),
    "command": Kind(
        options={
            "turn": PROGRAM,
            "rows": {"type": "dict", "options": _one_of(READABLE), "required_if": _required(READABLE)},
        },
        required=["turn", "rows"],
        forms=(),  # those of its rows
        probe="rows",
        places=lambda spec, root: places(spec["rows"], root),
        code=lambda: _delegated,
        runs=True,
    ),
    "command_checked": Kind(
        options={
            **dict.fromkeys(("turn", "back", "check", "backup", "restore"), PROGRAM),
            "shared": {"type": "bool", "default": False},
        },
        required=["turn", "check", "backup", "restore"],
        forms=(),  # none is read
        probe="rows",
        places=lambda spec, root: [],
        code=lambda: _checked,
        runs=True,
    ),
}


def read_by(migration: Spec) -> Spec:
    """Return the migration of the store that reads the rows: within one that a program turns."""
    return cast("Spec", migration.get("rows") or migration)


def shared(migration: Spec) -> bool:
    """Tell whether the data of the catalogue's ``migration`` is one for all hosts."""
    kind = KINDS.get(read_by(migration)["kind"])
    return bool(migration.get("shared")) or (kind is not None and kind.reach is not None)


def has_inverse(migration: Spec) -> bool:
    """Tell whether the data of the catalogue's ``migration`` can be brought back under the old value with all that was written since."""
    kind = KINDS.get(migration["kind"])
    return kind is None or "back" not in kind.options or bool(migration.get("back"))


def places(migration: Spec, root: Path) -> list[Path]:
    """Return the files with the data that depends on the value, by the catalogue's ``migration``."""
    kind = KINDS.get(migration["kind"])
    return kind.places(migration, root) if kind else []
