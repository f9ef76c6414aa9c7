"""The dotenv editor against its two judges: python-dotenv, and the parser of the installed systemd."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
import secrets
import subprocess
import tempfile
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values, load_dotenv
from dotenv.parser import Binding, parse_stream
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground.consumers import dotenv

NAMES = ["NAME", "OTHER", "B"]
OLD = "old-secret-value"
NEW = "gAAAAA_new-value="
logging.getLogger("dotenv").setLevel(logging.ERROR)  # it warns of every hostile line
GENERATOR = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")
EMPTY = "\0"
needs_systemd = pytest.mark.skipif(not GENERATOR.exists(), reason="systemd is not installed")


def oracle(content: bytes) -> dict[str, str | None]:
    """What the application gets: python-dotenv opens the file as text, so with universal line ends."""
    return dict(dotenv_values(stream=io.StringIO(content.decode(), newline=None)))


def systemd(content: bytes) -> dict[str, str]:
    """What systemd's parser reads. The generator expands $, and drops empty values: EnvironmentFile= does neither.

    So the text must be without $, and a name that is empty somewhere has no verdict: its value is ``EMPTY``.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "environment.d")
        config.mkdir()
        (config / "test.conf").write_bytes(content)
        environment = {"XDG_CONFIG_HOME": folder, "HOME": folder, "PATH": os.environ["PATH"]}
        run = subprocess.run([GENERATOR], env=environment, capture_output=True, check=True)
    lines = (line.partition("=") for line in run.stdout.decode().splitlines())
    values = {name: _unquoted(value) for name, _, value in lines}
    return values | dict.fromkeys(re.findall(r'invalid syntax \(around "(.*)"\)', run.stderr.decode()), EMPTY)


def _unquoted(value: str) -> str:
    """Undo the quoting of the generator's output."""
    match = re.fullmatch(r"(?:\$'(.*)'|\"(.*)\"|(.*))", value, re.DOTALL)
    assert match is not None
    text = next(group for group in match.groups() if group is not None)
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), text)


# -- strategies ------------------------------------------------------------------------------------------------------

blanks = st.sampled_from(["", "", " ", "  ", "\t", " \t "])
line_ends = st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"])
plain = st.text("abcXYZ019_-+=/.:@%#'\"\\ $é", max_size=12)
soup_tokens = st.sampled_from(
    [*NAMES, "export ", "export", "'NAME'", "=", "=", "=", " ", "\t", "#", ";", "'", '"', "\\", "\\n", "\\'", '\\"',
     "\n", "\n", "\r\n", "\r", "\x0b", "\x85", "\u2028", "\u00a0", "\ufeff", "$", "${", "}", "é", "a", "b", "x y",
     "NAME=", "NAME='", 'NAME="', "\nB=", "\nOTHER='", "\\\\"]
)  # fmt: skip
shared_tokens = st.sampled_from(
    [*NAMES, "NAME=", "NAME='", 'OTHER="', "\nB=", "=", " ", "\t", "#", ";", "# c", "'", '"', "\\", "\\\\", "\\n", "\n",
     "\n", "\r\n", "\\\n", "export ", "a", "b", "é", "x y", ":"]
)  # fmt: skip


@st.composite
def realistic_lines(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from([*NAMES, "DATABASE_URL"]))
    value = draw(plain)
    quote = draw(st.sampled_from(["", "", "'", '"']))
    if quote:
        value = quote + draw(st.sampled_from([value, f"{value}\nNAME=inner\n{value}"])) + quote
    comment = draw(st.sampled_from(["", "", " # text", "# text", " #"]))
    binding = draw(st.sampled_from(["", "export "])) + name + draw(blanks) + "=" + draw(blanks) + value
    odd = ["# NAME=value", "#", "", "NAME", "= broken", "NAME='open", "B=${NAME}", ";NAME=1", "# \\"]
    return draw(blanks) + draw(st.sampled_from([binding, binding, binding, *odd])) + comment


@st.composite
def files(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return "".join(draw(st.lists(soup_tokens, max_size=25))).encode()
    text = "".join(line + draw(line_ends) for line in draw(st.lists(realistic_lines(), max_size=7)))
    text = draw(st.sampled_from(["", "", "", "\ufeff"])) + text
    return (text.rstrip("\r\n") if draw(st.booleans()) else text).encode()


@st.composite
def files_to_replace_in(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """A file that sets NAME at least once, with new values for NAME and for some others that have one."""
    before, after = draw(files()).decode(), draw(files()).decode()
    line = draw(st.sampled_from(["NAME=x", "NAME='x'", 'NAME="x"', "export NAME = x # c", "NAME=", "NAME='x\ny'"]))
    content = f"{before}\n{line}\n{after}".encode()
    values = {}
    for name in NAMES:
        try:
            found = dotenv.read(content, [name])[name]
        except KeyturnError:
            found = None
        if found is not None and (name == "NAME" or draw(st.booleans())):
            values[name] = draw(new_values)
    assume(values)
    return content, values


passwords = st.text([chr(c) for c in range(32, 127) if chr(c) not in "\\"] + ["é", "ß"], min_size=1, max_size=24)
new_values = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode()),
    st.binary(min_size=16, max_size=32).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=")),
    st.binary(min_size=16, max_size=32).map(bytes.hex),
    passwords.filter(lambda value: "${" not in value and not ("'" in value and '"' in value)),
)


# -- properties ------------------------------------------------------------------------------------------------------


@settings(max_examples=1000, deadline=None)
@given(files())
def test_reads_as_python_dotenv_or_refuses(content: bytes) -> None:
    expected = oracle(content)
    for name in NAMES:
        try:
            found = dotenv.read(content, [name])
        except KeyturnError:
            continue
        assert found == {name: expected.get(name)}


@settings(max_examples=600, deadline=None)
@given(files_to_replace_in())
def test_replaces_the_values_and_nothing_else(case: tuple[bytes, dict[str, str]]) -> None:
    content, values = case
    try:
        result = dotenv.replace(content, values)
    except KeyturnError as error:  # a second binding without value, or a new quote would close an open one above
        assert re.search(r"= and its value there$|close the quote", str(error))
        return
    assert dotenv.replace(result, values) == result
    before, after = oracle(content), oracle(result)
    assert {name: after[name] for name in values} == values
    # interpolation aside, as another variable may follow a replaced one
    raw = [
        [(b.key, b.value) for b in parse_stream(io.StringIO(text.decode())) if b.key not in values]
        for text in (content, result)
    ]
    assert raw[0] == raw[1]
    assert list(before) == list(after)
    _assert_only_values_differ(content, result, values)


def _assert_only_values_differ(content: bytes, result: bytes, values: dict[str, str]) -> None:
    old, new = (list(parse_stream(io.StringIO(text.decode()))) for text in (content, result))
    assert len(old) == len(new)
    for one, other in zip(old, new, strict=True):
        if one.key not in values:
            assert (one.key, one.value, one.original.string) == (other.key, other.value, other.original.string)
        else:
            assert _differs_in_value_only(one, other)
    assert content.startswith(b"\xef\xbb\xbf") == result.startswith(b"\xef\xbb\xbf")


def _differs_in_value_only(one: Binding, other: Binding) -> bool:
    if one == other:
        return True
    old, new = one.original.string, other.original.string
    value = other.value or ""
    for start in re.finditer(r"=[^\S\r\n]*", new):
        for form in (value, f"'{value}'", f'"{value}"'):
            if new.startswith(form, start.end()):
                head, tail = new[: start.end()], new[start.end() + len(form) :]
                if old.startswith(head) and old.endswith(tail) and len(old) >= len(head + tail):
                    replaced = old[len(head) : len(old) - len(tail)]
                    if (oracle(f"X={replaced}".encode())["X"] or "") == re.sub("\r\n?", "\n", one.value or ""):
                        return True
    return False


@settings(deadline=None)
@given(files(), st.lists(st.text(min_size=1, max_size=3), max_size=2))
def test_findings_refuse_only_what_read_refuses(content: bytes, values: list[str]) -> None:
    try:
        dotenv.read(content, NAMES)
    except KeyturnError:
        with pytest.raises(KeyturnError):
            dotenv.findings(content, NAMES, values)
    else:
        dotenv.findings(content, NAMES, values)


@needs_systemd
@settings(max_examples=150, deadline=None)
@given(st.lists(shared_tokens, max_size=25).map("".join))
def test_findings_name_exactly_what_systemd_reads_differently(text: str) -> None:
    content = text.encode()
    by_systemd = systemd(content)
    for name in NAMES:
        try:
            value = dotenv.read(content, [name])[name]
        except KeyturnError:
            continue
        if not value or not value.replace("\n", "").isprintable() or set("\r\0") & set(by_systemd.get(name, "")):
            continue
        found = [line for line in dotenv.findings(content, [name], []) if "EnvironmentFile=" in line]
        assert (by_systemd.get(name) == value) == (not found)


@needs_systemd
@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["NAME=x", "NAME='x y'", 'NAME="x"', " NAME = x ", "NAME=", "A=1\r\nNAME=x\r\nB=2\r\n", "# c\nNAME=x\n"]),
    new_values,
)  # fmt: skip
def test_systemd_reads_the_new_value(text: str, value: str) -> None:
    assume("$" not in value)
    result = dotenv.replace(text.encode(), {"NAME": value})
    assert systemd(result)["NAME"] == value
    assert oracle(result)["NAME"] == value
    assert dotenv.findings(result, ["NAME"], []) == []


# -- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("NAME=old\n", f"NAME={NEW}\n"),
        ("NAME=old", f"NAME={NEW}"),
        ("NAME=", f"NAME={NEW}"),
        ("A=1\nNAME=old # why\nB=2\n", f"A=1\nNAME={NEW} # why\nB=2\n"),
        ("NAME='old' # why\n", f"NAME='{NEW}' # why\n"),
        ('NAME="old"\n', f'NAME="{NEW}"\n'),
        ("  export \t NAME \t= old  \n", f"  export \t NAME \t= {NEW}  \n"),
        ("'NAME'=old\n", f"'NAME'={NEW}\n"),
        ("A=1\r\nNAME=old\r\nB=2\r\n", f"A=1\r\nNAME={NEW}\r\nB=2\r\n"),
        ("A=1\rNAME=old\rB=2", f"A=1\rNAME={NEW}\rB=2"),
        ("\ufeff# head\nNAME=old\n", f"\ufeff# head\nNAME={NEW}\n"),
        ("NAME=one\nA=1\nexport NAME='two'\n", f"NAME={NEW}\nA=1\nexport NAME='{NEW}'\n"),
        ("NAME='two\nlines'\nA=1\n", f"NAME='{NEW}'\nA=1\n"),
        ("A='\nNAME=inner\n'\nNAME=old\n", f"A='\nNAME=inner\n'\nNAME={NEW}\n"),
        ("# NAME=comment\nNAME=old\n", f"# NAME=comment\nNAME={NEW}\n"),
        ("NAME=#old\n", f"NAME={NEW}\n"),
        ("NAME=it's\n", f"NAME={NEW}\n"),
        ("NAME='open\nNAME=old\n", f"NAME='open\nNAME={NEW}\n"),
        ("NAME_2=x\nMY_NAME=y\nNAME=old\n", f"NAME_2=x\nMY_NAME=y\nNAME={NEW}\n"),
        ("B=${NAME}/x\nNAME=old\n", f"B=${{NAME}}/x\nNAME={NEW}\n"),
        ("NAME=your_32_plus_char_encryption_key_here\n", f"NAME={NEW}\n"),
    ],
)
def test_replace_keeps_the_form(before: str, after: str) -> None:
    result = dotenv.replace(before.encode(), {"NAME": NEW})
    assert result.decode() == after
    assert oracle(result)["NAME"] == NEW


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("a b", "'a b'"),
        ("a#b", "'a#b'"),
        ('say "x"', "'say \"x\"'"),
        ("a$b", "'a$b'"),
        ("é", "'é'"),
        ("it's", '"it\'s"'),
        ("p@ss:w/o+r=d%,.-_", "p@ss:w/o+r=d%,.-_"),
    ],
)
@pytest.mark.parametrize("before", ["NAME=old\n", "NAME='old'\n", 'NAME="old"\n'])
def test_quotes_where_a_reader_needs_them(before: str, value: str, form: str) -> None:
    result = dotenv.replace(before.encode(), {"NAME": value})
    assert result.decode().strip("\n").removeprefix("NAME=").strip("'\"") == form.strip("'\"")
    if before == "NAME=old\n" or form != value:
        assert result.decode() == f"NAME={form}\n"
    assert oracle(result)["NAME"] == value


@pytest.mark.parametrize("value", ["", "a\\b", "a\nb", "a\tb", "a\x00b", "${HOME}x", "'\"", "a\u2028b", "\udc80"])
def test_refuses_a_value_that_has_no_exact_form(value: str) -> None:
    with pytest.raises(KeyturnError, match=r"^the value for NAME cannot be written") as caught:
        dotenv.replace(b"NAME=old\n", {"NAME": value})
    assert not value or value not in str(caught.value).replace("${ and", "")


def test_a_value_that_stands_there_keeps_its_form_even_where_it_could_not_be_written() -> None:
    content = b'NAME="a\\nb"\n'
    assert dotenv.replace(content, {"NAME": "a\nb"}) == content


def test_a_new_quote_never_closes_one_that_an_unreadable_line_left_open() -> None:
    content = b"OTHER='open\nNAME=x\n"
    assert dotenv.replace(content, {"NAME": NEW}) == f"OTHER='open\nNAME={NEW}\n".encode()
    with pytest.raises(KeyturnError, match=r"^the new value of NAME would not read back: close the quote"):
        dotenv.replace(content, {"NAME": "a b"})
    content = b"OTHER='open\nNAME=x\nNAME=y\n"
    with pytest.raises(KeyturnError, match=r"close the quote"):
        dotenv.replace(content, {"NAME": "a b"})


def test_replaces_several_names_at_once() -> None:
    result = dotenv.replace(b"A=1\nNAME=x\nOTHER='y'\n", {"OTHER": "z1", "NAME": "z2"})
    assert result == b"A=1\nNAME=z2\nOTHER='z1'\n"


@pytest.mark.parametrize("content", [b"", b"A=1\n", b"# NAME=x\n", b"NAME='open\n", b"A='\nNAME=inner\n'\n"])
def test_a_missing_name_is_none_to_read_and_refused_to_replace(content: bytes) -> None:
    assert dotenv.read(content, ["NAME"]) == {"NAME": None}
    with pytest.raises(KeyturnError, match=r"^NAME is not set: add a line with NAME= and its value$"):
        dotenv.replace(content, {"NAME": NEW})


def test_a_name_without_equals_sign_has_no_value_and_is_refused() -> None:
    assert dotenv.read(b"NAME=x\nNAME\n", ["NAME"]) == {"NAME": None}
    with pytest.raises(KeyturnError, match=r"^NAME on line 2 has no value: write NAME= and its value there$"):
        dotenv.replace(b"NAME=x\nNAME\n", {"NAME": NEW})


@pytest.mark.parametrize("form", ["${OTHER}", "'${OTHER}'", '"a${OTHER:-x}b"', "a${"])
def test_a_reference_is_refused(form: str) -> None:
    content = f"A=1\nNAME={form}\n".encode()
    message = r"^NAME on line 2 refers to another variable \(\$\{\.\.\.\}\): write the value itself there$"
    with pytest.raises(KeyturnError, match=message):
        dotenv.read(content, ["NAME"])
    with pytest.raises(KeyturnError, match=message):
        dotenv.replace(content, {"NAME": NEW})
    assert dotenv.read(content, ["A"]) == {"A": "1"}


@pytest.mark.parametrize("content", ["\ufeffNAME=old\n", "\ufeffexport NAME=old\n", "\ufeff  NAME=old\n"])
def test_a_byte_order_mark_is_refused_where_old_versions_take_it_as_part_of_the_name(content: str) -> None:
    with pytest.raises(
        KeyturnError, match=r"^NAME on line 1 follows a byte order mark.*: save the file as UTF-8 without"
    ):
        dotenv.read((content + "A=1\n").encode(), ["NAME"])
    assert dotenv.read((content + "A=1\n").encode(), ["A"]) == {"A": "1"}


@pytest.mark.parametrize("content", ["NAME= # comment\n", "NAME='x\\\\'\nB='y'\n", "A='x\\\\'\nNAME='y'\n"])
def test_text_that_versions_of_python_dotenv_read_differently_is_refused(content: str) -> None:
    with pytest.raises(KeyturnError, match=r"^NAME on line \d is not read alike by all versions of python-dotenv: "):
        dotenv.replace(content.encode(), {"NAME": NEW})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=1\nNAME=\xff\xfe\n", r"^line 2 is not UTF-8 text: save the file as UTF-8$"),
        ("NAME=é".encode("utf-16"), r"^line 1 is not UTF-8"),
        (b"A=1\nNAME=\0\n", r"^line 2 holds a NUL character"),
    ],
)
def test_what_is_not_text_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(KeyturnError, match=message):
        dotenv.read(content, [])
    with pytest.raises(KeyturnError, match=message):
        dotenv.replace(content, {})
    with pytest.raises(KeyturnError, match=message):
        dotenv.findings(content, [], [])


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_load_dotenv_reads_the_file_as_we_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str) -> None:
    lines = ["# head", "A='1", "2'", "export NAME=old  # why", "B=${NAME}", 'OTHER="x\\ty"']
    path = tmp_path / ".env"
    path.write_bytes(dotenv.replace(newline.join(lines).encode(), {"NAME": NEW}))
    for name in ("A", "NAME", "B", "OTHER"):
        monkeypatch.setenv(name, "")  # restores the environment afterwards
        monkeypatch.delenv(name)
    assert load_dotenv(path)
    assert (os.environ["NAME"], os.environ["B"], os.environ["A"]) == (NEW, NEW, "1\n2")
    assert dotenv.read(path.read_bytes(), ["A", "OTHER"]) == {"A": "1\n2", "OTHER": "x\ty"}


@pytest.mark.parametrize(
    "make", [lambda: Fernet.generate_key().decode(), lambda: secrets.token_urlsafe(32), lambda: secrets.token_hex(32)]
)
def test_generated_values_need_no_quotes(make) -> None:  # type: ignore[no-untyped-def]
    value = make()
    assert dotenv.replace(b"NAME=x\n", {"NAME": value}) == f"NAME={value}\n".encode()


# -- findings --------------------------------------------------------------------------------------------------------


def test_findings_are_silent_on_a_plain_file() -> None:
    content = f"# head\nNAME={OLD}\nOTHER='x'\n".encode()
    assert dotenv.findings(content, ["NAME", "OTHER", "ABSENT"], [OLD, ""]) == []


def test_findings_name_duplicates() -> None:
    assert dotenv.findings(b"NAME=1\nA=1\nNAME=2\n", ["NAME"], []) == [
        "line 1: NAME is set on lines 1, 3; the last one counts, remove the others"
    ]


@pytest.mark.parametrize(
    ("content", "by_systemd", "reason"),
    [
        ("export NAME=v\n", None, "it does not know export"),
        ("NAME=v # c\n", "v # c", "it takes the comment as part of the value"),
        ("NAME='v' # c\n", "v# c", "it takes the comment as part of the value"),
        ("NAME=a\\b\n", "ab", "it treats backslashes, quotes and line ends in another way"),
        ("# c \\\nNAME=v\n", None, "it treats backslashes, quotes and line ends in another way"),
        ('NAME="a\\nb"\n', "a\\nb", "it treats backslashes, quotes and line ends in another way"),
        ("A=a\\\nNAME=v\n", None, "it treats backslashes, quotes and line ends in another way"),
    ],
)
@needs_systemd
def test_findings_name_what_systemd_reads_differently(content: str, by_systemd: str | None, reason: str) -> None:
    (finding,) = dotenv.findings(content.encode(), ["NAME"], [])
    line = content[: content.index("NAME")].count("\n") + 1
    assert finding == f"line {line}: systemd's EnvironmentFile= does not read NAME as python-dotenv does: {reason}"
    if "# c \\" not in content:  # a comment's last backslash matters up to systemd 253 only
        assert systemd(content.encode()).get("NAME") == by_systemd


def test_findings_name_where_else_a_secret_stands() -> None:
    content = (
        f"# was {OLD}\nNAME={OLD}  # {OLD}\nURL=postgres://u:{OLD}@h/\nOTHER=ancient-secret\n"
        f"BAD='{OLD}\n{OLD}\n\n\nESCAPED=\"old-secret\\-value\\'ancient-secret\"\n"
    )
    found = dotenv.findings(content.encode(), ["NAME"], [OLD, "ancient-secret"])
    assert [line for line in found if "holds" in line] == [
        "line 1: a comment still holds a value of NAME; remove it there",
        "line 2: the comment behind NAME still holds a value of NAME; remove it there",
        "line 3: URL still holds a value of NAME; remove it there",
        "line 4: OTHER still holds a secret value; remove it there",
        "line 5: a line that python-dotenv cannot read still holds a value of NAME; remove it there",
        "line 6: another line still holds a value of NAME; remove it there",
        "line 9: ESCAPED still holds a secret value; remove it there",
    ]
    assert OLD not in "".join(found)


def test_findings_see_a_secret_behind_escapes() -> None:
    assert dotenv.findings(b"NAME=it's-secret\nCOPY='it\\'s-secret'\n", ["NAME"], ["it's-secret"]) == [
        "line 2: COPY still holds a value of NAME; remove it there"
    ]


def test_lines_are_taken_out_and_nothing_else() -> None:
    content = b"A=1\n# of A\nexport B='two'\r\nC=3 # note\nB=again\nBB=4"
    assert dotenv.without(content, ["B", "nobody"]) == b"A=1\n# of A\nC=3 # note\nBB=4"


def test_a_value_of_several_lines_is_taken_out_whole() -> None:
    assert dotenv.without(b'A="1\n2"\nB=3\n', ["A"]) == b"B=3\n"


def test_a_line_whose_quote_would_close_one_above_is_not_added() -> None:
    with pytest.raises(KeyturnError, match="close the quote"):
        dotenv.with_added(b'A="open\n', {"B": "it's"})


def test_lines_are_added_for_what_is_missing() -> None:
    added = dotenv.with_added(b"A=1\r\nB=2", {"B": "not this", "C": "three words # and more"})
    assert added == b"A=1\r\nB=2\r\nC='three words # and more'\r\n"
    assert dotenv.with_added(added, {"C": "x"}) == added
    assert dotenv_values(stream=io.StringIO(added.decode())) == {"A": "1", "B": "2", "C": "three words # and more"}


def test_a_value_that_no_line_can_hold_is_not_added() -> None:
    with pytest.raises(KeyturnError, match="cannot be written"):
        dotenv.with_added(b"", {"A": "both ' and \""})


def test_all_texts_are_what_each_name_reads_and_the_file_is_parsed_as_often_as_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = "A=1\nB='two'\nB=3\nREFERS=${A}\nEMPTY=\nNONE\nC= # read in two ways\n"
    content = (odd + "".join(f"KEY_{number}=x{number}\n" for number in range(500))).encode()
    expected = {"A": "1", "B": "3"} | {f"KEY_{number}": f"x{number}" for number in range(500)}
    parsed = []
    statement = dotenv._statement
    monkeypatch.setattr(dotenv, "_statement", lambda *given: parsed.append(given) or statement(*given))
    assert dotenv.texts(content) == expected
    assert len(parsed) <= 2 * content.count(b"\n")
