"""Evidence that only the holder of an age key reads: encrypted on its way to the disk, so that it never lies there in clear."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess

from .errors import KeyturnError

RECIPIENT = re.compile(r"age1[0-9a-z]{58}")


def check(recipient: str) -> None:
    """Refuse a recipient that is none, or a controller without age."""
    if not RECIPIENT.fullmatch(recipient):
        raise KeyturnError(
            "keyturn_incident_age_recipient must be the public key (age1...) of the people who read the evidence: make a pair "
            "with age-keygen and keep its other half off this machine, or go on without evidence by "
            "keyturn_incident_without_evidence: REASON"
        )
    if shutil.which("age") is None:
        raise KeyturnError(
            "age is not installed on this machine, and evidence is kept encrypted only: apt-get install age, or go on without "
            "evidence by keyturn_incident_without_evidence: REASON"
        )


def seal(content: bytes, recipient: str) -> bytes:
    """Return ``content`` encrypted to ``recipient``; KeyturnError where age does not take it."""
    check(recipient)
    done = subprocess.run(
        ["age", "--encrypt", "--recipient", recipient], input=content, capture_output=True, check=False
    )
    if done.returncode != 0 or not done.stdout.startswith(b"age-encryption.org/"):
        raise KeyturnError("age does not encrypt to keyturn_incident_age_recipient: is it a whole public key?")
    return done.stdout


def digest(content: bytes) -> str:
    """Return the SHA-256 of content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
