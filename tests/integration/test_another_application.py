"""An application of somebody else's: its data and its playbook lie in a folder of its own, and the inventory chooses it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from dotenv import dotenv_values
from support import warm
from support.lab import KEY, ROOT, Lab

# the stand-in with other names for its secrets, in a group of another name, a second database and a second `.env`
CATALOGUE = """---
log_lines:
  braces: {message: "{{ this is no template }}"}
secrets:
  vault_key:
    title: Vault Key
    variables: [DATABASE_ENCRYPTION_KEY]
    source: {kind: generated, generator: fernet}
    value: per_host
    switch: rolling
    overlap: none_needed
    consumers:
      - {format: dotenv, path: .env}
      - {format: dotenv, path: worker/.env, keys: {DATABASE_ENCRYPTION_KEY: vault.key}}
    migration:
      kind: several
      stores:
        - kind: fernet_sqlite
          database: data/bank_accounts.db
          columns: [{table: plaid_items, key: item_id, column: access_token, plaintext: "{{ keyturn_plain }}"}]
        - kind: fernet_sqlite
          database: data/vault.db
          columns: [{table: vault, key: [scope, name], column: secret, flag: is_encrypted}]
    services: [backend]
    probes: [{kind: rows}, {kind: http}]
    retire: {kind: none}
    downtime_budget_seconds: 1800
"""
POLICY = """---
review: {next: "9999-01-01"}
schedule: {vault_key: {max_age_days: 90}}
checklist:
  - {id: works_everywhere, text: The new key works}
  - {id: backup, text: There is a backup}
"""
PLAYBOOK = """---
- name: Turn the key of the vault
  ansible.builtin.import_playbook: {root}/playbooks/rotate.yml
  vars:
    keyturn_secret: vault_key
"""


class Shop(Lab):
    """The stand-in as another application, in a folder of its own."""

    @property
    def data(self) -> Path:
        """The folder of the application's data."""
        return self.folder / "shop"

    def write_inventory(self, **more: Any) -> None:
        """Write the inventory, with the hosts in the group ``web``."""
        super().write_inventory(
            keyturn_application=str(self.data), keyturn_hosts="web", keyturn_plain="^access-", **more
        )
        hosts = self.inventory / "hosts.yml"
        hosts.write_text(hosts.read_text().replace("trader_ai:", "web:"))

    @property
    def worker(self) -> Path:
        """The second `.env`."""
        return self.app / "worker/.env"

    def vault(self) -> sqlite3.Connection:
        """The second database."""
        return sqlite3.connect(self.app / "data/vault.db")

    def fill(self) -> None:
        """Give the application its second database, with one secret in clear, and its second `.env`."""
        self.worker.parent.mkdir()
        self.worker.write_text(f"# of the worker\nvault.key='{self.key()}'\n")
        self.worker.chmod(0o600)
        rows = [("a", f"s{n}", Fernet(self.key()).encrypt(b"any").decode(), 1) for n in range(5)]
        with contextlib.closing(self.vault()) as connection, connection:
            connection.execute("CREATE TABLE vault (scope TEXT, name TEXT, secret TEXT, is_encrypted BOOLEAN)")
            connection.executemany("INSERT INTO vault VALUES (?, ?, ?, ?)", [*rows, ("b", "s0", "in clear", 0)])

    def opened(self) -> list[str]:
        """What the second database holds, by the key of the second `.env`."""
        key = Fernet(str(dotenv_values(self.worker)["vault.key"]))
        with contextlib.closing(self.vault()) as connection:
            rows = connection.execute("SELECT secret, is_encrypted FROM vault").fetchall()
        return [key.decrypt(secret).decode() if flag else secret for secret, flag in rows]

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Return the command line of a playbook, of ours by its name."""
        path = playbook if "/" in playbook else f"playbooks/{playbook}.yml"
        return [*super().command("x", *arguments)[:1], path, "-i", str(self.inventory), *arguments]


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    lab = Shop(tmp_path)
    lab.data.mkdir()
    (lab.data / "catalogue.yml").write_text(CATALOGUE)
    (lab.data / "policy.yml").write_text(POLICY)
    (lab.data / "variables.yml").write_text("keyturn_plain: text\n")
    lab.fill()
    (lab.folder / "rotate_vault.yml").write_text(PLAYBOOK.format(root=ROOT))
    lab.start()
    yield lab
    lab.stop()


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_an_application_of_one_s_own_is_turned_by_its_own_playbook(shop: Shop) -> None:
    done = shop.play("validate", "-e", f"keyturn_application={shop.data}")
    assert done.returncode == 0, said(done)
    assert "nothing is wrong with vault_key" in said(done)
    before, tokens, secrets = shop.key(), shop.tokens_read(), shop.opened()
    done = shop.play("rotate", "--check", "-e", "keyturn_secret=vault_key")
    assert done.returncode == 0, said(done)
    assert shop.key() == before
    done = shop.play(str(shop.folder / "rotate_vault.yml"))
    assert done.returncode == 0, said(done)
    assert shop.key() != before
    assert shop.tokens_read() == tokens and shop.opened() == secrets == [*["any"] * 5, "in clear"]
    assert dotenv_values(shop.worker)["vault.key"] == shop.key()
    ((_, told),) = shop.report()["hosts"].items()
    shown = {line["subject"]: line["verdict"] for line in told["proofs"] if line["proof"] == "rows"}
    assert shown == {str(shop.app / f"data/{name}.db"): "accepted" for name in ("bank_accounts", "vault")}
    assert told["evidence"]["backup"] == {"ok": True, "rows": len(tokens) + len(secrets)}
    assert told["backup"]["path"].count("backup.db") == 2
    assert {point["id"] for point in shop.report()["checklist"]} - {"downtime"} == {"works_everywhere", "backup"}
    done = shop.play("status")
    assert "vault_key" in done.stdout and "db_key" not in done.stdout, said(done)
    done = shop.play("verify")
    assert done.returncode == 0, said(done)
    for playbook, arguments, sentence in (
        ("rotate", (), "name the secret by -e keyturn_secret=NAME: the catalogue has vault_key"),
        ("rotate_db_key", (), "keyturn_secrets has no entry db_key (it has: vault_key)"),
        (
            "respond_to_incident",
            ("-e", "keyturn_incident_id=I-1", "-e", "keyturn_incident_leaked=key"),
            "incident.yml: no table",
        ),
        ("replace_plaid_tokens", (), "incident.yml: no replacement: name the secret"),
        ("rotate", ("-e", "keyturn_application=trader_ai"), "keyturn_application is said in the inventory"),
        ("rotate", ("-e", "keyturn_hosts=all"), "keyturn_hosts is said in the inventory"),
    ):
        done = shop.play(playbook, *arguments)
        assert done.returncode != 0
        assert sentence in said(done), f"{playbook}: {said(done)}"
        assert "defect" not in said(done)


def test_a_folder_that_is_named_on_the_command_line_is_not_read(shop: Shop) -> None:
    """A template in it would run on the controller as whoever runs Keyturn."""
    left = shop.folder / "left"
    evil = shop.folder / "evil"
    evil.mkdir()
    (evil / "policy.yml").write_text(POLICY)
    template = "{{ lookup('pipe', 'touch LEFT') }}".replace("LEFT", str(left))
    (evil / "catalogue.yml").write_text(yaml.safe_dump({"secrets": {"a": {"title": template}}}))
    for playbook in ("rotate", "status", "verify"):
        done = shop.play(playbook, "-e", f"keyturn_application={evil}", "-e", "keyturn_secret=a")
        assert done.returncode != 0, said(done)
        assert not left.exists()


def test_braces_that_are_no_template_stay(shop: Shop) -> None:
    (shop.folder / "show.yml").write_text(
        "- hosts: \"{{ lookup('keyturn_whole_run', 'localhost') }}\"\n  gather_facts: false\n  tasks:\n"
        '    - {ansible.builtin.debug: {msg: "{{ hostvars.here.keyturn_log_lines.braces.message | upper }}"}}\n'
    )
    (shop.folder / "group_vars").symlink_to(ROOT / "playbooks/group_vars")
    done = subprocess.run(
        shop.command(str(shop.folder / "show.yml")),
        cwd=ROOT,
        env=warm.operators_environment(),
        text=True,
        capture_output=True,
    )
    assert "{{ THIS IS NO TEMPLATE }}" in done.stdout, said(done)
    assert KEY not in done.stdout
