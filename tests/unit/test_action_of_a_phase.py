"""The action of a phase on the controller: what it prints, and a host that does not answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from keyturn.fleet import answers
from support.lab import ROOT

action_loader.add_directory(str(ROOT / "plugins/action"))


OURS = {"rotation_id": "the", "entry": {}}


class Calls:
    """Mixed into the action of a phase: its calls return ``answers`` or raise them."""

    def __init__(self, answers: list[Any], phase: str, check_mode: bool = False, **call: Any) -> None:
        self._task = SimpleNamespace(action=f"keyturn_{phase}", args={"rotation": OURS} | call, check_mode=check_mode)
        self.told = {"phase": phase, "rotation": OURS} | call
        self.answers = answers

    def _execute_module(self, name: str, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if self.told["phase"] not in answers.OF_PHASES:
            told = {name: one for name, one in self.told.items() if name != "phase"}
            assert (name, args) == (f"keyturn_{self.told['phase']}", told)
        else:
            assert (name, args) == ("keyturn_phase", self.told)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})


def far(done: int, total: int) -> dict[str, Any]:
    return {"changed": True, "progress": {"done": done, "total": total, "seconds": 2.0}}


def action_of(phase: str, answers: list[Any], **more: Any) -> Any:
    base = action_loader.get(f"keyturn_{phase}", class_only=True)
    return type("Action", (Calls, base), {})(answers, phase, **more)


def run(*answers: Any, phase: str = "turn", known: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return dict(action_of(phase, list(answers), **more).run(task_vars={"inventory_hostname": "app1"} | (known or {})))


DONE = {
    "changed": True,
    "rotation": {"times": {"prepare": 7.24, "switch": 1.31, "prove": 0.2}, "downtime_seconds": 1.2},
}


def test_it_prints_how_far_a_call_has_come_and_how_long_each_step_took(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(far(1000, 3000), far(2000, 3000), DONE) == DONE
    assert capsys.readouterr().out.splitlines() == [
        "app1: prepare, switch, prove ...",
        "app1: 1,000 of 3,000 rows prepared, 500 rows/s, 4 s left",
        "app1: 2,000 of 3,000 rows prepared, 1,000 rows/s, 1 s left",
        "app1: prepare 7.2 s",
        "app1: switch 1.3 s, down for 1.2 s",
        "app1: prove 0.2 s",
    ]


def test_a_host_that_tells_of_another_secret_s_revocation_has_failed() -> None:
    line = {"state": "revoked", "secret": "plaid", "rotation_id": "x", "evidence": "x"}
    answer = {"changed": True, "revocations": [line]}
    assert run(answer, phase="retire", secret="plaid", step="close") == answer
    failed = run(answer, phase="retire", secret="alpaca", step="close")
    assert failed["failed"] and "was asked about alpaca" in failed["msg"]


def test_a_host_may_tell_no_downtime(capsys: pytest.CaptureFixture[str]) -> None:
    run({"changed": True, "rotation": {"times": {"switch": 1.0}}})
    assert capsys.readouterr().out.splitlines()[-1] == "app1: switch 1.0 s"


def test_a_step_that_the_host_has_not_timed_is_timed_here(capsys: pytest.CaptureFixture[str]) -> None:
    begun = {"rotation_looked": {"rotation": {"phase": "switched"}}}
    for known in ({"rotation_turned": {"failed": True}}, begun):
        run({"changed": True, "rotation": {}}, phase="rollback", cause="a test", known=known)
        begins, ends = capsys.readouterr().out.splitlines()
        assert begins == "app1: rollback ..."
        assert ends.startswith("app1: rollback 0.")


def test_that_what_only_was_staged_is_discarded_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"rotation_staged": {"rotation": {"phase": "staged"}}, "rotation_turned": {"skipped": True}}
    run({"changed": True, "rotation": {}}, phase="rollback", cause="a test", known=known)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("step", "begins"), [("decide", "decide ..."), ("finish", "finish ..."), ("both", "decide, finish ...")]
)
def test_a_call_that_changes_nothing_has_no_end_to_tell(
    step: str, begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run({"changed": False, "rotation": {"times": {step: 1.0}}}, phase="commit", step=step)
    assert capsys.readouterr().out == f"app1: {begins}\n"


def test_it_prints_what_check_mode_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"would": "stop backend\nturn 3 rows"}, check_mode=True)["would"] == "stop backend\nturn 3 rows"
    assert capsys.readouterr().out == "app1: stop backend\napp1: turn 3 rows\n"


def test_what_the_task_of_a_module_says_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"changed": True, "would": "move them"}, phase="delivery", check_mode=True)["would"] == "move them"
    assert capsys.readouterr().out == ""


def test_a_host_that_does_not_answer_has_failed() -> None:
    result = run(far(1, 3), AnsibleConnectionFailure("no route to host"))
    assert result == {"failed": True, "lost": True, "msg": "the host gives no answer any more"}


@pytest.mark.parametrize("phase", ["ask_provider", "prune", "rotation_info", "stage"])
def test_a_host_that_has_not_begun_is_unreachable(phase: str) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        run(AnsibleConnectionFailure("no route to host"), phase=phase)


# -- work that takes several calls ---------------------------------------------------------------------------------


def tokens(done: int, proven: int, total: int = 3, relink: int = 0, ended: bool = False) -> dict[str, Any]:
    lost = [str(number) for number in range(relink)]
    counts = {"total": total, "done": done, "proven": proven, "relink_required": lost, "gone": []}
    return {"changed": True, **counts, "ended": ended}


def test_tokens_are_replaced_by_as_many_calls_as_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    # the second is lost when it is proved: one less is done, and yet the work has come on
    calls = [tokens(1, 0), tokens(3, 1), tokens(2, 1, relink=1), tokens(2, 2, relink=1, ended=True)]
    assert run(*calls, phase="replace_tokens") == calls[-1]
    assert capsys.readouterr().out.splitlines() == [
        f"app1: {said} proved"
        for said in ("1 of 3 tokens replaced, 0", "3 of 3 tokens replaced, 1", "2 of 3 tokens replaced, 1")
    ]


@pytest.mark.parametrize(
    ("calls", "taken"),
    [
        ([far(1, 3)] * 9, 2),
        ([far(0, 3)] * 9, 1),
        ([far(-1, 3)] * 9, 1),
        ([far(4, 3)] * 9, 1),
        ([far(2, 3), far(1, 3)] * 9, 2),
        ([far(number, number + 1) for number in range(1, 99)], 5),
        ([tokens(1, 0)] * 9, 2),
        ([tokens(number, 0, total=number) for number in range(1, 99)], 5),
    ],
    ids=["stands", "nothing", "below", "beyond", "back", "ever more", "stands, tokens", "ever more, tokens"],
)
def test_a_host_whose_work_does_not_come_on_keeps_nobody(calls: list[dict[str, Any]], taken: int) -> None:
    action = action_of("replace_tokens" if "ended" in calls[0] else "turn", list(calls))
    result = action.run(task_vars={"inventory_hostname": "app1"})
    assert result["failed"] and "app1 says that work is left and makes no progress" in result["msg"]
    assert "look at the host before it is trusted again" in result["msg"]
    assert len(calls) - len(action.answers) == taken


def test_all_calls_of_one_work_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(answers.time, "monotonic", lambda: now[0])
    work = answers.Work("turn", "app1")
    for hour in range(1, answers.MOST_HOURS + 1):
        now[0] = 3600.0 * hour
        assert work.left(far(hour, 1000))
    now[0] += 1
    with pytest.raises(answers.Unfit, match=r"app1 has worked for 24 hours and is at 25 of 1,000: .* resume\.yml"):
        work.left(far(25, 1000))
    assert work.left(DONE) == work.left({"failed": True, "msg": "why"}) == ""
