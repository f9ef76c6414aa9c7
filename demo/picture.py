"""Makes a picture of what a run has printed: ``bin/keyturn rotate_db_key | python demo/picture.py docs/run.svg``.

An SVG of text, in the colours that whoever looks at it prefers, light or dark. It has the lines up to the checklist; a long line is cut.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "$ bin/keyturn rotate_db_key"
WIDEST = 112  # signs of a line
SIGN, LINE, MARGIN = 7.8, 19, 18  # pixels, at a size of 13
CHECKLIST = re.compile(r"\[[x \-]\] ")
# what a line is, by what it begins with
KINDS = {
    "command": r"\$ ",
    "good": r"COMMITTED|.* (accepted|committed)\b",
    "bad": r"[A-Z_]+: |.* (rejected|unknown)\b",
    "step": r"[\w-]+: \w+ \d",
    "quiet": r"[\w-]+: .*\.\.\.$|(environment|secret|rotation|variables|store|hosts|time) ",
}
STYLE = """\
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre; fill: #1f2328 }
rect { fill: #f6f8fa; stroke: #d1d9e0 }
.command { font-weight: 600 } .quiet { fill: #59636e } .step { fill: #0550ae } .good { fill: #116329 } .bad { fill: #a40e26 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } rect { fill: #0d1117; stroke: #3d444d }
.quiet { fill: #9198a1 } .step { fill: #79c0ff } .good { fill: #56d364 } .bad { fill: #ff7b72 } }
"""


def shown(output: str) -> list[str]:
    """Return the lines of the picture: no path of this machine, nothing from the checklist on."""
    lines = [COMMAND]
    for line in output.replace(str(ROOT), "~/keyturn").splitlines():
        if CHECKLIST.match(line):
            break
        lines.append(line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…")
    while not lines[-1]:
        lines.pop()
    return lines


def svg(lines: Sequence[str]) -> str:
    """Return the picture."""
    width = round(2 * MARGIN + WIDEST * SIGN)
    height = 2 * MARGIN + len(lines) * LINE
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + 14 + number * LINE}" class="{kind(line)}">{escape(line)}</text>'
        for number, line in enumerate(lines)
        if line
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="What a run prints">',
            f"<style>\n{STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
            *texts,
            "</svg>\n",
        ]
    )


def kind(line: str) -> str:
    """Return what a line is: a name of ``KINDS``, or nothing in particular."""
    return next((name for name, begin in KINDS.items() if re.match(begin, line)), "plain")


def main() -> None:
    """Read a run's output, and write the picture to the file that is named."""
    (target,) = sys.argv[1:]
    output = sys.stdin.read()
    if "COMMITTED: " not in output:
        sys.exit(f"no rotation was committed, {target} stays as it is")
    Path(target).write_text(svg(shown(output)), encoding="utf-8")


if __name__ == "__main__":
    main()
