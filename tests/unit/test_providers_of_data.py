"""Providers that an entry of the catalogue describes: a webhook, a token, a mail server. Real HTTP on loopback, and a real mail server."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn import providers
from keyturn.base.deadline import within
from keyturn.base.errors import KeyturnError
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import services, validated
from keyturn.providers import Reply, http_data
from support import odd
from support.apis import FakeDiscord
from support.fakes import FakeHuggingFace
from support.lab import free_port, optional
from support.mail import MailServer

USER, PASSWORD = "trader", "canary-of-the-mail"
LIVE, DEAD = "/services/T0/B0/canary-live", "/services/T0/B0/canary-dead"
# Slack documents these answers of an incoming webhook; a message without text is refused before anybody sees one
SLACK: dict[str, Any] = optional()["slack_webhook"]["provider"]
TOKEN: dict[str, Any] = {
    "kind": "http",
    "fields": ["token"],
    "headers": {"Authorization": "Bearer {token}"},
    "identity": "name",
    "answers": [
        {"verdict": "accepted", "status": [200], "says": '"name"'},
        {"verdict": "rejected", "status": [401], "says": '^{"error"'},
    ],
}


class Slack(ThreadingHTTPServer):
    """An incoming webhook. ``mood`` is another answer than the documented one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.mood, self.calls = (0, ""), 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Slack:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Call(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self) -> None:
        self.server.calls += 1
        assert self.rfile.read(int(self.headers["Content-Length"])) == b'{"text": ""}', (
            "a message that somebody would see"
        )
        known = (400, "no_text") if self.path == LIVE else (404, "no_service")
        status, text = self.server.mood if self.server.mood[0] else known
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


ME = getpass.getuser()


def spec(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a provider with the defaults that the catalogue gives it."""
    return validated("provider", catalogue.PROVIDER, given | more, catalogue.PROVIDER_REQUIRED_IF)


def ask(given: dict[str, Any], *values: str) -> Reply:
    reply = providers.ask(given, values)
    assert not [value for value in values if "canary" in value and value in reply.detail]
    assert "canary" not in reply.detail
    return reply


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as made:
        yield made


@pytest.mark.parametrize(
    ("mood", "live", "dead"),
    [
        ((0, ""), "accepted", "rejected"),
        ((404, "<html>not found</html>"), "unknown", "unknown"),
        ((403, "action_prohibited"), "unknown", "unknown"),
        ((429, "no_service"), "unknown", "unknown"),
        ((500, "no_text"), "unknown", "unknown"),
        ((302, "no_text"), "unknown", "unknown"),
    ],
)
def test_a_webhook_is_asked_without_a_message(slack: Slack, mood: tuple[int, str], live: str, dead: str) -> None:
    slack.mood = mood
    given = spec(SLACK, tls=False)
    found = [ask(given, slack.url + path) for path in (LIVE, DEAD)]
    assert [reply.verdict for reply in found] == [live, dead]
    assert slack.calls == 2, "each is asked once"
    assert found[0].detail.startswith("POST 127.0.0.1: HTTP ")


def test_an_answer_that_is_made_for_a_pattern_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from keyturn.base.http import Answer
    from keyturn.providers import http_data

    given = {"answers": [{"verdict": "accepted", "status": [200], "says": "^(a+)+$"}]}
    assert http_data._verdict(given, Answer(200, b"aaa")) == "accepted"
    monkeypatch.setattr(http_data, "SEARCH_SECONDS", 0.1)
    with within(60):  # it would take longer than anybody lives
        assert http_data._verdict(given, Answer(200, b"a" * 100 + b"b")) == "unknown"
    given["answers"][0]["says"] = "x"
    assert http_data._verdict(given, Answer(200, b" " * http_data.SEARCHED_BYTES + b"x")) == "unknown"


def test_a_secret_address_is_sent_nowhere_without_tls_and_to_no_user(slack: Slack) -> None:
    for url in (
        slack.url + LIVE,
        "ftp://127.0.0.1/canary",
        "canary",
        "https://canary:canary@127.0.0.1/",
        "http://[canary",
    ):
        assert ask(spec(SLACK), url).verdict == "unknown"
    assert slack.calls == 0
    with_tls = ask(spec(SLACK), slack.url.replace("http", "https") + LIVE)
    assert (with_tls.verdict, slack.calls) == ("unknown", 0)


def test_a_provider_that_has_code_can_be_data_as_well() -> None:
    with FakeHuggingFace() as fake:
        fake.valid = {("hf_canary_live",): "trader"}
        given = spec(TOKEN, url=f"{fake.url}/api/whoami-v2", tls=False)
        live, dead = ask(given, "hf_canary_live"), ask(given, "hf_canary_dead")
        assert (live.verdict, live.identity, dead.verdict) == ("accepted", "trader", "rejected")
        for mood in ("429", "500", "html", "reset"):
            fake.mood = mood
            assert ask(given, "hf_canary_dead").verdict == "unknown", mood
        assert ask(given, "hf_canary\n").verdict == "unknown", "no header has a line of its own"
        assert fake.violations == []


# one that can be read without a message, and the same by the call that is made for Slack's clients
DISCORD: dict[str, Any] = {
    "kind": "http",
    "fields": ["webhook"],
    "url": "{webhook}",
    "tls": False,
    "answers": [
        {"verdict": "accepted", "status": [200], "says": '"token"'},
        {"verdict": "rejected", "status": [404], "says": '"code": ?10015'},
    ],
}
AS_SLACK = DISCORD | {
    "method": "POST",
    "body": '{"text": ""}',
    "answers": [{"verdict": "accepted", "status": [400], "says": '"code": ?50006'}, DISCORD["answers"][1]],
}


@pytest.mark.parametrize(("given", "call"), [(DISCORD, ""), (AS_SLACK, "/slack")], ids=["read", "as Slack's"])
def test_a_webhook_with_a_published_schema_is_asked_as_that_allows(given: dict[str, Any], call: str) -> None:
    with FakeDiscord() as fake:
        fake.valid = {("81", "canary-live"): "ours"}
        live, dead = (f"{fake.url}/webhooks/81/canary-{one}{call}" for one in ("live", "dead"))
        assert [ask(spec(given), url).verdict for url in (live, dead)] == ["accepted", "rejected"]
        for mood in ("429", "500", "html", "reset"):
            fake.mood = mood
            assert [ask(spec(given), url).verdict for url in (live, dead)] == ["unknown", "unknown"], mood
        assert (fake.violations, fake.texts) == ([], [])


def test_a_value_in_an_address_or_a_text_is_quoted() -> None:
    from keyturn.providers import http_data

    assert http_data._filled("https://x/{a}", {"a": "../b?c"}, http_data._in_a_path) == "https://x/..%2Fb%3Fc"
    assert http_data._filled('{"k": "{a}"}', {"a": 'x"y'}, http_data._in_json) == '{"k": "x\\"y"}'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": SLACK["answers"][:1]}, "its answers must say what is accepted and what is rejected"),
        (
            {"answers": [*SLACK["answers"], {"verdict": "accepted", "status": [1], "says": "("}]},
            r"\( of its answers is no regular",
        ),
        ({"fields": ["webhook", "other"]}, "are not the same: other"),
        ({"body": "{{webhooks}}"}, "are not the same: webhooks"),
        ({"body": '{"id": {webhook}}'}, "its body is no JSON, or has a name in braces outside"),
        ({"body": "text={webhook}"}, "its body is no JSON"),
        ({"url": "gopher://{webhook}"}, "the provider's url must begin with http"),
        ({"url": "https://a:b@x/{webhook}"}, "has a user or a password"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_by_the_plan(change: dict[str, Any], message: str) -> None:
    assert not (fault := providers.PROVIDERS["http"].fault(spec(SLACK))), fault
    if "fields" in change:  # of which there are as many as variables
        assert "other" in providers.PROVIDERS["http"].fault(spec(SLACK, **change))
        return
    entry = validated("x", catalogue.ENTRY, described(SLACK | change))
    with pytest.raises(KeyturnError, match=message):
        check_meaning("x", entry, services({"backend": SERVICE}))


SERVICE = {"manager": "script", "start": "./start", "stop": "./stop", "health_url": "http://127.0.0.1/health"}


def described(provider: dict[str, Any]) -> dict[str, Any]:
    """Return an entry for a value that a person brings."""
    return {
        "title": "Webhook",
        "variables": ["WEBHOOK"],
        "source": {"kind": "supplied", "steps": ["make a new one"]},
        "provider": provider,
        "value": "shared",
        "switch": "rolling",
        "overlap": "both",
        "consumers": [{"format": "dotenv", "path": ".env"}],
        "migration": {"kind": "none"},
        "services": ["backend"],
        "probes": [{"kind": "provider"}],
        "retire": {"kind": "revoke", "steps": ["delete the old one"]},
        "downtime_budget_seconds": 60,
    }


GUIDE = Path(__file__).parents[2] / "docs/guides/issuers.md"
# two of its blocks are of an entry of one name
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)]
OF_THE_GUIDE = [(name, entry) for block in BLOCKS for name, entry in block.items()]
ENTRIES = [*OF_THE_GUIDE, *optional().items()]


@pytest.mark.parametrize(
    ("name", "entry"), ENTRIES, ids=[f"{name}-{entry['provider']['kind']}" for name, entry in ENTRIES]
)
def test_the_entries_of_the_guide_and_those_to_choose_are_legal(name: str, entry: dict[str, Any]) -> None:
    check_meaning(name, validated(name, catalogue.ENTRY, entry), services({"backend": SERVICE}))


@pytest.mark.parametrize(
    ("issuer", "more", "message"),
    [
        ({"strategy": "alternating"}, {}, "with the strategy alternating of its issuer, overlap is both"),
        ({"strategy": "alternating"}, {"overlap": "both"}, "no secret: name it in source.may_stay"),
        (
            {"strategy": "alternating"},
            {"overlap": "both", "source": {"kind": "generated", "generator": "password", "may_stay": ["DB_PASSWORD"]}},
            "users names two roles, and its provider no user",
        ),
        ({"users": ["a", "b"]}, {}, "its provider names the user, and users is left out"),
        ({"valid_days": 90}, {}, "valid_days needs an admin"),
        (
            {},
            {"probes": [{"kind": "http"}]},
            "an issuer needs a provider, which is asked about the value, and the probe provider",
        ),
        (
            {},
            {"source": {"kind": "supplied", "steps": ["x"]}},
            "an issuer is told a value that is generated and shared",
        ),
        (
            {},
            {"provider": {"kind": "smtp", "url": "smtp://x", "user": "u"}},
            "the issuer postgresql_role goes with the provider postgresql",
        ),
        ({"admin": {"user": "keyturn"}}, {}, "one of the following is required: system_user, password_file"),
    ],
)
def test_what_an_issuer_could_not_do_is_refused_by_the_plan(
    issuer: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    entry = ENTRIES[0][1]
    with pytest.raises(KeyturnError, match=rf"db_password: .*{message}"):
        given = validated("db_password", catalogue.ENTRY, entry | {"issuer": entry["issuer"] | issuer} | more)
        check_meaning("db_password", given, services({"backend": SERVICE}))


@pytest.mark.parametrize(
    ("call", "change", "message"),
    [
        ("unset", None, "with the strategy single the issuer http needs requests.unset"),
        ("set", {"url": "https://x/{new_password}"}, "requests.set .* its url has a value in it"),
        ("set", {"url": "http://u:p@x/"}, "requests.set of the issuer: its url has a user or a password in it"),
        ("set", {"url": "{admin_password}"}, "its url has a value in it"),
        ("set", {"body": '{"password": "{new_pasword}"}'}, "nothing is known by the name new_pasword: there are "),
        (
            "set",
            {"body": '{"password": "{new_password}", "was": {old_password}}'},
            "requests.set .* its body is no JSON",
        ),
        ("set", {"body": "{}"}, "requests.set of the issuer tells it no new_password"),
        ("set", {"answers": [{"verdict": "rejected", "status": [403]}]}, "must say by which it was done"),
        ("set", {"answers": [{"verdict": "accepted", "status": [200], "says": "("}]}, "is no regular expression"),
    ],
)
def test_a_request_that_tells_nothing_or_too_much_is_refused_by_the_plan(
    call: str, change: dict[str, Any] | None, message: str
) -> None:
    entry = dict(ENTRIES)["search_password"]
    requests = entry["issuer"]["requests"]
    changed = {**requests, call: change and requests[call] | change}
    given = entry | {"issuer": entry["issuer"] | {"requests": changed}}
    with pytest.raises(KeyturnError, match=message):
        check_meaning("x", validated("x", catalogue.ENTRY, given), services({"backend": SERVICE}))


@pytest.mark.parametrize("value", ["x\r\n Authorization: Bearer other", "x\n\ty"])
def test_a_value_is_one_line_of_a_header_or_nothing_is_sent(value: str) -> None:
    """A line that begins with a blank goes on with the one before, or is one of its own: servers differ."""
    found = ask(spec(TOKEN, url="http://127.0.0.1:9/", tls=False), value)
    assert found.verdict == "unknown" and "more than one line of a header, and nothing was sent" in found.detail


def test_a_request_without_tls_tells_nothing() -> None:
    entry = validated("x", catalogue.ENTRY, dict(ENTRIES)["search_password"])
    request = entry["issuer"]["requests"]["set"] | {"url": "http://127.0.0.1:9/"}
    held = {"new_password": "canary", "admin_user": "a", "admin_password": "canary"}
    verdict, words, _ = http_data.call(request, held, True, 1)
    assert (verdict, words) == ("unknown", "POST 127.0.0.1 (the address is not https, and nothing was sent)")


# -- a mail server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    with MailServer(USER, PASSWORD) as made:
        yield made


def server(mail: MailServer, **more: Any) -> dict[str, Any]:
    return spec(mail.entry(USER), **more)


def test_a_mail_server_is_asked_by_a_login(mail: MailServer) -> None:
    assert ask(server(mail), PASSWORD) == Reply("accepted", f"a login at 127.0.0.1:{mail.port}: SMTP 235")
    assert ask(server(mail, user=None), USER, PASSWORD).verdict == "accepted", "the user is half of the secret"
    before = mail.logged().count("authenticator failed")
    assert ask(server(mail), "canary-of-another").verdict == "rejected"
    assert ask(server(mail, user="nobody"), PASSWORD).verdict == "rejected"
    # it offers two ways to log in, and each counts towards its patience
    assert mail.logged().count("authenticator failed") == before + 2
    assert mail.letters == [] and "canary" not in mail.logged()


@pytest.mark.parametrize("password", odd.PASSWORDS, ids=ascii)
def test_a_mail_server_gets_every_character_of_a_password(mail: MailServer, password: str) -> None:
    mail.give(USER, password)
    try:
        assert ask(server(mail), password).verdict == "accepted"
        for other in {password[:-1], password.strip(), password.replace("\\", ""), password.replace("%", "%%")} - {
            password
        }:
            assert ask(server(mail), other).verdict == "rejected"
    finally:
        mail.give(USER, PASSWORD)


def test_a_mail_server_that_says_nothing_of_the_password_is_unknown(mail: MailServer) -> None:
    assert ask(server(mail, ca_bundle=None), PASSWORD).detail.endswith("the server's certificate is not accepted")
    assert ask(server(mail, tls=False), PASSWORD).detail.endswith("no TLS or no login"), "it insists on TLS"
    assert ask(server(mail, url=f"smtps://127.0.0.1:{mail.port}"), PASSWORD).detail.endswith("no answer")
    assert ask(server(mail, url=f"smtp://127.0.0.1:{free_port()}"), PASSWORD).detail.endswith("no answer")
    mail.take(connections=1)
    with socket.create_connection(("127.0.0.1", mail.port)):
        assert ask(server(mail), PASSWORD).detail.endswith("SMTP 421"), "it takes no second connection"
    mail.take(connections=0)
    mail.lose()
    assert ask(server(mail), PASSWORD).detail.endswith("SMTP 435"), "it cannot look the password up"
    mail.give(USER, PASSWORD)
    assert ask(server(mail), PASSWORD).verdict == "accepted"


def test_a_mail_server_without_tls_gets_no_password_and_one_that_begins_with_it_does() -> None:
    with MailServer(USER, PASSWORD, starttls=False) as bare:
        assert ask(server(bare), PASSWORD).detail.endswith("the server offers no TLS or no login")
    with MailServer(USER, PASSWORD, implicit=True) as tls:
        given = server(tls, url=f"smtps://127.0.0.1:{tls.port}")
        assert [ask(given, one).verdict for one in (PASSWORD, "canary-of-another")] == ["accepted", "rejected"]


class _Says(socketserver.StreamRequestHandler):
    """A mail server that offers logins, and has one answer to each."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail\r\n")
        for line in self.rfile:
            said = {b"EHLO": b"250-mail\r\n250 AUTH PLAIN", b"AUTH": self.answer}
            self.wfile.write(said.get(line[:4].upper(), b"221 bye") + b"\r\n")

    answer = b""


# what documented servers say that no other test's server does
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        # Postfix with its SASL turned off
        (b"503 5.5.1 authentication not enabled", "unknown"),
        (b"535 5.7.8 Error: authentication failed", "rejected"),
        (b"535-5.7.8 Username and Password\r\n535 5.7.8 not accepted", "rejected"),
        # Exchange, of an account that may not log in here at all
        (b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled", "unknown"),
        (b"534-5.7.9 Application-specific\r\n534 5.7.9 password required", "unknown"),
        (b"530 5.7.0 Must issue a STARTTLS command first", "unknown"),
        (b"538 5.7.11 Encryption required", "unknown"),
        (b"454 4.7.0 Temporary authentication failure", "unknown"),
        (b"421 4.7.0 Too many errors", "unknown"),
        (b"432 4.7.12 A password transition is needed", "unknown"),
        (b"334 bW9yZQ==", "unknown"),
        (b"250 OK", "unknown"),
        (b"235", "accepted"),
    ],
    ids=lambda value: str(value)[2:13],
)
def test_two_codes_of_a_mail_server_are_about_the_password(answer: bytes, verdict: str) -> None:
    found, detail = asked(type("_Said", (_Says,), {"answer": answer}))
    assert (found, detail) == (verdict, f"SMTP {answer[:3].decode()}")


def asked(server: type[socketserver.StreamRequestHandler]) -> tuple[str, str]:
    """Return the verdict of a login at a mail server, and what is said of its answer."""
    with socketserver.TCPServer(("127.0.0.1", 0), server) as mail:
        threading.Thread(target=mail.handle_request, daemon=True).start()
        port = mail.server_address[1]
        found = ask(spec({"kind": "smtp", "url": f"smtp://127.0.0.1:{port}", "user": USER, "tls": False}), PASSWORD)
    return found.verdict, found.detail.removeprefix(f"a login at 127.0.0.1:{port}: ")


class _WithoutEnd(socketserver.StreamRequestHandler):
    """A mail server that goes on with its first answer, and would fill the memory of a host in the time that one may take."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(b"220 mail\r\n")
            self.rfile.readline()
            for _ in range(1000):
                self.wfile.write(b"250-" + b"x" * 4000 + b"\r\n")
            self.wfile.write(b"250 AUTH PLAIN\r\n")
            self.rfile.readline()
            self.wfile.write(b"235 welcome\r\n")


def test_what_a_mail_server_says_has_an_end() -> None:
    assert asked(_WithoutEnd) == ("unknown", "no answer")


@pytest.mark.parametrize(
    "url", ["mail.internal", "smtp://", "smtp://u:p@mail.internal", "smtp://mail.internal/x", "http://x"]
)
def test_an_address_of_a_mail_server_is_one(url: str) -> None:
    assert "must be smtp://HOST:PORT" in providers.PROVIDERS["smtp"].fault(spec({"kind": "smtp", "url": url}))


@pytest.mark.parametrize(
    "url", ["db.internal", "postgresql://db", "postgresql://u:p@db/x", "postgresql://db/x?y=z", "http://db/x"]
)
def test_an_address_of_a_database_is_one(url: str) -> None:
    assert "must be postgresql://HOST:PORT/DATABASE" in providers.PROVIDERS["postgresql"].fault(
        spec({"kind": "postgresql", "url": url})
    )


# -- a program -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "verdict", "detail"),
    [
        ("sys.exit(json.load(sys.stdin) != {'password': 'canary-of-a-value'})", "accepted", "exit code 0"),
        ("sys.exit(1)", "rejected", "exit code 1"),
        ("print(sys.stdin.read()); sys.exit(2)", "unknown", "exit code 2"),
        ("import time; time.sleep(60)", "unknown", "did not end within 1 s"),
    ],
)
def test_a_program_is_asked_by_its_exit_code(tmp_path: Path, lines: str, verdict: str, detail: str) -> None:
    program = tmp_path / "ask"
    program.write_text(
        f"#!/usr/bin/python3\nimport json, os, sys\nassert not [v for v in os.environ.values() if 'canary' in v]\n{lines}\n"
    )
    program.chmod(0o700)
    given = spec(
        {
            "kind": "command",
            "command": [str(program)],
            "fields": ["password"],
            "system_user": ME,
            "seconds": 30 if "sleep" not in lines else 1,
        }
    )
    assert ask(given, "canary-of-a-value") == Reply(verdict, f"{program}: {detail}")


def test_a_program_reads_every_character_of_a_value(tmp_path: Path) -> None:
    program = tmp_path / "ask"
    program.write_text(
        f"#!/usr/bin/python3\nimport json, sys\nsys.exit(json.load(sys.stdin)['password'] not in {odd.PASSWORDS!r})\n"
    )
    program.chmod(0o700)
    given = spec({"kind": "command", "command": [str(program)], "fields": ["password"], "system_user": ME})
    assert {ask(given, one).verdict for one in odd.PASSWORDS} == {"accepted"}
    assert ask(given, odd.PASSWORDS[0] + " ").verdict == "rejected"


def test_a_program_that_another_user_may_change_is_not_run_as_root(tmp_path: Path) -> None:
    program = tmp_path / "ask"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o777)
    given = spec({"kind": "command", "command": [str(program)], "fields": ["password"], "system_user": ME})
    assert ask(given, "x").verdict == "unknown"
    assert (
        ask(
            spec({"kind": "command", "command": ["/nothing/there"], "fields": ["password"], "system_user": ME}), "x"
        ).verdict
        == "unknown"
    )


@pytest.mark.parametrize("command", [[], ["ask"], ["./ask"]])
def test_a_program_is_named_by_its_path(command: list[str]) -> None:
    given = spec({"kind": "command", "command": command, "fields": ["password"], "system_user": ME})
    assert "from / on" in providers.PROVIDERS["command"].fault(given)


def test_a_program_runs_as_root_only_where_an_entry_says_so() -> None:
    with pytest.raises(KeyturnError, match="system_user"):
        spec({"kind": "command", "command": ["/ask"], "fields": ["password"]})
