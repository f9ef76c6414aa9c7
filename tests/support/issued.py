"""A host with a value that is set at a server as well, taken forward and back by the phases in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from keyturn import providers
from keyturn.host.phases import ask_provider, commit, issue, rollback, stage, turn
from keyturn.host.rotation import Rotation

from support.accounts import Accounts
from support.databases import ADMIN, ADMINS_PASSWORD, ALTERNATE, APPLICATION, PostgreSQL, Way, entry, turns
from support.faults import Host

OLD, NEW = "canary-of-the-old-password", "canary-of-the-new-password"
# what an owner of another server writes, with the driver of that server
PROGRAM = """#!/usr/bin/python3
import json, sys, psycopg2, psycopg2.extensions
side, (place, user, password) = sys.argv[1], open("issuer.conf").read().splitlines()
told = json.load(sys.stdin)
session = psycopg2.connect(place, user=user, password=password, connect_timeout=2)
session.autocommit = True
given = psycopg2.extensions.encrypt_password(told[side]["DB_PASSWORD"], "trader", session, "scram-sha-256")
session.cursor().execute("ALTER ROLE trader PASSWORD %s", [given])
"""


class Issued(Host):
    """A host whose application has a database's password, and the way to that database."""

    server: PostgreSQL | Accounts
    way: Way | Accounts

    def __init__(self, folder: Path, server: PostgreSQL, strategy: str) -> None:
        self.alternates = strategy == "alternating"
        self.lives = self.alternates or strategy.startswith("overlap")
        by_http = strategy.endswith("http")
        self.server, self.way = self._accounts(folder) if by_http else (server, Way(server))
        given: dict[str, Any] = {"strategy": "single"}
        if strategy.endswith("an admin"):
            given |= {"admin": server.admin_by_password(folder.parent)}
        elif strategy.endswith("a command"):
            sides = {"set": ["./issuer", "new"], "unset": ["./issuer", "old"]}
            given |= {"kind": "command", "seconds": 20, **sides}
        elif self.alternates:
            given = turns(server)
        described = entry(server, self.way.url, **given) | {"probes": [{"kind": "provider"}]}
        if isinstance(self.server, Accounts):
            described |= self.server.entry(strategy.split()[0])
        super().__init__(folder, rows=1, secret="db_password", entry=described)
        self._write_program()
        self.variables = described["variables"]
        self.put()
        self.save("begin")

    @staticmethod
    def _accounts(folder: Path) -> tuple[Accounts, Accounts]:
        made = Accounts(folder.parent)
        return made, made

    def _write_program(self) -> None:
        program, conf = self.lab.app / "issuer", self.lab.app / "issuer.conf"
        program.write_text(PROGRAM)
        program.chmod(0o700)
        host, port = self.way.server_address[:2]
        conf.write_text(f"host={host} port={port} dbname=trader\n{ADMIN}\n{ADMINS_PASSWORD}\n")
        conf.chmod(0o600)

    def put(self) -> None:
        """Give both sides the old value again."""
        self.way.mood = ""
        held = {"DB_USER": APPLICATION, "DB_PASSWORD": OLD}
        kept = [one for one in self.lab.env.read_text().splitlines() if not one.startswith("DB_")]
        lines = [f"{name}={held[name]}" for name in self.variables]
        self.lab.env.write_text("\n".join([*kept, *lines, ""]))
        self.server.give(APPLICATION, OLD)
        self.server.forget(ALTERNATE)

    @property
    def given(self) -> dict[str, str]:
        """What the controller has generated; of a user that takes turns it knows no better."""
        return {name: NEW if name == "DB_PASSWORD" else "whoever is next" for name in self.variables}

    def told(self) -> Rotation:
        """Return the rotation, and see that nothing that it reads is left to be shown."""
        return self.rotation()

    def forward(self, **more: Any) -> None:
        """End the rotation on the new value, as a run and resume.yml do."""
        rotation = dataclasses.replace(self.told(), **more)
        stage.run(rotation, self.given | ({"DB_PASSWORD": more["rotation_id"]} if more else {}))
        issue.run(rotation, "set", "", False)
        turn.run(rotation, "proved")
        commit.decide(rotation)
        issue.run(rotation, "retire", "", False)
        commit.run(rotation, "finish")

    def back(self) -> None:
        """End the rotation on the old value, as a failed run and rollback.yml do."""
        rotation = self.told()
        if not self.lives:
            issue.run(rotation, "unset", "a test", False)
        ask_provider.run(rotation)
        rollback.run(rotation, "a test", False)
        if self.lives:
            issue.run(rotation, "unset", "a test", False)
            rollback.run(rotation, "a test", False)

    def until(self, call: str) -> None:
        """Take the host to where a call is next."""
        rotation = self.told()
        stage.run(rotation, self.given)
        if call != "set":
            issue.run(rotation, "set", "", False)
            turn.run(rotation, "proved")
        if call == "retire":
            commit.decide(rotation)
        if call == "unset" and self.lives:
            ask_provider.run(rotation)
            rollback.run(rotation, "a test", False)

    def held(self) -> dict[str, str]:
        """Return what the application has."""
        env = dotenv_values(self.lab.env)
        return {name: str(env[name]) for name in self.variables}

    def verdicts(self) -> dict[str, str]:
        """Return what the server says of both sides."""
        old = {"DB_USER": APPLICATION, "DB_PASSWORD": OLD}
        new = {"DB_USER": ALTERNATE if self.alternates else APPLICATION, "DB_PASSWORD": NEW}
        spec = self.rotation().entry["provider"]
        sides = {"old": old, "new": new}
        return {
            side: providers.ask(spec, [held[name] for name in self.variables]).verdict for side, held in sides.items()
        }

    def check_works(self) -> None:
        """One of the values that this host has is accepted; where both live, that of the files is, at every moment."""
        side = "new" if self.held()["DB_PASSWORD"] == NEW else "old"
        accepted = [one for one, verdict in self.verdicts().items() if verdict == "accepted"]
        assert accepted, "the server takes neither value"
        assert side in accepted or not self.lives, f"the files have the {side} value, and the server does not take it"

    def check_end(self, side: str) -> None:
        """Both ends have one side alone, and the service runs."""
        assert self.held()["DB_PASSWORD"] == {"old": OLD, "new": NEW}[side]
        other = {"old": "new", "new": "old"}[side]
        assert self.verdicts() == {side: "accepted", other: "rejected"}
        journal = self.journal()
        assert (journal["phase"], journal["outcome"]) == ("closed", "committed" if side == "new" else "rolled_back")
        assert self.lab.get("/health", login=False) == 200
        logged = self.server.logged()
        assert logged and not [value for value in (OLD, NEW) if value in logged]
