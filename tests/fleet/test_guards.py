"""What a fleet makes possible to get wrong: one machine under two names, a downtime over the budget."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from support.fleet import HOSTS, INVENTORY, JWT, KEY, ROOT, Fleet, moved, one_side


def test_one_machine_under_two_names(fleet: Fleet, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory/lab"
    shutil.copytree(INVENTORY, inventory)
    hosts = (inventory / "hosts.yml").read_text()
    (inventory / "hosts.yml").write_text(hosts.replace("_number }}2", "_number }}1"))
    key = f"ansible_ssh_private_key_file={ROOT}/.local/lab/id_ed25519"
    before = fleet.look()
    code, output = fleet.play("rotate_jwt_secret", "-e", key, inventory=inventory)
    assert code != 0
    assert "app1 and app2 are the same machine and folder" in fleet.report()["failure"], output
    assert fleet.report()["outcome"] == "refused"
    found = fleet.assert_ended()
    assert moved(JWT, before, found) == moved(KEY, before, found) == []


def test_a_downtime_over_the_budget_is_no_success(fleet: Fleet, tmp_path: Path) -> None:
    """The rotation stands, since to go back would be one more downtime; the report and the exit code say it."""
    catalogue = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())
    catalogue["secrets"]["jwt"]["downtime_budget_seconds"] = 1
    (tmp_path / "catalogue.yml").write_text(yaml.safe_dump({"keyturn_secrets": catalogue["secrets"]}))
    fleet.run(
        "app2",
        "mkdir -p /etc/systemd/system/trader-ai-backend.service.d; "
        "printf '[Service]\\nExecStartPre=/bin/sleep 3\\n' >/etc/systemd/system/trader-ai-backend.service.d/10-slow.conf; "
        "systemctl daemon-reload",
    )
    before = fleet.look()
    code, output = fleet.play("rotate_jwt_secret", "-e", f"@{tmp_path / 'catalogue.yml'}")
    fleet.run("app2", "rm /etc/systemd/system/trader-ai-backend.service.d/10-slow.conf; systemctl daemon-reload")
    assert code != 0
    report = fleet.report()
    assert report["outcome"] == "committed"
    assert report["hosts"]["app2"]["downtime_seconds"] > 3
    assert "app2" in output.rpartition("was down for longer than the budget")[0][-60:], output
    assert "OVER the budget of 1 s" in output
    assert [said["outcome"] for said in report["hosts"].values()] == ["committed"] * len(HOSTS)
    assert one_side(JWT, before, fleet.assert_ended()) == "new"
