"""Each variable, and each option of the catalogue, that takes an address refuses a password in it, by its name and unshown."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from keyturn.base.errors import KeyturnError
from keyturn.inputs import catalogue, validation
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.variables import URL, VARIABLES, WHOLE_URL, problems
from keyturn.notices import notify
from support.lab import ROOT

PASSWORDS = [
    "http://user:pa55word@alerts:9093",
    "https://pa55word@alerts",
    "https://user:@alerts",
    "https://us%65r:pa55word%40@[::1]:9093",
]
QUERIES = ["https://alerts/?token=pa55word", "https://alerts/#pa55word"]
NONE = ["alerts:9093", "file:///etc/passwd", "http://", "http://[::1", "https://:8200"]
ADDRESSES = {name for name, kind in VARIABLES.items() if kind in (URL, WHOLE_URL)}
# where a server listens: addresses of another sort
LISTENING = {"monitoring_address", "monitoring_server_address"}
SPECS = {
    "secrets": catalogue.ENTRY,
    "services": catalogue.SERVICE,
    "store": catalogue.STORE,
    "notification_channels": notify.CHANNEL,
}


def options(place: str, spec: Mapping[str, Any]) -> Iterator[str]:
    for name, option in spec.items():
        yield f"{place}.{name}"
        yield from options(f"{place}.{name}", option.get("options", {}))


def described() -> Iterator[tuple[str, str]]:
    """Every option of a role that the inventory sets by its own name, with what is said of it."""
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in entry.get("options", {}).items():
                yield name, str(option.get("description", ""))


def takes_an_address(name: str, about: str = "") -> bool:
    """A file that holds one (``slack_url_file``), or the name of a place with one (``url_from``), is none."""
    if name.endswith(("_file", "_from")):
        return False
    words = name.rpartition(".")[2].split("_")
    return not {"url", "uri", "endpoint", "webhook"}.isdisjoint(words) or about.startswith(("Address", "A webhook"))


def test_every_variable_that_takes_an_address_is_of_that_kind() -> None:
    """A new one comes here by its name, or by what is said of it."""
    found = {name for name, about in described() if name.startswith("monitoring_") and takes_an_address(name, about)}
    assert found | set(filter(takes_an_address, VARIABLES)) == ADDRESSES


@pytest.mark.parametrize("name", sorted(ADDRESSES))
@pytest.mark.parametrize("url", [*PASSWORDS, *QUERIES, *NONE])
def test_a_variable_is_refused_and_not_said(name: str, url: str) -> None:
    said = list(problems({name: url}))
    assert bool(said) == (url not in QUERIES or VARIABLES[name] is URL)
    for one in said:
        assert one.startswith(
            f"{name} is other text, and must be an address that begins with http:// or https://, without a user"
        )
        assert "pa55word" not in one


def meaning(url: str = "https://plaid", **service: str) -> None:
    said = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["secrets"]["plaid"]
    entry = validation.validated("plaid", catalogue.ENTRY, said | {"provider": said["provider"] | {"url": url}})
    backend = {"manager": "systemd", "unit": "backend.service", "health_url": "http://127.0.0.1:8000"} | service
    check_meaning("plaid", entry, validation.services({"backend": backend}))


CALLS = ("set", "unset", "retire")


def told(call: str, url: str) -> None:
    """Check an issuer of which one request leads to ``url``."""
    answers = [{"verdict": "accepted", "status": [200]}]
    asked = {"method": "POST", "url": "https://issuer", "body": '{"password": "{new_password}"}', "answers": answers}
    requests = {name: asked | ({"url": url} if name == call else {}) for name in CALLS}
    provider = {
        "kind": "http",
        "fields": ["password"],
        "url": "https://issuer",
        "body": '{"password": "{password}"}',
        "method": "POST",
    }
    provider["answers"] = [
        {"verdict": verdict, "status": [code]} for verdict, code in (("accepted", 200), ("rejected", 401))
    ]
    issuer = {"kind": "http", "strategy": "overlap", "requests": requests}
    said = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["optional_secrets"][
        "db_password"
    ]
    said |= {"provider": provider, "issuer": issuer, "overlap": "both", "switch": "rolling"}
    backend = {"manager": "systemd", "unit": "backend.service", "health_url": "http://127.0.0.1:8000"}
    entry = validation.validated("db_password", catalogue.ENTRY, said)
    check_meaning("db_password", entry, validation.services({"backend": backend}))


REFUSED: dict[str, tuple[str, Callable[[str], object]]] = {
    "secrets.provider.url": ("keyturn_secrets.plaid: the provider's url", meaning),
    "services.health_url": ("keyturn_services.backend: health_url", lambda url: meaning(health_url=url)),
    "services.base_url": ("keyturn_services.backend: base_url", lambda url: meaning(base_url=url)),
    "store.url": ("keyturn_store: url", lambda url: validation.store({"kind": "openbao", "url": url})),
    **{
        f"secrets.issuer.requests.{call}.url": (
            f"keyturn_secrets.db_password: requests.{call} of the issuer: its url",
            functools.partial(told, call),
        )
        for call in CALLS
    },
}


# the name of a variable, in a file of the application's, that has one; also where another program turns such rows
NAMES_A_VARIABLE = {"secrets.migration.login.url", "secrets.migration.rows.login.url"}


def test_every_option_that_takes_an_address_is_tried() -> None:
    found = {one for place, spec in SPECS.items() for one in options(place, spec) if takes_an_address(one)}
    assert found == {*REFUSED, *NAMES_A_VARIABLE}


@pytest.mark.parametrize("option", sorted(REFUSED))
@pytest.mark.parametrize("url", [*PASSWORDS, *NONE])
def test_an_option_is_refused_and_not_said(option: str, url: str) -> None:
    place, call = REFUSED[option]
    call("http://127.0.0.1:8200")
    with pytest.raises(KeyturnError) as caught:
        call(url)
    assert str(caught.value).startswith(place)
    assert "pa55word" not in str(caught.value)
