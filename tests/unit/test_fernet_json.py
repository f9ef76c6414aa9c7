"""A column of JSON with tokens at declared paths: they turn, there and back, and no other byte of a text does."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn.base import json_text
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import fernet_sqlite, sqlite_file
from keyturn.ground.rows.fernet_forms import Opened, Turner, fernet
from keyturn.ground.rows.fernet_json import JsonPages
from keyturn.ground.rows.fernet_sqlite import FernetSqlite
from keyturn.ground.rows.fernet_tokens import FernetTokens
from keyturn.ground.rows.side_file import SideFile

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))
PATHS = ["secret", "banks[*].login.token"]


def token(plaintext: str = "access-x", key: str = OLD) -> str:
    return Fernet(key).encrypt(plaintext.encode()).decode()


class Data:
    """A database with the table t (id, doc), both keys, and a side file."""

    def __init__(self, folder: Path, *paths: str, **rows: Any) -> None:
        self.path, self.side = folder / "b.db", SideFile(folder / "side.db")
        declared = {"table": "t", "key": ["id"], "column": "doc", "plaintext": "^access-"}
        declared |= {"paths": [*paths] or PATHS}
        self.both = FernetSqlite(
            {"database": "b.db", "columns": [declared]}, folder, "KEY", {"old": OLD, "new": NEW}, ("accepted",)
        )
        with self.open() as connection:
            connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, doc)")
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows.items())

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            yield connection

    def put(self, item: str, doc: Any) -> None:
        with self.open() as connection:
            connection.execute("UPDATE t SET doc = ? WHERE id = ?", (doc, item))

    def rows(self) -> dict[str, Any]:
        with self.open() as connection:
            return dict(connection.execute("SELECT id, doc FROM t"))


def around(doc: str, key: str) -> tuple[str, list[str]]:
    """A text with its tokens taken out, and what they protect under one key."""
    pieces = doc.split('"')
    held = [Fernet(key).decrypt(one).decode() for one in pieces if one.startswith("gAAAAA")]
    return '"'.join("" if one.startswith("gAAAAA") else one for one in pieces), held


def documents(key: str = OLD) -> dict[str, Any]:
    two = f'[{{"login" : {{"token":"{token("access-1", key)}"}}}}, {{"login":{{ "token" : "{token("access-2", key)}" }}, "n":1e2}}]'
    return {
        "plain": f'{{"secret": "{token("access-3", key)}", "n": 1.50, "ü": "\\u00e9"}}\n',
        "nested": f'{{"banks":{two},\t"secret":null}}',
        "all": f'{{"secret":"{token("access-4", key)}","banks":{two}}}',
        "bytes": json.dumps({"secret": token("access-5", key)}).encode(),
    }


EMPTY = {"null": None, "nothing": "", "absent": '{"a": 1}', "none": '{"secret": null, "banks": []}', "other": "[1, 2]"}


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "on the fly"])
@pytest.mark.parametrize("many", [0, 120])
def test_tokens_turn_there_and_back_and_nothing_else(tmp_path: Path, prepared: bool, many: int) -> None:
    more = {f"m{number}": json.dumps({"secret": token(f"access-m{number}"), "k": number}) for number in range(many)}
    data = Data(tmp_path, **documents(), **EMPTY, **more)
    before = data.rows()
    census = data.both.census()
    assert census["rows"] == {"two_layer": 0, "one_layer": 0, "plaintext": 0, "empty": 5, "json": 4 + many}
    assert (census["under"], data.both.check_census(census, [])) == ({"old": 4 + many, "new": 0}, [])
    if prepared:
        assert data.both.prepare(data.side, False).staged == 4 + many
    side = data.side if prepared else None
    assert data.both.switch("new", side)["turned"] == 4 + many
    after = data.rows()
    for item, doc in before.items():
        if item in EMPTY:
            assert after[item] == doc
        else:
            was, now = (doc.decode(), after[item].decode()) if isinstance(doc, bytes) else (doc, after[item])
            assert around(now, NEW) == around(was, OLD)
    assert data.both.open_rows()["under"] == {"old": 0, "new": 4 + many}
    assert data.both.residue() == {}
    assert data.both.switch("new", side)["turned"] == 0, "a repetition changes nothing"
    data.both.switch("old", side)
    assert (data.rows() == before) is prepared
    assert data.both.open_rows()["under"] == {"old": 4 + many, "new": 0}


def test_a_text_that_is_one_string_is_turned_between_its_quotes(tmp_path: Path) -> None:
    data = Data(tmp_path, "$", one=f' "{token("access-1")}"\n', none="null")
    assert data.both.check_census(data.both.census(), []) == []
    assert data.both.switch("new", None)["turned"] == 1
    assert data.rows()["none"] == "null"
    assert around(data.rows()["one"], NEW) == (' ""\n', ["access-1"])
    data.put("one", '["x"]')
    with pytest.raises(KeyturnError, match="holds no text at "):
        data.both.check_census(data.both.census(), [])


@pytest.mark.parametrize("to", ["old", "new"])
@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "on the fly"])
def test_a_text_with_tokens_of_both_keys_loses_none(tmp_path: Path, to: Any, prepared: bool) -> None:
    data = Data(tmp_path, **documents())
    if prepared:
        data.both.prepare(data.side, False)
    mixed = f'{{"secret": "{token("access-a", OLD)}", "banks": [{{"login": {{"token": "{token("access-b", NEW)}"}}}}]}}'
    data.put("plain", mixed)
    assert data.both.open_rows()["under"] == {"old": 4, "new": 1}
    if prepared:
        (data.side.path).unlink()
        data.both.prepare(data.side, False)
    data.both.switch("new", data.side if prepared else None)
    if to == "old":
        data.both.switch("old", data.side if prepared else None)
    assert around(data.rows()["plain"], {"old": OLD, "new": NEW}[to])[1] == ["access-a", "access-b"]


def test_rows_that_the_application_writes_between_are_turned(tmp_path: Path) -> None:
    data = Data(tmp_path, **documents())
    data.both.prepare(data.side, False)
    data.put("all", json.dumps({"secret": token("access-late")}, indent=2))
    assert data.both.switch("new", data.side)["on_the_fly"] == 1
    assert around(data.rows()["all"], NEW) == ('{\n  "secret": ""\n}', ["access-late"])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no JSON": (lambda: f"secret={token()}", "is no JSON"),
    "cut off": (lambda: f'{{"secret": "{token()}"', "is no JSON"),
    "a key twice": (lambda: f'{{"secret": "{token()}", "secret": "{token()}"}}', "has a key twice in one object"),
    "a token elsewhere": (lambda: json.dumps({"other": token()}), "token of this key at a place that is not declared"),
    "a token in a key": (
        lambda: json.dumps({token(): 1}),
        "at a place that is not declared.*declare its place as well",
    ),
    "an escaped token elsewhere": (
        lambda: json.dumps({"other": token()}).replace("gAAAAA", "\\u0067AAAAA"),
        "at a place that is not declared",
    ),
    "a token in a text elsewhere": (lambda: json.dumps({"x": f"see {token()}!"}), "at a place that is not declared"),
    "JSON in JSON": (lambda: json.dumps({"x": json.dumps({"secret": token()})}), "at a place that is not declared"),
    "longer than a token": (lambda: json.dumps({"secret": token() + "!"}), "at secret begins with a token of this key"),
    "of another key": (
        lambda: json.dumps({"banks": [{}, {"login": {"token": token(key=FOREIGN)}}]}),
        r"at banks\[1\]\.login\.token opens under neither.*stop it",
    ),
    "another shape": (
        lambda: json.dumps({"secret": token("odd")}),
        "at secret opens under the old value, but its plaintext",
    ),
    "no text": (lambda: '{"secret": 12}', "holds no text at secret"),
    "a list": (lambda: json.dumps({"secret": [token()]}), "at a place that is not declared|holds no text at secret"),
    "a number": (lambda: 12, "is a number, not text"),
    "not UTF-8": (lambda: b'{"secret": "\xff"}', "is text that is not valid UTF-8"),
    "half a character": (lambda: '{"secret": "\\ud800"}', "at secret is text that is not valid UTF-8"),
    "nested for ever": (lambda: "[" * 50_000, "nested too deeply"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_turned_is_refused_by_its_row(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    data = Data(tmp_path, **documents(), odd=make())
    before = data.path.read_bytes()
    for call in (
        lambda: data.both.check_census(data.both.census(), []),
        lambda: data.both.prepare(data.side, False),
        lambda: data.both.switch("new", None),
    ):
        with pytest.raises(KeyturnError, match=f"1 rows cannot be turned.*t.doc of 'odd' .*({message})") as refused:
            call()
        assert "gAAAAA" not in str(refused.value) and "access-" not in str(refused.value)
        assert data.path.read_bytes() == before


def test_a_row_of_another_shape_is_turned_when_a_person_says_that_it_is_right(tmp_path: Path) -> None:
    data = Data(tmp_path, accepted=json.dumps({"secret": token("odd")}))
    data.both.prepare(data.side, False)
    data.both.switch("new", data.side)
    assert around(data.rows()["accepted"], NEW)[1] == ["odd"]


def test_plaintexts_stay_and_are_counted(tmp_path: Path) -> None:
    doc = json.dumps({"secret": "access-plain", "banks": [{"login": {"token": token()}}]})
    data = Data(tmp_path, odd=doc, **documents())
    assert data.both.open_rows()["rows"]["plaintext"] == 1
    with pytest.raises(
        KeyturnError, match=r"t\.doc is JSON: unset keyturn_encrypt_plaintext_rows, its plaintext stays"
    ):
        data.both.prepare(data.side, True)
    data.both.switch("new", None)
    assert json.loads(data.rows()["odd"])["secret"] == "access-plain"


def test_a_token_in_json_is_not_taken_for_one_of_the_provider(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match=r"t\.doc is JSON, and a token in it cannot be replaced"):
        FernetTokens(Data(tmp_path, **documents()).both).items()


DAMAGE: dict[str, Callable[[str], str]] = {
    "another number": lambda doc: doc.replace("1.50", "1.5"),
    "another space": lambda doc: doc.replace(": ", ":"),
    "a token for another": lambda doc: doc.replace(doc.split('"')[3], token("access-other", NEW)),
    "no token": lambda doc: doc.replace(doc.split('"')[3], ""),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_row_that_would_hold_something_else_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[str], str]
) -> None:
    data = Data(tmp_path, **documents())
    before = data.rows()
    write = sqlite_file.write
    wrong = lambda connection, target, goals: write(  # noqa: E731
        connection, target, [(row, damage(new) if row.item == "plain" else new) for row, new in goals]
    )
    monkeypatch.setattr(fernet_sqlite, "write", wrong)
    with pytest.raises(KeyturnError, match=r"the check before the commit failed.*would not hold the plaintext"):
        data.both.switch("new", None)
    assert data.rows() == before


def test_a_sealed_text_that_does_not_open_again_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(tmp_path, **documents())
    splice = json_text.splice
    longer = lambda content, pairs: splice(content, pairs) + " " * any(new for _, new in pairs)  # noqa: E731
    monkeypatch.setattr(json_text, "splice", longer)
    with pytest.raises(KeyturnError, match="a new ciphertext did not open again"):
        data.both.prepare(data.side, False)


values = st.recursive(
    st.none() | st.integers() | st.booleans() | st.text(max_size=5) | st.sampled_from(["OLD", "NEW", "OTHER"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["secret", "banks", "login", "token", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(values, st.booleans())
def test_whatever_a_text_holds_it_is_turned_whole_or_refused(value: Any, spaced: bool) -> None:
    text = json.dumps(value, indent=1 if spaced else None)
    for name, key in (("OLD", OLD), ("NEW", NEW), ("OTHER", FOREIGN)):
        while f'"{name}"' in text:
            text = text.replace(f'"{name}"', json.dumps(token(f"access-{name}", key)), 1)
    turner = Turner({"old": fernet("K", OLD), "new": fernet("K", NEW)}, "^access-")
    pages = JsonPages(turner, {"old": OLD, "new": NEW}, PATHS)
    (opened,) = pages.open([text])
    if not isinstance(opened, Opened):
        assert "gAAAAA" not in str(opened)
        return
    for to, key in (("new", NEW), ("old", OLD)):
        (turned,) = pages.turn([(text, opened)], to)  # type: ignore[list-item]
        (again,) = pages.open([turned])
        assert isinstance(again, Opened) and again.plaintext == opened.plaintext
        assert not again.under("old" if to == "new" else "new")
        assert (turned == text) or key != FOREIGN
