"""YAML settings: read as PyYAML reads them, single scalars replaced by their place, what is not clear refused by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from keyturn.base import generate
from keyturn.base.errors import KeyturnError
from keyturn.ground.consumers import yaml_file

TEXT = """\
# settings of the shop
---
database:   # where
  host: db.example
  password: 'it''s old'   # a comment stays
  pool: {size: 5, "x": [1, 2]}
  replicas:
  - {password: of-another}
  - name: b
    password: theirs
text: |
  password: not a key
  key: value
smtp:
    password: "double"
token: plain#value  # and this
list:
  - a
empty:
last: end
"""
KEYS = {
    "DB": "database.password",
    "SMTP": "smtp.password",
    "TOKEN": "token",
    "EMPTY": "empty",
    "NONE": "database.nothing",
}


def at(document: Any, key: str) -> Any:
    for part in key.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def test_a_key_is_read_as_pyyaml_reads_it() -> None:
    held = yaml_file.read(TEXT.encode(), KEYS, list(KEYS))
    assert held == {name: at(yaml.safe_load(TEXT), key) for name, key in KEYS.items()}
    assert held["DB"] == "it's old"


def test_nothing_changes_but_the_value() -> None:
    new = yaml_file.replace(TEXT.encode(), KEYS, {"DB": "n'w", "SMTP": "other", "TOKEN": "abc"})
    assert new.decode() == TEXT.replace("it''s old", "n''w").replace('"double"', '"other"').replace(
        "plain#value", "abc"
    )
    assert [at(yaml.safe_load(new), KEYS[name]) for name in ("DB", "SMTP", "TOKEN")] == ["n'w", "other", "abc"]
    assert yaml_file.replace(new, KEYS, {"DB": "it's old", "SMTP": "double", "TOKEN": "plain#value"}) == TEXT.encode()


PLACES = st.sampled_from(
    [
        *(
            "a",
            "'a b'",
            '"a b"',
            "a # c",
            "'a' # c",
            "",
            "7",
            "null",
            "&x a",
            "!!str a",
            "|\n    a",
            ">-\n    a",
            "[a]",
        ),
        *("{b: c}", "a:b", "a: b", "'it''s'", '"\\u0041"', "- a", "a\n    b", "'a\n    b'", "@a", "%a", "~", "=", "<<"),
        *("2024-01-01", "2001-12-14t21:59:43.10-05:00", "1e3", "0x1f", "0o7", "on", "-", "?", "a\tb"),
    ]
)
OTHERS = st.lists(
    st.sampled_from(
        [
            *("x: 1", "y:\n- a\n- b: c", "z: |\n  key: 1\n", "# c", "", "w: {a: b}", "v: 'x'", "u:\n  t: s", "q: *x"),
            *("p: 'a\n  top: b'", "o: [a,\n  b]", "n:\n- top:\n    key: a"),
        ]
    ),
    max_size=4,
)
VALUES = st.text(alphabet="aZ09-_=+/:#'\" ~{}&", min_size=1, max_size=12)


@given(OTHERS, PLACES, OTHERS, VALUES)
def test_whatever_stands_there_is_the_library_s_or_refused(
    before: list[str], place: str, after: list[str], value: str
) -> None:
    text = "\n".join([*before, "top:", f"  key: {place}", *after, ""])
    try:
        known = yaml.safe_load(text)
    except yaml.YAMLError:
        known = None
    try:
        held = yaml_file.read(text.encode(), {"K": "top.key"}, ["K"])["K"]
    except KeyturnError:
        return
    assume(known is not None)
    assert held == (known["top"]["key"] or None), text
    try:
        new = yaml_file.replace(text.encode(), {"K": "top.key"}, {"K": value})
    except KeyturnError:
        return
    changed = yaml.safe_load(new)
    assert changed["top"].pop("key") == value, text
    known["top"].pop("key")
    assert changed == known


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("&a x", "has an anchor, a tag"),
        ("*a", "has an anchor, a tag"),
        ("!!str x", "has an anchor, a tag"),
        ("|\n  x", "has an anchor, a tag"),
        ("a\n  b", "has an anchor, a tag"),
        ("[a]", "has an anchor, a tag"),
        ('"\\t"', "has an anchor, a tag"),
        ("7", "is no text: put quotation marks"),
        ("yes", "is no text: put quotation marks"),
        ("x\nkey: y", "stands there twice"),
        ("x\n---\nother: 1", "several documents"),
        ("x\n\tother: 1", "indented by a tab"),
    ],
)
def test_what_is_not_clear_is_refused_by_name(place: str, said: str) -> None:
    with pytest.raises(KeyturnError, match=said):
        yaml_file.read(f"key: {place}\n".encode(), {"K": "key"}, ["K"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a", "7"),
        ("a", "x: y"),
        ("a", "*a"),
        ("a", " a"),
        ("a", "a #b"),
        ('"a"', 'x"y'),
        ("a", "a\nb"),
        ("a", "no"),
        ("a", "-.5"),
        ("a", "- a"),
    ],
)
def test_a_value_that_would_be_read_otherwise_is_not_written(old: str, new: str) -> None:
    with pytest.raises(KeyturnError, match="the new value of K"):
        yaml_file.replace(f"key: {old}\n".encode(), {"K": "key"}, {"K": new})


def test_a_value_may_begin_with_a_hyphen() -> None:
    """One in 64 of those that are generated does."""
    new = yaml_file.replace(b"key: a\n", {"K": "key"}, {"K": "-aZ_9"})
    assert yaml.safe_load(new) == {"key": "-aZ_9"} and yaml_file.read(new, {"K": "key"}, ["K"]) == {"K": "-aZ_9"}


# a float of YAML 1.2, which PyYAML, of 1.1, takes for a text
FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?e[-+]?[0-9]+", re.I)


@given(
    st.one_of(
        st.from_regex(r"[0-9a-fA-F]{4,64}", fullmatch=True),
        st.from_regex(r"[0-9]{1,9}[eE.x:_-]?[0-9]{1,9}", fullmatch=True),
    )
)
def test_hexadecimal_digits_are_a_text_unless_yaml_takes_them_for_a_number(value: str) -> None:
    """Two of three keys that are generated as such begin with a digit."""
    text = isinstance(yaml.safe_load(f"key: {value}\n")["key"], str) and not FLOAT.fullmatch(value)
    try:
        new = yaml_file.replace(b"key: a\n", {"K": "key"}, {"K": value})
        assert yaml_file.read(new, {"K": "key"}, ["K"]) == {"K": value}
        assert text, value
    except KeyturnError as refused:
        assert "would be no text there: put quotation marks" in str(refused)
        assert not text or re.fullmatch(r"[0-9_:.x-]+", value), value


def test_keys_of_hexadecimal_digits_go_there() -> None:
    for _ in range(100):
        value = generate.hexadecimal()
        new = yaml_file.replace(b"key: abc # of 64 digits\n", {"K": "key"}, {"K": value})
        assert new == f"key: {value} # of 64 digits\n".encode() and yaml.safe_load(new) == {"key": value}


def test_another_key_that_holds_the_value_is_told_without_it() -> None:
    found = yaml_file.findings(b"key: hush\nother: x-hush\n", {"K": "key"}, ["K"], ["hush"])
    assert found == ["another key still holds a secret value; remove it there"]
