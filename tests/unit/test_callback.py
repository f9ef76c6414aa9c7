"""What the callback makes of results: messages and nothing else, and each error once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.loader import action_loader, callback_loader
from support.lab import ROOT

action_loader.add_directory(str(ROOT / "plugins/action"))
callback_loader.add_directory(str(ROOT / "plugins/callback"))
SECRET = "the-value-itself"


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The callback, outside of a pipeline; it prints to standard output, without colours."""
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    found = callback_loader.get("keyturn")
    found.set_options()
    monkeypatch.setattr(found._display, "verbosity", 0)
    return found


def result(action: str = "debug", host: str = "app1", task: str = "Do it", **said: Any) -> Any:
    options = {name: said.pop(name, False) for name in ("loop", "check_mode", "ignore_unreachable")}
    return SimpleNamespace(
        host=SimpleNamespace(get_name=lambda: host),
        task=SimpleNamespace(action=action, delegate_to=None, **options),
        task_name=task,
        result={"invocation": {"module_args": {"value": SECRET}}, **said},
    )


Shown = Callable[[], list[str]]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """What was printed since the last look, by lines."""

    def look() -> list[str]:
        out, err = capsys.readouterr()
        assert err == "" and SECRET not in out
        return list(out.splitlines())

    return look


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (result(msg="one line"), ["app1: one line"]),
        (result(msg="two\nlines\x1b[2J"), ["app1:", "  two", "  lines\\x1b[2J"]),
        (result(msg=["a", "list", {"x": SECRET}]), ["app1:", "  a", "  list"]),
        (result(msg={"x": SECRET}), []),
        (result(var=SECRET), []),
        (result(host="localhost", msg="a\ntable"), ["a", "table"]),
        (result("ansible.builtin.debug", msg="full name"), ["app1: full name"]),
        (result("command", stdout=SECRET, changed=True), ["app1: Do it"]),
        (result("command", stdout=SECRET, changed=True, check_mode=True), ["app1: Do it (would change)"]),
        (result("command", stdout=SECRET, changed=False), []),
        (result("keyturn_turn", changed=True, msg="no"), []),
        (result("keyturn_haproxy", changed=True), ["app1: Do it"]),
        (result(loop=True, results=[{"msg": "told by its item"}], msg="All items completed"), []),
        (result(censored="hidden", changed=True, _ansible_no_log=True), []),
    ],
)
def test_what_a_task_that_went_well_prints(callback: Any, shown: Shown, given: Any, lines: list[str]) -> None:
    callback.v2_runner_on_ok(given)
    assert shown() == lines


def test_an_error_says_what_then_where_and_is_told_once(callback: Any, shown: Shown) -> None:
    failed = result("keyturn_stage", task="Stage", msg="the key is bad: mend it; then again\nnow")
    callback.v2_runner_on_failed(failed)
    told = ["ERROR: the key is bad: mend it; then again", "       now", '       on app1, in "Stage"']
    assert shown() == told
    callback.v2_runner_on_failed(failed)
    assert shown() == []
    callback.v2_runner_on_failed(
        result("keyturn_stage", host="app2", task="Stage", msg="the key is bad: mend it; then again\nnow")
    )
    assert shown() == [*told[:2], '       on app2, in "Stage"'], "another host's error is its own"
    # the controller sums up, behind a word
    ending = "refused: app1: the key is bad: mend it; then again\nnow; app2: the key is bad: mend it; then again\nnow"
    callback.v2_runner_on_failed(result("assert", host="localhost", task="End", msg=ending))
    assert shown() == []
    callback.v2_runner_on_failed(result("assert", host="localhost", task="End", msg=f"{ending}; and app3 is lost"))
    assert shown()[0].startswith("ERROR: refused: ")


def test_an_argument_that_is_missing_is_told_with_what_it_is(callback: Any, shown: Shown) -> None:
    spec = {"keyturn_x": {"description": "The id of x."}, "keyturn_y": {"description": "Who y is."}}
    said = {"argument_spec_data": spec, "msg": "Validation of arguments failed:\nmissing"}
    lacks = "missing required arguments: keyturn_x, keyturn_y"
    callback.v2_runner_on_failed(result("validate_argument_spec", host="localhost", argument_errors=[lacks], **said))
    assert shown()[:2] == [
        "ERROR: keyturn_x is missing: The id of x. Say it by -e keyturn_x=..., or in the inventory",
        "       keyturn_y is missing: Who y is. Say it by -e keyturn_y=..., or in the inventory",
    ]
    more = [lacks, "keyturn_z is of type str"]
    callback.v2_runner_on_failed(result("validate_argument_spec", host="localhost", argument_errors=more, **said))
    assert shown()[0] == "ERROR: Validation of arguments failed:"


def test_what_the_summary_has_said_is_not_said_again(callback: Any, shown: Shown) -> None:
    callback.v2_runner_on_ok(
        result("keyturn_report", host="localhost", text="ROLLED_BACK\ncause x", ending="rolled_back: x; y was late")
    )
    callback.v2_runner_on_failed(result("assert", host="localhost", msg="rolled_back: x; y was late"))
    assert shown() == ["ROLLED_BACK", "cause x"]
    # a host cannot say it in the controller's place
    callback.v2_runner_on_ok(result("keyturn_holdings_info", text="broken: z"))
    callback.v2_runner_on_failed(result("keyturn_stage", msg="z, broken: z; y"))
    shown()
    callback.v2_runner_on_ok(result("keyturn_report", host="localhost", text="  finding    broken: z", ending=""))
    shown()
    callback.v2_runner_on_failed(result("assert", host="localhost", task="End", msg="broken: z"))
    assert shown() == ["ERROR: broken: z", '       in "End"']


def test_the_summary_does_not_repeat_an_error_and_tells_what_nobody_has_told(callback: Any, shown: Shown) -> None:
    callback.v2_runner_on_failed(result("keyturn_stage", task="Stage", msg="the key is bad: mend it"))
    shown()
    summed = "REFUSED: a title\ncause      {}\nreport     r.json"
    callback.v2_runner_on_ok(
        result("keyturn_report", host="localhost", text=summed.format("app1: the key is bad: mend it"))
    )
    assert shown() == ["REFUSED: a title", "cause      told above", "report     r.json"]
    other = "app1: the key is bad: mend it; app2: the old value is dead"
    callback.v2_runner_on_ok(result("keyturn_report", host="localhost", text=summed.format(other)))
    assert shown()[1] == f"cause      {other}"


def test_items_tell_their_own_errors(callback: Any, shown: Shown) -> None:
    callback.v2_runner_item_on_failed(result("command", msg="the first is bad", loop=True))
    callback.v2_runner_on_failed(result("command", msg="One or more items failed", loop=True, results=[{}]))
    assert shown() == ["ERROR: the first is bad", '       on app1, in "Do it"']


def test_a_task_that_hides_what_it_says_has_an_error_without_words(callback: Any, shown: Shown) -> None:
    callback.v2_runner_on_failed(result("command", censored="hidden", _ansible_no_log=True))
    assert shown() == ["ERROR: what it says is hidden (no_log)", '       on app1, in "Do it"']


def test_a_host_without_an_answer_is_an_error_only_where_the_run_does_not_go_on(callback: Any, shown: Shown) -> None:
    callback.v2_runner_on_unreachable(result("keyturn_rotation_info", msg="no route", ignore_unreachable=True))
    callback.v2_runner_on_unreachable(result("keyturn_stage", msg="no route", ignore_unreachable=True))
    assert shown() == ["app1: no route"]
    callback.v2_runner_on_failed(result("keyturn_rollback", msg="the host gives no answer any more", lost=True))
    assert shown() == [], "it was told that the host is silent"
    callback.v2_runner_on_unreachable(result("keyturn_stage", host="app2", msg="no route"))
    assert shown() == ["ERROR: no route", '       on app2, in "Do it"']
    callback.v2_runner_on_failed(result("command", msg="nobody minds"), ignore_errors=True)
    assert shown() == []


def test_warnings_that_nobody_reads_end_no_run(callback: Any) -> None:
    """Python's own stream raises for each of them, and the next one as well."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as stream:  # noqa: PTH123 - of a descriptor
        heard = sys.modules[type(callback).__module__].heard(stream)
        os.close(reading)
        for _ in range(2):
            print("a warning", file=heard, flush=True)


def test_a_run_that_is_interrupted_names_the_ways_out_of_its_rotation(callback: Any, shown: Shown) -> None:
    plan = {"plan": {"rotation_id": "R-1"}}
    callback.v2_runner_on_ok(result("keyturn_plan", host="localhost", check_mode=True, **plan))
    callback._leave()
    assert shown() == [], "nothing is open of a run that only looks"
    callback.v2_runner_on_ok(result("keyturn_plan", host="localhost", **plan))
    callback._leave()
    (line,) = shown()
    assert "rotation R-1 may be open" in line
    assert re.search(r"End it with \S+.*\bresume.* \(on the new value\) or .*\brollback.* \(on the old one\)", line), (
        line
    )
    callback.v2_runner_on_ok(result("keyturn_report", host="localhost", text="COMMITTED: it", ending=""))
    callback._leave()
    assert shown() == ["COMMITTED: it"]


def test_an_error_has_an_end(callback: Any, shown: Shown) -> None:
    """What ssh says of a host is what the host says, as much as it likes."""
    callback.v2_runner_on_unreachable(result("keyturn_stage", msg="x" * (1 << 20)))
    assert len("".join(shown())) < 1 << 17
