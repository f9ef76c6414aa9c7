"""Public variables: a name that stands for nothing and a value that cannot be meant are refused, and no value is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from keyturn.inputs.application import Application
from keyturn.inputs.variables import BATCHES, MINE, VARIABLES, Unresolved, inner, problems, unprefixed
from support.lab import ROOT

USED = [path for folder in ("playbooks", "roles") for path in (ROOT / folder).rglob("*.y*ml")]
OURS = {path.stem for folder in ("library", "plugins") for path in (ROOT / folder).rglob("keyturn_*.py")} | {
    path.stem for path in (ROOT / "roles").rglob("files/keyturn_*.py")
}
SHIPPED = Application(ROOT / "applications/trader_ai")
METRICS = {"keyturn_addresses_time_seconds"}


def named(text: str) -> set[str]:
    return set(re.findall(r"\bkeyturn_[a-z_]*[a-z]\b(?!\.py)", text))


def test_every_variable_that_a_playbook_reads_has_a_kind_and_no_other() -> None:
    used = named("\n".join(path.read_text() for path in USED))
    assert used - VARIABLES.keys() - OURS - METRICS == set()
    assert {name for name in VARIABLES if name.startswith(MINE)} - used == set()


def test_every_variable_of_the_reference_has_a_kind() -> None:
    table = (ROOT / "docs/reference/variables.md").read_text().partition("\n```")[0]
    assert named(table) - VARIABLES.keys() - OURS - SHIPPED.variables().keys() == set()


@pytest.mark.parametrize("inventory", ["local", "production", "staging"])
def test_the_inventories_that_we_ship_have_nothing_wrong(inventory: str) -> None:
    said = yaml.safe_load((ROOT / f"inventory/{inventory}/group_vars/trader_ai.yml").read_text())
    templates = {name for name, value in said.items() if isinstance(value, str) and "{{" in value}
    assert (
        list(problems({name: value for name, value in said.items() if name not in templates}, SHIPPED.variables()))
        == []
    )


UNKNOWN = [
    ("keyturn_reson", "keyturn_reson is no variable of Keyturn: is keyturn_reason meant?"),
    ("keyturn_exclud", "keyturn_exclud is no variable of Keyturn: is keyturn_exclude meant?"),
    (
        "keyturn_override_order",
        "keyturn_override_order is no variable of Keyturn: is keyturn_override_open_orders meant?",
    ),
    ("keyturn_colour", "keyturn_colour is no variable of Keyturn; docs/reference/variables.md lists them"),
    ("keyturn_new_valus", "keyturn_new_valus is no variable of Keyturn: is keyturn_new_values meant?"),
    ("keyturn_Reason", "keyturn_Reason is no variable of Keyturn: is keyturn_reason meant?"),
]


@pytest.mark.parametrize(("name", "message"), UNKNOWN)
def test_a_name_that_stands_for_nothing_is_refused_with_the_nearest(name: str, message: str) -> None:
    assert list(problems({name: "x", "ansible_user": "x", "other": 1})) == [message]


def test_a_value_that_comes_by_a_variable_is_told_by_the_name_of_its_own() -> None:
    (message,) = problems({"keyturn_new_hf_token": "hf_secret"})
    assert message.startswith("HF_TOKEN: a value stands in the command line or in an Ansible variable")
    assert "by KEYTURN_NEW_HF_TOKEN in the environment" in message
    assert "hf_secret" not in message


def test_what_phases_tell_each_other_is_not_said_on_the_command_line() -> None:
    said = list(inner(["keyturn_reason", "rotation_goes_on", "incident_opened", "notification_event", "ansible_user"]))
    assert [one.split()[0] for one in said] == ["incident_opened", "notification_event", "rotation_goes_on"]
    assert said[0].endswith("is what a phase tells the next, and is not said on the command line")


def test_whom_the_log_believes_is_not_said_on_the_command_line() -> None:
    (said,) = inner(["keyturn_signing_key", "keyturn_allowed_signers"])
    assert said.startswith("keyturn_allowed_signers is said in the inventory")


WRONG: list[tuple[str, Any, str]] = [
    ("keyturn_batches", "all", "keyturn_batches is other text, and must be a list of numbers of hosts and shares"),
    ("keyturn_batches", [], "keyturn_batches is a list"),
    ("keyturn_batches", [0], "keyturn_batches is a list"),
    ("keyturn_batches", ["half"], "keyturn_batches is a list"),
    ("keyturn_batches", [1, "101%"], "keyturn_batches is a list"),
    ("keyturn_batches", [True], "keyturn_batches is a list"),
    ("keyturn_exclude", "app3", "keyturn_exclude is other text, and must be a mapping of names to reasons"),
    ("keyturn_exclude", ["app3"], "keyturn_exclude is a list"),
    ("keyturn_exclude", {"app3": None}, "keyturn_exclude is a mapping, and must be a mapping of names to reasons"),
    ("keyturn_exclude", None, "keyturn_exclude is empty"),
    ("keyturn_secrets_here", "jwt", "keyturn_secrets_here is other text, and must be a list of names"),
    ("keyturn_grace_days", "soon", "keyturn_grace_days is other text, and must be a number"),
    ("keyturn_grace_days", -1, "keyturn_grace_days is a number, and must be a number that is not negative"),
    ("keyturn_grace_days", True, "keyturn_grace_days is true or false"),
    ("keyturn_production", "perhaps", "keyturn_production is other text, and must be true or false"),
    ("keyturn_reason", {"why": "x"}, "keyturn_reason is a mapping, and must be text"),
    ("keyturn_until", "redy", "keyturn_until is other text, and must be one of committed, ready"),
    ("keyturn_app_root", "srv/app", "keyturn_app_root is other text, and must be a path that begins with /"),
    ("keyturn_reason", Unresolved(), "keyturn_reason is a template that does not resolve, and must be text"),
    ("keyturn_until", Unresolved(), "keyturn_until is a template that does not resolve, and must be one of"),
    ("keyturn_services", [], "keyturn_services is a list, and must be a mapping"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_what_cannot_be_meant_is_refused_by_what_it_may_be(name: str, value: Any, message: str) -> None:
    (said,) = problems({name: value})
    assert said.startswith(message)


RIGHT: list[tuple[str, Any]] = [
    ("keyturn_batches", [1, "25%", "100%"]),
    ("keyturn_batches", ["1", 3]),
    ("keyturn_grace_days", "10"),
    ("keyturn_production", "yes"),
    ("keyturn_reason", 2026),
    ("keyturn_reason", ""),
    ("keyturn_exclude", {}),
    ("keyturn_exclude", {"app3": "its board is broken"}),
    ("keyturn_alertmanager_url", ""),
    ("keyturn_alertmanager_url", "http://[::1]:9093/alerts"),
    ("keyturn_app_root", "~trader/app"),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_can_be_meant_passes(name: str, value: Any) -> None:
    assert list(problems({name: value})) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(VARIABLES)), anything)
def test_anything_at_all_is_judged_in_one_line_that_does_not_hold_it(name: str, value: Any) -> None:
    for said in problems({name: value}):
        assert said.isprintable()
        assert said.startswith(f"{name} is ")


@given(st.lists(st.integers() | st.text(), max_size=3))
def test_batches_that_pass_are_batches_that_ansible_takes(batches: list[Any]) -> None:
    from ansible.utils.helpers import pct_to_int

    if BATCHES.fits(batches):
        assert all(pct_to_int(batch, 7) > 0 for batch in batches)


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ("", True),
        ("/var/lib/node/keyturn.prom", True),
        ("/etc/cron.d/keyturn", False),
        ("/var/lib/node/../../etc/x.prom", False),
        ("keyturn.prom", False),
        ("/.prom", False),
        ("/a\n.prom", False),
        (["/a.prom"], False),
    ],
)
def test_metrics_are_written_into_a_file_of_metrics(given: Any, fits: bool) -> None:
    said = list(problems({"keyturn_textfile": given}))
    assert said == [] if fits else "and must be a path that begins with / and ends in .prom, without `..`" in said[0]


def test_an_application_s_own_variables_are_what_it_tells() -> None:
    more = SHIPPED.variables()
    assert list(problems({"keyturn_alpaca_account": "paper", "keyturn_plaid_url": "https://x"}, more)) == []
    assert [
        said.split(",")[0] for said in problems({"keyturn_alpaca_account": "both", "keyturn_plaid_url": "x"}, more)
    ] == [
        "keyturn_alpaca_account is other text",
        "keyturn_plaid_url is other text",
    ]
    assert list(problems({"keyturn_alpaca_account": "paper"})) == [
        "keyturn_alpaca_account is no variable of Keyturn; docs/reference/variables.md lists them"
    ]


def test_a_variable_that_lacks_its_beginning_is_refused_with_the_name_that_is_meant() -> None:
    """It would be nobody's, and what it was to say would not hold: a reason, say, or an exclusion."""
    assert list(unprefixed(["reason", "exlude", "keyturn_reason", "ansible_user", "release"])) == [
        "exlude is no variable of Keyturn: is keyturn_exclude meant?",
        "reason is no variable of Keyturn: is keyturn_reason meant?",
    ]


@pytest.mark.parametrize("name", ["keyturn_application", "keyturn_hosts"])
def test_what_decides_what_a_run_does_is_not_said_on_the_command_line(name: str) -> None:
    (said,) = inner([name])
    assert said == f"{name} is said in the inventory, which people review, and not on the command line"
    assert list(inner(["keyturn_application"], may_choose=True)) == []
    assert list(inner(["keyturn_hosts"], may_choose=True)) != []
