"""The molecule scenarios, as `make molecule` runs them, in a lab of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.fleet import ROOT


@pytest.mark.exhaustive
def test_all_scenarios() -> None:
    molecule = Path(sys.executable).with_name("molecule")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KEYTURN_LAB_PROVIDERS")}
    env |= {"KEYTURN_LAB": "9", "MOLECULE_GLOB": "tests/molecule/*/molecule.yml"}
    env["PATH"] = f"{molecule.parent}:{env['PATH']}"
    done = subprocess.run([molecule, "test", "--all"], cwd=ROOT, env=env, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
