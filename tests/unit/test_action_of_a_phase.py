"""The action of a phase on the controller: what it prints, and a host that does not answer."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from support.lab import ROOT

SPEC = importlib.util.spec_from_file_location("plugin", ROOT / "plugins/action/keyturn_host.py")
assert SPEC is not None and SPEC.loader is not None
PLUGIN = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PLUGIN)


class Action(PLUGIN.ActionModule):  # type: ignore[misc, name-defined]
    """The action of prepare, whose calls return ``answers`` or raise them."""

    def __init__(self, answers: list[Any], must_answer: bool = True) -> None:
        self._task = SimpleNamespace(action="keyturn_prepare", args={"rotation": "the"})
        self.answers = answers
        self.must_answer = must_answer

    def _execute_module(self, name: str, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert (name, args) == ("keyturn_phase", {"phase": "prepare", "rotation": "the"})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLUGIN.ActionBase, "run", lambda self, tmp, task_vars: {})


def run(*answers: Any, **more: Any) -> dict[str, Any]:
    return dict(Action(list(answers), **more).run(task_vars={"inventory_hostname": "app1"}))


def test_it_prints_each_answer_and_returns_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"progress": "1 of 3 rows"}, {"progress": "2 of 3 rows"}, {"changed": True}) == {"changed": True}
    assert capsys.readouterr().out.splitlines() == ["app1: 1 of 3 rows", "app1: 2 of 3 rows"]


def test_it_prints_what_check_mode_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"would": "turn 3 rows"})["would"] == "turn 3 rows"
    assert capsys.readouterr().out == "app1: turn 3 rows\n"


def test_a_host_that_does_not_answer_has_failed() -> None:
    result = run({"progress": "1 of 3 rows"}, AnsibleConnectionFailure("no route to host"))
    assert result == {"failed": True, "lost": True, "msg": "the host gives no answer any more"}


def test_a_host_that_is_only_looked_at_is_unreachable() -> None:
    with pytest.raises(AnsibleConnectionFailure):
        run(AnsibleConnectionFailure("no route to host"), must_answer=False)
