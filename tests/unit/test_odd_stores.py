"""Stores that are not what they should be: nothing is staged in them that could not become current, and each is told by its name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprints
from keyturn.entry.module import attempt
from keyturn.steps import store as action
from keyturn.stores import open_store
from keyturn.stores.contract import texts
from support import stores
from support.stores import AWS, ROOT_TOKEN, spec

ID = "20260101T000000Z-0123456789abcdef"
Take = Callable[..., tuple[dict[str, Any], str]]
VALUE = "a-value-that-no-store-may-lose"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with stores.openbao() as found:
        yield found


@pytest.fixture(scope="module")
def admin(url: str) -> Any:
    """OpenBao's own client, as its administrator has it."""
    client: Any = open_store(spec("openbao", url), {"BAO_TOKEN": ROOT_TOKEN})._client  # type: ignore[attr-defined]
    client.sys.enable_secrets_engine("kv", path="old", options={"version": "1"})
    client.sys.enable_secrets_engine("transit", path="transit")
    client.sys.enable_secrets_engine("kv", path="team/kv", options={"version": "2"})
    for path, setting in {
        "fleeting": {"delete_version_after": "1h"},
        "strict": {"metadata_cas_required": True},
    }.items():
        client.sys.enable_secrets_engine("kv", path=path, options={"version": "2"})
        client.adapter.post(f"/v1/{path}/config", json=setting)
    return client


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Take:
    """Take a step as the action does; what it returns, and the text of its failure, in which no value stands."""
    for name, value in {"BAO_TOKEN": ROOT_TOKEN, **AWS}.items():
        monkeypatch.setenv(name, value)

    def step(name: str, store: dict[str, Any], secret: str = "secret", **given: Any) -> tuple[dict[str, Any], str]:
        known = {"environment": "test", "host": "", "rotation_id": ID, "variables": ["TOKEN"], "generator": None}
        known |= {"new_values": {"TOKEN": VALUE}, "hosts": {"here": {}}, "old": {}, "new": {}, "abandoned": ""}
        found = attempt(lambda: action.run({**known, "store": store, "step": name, "secret": secret, **given}, False))
        assert "keyturn has a defect" not in found[1]
        assert VALUE not in found[1]
        return found

    return step


def openbao(url: str, **more: Any) -> dict[str, Any]:
    return {"kind": "openbao", "url": url, **more}


MOUNTS = {
    "old": "old is of the kind kv, version 1",
    "cubbyhole": "cubbyhole is of the kind cubbyhole",
    "transit": "transit is of the kind transit",
    "secret/test": "secret is of the kind kv, version 2. Name the mount alone",
    "nowhere": "refuses the mount nowhere (keyturn_store.mount): there is none of this name",
    "team": "refuses the mount team",
    "": "gives an answer that is not OpenBao's (KeyError, at the mount )",
}


@pytest.mark.parametrize("mount", MOUNTS)
def test_a_mount_of_another_kind_is_refused_by_name_and_takes_no_value(
    admin: Any, url: str, take: Take, mount: str
) -> None:
    for step in ("stage", "find", "compare", "promote", "discard", "destroy"):
        result, failure = take(step, openbao(url, mount=mount))
        assert result == {}
        assert MOUNTS[mount] in failure
    for kept in ("old/data/test/secret.pending", "cubbyhole/data/test/secret.pending"):
        assert admin.read(kept) is None


@pytest.mark.parametrize("mount", ["team/kv", "/team/kv/"])
def test_a_mount_below_another_path_is_one(admin: Any, url: str, take: Take, mount: str) -> None:
    result, failure = take("stage", openbao(url, mount=mount), mount.strip("/").replace("/", "-") + str(len(mount)))
    assert failure == ""
    assert result["new_values"] == {"TOKEN": VALUE}


def test_a_store_that_deletes_by_itself_is_refused(admin: Any, url: str, take: Take) -> None:
    for attempt_number in range(2):  # it stands in nobody's way afterwards
        result, failure = take("stage", openbao(url, mount="fleeting"))
        assert "the store deletes what it holds there after a time: set delete_version_after" in failure, attempt_number
        assert result == {}
    kv = admin.secrets.kv.v2
    kv.create_or_update_secret(path="test/short", secret={"TOKEN": "old"}, mount_point="secret")
    kv.update_metadata(path="test/short", delete_version_after="30m", mount_point="secret")
    _, failure = take("stage", openbao(url), "short")
    assert failure.startswith("test/short: the store deletes")
    assert open_store(spec("openbao", url), {"BAO_TOKEN": ROOT_TOKEN}).read("test/short").pending is None


def test_a_mount_that_wants_more_of_a_writer_is_told(admin: Any, url: str, take: Take) -> None:
    _, failure = take("stage", openbao(url, mount="strict"))
    assert "refuses test/secret.pending: see the settings of mount and path" in failure


CONTENTS: dict[str, Any] = {
    "a number": 5,
    "true": True,
    "nothing": None,
    "a list": ["x"],
    "an object": {"x": "y"},
}


@pytest.mark.parametrize("what", CONTENTS)
def test_what_is_no_text_is_refused_by_the_key(admin: Any, url: str, take: Take, what: str) -> None:
    path, kv = what.replace(" ", "-"), admin.secrets.kv.v2
    for place in (path, f"{path}.pending"):
        content = {"TOKEN": "fine", "ODD": CONTENTS[what]}
        kv.create_or_update_secret(path=f"test/{place}", secret=content, mount_point="secret")
        for step in ("stage", "find", "compare", "promote"):
            _, failure = take(step, openbao(url), path)
            assert failure.startswith(f"test/{path}"), failure
            assert "ODD in the store is not a text, as a value is: write it anew, in quotes" in failure
        kv.delete_metadata_and_all_versions(path=f"test/{place}", mount_point="secret")


@pytest.mark.parametrize("found", [5, None, [["TOKEN", "x"]], "TOKEN", {"ODD": 5}, {"ODD": "\ud800"}, {"ODD": b"x"}])
def test_only_texts_are_values(found: object) -> None:
    """Half a character can stand in the JSON of AWS; OpenBao takes none."""
    with pytest.raises(
        KeyturnError, match=r"^a/path: (ODD in the store is not a text|the value in the store is not a JSON)"
    ):
        texts("a/path", found)
    assert texts("a/path", {"ODD": "x \u20ac"}) == {"ODD": "x \u20ac"}


# -- what is no store at all ---------------------------------------------------------------------------------------


class Liar(BaseHTTPRequestHandler):
    """Answers every request alike, or by ``says`` of the server."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, kind, body = self.server.says(self.command, self.path)  # type: ignore[attr-defined]
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_LIST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def liar() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


NESTED = b"[" * 100_000
ANSWERS: dict[str, tuple[int, str, bytes]] = {
    "a web page": (200, "text/html", b"<html>welcome</html>"),
    "an empty object": (200, "application/json", b"{}"),
    "a list": (200, "application/json", b"[1]"),
    "a number": (200, "application/json", b"5"),
    "data that is none": (200, "application/json", b'{"data": 5, "auth": 5}'),
    "data of other keys": (200, "application/json", b'{"data": {"x": 1}, "VersionIdsToStages": 7, "SecretString": 4}'),
    "an error in a list": (400, "application/json", b'["no"]'),
    "an error of no shape": (500, "application/json", b'{"errors": {"a": 1}, "__type": 4}'),
    "nesting without end": (200, "application/json", NESTED),
    "no content": (204, "application/json", b""),
    "bytes": (200, "application/json", b"\xff\xfe\x00"),
    "another place": (307, "text/html", b""),
    "a teapot": (418, "text/plain", b"\x00"),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("kind", ["openbao", "aws_secretsmanager"])
def test_what_answers_otherwise_than_a_store_is_told_as_such(
    liar: ThreadingHTTPServer, take: Take, kind: str, answer: str
) -> None:
    liar.says = lambda command, path: ANSWERS[answer]  # type: ignore[attr-defined]
    address = f"http://127.0.0.1:{liar.server_port}"
    store = {"kind": kind, "url": address, **({"region": "eu-west-1"} if kind == "aws_secretsmanager" else {})}
    for step in ("stage", "discard", "destroy"):
        result, failure = take(step, store)
        assert "new_values" not in result
        if step == "stage":
            assert failure


def test_a_store_that_takes_and_does_not_give_back_is_refused(liar: ThreadingHTTPServer, take: Take) -> None:
    """What a cache or a broken proxy in front of a store makes of it: writes succeed, and reads see nothing of them."""
    mount = b'{"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}}'

    def says(command: str, path: str) -> tuple[int, str, bytes]:
        if "/mounts/" in path:
            return 200, "application/json", mount
        return (404, "application/json", b'{"errors": []}') if command == "GET" else (204, "text/plain", b"")

    liar.says = says  # type: ignore[attr-defined]
    _, failure = take("stage", openbao(f"http://127.0.0.1:{liar.server_port}"))
    assert "the store has taken the new value and does not give it back; no host has learned it" in failure


SETTINGS: dict[str, dict[str, Any]] = {
    "a url without a scheme": openbao("localhost:8200"),
    "a url of a file": openbao("file:///etc/passwd"),
    "a url with a bad port": openbao("http://localhost:99999"),
    "a host that is no name": openbao("http://a..b"),
    "a bundle that is not there": openbao("https://localhost:1", ca_bundle="/nowhere.pem"),
    "a bundle that is none": openbao("https://localhost:1", ca_bundle="/etc/hostname"),
    "a namespace that is no header": openbao("http://localhost:1", namespace="\u20ac\n"),
    "a role that is no text for a request": openbao("http://localhost:1", auth={"method": "approle", "role": "\ud800"}),
    "a region that is none": {"kind": "aws_secretsmanager", "region": "no where", "url": "http://localhost:1"},
    "a url that is none": {"kind": "aws_secretsmanager", "region": "eu-west-1", "url": "nowhere"},
    "tags that are none": {"kind": "aws_secretsmanager", "region": "eu-west-1", "url": "http://localhost:1", "tags": {"": []}},
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_a_library_cannot_use_is_an_error_of_ours(
    take: Take, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("KEYTURN_STORE_SECRET_ID", "an-id")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    _, failure = take("stage", SETTINGS[setting])
    assert failure.startswith(("OpenBao at", "AWS Secrets Manager in", "keyturn_store: url must begin with")), failure


@pytest.mark.parametrize("token", ["\u20ac", "a\nb"])
def test_a_token_that_is_no_header_is_an_error_of_ours(
    take: Take, url: str, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("BAO_TOKEN", token)
    assert take("stage", openbao(url))[1].startswith("OpenBao at")
    monkeypatch.setenv("BAO_TOKEN", ROOT_TOKEN)
    assert take("stage", openbao(url, mount="a\x00b"))[1].startswith("OpenBao at")


def test_what_was_staged_is_what_is_read_back(take: Take, url: str) -> None:
    result, failure = take("stage", openbao(url), "whole")
    assert (failure, result["new_values"]) == ("", {"TOKEN": VALUE})
    shown = fingerprints({"TOKEN": VALUE})
    assert take("promote", openbao(url), "whole", new=shown) == ({"path": "test/whole", "changed": True}, "")
    with pytest.raises(KeyturnError, match="has no pending value"):
        open_store(spec("openbao", url), {"BAO_TOKEN": ROOT_TOKEN}).promote("test/none", ID, {}, shown)
