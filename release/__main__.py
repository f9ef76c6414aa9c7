"""Build a release of the commit that is checked out: `make release`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from . import bill, collection

ROOT = Path(__file__).parents[1]


def main(into: Path) -> int:
    """Build everything into a folder that has nothing else, and print what there is."""
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]
    if changed := subprocess.run(command, check=True, text=True, capture_output=True).stdout:
        print(f"a release is built of a commit, and this is not committed:\n{changed}", file=sys.stderr)
        return 1
    into.mkdir(parents=True, exist_ok=True)
    for left in into.iterdir():
        left.unlink()
    artefact = collection.build(ROOT, into)
    parts = [artefact, bill.write(ROOT, artefact.with_name(artefact.name.replace(".tar.gz", ".cdx.json")))]
    sums = "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts)
    (into / "SHA256SUMS").write_text(sums)
    print("\n".join(str(part.relative_to(ROOT)) for part in [*parts, into / "SHA256SUMS"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT / ".local/release"))
