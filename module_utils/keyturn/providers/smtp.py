"""A mail server: a login, and no mail."""

from __future__ import annotations

import smtplib
import ssl
import urllib.parse

from ..base import smtp
from ..base.deadline import within
from .shapes import ProviderSpec

# RFC 4954: the credentials are invalid. Other refusals have another reason
INVALID = 535
# the one code for a login; smtplib takes 503 for one as well, which a server without logins says
ACCEPTED = 235
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
            code, _ = server.login(user, password)
        return "accepted" if code == ACCEPTED else "unknown", f"{call}: SMTP {code}"
    except smtplib.SMTPAuthenticationError as error:
        return "rejected" if error.smtp_code == INVALID else "unknown", f"{call}: SMTP {error.smtp_code}"
    except smtplib.SMTPResponseException as error:
        return "unknown", f"{call}: SMTP {error.smtp_code}"
    except smtplib.SMTPNotSupportedError:
        return "unknown", f"{call}: the server offers no TLS or no login"
    except ssl.SSLCertVerificationError:
        return "unknown", f"{call}: the server's certificate is not accepted"
    except (OSError, ValueError, smtplib.SMTPException):
        return "unknown", f"{call}: no answer"
