"""A JSON consumer: its forms, and no byte but the values changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground import consumers
from keyturn.ground.consumers import Consumer, json_file

KEYS = {"ALPACA_API_KEY": "api_key", "ALPACA_SECRET_KEY": "secret_key"}
NAMES = list(KEYS)
LAYOUT = json_file.Layout(KEYS, {name: [f"env:{name}"] for name in NAMES})
OLD = {"ALPACA_API_KEY": "PKOLD-canary-1", "ALPACA_SECRET_KEY": "old-canary-2"}
NEW = {"ALPACA_API_KEY": "PKNEW-canary-3", "ALPACA_SECRET_KEY": 'new"canary\\4'}
TEXT = (
    '{\r\n\t"paper" : true,\n  "api_key":%s , "nested": {"api_key": "mine", "é": [1.50, 1e3]},\n'
    '  "secret_key" :%s\n}\n\n'
)
FORMS = ("environment", "literal", "reference")


def text(api_key: Any, secret_key: Any) -> bytes:
    return (TEXT % (json.dumps(api_key), json.dumps(secret_key))).encode()


def wanted(form: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", [text("", ""), text("env:ALPACA_API_KEY", ""), text(*OLD.values()), text(None, "")])
def test_each_form_is_written_and_no_other_byte_changes(before: bytes, form: str) -> None:
    after = json_file.replace(before, LAYOUT, NEW, wanted(form))
    assert json_file.forms(after, LAYOUT, NAMES) == wanted(form)
    assert json_file.read(after, LAYOUT, NAMES) == (NEW if form == "literal" else dict.fromkeys(NAMES))
    found = json.loads(after)
    for name, key in KEYS.items():
        held = found.pop(key) or ""
        assert held == {"environment": "", "literal": NEW[name], "reference": f"env:{name}"}[form]
    head, middle, tail = (TEXT.split("%s")[part].encode() for part in range(3))
    assert after.startswith(head)
    assert middle in after
    assert after.endswith(tail)
    assert json_file.replace(after, LAYOUT, NEW, wanted(form)) == after


def test_going_back_gives_the_same_bytes() -> None:
    before = text(OLD["ALPACA_API_KEY"], "env:ALPACA_SECRET_KEY")
    forms = json_file.forms(before, LAYOUT, NAMES)
    assert forms == {"ALPACA_API_KEY": "literal", "ALPACA_SECRET_KEY": "reference"}
    for form in FORMS:
        after = json_file.replace(before, LAYOUT, NEW, wanted(form))
        assert json_file.replace(after, LAYOUT, OLD, forms) == before


def test_an_absent_key_stays_absent_where_the_environment_counts() -> None:
    assert json_file.replace(b"{}", LAYOUT, NEW, wanted("environment")) == b"{}"
    with pytest.raises(KeyturnError, match=r'^the key api_key is absent: add "api_key": ""'):
        json_file.replace(b"{}", LAYOUT, NEW, wanted("literal"))


def test_the_findings_name_keys_and_forms_and_no_value() -> None:
    content = text(OLD["ALPACA_API_KEY"], "env:ALPACA_SECRET_KEY").replace(b"mine", OLD["ALPACA_SECRET_KEY"].encode())
    found = json_file.findings(content, LAYOUT, NAMES, OLD.values(), wanted("environment"))
    assert found == [
        "api_key holds the value itself, which wins over the environment",
        "api_key will be written in the form environment",
        "secret_key is a reference, which today's application sends as it stands",
        "secret_key will be written in the form environment",
        "nested.api_key still holds a secret value; remove it there",
    ]
    assert json_file.findings(text("", ""), LAYOUT, NAMES, OLD.values(), wanted("environment")) == []


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b"\xef\xbb\xbf{}", b'{"a": 1,}', b""])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    for call in (
        lambda: json_file.read(content, LAYOUT, NAMES),
        lambda: json_file.replace(content, LAYOUT, NEW, wanted("literal")),
    ):
        with pytest.raises(KeyturnError, match=r"^this is not a JSON object in UTF-8: mend it"):
            call()


def test_a_number_is_refused() -> None:
    with pytest.raises(KeyturnError, match=r"^the key api_key is no text"):
        json_file.read(b'{"api_key": 1}', LAYOUT, NAMES)


# a key that stands twice, of which the last counts
TWICE = [
    '{"api_key": %s, "api_key": ""}',
    '{"api_key": %s, "api_key": "env:ALPACA_API_KEY"}',
    '{"api_key": "", "api_key": %s}',
]


@pytest.mark.parametrize("document", TWICE)
def test_a_value_that_another_of_its_name_hides_is_turned_as_well(document: str) -> None:
    old, new = ((document % json.dumps(held["ALPACA_API_KEY"])).encode() for held in (OLD, NEW))
    assert json_file.replace(old, LAYOUT, NEW, wanted("kept") | {"ALPACA_SECRET_KEY": "environment"}) == new
    assert json_file.replace(new, LAYOUT, OLD, wanted("kept") | {"ALPACA_SECRET_KEY": "environment"}) == old
    assert OLD["ALPACA_API_KEY"].encode() not in json_file.replace(old, LAYOUT, NEW, wanted("environment"))


def test_half_of_a_character_is_refused() -> None:
    with pytest.raises(KeyturnError, match=r"^the key api_key holds half of a character"):
        json_file.read(rb'{"api_key": "\ud83d"}', LAYOUT, NAMES)
    assert json_file.read(rb'{"api_key": "\ud83d\ude00"}', LAYOUT, NAMES)["ALPACA_API_KEY"] == "\U0001f600"


DOCUMENTS = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key not in KEYS.values()),
    st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8), st.lists, max_leaves=5),
    max_size=5,
)


@given(document=DOCUMENTS, indent=st.sampled_from([None, 0, 1, "\t"]), ascii_only=st.booleans())
def test_whatever_stands_beside_the_values_stays(document: dict[str, Any], indent: Any, ascii_only: bool) -> None:
    content = json.dumps(document | {"api_key": "x", "secret_key": "y"}, indent=indent, ensure_ascii=ascii_only)
    try:
        before = content.encode()
    except UnicodeEncodeError:
        return
    after = json_file.replace(before, LAYOUT, NEW, wanted("literal"))
    assert json.loads(after) == document | {"api_key": NEW["ALPACA_API_KEY"], "secret_key": NEW["ALPACA_SECRET_KEY"]}
    assert (
        json_file.replace(after, LAYOUT, {"ALPACA_API_KEY": "x", "ALPACA_SECRET_KEY": "y"}, wanted("literal")) == before
    )


NESTED = json_file.Layout(
    {"ALPACA_API_KEY": "broker.api_key", "ALPACA_SECRET_KEY": "broker.api_secret"},
    {"ALPACA_API_KEY": ["${ALPACA_API_KEY}"], "ALPACA_SECRET_KEY": ["${ALPACA_SECRET_KEY}", "${ALPACA_API_SECRET}"]},
)
TREE = '{"api_key": "mine", "broker": { "a": {"api_key": 1}, "api_key": %s, "api_secret" :%s}, "z": [{"api_key": "x"}]}'


def test_a_key_in_an_object_is_turned_where_it_holds_the_value_and_a_reference_stays() -> None:
    reference = "${ALPACA_API_SECRET}"
    before = (TREE % (json.dumps(OLD["ALPACA_API_KEY"]), json.dumps(reference))).encode()
    assert json_file.forms(before, NESTED, NAMES) == {"ALPACA_API_KEY": "literal", "ALPACA_SECRET_KEY": "reference"}
    assert json_file.read(before, NESTED, NAMES) == {
        "ALPACA_API_KEY": OLD["ALPACA_API_KEY"],
        "ALPACA_SECRET_KEY": None,
    }
    after = (TREE % (json.dumps(NEW["ALPACA_API_KEY"]), json.dumps(reference))).encode()
    assert json_file.replace(before, NESTED, NEW, wanted("kept")) == after
    assert json_file.findings(before, NESTED, NAMES, OLD.values(), wanted("kept")) == [
        "broker.api_key holds the value itself, which wins over the environment"
    ]
    with pytest.raises(
        KeyturnError, match=r'^the key broker\.api_key is absent: add "api_key": "" to the object broker$'
    ):
        json_file.replace(b'{"broker": {}}', NESTED, NEW, wanted("literal"))


def test_a_reference_to_another_variable_counts_as_a_value() -> None:
    content = (TREE % ('"${ALPACA_API_KEY_2}"', '""')).encode()
    assert json_file.read(content, NESTED, NAMES)["ALPACA_API_KEY"] == "${ALPACA_API_KEY_2}"


@pytest.mark.parametrize("content", [b"{}", b'{"broker": "alpaca"}', b'{"broker": {"api_key": null}}'])
def test_an_object_that_is_not_there_leaves_it_to_the_environment(content: bytes) -> None:
    assert json_file.forms(content, NESTED, NAMES) == wanted("environment")
    assert json_file.replace(content, NESTED, NEW, wanted("kept")) == content


# -- as a consumer, and second names in `.env` -------------------------------------------------------------------------


def test_a_file_that_leaves_the_value_to_the_environment_holds_none(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text("", "env:ALPACA_SECRET_KEY"))
    consumer = Consumer("json", path, keys=KEYS, forms=wanted("environment"), references=LAYOUT.references)
    assert consumers.read(consumer, NAMES) == {}
    consumers.check_writable(consumer, OLD)
    consumers.replace(consumer, NEW)
    assert consumers.forms(consumer, NAMES) == wanted("environment")


def test_a_file_that_is_nested_too_deeply_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"api_key": "x", "more": ' + "[" * 10_000 + "]" * 10_000 + "}")
    consumer = Consumer("json", path, keys=KEYS, forms=wanted("kept"), references=LAYOUT.references)
    with pytest.raises(KeyturnError, match=f"^{path}: it is nested too deeply"):
        consumers.read(consumer, NAMES)


ALIASES = {"ALPACA_API_SECRET": "ALPACA_SECRET_KEY"}


def test_a_second_name_is_replaced_with_the_first(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("ALPACA_API_KEY=a\nALPACA_API_SECRET='old'\nALPACA_SECRET_KEY=old\n")
    consumer = Consumer("dotenv", path, ALIASES)
    assert consumers.read(consumer, NAMES) == {"ALPACA_API_KEY": "a", "ALPACA_SECRET_KEY": "old"}
    consumers.check_writable(consumer, {"ALPACA_API_KEY": "a", "ALPACA_SECRET_KEY": "old"})
    consumers.replace(consumer, {"ALPACA_API_KEY": "b", "ALPACA_SECRET_KEY": "new"})
    assert path.read_text() == "ALPACA_API_KEY=b\nALPACA_API_SECRET='new'\nALPACA_SECRET_KEY=new\n"


def test_a_second_name_that_is_absent_stays_absent_and_one_that_differs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("ALPACA_API_KEY=a\nALPACA_SECRET_KEY=old\n")
    consumer = Consumer("dotenv", path, ALIASES)
    consumers.replace(consumer, {"ALPACA_API_KEY": "a", "ALPACA_SECRET_KEY": "new"})
    assert path.read_text() == "ALPACA_API_KEY=a\nALPACA_SECRET_KEY=new\n"
    path.write_text("ALPACA_API_KEY=a\nALPACA_SECRET_KEY=one\nALPACA_API_SECRET=two\n")
    with pytest.raises(
        KeyturnError, match="ALPACA_API_SECRET is a second name of ALPACA_SECRET_KEY and holds another value"
    ):
        consumers.read(consumer, NAMES)
