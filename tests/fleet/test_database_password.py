"""The password of a database that three hosts share is turned while clients ask through the balancer: each request is a new login."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from keyturn import providers
from support.databases import ADMIN, ADMINS_PASSWORD, ALTERNATE, APPLICATION, PostgreSQL, entry
from support.fleet import GATEWAY, HOOKS, HOSTS, ROOT, Fleet, Prober
from support.lab import catalogue

pytestmark = pytest.mark.new_application
FIRST = "canary-of-the-first-password"
# the application as it serves, and before each answer a login by what it has read at its start
SERVE = """
import os, sys
sys.path.insert(0, "/opt/serve")
from keyturn.base import postgresql
from trader_ai import server
place = postgresql.address({url!r}, False, None)
served = server.app
async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] != "/health":
        with postgresql.connected(place, os.environ.get("DB_USER", {user!r}), os.environ["DB_PASSWORD"], 5):
            pass
    await served(scope, receive, send)
server.app = app
server.main()
"""
PREPARE = """
sed -i '/^DB_PASSWORD=/d' /opt/trader-ai/.env; printf '{lines}' >>/opt/trader-ai/.env
(umask 077; echo {admin} >/root/admin)
folder=/etc/systemd/system/trader-ai-backend.service.d; mkdir -p $folder
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/python3 /opt/serve/serve.py\\n' >$folder/10-database.conf
systemctl daemon-reload; systemctl restart trader-ai-backend
"""
# does not start with the name of the other role
BROKEN = """
printf '[Service]\\nExecStartPre=/bin/sh -c "! grep -q DB_USER={user} /opt/trader-ai/.env"\\n' \
    >/etc/systemd/system/trader-ai-backend.service.d/10-broken.conf; systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def server(hosts: None) -> Iterator[PostgreSQL]:
    with PostgreSQL(GATEWAY, f"{GATEWAY}/24") as made:
        yield made


def driver(text: str) -> bytes:
    """Return an archive of the program that serves, and of what it logs in with."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("__init__.py", "base"):
            tar.add(ROOT / "module_utils/keyturn" / name, f"keyturn/{name}")
        info = tarfile.TarInfo("serve.py")
        info.size = len(text.encode())
        tar.addfile(info, io.BytesIO(text.encode()))
    return archive.getvalue()


Options = tuple[str, ...]
Figure = Callable[[str, object], None]


@pytest.fixture
def shared(fleet: Fleet, server: PostgreSQL, tmp_path: Path) -> Callable[[str], Options]:
    """Return what makes the hosts share a password by a strategy, and gives the options of a run."""

    def made(strategy: str) -> Options:
        server.give(APPLICATION, FIRST)
        server.forget(ALTERNATE)
        issuer: dict[str, Any] = {"strategy": strategy, "admin": {"user": ADMIN, "password_file": "/root/admin"}}
        lines = f"DB_PASSWORD={FIRST}\\n"
        if strategy == "alternating":
            issuer["users"] = [APPLICATION, ALTERNATE]
            lines = f"DB_USER={APPLICATION}\\n{lines}"
        described = entry(server, **issuer)
        described["provider"]["tls"] = False
        text = SERVE.format(url=server.url, user=APPLICATION)
        for host in HOSTS:
            fleet.unpack(host, "/opt/serve", driver(text))
            fleet.run(host, PREPARE.format(lines=lines, admin=ADMINS_PASSWORD))
            fleet.start_application(host)
        chosen = tmp_path / "chosen.yml"
        chosen.write_text(yaml.safe_dump({"keyturn_secrets": catalogue() | {"db_password": described}, **HOOKS}))
        return ("-e", f"@{chosen}")

    return made


def held(fleet: Fleet) -> dict[str, str]:
    """Return what all hosts have, the same on each."""
    found = {fleet.run(host, "grep ^DB_ /opt/trader-ai/.env | sort") for host in HOSTS}
    assert len(found) == 1
    return {name: str(value) for name, value in dotenv_values(stream=io.StringIO(found.pop())).items()}


def verdict(server: PostgreSQL, held: dict[str, str]) -> str:
    """Return what the server says of values."""
    spec = {"kind": "postgresql", "url": server.url, "tls": False, "ca_bundle": None, "user": None}
    return providers.ask(spec, [held.get("DB_USER", APPLICATION), held["DB_PASSWORD"]]).verdict


def prober(fleet: Fleet) -> Prober:
    secret = fleet.run("app1", "sed -n s/^JWT_SECRET_KEY=//p /opt/trader-ai/.env").strip()
    return Prober("/api/positions", secret=secret)


def test_two_roles_take_turns_and_no_request_fails(
    fleet: Fleet, server: PostgreSQL, shared: Callable[[str], Options], record_property: Figure
) -> None:
    options, before = shared("alternating"), held(fleet)
    with prober(fleet) as client:
        code, output = fleet.play("rotate", *options, "-e", "keyturn_secret=db_password")
    assert code == 0, output
    assert client.failures == [] and client.good > 50
    after = held(fleet)
    assert (after["DB_USER"], verdict(server, after), verdict(server, before)) == (ALTERNATE, "accepted", "rejected")
    fleet.assert_ended()
    assert not [one["DB_PASSWORD"] for one in (before, after) if one["DB_PASSWORD"] in output + server.logged()]
    record_property(
        "figure", f"alternating: 0 of {client.asked} requests failed while three hosts changed their password"
    )


@pytest.mark.exhaustive
def test_a_host_that_does_not_start_is_taken_back_without_a_person(
    fleet: Fleet, server: PostgreSQL, shared: Callable[[str], Options]
) -> None:
    options, before = shared("alternating"), held(fleet)
    fleet.run("app2", BROKEN.format(user=ALTERNATE))
    with prober(fleet) as client:
        code, output = fleet.play("rotate", *options, "-e", "keyturn_secret=db_password")
    assert client.failures == [] and client.good > 50, "the first host is drained on its way back as well"
    assert code == 2 and fleet.report()["outcome"] == "rolled_back", output
    assert held(fleet) == before and verdict(server, before) == "accepted"
    assert server.verifier(ALTERNATE) == "", "a password that nobody needs still lives"
    fleet.assert_ended()


@pytest.mark.exhaustive
def test_one_role_has_a_gap_and_comes_through_it(
    fleet: Fleet, server: PostgreSQL, shared: Callable[[str], Options], record_property: Figure
) -> None:
    options, before = shared("single"), held(fleet)
    with prober(fleet) as client:
        code, output = fleet.play("rotate", *options, "-e", "keyturn_secret=db_password")
    assert code == 0, output
    after = held(fleet)
    assert (verdict(server, after), verdict(server, before)) == ("accepted", "rejected")
    assert client.failures, "each request is a login, so those between the server and the restart fail"
    down = max(host["downtime_seconds"] for host in fleet.report()["hosts"].values())
    # the end of the call that has told the server, and the begin of the one that stops the service, in which each host logs in
    beyond = f"{client.window - down:.1f} s of failures beyond the restart, +- {client.resolution:.1f} s"
    record_property("figure", f"single: {beyond}; the restart took {down:.1f} s")
    fleet.assert_ended()
