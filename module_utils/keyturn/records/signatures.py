"""Signatures of records by people's keys, made and checked by ssh-keygen. Whose key is whose says a file of the inventory's.

What is signed is the whole record, and so by its ``previous`` all of the log before it.
"""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..base import timestamps
from ..base.errors import KeyturnError
from ..inputs import persons
from . import checklist
from .rotation_log import Record, Seal, signed_part

# a signature for git, or for anything else, is none for the log
NAMESPACE = "keyturn"
# a key on a token waits for a touch
SECONDS = 60


def seal(key: Path, allowed: Path, signer: str, rotators: Iterable[str], at: str) -> Seal:
    """Return what signs with ``key``; KeyturnError where that is not a key of ``signer``'s, or one of who has rotated as well.

    ``allowed`` is the file of allowed signers (ssh-keygen(1)), ``at`` the moment of the signature.
    """

    def sign(content: bytes) -> str:
        signature = _sign(content, key)
        if not is_of(signer, content, signature, allowed, at):
            raise KeyturnError(
                f"{key} is no key of {signer} by {allowed}: sign with a key that stands there beside that name; nothing was signed"
            )
        if same := _first_of(rotators, content, signature, allowed, at):
            raise KeyturnError(
                f"{key} is, by {allowed}, also a key of {same}, who has rotated, so somebody else must verify; nothing was signed"
            )
        return signature

    return sign


def check_file(allowed: Path) -> None:
    """Refuse a file of allowed signers that is not there, or that anybody may write."""
    try:
        status = allowed.stat()
    except OSError as error:
        raise KeyturnError(f"keyturn_allowed_signers: {allowed}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o002:
        raise KeyturnError(
            f"keyturn_allowed_signers: {allowed} is no file, or everybody may write it: chmod o-w {allowed}"
        )


def fault(record: Record, records: checklist.Records, allowed: Path) -> str:
    """Return what is wrong with the signature of a sign-off among the ``records`` of its log, empty where nothing is."""
    signature, content = record.get("signature", ""), signed_part(record)
    if not signature:
        return "was made without a key"
    if not is_of(record["signer"], content, signature, allowed, record["at"]):
        return (
            f"does not bear that person's signature by {allowed}: it was forged, or the key was taken out of that file, where "
            "valid-before= would have ended it"
        )
    # who takes a rotation up again that was signed has not turned it
    before = [*itertools.takewhile(lambda one: one is not record, records)]
    rotators = checklist.rotators(before, record["rotation_id"])
    same = _first_of(rotators, content, signature, allowed, record["at"])
    return f"bears by {allowed} the signature of {same}, who has rotated" if same else ""


def check(path: Path, records: checklist.Records, allowed: Path) -> int:
    """Return how many sign-offs of the log ``path`` bear a signature; KeyturnError names the first that does not hold.

    One without a key, and a checklist that was closed on that, is fine before the first that has one: keys were not configured then.
    """
    signed: set[str] = set()
    count = 0
    for record in records:
        where = f"{path}, record {record.get('number')}:"
        if record.get("event") == "signed" and (count or "signature" in record):
            if wrong := fault(record, records, allowed):
                raise KeyturnError(f"{where} the sign-off of {record['rotation_id']} by {record['signer']} {wrong}")
            signed.add(record["rotation_id"])
            count += 1
        if record.get("event") == "closed" and count and record.get("rotation_id") not in signed:
            raise KeyturnError(
                f"{where} the checklist of {record.get('rotation_id')} was closed, and nobody has signed it with a key"
            )
    return count


def told(path: Path, records: checklist.Records, allowed: str) -> str:
    """Say what the keys say of the sign-offs of the log ``path``; KeyturnError where one does not hold."""
    if not allowed:
        return "not looked at: keyturn_allowed_signers is not set"
    check_file(Path(allowed))
    return f"{check(path, records, Path(allowed))} by key, and all hold"


def _sign(content: bytes, key: Path) -> str:
    done = _ssh_keygen(["sign", "-n", NAMESPACE, "-f", str(key)], content)
    if done.returncode:
        raise KeyturnError(
            f"{key} does not sign: it must be a private key without a passphrase, or the public half of one that ssh-agent has; "
            "nothing was signed"
        )
    return done.stdout.decode()


def is_of(signer: str, content: bytes, signature: str, allowed: Path, at: str) -> bool:
    """Tell whether a signature of ``content``, made at the moment ``at``, is one of ``signer``'s."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(signature.encode())
        file.flush()
        moment = f"{timestamps.parse(at):%Y%m%d%H%M%S}"
        named = ["-n", NAMESPACE, "-f", str(allowed), "-I", signer, "-s", file.name, "-O", f"verify-time={moment}"]
        return _ssh_keygen(["verify", *named], content).returncode == 0


def _first_of(names: Iterable[str], content: bytes, signature: str, allowed: Path, at: str) -> str:
    """Return the first of the names whose key has signed, empty where none has."""
    spelled = ((name, spelling) for name in names for spelling in {name, persons.normal(name)} - {""})
    return next((name for name, spelling in spelled if is_of(spelling, content, signature, allowed, at)), "")


def _ssh_keygen(arguments: list[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    # of a session of its own it has no terminal to ask for a passphrase, and a moment is read as one of UTC
    environment = os.environ | {"SSH_ASKPASS_REQUIRE": "never", "TZ": "UTC"}
    command = ["ssh-keygen", "-Y", *arguments]
    try:
        return subprocess.run(
            command,
            input=content,
            env=environment,
            capture_output=True,
            start_new_session=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise KeyturnError("ssh-keygen is not on the controller: apt install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise KeyturnError(
            f"ssh-keygen gave no answer for {SECONDS} s: is the key on a token that waits for a touch?"
        ) from None
