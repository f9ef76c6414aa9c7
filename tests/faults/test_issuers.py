"""An issuer that fails, and kills between a host and it: never does one side have what the other has not, whichever way it ends.

`make exhaustive` takes each issuer, call, fault and way, and a kill before every system call that changes or sends something.
"""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn import issuers, providers
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import ask_provider, commit, issue, rollback, stage, turn
from keyturn.issuers import postgresql_role
from support import faults, selection
from support.databases import ALTERNATE, APPLICATION, PostgreSQL
from support.faults import Call, record
from support.issued import NEW, OLD, Issued
from support.watching import wait_for

STRATEGIES = (
    *("single", "alternating", "single by an admin", "single by a command"),
    *("single by http", "overlap by http"),
)
CALLS = ("set", "unset", "retire")
FAULTS = ("away", "stuck", "refused", "lost", "twice", "slow")
WAYS = ("forward", "back")
# what is sent to the issuer counts as well
SENDING = f"{faults.CHANGING_CALLS},?sendto"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as made:
        yield made


@pytest.fixture
def host(tmp_path: Path, server: PostgreSQL, strategy: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Issued]:
    monkeypatch.setattr(postgresql_role, "SECONDS", 2)
    monkeypatch.setattr(providers, "TIMEOUT_SECONDS", 2)
    made = Issued(tmp_path / "host", server, strategy)
    yield made
    made.stop()
    made.way.shutdown()
    made.way.server_close()


@pytest.mark.covering("strategy", ("call", "way"), "fault")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_issuer_that_fails_leaves_both_ends_alike(
    host: Issued, strategy: str, call: str, fault: str, way: str
) -> None:
    """``way`` is how the rotation ends when the issuer answers again; what is decided goes forward, what has begun to go back does that."""
    host.until(call)
    host.way.mood = fault
    failed = False
    try:
        host.back() if call == "unset" else host.forward()
    except KeyturnError as error:
        failed = True
        assert not [value for value in (OLD, NEW) if value in str(error)]
    # of two roles that take turns the admin comes by the socket, and not this way; what was lost was found
    silent = call == "retire" and not host.lives
    assert failed == (
        fault in ("away", "stuck") or (fault == "refused" and strategy != "alternating" and not silent)
    ), fault
    host.way.mood = ""
    host.check_works()
    journal = host.journal()
    end = (
        "new"
        if call == "retire"
        else "old"
        if journal.get("decision") == "rollback"
        else {"forward": "new"}.get(way, "old")
    )
    if not failed:
        end = "old" if call == "unset" else "new"
    host.forward() if end == "new" else host.back()
    host.check_end(end)
    record(
        f"issuer, {strategy}: {fault}",
        {"points": 1, "fired": 1, "lost_rows": 0, "converged": 1, "note": f"{call}: {way}"},
    )


@pytest.mark.parametrize("strategy", ["single by an admin"])
def test_a_value_that_could_not_be_taken_back_is_kept(host: Issued, strategy: str) -> None:
    """To take it back is decided before the issuer is told, and that decision alone lets no host forget what the server wants."""
    rotation = host.told()
    stage.run(rotation, host.given)
    issue.run(rotation, "set", "", False)
    host.way.mood = "refused"
    with pytest.raises(KeyturnError):
        issue.run(rotation, "unset", "a test", False)
    host.way.mood = ""
    ask_provider.run(rotation)
    with pytest.raises(KeyturnError, match="the old value is rejected at its provider and is not put back"):
        rollback.run(rotation, "a test", False)
    host.check_works()
    host.back()
    host.check_end("old")


@pytest.mark.parametrize("strategy", ["alternating"])
def test_a_value_that_this_host_may_run_on_is_not_taken_back(host: Issued, strategy: str) -> None:
    """Whoever has asked: a host that has not gone back has no other login as soon as somebody ends the old one."""
    rotation = host.told()
    host.until("retire")
    with pytest.raises(KeyturnError, match="this host may run on the new value"):
        issue.run(rotation, "unset", "a test", abandon_commit=True)
    host.check_works()
    host.forward()
    host.check_end("new")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("call", CALLS)
def test_a_kill_before_any_call_leaves_both_ends_alike(
    host: Issued, strategy: str, call: str, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setattr(faults, "CHANGING_CALLS", SENDING)
    host.until(call)
    host.save("before")
    kept = {role: host.server.verifier(role) for role in (APPLICATION, ALTERNATE)}
    parameters = {"step": call, "cause": "a test"}
    calls = host.calls("issue", **parameters)
    series = f"SIGKILL at every call, issue {call}, {strategy}"
    chosen = [calls[index] for index in selection.calls(series, [one.name for one in calls], ("rename", "sendto"))]
    if not selection.exhaustive():
        chosen = selection.draw(series).sample(chosen, min(FEW, len(chosen)))
    record_property("points", [series, len(chosen), len(calls)])
    fired = 0
    for number, killed in enumerate(chosen):
        host.restore("before")
        for role, verifier in kept.items():
            host.server.restore(role, verifier)
        fired += host.killed_module("issue", Call(*killed), **parameters)
        host.check_works()
        end = "new" if call == "retire" else "old" if call == "unset" else ("old", "new")[number % 2]
        host.forward() if end == "new" else host.back()
        host.check_end(end)
    record(series, {"points": len(chosen), "fired": fired, "lost_rows": 0, "converged": fired})
    assert fired == len(chosen) > 0


FEW = 2


@pytest.mark.parametrize("strategy", ["single"])
def test_each_step_is_in_the_journal_before_the_issuer_hears_of_it(host: Issued, strategy: str) -> None:
    host.until("set")
    done = host.module("issue", "-y", "-s", "4096", "-e", "trace=sendto,rename,renameat,renameat2", step="set")
    assert done.returncode == 0, done.stdout
    lines = host.log.read_text().splitlines()
    at = [number for number, line in enumerate(lines) if "ALTER ROLE" in line]
    journals = [number for number, line in enumerate(lines) if re.match(r"rename", line) and "journal.json" in line]
    assert len(at) == 1 and journals[0] < at[0] < journals[1], "the journal, the issuer, the journal"
    assert "canary" not in host.server.logged()
    host.back()
    host.check_end("old")


@pytest.mark.parametrize("strategy", ["single"])
def test_an_issuer_that_was_killed_after_it_took_the_value_is_asked_and_not_told_again(
    host: Issued, strategy: str
) -> None:
    host.until("set")
    issue.run(host.rotation(), "set", "", False)
    verifier = host.server.verifier(APPLICATION)
    journal = host.rotation().application.get(host.rotation().rotation_id)
    assert journal is not None and journal.phase == "issued"
    journal.enter("issuing")
    issue.run(host.rotation(), "set", "", False)
    assert host.server.verifier(APPLICATION) == verifier, "each that is made has a salt of its own"
    host.back()
    host.check_end("old")


@pytest.mark.parametrize("strategy", ["single", "alternating"])
def test_a_host_that_was_away_takes_back_nothing_of_another_rotation(host: Issued, strategy: str) -> None:
    """It had told the issuer and died. The others went back without it, and turned the value since: its word is of the past."""
    host.until("set")
    issue.run(host.rotation(), "set", "", False)
    for role in (APPLICATION, ALTERNATE) if host.alternates else (APPLICATION,):
        host.server.give(role, "of the rotation since")
    before = [host.server.verifier(role) for role in (APPLICATION, ALTERNATE)]
    issue.run(host.rotation(), "unset", "a test", False)
    assert [host.server.verifier(role) for role in (APPLICATION, ALTERNATE)] == before
    assert ask_provider.run(host.rotation())["verdict"] == "rejected"
    with pytest.raises(KeyturnError, match="the old value is rejected at its provider and is not put back"):
        rollback.run(host.rotation(), "a test", False)
    host.server.give(APPLICATION, OLD)
    host.back()
    assert host.verdicts()["old"] == "accepted"


@pytest.mark.parametrize("strategy", ["overlap by http"])
def test_an_old_value_that_its_application_cannot_log_in_with_is_not_ended(host: Issued, strategy: str) -> None:
    """The application's user may have written there what another one logs in with, or the name of that: the administrator ends it."""
    host.until("retire")
    host.server.give(APPLICATION, NEW)
    changes = host.server.changes
    host.way.mood = "confused"
    with pytest.raises(KeyturnError, match="and was not told to end it"):
        issue.run(host.rotation(), "retire", "", False)
    host.way.mood = ""
    issue.run(host.rotation(), "retire", "", False)
    assert host.server.changes == changes
    commit.run(host.rotation(), "finish")
    host.check_end("new")


@pytest.mark.parametrize("strategy", ["alternating"])
def test_a_host_for_which_another_speaks_ends_when_that_one_has_taken_the_value_back(
    host: Issued, strategy: str
) -> None:
    host.until("set")
    host.server.give(ALTERNATE, NEW)
    turn.run(host.rotation(), "proved")
    ask_provider.run(host.rotation())
    rollback.run(host.rotation(), "a test", False)
    assert host.journal()["phase"] != "closed", "the value may still be needed by another host"
    host.server.forget(ALTERNATE)
    rollback.run(host.rotation(), "a test", False, withdrawn=True)
    host.check_end("old")


@pytest.mark.parametrize("strategy", ["single"])
def test_nothing_is_stopped_for_a_value_that_is_not_accepted_from_here(host: Issued, strategy: str) -> None:
    host.until("set")
    pid = (host.lab.app / "run/pid").read_text()
    with pytest.raises(KeyturnError, match=r"^the new value is rejected from this host .*nothing was stopped here"):
        turn.run(host.rotation(), "proved")
    assert (host.lab.app / "run/pid").read_text() == pid
    host.back()
    host.check_end("old")


RIGHTS = f"""
SELECT r.rolname, pg_get_userbyid(c.relowner), c.relacl, array_agg(m.roleid::regrole::text)
FROM pg_class c, pg_roles r LEFT JOIN pg_auth_members m ON m.member = r.oid
WHERE c.relname = 'orders' AND r.rolname IN ('{APPLICATION}', '{ALTERNATE}') GROUP BY 1, 2, 3 ORDER BY 1
"""
# a client of its own process, as the application is one: it logs in as the files say, all the time, and tells of each login
CLIENT = """
import sys, psycopg2
path, place = sys.argv[1:]
while True:
    held = dict(line.rstrip("\\n").split("=", 1) for line in open(path) if "=" in line)
    try:
        with psycopg2.connect(place, user=held["DB_USER"], password=held["DB_PASSWORD"]) as session:
            session.cursor().execute("CREATE TABLE IF NOT EXISTS orders (number int); INSERT INTO orders VALUES (1)")
        session.close()
        print("in", flush=True)
    except psycopg2.Error as error:
        print("failed:", str(error).splitlines()[0], flush=True)
"""


@pytest.mark.parametrize("strategy", ["alternating"])
def test_ten_turns_leave_the_rights_as_they_were_and_no_login_fails(
    host: Issued, strategy: str, tmp_path: Path
) -> None:
    host.server.sql("DROP TABLE IF EXISTS orders", "trader")
    place = f"host={host.server.host} port={host.server.port} dbname=trader"
    said = tmp_path / "said"

    def logins() -> list[str]:
        return said.read_text().splitlines()

    users = []
    with said.open("w") as output:
        client = subprocess.Popen(["/usr/bin/python3", "-c", CLIENT, host.lab.env, place], stdout=output)
        try:
            wait_for("the first login", logins)
            before = host.server.sql(RIGHTS, "trader")
            for number in range(10):
                was = len(logins())
                host.forward(rotation_id=f"20260101T0000{number:02}Z-0123456789abcdef")
                users.append(host.held()["DB_USER"])
                wait_for("another login", lambda was=was: len(logins()) > was + 1)
        finally:
            client.kill()
            client.wait()
    assert set(logins()) == {"in"}
    assert users == [ALTERNATE, APPLICATION] * 5
    assert before and host.server.sql(RIGHTS, "trader") == before
    assert (host.server.verifier(ALTERNATE), host.server.verifier(APPLICATION) != "") == ("", True)


@pytest.mark.parametrize("strategy", ["alternating"])
@pytest.mark.parametrize(
    ("statement", "undo", "message"),
    [
        (f"GRANT pg_monitor TO {ALTERNATE}", f"REVOKE pg_monitor FROM {ALTERNATE}", "differ in their attributes"),
        (
            f"ALTER ROLE {ALTERNATE} SET work_mem = '1MB'",
            f"ALTER ROLE {ALTERNATE} RESET work_mem",
            "differ in their attributes",
        ),
        (
            f"CREATE TABLE own (x int); ALTER TABLE own OWNER TO {APPLICATION}",
            "DROP TABLE own",
            r"trader owns objects or has rights of its own \(1\)",
        ),
        (
            f"ALTER ROLE {ALTERNATE} RENAME TO gone",
            f"ALTER ROLE gone RENAME TO {ALTERNATE}",
            "the role trader_b is not there",
        ),
    ],
)
def test_roles_that_may_not_do_the_same_take_no_turns(
    host: Issued, strategy: str, statement: str, undo: str, message: str
) -> None:
    host.until("set")
    host.server.sql(statement, "trader")
    try:
        with pytest.raises(KeyturnError, match=message):
            issue.run(host.rotation(), "set", "", False)
    finally:
        host.server.sql(undo, "trader")
    assert host.journal()["phase"] == "staged", "nothing was changed"
    host.back()
    assert host.verdicts()["old"] == "accepted"


@pytest.mark.parametrize("strategy", ["single by a command"])
def test_a_program_that_outlives_its_call_has_not_the_last_word(host: Issued, strategy: str) -> None:
    """The call that started it was killed, and it sets the new value only after the way back has begun."""
    host.until("set")
    rotation = host.rotation()
    journal = rotation.application.get(rotation.rotation_id)
    assert journal is not None
    journal.enter("issuing")
    lock = (rotation.application.folder / "issuer").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    told = json.dumps({"new": {"DB_PASSWORD": NEW}})
    with subprocess.Popen(
        ["sh", "-c", "sleep 1; ./issuer new"],
        cwd=host.lab.app,
        stdin=subprocess.PIPE,
        pass_fds=[lock.fileno()],
        text=True,
    ) as orphan:
        lock.close()
        assert orphan.stdin
        orphan.stdin.write(told)
        orphan.stdin.close()
        host.back()
        assert orphan.poll() == 0, "the way back has not waited for it"
    host.check_end("old")


def test_whose_turn_it_is_follows_from_the_old_value() -> None:
    spec = {"strategy": "alternating", "users": ["a", "b"]}
    assert issuers.chosen(spec, ["U", "P"], {"U": "b", "P": "x"}) == {"U": "a"}
    assert issuers.chosen(spec | {"strategy": "single"}, ["P"], {"P": "x"}) == {}
    with pytest.raises(KeyturnError, match="U is none of the two users that take turns"):
        issuers.chosen(spec, ["U", "P"], {"U": "c", "P": "x"})
