"""Content that only this host opens: systemd-creds, with the host's own key and with its TPM where it has one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ...base.errors import KeyturnError

STORE = Path("/etc/credstore.encrypted")
SECONDS = 30
# By default a TPM opens only under the Secure Boot state of today: an update of the firmware would lose every value.
MORE = {"encrypt": ["--tpm2-pcrs="], "decrypt": []}


def seal(content: bytes, name: str) -> bytes:
    """Return ``content`` encrypted; it opens again only under ``name``. KeyturnError where this host cannot do that."""
    return _run("encrypt", content, name)


def unseal(content: bytes, name: str) -> bytes:
    """Return what ``seal`` was given; KeyturnError for content of another host or name."""
    return _run("decrypt", content, name)


def _run(verb: str, content: bytes, name: str) -> bytes:
    command = ["systemd-creds", verb, f"--name={name}", *MORE[verb], "-", "-"]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise KeyturnError("systemd-creds is not on this host: it comes with systemd, from 250 on") from None
    except subprocess.TimeoutExpired:
        raise KeyturnError(f"systemd-creds {verb} did not end within {SECONDS} s") from None
    if done.returncode != 0:
        remedy = "was it written by this host, and is /var/lib/systemd/credential.secret its own?"
        why = f": {remedy}" if verb == "decrypt" else ": run it by hand as root, and see what it says"
        raise KeyturnError(f"systemd-creds {verb} failed with exit code {done.returncode}{why}")
    return done.stdout
