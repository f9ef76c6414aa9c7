"""Going to production, rehearsed whole: staging, the gate, production, on OpenBao with credentials that only their host opens.

All five procedures by the command that the pipelines run, on two sets of hosts; then every host boots without its store, and
disks, journals and the store's own log are searched for every value that was ever held. ``make rehearse`` shows it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import stores
from support.brought import OWNERS, PLAYBOOKS, VARIABLES, environment_of, new_credentials
from support.canary import Scanner
from support.fleet import INVENTORY, JWT, KEY, ROOT, Fleet
from test_delivery import given, on_disk
from test_values_on_hosts import journald, values

pytestmark = [pytest.mark.exhaustive, pytest.mark.new_application(rows=200)]
SETS = {"staging": ("app1",), "production": ("app2", "app3")}
SECRETS = {"jwt": JWT, "db_key": KEY}


class Site:
    """Two environments on the hosts of a fleet, and the store and the providers that both have."""

    def __init__(self, fleet: Fleet, folder: Path, url: str) -> None:
        self.fleet, self.folder = fleet, folder
        self.logins = {name: stores.approle(url, name, f"keyturn-{name}") for name in SETS}
        for name, hosts in SETS.items():
            self._inventory(name, hosts, url)

    def _inventory(self, environment: str, hosts: tuple[str, ...], url: str) -> None:
        folder = self.folder / "inventories" / environment
        (folder / "group_vars").mkdir(parents=True)
        known = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["trader_ai"]["hosts"]
        (folder / "hosts.yml").write_text(
            yaml.safe_dump({"trader_ai": {"hosts": {host: known[host] for host in hosts}}})
        )
        auth = {"method": "approle", "role": f"the-role-of-keyturn-{environment}"}
        ours = {
            "keyturn_environment": environment,
            "keyturn_store": {"kind": "openbao", "url": url, "auth": auth},
            "keyturn_delivery": "systemd_credential",
            "keyturn_reports_dir": str(self.folder / "reports"),
            "ansible_ssh_private_key_file": str(ROOT / ".local/lab/id_ed25519"),
            **({"keyturn_staging": "staging"} if environment == "production" else {}),
        }
        held = [yaml.safe_load(file.read_text()) for file in sorted((INVENTORY / "group_vars").iterdir())]
        merged = {name: value for one in [*held, ours] for name, value in one.items()}
        (folder / "group_vars/trader_ai.yml").write_text(yaml.safe_dump(merged))

    def run(self, environment: str, playbook: str, **more: str) -> tuple[int, str]:
        """Run what a pipeline runs; return the exit code and the output."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
        env |= {"KEYTURN_INVENTORIES": str(self.folder / "inventories"), "KEYTURN_REASON": "rehearsal"}
        env |= {"KEYTURN_STORE_SECRET_ID": self.logins[environment], **more}
        done = subprocess.run(
            ["ci/rotate", environment, playbook], cwd=ROOT, env=env, text=True, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def passes(self, environment: str, playbook: str, **more: str) -> str:
        """Run it, and show it when it does not end well."""
        began = time.monotonic()
        code, output = self.run(environment, playbook, **more)
        assert code == 0, output[-6000:]
        print(f"{environment:<12}{playbook:<30}{time.monotonic() - began:5.0f} s")
        return output

    def report(self, environment: str) -> dict[str, Any]:
        """Return the newest report of an environment."""
        return dict(json.loads(max((self.folder / "reports" / environment).glob("2*.json")).read_text()))


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    folder = tmp_path / "openbao"
    folder.mkdir()
    return folder


@pytest.fixture
def store() -> Iterator[contextlib.ExitStack]:
    """What runs OpenBao: closing it takes the store away."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def site(fleet: Fleet, tmp_path: Path, audit: Path, store: contextlib.ExitStack) -> Site:
    return Site(fleet, tmp_path, store.enter_context(stores.openbao(audit)))


def own_values(fleet: Fleet, host: str) -> None:
    """Give a host values of its own: environments share none."""
    brought = new_credentials(secrets.token_hex(12))
    own = {
        name: value for secret, names in VARIABLES.items() for name, value in zip(names, brought[secret], strict=True)
    }
    own[JWT] = secrets.token_urlsafe(32)
    for name, value in own.items():
        fleet.run(host, f"sed -i -E 's|^(export )?{name}=.*|\\1{name}={value}|' /opt/trader-ai/.env")
    for secret, fake in fleet.providers.items():
        fake.valid = fake.valid | {brought[secret]: OWNERS[secret]}
    fleet.run(host, "systemctl restart trader-ai-backend trader-ai-engine")
    fleet.start_application(host)


def test_staging_the_gate_production(fleet: Fleet, site: Site, audit: Path, store: contextlib.ExitStack) -> None:
    own_values(fleet, "app1")
    # what else stands in `.env` is not the catalogue's, and stays there
    moved = {JWT, KEY, *(name for names in VARIABLES.values() for name in names)}
    known = {name: value for name, value in values(fleet, "first").items() if name.split()[1] in moved}
    began = time.time()
    for environment in SETS:
        site.passes(environment, "migrate_delivery")

    held = {host: given(fleet, host) for hosts in SETS.values() for host in hosts}
    for secret, playbook in {"jwt": "rotate_jwt_secret", "db_key": "rotate_db_key", **PLAYBOOKS}.items():
        for environment, hosts in SETS.items():
            brought: dict[str, str] = {}
            if secret in PLAYBOOKS:
                old = tuple(held[hosts[0]][name] for name in VARIABLES[secret])
                new = new_credentials(old[0])[secret]
                fake = fleet.providers[secret]
                kept = {pair: owner for pair, owner in fake.valid.items() if secret != "alpaca" or pair != old}
                fake.valid = kept | {new: OWNERS[secret]}
                brought = environment_of(secret, new)
            if (secret, environment) == ("jwt", "staging"):
                code, output = site.run("production", playbook)
                assert code != 0
                assert "staging" in " ".join(output.split()), output[-3000:]
                assert site.report("production")["outcome"] == "refused"
                print("production refuses what staging has not proved")
            site.passes(environment, playbook, **brought)
            assert site.report(environment)["outcome"] == "committed"
            for host in hosts:
                now = given(fleet, host)
                names = VARIABLES.get(secret) or (SECRETS[secret],)
                assert any(now[name] != held[host][name] for name in names)
                held[host] = now
                known |= {f"{host} {name} ({secret})": now[name] for name in (*names, JWT, KEY)}
            if secret in PLAYBOOKS:
                fake.valid.pop(old, None)
                site.passes(environment, "confirm_revoked")
    for environment in SETS:
        site.passes(environment, "verify_log")
        site.passes(environment, "verify")
        site.passes(environment, "check_storage")
        print((site.folder / "reports" / environment / "rotation-log.md").read_text())

    scanner = Scanner(known)
    log = (audit / "audit.log").read_bytes()
    assert b"keyturn-production" in log, "the store has logged nothing"
    places = [("the store's log", log)]
    places += [(f"{host}: {place}", content) for host in held for place, content in on_disk(host)]
    places += [(f"journald of {host}", journald(host, began)) for host in held]
    places += [(str(path), path.read_bytes()) for path in (site.folder / "reports").rglob("*.*") if path.is_file()]
    assert sorted(f"{name} in {place}" for place, content in places for name in scanner.find(content)) == []
    print(f"{len(known)} values, in none of {len(places)} files and logs of hosts, controller and store")

    store.close()
    for host in held:
        fleet.power_off(host)
        fleet.boot(host)
        fleet.start_application(host)
        now = given(fleet, host)
        assert all(now[name] == held[host][name] for name in (JWT, KEY, *VARIABLES["plaid"]))
    print("every host has booted without its store, on the same values")
