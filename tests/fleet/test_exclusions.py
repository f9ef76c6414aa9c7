"""A host is away for good: a person leaves it out, and says why. Then it comes back."""

from __future__ import annotations

import json

from support.fleet import HOSTS, JWT, Fleet, one_side, record

LEFT_OUT = ("-e", json.dumps({"keyturn_exclude": {"app3": "its board is broken"}}))


def test_a_rotation_goes_on_without_a_host_that_returns_later(fleet: Fleet) -> None:
    before = fleet.look()
    run = fleet.start("rotate_jwt_secret")
    with fleet.lock_held("app3", "staged") as wait:
        run.wait_for("TASK [rotation : Prepare, switch and prove")
        wait()
        run.kill()
        fleet.power_off("app3")

    code, output = fleet.play("resume")
    assert code != 0
    assert "app3 cannot be reached" in output, output
    code, output = fleet.play("resume", *LEFT_OUT)
    assert code == 0, output
    report = fleet.report()
    assert report["outcome"] == "committed_with_exclusions"
    assert report["hosts"]["app3"]["excluded"] == "its board is broken"
    log = (fleet.reports / "lab/rotation-log.md").read_text()
    assert "committed_with_exclusions" in log
    assert "without app3: its board is broken" in log
    code, output = fleet.play("verify")
    assert code != 0
    assert "app3" in output

    fleet.boot("app3")
    assert not fleet.healthy("app3"), "it would serve the value that is dead on the others"
    code, output = fleet.play("verify")
    assert code != 0
    assert "app3" in output.split("PLAY RECAP")[0]
    code, output = fleet.play("resume")
    assert code == 0, output
    assert fleet.report()["outcome"] == "committed"
    found = fleet.assert_ended()
    assert one_side(JWT, before, found) == "new"
    fleet.assert_verified()
    record("app3 away, left out", "jwt, prepare", "resume: committed_with_exclusions, committed", {"new": HOSTS}, found)


def test_a_host_that_was_never_asked_is_found_when_it_returns(fleet: Fleet) -> None:
    """It was left out from the start, so that no gate keeps it from serving: verify.yml finds it."""
    fleet.cut("app3")
    code, output = fleet.play("rotate_jwt_secret")
    assert code != 0
    assert "app3 cannot be reached" in output
    assert fleet.report()["outcome"] == "refused"
    code, output = fleet.play("rotate_jwt_secret", *LEFT_OUT)
    assert code == 0, output
    assert fleet.report()["outcome"] == "committed_with_exclusions"
    fleet.mend("app3")
    code, output = fleet.play("verify")
    assert code != 0
    assert "The hosts hold different values" in output
    code, output = fleet.play("rotate_jwt_secret", "-e", "keyturn_adopt=app1")
    assert code == 0, output
    found = fleet.assert_ended()
    assert len({said[JWT] for said in found.values()}) == 1
    fleet.assert_verified()
