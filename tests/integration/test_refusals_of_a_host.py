"""What ``stage`` refuses of database, state folder and service, and what ``verify`` says of the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.evidence import everything
from support.lab import KEY, Lab, free_port
from support.refusals import check_refused, set_key, write


def test_a_whole_host_is_staged(host: Lab) -> None:
    assert host.step("stage")["changed"]


def declared(host: Lab, **change: str) -> dict[str, Any]:
    entry = host.rotation()["entry"]
    column = entry["migration"]["columns"][0] | change
    return entry | {"migration": entry["migration"] | {"columns": [column]}}


def test_a_missing_database_is_refused(host: Lab) -> None:
    host.database.unlink()
    check_refused(host, [f"{host.database} does not exist", "correct `database` of the catalogue's migration"])


def test_what_is_not_a_database_is_refused(host: Lab) -> None:
    host.database.write_text("not a database")
    check_refused(host, [f"{host.database} is not an SQLite database"])


def test_a_damaged_database_is_refused(host: Lab) -> None:
    content = host.database.read_bytes()
    host.database.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    check_refused(host, [str(host.database), "damaged; run `PRAGMA integrity_check`"])


def test_a_missing_table_or_column_is_refused(host: Lab) -> None:
    texts = ["the database has no table items (it has: bank_accounts, bank_transactions, plaid_items)"]
    check_refused(host, texts, entry=declared(host, table="items"))
    for name in ("column", "key"):
        texts = ["table plaid_items has no column token (it has: item_id, access_token, institution_name"]
        check_refused(host, texts, entry=declared(host, **{name: "token"}))
    check_refused(host, ["`plaintext`", "no regular expression"], entry=declared(host, plaintext="("))


def test_a_missing_application_is_refused(host: Lab) -> None:
    check_refused(host, ["/nowhere/.env does not exist"], app_root="/nowhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_state_folder_of_another_owner_is_refused(host: Lab) -> None:
    host.state.mkdir(mode=0o700)
    os.chown(host.state, 4711, -1)
    texts = [f"{host.state} belongs to the user 4711 and keyturn runs as 0", "set keyturn_state_dir to a folder"]
    check_refused(host, texts)


def test_a_state_folder_that_is_open_or_a_file_is_refused(host: Lab) -> None:
    host.state.mkdir(mode=0o755)
    check_refused(host, [f"{host.state} is open to other users: chmod 700 {host.state}"])
    host.state.rmdir()
    host.state.write_text("")
    check_refused(host, [f"{host.state} is not a folder", "set keyturn_state_dir"])
    host.state.unlink()


def test_a_service_that_is_down_or_refuses_its_proof_is_refused(host: Lab) -> None:
    backend = host.services["backend"]
    down = backend | {"health_url": f"http://127.0.0.1:{free_port()}/health"}
    texts = ["service backend is not healthy at http://127.0.0.1:", "start it (`cd ", "`), then rotate"]
    check_refused(host, texts, services={"backend": down})
    wrong = backend["health_url"].replace("/health", "/healthz")
    texts = [f"is not healthy at {wrong}: its process ", "lives and answers HTTP 404 there: correct `health_url` of"]
    check_refused(host, texts, services={"backend": backend | {"health_url": wrong}})
    # a path that is not there, and a login that is missing, are not the key's fault
    texts = ["that the current value works cannot be shown, nothing was changed: proof http of backend is unknown: "]
    missing = ["GET /nothing: HTTP 404, the application has no such path"]
    check_refused(host, texts + missing, services={"backend": backend | {"proof_path": "/nothing"}})
    guarded = ["GET /api/bank/accounts: HTTP 500, it may want a login (proof_auth: jwt)"]
    check_refused(host, texts + guarded, services={"backend": backend | {"proof_auth": "none"}})


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_script_that_cannot_be_run_is_refused_while_the_service_runs(host: Lab, verb: str) -> None:
    backend = host.services["backend"]
    texts = [f"{host.app}/strat.sh is not a file that the user", f"correct `{verb}` of keyturn_services.backend"]
    check_refused(host, texts, services={"backend": backend | {verb: "./strat.sh"}})
    texts[0] = f"{host.app}/.env is not a file that the user"  # 0600
    check_refused(host, texts, services={"backend": backend | {verb: "./.env"}})
    texts[0] = "start-backend is not a file that the user"
    check_refused(host, texts, services={"backend": backend | {verb: "start-backend"}})
    assert host.get("/health") == 200


def test_a_user_that_is_not_there_is_refused(host: Lab) -> None:
    check_refused(host, ["this host has no user nosuchuser: correct keyturn_app_user"], app_user="nosuchuser")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_scripts_that_the_application_user_cannot_reach_are_refused(host: Lab) -> None:
    host.folder.chmod(0o700)
    check_refused(host, [f"{host.app} cannot be entered by the user nobody"], app_user="nobody")


# Starts as root and becomes nobody, as a service may.
SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print("up", flush=True)
server.serve_forever()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_file_that_the_service_reads_by_its_group_is_refused(host: Lab) -> None:
    """The replacement is for its owner alone, so the service would not come up again, and not after the rollback either."""
    port = free_port()
    services = {"backend": host.services["backend"] | {"health_url": f"http://127.0.0.1:{port}/health"}}
    host.env.chmod(0o640)
    os.chown(host.env, 0, 65534)
    with subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == b"up\n"
            texts = [f"{host.env} is readable by the group", "on which the user nobody", f"chown nobody {host.env}"]
            check_refused(host, texts, services=services)
            os.chown(host.env, 65534, -1)
            assert host.step("stage", rotation=host.rotation(services=services))["changed"]
            assert host.journals()[0]["modes"] == {str(host.env): 0o640}
        finally:
            server.kill()


# root whom the modes of files bind as they bind anybody
BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.parametrize(
    ("place", "mode", "texts"),
    [
        ("data/bank_accounts.db", 0o000, ["cannot be read by the user"]),
        ("data/bank_accounts.db", 0o400, ["cannot be written by the user", "run as its owner"]),
        ("data", 0o500, ["cannot be written (SQLite keeps its journal there)", "run as its owner"]),
        ("data", 0o000, ["bank_accounts.db cannot be read by the user"]),
        (".env", 0o000, ["Permission denied to the user", "run as its owner"]),
        ("", 0o500, ["cannot be written by the user", "the new file is made there: allow it"]),
    ],
    ids=[
        "database unreadable",
        "database read-only",
        "folder read-only",
        "folder closed",
        ".env unreadable",
        "root read-only",
    ],
)
def test_a_missing_permission_is_refused(host: Lab, place: str, mode: int, texts: list[str]) -> None:
    path = host.app / place
    before = path.stat().st_mode & 0o7777
    host.run_by = BOUND if os.geteuid() == 0 else ()
    try:
        path.chmod(mode)
        said = check_refused(host, texts)
        assert str(path) in said
    finally:
        path.chmod(before)
        host.run_by = ()


def test_a_pid_file_that_names_no_process_is_refused(host: Lab) -> None:
    backend = host.services["backend"] | {"pid_file": "run/none.pid"}
    texts = [f"service backend is healthy, but {host.app}/run/none.pid names no process", "correct `pid_file`"]
    check_refused(host, texts, services={"backend": backend})


def test_too_little_space_is_refused(host: Lab, tmp_path: Path) -> None:
    # the real answer of a real disk is a matter of the fault tests; here it is the sum that counts
    database = host.database
    with database.open("r+b") as file:
        file.truncate(shutil.disk_usage(database).free + 1)
    check_refused(host, ["MiB of disk space are needed and", "MiB are free"], snapshot=False)


def test_verify_names_what_is_wrong_and_changes_nothing(host: Lab) -> None:
    write(host, "rubbish")
    before = everything(host)
    backend = host.services["backend"] | {"health_url": f"http://127.0.0.1:{free_port()}/health"}
    rows, service = host.verified(services={"backend": backend})["problems"]
    assert rows.startswith(
        f"{host.database}: 1 rows cannot be turned, nothing was changed: plaid_items.access_token of 'item-00002'"
    )
    start = f"start it (`cd {host.app} && ./start.sh`)"
    assert service == f"service backend is not healthy at {backend['health_url']}: {start}"
    set_key("short")(host)
    assert f"{KEY} is not a Fernet key" in host.verified()["problems"][0]
    host.env.write_bytes(b"")
    assert f"{KEY} is not set in {host.env}" in host.verified()["problems"][0]
    assert {path for path, now in everything(host).items() if before.get(path) != now} == {str(host.env)}
