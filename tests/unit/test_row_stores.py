"""What is added for another row store: its file and one entry of a table. One that keeps its rows in JSON goes through a whole rotation."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from keyturn.base import durable
from keyturn.base.errors import KeyturnError
from keyturn.base.sides import Side, other
from keyturn.ground import rows
from keyturn.ground.rows import fernet_forms, tokens
from keyturn.ground.rows.contract import Backup, Census, Examined, Online, Prepared, RowStore, Space, Turned
from keyturn.host import probes, storage
from keyturn.host.journal import Journal
from keyturn.host.phases import commit, holdings_info, rollback, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue, meaning
from keyturn.inputs.validation import validated
from keyturn.records import report_text
from support import stores
from support.lab import ROOT

LOGIC = ROOT / "module_utils/keyturn"
ROTATION_ID = "20260101T000000Z-0123456789abcdef"
MIGRATION = {"kind": "json_rows", "file": "notes.json"}
ENTRY: dict[str, Any] = stores.ENTRY | {
    "title": "Key of the notes",
    "variables": ["NOTES_KEY"],
    "value": "per_host",
    "switch": "rolling",
}


class JsonRows:
    """Texts by name in one file. A text is `sealed` by the key that is written before it; one row is prepared in a call."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        root: Path,
        variables: Sequence[str],
        values: Mapping[Side, Mapping[str, str]],
        accepted: Collection[str],
    ) -> None:
        self.path = root / spec["file"]
        self.name, self.label = str(self.path), self.path.name
        self.keys = {side: held[variables[0]] for side, held in values.items()}
        self.prepared, self.secrets = Path(), ()
        self.recalled = False

    @property
    def parts(self) -> Sequence[RowStore]:
        return (self,)

    def _read(self) -> dict[str, str]:
        return dict(json.loads(self.path.read_text()))

    def _side(self, stored: str) -> Side | None:
        return next((side for side, key in self.keys.items() if stored.startswith(f"{key}:")), None)

    def _turn(self, stored: str, to: Side) -> str:
        return f"{self.keys[to]}:{stored.removeprefix(self.keys[other(to)] + ':')}"

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        census = self.census()
        if refusal := self.refusal(census):
            raise KeyturnError(refusal)
        return Examined(census["rows"], ["the notes were looked at"])

    def space(self) -> Space:
        return Space(1, {self.path.parent: 1})

    def check_switch(self) -> None:
        self._read()

    def census(self) -> Census:
        sides = {item: self._side(stored) for item, stored in self._read().items()}
        refused = [item for item, side in sides.items() if side is None]
        under: dict[Side, int] = {side: [*sides.values()].count(side) for side in ("old", "new")}  # type: ignore[misc]
        return {
            "rows": {"sealed": len(sides)},
            "under": under,
            "refused": len(refused),
            "refusals": ", ".join(refused),
            "empty_tables": [],
        }

    def sample(self) -> Census:
        return self.census()

    def forget(self, rotation_id: str) -> None:
        (self.path.parent / f"left-of-{rotation_id}").unlink(missing_ok=True)

    def left(self) -> list[str]:
        return [f"{path} is left" for path in self.path.parent.glob("left-of-*")]

    def refusal(self, census: Census) -> str:
        return f"{self.name}: {census['refusals']} cannot be turned" if census["refused"] else ""

    def backup(self, folder: Path, online: bool) -> Backup:
        copy = folder / "backup.json"
        durable.write_file(copy, self.path.read_bytes())
        return {"path": str(copy), "bytes": copy.stat().st_size, "sha256": digest(copy)}

    def recall(self, folder: Path, prepared: Mapping[str, Any] | None) -> bool:
        self.prepared = folder / "prepared.json"
        self.recalled = prepared is not None and digest(self.prepared) == prepared["sha256"]
        return self.recalled

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        known = dict(json.loads(self.prepared.read_text())) if self.recalled else {}
        missing = {item: stored for item, stored in self._read().items() if item not in known}
        item = next(iter(missing))
        known[item] = self._turn(missing[item], "new")
        durable.write_file(self.prepared, json.dumps(known).encode())
        time.sleep(0.001)  # a rate is told of it
        return Prepared(1, 1, len(missing) == 1)

    def marks(self, finished: bool) -> dict[str, Any]:
        return {"sha256": digest(self.prepared)}

    def check_unused(self) -> None:
        pass

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        known = json.loads(self.prepared.read_text()) if self.recalled and to == "new" else {}
        held = self._read()
        turned = {item: self._turn(stored, to) for item, stored in held.items() if self._side(stored) == other(to)}
        self.path.write_text(json.dumps(held | turned))
        return {"turned": len(turned), "on_the_fly": len(turned.keys() - known.keys()), "left": ""}

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        held = self._read()
        turned = self.switch(to)["turned"]
        return Online(len(held), turned, finished=True)

    def opened_before(self, seconds: float) -> list[str]:
        return []

    def residue(self) -> list[str]:
        return ["the notes leave nothing behind"]

    def restore(self, folder: Path, backup: Mapping[str, Any], scratch: Path) -> int:
        shutil.copyfile(folder / "backup.json", scratch / "notes.json")
        copy = JsonRows(MIGRATION, scratch, ["K"], {"old": {"K": self.keys["old"]}}, ())
        assert not copy.census()["refused"]
        return len(copy._read())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def opened(
    spec: Mapping[str, Any],
    root: Path,
    variables: Sequence[str],
    values: Mapping[Side, Mapping[str, str]],
    accepted: Collection[str],
) -> RowStore:
    return JsonRows(spec, root, variables, values, accepted)


KIND = rows.Kind(
    options={"file": {"type": "path"}},
    required=["file"],
    forms=("sealed",),
    probe="json_rows",
    places=lambda spec, root: [root / spec["file"]],
    code=lambda: opened,
)


def anew(module: ModuleType) -> Any:
    """The module once more, as it is where the table has the entry from the start."""
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_anew", str(module.__file__))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The catalogue's entry of a secret with such rows, while the table has their kind."""
    monkeypatch.setitem(rows.KINDS, "json_rows", KIND)
    monkeypatch.setattr(probes, "PROBES", anew(probes).PROBES)
    spec = anew(catalogue).ENTRY
    yield validated("entry", spec, ENTRY | {"migration": MIGRATION, "probes": [{"kind": "json_rows"}]})


class Notes:
    """An application with four notes under a key, and nothing that runs."""

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        self.app, self.state, self.entry = folder / "app", folder / "state", entry
        self.app.mkdir()
        self.env("first-key")
        self.write({name: f"first-key:{name}" for name in "abcd"})

    def env(self, key: str) -> None:
        (self.app / ".env").write_text(f"NOTES_KEY={key}\n")
        (self.app / ".env").chmod(0o600)

    def key(self) -> str:
        return (self.app / ".env").read_text().strip().removeprefix("NOTES_KEY=")

    def write(self, notes: Mapping[str, str]) -> None:
        (self.app / "notes.json").write_text(json.dumps(notes))
        (self.app / "notes.json").chmod(0o600)

    def notes(self) -> dict[str, str]:
        return dict(json.loads((self.app / "notes.json").read_text()))

    def rotation(self, **more: Any) -> Rotation:
        given = {"rotation_id": ROTATION_ID, "environment": "test", "reason": "planned", "operator": "tester"}
        given |= {"secret": "notes_key", "entry": self.entry, "services": {}}
        return Rotation(**given, app_root=self.app, app_user=None, state_dir=self.state, **more)

    def journal(self) -> Journal:
        found = self.rotation().application.get(ROTATION_ID)
        assert found is not None
        return found


def test_a_rotation_ends_on_the_new_value(tmp_path: Path, entry: dict[str, Any]) -> None:
    app = Notes(tmp_path, entry)
    staged = stage.run(app.rotation())["rotation"]
    assert staged["rows"] == {"sealed": 4} and "the notes were looked at" in staged["findings"]
    said = []
    while "progress" in (result := turn.run(app.rotation(), "proved")):
        said.append((result["progress"]["done"], result["progress"]["total"]))
    assert said == [(1, 4), (2, 4), (3, 4)]
    assert result["rotation"]["turned"] == {"turned": 4, "on_the_fly": 0, "left": ""}
    shown = [line for line in result["rotation"]["proofs"] if line["proof"] == "rows"]
    assert [(line["subject"], line["verdict"]) for line in shown] == [("notes.json", "accepted")]
    assert "the notes leave nothing behind" in result["rotation"]["findings"]
    new = app.key()
    assert new != "first-key" and app.notes() == {name: f"{new}:{name}" for name in "abcd"}
    ended = commit.run(app.rotation(), "both")["rotation"]
    assert ended["outcome"] == "committed" and ended["evidence"]["backup"] == {"ok": True, "rows": 4}
    assert {path.name for path in app.journal().folder.iterdir()} == {"journal.json", "previous.json", "backup.json"}
    assert "rows       4 sealed" in report_text._host(ended, 60)  # type: ignore[arg-type]
    assert holdings_info.run([app.rotation()])["verified"]["notes_key"]["rows"] == {"sealed": 4}


@pytest.mark.parametrize("until", ["prepared", "switched", "proved"])
def test_a_rotation_goes_back_with_what_was_written_since(tmp_path: Path, entry: dict[str, Any], until: str) -> None:
    app = Notes(tmp_path, entry)
    stage.run(app.rotation())
    while "progress" in turn.run(app.rotation(), until):
        pass
    app.write(app.notes() | {"late": f"{app.key()}:late"})
    assert rollback.run(app.rotation(), "a test", abandon_commit=False)["rotation"]["outcome"] == "rolled_back"
    assert app.key() == "first-key"
    assert app.notes() == {name: f"first-key:{name}" for name in [*"abcd", "late"]}
    assert not app.journal().kept("prepared")


@pytest.mark.parametrize("way", ["forward", "back"])
def test_a_list_of_keys_needs_one_method_more(tmp_path: Path, entry: dict[str, Any], way: str) -> None:
    entry |= {"overlap": "key_list", "key_list": {"separator": ",", "grace_seconds": 0}}
    app = Notes(tmp_path, entry)
    stage.run(app.rotation())
    turn.run(app.rotation(), "turned" if way == "back" else "proved")
    if way == "back":
        rollback.run(app.rotation(), "a test", abandon_commit=False)
        assert app.key() == "first-key" and app.notes() == {name: f"first-key:{name}" for name in "abcd"}
        return
    assert app.notes() == {name: f"{app.key()}:{name}" for name in "abcd"}
    assert commit.run(app.rotation(), "both")["rotation"]["outcome"] == "committed"


def test_what_was_prepared_and_changed_by_another_is_not_gone_on_with(tmp_path: Path, entry: dict[str, Any]) -> None:
    app = Notes(tmp_path, entry)
    stage.run(app.rotation())
    turn.run(app.rotation(), "proved")
    (prepared,) = app.journal().kept("prepared")
    prepared.write_text('{"a": "of somebody else"}')
    assert turn.run(app.rotation(), "proved")["rotation"]["prepared"]["read"] == 1


def test_its_refusal_stops_the_stage_and_its_data_is_watched(tmp_path: Path, entry: dict[str, Any]) -> None:
    app = Notes(tmp_path, entry)
    app.write({"a": "of no key:a"})
    with pytest.raises(KeyturnError, match=r"notes\.json: a cannot be turned"):
        stage.run(app.rotation())
    assert not app.state.exists()
    (app.app / "notes.json").chmod(0o644)
    told = [one["what"] for one in storage.look([app.rotation()], production=False)["findings"]]
    assert f"{app.app}/notes.json is open to every user" in told
    (app.app / ".env").write_text("")
    assert app.rotation().is_used(held=False), "data that depends on the value is there"


def test_the_catalogue_takes_what_the_table_says(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = anew(catalogue).ENTRY
    with pytest.raises(KeyturnError, match="json_rows but all of the following are missing: file"):
        validated("entry", spec, ENTRY | {"migration": {"kind": "json_rows"}})
    asked: list[str] = []
    own = SimpleNamespace(check=lambda where, entry: asked.append(where))
    monkeypatch.setitem(sys.modules, f"{rows.__name__}.json_rows_meaning", own)  # type: ignore[arg-type]
    meaning._check_rows("here", entry)
    assert asked == ["here"]
    with pytest.raises(KeyturnError, match="here: probe json_rows needs the migration json_rows"):
        meaning._check_rows("here", entry | {"migration": {"kind": "none"}})


def test_a_store_need_not_know_tokens(tmp_path: Path, entry: dict[str, Any]) -> None:
    store = Notes(tmp_path, entry).rotation().migration({"NOTES_KEY": "first-key"}, None)
    assert store is not None
    with pytest.raises(KeyturnError, match=r"notes\.json: keyturn replaces no tokens in rows of the kind json_rows"):
        tokens.of("json_rows", store)


def test_the_forms_that_a_store_counts_are_those_of_the_table() -> None:
    counted = {*fernet_forms.FORMS, fernet_forms.JSON}
    assert counted == set(rows.KINDS["fernet_sqlite"].forms) == set(rows.KINDS["fernet_postgresql"].forms)


def test_options_of_two_stores_do_not_differ_under_one_name() -> None:
    options = [(name, option) for kind in rows.KINDS.values() for name, option in kind.options.items()]
    assert all(option is dict(options)[name] for name, option in options) and "kind" not in dict(options)
    assert all((LOGIC / f"ground/rows/{name}_meaning.py").exists() for name in rows.KINDS)


# -- only ground/rows knows what a store is made of ----------------------------------------------------------------------

LIBRARIES = {"sqlite3", "cryptography"}
WORDS = re.compile(
    r"sqlite|fernet|vacuum|\browid|\bwal\b|\bside.?file|backup\.db|prepared\.db|database\.(path|size|files)", re.I
)
# a generator's name: a key is made by it whatever it is for
GENERATED = re.compile(
    r"""fernet["']?, ["']?hex["']?, ["']?password["']?, ["']?token_urlsafe|kind: fernet|new Fernet key"""
)
# what no repository may take in, by the names that people give it
REPOSITORY = LOGIC / "ground/repository.py"
OUTSIDE = [
    path
    for path in sorted([*LOGIC.rglob("*.py"), *(ROOT / "library").glob("*.py"), *(ROOT / "plugins").rglob("*.py")])
    if not path.is_relative_to(LOGIC / "ground/rows")
]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = node.names if isinstance(node, ast.Import) else []
        found = [name.name for name in names] + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        yield from (name.partition(".")[0] for name in found)


def test_only_row_stores_import_what_they_are_made_of() -> None:
    assert len(OUTSIDE) > 200
    assert {path.name for path in OUTSIDE if LIBRARIES & {*imported(path)}} == {"generate.py"}


def test_only_row_stores_use_their_words() -> None:
    told = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in OUTSIDE
        if path not in (LOGIC / "base/generate.py", REPOSITORY)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WORDS.search(line) and not GENERATED.search(line)
    ]
    assert told == []
