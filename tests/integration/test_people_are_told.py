"""What people are told when a rotation ends, and that it ends the same where they cannot be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.evidence import everything
from support.lab import Lab
from support.mail import MailServer
from support.receivers import Webhook

PASSWORD, SLACK_PATH = "of-the-mail-server", "/services/SECRETPART"


def channels(mail: MailServer) -> dict[str, Any]:
    return {
        "users": {
            "kind": "mail",
            "events": ["sessions_invalidated"],
            "host": "127.0.0.1",
            "port": mail.port,
            "sender": "keyturn@example.com",
            "to": ["users@example.com"],
            "user": "keyturn",
            "password_from": "MAIL_PASSWORD",
        },
        "chat": {"kind": "slack", "url_from": "SLACK_URL"},
        "dead": {"kind": "webhook", "url_from": "DEAD_URL", "key_from": "MAIL_PASSWORD"},
    }


@pytest.mark.left_open("its service starts on neither value, so that people are told of a rotation that fails")
def test_people_are_told_and_a_dead_channel_stands_open(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab(rows=4)
    lab.start()
    hook = lab.folder / "hook.yml"
    hook.write_text("- name: Tell the users\n  ansible.builtin.fail:\n    msg: broken\n")
    dead = "http://127.0.0.1:9/SECRETPART"
    with MailServer("keyturn", PASSWORD) as mail, Webhook(SLACK_PATH) as chat:
        lab.write_inventory(keyturn_notification_channels=channels(mail), keyturn_notification_hook=str(hook))
        environment = {
            "MAIL_PASSWORD": PASSWORD,
            "SLACK_URL": chat.url,
            "DEAD_URL": dead,
            "SSL_CERT_FILE": str(mail.certificate),
        }
        checked = lab.play("rotate_jwt_secret", "--check", **environment)
        assert checked.returncode == 0, checked.stdout
        assert (mail.letters, chat.calls, lab.reports.exists()) == ([], [], False)

        done = lab.play("rotate_jwt_secret", "-vvv", **environment)
        assert done.returncode == 0, done.stdout
        assert "SECRETPART" not in done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        assert f"sent to chat: rotation_done-{lab.report()['rotation_id']}-committed (HTTP 200)" in " ".join(
            done.stdout.split()
        )
        assert "after 3 attempts: no answer" in done.stdout
        (letter,) = mail.letters
        assert letter["Subject"] == "test: all users must sign in again"
        texts = [json.loads(body)["text"] for _, body in chat.calls]
        assert [text.split("\n")[0] for text in texts] == [
            "*test: JWT Secret Key was rotated*",
            "*test: all users must sign in again*",
        ]
        report = lab.report()
        old, new = (report["hosts"]["here"][side]["JWT_SECRET_KEY"] for side in ("old", "new"))
        assert f"JWT_SECRET_KEY on here {old} -&gt; {new}" in texts[0]

        folder = lab.reports / "test/notifications"
        files = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
        assert "SECRETPART" not in str(files)
        told = files[f"rotation_done-{report['rotation_id']}-committed.json"]["channels"]
        assert {name: state["state"] for name, state in told.items()} == {"chat": "sent", "dead": "open"}
        ended = files[f"sessions_invalidated-{report['rotation_id']}-committed.json"]["channels"]
        assert ended["hook"]["detail"] == f"{hook}: Tell the users failed"

        with Webhook() as alive:
            again = lab.play("notify", **environment | {"DEAD_URL": alive.url})
            assert again.returncode == 2, "the hook's message is still open"
            assert "hook after 1 attempts" in again.stdout
            assert len(alive.calls) == 2
        assert len(chat.calls) == 2, "somebody was told twice"

        (lab.app / "start.sh").write_text("#!/bin/sh\nexit 7\n")
        failed = lab.play("rotate_jwt_secret", **environment | {"DEAD_URL": chat.url})
        assert failed.returncode == 2
        subject = json.loads(chat.calls[2][1])["text"].split("\n")[0]
        assert subject.startswith("*test: rotation of JWT Secret Key ended as ")


def test_overdue_secrets_are_told_once(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(rows=4)
    with Webhook() as chat:
        lab.write_inventory(keyturn_notification_channels={"chat": {"kind": "slack", "url_from": "SLACK_URL"}})
        folder = lab.reports / "test"
        folder.mkdir(parents=True)
        entry = {"title": "JWT Secret Key", "age_days": 99, "max_age_days": 90, "last_rotated": "2025-10-01T00:00:00Z"}
        secrets = {"jwt": entry | {"state": "overdue"}, "db_key": entry | {"state": "ok"}}
        (folder / "status.json").write_text(json.dumps({"schema": 1, "secrets": secrets}))
        before = everything(lab)
        assert lab.play("notify", "--check", SLACK_URL=chat.url).returncode == 0
        assert (everything(lab), chat.calls) == (before, [])
        for _ in range(2):
            done = lab.play("notify", SLACK_URL=chat.url)
            assert done.returncode == 0, done.stdout
        ((_, body),) = chat.calls
        assert "JWT Secret Key is overdue" in json.loads(body)["text"]
