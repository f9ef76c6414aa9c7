"""Where Keyturn itself lies: in a checkout, or in the collection that a release makes of one (release/collection.py)."""

from __future__ import annotations

from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "playbooks").is_dir())
IN_A_COLLECTION = not (ROOT / "library").is_dir()
# the documentation of the actions
PAGES = ROOT / ("plugins/modules" if IN_A_COLLECTION else "library")
