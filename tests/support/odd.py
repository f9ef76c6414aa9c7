"""Values that a person or another program may have made."""

from __future__ import annotations

# printable ASCII, which every server takes alike
PLAIN = (
    *("'quoted'", '"quoted"', "back\\slash\\", "100%s %d %", " blanks around ", "$HOME`id`$(id)"),
    *("{password}", "#;,|&<>", "E'\\''", "x" * 1000),
)
# what not every server takes: characters beyond ASCII, and more than one line
PASSWORDS = (*PLAIN, "pässwörd", "\N{KEY}" * 3, "two\nlines")
NAMES = ('Shop "A"', "sho'p", "back\\slash", "UPPER", "cafe\u0301 \N{KEY}", "x" * 63, "select")
