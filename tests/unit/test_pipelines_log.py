"""Folds and annotations in the logs of pipelines, and text of others, which makes neither."""

from __future__ import annotations

import re

from keyturn.base import pipelines, shown
from support.runner import heard

HOSTILE = "a row\r\n::error::no\n  ::add-mask::a\n\033[0Ksection_start:1:x\r\033[0K\u202e\u2028\0\ttab"


def test_on_github_only_our_own_commands_count() -> None:
    log = pipelines.log({"GITHUB_ACTIONS": "true"})
    printed = [*log.begin(), HOSTILE, *log.fold("Turn: 50%\n::x"), HOSTILE, *log.unfold()]
    printed += [*log.error("on app1, in: it", "100%\n::x"), HOSTILE, *log.end()]
    assert heard(printed) == [
        "::group::Turn: 50%25%0A::x",
        "::endgroup::",
        "::error title=on app1%2C in%3A it::100%25%0A::x",
    ]
    words = re.findall(r"^::([0-9a-f]{32})::$", "\n".join(printed), re.MULTILINE)
    assert len(words) == len(set(words)) == 4
    assert heard([HOSTILE]) == ["::error::no", "  ::add-mask::a"], "the attack is none"


def test_on_gitlab_each_section_ends_and_has_a_name_of_its_own() -> None:
    log = pipelines.log({"GITLAB_CI": "true"})
    printed = [*log.begin()]
    for title in ("one", "two"):
        printed += [*log.fold(title), *shown.lines(HOSTILE), *log.unfold()]
    printed += log.end()
    mark = re.compile(r"section_(start|end):(\d+):([a-zA-Z0-9_.-]+)(?:\[.*\])?\r\033\[0K")
    found = mark.findall("\n".join(printed))
    assert [side for side, *_ in found] == ["start", "end"] * 2
    names = [name for *_, name in found]
    assert names[0] == names[1] != names[2] == names[3]
    assert mark.search(HOSTILE), "the attack is none"


def test_elsewhere_nothing_is_added() -> None:
    for environment in ({}, {"GITHUB_ACTIONS": "", "GITLAB_CI": "false"}):
        log = pipelines.log(environment)
        assert [*log.begin(), *log.fold("x"), *log.unfold(), *log.error("x", "y"), *log.end()] == []


def test_text_of_others_is_lines_of_signs() -> None:
    assert shown.lines(HOSTILE) == [
        "a row\\r",
        ": :error::no",
        "  : :add-mask::a",
        "\\x1b[0Ksection_start:1:x\\r\\x1b[0K\\u202e\\u2028\\x00 tab",
    ]
    assert shown.lines("Ä is printed, \ud800 is not\n\nTASK [x]") == ["Ä is printed, \\ud800 is not", "", "| TASK [x]"]
    many = "row\n" * shown.LONGEST
    assert len(shown.lines(many)) == shown.LONGEST + 1, "what Keyturn prints itself is not cut"


def test_a_name_is_one_word_of_a_message_whatever_it_holds() -> None:
    assert shown.name("a\nTASK [x]\udcff\x1b[2J") == "a\\nTASK [x]\\udcff\\x1b[2J"
    assert shown.name("::error::x") == ": :error::x"
    assert shown.name("Größe/a b") == "Größe/a b"
