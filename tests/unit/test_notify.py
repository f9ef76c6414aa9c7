"""Messages to a real SMTP server and real webhooks, and the file in which each stands until it is taken."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.notices import messages, notify, outbox
from keyturn.notices.messages import Message
from keyturn.notices.notify import Undelivered
from support.apis import FakeDiscord
from support.lab import free_port
from support.mail import MailServer
from support.receivers import Webhook

NOW = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
PASSWORD, KEY = "of-the-mail-server", "of-the-webhook"
FACTS = {
    "title": "JWT Secret Key",
    "rotation_id": "20260131T120000Z-0123456789abcdef",
    "reason": "scheduled",
    "operator": "ann\nBcc: all@example.com",
    "outcome": "rolled_back",
    "failure": "the service did not start",
    "fingerprints": ["kt:1 -> kt:2"],
    "link": "https://reports.example/1.json",
    "hosts": ["app1", "app2"],
    "last_rotated": "2025-10-01",
    "max_age_days": 90,
    "incident": "INC-7",
    "leaked": "laptop",
    "affected": ["jwt"],
    "point": "1h-1",
    "task": "Notify security team",
    "due": "2026-01-31T13:00:00Z",
    "on_call": "+1-555-0100",
    "incident_report": "incidents@example.com",
}


def told(event: str = "rotation_done", identity: str = "r1", **more: Any) -> Message:
    return messages.message(event, identity, "staging", "2026-01-31T12:00:00Z", FACTS, **more)


def channel(kind: str, **more: Any) -> dict[str, Any]:
    """A channel as the argument spec leaves it."""
    empty = {name: spec.get("default") for name, spec in notify.CHANNEL.items()}
    return empty | {"kind": kind} | more


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    with MailServer("keyturn", PASSWORD) as found:
        yield found


@pytest.fixture
def server(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> MailServer:
    monkeypatch.setenv("SSL_CERT_FILE", str(mail.certificate))
    mail.forget_letters()
    return mail


def by_mail(server: MailServer, **more: Any) -> dict[str, Any]:
    given = {"host": "127.0.0.1", "port": server.port, "sender": "keyturn@example.com", "user": "keyturn"}
    return channel("mail", **given, **({"to": ["security@example.com"], "password_from": "MAIL"} | more))


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook("/services/SECRETPART") as found:
        yield found


def send(spec: dict[str, Any], message: Message, **environment: str) -> str:
    return notify.send(spec, message, environment, NOW)


# -- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", messages.TEMPLATES)
def test_every_event_has_a_subject_and_a_text(event: str) -> None:
    found = told(event)
    assert found.subject.startswith("staging: ")
    assert "$" not in found.subject + found.text
    assert "\n" not in found.subject
    assert found.id == f"{event}-r1"


def test_what_comes_from_outside_stays_on_its_line() -> None:
    assert "by ann Bcc: all@example.com\n" in told().text


def test_a_drill_says_so() -> None:
    found = told("incident_opened", drill=True)
    assert found.subject.startswith("[drill] ")
    assert found.text.startswith("This is a drill.")
    assert "on call    +1-555-0100\nreport to  incidents@example.com\n" in found.text


def test_an_incident_is_told_where_the_policy_names_nobody() -> None:
    facts = {name: value for name, value in FACTS.items() if name not in ("on_call", "incident_report")}
    found = messages.message("incident_opened", "INC-1", "test", "2026-01-01T00:00:00Z", facts)
    assert "on call    nobody is named: contacts.on_call in policy.yml\n" in found.text


def test_a_missing_fact_and_a_bad_identity_are_named() -> None:
    with pytest.raises(KeyturnError, match="a message about overdue needs the fact title"):
        messages.message("overdue", "x", "staging", "2026-01-31T12:00:00Z", {})
    with pytest.raises(KeyturnError, match="identity"):
        told(identity="../x")


# -- mail --------------------------------------------------------------------------------------------------------------


def test_a_mail_goes_by_tls_with_a_login(server: MailServer) -> None:
    spec = by_mail(server, to=["security@example.com", "on-call@example.com"])
    assert send(spec, told(), MAIL=PASSWORD) == "taken by the mail server for 2 recipients"
    assert sorted(letter["Envelope-To"] for letter in server.letters) == ["on-call@example.com", "security@example.com"]
    letter, _ = server.letters
    assert letter["Subject"] == "staging: JWT Secret Key was rotated"
    assert letter["Date"] == "Sat, 31 Jan 2026 12:00:00 +0000"
    assert letter["Message-ID"] == "<rotation_done-r1.staging@example.com>"
    assert "kt:1 -> kt:2" in letter.get_payload()


def undelivered(spec: dict[str, Any], again: bool, text: str, **environment: str) -> None:
    with pytest.raises(Undelivered) as caught:
        send(spec, told(), **environment)
    assert (caught.value.again, caught.value.detail) == (again, text)


def test_a_wrong_password_is_told_without_it(server: MailServer) -> None:
    undelivered(by_mail(server), False, "the mail server says 535", MAIL="another")
    assert server.letters == []


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    undelivered(by_mail(server), False, "the certificate of the mail server does not hold", MAIL=PASSWORD)


def test_a_server_without_tls_gets_neither_password_nor_mail() -> None:
    with MailServer("keyturn", PASSWORD, starttls=False) as plain:
        undelivered(by_mail(plain), False, "the mail server offers no TLS or no login", MAIL=PASSWORD)
        assert plain.letters == []


def test_refused_recipients_are_counted(server: MailServer) -> None:
    server.refuse("gone@example.com")
    both = by_mail(server, to=["gone@example.com", "security@example.com"])
    undelivered(both, False, "the mail server refuses 1 of 2 recipients", MAIL=PASSWORD)
    undelivered(
        by_mail(server, to=["gone@example.com"]), False, "the mail server refuses every recipient", MAIL=PASSWORD
    )


def test_a_mail_server_that_is_not_there_may_be_tried_again(server: MailServer) -> None:
    undelivered(by_mail(server) | {"port": free_port()}, True, "the mail server does not answer", MAIL=PASSWORD)


# -- webhooks ----------------------------------------------------------------------------------------------------------


def test_slack_gets_its_text_with_its_signs_escaped(hook: Webhook) -> None:
    assert send(channel("slack", url_from="SLACK"), told(), SLACK=hook.url) == "HTTP 200"
    ((headers, body),) = hook.calls
    assert headers["content-type"] == "application/json"
    text = json.loads(body)["text"]
    assert text.startswith("*staging: JWT Secret Key was rotated*\n")
    assert "kt:1 -&gt; kt:2" in text


def test_a_server_that_is_made_for_clients_of_slack_gets_what_its_schema_allows() -> None:
    with FakeDiscord() as server:
        server.valid = {("81", "token"): "ours"}
        url = f"{server.url}/webhooks/81/token/slack"
        assert send(channel("slack", url_from="SLACK"), told(), SLACK=url) == "HTTP 200"
        assert len(server.texts) == 1 and server.violations == []


def test_a_webhook_can_check_signature_and_time(hook: Webhook) -> None:
    assert send(channel("webhook", url_from="URL", key_from="KEY"), told(), URL=hook.url, KEY=KEY) == "HTTP 200"
    ((headers, body),) = hook.calls
    assert headers["x-keyturn-timestamp"] == "2026-01-31T12:00:05Z", "the time of the call, not of the event"
    signed = b"2026-01-31T12:00:05Z." + body
    assert headers["x-keyturn-signature"] == "sha256=" + hmac.digest(KEY.encode(), signed, hashlib.sha256).hex()
    document = json.loads(body)
    assert (document["event"], document["id"], document["schema"]) == ("rotation_done", "rotation_done-r1", 1)
    assert document["facts"]["operator"] == "ann Bcc: all@example.com"


@pytest.mark.parametrize(("status", "again"), [(404, False), (410, False), (408, True), (429, True), (503, True)])
def test_an_answer_says_whether_to_try_again(hook: Webhook, status: int, again: bool) -> None:
    hook.statuses = [status]
    undelivered(channel("slack", url_from="SLACK"), again, f"HTTP {status}", SLACK=hook.url)


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/x", "ftp://127.0.0.1/x", "hooks", "http://[", "file:///etc/passwd"]
)
def test_an_address_that_is_not_private_is_refused(url: str) -> None:
    text = "url_from: the address must begin with https:// (http:// on this machine only)"
    undelivered(channel("slack", url_from="SLACK"), False, text, SLACK=url)


def test_a_secret_is_read_from_a_private_file(hook: Webhook, tmp_path: Path) -> None:
    file = tmp_path / "slack"
    file.write_text(hook.url + "\n")
    file.chmod(0o600)
    assert send(channel("slack", url_from=str(file)), told()) == "HTTP 200"
    file.chmod(0o640)
    undelivered(
        channel("slack", url_from=str(file)), False, f"url_from: {file} is open to other users: chmod 600 {file}"
    )
    undelivered(channel("slack", url_from=str(tmp_path / "no")), False, f"url_from: {tmp_path / 'no'} cannot be read")
    undelivered(channel("slack", url_from="SLACK"), False, "url_from: SLACK is not set in the environment")
    undelivered(
        channel("slack", url_from=hook.url),
        False,
        "url_from: name a variable of the environment or the absolute path of a file",
    )


# -- the outbox --------------------------------------------------------------------------------------------------------


class Sender:
    """Takes a message, or fails as told."""

    def __init__(self, *failures: Undelivered) -> None:
        self.failures = list(failures)
        self.sent: list[tuple[str, str]] = []
        self.pauses: list[float] = []

    def __call__(self, spec: Any, message: Message) -> str:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((spec["kind"], message.id))
        return "taken"

    def deliver(self, folder: Path, channels: dict[str, Any]) -> list[str]:
        return outbox.deliver(folder, channels, self, lambda: "2026-01-31T12:00:09Z", self.pauses.append)


CHANNELS = {"chat": channel("slack", url_from="SLACK")}


def stored(folder: Path, identity: str = "rotation_done-r1") -> dict[str, Any]:
    return dict(json.loads((folder / "notifications" / f"{identity}.json").read_text()))


def test_a_message_is_written_before_it_is_sent_and_sent_once(tmp_path: Path) -> None:
    outbox.post(tmp_path, told(), CHANNELS)
    assert outbox.open_lines(tmp_path) == ["rotation_done-r1: chat after 0 attempts: not tried yet"]
    sender = Sender()
    assert sender.deliver(tmp_path, CHANNELS) == ["chat: rotation_done-r1 (taken)"]
    assert sender.deliver(tmp_path, CHANNELS) == []
    outbox.post(tmp_path, told(), CHANNELS)
    assert sender.deliver(tmp_path, CHANNELS) == []
    assert sender.sent == [("slack", "rotation_done-r1")]
    state = {"state": "sent", "attempts": 1, "detail": "taken", "at": "2026-01-31T12:00:09Z", "audience": []}
    assert stored(tmp_path)["channels"] == {"chat": state}
    assert stored(tmp_path)["state"] == "closed"


def test_an_event_goes_to_the_channels_that_want_it(tmp_path: Path) -> None:
    outbox.post(tmp_path, told(), {"users": channel("slack", events=["sessions_invalidated"])})
    assert stored(tmp_path)["channels"] == {}
    assert outbox.opened(tmp_path) == []


def test_a_channel_that_does_not_answer_is_tried_three_times_and_stands_open(tmp_path: Path) -> None:
    outbox.post(tmp_path, told(), CHANNELS)
    outbox.post(tmp_path, told(identity="r2"), CHANNELS)
    sender = Sender(*[Undelivered("no answer")] * 3)
    assert sender.deliver(tmp_path, CHANNELS) == []
    assert sender.pauses == [1.0, 3.0]
    assert outbox.open_lines(tmp_path) == [
        "rotation_done-r2: chat after 3 attempts: no answer",
        "rotation_done-r1: chat after 0 attempts: not tried yet",
    ], "a dead channel was tried for every message"
    assert len(sender.deliver(tmp_path, CHANNELS)) == 2
    assert stored(tmp_path, "rotation_done-r2")["channels"]["chat"]["attempts"] == 4


def test_a_refused_message_does_not_keep_others_back(tmp_path: Path) -> None:
    outbox.post(tmp_path, told(), CHANNELS)
    outbox.post(tmp_path, told(identity="r2"), CHANNELS)
    sender = Sender(Undelivered("HTTP 400", again=False))
    assert sender.deliver(tmp_path, CHANNELS) == ["chat: rotation_done-r1 (taken)"]
    assert sender.pauses == []


def test_a_channel_that_was_taken_away_withdraws_its_messages(tmp_path: Path) -> None:
    outbox.post(tmp_path, told(), CHANNELS)
    assert Sender().deliver(tmp_path, {}) == []
    assert stored(tmp_path)["channels"]["chat"]["state"] == "withdrawn"
    assert outbox.open_lines(tmp_path) == []


def test_a_hook_that_failed_stands_open_and_is_not_tried(tmp_path: Path) -> None:
    outbox.post(tmp_path, told("sessions_invalidated"), {}, "hook.yml: Tell the users failed")
    assert Sender().deliver(tmp_path, CHANNELS) == []
    assert outbox.open_lines(tmp_path) == [
        "sessions_invalidated-r1: hook after 1 attempts: hook.yml: Tell the users failed"
    ]
