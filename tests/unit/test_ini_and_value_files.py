"""INI files, files of one value and passwords in URLs: each as the format's own library reads it, and no other byte changes."""

from __future__ import annotations

import configparser
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground.consumers import ini_file, url, value_file

TEXT = """\
# a comment = not an option
[DEFAULT]
fernet_key = of-all

; another
[core]
  fernet_key = old-key   \n\
Other: kept
path = /srv/x=y:z
long = one
  two

[database]
sql_alchemy_conn=postgresql://a:b@h/d\r
empty =
"""
LAYOUT = ini_file.Layout(
    "core", {"KEY": "Fernet_Key", "OTHER": "other", "PATH": "path", "LONG": "long", "NONE": "nothing"}
)


def oracle(content: bytes) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(content.decode())
    return parser


def test_an_option_is_read_as_configparser_reads_it() -> None:
    held = ini_file.read(TEXT.encode(), LAYOUT, ["KEY", "OTHER", "PATH", "NONE"])
    known = oracle(TEXT.encode())["core"]
    assert held == {"KEY": known["fernet_key"], "OTHER": known["other"], "PATH": known["path"], "NONE": None}


def test_nothing_changes_but_the_value() -> None:
    new = ini_file.replace(TEXT.encode(), LAYOUT, {"KEY": "n3w=", "OTHER": "also"})
    assert new.decode() == TEXT.replace("old-key", "n3w=").replace("Other: kept", "Other: also")
    assert (oracle(new)["core"]["fernet_key"], oracle(new)["DEFAULT"]["fernet_key"]) == ("n3w=", "of-all")
    assert ini_file.replace(new, LAYOUT, {"KEY": "old-key", "OTHER": "kept"}) == TEXT.encode()


SAFE = st.text(alphabet="abcXYZ019-_=+/.~", min_size=1, max_size=44)
LINES = st.lists(
    st.sampled_from(
        [
            "",
            "# x",
            "; y",
            "[core]",
            "[other]",
            "fernet_key = 1",
            "a=2",
            "b : 3",
            "  deeper = 4",
            "c =",
            "FERNET_KEY: 5",
            "d = e # f",
        ]
    ),
    max_size=12,
)


@given(LINES, SAFE, st.sampled_from(["\n", "\r\n"]))
def test_whatever_stands_around_it(lines: list[str], value: str, end: str) -> None:
    content = end.join(["[first]", *lines, ""]).encode()
    try:
        known = oracle(content)
    except configparser.Error:
        known = None
    wanted = (
        known["core"].get("fernet_key")
        if known and known.has_section("core") and "fernet_key" in known._sections["core"]
        else None
    )
    try:
        held = ini_file.read(content, LAYOUT, ["KEY"])["KEY"]
        changed = ini_file.replace(content, LAYOUT, {"KEY": value})
    except KeyturnError:
        return
    if (
        known is None
    ):  # of several that configparser takes for one it says nothing, and no section of ours is among them
        return
    assert held == (wanted or None)
    after = oracle(changed)
    assert after["core"]["fernet_key"] == value
    known["core"]["fernet_key"] = value
    assert {name: dict(after[name]) for name in after} == {name: dict(known[name]) for name in known}
    assert len(changed) - len(content) == len(value) - len(held or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[core]\nfernet_key = a\n  b\n", "goes on in the next line"),
        ("[core]\nfernet_key = 50%%\n", "has a per cent sign"),
        ('[core]\nfernet_key = "a"\n', "has a quotation mark"),
        ("[core]\nfernet_key = a ; b\n", "has what may begin a comment"),
        ("[core]\nfernet_key = a\nfernet_KEY = b\n", "has fernet_key twice"),
        ("[core]\nfernet_key a\n", "neither a section nor an option"),
    ],
)
def test_what_readers_take_differently_is_refused(text: str, said: str) -> None:
    with pytest.raises(KeyturnError, match=said):
        ini_file.read(text.encode(), LAYOUT, ["KEY"])


@pytest.mark.parametrize("value", ["a%b", "'a'", "a #b", " a", "a\nb", "#a"])
def test_a_value_that_ini_cannot_hold_is_not_written(value: str) -> None:
    with pytest.raises(KeyturnError, match="the new value of KEY"):
        ini_file.replace(b"[core]\nfernet_key = x\n", LAYOUT, {"KEY": value})
    with pytest.raises(KeyturnError, match=r"\[core\] has no nothing: add it"):
        ini_file.replace(b"[core]\nfernet_key = x\n", LAYOUT, {"NONE": "x"})


def test_another_option_that_holds_the_value_is_told_without_it() -> None:
    text = b"[core]\nfernet_key = hush\n[old]\ncopy = x-hush\n"
    assert ini_file.findings(text, LAYOUT, ["KEY"], ["hush"]) == [
        "an option of [old] still holds a secret value; remove it there"
    ]


# -- one value and nothing else --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_file_of_one_value_keeps_its_line_end(end: bytes) -> None:
    assert value_file.read(b"old" + end, ["KEY"], ["KEY", "OTHER"]) == {"KEY": "old", "OTHER": None}
    assert value_file.replace(b"old" + end, {"KEY": "new"}) == b"new" + end
    assert value_file.read(end, ["KEY"], ["KEY"]) == {"KEY": None}


@pytest.mark.parametrize("content", [b"old\n\n", b" old", b"old ", b"a\nb", b"a\0", b"\xff"])
def test_more_than_a_value_is_refused(content: bytes) -> None:
    with pytest.raises(KeyturnError, match="put the value there alone"):
        value_file.read(content, ["KEY"], ["KEY"])


@pytest.mark.parametrize("value", [" a", "a\n", "a\nb"])
def test_a_value_that_readers_would_cut_is_not_written(value: str) -> None:
    with pytest.raises(KeyturnError, match="the new value of KEY has white space around it"):
        value_file.replace(b"old", {"KEY": value})


# -- a password in a URL ---------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_password_comes_back_as_urllib_reads_it(old: str, new: str) -> None:
    text = f"postgresql+psycopg://user:{urllib.parse.quote(old, safe=url._AS_IT_IS)}@host:5432/db?sslmode=require"
    assert url.password(text) == old
    changed = url.with_password(text, new)
    parts = urllib.parse.urlsplit(changed)
    assert urllib.parse.unquote(parts.password or "") == new
    assert (parts.scheme, parts.username, parts.hostname, parts.port, parts.path, parts.query) == (
        *("postgresql+psycopg", "user", "host", 5432),
        *("/db", "sslmode=require"),
    )
    assert url.with_password(changed, old) == text


@pytest.mark.parametrize(
    "text", ["", "x", "http://host/", "http://user@host/", "http://u:a@b@host/", "http://u:a/b@host", "u:p@h"]
)
def test_what_has_no_password_is_refused(text: str) -> None:
    with pytest.raises(KeyturnError, match="its value is no URL with a user, a password and a host"):
        url.password(text)


@pytest.mark.parametrize("text", ["%41", "a%2fb", "%", "%ff", "%zz"])
def test_a_password_that_could_not_be_put_back_is_refused(text: str) -> None:
    with pytest.raises(KeyturnError, match="is not encoded as RFC 3986 wants it"):
        url.password(f"http://u:{text}@h")
