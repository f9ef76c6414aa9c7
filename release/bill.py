"""The bill of materials: what a controller installs beside Keyturn, as requirements.lock has it, in the format of CycloneDX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def write(root: Path, path: Path) -> Path:
    """Write the bill, which its tool holds against the format's schema; return its path."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    form = ["--output-reproducible", "--output-format", "JSON", "--spec-version", "1.6", "--validate", "--output-file", path]
    about = ["--pyproject", root / "pyproject.toml", "--mc-type", "application"]
    subprocess.run([program, "requirements", *about, *form, root / "requirements.lock"], check=True)
    return path
