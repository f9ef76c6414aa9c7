"""The evidence of a period: what an auditor gets, and that its own instructions find what was changed."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.records import audit, checklist, rotation_log, signatures
from keyturn.steps import status as status_step
from support import history, steps

SIGNER = "$(touch${IFS}stolen)"
ALL = {"begin": "2025-02-01", "end": "2026-01-31"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment of which a person has signed a rotation with a key."""
    home = tmp_path_factory.mktemp("reports")
    folder = home / "staging"
    history.write(folder)
    key, signers = home / "key", home / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers.write_text(f"{SIGNER} {key.with_suffix('.pub').read_text()}")
    case = audit.case(folder, history.identity("2025-11-02"), status_step.entries(history.given(folder)["secrets"]))
    signed = checklist.sign(case, SIGNER, {}, history.POLICY["checklist"], {"user": "second"})
    at = signed["at"] = "2026-01-09T10:00:00Z"
    rotation_log.append(folder, signed, signatures.seal(key, signers, SIGNER, ["ada"], at))
    status_step.run(history.given(folder), check_mode=False)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    subprocess.run(["cp", "-a", made, tmp_path / "staging"], check=True)
    return tmp_path / "staging"


def pack(folder: Path, made: Path, check_mode: bool = False, **more: Any) -> dict[str, Any]:
    given = {"folder": str(folder), "allowed_signers": str(made.parent / "signers"), **ALL, **more}
    return steps.take("pack", given, check_mode)


def unpacked(path: Path, where: Path) -> Path:
    with tarfile.open(path) as tar:
        assert {member.mode for member in tar} == {0o600}
        tar.extractall(where, filter="data")
    return where


def commands(where: Path) -> list[str]:
    """The commands that the instructions tell."""
    return re.findall(r"```sh\n(.*?)```", (where / "VERIFY.md").read_text(), re.DOTALL)


def followed(where: Path) -> list[tuple[int, str]]:
    """Do what the instructions say; return the exit code and the output of each command."""
    done = [
        subprocess.run(["sh", "-c", one], cwd=where, capture_output=True, text=True, check=False)
        for one in commands(where)
    ]
    return [(one.returncode, one.stdout + one.stderr) for one in done]


def test_its_own_instructions_verify_it(folder: Path, made: Path, tmp_path: Path) -> None:
    said = pack(folder, made)
    path = Path(said["path"])
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    where = unpacked(path, tmp_path / "audit")
    sums, chain, signed = followed(where)
    assert sums[0] == 0 and sums[1].count(": OK") == len([one for one in where.rglob("*") if one.is_file()]) - 1
    assert chain == (0, chain[1]) and chain[1].startswith("whole: ")
    head = rotation_log.head(rotation_log.read(folder))
    assert head["hash"] in chain[1] and f"1 to {head['number']}" in chain[1]
    assert signed[1].startswith(f'Good "keyturn" signature for {SIGNER}') and "WRONG" not in signed[1]
    assert not (where / "stolen").exists()
    assert len(list((where / "reports").iterdir())) == len(history.ROTATIONS)
    assert {"status.json", "status.csv", "status.html", "allowed_signers"} <= {one.name for one in where.iterdir()}


def test_the_same_records_give_the_same_bytes_and_a_check_writes_nothing(folder: Path, made: Path) -> None:
    before = sorted(folder.rglob("*"))
    checked = pack(folder, made, check_mode=True)
    assert sorted(folder.rglob("*")) == before and "would be written" in checked["text"]
    first = pack(folder, made)
    again = pack(folder, made)
    assert checked["sha256"] == first["sha256"] == again["sha256"] and first["sha256"] in first["text"]
    assert (first["changed"], again["changed"]) == (True, False)


def test_a_part_of_the_log_follows_the_part_before(folder: Path, made: Path, tmp_path: Path) -> None:
    parts = {"spring": ("2025-02-01", "2025-06-30"), "rest": ("2025-07-01", "2026-01-31")}
    ends = {}
    for name, (begin, end) in parts.items():
        path = Path(pack(folder, made, begin=begin, end=end)["path"])
        (_, _), (code, ends[name]), *_ = followed(unpacked(path, tmp_path / name))
        assert code == 0, ends[name]
    last = re.search(r"last has +(\w+)", ends["spring"])[1]  # type: ignore[index]
    assert f"first follows {last}" in ends["rest"]
    assert "Nobody has signed with a key" in (tmp_path / "spring/VERIFY.md").read_text()


def change(where: Path, name: str, old: str, new: str) -> None:
    path = where / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "found_by"),
    [
        ("rotation-log.jsonl", '"grace"', '"Grace"', 1),
        ("rotation-log.jsonl", '"number": 5,', '"number": 6,', 1),
        ("signatures/000037.signer", "stolen", "grace", 1),
        ("signatures/000037.record", "stolen", "third", 2),
        (f"reports/{history.identity('2025-11-02')}.json", '"hash": "', '"hash": "0', 1),
    ],
)
def test_what_was_changed_is_found(
    folder: Path, made: Path, tmp_path: Path, name: str, old: str, new: str, found_by: int
) -> None:
    where = unpacked(Path(pack(folder, made)["path"]), tmp_path / "audit")
    (number,) = [path.stem for path in (where / "signatures").glob("*.record")]
    change(where, name.replace("000037", number), old, new)
    sums, *others = followed(where)
    assert sums[0] != 0
    assert "WRONG" in others[found_by - 1][1]


def test_a_line_that_was_taken_out_is_found(folder: Path, made: Path, tmp_path: Path) -> None:
    where = unpacked(Path(pack(folder, made)["path"]), tmp_path / "audit")
    log = where / "rotation-log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:4] + lines[5:]))
    code, said = followed(where)[1]
    assert code == 1 and "line 5 does not follow the line before it" in said


def test_a_log_that_does_not_verify_is_refused_or_says_so_inside(folder: Path, made: Path, tmp_path: Path) -> None:
    log = folder / rotation_log.LINES
    log.write_text(log.read_text().replace('"ada"', '"eve"', 1))
    with pytest.raises(KeyturnError, match=r"record 2 was changed .*nothing was packed.*keyturn_log_broken=REASON"):
        pack(folder, made)
    with pytest.raises(KeyturnError, match="keyturn_log_broken must be 1 to 120 letters"):
        pack(folder, made, reason="<b>")
    assert not (folder / "audits").exists()
    said = pack(folder, made, reason="court order 7")
    where = unpacked(Path(said["path"]), tmp_path / "audit")
    assert "LOG        does not verify" in said["text"]
    text = (where / "VERIFY.md").read_text()
    assert "**The log does not verify.**" in text and "court order 7" in text
    assert followed(where)[1][0] == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"begin": "2026-02-01", "end": "2026-01-01"},
            "keyturn_from 2026-02-01 lies after keyturn_to 2026-01-01: exchange",
        ),
        ({"begin": "", "end": "2026-01-01"}, "keyturn_from must be a day such as 2026-01-31"),
        ({"end": "2026-02-30"}, "keyturn_to must be a day"),
        (
            {"begin": "2030-01-01", "end": "2030-12-31"},
            "no record from 2030-01-01 .* the log has records from 2025-02-01 to",
        ),
        ({"allowed_signers": "/nowhere"}, "keyturn_allowed_signers: /nowhere: No such file"),
    ],
)
def test_a_period_that_is_none_is_refused(folder: Path, made: Path, more: dict[str, str], said: str) -> None:
    with pytest.raises(KeyturnError, match=said):
        pack(folder, made, **more)
    assert not (folder / "audits").exists()


def test_without_a_status_it_says_who_writes_it(folder: Path, made: Path) -> None:
    (folder / "status.csv").unlink()
    with pytest.raises(KeyturnError, match=r"has no status.csv: run status.yml"):
        pack(folder, made)


def test_a_folder_that_cannot_be_written_is_named(folder: Path, made: Path) -> None:
    (folder / "audits").write_text("")
    with pytest.raises(KeyturnError, match=r"audits cannot be written .* keyturn_reports_dir; nothing was packed"):
        pack(folder, made)


def test_lines_older_than_the_chain_come_whole(tmp_path: Path, made: Path) -> None:
    folder = tmp_path / "staging"
    folder.mkdir(mode=0o700)
    old = [rotation_log.record(history.document(*line), {}) for line in history.ROTATIONS[:2]]
    kept = [{name: said for name, said in one.items() if name not in ("event", "at", "attempt")} for one in old]
    (folder / rotation_log.LINES).write_text("".join(json.dumps(one) + "\n" for one in kept))
    rotation_log.append(folder, rotation_log.setup("staging", "2025-03-05T00:00:00Z"))
    for name in ("status.json", "status.csv", "status.html"):
        (folder / name).write_text("{}")
    path = Path(pack(folder, made, begin="2025-03-01", end="2025-03-31")["path"])
    where = unpacked(path, tmp_path / "audit")
    assert followed(where)[1][0] == 0
    assert len((where / rotation_log.LINES).read_text().splitlines()) == 3


def test_no_command_has_a_text_of_a_person(folder: Path, made: Path, tmp_path: Path) -> None:
    where = unpacked(Path(pack(folder, made)["path"]), tmp_path / "audit")
    assert all("stolen" not in one and "staging" not in one for one in commands(where))
    (where / "json.py").write_text("print('ran')\n")
    assert all("ran" not in said.split() for _, said in followed(where)), "what else lies there is no part of Python"
    with tarfile.open(fileobj=io.BytesIO(Path(pack(folder, made)["path"]).read_bytes())) as tar:
        assert {one.mtime for one in tar} == {1769817600}
