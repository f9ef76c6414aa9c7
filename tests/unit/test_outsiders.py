"""What a store, a provider, Alertmanager or a mail server answers, and who may write into the folder of reports or run a job again."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from keyturn import incident
from keyturn.base import deadline, durable
from keyturn.base.errors import KeyturnError
from keyturn.entry.module import attempt
from keyturn.fleet import isolation, versions
from keyturn.incident import runs
from keyturn.inputs import persons, request
from keyturn.monitoring import silence
from keyturn.notices import notify, outbox
from keyturn.records import evidence, rotation_log
from keyturn.stores import contract, open_store
from test_ends_of_waits import DRIPS, dripping
from test_incident import made
from test_notify import channel, told

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "20260101T000000Z-0123456789abcdef"


@contextlib.contextmanager
def answering(answers: Any) -> Iterator[str]:
    """A server that answers each path as ``answers`` says: a status and JSON, or bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, said, headers = answers(self.path)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        do_PUT = do_POST = do_DELETE = do_LIST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# -- Alertmanager -------------------------------------------------------------------------------------------------------------

MINE = {"createdBy": "keyturn", "comment": silence._comment(ID), "status": {"state": "active"}}


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ([{"status": "x"}], True),
        ([{"status": {}}, {"status": None}, MINE], True),
        ([MINE | {"id": "../../own"}], True),
        ([MINE | {"id": 5}], True),
        ([MINE | {"id": "6f3a-1"}], False),
        ([MINE | {"id": "6f3a-1", "status": {"state": "expired"}}], True),
    ],
)
def test_no_answer_of_alertmanager_is_a_defect(said: Any, asked: bool) -> None:
    paths: list[str] = []

    def answers(path: str) -> Any:
        paths.append(path)
        return 200, said, {}

    with answering(answers) as url:
        assert silence.begin(url, "Alert", "test", ID, NOW, 1) is asked
        silence.lift(url, ID)
    assert {path for path in paths if "own" in path} == set()


# -- a store ------------------------------------------------------------------------------------------------------------------

MOUNT = {"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}}
VERSIONS = {"1": {"destroyed": False, "deletion_time": ""}}


def store(url: str) -> contract.Store:
    spec = {"kind": "openbao", "url": url, "mount": "secret", "namespace": None, "ca_bundle": None, "prefix": ""}
    return open_store(spec | {"auth": {"method": "token", "mount": "", "role": None}}, {"BAO_TOKEN": "x"})


def openbao(metadata: Any, data: Any = None) -> Any:
    def answers(path: str) -> Any:
        if "/sys/internal/" in path:
            return 200, MOUNT, {}
        if "/metadata/" in path:
            return 200, {"data": metadata}, {}
        return 200, {"data": {"data": data or {"V": "x"}, "metadata": {"version": 1}}}, {}

    return answers


METADATA = {"current_version": 1, "versions": VERSIONS, "custom_metadata": {}, "delete_version_after": "0s"}
ODD = [
    {"custom_metadata": {"rotation_id": 5, "version": "1"}},
    {"versions": {"1": 5}},
    {"versions": {"x": {}}},
    {"versions": {"1": {}}},
    {"current_version": "1"},
    {"current_version": 1e400},
    {"delete_version_after": None},
]


@pytest.mark.parametrize("odd", ODD)
def test_no_metadata_of_a_store_is_a_defect(odd: dict[str, Any]) -> None:
    with answering(openbao(METADATA | odd)) as url:
        for call in ("read", "destroy_previous", "promote"):
            more = {"read": (), "destroy_previous": (ID,), "promote": (ID, {}, {})}[call]
            failure = attempt(lambda call=call, more=more: {"x": getattr(store(url), call)("a", *more)})[1]  # type: ignore[misc]
            assert "has a defect" not in failure, (call, failure)


def test_a_number_of_versions_is_not_counted_to() -> None:
    held = METADATA | {"current_version": 10**15, "custom_metadata": {"rotation_id": ID, "version": str(10**15)}}
    with answering(openbao(held)) as url, deadline.within(5):
        assert store(url).destroy_previous("a", ID)


def test_what_a_store_calls_itself_is_one_harmless_line() -> None:
    odd = {"data": {"path": "secret/", "type": "kv\x1b[2J\n::error::x", "options": {"version": 1}}}
    with answering(lambda path: (200, odd, {})) as url, pytest.raises(KeyturnError) as error:
        store(url).read("a")
    assert "\x1b" not in str(error.value) and "\n" not in str(error.value) and " ::error" not in str(error.value)


@pytest.mark.parametrize("drip", ["headers", "body", "chunks", "continuing"])
def test_a_store_that_drips_has_the_time_of_the_whole(drip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from keyturn.stores import openbao as module

    monkeypatch.setattr(module, "CALL_SECONDS", 0.3)
    with dripping(*DRIPS[drip]) as (url, _):
        began = time.monotonic()
        with pytest.raises(KeyturnError, match="OpenBao at"):
            store(url.removesuffix("/health")).read("a")
        assert time.monotonic() - began < 3


def test_an_answer_of_a_store_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from keyturn.stores import http_session

    monkeypatch.setattr(http_session, "MOST_BYTES", 1000)
    with (
        answering(lambda path: (200, MOUNT | {"x": "y" * 1000}, {})) as url,
        pytest.raises(KeyturnError, match="gives no answer"),
    ):
        store(url).read("a")


def test_no_redirect_of_a_store_leads_out_of_tls() -> None:
    from keyturn.stores import http_session

    assert sorted(http_session.session("https://store", True).adapters) == ["https://"]
    assert sorted(http_session.session("http://store", True).adapters) == ["http://", "https://"]


def test_a_deadline_ends_what_tries_again_and_leaves_the_timer_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    before = signal.getitimer(signal.ITIMER_REAL)[0]
    times = 0
    began = time.monotonic()
    with pytest.raises(TimeoutError), deadline.within(0.1):
        while True:
            times += 1
            with contextlib.suppress(TimeoutError if times < 2 else ZeroDivisionError):
                time.sleep(60)
    assert time.monotonic() - began < 2 and times == 2
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) is (before > 0)


def test_a_mail_server_that_goes_on_and_on_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAIL_SECONDS", 0.3, raising=False)
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    while not ended.wait(0.01):
                        connection.sendall(b"220-welcome\r\n")

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        spec = channel(
            "mail", host="127.0.0.1", port=listening.getsockname()[1], sender="a@b.example", to=["c@d.example"]
        )
        with pytest.raises(notify.Undelivered, match="does not answer"), deadline.within(5):
            notify.send(spec, told(), {}, NOW)
        ended.set()
        server.join()


class Giving:
    """A store that gives back what it likes."""

    def __init__(self, values: dict[str, str], rotation_id: str) -> None:
        self.held = contract.Held(None, contract.Version(values, rotation_id), None)

    def read(self, path: str) -> contract.Held:
        return self.held

    def stage(self, path: str, rotation_id: str, values: Any) -> bool:
        return True


@pytest.mark.parametrize("name", ["find", "stage"])
def test_a_store_gives_no_variable_that_is_not_the_secret_s(name: str) -> None:
    def step(store: Any) -> versions.Result:
        asked = versions.Step(store, "a", False, ID, ["V"], "fernet", None, {"a": {}}, {}, {}, "")
        return versions.STEPS[name](asked)

    assert step(Giving({"V": "x"}, ID))["new_values"] == {"V": "x"}
    for odd in ({"V": "x", "LD_PRELOAD": "/tmp/own.so"}, {"V": "x", "W\n::error::": "y"}, {}):
        with pytest.raises(KeyturnError, match="write it with exactly these names") as error:
            step(Giving(odd, ID))
        assert "\n" not in str(error.value)


# -- a provider ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [5, "x", {"a": 1}, ["x"] * 2, [None], [{"id": 5}] * 2, [{}] * 2, None])
def test_no_answer_of_a_provider_keeps_back_the_evidence_of_others(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def alpaca(_: Any) -> dict[str, bytes]:
        return {"b": json.dumps(evidence._paged(lambda last: page, "id", 2)).encode()}

    monkeypatch.setattr(evidence, "SOURCES", {"files": lambda _: {"a": b""}, "alpaca": alpaca})
    members, missing = evidence.collect(None, ["alpaca", "files"])  # type: ignore[arg-type]
    assert "a" in members and ("b" in members) is ("alpaca" not in missing)


# -- the folder of reports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["staging", "production"])
def test_what_is_no_file_among_the_reports_holds_nobody_up(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir()
    os.mkfifo(tmp_path / place / f"{ID}.json")
    with deadline.within(3), pytest.raises(KeyturnError, match="is not a regular file"):
        isolation.held_elsewhere(tmp_path, "production")
    (tmp_path / place / "rotation-log.jsonl").symlink_to("/dev/zero")
    with deadline.within(3), pytest.raises(KeyturnError, match="is not a regular file"):
        rotation_log.read(tmp_path / place)


def test_no_link_among_the_reports_leads_a_write_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    folder = tmp_path / "incidents/INC-1"
    incident.make_folder(folder)
    (folder / "lock").symlink_to(victim)
    with pytest.raises(OSError), runs.alone(folder):
        pass
    (tmp_path / "notifications").mkdir()
    (tmp_path / "notifications/lock").symlink_to(tmp_path / "made")
    with pytest.raises(OSError):
        outbox.deliver(tmp_path, {}, lambda *_: "", lambda: "", lambda _: None)
    assert victim.read_text() == "kept" and not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "change", [{"name": "../../x"}, {"kind": "x"}, {"attempts": ["../../x"]}], ids=["log", "kind", "report"]
)
def test_a_step_of_a_document_names_no_place(tmp_path: Path, change: dict[str, Any]) -> None:
    document = made("key_and_database", "alpaca")
    incident.write(tmp_path / "incidents/INC-7", document)
    document["steps"][0] |= change
    durable.write_json(tmp_path / "incidents/INC-7/incident.json", document)
    with pytest.raises(KeyturnError, match="it was not written by keyturn"):
        incident.read(tmp_path / "incidents/INC-7")


@pytest.mark.parametrize("change", [{"subject": "x\ny"}, {"time": "x"}, {"environment": "x\ny"}])
def test_a_message_that_somebody_has_put_there_is_told_by_its_name(tmp_path: Path, change: dict[str, str]) -> None:
    outbox.post(tmp_path, told(), {"chat": channel("slack", url_from="X")})
    (path,) = (tmp_path / "notifications").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(KeyturnError, match=str(path)):
        outbox.opened(tmp_path)


# -- who it was ---------------------------------------------------------------------------------------------------------------


def test_who_runs_a_job_again_is_who_rotates() -> None:
    again = {"GITHUB_ACTOR": "alice", "GITHUB_TRIGGERING_ACTOR": "bob"}
    assert request.operator(again) == "bob"
    assert persons.login(again)["actor"] == "bob"
