"""The application's own programs: its checks as proofs, by real programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.ground.scripts import Scripts
from keyturn.host import probes
from keyturn.host.probes import Question
from support.others import ground

VALUE = {"PLAID_SECRET": "of-the-test"}


def asked(scripts: Scripts | None, *command: str, seconds: float = 60, dead: Any = None) -> dict[str, str]:
    question = Question("new", VALUE, dead, [], None, scripts=scripts)
    (line,) = probes.ask([{"kind": "command", "checks": [{"command": [*command], "seconds": seconds}]}], question)
    return line


def check(folder: Path, text: str) -> str:
    path = folder / "check.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return "./check.sh"


@pytest.mark.parametrize(("code", "verdict"), [(0, "accepted"), (7, "rejected")])
@pytest.mark.parametrize("dead", [None, VALUE])
def test_the_exit_code_is_the_answer_before_and_after(tmp_path: Path, code: int, verdict: str, dead: Any) -> None:
    line = asked(Scripts(tmp_path, None), check(tmp_path, f"exit {code}"), "a b", dead=dead)
    assert (line["proof"], line["subject"], line["verdict"]) == ("command", "./check.sh", verdict)
    assert line["detail"] == f"exit code {code}"
    assert "a b" not in str(line), "an argument may be a value"


def test_a_check_runs_in_the_folder_in_a_clean_environment_and_nothing_that_it_prints_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAID_SECRET", "of-the-operator")
    line = asked(Scripts(tmp_path, None), check(tmp_path, "env >seen; pwd >>seen; echo $0 leak; echo leak >&2"))
    assert line["verdict"] == "accepted" and "leak" not in str(line) + "".join(capfd.readouterr())
    seen = (tmp_path / "seen").read_text()
    assert "of-the-operator" not in seen and f"\n{tmp_path}\n" in seen


def test_a_check_without_an_end_is_killed_and_says_nothing(tmp_path: Path) -> None:
    line = asked(Scripts(tmp_path, None), check(tmp_path, "sleep 1000"), seconds=0.05)
    assert (line["verdict"], line["detail"]) == ("unknown", "did not end within 0.05 s")


def test_in_check_mode_it_is_only_seen_that_it_can_be_run(tmp_path: Path) -> None:
    dry = Scripts(tmp_path, None, dry=True)
    assert asked(dry, check(tmp_path, "touch ran"))["verdict"] == "accepted"
    assert not (tmp_path / "ran").exists()
    (tmp_path / "check.sh").chmod(0o644)
    assert asked(dry, "./check.sh")["verdict"] == asked(dry, "no-such-program")["verdict"] == "unknown"


def test_where_only_the_service_gets_the_value_nothing_is_asked() -> None:
    assert asked(None, "true")["verdict"] == "not configured"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match=r"\./missing in .* cannot be run: No such file or directory"):
        asked(Scripts(tmp_path, None), "./missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_check_runs_as_the_user_of_the_application() -> None:
    with ground() as app:
        assert Scripts(app, "nobody").run(["sh", "-c", 'test "$(id -un)" = nobody'], 60) == 0
