"""What no argument spec can say of a secret and of the services that hold it: only the controller asks this."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from importlib import import_module

from .. import issuers, providers
from ..base import http
from ..base.errors import KeyturnError
from ..ground import rows
from .catalogue import Entry, ServiceSpec


def check_reloads(services: Mapping[str, ServiceSpec], secrets: Collection[str]) -> None:
    """Raise KeyturnError for a secret in ``reloads`` of a service that the catalogue does not have."""
    for name, service in services.items():
        for secret in service["reloads"]:
            if secret not in secrets:
                nearest = get_close_matches(secret, secrets, n=1)
                meant = f"is {nearest[0]} meant?" if nearest else f"it has {', '.join(sorted(secrets))}"
                raise KeyturnError(
                    f"keyturn_services.{name}: reloads names {secret}, which keyturn_secrets does not have: {meant}"
                )


def check_meaning(secret: str, entry: Entry, services: Mapping[str, ServiceSpec]) -> None:
    """Raise KeyturnError for what an argument spec cannot say. ``entry`` has passed ``ENTRY``."""
    where = f"keyturn_secrets.{secret}"
    for name in ("variables", "consumers", "services"):
        if not entry[name]:
            raise KeyturnError(f"{where}: {name} is empty: a rotation needs at least one")
    for name in entry["services"]:
        if name not in services:
            known = ", ".join(sorted(services)) or "none"
            raise KeyturnError(f"{where}: service {name} is not in keyturn_services of this host (it has: {known})")
    if (entry["value"], entry["switch"]) == ("per_host", "together"):
        raise KeyturnError(f"{where}: value per_host goes with switch rolling")
    if (entry["value"], entry["switch"]) == ("shared", "rolling") and entry["overlap"] not in ("both", "key_list"):
        raise KeyturnError(
            f"{where}: a shared value is switched rolling only where old and new are valid at once (overlap: both, or key_list)"
        )
    if entry["overlap"] == "key_list":
        _check_key_list(where, entry)
    _check_consumers(where, entry)
    _check_supplied(where, entry)
    _check_issuer(where, entry)
    _check_names(where, entry)
    _check_rows(where, entry)
    for name in entry["services"]:
        _check_health(name, services[name])
        if secret in services[name]["reloads"]:
            _check_reload(f"keyturn_services.{name}: reloads names {secret}", secret, entry, services, services[name])
    asked = [probe["kind"] for probe in entry["probes"] if probe["kind"] in ("jwt", "login")]
    if asked and not any(services[name][url] for name in entry["services"] for url in ("base_url", "health_url")):
        raise KeyturnError(
            f"{where}: the probe {asked[0]} asks by HTTP, and none of its services has a URL: give one base_url or health_url"
        )


def _check_key_list(where: str, entry: Entry) -> None:
    """A list of keys is for data that several processes read while it is turned; its separator must not occur in a key."""
    if entry["migration"]["kind"] == "none" or entry["switch"] != "rolling":
        raise KeyturnError(
            f"{where}: overlap key_list goes with a migration, whose rows it turns, and with switch rolling"
        )
    given = entry["key_list"]
    if not given["separator"] or re.search(r"[\w+/=-]|\n", given["separator"]):
        raise KeyturnError(
            f"{where}: key_list.separator must be characters that are in no key, such as , or ; and it is {given['separator']!r}"
        )
    if given["grace_seconds"] < 0:
        raise KeyturnError(f"{where}: key_list.grace_seconds is {given['grace_seconds']}: give a number from 0 on")


def _check_rows(where: str, entry: Entry) -> None:
    kind = entry["migration"]["kind"]
    switch = "rolling" if entry["overlap"] == "key_list" else "together"
    if rows.shared(entry["migration"]) and (entry["value"], entry["switch"]) != ("shared", switch):
        raise KeyturnError(
            f"{where}: the rows of the migration {kind} are one for all hosts, and so is the value that opens them: value shared, switch "
            "together (rolling with overlap key_list)"
        )
    if kind in rows.KINDS:
        import_module(f"{rows.__name__}.{kind}_meaning").check(where, entry)
    mine = rows.KINDS[kind].probe if kind in rows.KINDS else ""
    for probe in entry["probes"]:
        if stores := [name for name, store in rows.KINDS.items() if store.probe == probe["kind"] != mine]:
            raise KeyturnError(f"{where}: probe {probe['kind']} needs the migration {' or '.join(stores)}")


def _check_reload(
    where: str, secret: str, entry: Entry, services: Mapping[str, ServiceSpec], service: ServiceSpec
) -> None:
    """Refuse a reload after which nothing would show which value the service has: its process is the one from before."""
    if service["manager"] == "script" and not service["reload"]:
        raise KeyturnError(f"{where}, and has no script that reloads it: name one (`reload`), or take it out")
    if entry["migration"]["kind"] != "none":
        raise KeyturnError(f"{where}, whose rows are turned while the service is stopped: take it out")
    kinds = {probe["kind"] for probe in entry["probes"]}
    if "jwt" in kinds and (service["base_url"] or service["health_url"]):
        return  # a token of the old value is refused
    if not ("command" in kinds or ("http" in kinds and service["proof_path"])):
        raise KeyturnError(
            f"{where}, and no probe would show which value it has: give it a probe that fails on the old one (jwt, command, or http with "
            "proof_path), or take it out"
        )
    if entry["overlap"] == "both":
        raise KeyturnError(
            f"{where}, whose old value goes on to work elsewhere, so that only a refused token would show that the service has forgotten "
            "it (a probe jwt, asked by HTTP): take it out"
        )
    if stopped := [name for name in entry["services"] if secret not in services[name]["reloads"]]:
        raise KeyturnError(
            f"{where}, and {', '.join(stopped)} is stopped for it, so a probe may fail by the old value or by the stop; let all of its "
            "services reload it, or none"
        )


def _check_health(name: str, service: ServiceSpec) -> None:
    url, line = service["health_url"], service["health_line"]
    if (url is None) == (line is None):
        raise KeyturnError(f"keyturn_services.{name}: give health_url, or health_line for a service without HTTP")
    for option in ("health_url", "base_url"):
        if service[option] is not None and (fault := http.fault(service[option], whole=option == "health_url")):
            raise KeyturnError(f"keyturn_services.{name}: {option} {fault}")
    if service["proof_path"] and url is None and service["base_url"] is None:
        raise KeyturnError(f"keyturn_services.{name}: proof_path is asked by HTTP: give base_url")
    for option, manager in (("reload", "script"), ("reload_signal", "systemd")):
        if service[option] and service["manager"] != manager:
            raise KeyturnError(f"keyturn_services.{name}: {option} is for the manager {manager}")
    if line is not None and service["manager"] == "script" and not (service["pid_file"] and service["log_file"]):
        raise KeyturnError(f"keyturn_services.{name}: health_line needs pid_file and log_file with the manager script")


def _check_consumers(where: str, entry: Entry) -> None:
    """The first file is what the current values are read from, and an option that a format does not take is none."""
    first, names = entry["consumers"][0], set(entry["variables"])
    if first["optional"] or first["format"] == "json" or (first["keys"] is not None and set(first["keys"]) != names):
        raise KeyturnError(f"{where}: the first consumer must be a file that is there and holds every value")
    for consumer in entry["consumers"]:
        if consumer["format"] == "file" and (len(names) > 1 or consumer["keys"] is not None):
            raise KeyturnError(
                f"{where}: {consumer['path']} holds one value alone: the format file is for a secret of one variable"
            )
        if consumer["inside"] and consumer["format"] == "json" and consumer["form"] != "kept":
            raise KeyturnError(
                f"{where}: {consumer['path']} has the value inside a URL: such a key has the form kept and no other"
            )
        if consumer["section"] is not None and consumer["format"] != "ini":
            raise KeyturnError(f"{where}: {consumer['path']} has no section: only the format ini has")
        if consumer["inside"] and consumer["format"] == "dotenv" and consumer["keys"] is None and entry["aliases"]:
            raise KeyturnError(f"{where}: {consumer['path']} has the value inside a URL: say by keys in which variable")


def _check_supplied(where: str, entry: Entry) -> None:
    provider = entry["provider"]
    if entry["source"]["kind"] == "supplied" and (provider is None or entry["value"] != "shared"):
        raise KeyturnError(f"{where}: source supplied needs a provider that proves the value, and value shared")
    if role := entry["source"]["static_role"]:
        _check_static_role(where, entry, role)
    needs = [probe["kind"] for probe in entry["probes"] if probe["kind"] in ("provider", "log_line")]
    if provider is None and (needs or entry["guard"]["kind"] != "none" or entry["retire"]["kind"] != "none"):
        raise KeyturnError(f"{where}: the probes provider and log_line, a guard and retire revoke need a provider")
    if provider is None:
        return
    fields = providers.fields(provider)
    if len(entry["variables"]) != len(fields):
        raise KeyturnError(f"{where}: variables must be, in this order, {' and '.join(fields)} of the provider")
    if fault := providers.PROVIDERS[provider["kind"]].fault(provider):
        raise KeyturnError(f"{where}: {fault}")


def _check_static_role(where: str, entry: Entry, role: str) -> None:
    """The store changes a static role's password, and the old one is dead then."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", role) or {".", ".."} & set(role.split("/")):
        raise KeyturnError(
            f"{where}: source.static_role is {role!r}, and must be MOUNT/NAME of the store's secrets engine"
        )
    fits = entry["source"]["kind"] == "supplied" and entry["overlap"] == "none" and entry["issuer"] is None
    if not fits or providers.fields(entry["provider"])[-1:] != ("password",):
        raise KeyturnError(
            f"{where}: source.static_role goes with source supplied, overlap none, a provider that is asked with a password, and no issuer"
        )


def _check_issuer(where: str, entry: Entry) -> None:
    """Refuse what an issuer could not be told, or could not be asked about afterwards."""
    issuer = entry["issuer"]
    if issuer is None:
        return
    if entry["provider"] is None or not any(probe["kind"] == "provider" for probe in entry["probes"]):
        raise KeyturnError(
            f"{where}: an issuer needs a provider, which is asked about the value, and the probe provider"
        )
    if entry["source"]["kind"] != "generated" or entry["value"] != "shared" or entry["migration"]["kind"] != "none":
        raise KeyturnError(
            f"{where}: an issuer is told a value that is generated and shared, and that no rows depend on"
        )
    lives = issuers.old_lives(issuer)
    if (entry["overlap"] == "both") != lives or entry["overlap"] == "none_needed":
        wanted = "both" if lives else "none"
        raise KeyturnError(f"{where}: with the strategy {issuer['strategy']} of its issuer, overlap is {wanted}")
    if issuer["strategy"] == "alternating" and entry["variables"][0] not in entry["source"]["may_stay"]:
        raise KeyturnError(
            f"{where}: {entry['variables'][0]} is one of two names in every environment, and no secret: name it in source.may_stay"
        )
    if fault := issuers.fault(issuer, entry["provider"], entry["variables"]):
        raise KeyturnError(f"{where}: {fault}")


def _check_names(where: str, entry: Entry) -> None:
    """Refuse names in the entry that stand for nothing, and values that stand nowhere."""
    named = {
        "aliases": entry["aliases"].values(),
        "source.shapes": entry["source"]["shapes"],
        "source.may_stay": entry["source"]["may_stay"],
        "consumers.keys": [name for consumer in entry["consumers"] for name in consumer["keys"] or {}],
    }
    for place, names in named.items():
        unknown = sorted(set(names) - set(entry["variables"]))
        if unknown:
            raise KeyturnError(f"{where}: {place} names {', '.join(unknown)}, which is none of its variables")
    for consumer in entry["consumers"]:
        missing = sorted(set(entry["variables"]) - set(consumer["keys"] or ()))
        if consumer["format"] in ("ini", "json", "yaml") and missing:
            raise KeyturnError(
                f"{where}: keys of {consumer['path']} leave out {', '.join(missing)}: say where each value stands"
            )
        if "NAME" not in consumer["reference"]:
            raise KeyturnError(
                f"{where}: the reference of {consumer['path']} needs NAME where the variable's name stands"
            )
    for probe in entry["probes"]:
        if probe["kind"] == "log_line" and probe["service"] not in entry["services"]:
            raise KeyturnError(f"{where}: probe log_line names {probe['service']}, which is none of its services")
