"""The main job: ansible-playbook as a process, the service running."""

from __future__ import annotations

from support.lab import Lab


def test_turns_the_key_and_loses_nothing(lab: Lab) -> None:
    old = lab.key()
    done = lab.play("rotate_db_key")
    assert done.returncode == 0, done.stdout
    assert lab.key() != old
    assert lab.tokens_read() == lab.tokens
    assert lab.get("/api/bank/accounts") == 200
    assert lab.report()["outcome"] == "committed"
