"""Secrets that the application may have: an inventory chooses them, and then they are turned as any other."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from support import reports
from support.apis import FakeDiscord
from support.lab import Lab
from support.mail import MailServer, write_certificate

USER, OLD, NEW = "trader@example.org", "canary-of-the-old-mail", "canary-of-the-new-mail"


class Shipped(Lab):
    """A lab with the catalogue as it is shipped, templates and all."""

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Return the command line of a playbook, without what other tests are given for their patience."""
        return [*super().command(playbook)[:4], *arguments]


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_the_password_of_a_mail_account_is_turned_where_an_inventory_chooses_it(tmp_path: Path) -> None:
    lab = Shipped(tmp_path)
    lab.env.write_text(re.sub(r"SMTP_PASSWORD=.*", f"SMTP_PASSWORD={OLD}", lab.env.read_text()))
    lab.start()
    done = lab.play("rotate_smtp_password")
    assert done.returncode == 2 and "an optional one is chosen by keyturn_optional_secrets" in said(done), said(done)
    with MailServer(USER, NEW) as mail:
        chosen: dict[str, Any] = {"keyturn_smtp_url": f"smtp://127.0.0.1:{mail.port}", "keyturn_smtp_user": USER}
        lab.write_inventory(keyturn_optional_secrets=["smtp_password", "slack_webhook"], **chosen)
        brought = {"KEYTURN_NEW_SMTP_PASSWORD": NEW, "SSL_CERT_FILE": str(mail.certificate)}
        done = lab.play("rotate_smtp_password", **brought)
        assert done.returncode == 0, said(done)
        done = lab.play("confirm_revoked", "-e", "keyturn_secret=smtp_password", **brought)
        assert done.returncode == 0, said(done)
        assert mail.letters == []
    assert dotenv_values(lab.env)["SMTP_PASSWORD"] == NEW
    (told,) = reports.report(lab)["hosts"].values()
    login = f"a login at 127.0.0.1:{mail.port}: SMTP"
    assert ("accepted", f"{login} 235") in {(line["verdict"], line["detail"]) for line in told["proofs"]}
    assert told["findings"] == [f"the current credential is dead already: {login} 535"]
    (journal,) = lab.journals()
    assert journal["retire"]["state"] == "revoked" and f"{login} 535" in journal["retire"]["evidence"]
    done = lab.play("status")
    assert "smtp_password" in done.stdout and "slack_webhook" in done.stdout, said(done)
    assert "db_password" not in done.stdout and "alert_webhook" not in done.stdout
    done = lab.play("validate")
    assert done.returncode == 0, said(done)
    assert not [value for value in (OLD, NEW) if value in said(done)]
    lab.stop()


@pytest.mark.exhaustive
def test_the_address_of_a_webhook_is_turned_and_its_old_one_is_confirmed_dead(tmp_path: Path) -> None:
    """A server asked by TLS, with the schema that it publishes: 200 and 404 are its words for an address that lives or does not."""
    certificate = tmp_path / "hook.crt"
    write_certificate(certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    lab = Shipped(tmp_path / "lab")
    with FakeDiscord() as fake:
        fake.socket = tls.wrap_socket(fake.socket, server_side=True)
        old, new = (f"{fake.url.replace('http', 'https')}/webhooks/81/canary-{one}" for one in ("old", "new"))
        fake.valid = {("81", "canary-old"): "ours", ("81", "canary-new"): "ours"}
        lab.env.write_text(f"{lab.env.read_text()}ALERT_WEBHOOK={old}\n")
        lab.start()
        statuses = {"keyturn_alert_webhook_accepted": 200, "keyturn_alert_webhook_rejected": 404}
        lab.write_inventory(keyturn_optional_secrets=["alert_webhook"], **statuses)
        brought = {"KEYTURN_NEW_ALERT_WEBHOOK": new, "SSL_CERT_FILE": str(certificate)}
        done = lab.play("rotate_alert_webhook", **brought)
        assert done.returncode == 0, said(done)
        assert dotenv_values(lab.env)["ALERT_WEBHOOK"] == new
        confirm = ("confirm_revoked", "-e", "keyturn_secret=alert_webhook")
        done = lab.play(*confirm, **brought)
        assert done.returncode == 2 and "still accepts the old credential" in said(done), said(done)
        del fake.valid["81", "canary-old"]
        done = lab.play(*confirm, **brought)
        assert done.returncode == 0, said(done)
    (journal,) = lab.journals()
    assert journal["retire"]["state"] == "revoked" and "HTTP 404" in journal["retire"]["evidence"]
    assert not [value for value in (old, new) if value in said(done)]
    lab.stop()
