"""A value goes from action to action in memory: not in a task's arguments, nor in a result, nor in what Ansible prints of a call."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from keyturn.base.fingerprint import fingerprint
from support.lab import ROOT, catalogue

ID, OTHER = "20260101T000000Z-0123456789abcdef", "20260101T000000Z-fedcba9876543210"
NEW = "a-new-value-that-nobody-may-see"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The memory of one run."""
    action("keyturn_controller")  # from then on module_utils are found
    from ansible.module_utils.keyturn.entry import memory  # type: ignore[attr-defined]

    fd = memory.opened()
    monkeypatch.setattr(memory, "_FD", fd)
    yield memory
    os.close(fd)


def action(name: str) -> Any:
    action_loader.add_directory(str(ROOT / "plugins/action"))
    return action_loader.get(name, class_only=True)


def task(name: str, **args: Any) -> Any:
    """An action of a task with these arguments, outside a run."""
    made = object.__new__(action(name))
    made._task = SimpleNamespace(action=name, args=args, check_mode=False, no_log=False)
    return made


def test_what_a_host_has_of_its_own_counts_before_what_all_share(memory: Any) -> None:
    assert memory.kept(ID, "app1") is None
    memory.keep(ID, "", {"A": "for all"})
    memory.keep(ID, "app1", {"A": "first"})
    memory.keep(ID, "app1", {"A": "last"})
    assert memory.kept(ID, "app1") == {"A": "last"}
    assert memory.kept(ID, "app2") == memory.kept(ID) == {"A": "for all"}
    assert memory.kept(OTHER, "app1") is None


def test_workers_that_keep_at_the_same_time_lose_nothing(memory: Any) -> None:
    workers = []
    for number in range(8):
        if not (pid := os.fork()):
            for round_ in range(50):
                memory.keep(ID, f"app{number}", {"A": f"{round_}" * 200})
            os._exit(0)
        workers.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in workers] == [0] * 8
    assert [memory.kept(ID, f"app{number}") for number in range(8)] == [{"A": "49" * 200}] * 8


def test_a_program_that_a_run_starts_does_not_get_it(memory: Any) -> None:
    memory.keep(ID, "", {"A": NEW})
    search = "for file in /proc/self/fd/*; do case $(readlink $file) in *memfd*) cat $file;; esac; done"
    done = subprocess.run(["/bin/sh", "-c", search], close_fds=False, capture_output=True, check=True)
    assert done.stdout == b""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ansible is told of a call on a host (it prints that where it is debugged), and what is packed into it."""
    found: dict[str, Any] = {}

    def execute(self: Any, name: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self._configure_module(name, arguments, task_vars)
        found["told"] = arguments
        return {"changed": False}

    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(ActionBase, "_is_pipelining_enabled", lambda self, style: True)
    monkeypatch.setattr(ActionBase, "_execute_module", execute)
    monkeypatch.setattr(ActionBase, "_configure_module", lambda self, name, args, known: found.update(packed=args))
    return found


def stage(**more: Any) -> dict[str, Any]:
    made = task("keyturn_stage", rotation={"rotation_id": ID}, sent_at=0.0, **more)
    return dict(made.run(task_vars={"inventory_hostname": "app1"}))


@pytest.mark.parametrize("owner", ["", "app1"])
def test_the_value_is_packed_into_the_call_and_nobody_is_told(memory: Any, calls: dict[str, Any], owner: str) -> None:
    memory.keep(ID, owner, {"A": NEW})
    assert NEW not in repr(stage())
    assert NEW not in repr(calls["told"])
    assert calls["packed"]["new_values"] == {"A": NEW}


def test_a_call_gets_no_value_where_there_is_none_or_it_only_examines(memory: Any, calls: dict[str, Any]) -> None:
    stage()
    assert "new_values" not in calls["packed"]
    memory.keep(ID, "", {"A": NEW})
    stage(only_examine=True)
    assert "new_values" not in calls["packed"]


def test_a_call_with_a_value_wants_pipelining(
    memory: Any, calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ActionBase, "_is_pipelining_enabled", lambda self, style: False)
    assert "Pipelining" not in stage()["msg"]
    memory.keep(ID, "", {"A": NEW})
    assert stage()["msg"].startswith("Pipelining is off")


def test_the_password_of_an_admin_is_read_for_the_call_and_nobody_is_told(
    calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"issuer": {"admin": {"user": "a", "stored": "database_admin"}}}
    given = {"rotation": {"rotation_id": ID, "environment": "test", "entry": entry}, "step": "set"}
    made = task("keyturn_issue", **given, store={"kind": "openbao", "url": "https://127.0.0.1:9"})
    monkeypatch.setattr(
        made.run.__globals__["stores"], "password_at", lambda spec, environment, name: f"{environment}/{name}: {NEW}"
    )
    assert NEW not in repr(made.run(task_vars={"inventory_hostname": "app1"}))
    assert NEW not in repr(calls["told"])
    assert calls["packed"]["admins_password"] == f"test/database_admin: {NEW}" and "store" not in calls["packed"]
    monkeypatch.setattr(ActionBase, "_is_pipelining_enabled", lambda self, style: False)
    assert made.run(task_vars={"inventory_hostname": "app1"})["msg"].startswith("Pipelining is off")


def test_a_generated_value_is_no_result(memory: Any, calls: dict[str, Any]) -> None:
    made = task("keyturn_values", variables=["A"], generator="fernet", rotation_id=ID, hosts={"app1": {}})
    result = made.run(task_vars={})
    (value,) = memory.kept(ID).values()
    assert result["new"] == {"A": fingerprint(value)}
    assert value not in repr(result)


def test_a_brought_value_is_in_no_arguments_and_no_result(
    memory: Any, calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible.module_utils.keyturn.providers import (
        Reply,  # type: ignore[attr-defined]
        supplied,  # type: ignore[attr-defined]
    )

    token = "hf_" + "a1B2" * 9
    monkeypatch.setattr(supplied, "ask", lambda entry, overrides, values: Reply("accepted", "HTTP 200", "us"))
    monkeypatch.setenv("KEYTURN_NEW_HF_TOKEN", token)
    entry = catalogue()["hf_token"] | {"provider": {"kind": "huggingface", "url": "http://127.0.0.1:9"}}
    made = task("keyturn_supply", rotation_id=ID, entry=entry, file="", prompt="")
    result = made.run(task_vars={})
    assert result["new"] == {"HF_TOKEN": fingerprint(token)}, result.get("msg")
    assert token not in repr(made._task.args) + repr(result)
    assert memory.kept(ID, "app1") == {"HF_TOKEN": token}


def test_a_file_of_values_is_looked_for_where_the_run_was_started(
    memory: Any, calls: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = task("keyturn_supply", rotation_id=ID, entry=catalogue()["hf_token"], file="new.yml", prompt="")
    assert made.run(task_vars={})["msg"].startswith(f"keyturn_new_values: {tmp_path}/new.yml does not exist")
