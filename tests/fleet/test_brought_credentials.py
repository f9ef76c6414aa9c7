"""Credentials that people bring, on three hosts behind a balancer: proved from each host, retired by the provider's word."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.brought import PLAYBOOKS, environment_of
from support.desk import Desk, tokens_held
from support.fleet import GATEWAY, HOSTS, PROVIDER_PORTS, ROOT, Fleet, Prober, record

pytestmark = pytest.mark.new_application
HOOKS = {
    "keyturn_haproxy": {"host": "lb", "socket": "/run/haproxy.sock", "backend": "apps"},
    "keyturn_drain_hook": str(ROOT / "playbooks/hooks/haproxy_drain.yml"),
    "keyturn_return_hook": str(ROOT / "playbooks/hooks/haproxy_return.yml"),
}
LEFT_OUT = ("-e", json.dumps({"keyturn_exclude": {"app3": "its board is broken"}}))
DRAINED = ("-e", json.dumps(HOOKS))
WALL = f"OUTPUT -d {GATEWAY} -p tcp --dport {PROVIDER_PORTS['plaid']} -j REJECT"


@pytest.fixture
def desk(fleet: Fleet) -> Desk:
    return Desk(fleet)


def proofs(report: dict[str, Any], host: str) -> dict[str, str]:
    return {line["proof"]: line["verdict"] for line in report["hosts"][host]["proofs"]}


def said(output: str) -> str:
    return " ".join(output.split())


def test_plaid_host_by_host_without_one_failed_request(fleet: Fleet, desk: Desk) -> None:
    desk.make("plaid")
    with Prober() as prober:
        code, output = desk.rotate("plaid", *DRAINED)
    assert code == 0, output
    assert prober.good > 100
    assert prober.failures == []
    assert desk.on_new("plaid") == list(HOSTS)
    report = fleet.report()
    assert [proofs(report, host)["provider"] for host in HOSTS] == ["accepted"] * 3
    print(f"plaid: {len(prober.failures)} of {prober.asked} requests failed while three hosts were switched in turn")

    code, output = fleet.play("confirm_revoked", "-e", "keyturn_secret=plaid")
    assert code != 0
    assert "Plaid still accepts the old credential" in said(output), output
    code, output = fleet.play("status")
    assert code != 0, "an open revocation is nothing to be content with"
    desk.revoke("plaid")
    kept = "ls /var/lib/keyturn/*/rotations/*/previous.json 2>/dev/null || true"
    for more, holders in ((LEFT_OUT, ["app3"]), ((), [])):
        code, output = fleet.play("confirm_revoked", *more)
        assert code == 0, output
        assert [host for host in HOSTS if fleet.run(host, kept)] == holders, (
            "a dead value is kept where it was asked about"
        )
    assert "(revoked, without app3: its board is broken)" in (fleet.reports / "lab/rotation-log.md").read_text()
    found = fleet.assert_ended()
    fleet.assert_verified()
    record("none", "plaid", report["outcome"], {"new": HOSTS}, found)


def test_alpaca_ready_then_all_at_once_and_the_gap_is_reported(fleet: Fleet, desk: Desk) -> None:
    code, output = fleet.play(PLAYBOOKS["alpaca"], "-e", "keyturn_until=ready")
    assert code == 0, output
    assert "READY: every check that needs no new value has passed on app1, app2, app3" in said(output)
    assert desk.on_new("alpaca") == []
    desk.make("alpaca")
    code, output = desk.rotate("alpaca")
    assert code == 0, output
    assert desk.on_new("alpaca") == list(HOSTS)
    report = fleet.report()
    for host in HOSTS:
        said_of = proofs(report, host)
        assert (said_of["provider"], said_of["account"], said_of["log line"]) == ("accepted",) * 3
    gaps = {host: report["hosts"][host]["downtime_seconds"] for host in HOSTS}
    assert all(0 < gap < 60 for gap in gaps.values())
    print(f"alpaca: {gaps} seconds without the engine")
    code, output = fleet.play("confirm_revoked")
    assert code == 0, output
    found = fleet.assert_ended()
    record("none", "alpaca", report["outcome"], {"new": HOSTS}, found)


@pytest.mark.exhaustive  # one that rolls as Plaid's does
def test_the_hugging_face_token(fleet: Fleet, desk: Desk) -> None:
    desk.make("hf_token")
    code, output = desk.rotate("hf_token", *DRAINED)
    assert code == 0, output
    assert desk.on_new("hf_token") == list(HOSTS)
    found = fleet.assert_ended()
    record("none", "hf_token", fleet.report()["outcome"], {"new": HOSTS}, found)


@pytest.mark.exhaustive  # beside the same in the middle of a rotation
def test_a_host_behind_a_firewall_is_found_before_anything_changes(fleet: Fleet, desk: Desk) -> None:
    """The controller reaches the provider, and each host is asked as well."""
    desk.make("plaid")
    fleet.run("app2", f"iptables -I {WALL}")
    code, output = desk.rotate("plaid")
    fleet.run("app2", f"iptables -D {WALL}")
    assert code != 0
    report = fleet.report()
    assert "app2" in report["failure"], output
    assert report["outcome"] == "refused"
    assert desk.on_new("plaid") == []
    found = fleet.assert_ended()
    record("app2 cannot reach Plaid", "plaid, before", report["outcome"], {"old": HOSTS}, found)


def test_a_firewall_that_rises_in_the_rotation_needs_attention_and_resume_ends_it(fleet: Fleet, desk: Desk) -> None:
    """What says nothing of the old credential is no reason to put it back: all hosts serve, and each is named."""
    desk.make("plaid")
    run = fleet.start(PLAYBOOKS["plaid"], *DRAINED, **environment_of("plaid", desk.new["plaid"]))
    with fleet.lock_held("app2", "staged") as wait:
        wait()  # app1 is on the new value already
        fleet.run("app2", f"iptables -I {WALL}")
    code, output = run.end()
    fleet.run("app2", f"iptables -D {WALL}")
    assert code != 0
    report = fleet.report()
    assert report["outcome"] == "needs_attention", output
    assert "on the new value: app1, app2; not on it: app3" in report["failure"], output
    assert desk.on_new("plaid") == ["app1", "app2"]
    assert all(fleet.healthy(host) for host in HOSTS)
    code, output = fleet.play("resume", *DRAINED)
    assert code == 0, output
    assert desk.on_new("plaid") == list(HOSTS)
    found = fleet.assert_ended()
    ended = f"needs_attention, resume: {fleet.report()['outcome']}"
    record("app2 cannot reach Plaid", "plaid, prove", ended, {"new": HOSTS}, found)


def test_an_engine_that_fails_on_one_host_needs_attention_and_resume_ends_it(fleet: Fleet, desk: Desk) -> None:
    desk.make("alpaca")
    folder = "/etc/systemd/system/trader-ai-engine.service.d"
    fleet.run("app2", f"mkdir -p {folder}; printf '[Service]\\nExecStartPre=/bin/false\\n' >{folder}/10-broken.conf")
    fleet.run("app2", "systemctl daemon-reload")
    code, output = desk.rotate("alpaca")
    assert code != 0
    report = fleet.report()
    assert report["outcome"] == "needs_attention", output
    assert "nothing goes back" in report["failure"], output
    assert desk.on_new("alpaca") == list(HOSTS)
    fleet.run("app2", f"rm {folder}/10-broken.conf; systemctl daemon-reload; systemctl reset-failed trader-ai-engine")
    code, output = fleet.play("resume")
    assert code == 0, output
    assert fleet.report()["outcome"] == "committed"
    found = fleet.assert_ended()
    record("engine does not start", "alpaca, switch", "needs_attention, resume: committed", {"new": HOSTS}, found)


@pytest.mark.new_application(rows=24, plaid=True)
def test_every_access_token_of_the_fleet_is_replaced(fleet: Fleet) -> None:
    plaid: Any = fleet.providers["plaid"]
    before = tokens_held(fleet)
    plaid.tokens = dict(before)
    plaid.invalidated = []
    code, output = fleet.play("replace_plaid_tokens", *LEFT_OUT)
    assert code == 0, output
    first = len(plaid.invalidated)
    assert first == len([one for one in before if not one.startswith("app3/")])
    code, output = fleet.play("replace_plaid_tokens")
    assert code == 0, output
    after = tokens_held(fleet)
    assert len(plaid.invalidated) - first == len(before) == len(after)
    log = (fleet.reports / "lab/rotation-log.md").read_text()
    assert "(replaced, without app3: its board is broken)" in log
    assert f"keyturn, {len(before)} of {len(before)} tokens work at their provider" in log
    known, kept = after == plaid.tokens, bool(set(before.values()) & set(after.values()))  # pytest would print tokens
    assert known
    assert not kept
    fleet.assert_ended()
