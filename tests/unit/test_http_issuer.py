"""An issuer that is told by HTTP, and what comes back: every character of a value, and answers that say nothing of what was done."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn import issuers, providers
from keyturn.base.errors import KeyturnError
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from keyturn.issuers.contract import Told, Unanswered
from support import odd
from support.accounts import USER, Accounts
from support.apis import FakeElasticsearch
from support.lab import optional

OLD, NEW = "canary-old", "canary-new"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def entry(accounts: Accounts, **issuer: Any) -> dict[str, Any]:
    described = optional()["db_password"] | accounts.entry("single")
    described["issuer"] |= issuer
    return validated("db_password", catalogue.ENTRY, described)


def opened(given: dict[str, Any], old: str, new: str, name: str = "DB_PASSWORD") -> issuers.Issuer:
    told = Told("an-id", {name: old}, {name: new}, lambda _values: None)
    return issuers.issuer(given["issuer"], given["provider"], given["variables"], told)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    made = Accounts(tmp_path)
    made.give(USER, OLD)
    yield made
    made.shutdown()
    made.server_close()


def test_a_server_gets_every_character_of_a_value(accounts: Accounts) -> None:
    given, old = entry(accounts), OLD
    for new in odd.PASSWORDS:
        opened(given, old, new).set()
        assert accounts.passwords == [new]
        assert [providers.ask(given["provider"], [one]).verdict for one in (old, new)] == ["rejected", "accepted"]
        opened(given, old, new).unset()
        assert accounts.passwords == [old]
        opened(given, old, new).set()
        old = new
    assert not [one for one in odd.PASSWORDS if len(one) > 3 and one in accounts.logged()]


GUIDE = Path(__file__).parents[2] / "docs/guides/issuers.md"


def test_the_entry_of_the_guide_is_as_its_server_publishes_it(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(search_password:.*?)```", GUIDE.read_text(), re.DOTALL)
    admin = tmp_path / "admin"
    admin.write_text("canary-admin\n")
    admin.chmod(0o600)
    with FakeElasticsearch() as server:
        text = blocks[0].replace("https://search.internal:9200", server.url).replace("/root/search-admin", str(admin))
        ((name, described),) = yaml.safe_load(text).items()
        for part in ("provider", "issuer"):
            described[part]["tls"] = False
        given = validated(name, catalogue.ENTRY, described)
        issuer = opened(given, OLD, NEW, *given["variables"])
        server.valid = {("keyturn", "canary-admin"): "superuser", ("shop", OLD): "shop"}

        def verdicts() -> list[str]:
            return [providers.ask(given["provider"], [one]).verdict for one in (OLD, NEW)]

        for _ in range(2):  # each may come twice
            issuer.set()
            assert verdicts() == ["rejected", "accepted"]
        for _ in range(2):
            issuer.unset()
            assert verdicts() == ["accepted", "rejected"]
        for mood in ("429", "500", "html", "reset"):
            server.mood = mood
            assert verdicts() == ["unknown", "unknown"], mood
            with pytest.raises(KeyturnError):
                issuer.set()
        server.mood = ""
        admin.write_text("canary-wrong\n")
        with pytest.raises(KeyturnError, match=REFUSED):
            issuer.set()
        assert verdicts() == ["accepted", "rejected"]


class Answers(socketserver.ThreadingTCPServer):
    """Whatever is asked, it takes the value and says ``first``, then ``again`` for as long as somebody listens."""

    daemon_threads = True

    def __init__(self, first: bytes, again: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.first, self.again, self.asked, self.sent = first, again, 0, 0
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Answer(socketserver.StreamRequestHandler):
    server: Answers

    def handle(self) -> None:
        server = self.server
        server.asked += 1
        size = 0
        while (line := self.rfile.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split()[1])
        self.rfile.read(size)
        try:
            self.wfile.write(server.first)
            while server.again:
                self.wfile.write(server.again)
                server.sent += len(server.again)
                if len(server.again) == 1 and server.ended.wait(0.05):
                    return
        except OSError:
            server.ended.set()


DONE = [{"verdict": "accepted", "status": [200], "says": '"done": ?true'}, {"verdict": "rejected", "status": [403]}]
LOST, REFUSED = "does not say whether it has done the request set", "refuses the request set"


@pytest.mark.parametrize(
    ("first", "again", "error", "message"),
    [
        (OK + b'Content-Length: 14\r\n\r\n{"done": true}', b"", None, ""),
        (OK.replace(b"application/json", b"text/html") + b'Content-Length: 14\r\n\r\n{"done": true}', b"", None, ""),
        ((OK + b'Content-Length: 14\r\n\r\n{"done": true}') * 2, b"", None, ""),
        (OK + b'Content-Length: 17\r\n\r\n{"error": "canary"}', b"", Unanswered, LOST),
        (OK + b"Content-Length: 0\r\n\r\n", b"", Unanswered, LOST),
        (OK + b'Content-Length: 99\r\n\r\n{"done": true', b"", Unanswered, LOST),
        (b"HTTP/1.1 302 Found\r\nLocation: {url}/other\r\nContent-Length: 0\r\n\r\n", b"", Unanswered, LOST),
        (b"HTTP/1.1 307 Again\r\nLocation: {url}/other\r\nContent-Length: 0\r\n\r\n", b"", Unanswered, LOST),
        (b"HTTP/1.1 429 Wait\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", b"", Unanswered, LOST),
        (b"HTTP/1.1 503 Down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", b"", Unanswered, LOST),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"", KeyturnError, REFUSED),
        (b"220 mail ESMTP\r\n", b"", Unanswered, LOST),
        (b"", b"", Unanswered, LOST),
        (OK + b"Content-Length: 1000000000\r\n\r\n", b" " * 65536, Unanswered, LOST),
        (OK + b"Content-Length: 1000\r\n\r\n", b" ", Unanswered, LOST),
        (b"", b"H", Unanswered, LOST),
    ],
    ids=[
        *("done", "another type", "twice", "an error", "nothing", "cut off", "302", "307", "429", "503", "refused"),
        *("another protocol", "no answer", "a gigabyte", "a body that drips", "a line that drips"),
    ],
)
def test_an_answer_means_what_the_entry_says_and_each_other_is_lost(
    accounts: Accounts, first: bytes, again: bytes, error: type[Exception] | None, message: str
) -> None:
    with Answers(first, again) as server:
        server.first = first.replace(b"{url}", server.url.encode())
        given = entry(accounts, seconds=1)
        request = given["issuer"]["requests"]["set"]
        request |= {
            "url": f"{server.url}/accounts/{USER}",
            "answers": [answer | {"says": answer.get("says")} for answer in DONE],
        }
        issuer = opened(given, OLD, NEW)
        if error is None:
            issuer.set()
        else:
            with pytest.raises(error, match=message) as found:
                issuer.set()
            assert "canary" not in str(found.value) and "Wait" not in str(found.value)
            assert isinstance(found.value, Unanswered) == (error is Unanswered)
        assert server.asked == 1, "a request is made once, and goes nowhere else"
        assert not again or server.ended.wait(30), "it is listened to no more"
        assert server.sent < 1 << 26
        server.shutdown()
