"""The catalogue says only what code can do, and its errors name the entry."""

from __future__ import annotations

import copy
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn import issuers, providers, stores
from keyturn.base import generate, http
from keyturn.base.errors import KeyturnError
from keyturn.ground import consumers, rows
from keyturn.ground.rows import fernet_keys
from keyturn.host import probes
from keyturn.inputs import catalogue
from keyturn.inputs.application import Application, secrets
from keyturn.inputs.meaning import check_meaning, check_reloads
from keyturn.inputs.validation import services, store, validated
from keyturn.providers import guards
from keyturn.services import managers
from keyturn.stores import openbao

URL_SAFE = string.ascii_letters + string.digits + "-_="
APPLICATION = Application(Path(__file__).parents[2] / "applications/trader_ai")
TASKS = Path(__file__).parents[2] / "roles" / "rotation" / "tasks"

# Where a choice dispatches to code: the registry. Where it does not yet: the only value that the phases know.
REGISTRIES: dict[str, set[str]] = {
    "source.generator": set(generate.GENERATORS),
    "consumers.format": set(consumers.FORMATS),
    "consumers.inside": set(consumers.INSIDE) - {""},
    "migration.key.rule": set(fernet_keys.RULES),
    "migration.kind": {"none", *rows.KINDS},
    "migration.stores.kind": {*rows.ALONE},
    "migration.stores.key.rule": set(fernet_keys.RULES),
    "migration.rows.kind": {*rows.READABLE},
    "migration.rows.key.rule": set(fernet_keys.RULES),
    "probes.kind": set(probes.PROBES),
    "manager": set(managers.MANAGERS),
    "source.kind": {path.stem.removeprefix("value_") for path in TASKS.glob("value_*.yml")},
    "provider.kind": set(providers.PROVIDERS),
    "provider.account": {"live", "paper"},
    "provider.answers.verdict": {"accepted", "rejected"},
    **{f"issuer.requests.{call}.answers.verdict": {"accepted", "rejected"} for call in ("set", "unset", "retire")},
    **{f"issuer.requests.{call}.method": {"DELETE", "PATCH", "POST", "PUT"} for call in ("set", "unset", "retire")},
    "provider.method": {"GET", "HEAD", "POST"},
    "issuer.kind": set(issuers.ISSUERS),
    "issuer.strategy": set(issuers.STRATEGIES),
    "issuer.sessions": {"ended", "kept"},
    "guard.kind": {"none", *guards.GUARDS},
    "consumers.form": {"environment", "kept", "literal", "reference"},
    "value": {"per_host", "shared"},
    "switch": {"rolling", "together"},
    "sessions": {"kept", "invalidated"},
    "overlap": {"both", "key_list", "none", "none_needed"},
    "retire.kind": {"none", "revoke"},
    "kind": {"dotenv", *stores.STORES},
    "auth.method": set(openbao.LOGINS),
    "proof_auth": set(probes.LOGINS),
    # what systemctl is told as it is
    "reload_signal": {"HUP", "USR1", "USR2"},
}


def choices(spec: catalogue.Spec, where: str = "") -> Iterator[tuple[str, set[str]]]:
    """All legal values in a specification, by the place."""
    for name, option in spec.items():
        if "choices" in option:
            yield where + name, set(option["choices"])
        yield from choices(option.get("options", {}), f"{where}{name}.")


def test_every_legal_value_has_its_code_and_the_reverse() -> None:
    assert dict([*choices(catalogue.ENTRY), *choices(catalogue.SERVICE), *choices(catalogue.STORE)]) == REGISTRIES


def shipped() -> dict[str, Any]:
    promised = APPLICATION.part("policy.yml", "schedule")
    found = secrets(copy.deepcopy(APPLICATION.part("catalogue.yml", "secrets")), promised)
    alpaca = found["alpaca"]
    # what Ansible makes of the templates that the inventory fills
    alpaca["provider"]["account"] = "paper"
    alpaca["consumers"][1]["form"] = "environment"
    for entry in found.values():
        if "provider" in entry:
            entry["provider"]["url"] = "https://provider.invalid"
    return found


SERVICES = {
    "backend": {"manager": "script", "start": "./start", "stop": "./stop", "health_url": "http://127.0.0.1/health"}
}


SCRIPT = {"manager": "script", "start": "a", "stop": "b"}


def with_change(path: str, value: Any) -> dict[str, Any]:
    """The shipped entry of the database key with one change; the value ``...`` takes the field away."""
    entry = copy.deepcopy(shipped()["db_key"])
    *way, last = path.split(".")
    place: Any = entry
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return entry


def check(entry: dict[str, Any], given: dict[str, Any] = SERVICES) -> None:
    """What the plan asks of an entry."""
    check_meaning("db_key", validated("keyturn_secrets.db_key", catalogue.ENTRY, entry), services(given))


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_catalogue_is_legal(name: str) -> None:
    entry = validated(name, catalogue.ENTRY, shipped()[name])
    check_meaning(name, entry, services(dict.fromkeys(entry["services"], SERVICES["backend"])))


def test_no_entry_has_the_defaults_of_another() -> None:
    spec = {
        "of": {"type": "dict", "default": {"kind": "none"}, "options": {"kind": {"type": "str"}, "n": {"type": "int"}}}
    }
    before = copy.deepcopy(spec)
    validated("one", spec, {})["of"]["n"] = 3
    assert validated("another", spec, {}) == {"of": {"kind": "none", "n": None}}
    assert spec == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("title", ..., "missing required arguments: title"),
        ("source.generator", "dice", "must be one of: fernet, hex, password, token_urlsafe, got: dice"),
        ("value", "both", "value of value must be one of: per_host, shared, got: both"),
        ("consumers.0.format", "toml", "must be one of: dotenv, file, ini, json, yaml, got: toml"),
        (
            "migration.kind",
            "mongo",
            "must be one of: none, fernet_sqlite, fernet_postgresql, several, command, command_checked, got: mongo",
        ),
        ("migration.database", ..., "migration is fernet_sqlite|missing: database"),
        ("migration.columns", ..., "missing: columns"),
        ("migration.columns.0.key", ..., "missing required arguments: key"),
        (
            "probes.0.kind",
            "hope",
            "must be one of: command, fernet_rows, http, jwt, log, log_line, login, provider, rows, got: hope",
        ),
        ("typo", 1, "Unsupported parameters: typo"),
        (
            "downtime_budget_seconds",
            "soon",
            "downtime_budget_seconds.* is of type str and we were unable to convert to int",
        ),
        ("variables", [], "variables is empty"),
        ("consumers", [], "consumers is empty"),
        ("services", [], "services is empty"),
        ("services", ["nothing"], r"service nothing is not in keyturn_services of this host \(it has: backend\)"),
        ("source.generator", "password", "needs the generator fernet and exactly one variable"),
        ("variables", ["A", "B"], "needs the generator fernet and exactly one variable"),
        ("migration", {"kind": "none"}, "probe fernet_rows needs the migration fernet_sqlite"),
        ("migration.columns", [], "migration.columns is empty"),
        ("migration.columns.0.paths", [], "paths of plaid_items.access_token is empty: leave it out"),
        (
            "migration.columns.0.paths",
            ["a", "b..c"],
            "b..c in paths of plaid_items.access_token is no path: keys with dots",
        ),
        ("migration.columns.0.paths", [".a"], ".a in paths of plaid_items.access_token is no path"),
        ("migration.columns.0.plaintext", "access-[", "plaintext of plaid_items.access_token is no regular expression"),
        ("migration.columns.0.plaintext", "", "plaintext of plaid_items.access_token matches everything"),
        ("migration.columns.0.plaintext", ".*", "plaintext of plaid_items.access_token matches everything"),
    ],
)
def test_an_error_names_the_entry_and_what_is_legal(path: str, value: Any, message: str) -> None:
    with pytest.raises(KeyturnError, match=rf"^keyturn_secrets\.db_key: .*({message})"):
        check(with_change(path, value))


def supplied(secret: str, **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(shipped()[secret]) | changes


SUPPLIED: list[tuple[str, dict[str, Any], str]] = [
    ("plaid", {"provider": None}, "source supplied needs a provider"),
    ("plaid", {"value": "per_host"}, "source supplied needs a provider that proves the value, and value shared"),
    ("plaid", {"overlap": "none"}, "switched rolling only where old and new are valid at once"),
    ("plaid", {"variables": ["PLAID_SECRET", "B"]}, "names PLAID_CLIENT_ID, which is none of its variables"),
    ("hf_token", {"variables": ["HF_TOKEN", "B"]}, "variables must be, in this order, token of the provider"),
    ("alpaca", {"aliases": {"A": "B"}}, "aliases names B, which is none of its variables"),
    ("alpaca", {"services": ["backend"]}, "probe log_line names engine, which is none of its services"),
    ("alpaca", {"provider": {"kind": "alpaca", "url": "https://x"}}, "kind is alpaca but .* missing: account"),
    ("alpaca", {"provider": {"kind": "alpaca", "url": "x", "account": "paper"}}, "url must begin with http"),
    (
        "alpaca",
        {"provider": {"kind": "alpaca", "url": "https://u:p@x", "account": "paper"}},
        "url has a user or a password",
    ),
    ("alpaca", {"consumers": shipped()["alpaca"]["consumers"][1:]}, "the first consumer must be a file that is there"),
    ("jwt", {"retire": {"kind": "revoke", "steps": []}}, "retire revoke need a provider"),
    ("jwt", {"source": {"kind": "generated"}}, "kind is generated but .* missing: generator"),
    ("plaid", {"source": {"kind": "supplied"}}, "kind is supplied but .* missing: steps"),
]


@pytest.mark.parametrize(("secret", "changes", "message"), SUPPLIED)
def test_an_entry_of_a_supplied_secret_is_whole(secret: str, changes: dict[str, Any], message: str) -> None:
    given = dict.fromkeys(("backend", "engine"), SERVICES["backend"])
    with pytest.raises(KeyturnError, match=rf"^keyturn_secrets\.{secret}: .*{message}"):
        check_meaning(
            secret,
            validated(f"keyturn_secrets.{secret}", catalogue.ENTRY, supplied(secret, **changes)),
            services(given),
        )


@pytest.mark.parametrize("entry", [None, [], "db_key"])
def test_an_entry_that_is_no_mapping_is_named(entry: Any) -> None:
    with pytest.raises(KeyturnError, match=r"^keyturn_secrets\.db_key must be a mapping"):
        check(entry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manager": "cron"}, "must be one of: script, systemd, got: cron"),
        ({"start": None}, "missing: start"),
        ({"pidfile": "x"}, "Unsupported parameters: pidfile"),
        ({"health_url": None}, "give health_url, or health_line for a service without HTTP"),
        ({"health_line": "up"}, "give health_url, or health_line for a service without HTTP"),
        ({"health_url": None, "health_line": "up"}, "health_line needs pid_file and log_file with the manager script"),
        ({"health_url": "127.0.0.1/health"}, "health_url must begin with http:// or https://"),
        ({"health_url": "http://127.0.0.1:abc/health"}, "and a port behind it is from 1 to 65535"),
        ({"health_url": "http://127.0.0.1:99999/health"}, "and a port behind it is from 1 to 65535"),
        ({"health_url": "file:///etc/passwd"}, "health_url must begin with http:// or https://"),
        ({"health_url": "http://u:pa55word@127.0.0.1/health"}, "health_url has a user or a password in it"),
        ({"base_url": "http://pa55word@127.0.0.1"}, "base_url has a user or a password in it"),
        ({"base_url": "http://127.0.0.1/?token=pa55word"}, "base_url has a query in it"),
        ({"base_url": "127.0.0.1:8000"}, "base_url must begin with http:// or https://"),
        (
            {"health_url": None, "health_line": "up", "pid_file": "p", "log_file": "l", "proof_path": "/api"},
            "proof_path is asked by HTTP: give base_url",
        ),
        ({"health_timeout_seconds": "long"}, "health_timeout_seconds"),
        ({"manager": "systemd"}, "manager is systemd but all of the following are missing: unit"),
    ],
)
def test_an_error_of_a_service_names_it(change: dict[str, Any], message: str) -> None:
    spec = {name: value for name, value in (SERVICES["backend"] | change).items() if value is not None}
    with pytest.raises(KeyturnError, match=rf"^keyturn_services\.backend: .*{message}") as caught:
        check(shipped()["db_key"], {"backend": spec})
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://root:pa55word@bao:8200", "https://pa55word@bao", "bao:8200"])
def test_the_address_of_a_store_has_no_password(url: str) -> None:
    with pytest.raises(
        KeyturnError, match=r"^keyturn_store: url (has a user|must begin).*; docs/stores\.md says how a login comes"
    ) as caught:
        store({"kind": "openbao", "url": url})
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://user:pa55word@127.0.0.1:1/", "https://pa55word@127.0.0.1:1"])
def test_nothing_is_sent_to_an_address_with_a_password(url: str) -> None:
    with pytest.raises(KeyturnError, match=r"^an address has a user or a password in it") as caught:
        http.ask(url, 1)
    assert "pa55word" not in str(caught.value)


def test_a_probe_by_http_needs_a_service_with_a_url() -> None:
    spec = {"manager": "systemd", "unit": "engine", "health_line": "up"}
    with pytest.raises(
        KeyturnError, match=r"^keyturn_secrets\.jwt: the probe jwt asks by HTTP, and none of its services has a URL"
    ):
        check_meaning("jwt", validated("jwt", catalogue.ENTRY, shipped()["jwt"]), services({"backend": spec}))
    found = services({"backend": spec | {"base_url": "http://127.0.0.1:8000"}})
    check_meaning("jwt", validated("jwt", catalogue.ENTRY, shipped()["jwt"]), found)


@pytest.mark.parametrize(
    ("secret", "change", "message"),
    [
        ("db_key", {}, "whose rows are turned while the service is stopped"),
        ("hf_token", {}, "no probe would show which value it has"),
        ("plaid", {"proof_path": "/x"}, "only a refused token would show"),
        ("jwt", SCRIPT, "has no script that reloads it"),
    ],
)
def test_a_reload_is_for_what_a_probe_can_show(secret: str, change: dict[str, Any], message: str) -> None:
    entry = validated(secret, catalogue.ENTRY, shipped()[secret])
    spec = {"health_url": "http://127.0.0.1:1/", "reloads": [secret], **({"manager": "systemd", "unit": "b"} | change)}
    given = services(dict.fromkeys(entry["services"], spec))
    with pytest.raises(KeyturnError, match=rf"^keyturn_services\.\w+: reloads names {secret}, .*{message}"):
        check_meaning(secret, entry, given)


def test_a_reload_may_be_shown_by_what_fails_on_the_old_value() -> None:
    """By the application's own checks, or a path of its own; of all services of the secret, since one that is stopped answers nothing."""
    probes = [{"kind": "http"}, {"kind": "command", "checks": [{"command": ["./check"]}]}]
    given = shipped()["jwt"] | {"services": ["a", "b"]}
    spec = {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1:1/", "reloads": ["jwt"]}
    for probe, more in zip(probes, ({"proof_path": "/x"}, {}), strict=True):
        entry = validated("jwt", catalogue.ENTRY, given | {"probes": [probe]})
        check_meaning("jwt", entry, services({"a": spec | more, "b": SCRIPT | {"reload": "c"} | spec_of(spec, more)}))
        with pytest.raises(KeyturnError, match=r"^keyturn_services\.a: reloads names jwt, and b is stopped for it"):
            check_meaning("jwt", entry, services({"a": spec | more, "b": spec | {"reloads": []}}))
    with pytest.raises(KeyturnError, match="no probe would show which value it has"):
        check_meaning(
            "jwt", validated("jwt", catalogue.ENTRY, given | {"probes": [probes[0]]}), services({"a": spec, "b": spec})
        )


def spec_of(spec: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {name: spec[name] for name in ("health_url", "reloads")} | more


@pytest.mark.parametrize(("option", "value"), [("reload", "./reload"), ("reload_signal", "HUP")])
def test_a_way_to_reload_is_one_of_its_manager(option: str, value: str) -> None:
    spec = {"health_url": "http://127.0.0.1:1/", option: value}
    wrong = SCRIPT if option == "reload_signal" else {"manager": "systemd", "unit": "b"}
    entry = validated("jwt", catalogue.ENTRY, shipped()["jwt"])
    with pytest.raises(KeyturnError, match=rf"^keyturn_services\.backend: {option} is for the manager"):
        check_meaning("jwt", entry, services({"backend": wrong | spec}))


@pytest.mark.parametrize(
    ("named", "meant"), [("jtw", "is jwt meant"), ("x", "it has .*jwt"), ("db-key", "is db_key meant")]
)
def test_a_reload_for_a_secret_that_nobody_has_is_refused(named: str, meant: str) -> None:
    spec = {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1:1/", "reloads": ["jwt", named]}
    with pytest.raises(KeyturnError, match=rf"^keyturn_services\.b: reloads names {named}, .*: {meant}"):
        check_reloads(services({"b": spec}), shipped())


def test_a_host_without_services_is_told_so() -> None:
    with pytest.raises(KeyturnError, match=r"service backend is not in keyturn_services of this host \(it has: none\)"):
        check(shipped()["db_key"], {})


def test_a_secret_without_data_needs_no_migration() -> None:
    entry = with_change("migration", {"kind": "none"}) | {"probes": [{"kind": "http"}], "variables": ["A", "B"]}
    entry["source"]["generator"] = "token_urlsafe"
    check(entry)


@pytest.mark.parametrize("kind", sorted(generate.GENERATORS))
def test_a_generated_value_is_new_and_fits_one_line(kind: str) -> None:
    made = {generate.GENERATORS[kind]() for _ in range(50)}
    assert len(made) == 50
    assert all(len(value) >= 43 and set(value) <= set(URL_SAFE) for value in made)
