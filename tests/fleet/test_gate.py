"""The start gate: a host that lost its power in the middle of a switch boots, and starts nothing that is half switched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from support.fleet import HOSTS, KEY, Fleet, moved, record

HOLD = "/usr/local/lib/python3.11/dist-packages/hold.pth"
HOLD_RENAME = """\
import os, time; os.rename = (lambda real, sleep: lambda source, target, **more: \
(str(target) == ".env" and sleep(100), real(source, target, **more))[1])(os.rename, time.sleep)
"""


@pytest.mark.covering
@pytest.mark.parametrize("playbook", ["resume", "rollback"])
def test_power_off_between_the_commit_of_the_rows_and_the_rename_of_the_file(fleet: Fleet, playbook: str) -> None:
    before = fleet.look()
    with rename_held(fleet, "app1") as wait:
        run = fleet.start("rotate_db_key")
        wait()
        fleet.power_off("app1")
    code, _ = run.end()
    assert code != 0
    fleet.boot("app1")
    fleet.run("app1", f"rm {HOLD}")

    found = fleet.look_at("app1")
    assert found[KEY] == before["app1"][KEY], "the file is the old one"
    assert found["lost"] > 0, "the rows are the new ones"
    fleet.run("app1", "systemctl start trader-ai-backend", check=False)
    state = fleet.run("app1", "systemctl show trader-ai-backend -p ActiveState,ConditionResult")
    assert sorted(state.split()) == ["ActiveState=inactive", "ConditionResult=no"]
    assert not fleet.healthy("app1")

    code, output = fleet.play(playbook)
    # the other batches went back when the canary was lost, and their decision is the rotation's: resume.yml promises another end
    assert (code == 0) == (playbook == "rollback"), output
    found = fleet.assert_ended()
    assert not moved(KEY, before, found)
    record("power", f"db_key, rows new and file old, {playbook}", fleet.report()["outcome"], {"old": HOSTS}, found)


def test_power_off_of_all_in_the_switch_and_resume_ends_on_the_new_value(fleet: Fleet) -> None:
    """The controller dies with the host, so that nothing has decided to go back."""
    before = fleet.look()
    with rename_held(fleet, "app1") as wait:
        run = fleet.start("rotate_db_key")
        wait()
        run.kill()
        fleet.power_off("app1")
    fleet.boot("app1")
    fleet.run("app1", f"rm {HOLD}")
    assert not fleet.healthy("app1")
    code, output = fleet.play("resume")
    assert code == 0, output
    found = fleet.assert_ended()
    assert moved(KEY, before, found) == list(HOSTS)
    record("power, controller", "db_key, rows new and file old", fleet.report()["outcome"], {"new": HOSTS}, found)


@contextlib.contextmanager
def rename_held(fleet: Fleet, host: str) -> Iterator[Callable[[], None]]:
    """Hold every Python of the host before it renames a file to `.env`; yields a way to wait until one is held."""
    fleet.run(host, f"cat >{HOLD} <<'END'\n{HOLD_RENAME}END")
    # the new file is there, and stays: it would be gone in a moment
    there = "ls /opt/trader-ai/.env.keyturn-*"
    yield lambda: fleet.wait_on(host, f"{there} && sleep 1 && {there}")
