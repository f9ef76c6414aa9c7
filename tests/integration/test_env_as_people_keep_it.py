"""A `.env` as people keep it, through whole rotations: a link, CRLF, `export`, quotes, the key in three places, no last newline."""

from __future__ import annotations

from collections.abc import Callable

from dotenv import dotenv_values
from support.evidence import lost
from support.lab import KEY, UNUSABLE_ON_NEW, Lab


def test_forward_and_back_keep_every_other_byte(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    old = lab.key()
    text = lab.env.read_text() + f"export {KEY}='{old}'  # again\n{KEY}={old}"
    assert text.count(old) == 3
    elsewhere = lab.app / "settings/trader.env"
    elsewhere.parent.mkdir()
    lab.env.rename(elsewhere)
    elsewhere.write_bytes(text.replace("\n", "\r\n").encode())
    lab.env.symlink_to("settings/trader.env")
    before = elsewhere.read_bytes()
    lab.start()

    done = lab.play("rotate_db_key")
    assert done.returncode == 0, done.stdout
    new = lab.key()
    after = elsewhere.read_bytes()
    expected = before.replace(old.encode(), new.encode())
    assert new != old
    assert (after == expected, lab.env.is_symlink()) == (True, True)
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200

    seen = lab.folder / "seen.env"
    lab.break_start(f'[ "$(sha256sum <.env)" = "{{checksum}}" ] || cp .env {seen}\n{UNUSABLE_ON_NEW}')
    done = lab.play("rotate_db_key")
    assert done.returncode == 2, done.stdout
    assert "proof http of backend is rejected: GET /api/bank/accounts: HTTP 502" in " ".join(done.stdout.split())
    # what the application was started on in between
    tried = str(dotenv_values(seen)[KEY])
    expected = after.replace(new.encode(), tried.encode())
    assert tried not in (old, new)
    assert seen.read_bytes() == expected, "the file of the new value is not the old one with another value"
    assert (elsewhere.read_bytes() == after, lab.env.is_symlink()) == (True, True)
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200
