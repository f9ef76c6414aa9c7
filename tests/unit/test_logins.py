"""Secrets that are one login are turned as one entry: a plan that would turn one of them alone is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.inputs import logins, mistakes
from keyturn.inputs.application import Application
from support.lab import ROOT, optional
from support.steps import take

TURNS = {"kind": "postgresql_role", "strategy": "alternating"}
COMMAND = {"kind": "command", "set": ["/set", "shop"], "unset": ["/unset", "shop"]}
REQUESTS = {"kind": "http", "requests": {"set": {"method": "PUT", "url": "https://x/shop", "answers": []}}}

HOST = {
    "keyturn_environment": "test",
    "keyturn_app_root": "/opt/app",
    "keyturn_services": {"backend": {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1/health"}},
}
REQUEST = {"application": "/nowhere", "hosts": {"app1": HOST}, "reason": "test", "inventory": ""}


def entry(url: str = "postgresql://db:5432/shop", user: str = "", **issuer: Any) -> dict[str, Any]:
    provider = {"kind": "postgresql", "url": url} | ({"user": user} if user else {})
    return optional()["db_password"] | {
        "provider": provider,
        "issuer": {"strategy": "single"} | issuer if issuer else None,
    }


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        (entry(user="shop"), entry(user="shop"), True),
        (entry(user="shop"), entry(user="reports"), False),
        # a role is the server's, whatever database it comes to
        (entry(user="shop"), entry("postgresql://db/reports", "shop"), True),
        (entry(user="shop"), entry("postgresql://db:5433/shop", "shop"), False),
        (entry("smtps://mail", "shop"), entry("smtps://mail:465", "shop"), True),
        (entry(**TURNS, users=["a", "b"]), entry(**TURNS, users=["b", "c"]), True),
        (entry(**TURNS, users=["a", "b"]), entry(user="a"), True),
        (entry("https://x", **COMMAND), entry("https://y", **COMMAND), True),
        (entry("https://x", **REQUESTS), entry("https://y", **REQUESTS), True),
        (entry("https://x", **REQUESTS), entry("https://x", **COMMAND), False),
        (entry("postgresql://db:99999/shop", "shop"), entry("postgresql://db/shop", "shop"), False),
        # an account may have a password for each of its applications
        (
            entry("smtps://mail", "shop") | {"overlap": "both"},
            entry("smtps://mail", "shop") | {"overlap": "both"},
            False,
        ),
        # two addresses that are the values themselves say nothing of who logs in
        (optional()["slack_webhook"], optional()["alert_webhook"], False),
    ],
)
def test_one_login_is_seen_by_its_server_and_its_user(first: Any, second: Any, one: bool) -> None:
    found = {"first": first, "second": second, "third": entry(user="nobody")}
    assert logins.same("first", found) == (["second"] if one else [])
    assert logins.same("second", found) == (["first"] if one else [])


def halves() -> dict[str, Any]:
    first = optional()["db_password"]
    return {"first": first, "second": first | {"title": "Reports", "variables": ["REPORTS_PASSWORD"]}}


def test_half_of_a_login_is_not_planned() -> None:
    with pytest.raises(KeyturnError) as error:
        take("plan", REQUEST | {"secret": "first", "secrets": halves()})
    assert str(error.value).startswith(
        "keyturn_secrets: first is one login with second, which would be left with a dead value. Make them one entry"
    )


def test_a_look_at_the_catalogue_names_both_halves() -> None:
    found = mistakes.mistakes(Application(ROOT / "applications/trader_ai"), halves())
    for one, other in (("first", "second"), ("second", "first")):
        assert [line for line in found if line.startswith(f"catalogue.yml: secrets: {one} is one login with {other}, ")]
