"""Both secrets on real hosts, a secret that is data alone, and what a failed batch leaves."""

from __future__ import annotations

from pathlib import Path

from support.fleet import HOSTS, ROOT, Fleet, Prober

DB_PASSWORD = """
keyturn_secrets:
  db_password:
    title: Database Password
    variables: [DB_PASSWORD]
    source: {kind: generated, generator: password}
    value: shared
    switch: together
    overlap: none_needed
    consumers: [{format: dotenv, path: .env}]
    migration: {kind: none}
    services: [backend]
    probes: [{kind: http}]
    retire: {kind: none}
    downtime_budget_seconds: 300
"""
THREE_LINES = """---
- name: Rotate the database password
  ansible.builtin.import_playbook: {root}/playbooks/_lifecycle.yml
  vars:
    keyturn_secret: db_password
"""


def test_jwt_together_and_measured(fleet: Fleet) -> None:
    before = fleet.look()
    with Prober() as prober:
        code, output = fleet.play("rotate_jwt_secret")
    assert code == 0, output[-3000:]
    after, report = fleet.look(), fleet.report()
    assert {host["JWT_SECRET_KEY"] for host in after.values()} == {report["hosts"]["app1"]["new"]["JWT_SECRET_KEY"]}
    assert all(after[host]["JWT_SECRET_KEY"] != before[host]["JWT_SECRET_KEY"] for host in HOSTS)
    downtimes = [host["downtime_seconds"] for host in report["hosts"].values()]
    print(
        f"downtime: report {min(downtimes):.2f} to {max(downtimes):.2f} s, prober {prober.window:.2f} +- {prober.resolution:.2f} s"
    )
    # the balancer serves while any host does: its window is the time in which all were down
    within = 1 + prober.resolution
    assert min(downtimes) - within < prober.window < max(downtimes) + within
    tokens = {line["proof"]: line["verdict"] for line in report["hosts"]["app3"]["proofs"]}
    assert (tokens["token"], tokens["token of the other secret"]) == ("accepted", "rejected")
    assert tokens["environment"] == "accepted"
    assert "users must sign in again" in " ".join(output.split())
    fleet.assert_ended()
    fleet.assert_verified()


def test_db_key_rolls_and_nobody_notices(fleet: Fleet) -> None:
    before = fleet.look()
    secret = fleet.run("app1", "sed -n s/^JWT_SECRET_KEY=//p /opt/trader-ai/.env").strip()
    with Prober("/api/bank/accounts", secret=secret) as prober:
        code, output = fleet.play("rotate_db_key")
    assert code == 0, output[-3000:]
    after, report = fleet.look(), fleet.report()
    keys = [after[host]["DATABASE_ENCRYPTION_KEY"] for host in HOSTS]
    assert len(set(keys)) == 3
    assert all(after[host]["DATABASE_ENCRYPTION_KEY"] != before[host]["DATABASE_ENCRYPTION_KEY"] for host in HOSTS)
    assert all(found["lost"] == 0 for found in after.values())
    starts = [output.index(f"{host}: prepare, switch, prove ...") for host in HOSTS]
    assert starts == sorted(starts), "app1 is the canary, then app2, then app3"
    # the balancer asks the hosts in turn: two requests that fail one after the other would be two hosts that do not serve
    assert prober.longest <= 1, "more than one host was down"
    # of each host the request that its stop cuts off, and the one by which the balancer learns of it
    assert len(prober.failures) <= 2 * len(HOSTS), f"{len(prober.failures)} of {prober.asked} requests failed"
    again, output = fleet.play("rotate_db_key", "-e", f"keyturn_rotation_id={report['rotation_id']}")
    assert again == 0, output[-3000:]
    assert fleet.assert_ended() == after
    fleet.assert_verified()


def test_a_sixth_secret_is_data(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "secret.yml").write_text(DB_PASSWORD)
    playbook = ROOT / "playbooks" / "rotate_db_password_test.yml"
    playbook.write_text(THREE_LINES.format(root=ROOT))
    try:
        password = "grep ^DB_PASSWORD /opt/trader-ai/.env | sha256sum"
        before = [fleet.run(host, password) for host in HOSTS]
        code, output = fleet.play(playbook.stem, "-e", f"@{tmp_path / 'secret.yml'}", "-e", "keyturn_adopt=app1")
    finally:
        playbook.unlink()
    assert code == 0, output[-3000:]
    after = [fleet.run(host, password) for host in HOSTS]
    assert len(set(after)) == 1
    assert not set(after) & set(before)
    fleet.assert_ended()
