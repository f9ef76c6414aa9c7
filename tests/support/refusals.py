"""Breaking a host, and the check of a refusal by ``stage``.

The module runs by itself: the playbook adds nothing but its start (test_refusals_of_a_run.py has some with it).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

from dotenv import dotenv_values

from support.evidence import everything
from support.lab import KEY, Lab


def set_key(value: str) -> Callable[[Lab], None]:
    def change(lab: Lab) -> None:
        lines = lab.env.read_text().splitlines(keepends=True)
        lab.env.write_text("".join(f"{KEY}={value}\n" if line.startswith(KEY) else line for line in lines))

    return change


def write(lab: Lab, *stored: str, column: str = "access_token") -> None:
    with contextlib.closing(sqlite3.connect(lab.database)) as connection:
        for number, text in enumerate(stored, 2):
            item = f"item-{number:05d}"
            connection.execute(f"UPDATE plaid_items SET {column} = ? WHERE item_id = ?", (text, item))
        connection.commit()


def check_refused(lab: Lab, texts: list[str], *, snapshot: bool = True, **rotation: Any) -> str:
    before = everything(lab) if snapshot else {}
    answer = lab.module("stage", rotation=lab.rotation(**rotation))
    assert answer.get("failed"), "stage accepted it"
    for text in texts:
        assert text in answer["msg"], answer["msg"]
    if lab.env.is_file() and b"\xff" not in lab.env.read_bytes():
        held = [
            value for value in dotenv_values(lab.env).values() if value and len(value) > 12 and value in str(answer)
        ]
        assert not held, "the answer holds a value of .env"
    assert "access-production" not in answer["msg"]
    assert (everything(lab) if snapshot else {}) == before
    assert not list(lab.folder.glob("state/*/rotations/*")), "a rotation was left open"
    return str(answer["msg"])
