"""Strings of a JSON text, found by their paths and replaced where they stand: all else stays byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keyturn.base.json_text import PATH, NoJson, Text, read, splice

TOKEN = "gAAAAABn-_x="
keys = st.text(st.characters(exclude_characters=".[]", exclude_categories=["Cs"]), min_size=1, max_size=4)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
layouts = st.builds(
    dict,
    indent=st.sampled_from([None, 0, 3, "\t"]),
    ensure_ascii=st.booleans(),
    separators=st.sampled_from([(",", ":"), (" ,  ", "\t: ")]),
)


def leaves(found: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every path of a document with what stands there."""
    if isinstance(found, dict):
        return [one for key, inner in found.items() for one in leaves(inner, f"{path}.{key}" if path else key)]
    if isinstance(found, list):
        return [one for number, inner in enumerate(found) for one in leaves(inner, f"{path}[{number}]")]
    return [(path, found)] if path else []


@given(documents, layouts, st.data())
def test_a_string_is_replaced_and_every_other_byte_stays(
    document: Any, layout: dict[str, Any], data: st.DataObject
) -> None:
    content = json.dumps(document, **layout)
    strings = [path for path, found in leaves(document) if isinstance(found, str)]
    paths = data.draw(st.lists(st.sampled_from(strings), unique=True)) if strings else []
    assert all(PATH.fullmatch(path) for path in paths)
    found = read(content, paths)
    assert sorted(place.path for place in found.places) == sorted(paths)
    tokens = {place.path: f"{TOKEN}{number}" for number, place in enumerate(found.places)}
    new = splice(content, [(place.found, tokens[place.path]) for place in found.places])
    assert leaves(json.loads(new)) == [(path, tokens.get(path, was)) for path, was in leaves(document)]
    again = read(new, paths)
    around = [
        splice(text, [(place.found, "") for place in one.places]) for text, one in ((content, found), (new, again))
    ]
    assert around[0] == around[1]
    assert sorted(again.others) == sorted(found.others)


@given(st.text(max_size=30) | st.builds(json.dumps, documents))
@example('{"a": 1} ')
@example("[1,]")
@example("[NaN, -Infinity]")
def test_a_text_is_json_where_python_says_so(content: str) -> None:
    try:
        json.JSONDecoder().decode(content)
        good = True
    except ValueError:
        good = False
    try:
        read(content, [])
    except NoJson as reason:
        assert not good or str(reason) == "has a key twice in one object"
    else:
        assert good


ODD = (
    ' {"n": 1.50e+3, "big": 12345678901234567890, "z": -0, "a" : {"secret":"%s" , "e":"\\u00e9\\/é"},'
    ' "list":[ "x",{"s":"%s"}, null ]}\n'
)


def test_forms_of_numbers_spaces_and_escapes_stay() -> None:
    content = ODD % ("one", "two")
    found = read(content, ["a.secret", "list[*].s", "list[1].s", "list[7]", "list[2]", "nothing.there", "n.x", "a[0]"])
    assert [place.path for place in found.places] == ["a.secret", "list[1].s"]
    assert splice(content, [(place.found, TOKEN) for place in found.places]) == ODD % (TOKEN, TOKEN)
    assert {"n", "secret", "é/é", "x"} <= set(found.others)


def test_a_number_of_any_length_is_no_matter() -> None:
    content = f'{{"n": {"9" * 5000}, "s": "x"}}'
    (place,) = read(content, ["s"]).places
    assert splice(content, [(place.found, "y")]) == content.replace("x", "y")


@pytest.mark.parametrize("padding", ["=", r"\u003d", r"\u003D"])
def test_an_escaped_padding_is_escaped_again(padding: str) -> None:
    content = f'["gAAA{padding}{padding}"]'
    (place,) = read(content, ["[*]"]).places
    assert place.found == "gAAA=="
    assert splice(content, [(place.found, "gBBBBB=")]) == f'["gBBBBB{padding}"]'


def test_one_place_by_two_paths_is_one_and_what_is_no_string_is_told() -> None:
    found = read('{"a": ["x", 1, null, {"b": true}]}', ["a[*]", "a[0]", "a[3].b"])
    assert {place.path: isinstance(place.found, Text) for place in found.places}.items() >= {
        ("a[0]", True),
        ("a[3]", False),
    }
    assert len([place for place in found.places if isinstance(place.found, Text)]) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"a": 1, "a": 2}', "has a key twice"),
        (r'{"a": 1, "\u0061": 2}', "has a key twice"),
        ('[{"b": {"a": "x", "a": "x"}}]', "has a key twice"),
        ('{"a": 1} x', "is no JSON"),
        ("{'a': 1}", "is no JSON"),
        ('{"a": "b\n"}', "is no JSON"),
        ("\ufeff{}", "is no JSON"),
        ("", "is no JSON"),
        ("[" * 10_000, "nested too deeply"),
    ],
    ids=range(9),
)
def test_what_is_no_json_or_says_two_things_is_refused(content: str, why: str) -> None:
    with pytest.raises(NoJson, match=why):
        read(content, ["a"])


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a[", "a[]", "a[-1]", "a[1]b", "a[*", "$.a[?]"])
def test_what_is_no_path(path: str) -> None:
    assert not PATH.fullmatch(path)


@pytest.mark.parametrize("path", ["a", "a.b", "a[0]", "[*]", "[1][2].x", "a b.ü", "a[*].b[3]"])
def test_what_is_a_path(path: str) -> None:
    assert PATH.fullmatch(path)
