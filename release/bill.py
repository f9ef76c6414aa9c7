"""The bill of materials: what a controller installs beside Keyturn, as requirements.lock has it, in the format of CycloneDX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# -W: it warns that a lock file has no graph of dependencies
PROGRAM = (sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements")
FORM = ("--output-reproducible", "--output-format=JSON", "--spec-version=1.6", "--validate", "--mc-type=application")


def write(root: Path, path: Path) -> Path:
    """Write the bill, which its tool holds against the format's schema; return its path."""
    about = (f"--pyproject={root / 'pyproject.toml'}", f"--output-file={path}")
    subprocess.run([*PROGRAM, *FORM, *about, root / "requirements.lock"], check=True)
    return path
