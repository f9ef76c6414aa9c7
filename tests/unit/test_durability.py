"""Where a state folder, a file with values and a database may lie: what a boot takes away is found by what it lies on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import mounts
from keyturn.base.errors import KeyturnError
from keyturn.ground import consumers
from keyturn.ground.consumers import Consumer
from keyturn.host import storage
from keyturn.host.phases import holdings_info, rollback, stage
from keyturn.host.phases.replace_tokens import run as replace_tokens
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from support.faults import Host
from unit.test_catalogue import shipped

SHM = Path("/dev/shm")
MODULES = Path(consumers.__file__).parents[3]
# mounts in a namespace of its own, then asks
ASK = (
    f"exec {sys.executable} -B -c 'import sys; from pathlib import Path; from keyturn.base import mounts; "
    "print(mounts.in_memory(Path(sys.argv[1])))' "
)
SMALL = "truncate -s 512k {0} && mkfs.ext4 -q -O ^has_journal {0} && "


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder that a boot takes away."""
    folder = Path(tempfile.mkdtemp(dir=SHM))
    yield folder
    shutil.rmtree(folder)


def test_a_disk_is_durable(tmp_path: Path) -> None:
    assert mounts.in_memory(tmp_path / "not/made/yet") == ""


@pytest.mark.parametrize("path", ["", "not/made/yet"])
def test_memory_is_not_also_behind_a_link(tmp_path: Path, memory: Path, path: str) -> None:
    (tmp_path / "state").symlink_to(memory)
    assert mounts.in_memory(tmp_path / "state" / path) == f"tmpfs in memory ({SHM})"


def test_links_that_lead_to_themselves_are_no_defect(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(".env")
    assert mounts.in_memory(tmp_path / ".env") == ""
    consumers.clean(Consumer("dotenv", tmp_path / ".env"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
@pytest.mark.parametrize(
    ("made", "found"),
    [
        ("mount -t tmpfs none a", "tmpfs in memory ({0}/a)"),
        ("mount -t ramfs none a", "ramfs in memory ({0}/a)"),
        ("mkdir 'a b' && mount -t tmpfs none 'a b' && mount --bind 'a b' a", "tmpfs in memory ({0}/a)"),
        ("mount -t tmpfs none a && mount --bind b a", ""),
        ("mount --bind b a && mount -t tmpfs none a", "tmpfs in memory ({0}/a)"),
        ("mount -t tmpfs none b && " + SMALL.format("b/i") + "mount -o loop b/i a", "tmpfs in memory ({0}/b)"),
        (SMALL.format("b/i") + "mount -o loop b/i a", ""),
        (
            "mount -t tmpfs none b && mkdir b/u b/w && mount -t overlay -o lowerdir=c,upperdir=$PWD/b/u,workdir=$PWD/b/w none a",
            "tmpfs in memory ({0}/b)",
        ),
        ("mkdir b/u b/w && mount -t overlay -o lowerdir=c,upperdir=$PWD/b/u,workdir=$PWD/b/w none a", ""),
        (
            "mkdir b/u b/w && mount -t overlay -o lowerdir=c,upperdir=$PWD/b/u,workdir=$PWD/b/w,volatile none a",
            "overlay that never syncs ({0}/a)",
        ),
    ],
    ids=[
        "tmpfs", "ramfs", "bound", "a disk over it", "over a disk", "loop on it", "loop", "layer on it", "layer", "volatile",
    ],
)  # fmt: skip
def test_what_it_lies_on_counts(tmp_path: Path, made: str, found: str) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{made} && {ASK} a/state"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(MODULES)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        pytest.skip(f"this machine may not mount that: {run.stderr}")
    assert run.stdout.strip() == found.format(tmp_path)


def on(host: Host, memory: Path, what: str) -> Rotation:
    """The host's rotation with one of its places in memory."""
    rotation = host.rotation()
    if what == "state":
        return dataclasses.replace(rotation, state_dir=memory / "state")
    path = {"files": host.lab.env, "database": host.lab.database}[what]
    shutil.copy(path, memory)
    path.unlink()
    path.symlink_to(memory / path.name)
    return rotation


REMEDIES = {
    "state": "set keyturn_state_dir to a folder on a disk",
    "files": "name the file on a disk that it is made from",
    "database": "put it on a disk",
}


@pytest.mark.parametrize("what", REMEDIES)
def test_a_rotation_is_refused_and_whoever_looks_says_it(host: Host, memory: Path, what: str) -> None:
    rotation = on(host, memory, what)
    for check_mode in (True, False):
        with pytest.raises(
            KeyturnError, match=rf"on tmpfs in memory \(/dev/shm\), and gone after a boot: {REMEDIES[what]}"
        ):
            stage.run(dataclasses.replace(rotation, check_mode=check_mode))
    assert not (memory / "state").exists() and not host.lab.state.exists()
    assert any(REMEDIES[what] in problem for problem in holdings_info.run([rotation])["problems"])
    found: Any = storage.look([rotation], production=False)["findings"]
    told = [(one["severity"], one["remedy"]) for one in found if one["rule"] == "durability"]
    assert told == [("error", REMEDIES[what])]


def test_tokens_are_not_replaced_on_what_a_boot_takes_away(host: Host, memory: Path) -> None:
    issuer = validated("plaid", catalogue.ENTRY, shipped()["plaid"])
    with pytest.raises(KeyturnError, match="gone after a boot"):
        replace_tokens(on(host, memory, "state"), issuer, 1)


def test_a_rotation_that_stands_there_already_may_end(
    host: Host, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state was made by a version that did not ask."""
    rotation = on(host, memory, "state")
    with monkeypatch.context() as patch:
        patch.setattr(mounts, "IN_MEMORY", set())
        stage.run(rotation)
    assert rollback.run(rotation, "a test", abandon_commit=False)["rotation"]["outcome"] == "rolled_back"
