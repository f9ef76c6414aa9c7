"""A silence at Alertmanager for what a rotation causes: exactly its alert, its environment and its time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ..base import http, shape, timestamps
from ..base.errors import KeyturnError

CREATED_BY = "keyturn"
TIMEOUT_SECONDS = 5
# what is taken of a silence, of which Alertmanager may say anything
ID = re.compile(r"[\w-]{1,64}", re.ASCII)
NOT_ENDED = re.compile("(?!expired$).*")
# The alert looks back an hour, and a client may come with a token of the old secret for as long as that lives.
WINDOW = timedelta(hours=1)
TOKEN_LIFETIME = timedelta(minutes=60)


def matchers(alert: str, environment: str) -> list[dict[str, object]]:
    """Return whom the silence concerns. Other causes, and more wrong signatures than expected, have alerts of other names."""
    return [
        {"name": name, "value": value, "isRegex": False, "isEqual": True}
        for name, value in (("alertname", f"Keyturn{alert}"), ("environment", environment))
    ]


def begin(url: str, alert: str, environment: str, rotation_id: str, now: datetime, budget_seconds: int) -> bool:
    """Silence what the rotation will cause; True where that is new. It ends by itself, whatever becomes of the rotation."""
    if _of(url, rotation_id):
        return False
    ends = now + timedelta(seconds=budget_seconds) + TOKEN_LIFETIME + WINDOW
    document = {
        "matchers": matchers(alert, environment),
        "startsAt": timestamps.text(now),
        "endsAt": timestamps.text(ends),
        "createdBy": CREATED_BY,
        "comment": _comment(rotation_id),
    }
    answer = http.ask(f"{url}/api/v2/silences", TIMEOUT_SECONDS, body=document)
    if not http.good(answer.status):
        raise _unanswered(url, answer.status)
    return True


def lift(url: str, rotation_id: str) -> bool:
    """End the silence of a rotation that was taken back; True where there was one."""
    found = _of(url, rotation_id)
    for one in found:
        status = http.ask(f"{url}/api/v2/silence/{one}", TIMEOUT_SECONDS, method="DELETE").status
        if not http.good(status):
            raise _unanswered(url, status)
    return bool(found)


def _of(url: str, rotation_id: str) -> list[str]:
    """Return the ids of the rotation's silences that have not ended."""
    answer = http.ask(f"{url}/api/v2/silences", TIMEOUT_SECONDS, limit=1 << 24)
    silences = answer.listed()
    if not http.good(answer.status) or silences is None:
        raise _unanswered(url, answer.status)
    mine = {"id": ID, "createdBy": CREATED_BY, "comment": _comment(rotation_id), "status": {"state": NOT_ENDED}}
    return [str(one["id"]) for one in silences if not any(shape.misfits("", mine, one))]


def _comment(rotation_id: str) -> str:
    return f"rotation {rotation_id}: clients still hold tokens of the old secret"


def _unanswered(url: str, status: int | None) -> KeyturnError:
    said = "gives no answer" if status is None else f"answers with HTTP {status}"
    return KeyturnError(
        f"Alertmanager at {url} {said}: expect alerts of the rotation, or mend keyturn_alertmanager_url"
    )
