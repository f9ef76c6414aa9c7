"""Evidence: what is collected and what is missing, the archive with its sums, and the seal that age itself opens."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keyturn.base import http, seal
from keyturn.base.errors import KeyturnError
from keyturn.fleet import answers
from keyturn.records import evidence

SINCE = datetime(2026, 1, 24, tzinfo=UTC)


@pytest.fixture
def scene(tmp_path: Path) -> evidence.Scene:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/backend.log").write_text("GET /\n")
    (tmp_path / "logs/backend.log").chmod(0o640)
    extra = tmp_path / "balancer"
    extra.mkdir()
    (extra / "access.log.1").write_text("old\n")
    services = {"engine": {"log_file": "logs/backend.log"}, "backend": {}}
    return evidence.Scene({}, tmp_path, services, [f"{extra}/access.log*"], SINCE)


def test_a_source_that_fails_keeps_back_no_other(scene: evidence.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    members, missing = evidence.collect(scene, sorted(evidence.SOURCES))
    assert sorted(missing) == ["alpaca", "journal", "plaid"]
    assert missing["alpaca"] == "keyturn_secrets has no credential of alpaca"
    assert members["files.jsonl"].count(b"\n") == 2
    assert b'"mode": "-rw-r-----"' in members["files.jsonl"]
    logs = json.loads(members["logs/names.json"])
    assert {name: Path(path).name for name, path in logs.items()} == {
        "logs/0001.log": "backend.log",
        "logs/0002.log": "access.log.1",
    }
    assert all(answers.MEMBER.fullmatch(name) for name in members)
    assert tuple(sorted(evidence.SOURCES)) == answers.SOURCES


def test_an_answer_that_is_nested_without_end_keeps_back_no_other(
    scene: evidence.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = SimpleNamespace(entry={"provider": {"url": "https://alpaca.invalid"}})
    monkeypatch.setattr(evidence.Scene, "values_of", lambda scene, kind: (holding, ["key", "secret"]))
    monkeypatch.setattr(evidence.http, "ask", lambda *given, **more: http.Answer(200, b"[" * 200_000))
    members, missing = evidence.collect(scene, ["alpaca", "files"])
    assert list(members) == ["files.jsonl"]
    assert missing == {"alpaca": "it does not answer, or with something else"}


def test_a_name_that_a_stranger_chooses_names_no_member(scene: evidence.Scene) -> None:
    (scene.app_root / "logs" / "`](x)\n- **Missing**: nothing\x1b[2J.log").write_text("x")
    found = evidence.logs(scene)
    assert sorted(found) == ["logs/0001.log", "logs/0002.log", "logs/0003.log", "logs/names.json"]


def test_of_a_long_log_the_newest_part_is_kept(scene: evidence.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MEMBER_BYTES", 3)
    assert evidence.logs(scene)["logs/0001.log"] == b" /\n"


def test_a_page_that_is_full_is_followed_by_the_next() -> None:
    everything = [{"id": str(number)} for number in range(5)]

    def ask(last: str) -> list[Any]:
        begin = int(last) + 1 if last else 0
        return everything[begin : begin + 2]

    assert evidence._paged(ask, "id", 2) == everything


def test_the_archive_holds_the_sums_of_its_members() -> None:
    members = {"a/b.log": b"one", "c": b""}
    packed = evidence.archive(members, 1)
    assert packed == evidence.archive(members, 1) and packed[4:8] == b"\x01\0\0\0", "the time of the archive is another"
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    listed = {one["name"]: one["sha256"] for one in evidence.listing(members)}
    assert found.pop("SHA256SUMS").decode() == "".join(f"{total}  {name}\n" for name, total in sorted(listed.items()))
    assert found == members


def test_only_the_holder_of_the_key_opens_the_seal(tmp_path: Path) -> None:
    for name in ("right", "wrong"):
        subprocess.run(["age-keygen", "-o", tmp_path / name], check=True, capture_output=True)
    public = (tmp_path / "right").read_text().split("public key: ")[1].split()[0]
    sealed = seal.seal(b"what happened", public)
    assert b"what happened" not in sealed

    def opened(name: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["age", "-d", "-i", tmp_path / name], input=sealed, capture_output=True, check=False)

    assert opened("right").stdout == b"what happened"
    assert opened("wrong").returncode != 0


def test_what_is_needed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for recipient in ("", "age1short", "AGE-SECRET-KEY-1" + "Q" * 58):
        with pytest.raises(KeyturnError, match=r"must be the public key \(age1...\)"):
            seal.seal(b"", recipient)
    with pytest.raises(KeyturnError, match="does not encrypt"):
        seal.seal(b"", "age1" + "q" * 58)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(KeyturnError, match="apt-get install age"):
        seal.check("age1" + "q" * 58)
