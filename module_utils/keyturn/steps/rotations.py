"""The action ``keyturn_rotations``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from ..base.errors import KeyturnError
from ..fleet import schedule
from ..inputs.validation import Answer, Parameters


def run(parameters: Parameters, rotate: Callable[[str], int]) -> Answer:
    """Rotate one secret after another by ``rotate``, which returns an exit code; KeyturnError at the first that fails.

    None begins when the maintenance window has closed.
    """
    left: list[str] = list(parameters["secrets"])
    turned: list[str] = []
    while left and schedule.is_open(parameters["window"], datetime.now(UTC)):
        secret = left.pop(0)
        code = rotate(secret)
        if code:
            raise KeyturnError(
                f"{secret} ended with exit code {code}; turned before: {', '.join(turned) or 'nothing'}; "
                f"left: {', '.join(left) or 'nothing'}"
            )
        turned.append(secret)
    closed = f"; the maintenance window has closed, left: {', '.join(left)}" if left else ""
    return {
        "changed": bool(turned),
        "turned": turned,
        "left": left,
        "msg": f"turned: {', '.join(turned) or 'nothing'}{closed}",
    }
