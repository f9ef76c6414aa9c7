"""The table of a check: what each host holds and would hold, its rows, and how long it would be down."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.fleet import forecast

KEY = "DATABASE_ENCRYPTION_KEY"


def said(*names: str, **more: Any) -> dict[str, Any]:
    return {"phase": "not begun", "old": dict.fromkeys(names or (KEY,), "kt:0123456789ab"), **more}


def past(secret: str, outcome: str, **seconds: float) -> dict[str, Any]:
    hosts = {host: {"downtime_seconds": one} for host, one in seconds.items()}
    return {"secret": secret, "outcome": outcome, "hosts": hosts | {"silent": {}}}


def test_a_host_is_a_line_that_fits_a_terminal_of_80() -> None:
    hosts = {"app1": said(rows={"two_layer": 9, "plaintext": 1}), "app2": said(rows={})}
    downtimes = {"app1": "0.4 s (median of 5)", "app2": "not known yet"}
    assert forecast.text(hosts, {}, downtimes, 80).splitlines() == [
        "host  holds            would hold   rows  down, expected",
        "app1  kt:0123456789ab  a new value  10    0.4 s (median of 5)",
        "app2  kt:0123456789ab  a new value  none  not known yet",
    ]


def test_what_is_too_wide_or_has_several_values_comes_in_blocks() -> None:
    hosts = {"a" * 40: said()}
    text = forecast.text(hosts, {}, {"a" * 40: "not known yet"}, 80)
    assert max(map(len, text.splitlines())) <= 80 and f"  {KEY}  kt:0123456789ab -> a new value" in text
    assert forecast.text(hosts, {}, {"a" * 40: "not known yet"}, 120).startswith("host ")
    pair = forecast.text(
        {"app1": said("PLAID_CLIENT_ID", "PLAID_SECRET")},
        {"PLAID_CLIENT_ID": "kt:0123456789ab", "PLAID_SECRET": "kt:ba9876543210"},
        {"app1": "1.0 s (the last time)"},
        200,
    )
    assert pair.splitlines() == [
        "app1",
        "  PLAID_CLIENT_ID  kt:0123456789ab -> the same",
        "  PLAID_SECRET     kt:0123456789ab -> kt:ba9876543210",
        "  rows             none",
        "  down             1.0 s (the last time), expected",
    ]


def test_a_rotation_that_is_under_way_has_no_table() -> None:
    assert forecast.text({"a": said() | {"phase": "staged"}, "b": {}, "c": {"phase": "not begun"}}, {}, {}, 80) == ""


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], "not known yet"),
        ([past("jwt", "committed", a=9.0)], "not known yet"),
        ([past("x", "rolled_back", a=9.0)], "not known yet"),
        ([past("x", "committed", a=1.25)], "1.2 s (the last time)"),
        (
            [past("x", "committed", a=9.0), *(past("x", "committed", a=float(n)) for n in range(5))],
            "2.0 s (median of 5)",
        ),
        ([past("x", "committed_with_exclusions", a=1.0), past("x", "committed", b=3.0)], "1.0 s (the last time)"),
    ],
)
def test_a_downtime_is_expected_from_the_host_s_own_last_rotations(
    reports: list[dict[str, Any]], expected: str
) -> None:
    assert forecast.expected(reports, "x", "a") == expected
