"""When secrets are due, in which order, and the maintenance window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn.base import timestamps
from keyturn.base.errors import KeyturnError
from keyturn.fleet import schedule
from keyturn.steps import rotations

NOW = datetime(2026, 6, 3, 12, tzinfo=UTC)  # a Wednesday
NIGHT = {"days": ["sat"], "from": "22:00", "to": "02:00"}


def secret(last: str | None, limit: int | None = 90, switch: str = "together") -> dict[str, Any]:
    age = None if last is None else (NOW - timestamps.parse(f"{last}T00:00:00Z")).days
    rotated = None if last is None else f"{last}T00:00:00Z"
    return {
        "title": "X",
        "unused": False,
        "switch": switch,
        "age_days": age,
        "max_age_days": limit,
        "last_rotated": rotated,
    }


def turned(secrets: dict[str, Any], grace: int = 7) -> list[str]:
    return [line["secret"] for line in schedule.calendar(secrets, grace, {}, NOW) if line["turn"]]


@pytest.mark.parametrize(
    ("last", "grace", "turns"),
    [
        ("2026-03-05", 0, True),  # the day on which 90 days are over
        ("2026-03-06", 0, False),
        ("2026-03-06", 1, True),
        ("2026-03-12", 7, True),
        ("2026-03-13", 7, False),
        (None, 0, True),
    ],
)
def test_a_secret_is_due_by_its_age(last: str | None, grace: int, turns: bool) -> None:
    assert turned({"x": secret(last)}, grace) == (["x"] if turns else [])


def test_what_is_turned_on_events_is_never_due_and_shows_its_age() -> None:
    (line,) = schedule.calendar({"plaid": secret("2020-01-01", limit=None)}, 7, {}, NOW)
    assert (line["turn"], line["due"], line["next_window"]) == (False, None, None) and line["age_days"] > 2000
    assert "is turned on events only" in schedule.table([line])


def test_what_a_person_brings_is_due_and_keeps_nothing_from_being_turned() -> None:
    secrets = {"key": secret("2026-01-01"), "smtp_password": secret("2026-01-01", switch="rolling")}
    found = schedule.calendar(secrets, 7, {}, NOW, brought={"smtp_password"})
    assert [(line["secret"], line["turn"]) for line in found] == [("key", True), ("smtp_password", False)]
    assert all(line["due"] for line in found)
    assert "smtp_password 153 d / 90 d" in schedule.table(found)


def test_host_by_host_goes_before_all_at_once_and_then_the_older() -> None:
    old, older = secret("2026-02-01"), secret("2026-01-01")
    secrets = {"a": old, "b": older, "key": secret("2026-02-20", switch="rolling"), "young": secret("2026-06-01")}
    assert turned(secrets) == ["key", "b", "a"]


@pytest.mark.parametrize(
    ("at", "opened"),
    [
        ("2026-06-06T21:59:00Z", False),
        ("2026-06-06T22:00:00Z", True),
        ("2026-06-07T01:59:00Z", True),  # Sunday, of the window that began on Saturday
        ("2026-06-07T02:00:00Z", False),
        ("2026-06-07T22:30:00Z", False),
        ("2026-06-06T01:00:00Z", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_it_began_on(at: str, opened: bool) -> None:
    assert schedule.is_open(NIGHT, timestamps.parse(at)) is opened


WINDOWS = st.fixed_dictionaries(
    {
        "days": st.lists(st.sampled_from(schedule.DAYS), min_size=1, unique=True),
        "from": st.sampled_from(["00:00", "02:30", "22:00"]),
        "to": st.sampled_from(["01:00", "04:00", "23:59"]),
    }
)


@settings(max_examples=25)
@given(WINDOWS, st.integers(0, 60 * 24 * 7))
def test_the_next_opening_is_the_first_open_minute(window: dict[str, Any], minutes: int) -> None:
    after = NOW + timedelta(minutes=minutes)
    found = schedule.next_opening(window, after)
    first = after
    while not schedule.is_open(window, first):
        first += timedelta(minutes=1)
    assert found == first


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({"from": "02:00"}, "to must be a time"),
        ({"from": 7200, "to": "04:00"}, "in quotes"),
        ({"from": "25:00", "to": "04:00"}, "from must be a time"),
        ({"from": "02:00", "to": "02:00"}, "never opens"),
        ({"from": "02:00", "to": "04:00", "days": ["someday"]}, "days must be a list"),
        ({"from": "02:00", "to": "04:00", "days": []}, "days must be a list"),
        ({"from": "02:00", "to": "04:00", "day": ["mon"]}, "has day"),
    ],
)
def test_a_window_that_never_opens_is_refused(window: dict[str, Any], said: str) -> None:
    with pytest.raises(KeyturnError, match=said):
        schedule.check_window(window)


def test_rotations_go_one_after_another_and_stop_at_the_first_failure() -> None:
    asked: list[str] = []

    def rotate(secret: str) -> int:
        asked.append(secret)
        return 2 if secret == "b" else 0

    with pytest.raises(KeyturnError, match="b ended with exit code 2; turned before: a; left: c"):
        rotations.run({"secrets": ["a", "b", "c"], "window": {}}, rotate)
    assert asked == ["a", "b"]
    done = rotations.run({"secrets": ["a", "c"], "window": {}}, rotate)
    assert (done["turned"], done["left"], done["changed"]) == (["a", "c"], [], True)


def test_no_rotation_begins_when_the_window_has_closed() -> None:
    tomorrow = schedule.DAYS[(datetime.now(UTC).weekday() + 2) % 7]
    window = {"days": [tomorrow], "from": "10:00", "to": "10:01"}
    done = rotations.run({"secrets": ["a"], "window": window}, lambda secret: pytest.fail(secret))
    assert (done["turned"], done["left"]) == ([], ["a"]) and "the maintenance window has closed, left: a" in done["msg"]
