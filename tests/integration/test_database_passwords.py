"""A password that is set at a real PostgreSQL: turned, taken back, and never left where only one side has it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from dotenv import dotenv_values
from support import reports
from support.databases import ADMIN, ADMINS_PASSWORD, ALTERNATE, APPLICATION, Application, PostgreSQL, turns
from support.lab import Lab

FIRST = "canary-of-the-first-password"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as made:
        yield made


@pytest.fixture
def app(make_lab: Callable[..., Lab], server: PostgreSQL) -> Application:
    return Application(make_lab(), server, FIRST)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def check_told_nothing(app: Application, *passwords: str) -> None:
    """Nothing that anybody wrote has a password: not the server's log, which has every statement, nor reports and state."""
    logged = app.server.logged()
    assert "ALTER ROLE" in logged
    texts = [logged, *(path.read_text(errors="replace") for path in app.lab.reports.rglob("*") if path.is_file())]
    texts += [path.read_text() for path in app.lab.state.rglob("journal.json")]
    assert not [text for text in texts for password in passwords if password in text]


def test_a_password_is_turned_and_the_old_one_is_dead(app: Application) -> None:
    before = app.held()
    done = app.play("rotate", "--check")
    assert done.returncode == 0, said(done)
    assert "have the issuer (postgresql_role) accept the new value" in said(done)
    assert (app.held(), app.verdict(before)) == (before, "accepted")
    done = app.play("rotate")
    assert done.returncode == 0, said(done)
    tasks = re.findall(r"^TASK \[(?:rotation : )?(.+?)\]", done.stdout, re.MULTILINE)
    told = tasks.index("Have the issuer accept the new value")
    assert tasks[told + 1] == "Prepare, switch and prove", "logins fail until the restart, and something comes between"
    after = app.held()
    assert (app.verdict(after), app.verdict(before)) == ("accepted", "rejected")
    report = reports.report(app.lab)
    host = report["hosts"]["here"]
    assert report["outcome"] == "committed"
    proofs = [(line["proof"], line["verdict"], line["wanted"]) for line in host["proofs"]]
    assert [line for line in proofs if line[0] == "provider"] == [
        ("provider", "accepted", "accepted"),
        ("provider", "rejected", "rejected"),
    ]
    (journal,) = app.lab.journals()
    assert [step["phase"] for step in journal["history"]][2:5] == ["issuing", "issued", "switching"]
    check_told_nothing(app, before["DB_PASSWORD"], after["DB_PASSWORD"])
    for playbook in ("verify", "status", "check_storage", "rotate_due"):
        done = app.play(playbook, *(("--check",) if playbook == "rotate_due" else ()))
        assert "db_password" in said(done) or "DB_PASSWORD" in said(done) or playbook == "check_storage", said(done)
        assert not [one for one in (before, after) if one["DB_PASSWORD"] in said(done)]


def test_a_start_that_fails_is_taken_back_without_a_person(app: Application) -> None:
    """The deadlock that there was: the issuer had the new password, the host went back to the old one, and nothing started any more."""
    before = app.held()
    app.lab.break_start('[ "$(sha256sum <.env)" = "{checksum}" ] || exit 7\n')
    done = app.play("rotate")
    assert done.returncode == 2, said(done)
    report = reports.report(app.lab)
    assert report["outcome"] == "rolled_back", said(done)
    assert (app.held(), app.verdict(before)) == (before, "accepted")
    assert app.lab.get("/health", login=False) == 200
    done = app.play("resume")
    assert "nothing is open" in said(done)


def test_what_the_issuer_refuses_has_stopped_nothing(app: Application) -> None:
    """The role may not be changed by itself where it does not know its password: nothing is touched."""
    app.server.give(APPLICATION, "somebody-else-has-changed-it")
    pid = (app.lab.app / "run/backend.pid").read_text()
    done = app.play("rotate")
    assert done.returncode == 2, said(done)
    assert "the login that changes the role is not accepted: correct `admin`, or give the entry one" in said(done)
    assert (app.lab.app / "run/backend.pid").read_text() == pid, "the service was stopped"
    assert app.lab.journals()[0]["outcome"] == "rolled_back"
    assert app.play("rollback").returncode == 0


def test_an_admin_ends_a_password_that_nobody_knows(app: Application) -> None:
    """As after an incident: the old password is dead already, and only another login can set a new one."""
    app.server.give(APPLICATION, "somebody-else-has-changed-it")
    app.describe(admin=app.server.admin, valid_days=120)
    done = app.play("rotate")
    assert done.returncode == 0, said(done)
    assert app.verdict(app.held()) == "accepted"
    until = app.server.sql(f"SELECT rolvaliduntil - now() FROM pg_roles WHERE rolname = '{APPLICATION}'")
    assert re.match(r"1(19|20) days", until)


def test_two_roles_take_turns_and_a_broken_start_needs_no_turn_back(
    make_lab: Callable[..., Lab], server: PostgreSQL
) -> None:
    """Both live until the end: so the way back begins with the hosts, and the server forgets the new password after them."""
    app = Application(make_lab(), server, FIRST, **turns(server))
    first = app.held()
    done = app.play("rotate")
    assert done.returncode == 0, said(done)
    second = app.held()
    assert second["DB_USER"] == ALTERNATE
    assert (app.verdict(second), app.verdict(first)) == ("accepted", "rejected")
    assert "********" not in json.dumps(reports.report(app.lab)), "the name of a user was taken for a secret"
    app.lab.break_start('[ "$(sha256sum <.env)" = "{checksum}" ] || exit 7\n')
    done = app.play("rotate")
    assert done.returncode == 2, said(done)
    assert reports.report(app.lab)["outcome"] == "rolled_back", said(done)
    assert (app.held(), app.verdict(second)) == (second, "accepted")
    assert server.verifier(APPLICATION) == "", "a password that nobody needs still lives"
    assert app.lab.get("/health", login=False) == 200
    check_told_nothing(app, first["DB_PASSWORD"], second["DB_PASSWORD"])


def test_the_only_password_that_still_lives_is_not_taken(make_lab: Callable[..., Lab], server: PostgreSQL) -> None:
    """Somebody ends the old password while a start fails: no host goes back then, and the new one is all that there is."""
    app = Application(make_lab(), server, FIRST, **turns(server))
    first = app.held()
    ends_old = (
        f"psql -qh {server.host} -p {server.port} -U {ADMIN} -d postgres -c 'ALTER ROLE {APPLICATION} PASSWORD NULL'"
    )
    start = app.lab.app / "start.sh"
    works = start.read_text()
    app.lab.break_start(
        f'[ "$(sha256sum <.env)" = "{{checksum}}" ] || {{ PGPASSWORD={ADMINS_PASSWORD} {ends_old}; exit 7; }}\n'
    )
    done = app.play("rotate")
    assert done.returncode == 2, said(done)
    second = app.held()
    assert (second["DB_USER"], app.verdict(first), app.verdict(second)) == (ALTERNATE, "rejected", "accepted"), said(
        done
    )
    start.write_text(works)
    done = app.play("resume")
    assert done.returncode == 0, said(done)
    assert (app.held(), app.verdict(second)) == (second, "accepted")
    assert app.lab.get("/health", login=False) == 200


def test_one_login_of_two_applications_is_turned_in_both_or_in_none(app: Application) -> None:
    """It is one entry: with the files of both, and a second name in one of them."""
    other = app.lab.folder / "reports.env"
    other.write_text(f"REPORTS_PASSWORD={FIRST}\n")
    app.lab.env.write_text(f"{app.lab.env.read_text()}SECOND_NAME={FIRST}\n")
    named = {"format": "dotenv", "path": str(other), "keys": {"DB_PASSWORD": "REPORTS_PASSWORD"}}
    app.entry |= {"aliases": {"SECOND_NAME": "DB_PASSWORD"}, "consumers": [*app.entry["consumers"], named]}
    app.describe()

    def held() -> set[str]:
        found = dotenv_values(app.lab.env), dotenv_values(other)
        return {str(found[0]["DB_PASSWORD"]), str(found[0]["SECOND_NAME"]), str(found[1]["REPORTS_PASSWORD"])}

    assert app.play("rotate").returncode == 0
    (turned,) = held()
    assert turned != FIRST and app.verdict({"DB_PASSWORD": turned}) == "accepted"
    app.lab.break_start('[ "$(sha256sum <.env)" = "{checksum}" ] || exit 7\n')
    assert app.play("rotate").returncode == 2
    assert held() == {turned} and app.verdict({"DB_PASSWORD": turned}) == "accepted"
