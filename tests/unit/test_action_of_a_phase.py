"""The action of a phase on the controller: what it prints, and a host that does not answer."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.loader import action_loader
from support.lab import ROOT

action_loader.add_directory(str(ROOT / "plugins/action"))
SPEC = importlib.util.spec_from_file_location("plugin", ROOT / "plugins/action/keyturn_host.py")
assert SPEC is not None and SPEC.loader is not None
PLUGIN = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PLUGIN)


class Action(PLUGIN.ActionModule):  # type: ignore[misc, name-defined]
    """The action of a phase, whose calls return ``answers`` or raise them."""

    def __init__(self, answers: list[Any], check_mode: bool = False, **call: Any) -> None:
        phase = call.pop("phase", "turn")
        self._task = SimpleNamespace(action=f"keyturn_{phase}", args={"rotation": "the"} | call, check_mode=check_mode)
        self.told = {"phase": phase, "rotation": "the"} | call
        self.answers = answers

    def _execute_module(self, name: str, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert (name, args) == ("keyturn_phase", self.told)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLUGIN.ActionBase, "run", lambda self, tmp, task_vars: {})


def run(*answers: Any, **more: Any) -> dict[str, Any]:
    return dict(Action(list(answers), **more).run(task_vars={"inventory_hostname": "app1"}))


DONE = {
    "changed": True,
    "rotation": {"times": {"prepare": 7.24, "switch": 1.31, "prove": 0.2}, "downtime_seconds": 1.2},
}


def test_it_prints_how_far_a_call_has_come_and_how_long_each_step_took(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"progress": "1 of 3 rows"}, {"progress": "2 of 3 rows"}, DONE) == DONE
    assert capsys.readouterr().out.splitlines() == [
        "app1: prepare, switch, prove ...",
        "app1: 1 of 3 rows",
        "app1: 2 of 3 rows",
        "app1: prepare 7.2 s",
        "app1: switch 1.3 s, down for 1.2 s",
        "app1: prove 0.2 s",
    ]


def test_a_step_that_the_host_has_not_timed_is_timed_here(capsys: pytest.CaptureFixture[str]) -> None:
    run({"changed": True, "rotation": {}}, phase="rollback", cause="a test")
    begins, ends = capsys.readouterr().out.splitlines()
    assert begins == "app1: rollback ..."
    assert ends.startswith("app1: rollback 0.")


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


def test_a_host_that_does_not_answer_has_failed() -> None:
    result = run({"progress": "1 of 3 rows"}, AnsibleConnectionFailure("no route to host"))
    assert result == {"failed": True, "lost": True, "msg": "the host gives no answer any more"}


@pytest.mark.parametrize("phase", ["assess", "prune", "stage", "state"])
def test_a_host_that_has_not_begun_is_unreachable(phase: str) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        run(AnsibleConnectionFailure("no route to host"), phase=phase)
