"""A real mail server of a test's own: Debian's Exim, unpacked and not installed, on loopback, with TLS and logins."""

from __future__ import annotations

import contextlib
import datetime
import email
import hashlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from email.message import Message
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.environments import unpacked
from support.lab import free_port
from support.watching import wait_for

# Debian's user "mail" is on every machine; the server looks for one of this name
UID, NAME = 8, "Debian-exim"
# What is in its files is read for each login and each recipient, so that a test may change it while the server runs. The table has no
# password, as those of other servers. Where it cannot be read, nobody can be told whether a password is right.
SETTINGS = """
keep_environment =
primary_hostname = mail.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_on_connect_ports = {implicit}
tls_advertise_hosts = {starttls}
tls_certificate = {folder}/mail.crt
tls_privatekey = {folder}/mail.key
auth_advertise_hosts = {logins}
smtp_accept_max_per_host = ${{lookup{{connections}}lsearch{{{folder}/most}}}}
log_selector = +smtp_protocol_error +smtp_syntax_error +incoming_port
never_users =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = rcpt
acl_smtp_data = accept

begin acl
rcpt:
  deny !authenticated = *
  deny message = no such user
       condition = ${{lookup{{$local_part@$domain}}lsearch{{{folder}/refused}}{{yes}}{{no}}}}
  accept

begin routers
here:
  driver = accept
  transport = here

begin transports
here:
  driver = appendfile
  directory = {folder}/letters
  maildir_format
  envelope_to_add
  user = {name}

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${{if eqi{{${{sha256:$auth3}}}}{{${{lookup{{$auth2}}lsearch{{{folder}/logins}}{{$value}}{{}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if eqi{{${{sha256:$auth2}}}}{{${{lookup{{$auth1}}lsearch{{{folder}/logins}}{{$value}}{{}}}}}}}}
  server_set_id = $auth1
"""
# what is unpacked, and who its user is, is so in the view of the server alone; and all its processes end with the first
APART = ("unshare", "--mount", "--pid", "--fork", "sh", "-ec")
START = """
mount -t overlay -o lowerdir={root}/usr:/usr overlay /usr
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/group /etc/group
exec exim4 -C {folder}/settings -bdf
"""


class MailServer:
    """A server with one login. ``with`` it, it runs; it takes no password before TLS, and no letter before a login.

    ``starttls`` False: it offers no TLS. ``implicit``: it begins with TLS.
    """

    def __init__(self, user: str, password: str, *, starttls: bool = True, implicit: bool = False) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a server a view of its own")
        self.folder = Path(tempfile.mkdtemp(prefix="keyturn-mail-"))
        self.certificate, self.logins = self.folder / "mail.crt", self.folder / "logins"
        self.port = free_port()
        write_certificate(self.certificate)
        settings = SETTINGS.format(
            folder=self.folder,
            port=self.port,
            name=NAME,
            implicit=self.port if implicit else "",
            starttls="*" if starttls else "",
            logins="${if def:tls_in_cipher{*}{}}",
        )
        (self.folder / "settings").write_text(settings)
        for name in ("passwd", "group"):
            line = {"passwd": f"{NAME}:x:{UID}:{UID}::/:/bin/false", "group": f"{NAME}:x:{UID}:"}[name]
            (self.folder / name).write_text(f"{Path('/etc', name).read_text()}{line}\n")
        self.refuse()
        self.give(user, password)
        self.take(0)
        for name in ("letters", "log"):
            (self.folder / name).mkdir()
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, UID, UID)
        (self.folder / "settings").chmod(0o644)
        os.chown(self.folder / "settings", 0, 0)

    def __enter__(self) -> MailServer:
        started = START.format(folder=self.folder, root=unpacked("exim4-daemon-light"))
        self._process = subprocess.Popen([*APART, started], start_new_session=True)
        wait_for("the mail server", self._answers, 60)
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def entry(self, user: str) -> dict[str, object]:
        """Return the provider of an entry of the catalogue."""
        return {
            "kind": "smtp",
            "url": f"smtp://127.0.0.1:{self.port}",
            "user": user,
            "ca_bundle": str(self.certificate),
        }

    def give(self, user: str, password: str) -> None:
        """Make this the one login, from the next moment on."""
        self._write(self.logins, f'"{user}": {hashlib.sha256(password.encode()).hexdigest()}\n')

    def lose(self) -> None:
        """Lose the table of the passwords, as where a directory that has them is away."""
        self.logins.unlink(missing_ok=True)

    def take(self, connections: int) -> None:
        """Turn away who comes while so many are there; 0 takes all."""
        self._write(self.folder / "most", f"connections: {connections}\n")

    def refuse(self, *addresses: str) -> None:
        """Know none of these recipients."""
        self._write(self.folder / "refused", "".join(f"{address}:\n" for address in addresses))

    def logged(self) -> str:
        """What the server has logged."""
        log = self.folder / "log/mainlog"
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def letters(self) -> list[Message]:
        """The letters that came in and were taken; each recipient has one, whose name is in ``Envelope-To``."""
        wait_for("the last letter", lambda: not list((self.folder / "spool/input").glob("*-H")))
        return [email.message_from_bytes(path.read_bytes()) for path in (self.folder / "letters/new").glob("*")]

    def forget_letters(self) -> None:
        """Throw away what came in."""
        for path in (self.folder / "letters").glob("*/*"):
            path.unlink()

    def _write(self, path: Path, text: str) -> None:
        beside = path.with_suffix(".next")
        beside.write_text(text)
        os.chown(beside, UID, UID)
        beside.rename(path)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.logged()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        time.sleep(0.01)
        return False


def write_certificate(path: Path, host: str = "127.0.0.1") -> None:
    """Write a self-signed certificate of an address, and its key beside it (``.key``)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
