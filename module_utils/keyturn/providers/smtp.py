"""A mail server: a login, and no mail."""

from __future__ import annotations

import base64
import smtplib
import ssl
import urllib.parse

from ..base import smtp
from ..base.deadline import within
from .shapes import ProviderSpec

# RFC 4954: a login, and that the credentials are invalid. Other refusals have another reason
VERDICTS = {235: "accepted", 535: "rejected"}
# what Exchange says with 535 of an account that may not log in here as well, whatever its password is
NOT_OF_THE_PASSWORD = b"5.7.139"
# a server that wants the next piece of a login
CONTINUE = 334
PORTS = {"smtp": 587, "smtps": 465}


def fault(url: str) -> str:
    """Return what is wrong with an address, empty where nothing is."""
    try:
        parts = urllib.parse.urlsplit(url)
        plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
        fits = parts.scheme in PORTS and parts.hostname and plain and (parts.port or 1)
    except ValueError:
        fits = False
    return "" if fits else "must be smtp://HOST:PORT or smtps://HOST:PORT and no more"


def ask(spec: ProviderSpec, user: str, password: str, seconds: float) -> tuple[str, str]:
    """Log in, over TLS unless the entry says that there is none; return the verdict and what was answered."""
    parts = urllib.parse.urlsplit(spec["url"])
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    call = f"a login at {host}:{port}"
    context = ssl.create_default_context(cafile=spec["ca_bundle"])
    try:
        with (
            within(seconds),
            smtp.connected(host, port, seconds, context if parts.scheme == "smtps" else None) as server,
        ):
            if parts.scheme == "smtp" and spec["tls"]:
                server.starttls(context=context)
            code, said = _login(server, user, password)
        verdict = "unknown" if said.startswith(NOT_OF_THE_PASSWORD) else VERDICTS.get(code, "unknown")
        return verdict, f"{call}: SMTP {code}"
    except smtplib.SMTPResponseException as error:
        return "unknown", f"{call}: SMTP {error.smtp_code}"
    except smtplib.SMTPNotSupportedError:
        return "unknown", f"{call}: the server offers no TLS or no login"
    except ssl.SSLCertVerificationError:
        return "unknown", f"{call}: the server's certificate is not accepted"
    except (OSError, ValueError, smtplib.SMTPException):
        return "unknown", f"{call}: no answer"


def _login(server: smtplib.SMTP, user: str, password: str) -> tuple[int, bytes]:
    """Give the password once, and return what the server says of it.

    ``smtplib`` would try each mechanism: a server that counts wrong passwords counts each, and answers each later than the one before.
    """
    server.ehlo_or_helo_if_needed()
    offered = server.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in offered:
        return server.docmd("AUTH", f"PLAIN {_text(chr(0).join(('', user, password)))}")
    if "LOGIN" not in offered:
        raise smtplib.SMTPNotSupportedError
    code, said = server.docmd("AUTH", "LOGIN")
    for answer in (user, password):
        code, said = server.docmd(_text(answer)) if code == CONTINUE else (code, said)
    return code, said


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
