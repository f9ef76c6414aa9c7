"""The tour shows what it says, on this machine: `make exhaustive` takes it whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.lab import ROOT


@pytest.mark.exhaustive
def test_the_tour_shows_what_it_says(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
        "PYTHONPATH": "demo"
    }
    command = [sys.executable, "demo/tour.py", "--root", str(tmp_path / "tour"), "--rows", "60"]
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n-> ") == 7
