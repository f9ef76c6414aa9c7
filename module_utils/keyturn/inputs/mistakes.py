"""All that is wrong with an application's folder, at once and without a host: each by file and key, with the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ..base.errors import KeyturnError
from ..base.log_lines import pattern
from . import catalogue, logins
from .application import UNRESOLVED, Application
from .catalogue import Entry
from .meaning import check_meaning
from .validation import services, validated
from .variables import MINE, TOLD, VARIABLES

# what is not done without a file that is not there
WITHOUT = {
    "incident.yml": "respond_to_incident.yml has no table to decide by",
    "monitoring.yml": "nothing is counted in the application's log",
}
# a service as it is where nothing is known of it: that an inventory describes it is asked where there is one
SERVICE = {"manager": "systemd", "unit": "any", "health_url": "http://127.0.0.1/"}


def mistakes(application: Application, secrets: Mapping[str, Entry]) -> list[str]:
    """Return what is wrong; ``secrets`` are the entries with their templates filled in."""
    found = list(application.problems())
    if found:  # what has not its shape is asked nothing else
        return found
    checks = (_secrets(secrets), _lines(application), *(check(application, secrets) for check in CHECKS))
    return list(dict.fromkeys(one for check in checks for one in check))


def missing(application: Application) -> list[str]:
    """Return what is not there, and what is not done without it."""
    return [
        f"{name} is not there: {harm}" for name, harm in WITHOUT.items() if not (application.folder / name).exists()
    ]


def _secrets(secrets: Mapping[str, Entry]) -> Iterator[str]:
    if not secrets:
        yield "catalogue.yml: secrets is empty: an application has at least one"
    for name, entry in secrets.items():
        if UNRESOLVED in entry:
            yield f"catalogue.yml: secrets.{name}: {entry[UNRESOLVED]}: give it a default, or name the inventory that sets it"
            continue
        try:
            told = validated(f"catalogue.yml: secrets.{name}", catalogue.ENTRY, entry)
            check_meaning(name, told, services(dict.fromkeys(told["services"], SERVICE)))
        except KeyturnError as error:
            yield str(error).replace(f"keyturn_secrets.{name}", f"catalogue.yml: secrets.{name}")


def _logins(application: Application, secrets: Mapping[str, Entry]) -> Iterator[str]:
    told = {name: entry for name, entry in secrets.items() if UNRESOLVED not in entry}
    for name in told:
        if others := logins.same(name, told):
            yield f"catalogue.yml: secrets: {logins.words(name, others)}"


def _lines(application: Application) -> Iterator[str]:
    for part in ("log_lines", "error_lines"):
        for name, line in application.part("catalogue.yml", part).items():
            if bool(line.get("level")) != bool(line.get("logger")):
                yield f"catalogue.yml: {part}.{name}: level and logger go together"
            else:
                yield from _expression(f"catalogue.yml: {part}.{name}.message", pattern(line))


def _policy(application: Application, secrets: Mapping[str, Entry]) -> Iterator[str]:
    policy = application.file("policy.yml")
    promised = secrets.keys() - application.offered.keys()  # an optional secret has its own age
    for part in ("schedule", "triggers", "procedures"):
        yield from _unknown(f"policy.yml: {part}", policy.get(part, ()), promised, "secrets of catalogue.yml")
    identities = [point["id"] for point in policy.get("checklist", ())]
    yield from (f"policy.yml: checklist has the id {one} twice" for one in _twice(identities))


def _incident(application: Application, secrets: Mapping[str, Entry]) -> Iterator[str]:
    told = application.file("incident.yml")
    if not told:
        return
    known = dict.fromkeys((*secrets, *application.offered))
    for name in known:
        if name not in told["order"]:
            yield f"incident.yml: no order for secret {name}: say what others can do with it"
    yield from _unknown("incident.yml: order", told["order"], known, "catalogue.yml")
    for leaked, row in told["table"].items():
        yield from _unknown(
            f"incident.yml: table.{leaked}", (*row["affected"], *row["precaution"]), known, "catalogue.yml"
        )
        if row["tokens"] != "never" and "replacement" not in told:
            yield f"incident.yml: table.{leaked} has tokens replaced, and there is no replacement: say whose, or never"
    yield from _unknown("incident.yml: replacement", told.get("replacement", {}).values(), secrets, "catalogue.yml")
    actions = {
        action["id"] for tier in application.part("policy.yml", "incident").values() for action in tier["actions"]
    }
    for part in ("ticks", "material"):
        yield from _unknown(f"incident.yml: {part}", told.get(part, ()), actions, "incident of policy.yml")


def _monitoring(application: Application, secrets: Mapping[str, Entry]) -> Iterator[str]:
    told, lines = application.file("monitoring.yml"), application.part("catalogue.yml", "log_lines")
    counts, access = told.get("counts", []), told.get("access", {"line": "", "counts": []})
    counters = {count["counter"] for count in (*counts, *access["counts"])}
    counters |= {name for count in counts for name in count.get("ends", ())}
    yield from _unknown(
        "monitoring.yml: counts", [count["line"] for count in counts], lines, "log_lines of catalogue.yml"
    )
    for name, metric in told.get("metrics", {}).items():
        where = f"monitoring.yml: metrics.{name}"
        expected = [metric["expected"]] if "expected" in metric else []
        yield from _unknown(where, (*metric["counters"], *expected), counters, "counts")
        yield from _unknown(where, metric.get("lines", ()), lines, "log_lines of catalogue.yml")
        for line in metric.get("lines", ()):
            if line in lines and not lines[line].get("level"):
                yield f"catalogue.yml: log_lines.{line} has no level and logger, by which {where} would count it"
    yield from _unknown("monitoring.yml: spikes", told.get("spikes", {}).values(), counters, "counts")
    for number, count in enumerate(counts):
        for name, end in count.get("ends", {}).items():
            yield from _expression(f"monitoring.yml: counts[{number}].ends.{name}", end)
    yield from _expression(
        "monitoring.yml: access.line", access["line"], ("address", "path", "status") if access["line"] else ()
    )
    for number, count in enumerate(access["counts"]):
        for key in ("path", "status"):
            yield from _expression(f"monitoring.yml: access.counts[{number}].{key}", count.get(key, ""))


def _variables(application: Application, secrets: Mapping[str, Entry]) -> Iterator[str]:
    for name, told in application.file("variables.yml").items():
        if not re.fullmatch(rf"{MINE}[a-z0-9_]+", name) or name in VARIABLES:
            yield f"variables.yml: {name} must begin with {MINE}, and be none of Keyturn's own variables"
        if told == [] or (isinstance(told, str) and told not in TOLD):
            yield f"variables.yml: {name} must be a list of choices, or one of {', '.join(TOLD)}"


CHECKS = (_logins, _policy, _incident, _monitoring, _variables)


def _unknown(where: str, names: Iterable[str], known: Iterable[str], place: str) -> Iterator[str]:
    for name in dict.fromkeys(names):
        if name not in set(known):
            yield f"{where} names {name}, which {place} does not have"


def _expression(where: str, text: str, groups: Iterable[str] = ()) -> Iterator[str]:
    try:
        known = re.compile(text).groupindex
    except re.error as error:
        yield f"{where} is no regular expression: {error}"
        return
    yield from (f"{where} has no group (?P<{name}>...)" for name in groups if name not in known)


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
