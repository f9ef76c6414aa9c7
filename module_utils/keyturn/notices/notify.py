"""Sending a message by mail (SMTP, always under TLS), to a Slack-compatible webhook, or to a webhook that checks a signature.

Addresses and passwords are secrets. A channel names the place where each is kept, and no message holds one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import smtplib
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..base import files, http, smtp, timestamps
from ..base.deadline import within
from ..base.errors import KeyturnError
from ..inputs.catalogue import Spec
from .messages import TEMPLATES, Message

TIMEOUT_SECONDS = 10
# for the whole of a letter, however the server says what it says
MAIL_SECONDS = 30
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOCAL = re.compile(r"localhost|127\.\d+\.\d+\.\d+|\[::1\]")

# what CHANNEL has validated
Channel = Mapping[str, Any]

CHANNEL: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["mail", "slack", "webhook"]},
    "events": {"type": "list", "elements": "str", "choices": sorted(TEMPLATES), "default": sorted(TEMPLATES)},
    "audience": {"type": "list", "elements": "str", "choices": ["security", "users"], "default": []},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "tls": {"type": "str", "choices": ["implicit", "starttls"], "default": "starttls"},
    "sender": {"type": "str"},
    "to": {"type": "list", "elements": "str"},
    "user": {"type": "str"},
    "password_from": {"type": "str"},
    "url_from": {"type": "str"},
    "key_from": {"type": "str"},
}
CHANNEL_REQUIRED_IF = [
    ["kind", "mail", ["host", "sender", "to"]],
    ["kind", "slack", ["url_from"]],
    ["kind", "webhook", ["url_from", "key_from"]],
]


class Undelivered(Exception):
    """A channel did not take the message: why, without a secret, and whether another attempt may help."""

    def __init__(self, detail: str, again: bool = True) -> None:
        super().__init__(detail)
        self.detail = detail
        self.again = again


class Delivery(NamedTuple):
    """What a sender gets: the channel as the inventory describes it, the message, where secrets are kept, and the time."""

    channel: Channel
    message: Message
    environment: Mapping[str, str]
    now: datetime

    def secret(self, option: str) -> str:
        """Return the secret of an option ``*_from``; Undelivered names the place where it is missing."""
        try:
            return secret_at(self.channel[option], self.environment)
        except KeyturnError as error:
            raise Undelivered(f"{option}: {error}", again=False) from None


def send(channel: Channel, message: Message, environment: Mapping[str, str], now: datetime) -> str:
    """Send a message once and return what the other side said; Undelivered where it did not take it."""
    return SENDERS[channel["kind"]](Delivery(channel, message, environment, now))


def secret_at(place: str, environment: Mapping[str, str]) -> str:
    """Return the secret that is kept at ``place``: a variable of the environment, or a file that only its owner reads."""
    if VARIABLE.fullmatch(place):
        found = environment.get(place, "")
        if not found:
            raise KeyturnError(f"{place} is not set in the environment")
        return found
    path = Path(place)
    if not path.is_absolute():
        raise KeyturnError("name a variable of the environment or the absolute path of a file")
    try:
        return files.secret(path).strip()
    except OSError:
        raise KeyturnError(f"{path} cannot be read") from None


def mail(delivery: Delivery) -> str:
    """Send a mail. Without TLS, or to a server whose certificate does not hold, nothing is sent."""
    channel = delivery.channel
    password = delivery.secret("password_from") if channel["user"] else ""
    letter = _letter(channel, delivery.message)
    context = ssl.create_default_context()
    try:
        with within(MAIL_SECONDS):
            refused = _sent(channel, letter, password, context)
    except smtplib.SMTPRecipientsRefused:
        raise Undelivered("the mail server refuses every recipient", again=False) from None
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"the mail server says {error.smtp_code}", again=error.smtp_code < 500) from None
    except smtplib.SMTPNotSupportedError:
        raise Undelivered("the mail server offers no TLS or no login", again=False) from None
    except ssl.SSLCertVerificationError:
        raise Undelivered("the certificate of the mail server does not hold", again=False) from None
    except (OSError, smtplib.SMTPException):
        raise Undelivered("the mail server does not answer") from None
    if refused:
        raise Undelivered(f"the mail server refuses {len(refused)} of {len(channel['to'])} recipients", again=False)
    return f"taken by the mail server for {len(channel['to'])} recipients"


def _sent(
    channel: Channel, letter: EmailMessage, password: str, context: ssl.SSLContext
) -> Mapping[str, tuple[int, bytes]]:
    """Send a letter and return the recipients that were refused."""
    implicit = channel["tls"] == "implicit"
    port = channel["port"] or (465 if implicit else 587)
    with smtp.connected(channel["host"], port, TIMEOUT_SECONDS, context if implicit else None) as server:
        if not implicit:
            server.starttls(context=context)
        if channel["user"]:
            server.login(channel["user"], password)
        return server.send_message(letter, to_addrs=channel["to"])


def _letter(channel: Channel, message: Message) -> EmailMessage:
    letter = EmailMessage()
    letter["Subject"] = message.subject
    letter["From"] = channel["sender"]
    letter["To"] = ", ".join(channel["to"])
    letter["Date"] = format_datetime(timestamps.parse(message.time))
    domain = parseaddr(channel["sender"])[1].rpartition("@")[2] or "keyturn"
    letter["Message-ID"] = f"<{message.id}.{message.environment}@{domain}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    return letter


def slack(delivery: Delivery) -> str:
    """Post the text as Slack takes it, its three special signs escaped."""
    text = f"*{delivery.message.subject}*\n{delivery.message.text}"
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return _post(delivery, json.dumps({"text": text}).encode(), {})


def webhook(delivery: Delivery) -> str:
    """Post the message as JSON, with the moment of the call and a signature over both: an old call cannot be played again."""
    message = delivery.message
    body = json.dumps({"schema": 1, **message._asdict()}, sort_keys=True).encode()
    sent = timestamps.text(delivery.now)
    signature = sign(delivery.secret("key_from"), sent, body)
    headers = {"X-Keyturn-Id": message.id, "X-Keyturn-Timestamp": sent, "X-Keyturn-Signature": signature}
    return _post(delivery, body, headers)


def sign(key: str, timestamp: str, body: bytes) -> str:
    """Return ``sha256=`` and the HMAC-SHA256 of the timestamp, a dot and the body."""
    return "sha256=" + hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _post(delivery: Delivery, body: bytes, headers: Mapping[str, str]) -> str:
    url = delivery.secret("url_from")
    if not _allowed(url):
        raise Undelivered("url_from: the address must begin with https:// (http:// on this machine only)", again=False)
    if fault := http.fault(url, whole=True):
        raise Undelivered(f"url_from: the address {fault}", again=False)
    answer = http.ask(url, TIMEOUT_SECONDS, headers, body)
    if http.good(answer.status):
        return f"HTTP {answer.status}"
    if answer.status is None:
        raise Undelivered("no answer")
    raise Undelivered(f"HTTP {answer.status}", again=answer.status >= 500 or answer.status in (408, 429))


def _allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and bool(LOCAL.fullmatch(parts.hostname or "")))
    except ValueError:
        return False


SENDERS: dict[str, Callable[[Delivery], str]] = {"mail": mail, "slack": slack, "webhook": webhook}
