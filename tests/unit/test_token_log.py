"""The log of a replacement of access tokens: until a step is on the disk, nothing but the provider's answer holds the token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keyturn.host.token_log import TokenLog

RECEIVED = {"old": "kt:1", "new": "kt:2", "sealed": "a token"}


def test_a_step_is_durable_before_the_next(tmp_path: Path, synced: dict[Path, Any]) -> None:
    log = TokenLog(tmp_path)
    for state, fields in (("in_flight", {"old": "kt:1"}), ("received", RECEIVED), ("stored", {})):
        log.write("item-1", state, **fields)
        assert synced[log.path] == log.path.read_bytes(), f"{state} would be lost"
        assert TokenLog(tmp_path).state("item-1") == state
    assert log.path.name in synced[tmp_path], "the log itself would be lost"


def test_a_step_that_a_kill_cut_off_has_not_happened_and_spoils_no_other(tmp_path: Path) -> None:
    TokenLog(tmp_path).write("item-1", "in_flight")
    whole = TokenLog(tmp_path).path.read_bytes()
    TokenLog(tmp_path).write("item-1", "received", **RECEIVED)
    path = TokenLog(tmp_path).path
    path.write_bytes(path.read_bytes()[: len(whole) + 20])
    log = TokenLog(tmp_path)
    assert log.state("item-1") == "in_flight"
    log.write("item-2", "in_flight")
    assert (TokenLog(tmp_path).state("item-1"), TokenLog(tmp_path).state("item-2")) == ("in_flight",) * 2
