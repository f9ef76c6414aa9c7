"""A checkout of any size and content: values by their fingerprints, and what a scanner finds in the history."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.ground import checkout, repository

VALUE = "Zq3-canary_of-a-generated-value_0123456789abc="
MARKS = {fingerprint(VALUE)}
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"


def git(folder: Path, *arguments: str) -> None:
    identity = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-c", "init.defaultBranch=main", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | identity)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with what breaks a reader of lines: a PDF that git takes for text, lone carriage returns, no UTF-8."""
    git(tmp_path, "init")
    noise = random.Random(1).randbytes(400_000).replace(b"\0", b"\1")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.7\r%\xe2\xe3\xcf\xd3\r" + noise)
    (tmp_path / "old mac.txt").write_bytes(b"one\rtwo\x0cthree\x85four\r\n+++ b/five\n@@ -1 +1 @@\n")
    (tmp_path / "latin.py").write_bytes(b'name = "\xe9"\n')
    (tmp_path / "binary").write_bytes(VALUE.encode() + b"\n\0")
    (tmp_path / ".gitignore").write_text(".env*\n!.env*.example\n*.db*\n")
    (tmp_path / ".env.railway.example").write_text("JWT_SECRET_KEY=your_jwt_secret_here\nHF_TOKEN=\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "all")
    return tmp_path


def silent(_line: str) -> None:
    """Nobody listens."""


def places(folder: Path) -> list[tuple[str, int]]:
    return [(place.file, place.line) for place in checkout.holding(folder, MARKS, silent)]


@pytest.mark.parametrize(
    "text",
    [
        f'key = "{VALUE}"',
        f"KEY={VALUE}",
        f"KEY: {VALUE}",
        f"{{'key':'{VALUE}'}}",
        f"env:{VALUE}",
        f"run({VALUE})",
        f"https://user:{VALUE[:-1]}@host/?a=b",
        f"# it was {VALUE}.",
    ],
)
def test_a_value_is_found_however_a_source_quotes_it(folder: Path, text: str) -> None:
    marks = {*MARKS, fingerprint(VALUE[:-1])}
    (folder / "settings.py").write_text(f"import os\r\n{text}\r\n")
    found = list(checkout.holding(folder, marks, silent))
    assert {(place.file, place.line) for place in found} == {("settings.py", 2)}
    assert VALUE[:-1] not in repr(found)


def test_what_git_would_not_take_is_left_out_and_each_line_is_told(folder: Path) -> None:
    assert places(folder) == []
    (folder / ".env").write_text(VALUE)
    assert places(folder) == []
    (folder / "new\x1b.yml").write_text(f"a: {VALUE}\n\nb: {VALUE}")
    (folder / "link.yml").symlink_to("new\x1b.yml")
    (folder / "latin.py").unlink()
    assert places(folder) == [("new\x1b.yml", 1), ("new\x1b.yml", 3)]


def test_a_placeholder_that_a_host_holds_is_no_finding(folder: Path) -> None:
    mark = fingerprint("your_jwt_secret_here")
    assert list(checkout.holding(folder, {mark}, silent)) == []
    assert not [one for one in repository.look(folder, ["JWT_SECRET_KEY"], []) if ".env.railway.example" in one.what]
    (folder / ".env.railway.example").write_text(f"JWT_SECRET_KEY={VALUE}\n")
    assert [one.rule for one in repository.look(folder, ["JWT_SECRET_KEY"], []) if ".env.railway" in one.what] == [
        "templates"
    ]


@pytest.mark.parametrize("before", range(0, 3 * 64, 7))
def test_a_value_on_the_border_of_two_pieces_is_found(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    monkeypatch.setattr(checkout, "PIECE_BYTES", 64)
    text = "\n" + "x " * 40 + "y" * before + f" {VALUE}" + " z" * 60 + "\n"
    assert list(checkout._in_file(io.BytesIO(text.encode()), MARKS)) == [(2, *MARKS)]
    for size in (len(text) - 1, len(text), len(text) + 1):
        monkeypatch.setattr(checkout, "PIECE_BYTES", size)
        assert list(checkout._in_file(io.BytesIO(text.encode()), MARKS)) == [(2, *MARKS)]


def test_a_large_file_is_read_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(checkout, "MOST_SEEN", 300)
    rows = [
        f"{row:020d},0.{row * 7919:012d},some words of a row that is long enough to count\n" for row in range(8_000)
    ]
    file = io.BytesIO("".join([*rows, VALUE]).encode())
    tracemalloc.start()
    try:
        assert list(checkout._in_file(file, MARKS)) == [(8_001, *MARKS)]
        assert tracemalloc.get_traced_memory()[1] < len(rows) * 86 // 2
    finally:
        tracemalloc.stop()


def test_progress_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "SAY_SECONDS", 0)
    said: list[str] = []
    assert list(checkout.holding(folder, MARKS, said.append)) == []
    assert said[0] == f"{folder}: 0 of 6 files, 0 MiB searched"
    checkout._by_detect_secrets(folder, said.append)
    assert said[-1].endswith(" lines of its history searched")


def test_the_history_of_anything_is_searched(folder: Path) -> None:
    (folder / "old mac.txt").write_bytes(f'a\rtoken = "{TOKEN}"\rb\n'.encode())
    (folder / ".env.railway.example").write_text('JWT_SECRET_KEY="your_jwt_secret_here"\nPASSWORD="change-me-now"\n')
    (folder / "minified.js").write_text("x=1;" * 50_000 + f' t="{TOKEN}"\n')
    git(folder, "add", ".")
    git(folder, "commit", "-m", "two")
    (folder / "old mac.txt").unlink()
    (folder / "minified.js").unlink()
    git(folder, "commit", "-am", "three")
    found = checkout._by_detect_secrets(folder, silent)
    assert ("old mac.txt", "GitHub Token") in found
    assert ("minified.js", "GitHub Token") in found
    assert not [file for file, _ in found if file in (".env.railway.example", "paper.pdf", "five")]


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    for call in (lambda: places(tmp_path), lambda: checkout._by_detect_secrets(tmp_path, silent)):
        with pytest.raises(KeyturnError, match=r"is no git checkout: name one by keyturn_checkout$"):
            call()


GITLEAKS = """#!/bin/sh
while [ $# -gt 0 ]; do case "$1" in --report-path) report="$2" ;; --redact) redacted=1 ;; esac; shift; done
[ "$redacted" ] || exit 2
printf '%s' '[{"File": "settings.py", "RuleID": "generic-api-key", "Secret": "REDACTED", "Commit": "1"}]' >"$report"
"""


def test_the_scanner_that_is_made_for_it_is_taken_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = folder / ".git/bin"
    programs.mkdir()
    (programs / "gitleaks").write_text(GITLEAKS)
    (programs / "gitleaks").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert checkout.history(folder, silent) == {("settings.py", "generic-api-key")}
    # and one whose git fails, by which it has searched nothing
    for fails in ("exit 1", f"{GITLEAKS}\necho 'ERR [git] fatal: detected dubious ownership' >&2"):
        (programs / "gitleaks").write_text(f"#!/bin/sh\n{fails}\n")
        with pytest.raises(KeyturnError, match="gitleaks did not search the whole history"):
            checkout.history(folder, silent)


def test_the_scanner_and_what_it_starts_are_waited_for_no_longer_than_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = folder / ".git/bin"
    programs.mkdir()
    (programs / "gitleaks").write_text("#!/bin/sh\nsleep 60 &\nexec sleep 60\n")
    (programs / "gitleaks").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(checkout, "SEARCH_SECONDS", 0.1)
    with pytest.raises(KeyturnError, match="gitleaks had not searched the history of"):
        checkout.history(folder, silent)


def test_a_clone_without_its_history_has_none_to_search(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As pipelines make them."""
    (folder / "later.py").write_text("x = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "two")
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "--depth=1", folder.as_uri(), "here")
    with pytest.raises(KeyturnError, match="here is a shallow clone, without its history: run git fetch --unshallow"):
        checkout.history(clone / "here", silent)


@pytest.mark.skipif(checkout.gitleaks() is None, reason="gitleaks is not installed")
def test_the_real_scanner_understands_what_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a b").mkdir()
    (folder / "a b/ü.py").write_text(f'token = "{TOKEN}"\n')
    git(folder, "add", ".")
    git(folder, "commit", "-m", "two")
    git(folder, "rm", "a b/ü.py")
    git(folder, "commit", "-m", "three")
    assert checkout.history(folder, silent) == {("a b/ü.py", "github-pat")}
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(KeyturnError, match="gitleaks did not search the whole history"):
        checkout.history(folder, silent)
