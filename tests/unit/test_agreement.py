"""May the hosts go on together."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet import agreement
from keyturn.steps import agree


def host(number: int, **more: Any) -> dict[str, Any]:
    return {
        "place": f"boot:1:{number}",
        "clock_offset": 0.1,
        "old": {"V": f"kt:{number}"},
        "new": {"V": f"kt:{number}0"},
    } | more


def same(number: int, **more: Any) -> dict[str, Any]:
    return host(number, old={"V": "kt:1"}, new={"V": "kt:2"}) | more


@pytest.mark.parametrize(
    ("value", "hosts", "said"),
    [
        ("per_host", {"a": host(1), "b": host(2)}, None),
        ("shared", {"a": same(1), "b": same(2)}, None),
        ("shared", {"a": same(1, new=None), "b": same(2, new=None)}, None),
        ("per_host", {"a": host(1), "b": host(2, new={"V": "kt:10"})}, "two hosts have staged the same value"),
        ("shared", {"a": same(1), "b": same(2, new={"V": "kt:3"})}, "have not staged the same value"),
        ("shared", {"a": same(1), "b": same(2, old={"V": "kt:9"})}, "a: V kt:1; b: V kt:9.*keyturn_adopt"),
        ("per_host", {"a": host(1), "b": host(2, place="boot:1:1")}, "a and b are the same machine and folder"),
        ("per_host", {"a": host(1), "b": host(2, clock_offset=-60.2)}, r"differ by 60 s.*a: \+0 s; b: -60 s"),
    ],
)
def test_agreement(value: str, hosts: dict[str, dict[str, Any]], said: str | None) -> None:
    if said is None:
        agreement.check(value, hosts, "")
    else:
        with pytest.raises(KeyturnError, match=said):
            agreement.check(value, hosts, "")


def test_a_person_may_say_which_value_is_right() -> None:
    hosts = {"a": same(1), "b": same(2, old={"V": "kt:9"})}
    agreement.check("shared", hosts, "a")
    with pytest.raises(KeyturnError, match="names c, which is no host here"):
        agreement.check("shared", hosts, "c")


def test_where_no_host_answers_nobody_goes_on() -> None:
    given = {"secret": "db_key", "value": "per_host", "excluded": {}, "adopted": "", "may_stay": []}
    given |= {"environment": "test", "reports": "/nowhere", "hosts": {"a": {"rotation_staged": {"unreachable": True}}}}
    with pytest.raises(KeyturnError, match="a cannot be reached, and no other host is left to turn"):
        agree.run(given, check_mode=False)
