"""Services of many shapes on a real systemd: each is turned, goes back, outlives a cut of the power, or is refused before it stops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.fleet import Fleet
from support.shapes import APP, REFUSED, RELOAD, UNITS, WORKS, Shape, beside, unit
from support.units import VARIABLE, UnitHost

# what makes a difference on a way back
ON_THE_WAY_BACK = ("follower", "trigger", "kill_left")


def on_the_way_back(shape: str) -> str:
    return WORKS[shape].kind if WORKS[shape].kind in ON_THE_WAY_BACK else ""


@pytest.fixture(scope="module")
def code(hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = Fleet(tmp_path_factory.mktemp("reports"), {})
    UnitHost(fleet).bring_code()
    return fleet


@pytest.fixture
def host(code: Fleet) -> Iterator[UnitHost]:
    """A host; what ran on it before a test runs at its end (``support.standing``)."""
    made = UnitHost(code)
    made.clean()
    yield made
    made.clean()


def goes(host: UnitHost, phase: str) -> None:
    error = host.call(phase)["error"]
    assert not error, error


def staged(host: UnitHost, shape: Shape) -> None:
    host.make(shape)
    goes(host, "stage")


@pytest.mark.covering(shape=lambda shape: WORKS[shape].kind)
@pytest.mark.parametrize("shape", WORKS)
def test_every_shape_is_turned(host: UnitHost, shape: str) -> None:
    staged(host, WORKS[shape])
    goes(host, "turn")
    host.assert_runs_on(host.new, host.old)
    goes(host, "commit")
    assert host.call("holdings_info")["problems"] == []


@pytest.mark.covering(shape=on_the_way_back)
@pytest.mark.parametrize("shape", WORKS)
def test_a_start_that_fails_goes_back(host: UnitHost, shape: str) -> None:
    staged(host, WORKS[shape])
    host.put({f"{APP}/only": host.old})
    assert "backend" in host.call("turn")["error"]
    goes(host, "rollback")
    host.assert_runs_on(host.old, host.new)


@pytest.mark.covering("way", shape=on_the_way_back)
@pytest.mark.parametrize("way", ["turn", "rollback"])
@pytest.mark.parametrize("shape", WORKS)
def test_a_cut_of_the_power_has_both_ways_out(host: UnitHost, shape: str, way: str) -> None:
    staged(host, WORKS[shape])
    host.call("turn", hold=True)
    assert host.run(f"curl -gsfm 5 {host.url()} || echo down").strip() == "down", (
        "it was started in the middle of a switch"
    )
    goes(host, way)
    value, other = (host.new, host.old) if way == "turn" else (host.old, host.new)
    host.assert_runs_on(value, other)


@pytest.mark.covering(shape=lambda shape: REFUSED[shape][0].kind)
@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_be_handled_is_refused_while_it_runs(host: UnitHost, shape: str) -> None:
    made, why = REFUSED[shape]
    host.make(made)
    before = host.run(f"cat {APP}/.env; systemctl show -p InvocationID {host.running[0]}")
    assert why in host.call("stage")["error"]
    assert host.run(f"cat {APP}/.env; systemctl show -p InvocationID {host.running[0]}") == before


@pytest.mark.parametrize("by", ["signal", "reload"])
@pytest.mark.parametrize("does", ["rereads", ""])
def test_a_reload_stops_nothing_and_is_believed_by_tokens_alone(host: UnitHost, does: str, by: str) -> None:
    """One that reads nothing anew, and lives, is found by them."""
    ignores = "ExecReload=/bin/true"
    made = unit("simple", RELOAD if does else ignores, does=does)
    says: dict[str, Any] = {"reloads": ["jwt"]}
    if by == "signal":
        made, says = unit("simple", does=does or "deaf"), says | {"reload_signal": "HUP"}
    staged(host, Shape("reload", made, says=says))
    before = host.run("systemctl show -p InvocationID,MainPID shape.service")
    if does:
        goes(host, "turn")
        assert host.call("commit")["rotation"]["downtime_seconds"] == 0
    else:
        assert "proof token of backend is rejected" in host.call("turn")["error"]
        goes(host, "rollback")
    assert host.run("systemctl show -p InvocationID,MainPID shape.service") == before
    host.assert_runs_on(*((host.new, host.old) if does else (host.old, host.new)))


def test_a_unit_that_nobody_has_declared_and_that_keeps_the_old_value_is_named(host: UnitHost) -> None:
    """By its environment file, by its environment, and by the folder that it runs in."""
    beside_it = {
        "shape-b.service": beside("") + f"EnvironmentFile={APP}/.env\n",
        "shape-c.service": beside("") + f"WorkingDirectory={APP}\n",
    }
    staged(host, Shape("readers", unit(), beside_it, tuple(beside_it)))
    goes(host, "turn")
    done = host.call("commit")["rotation"]
    named = (f"unit shape-b.service has {VARIABLE} in its environment", f"unit shape-c.service runs in {APP}, and may")
    for said in (done["findings"], done["evidence"]["readers"]):
        assert all(any(line.startswith(text) for line in said) for text in named), said


MOVED = ("`Requires=` on it, and on that", "started by a socket", "`KillMode=process`", "`Upholds=` on it")


@pytest.mark.covering(shape=lambda shape: WORKS[shape].kind == "restarted")
@pytest.mark.parametrize("shape", MOVED)
def test_a_delivery_moves_a_shape_there_and_back(host: UnitHost, shape: str) -> None:
    host.make(WORKS[shape])
    for host.delivery in ("systemd_credential", "dotenv"):
        goes(host, "deliver")
        host.assert_runs_on(host.old, host.new)


def test_a_delivery_that_fails_leaves_nothing_down(host: UnitHost) -> None:
    """Whatever comes of the way back, and where the refusal is known before the stop nothing stops."""
    host.make(WORKS["`Requires=` on it, and on that"])
    host.delivery = "systemd_credential"
    host.run("mount -o remount,size=12m /run")
    before = host.run("systemctl show -p InvocationID shape.service")
    assert "it wants 16 MiB free in /run" in host.call("deliver")["error"]
    assert host.run("systemctl show -p InvocationID shape.service") == before
    host.run("mount -o remount,size=50% /run")
    host.put({f"{UNITS}/shape.service.d/zzz.conf": "[Service]\nLoadCredentialEncrypted=\n"})
    host.run("systemctl daemon-reload")
    assert "the values are where they were" in host.call("deliver")["error"]
    host.assert_runs_on(host.old, host.new)


def test_an_edit_of_the_command_after_a_delivery_is_found_while_it_runs(host: UnitHost) -> None:
    host.make(WORKS["any other service"])
    host.delivery = "systemd_credential"
    goes(host, "deliver")
    host.put(
        {
            f"{UNITS}/shape.service.d/override.conf": f"[Service]\nExecStart=\nExecStart=/usr/bin/python3 {APP}/server.py edited\n"
        }
    )
    host.run("systemctl daemon-reload; systemctl restart shape.service")
    host.wait_up()
    host.assert_runs_on(host.old, host.new)
    assert "its command has changed since: run migrate_delivery.yml" in host.call("stage")["error"]
    goes(host, "deliver")
    host.assert_runs_on(host.old, host.new)
    assert "edited" in host.run("systemctl show -p ExecStart shape.service")
    goes(host, "stage")
    goes(host, "rollback")
