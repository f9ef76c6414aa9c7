"""What tests fetch and the machine does not have: applications from the package index, and Debian's programs that nobody installs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyturn-tests"


@cache
def environment(group: str) -> Path:
    """Return the Python of an environment that has what a dependency group of pyproject.toml names, and nothing else of ours."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    program = Path(sys.executable).with_name("uv")

    def make(folder: Path) -> None:
        for arguments in (
            ["venv", "-p", sys.executable, str(folder)],
            ["pip", "install", "--compile-bytecode", "-p", str(folder), *wanted],
        ):
            subprocess.run([program, "--quiet", *arguments], check=True, stdin=subprocess.DEVNULL)

    return _made(group, [wanted, sys.version], make) / "bin/python"


@cache
def unpacked(package: str) -> Path:
    """Return a folder with a Debian package and what it needs that is missing here. Nothing is installed, configured or started."""

    def make(folder: Path) -> None:
        (folder / "archives/partial").mkdir(parents=True)
        archives = ("-o", f"Dir::Cache::Archives={folder}/archives/", "-o", "APT::Sandbox::User=root")
        fetch = ("apt-get", "-qq", "-y", "-d", "--no-install-recommends", *archives, "install", package)
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL)
        for archive in (folder / "archives").glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, folder], check=True)

    return _made(package, [package, Path("/etc/debian_version").read_text()], make)


def _made(name: str, wanted: object, make: Callable[[Path], None]) -> Path:
    """Return the folder of what is ``wanted``, and make it where it is not there."""
    mark = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{mark}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want it
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "made").touch()
    return folder
