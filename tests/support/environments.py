"""Virtual environments with an application from the package index, made once for each list of requirements."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyturn-tests"


@cache
def environment(group: str) -> Path:
    """Return the Python of an environment that has what a dependency group of pyproject.toml names, and nothing else of ours."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    mark = hashlib.sha256(json.dumps([wanted, sys.version]).encode()).hexdigest()[:12]
    folder = CACHE / f"{group}-{mark}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{group}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want it
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            program = Path(sys.executable).with_name("uv")
            for arguments in (
                ["venv", "-p", sys.executable, str(folder)],
                ["pip", "install", "--compile-bytecode", "-p", str(folder), *wanted],
            ):
                subprocess.run([program, "--quiet", *arguments], check=True, stdin=subprocess.DEVNULL)
            (folder / "made").touch()
    return folder / "bin/python"
