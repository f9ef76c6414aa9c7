"""A look at an application of which nothing is known yet: its secrets, its keys, what they open, and who has its files open.

It only reads, needs no state of Keyturn's on the host, and returns names, counts and fingerprints: of a value a fingerprint, where the
value opens something and so is a key, and otherwise nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypedDict

from ..base import procfs, shown
from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprint
from ..ground import survey
from ..ground.consumers import settings
from ..ground.consumers.settings import Setting
from ..ground.rows import survey as rows
from ..ground.rows.key_census import Place
from ..ground.survey import Secret
from . import readers

MOST_KEYS, MOST_SECRETS, MOST_PLACES, MOST_SERVICES, MOST_DEEDS = 400, 200, 500, 50, 10
MOST_DATABASES, MOST_FINDINGS, MOST_SECONDS = 200, 50, 3600
# a shorter one may be a word, which names have too
SHORTEST_HIDDEN, HIDDEN = 16, "(a value)"
LISTED = re.compile("[;,]")


class Secrets(TypedDict):
    """What looks like a secret. ``number`` is its place in a list of keys, from 1, or 0; ``rule`` how it becomes a key of rows."""

    name: str
    place: str
    format: str
    section: str
    key: str
    inside: str
    number: int
    rule: str
    mark: str


class Columns(TypedDict):
    """A column with tokens, or a place in its JSON texts. ``under`` has how many each key opens, by its number in ``keys``.

    ``database`` is the file, of a server the one in which ``login`` names the variables of its ``url``, or of each part.
    """

    store: str
    database: str
    login: dict[str, str]
    table: str
    key: list[str]
    column: str
    path: str
    flag: str
    objects: bool
    rows: int
    empty: int
    plain: int
    under: dict[str, int]
    unopened: int


class Services(TypedDict):
    """Who works with the application's files: a unit, or a process; the TCP ports that it listens on."""

    name: str
    unit: bool
    user: int
    does: list[str]
    ports: list[int]


class Survey(TypedDict):
    """What a host answers."""

    changed: bool
    keys: list[Secrets]
    secrets: list[Secrets]
    columns: list[Columns]
    databases: list[str]
    services: list[Services]
    findings: list[str]
    text: str


class _Data(NamedTuple):
    """Where rows are: the kind of their store, the file, and of a server the variables with its login in that file."""

    store: str
    path: Path
    login: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        return f"the database of {', '.join(self.login.values())} in {self.path}" if self.login else str(self.path)


class _Key(NamedTuple):
    """A value that may be a key: the key, and what it is made of."""

    key: str
    value: str
    secret: Secret
    number: int
    rule: str


def look(folder: Path, user: str | None, more: Sequence[Path]) -> Survey:
    """Look at the application in ``folder`` and at ``more`` files of it, as their owners. KeyturnError where there is no folder."""
    if not folder.is_dir():
        raise KeyturnError(f"{folder} is no folder: correct keyturn_app_root")
    found = survey.look(folder, user, more)
    findings = list(found.findings)
    services, environments = _services(folder, list(found.databases), {one.place for one in found.secrets})
    for path in environments:
        survey.environment(path, user, found)
    secrets = list(found.secrets)
    secrets += _given(services, survey.known(secrets))
    keys = _keys(secrets)
    databases = [_Data(kind, path) for path, kind in found.databases.items()]
    for path, login in found.servers.values():
        data = _Data(rows.POSTGRESQL, path, login.names)
        if login.format == "dotenv":
            databases.append(data)
        else:
            findings.append(
                f"{shown.name(str(data))}: a login is read from a file of an environment, and this is {login.format}: "
                "give the login to one, and name it by keyturn_files"
            )
    places = list(_places(folder, databases, {str(number): one.key for number, one in enumerate(keys)}, findings))
    values = {*survey.known(secrets), *(one.value for one in keys)}
    return _hidden(_answer(databases, secrets, keys, places, services, findings), values)


def _hidden(answer: Survey, values: Collection[str]) -> Survey:
    """Return the answer without values: somebody may have given a file or a table the name of one."""
    text = json.dumps(answer)
    for value in values:
        if len(value) >= SHORTEST_HIDDEN:
            text = text.replace(json.dumps(value)[1:-1], HIDDEN)
    found: Survey = json.loads(text)
    return found


def _places(
    folder: Path, databases: Sequence[_Data], keys: Mapping[str, str], findings: list[str]
) -> Iterator[tuple[_Data, Place]]:
    end = time.monotonic() + MOST_SECONDS
    for number, data in enumerate(databases):
        if time.monotonic() > end:
            findings.append(
                f"of {len(databases)} databases {number} were looked at within {MOST_SECONDS} s: name fewer"
            )
            break
        try:
            if data.login:
                found, unseen = rows.places_of_server(folder, data.path, data.login, keys)
            else:
                found, unseen = rows.places(data.path, keys), []
        except KeyturnError as error:
            findings.append(str(error) if str(data.path) in str(error) else f"{shown.name(str(data))}: {error}")
            continue
        if unseen:
            findings.append(f"{data}: the login may not read all rows of {', '.join(unseen[:MOST_DEEDS])}")
        yield from ((data, place) for place in found)


def _answer(
    databases: Sequence[_Data],
    secrets: Sequence[Secret],
    keys: Sequence[_Key],
    places: Sequence[tuple[_Data, Place]],
    services: Mapping[int, Services],
    findings: list[str],
) -> Survey:
    """Put together what leaves the host. Of the keys those that open something; the others are only what looks like a secret."""
    opening = sorted({int(name) for _, place in places for name in place.under if name})
    by_old = {str(old): str(new) for new, old in enumerate(opening)}
    told = {keys[number].secret for number in opening}
    found = list({one["name"]: one for one in services.values()}.values())
    parts = (
        ("secrets", secrets, MOST_SECRETS),
        ("columns", places, MOST_PLACES),
        ("databases", databases, MOST_DATABASES),
    )
    for kind, given, most in parts:
        if len(given) > most:
            findings.append(f"of {len(given)} {kind} the first {most} are told")
    opened = [_told(keys[number].secret, keys[number]) for number in opening]
    columns = [_column(data, place, by_old) for data, place in places][:MOST_PLACES]
    names = [str(data) for data in databases]
    return {
        "changed": False,
        "keys": opened,
        "text": "\n".join(shown.name(line) for line in _lines(opened, columns, names, findings)),
        "secrets": [_told(one) for one in secrets if one not in told][:MOST_SECRETS],
        "columns": columns,
        "databases": names[:MOST_DATABASES],
        "services": found[:MOST_SERVICES],
        "findings": findings[-MOST_FINDINGS:],
    }


def _lines(
    keys: Sequence[Secrets], columns: Sequence[Columns], databases: Sequence[str], findings: Sequence[str]
) -> Iterator[str]:
    """Say which key opens what, for a person."""
    if not columns:
        yield f"no tokens were found in {len(databases)} databases: {', '.join(databases) or 'none'}"
    for database, its in groupby(columns, where):
        yield database
        for one in its:
            at = f" at {one['path']}" if one["path"] else ""
            yield f"  {one['table']}.{one['column']}{at}: {one['rows']} rows, {one['empty']} empty, {one['plain']} without a token"
            for number, count in one["under"].items():
                yield f"    {count} under {named(keys[int(number)])}"
            if one["unopened"]:
                yield f"    {one['unopened']} under no key that was found"
    yield from (f"not looked at: {finding}" for finding in findings)


def where(column: Columns) -> str:
    """Return in words where the rows of a column are."""
    return str(_Data(column["store"], Path(column["database"]), column["login"]))


def named(key: Secrets) -> str:
    """Return a key in words."""
    part = f", {key['number']} of its list" if key["number"] else ""
    rule = f", by the rule {key['rule']}" if key["rule"] else ""
    return f"{key['name']} of {key['place']}{part}{rule} ({key['mark']})"


def _told(secret: Secret, key: _Key | None = None) -> Secrets:
    one = secret.setting
    return {
        "name": one.variable,
        "place": secret.place,
        "format": one.format,
        "section": one.section,
        "key": one.key,
        "inside": one.inside,
        "number": key.number if key else 0,
        "rule": key.rule if key else "",
        "mark": fingerprint(key.value) if key else "",
    }


def _column(data: _Data, place: Place, by_old: Mapping[str, str]) -> Columns:
    opened = {by_old[name]: count for name, count in place.under.items() if name}
    return {
        "store": data.store,
        "database": str(data.path),
        "login": dict(data.login),
        "table": place.table,
        "key": list(place.key),
        "column": place.column,
        "path": place.path,
        "flag": place.flag,
        "objects": place.objects and bool(opened),
        "rows": place.rows,
        "empty": place.empty,
        "plain": place.plain,
        "under": opened,
        "unopened": place.under[""],
    }


def _keys(secrets: Sequence[Secret]) -> list[_Key]:
    """Return what the values may be as keys of rows: as they stand, each of a list, and by the rules that need nothing else."""
    found: dict[str, _Key] = {}
    for secret in secrets:
        value = secret.setting.value
        parts = [part.strip() for part in LISTED.split(value)]
        listed = [(number, part) for number, part in enumerate(parts, 1) if part] if len(parts) > 1 else []
        for number, part in [(0, value), *listed]:
            for key, rule in rows.keys(part):
                found.setdefault(key, _Key(key, part, secret, number, rule))
    return list(found.values())[:MOST_KEYS]


def _services(root: Path, databases: Sequence[Path], places: set[str]) -> tuple[dict[int, Services], list[Path]]:
    """Return by process who works with the files of the application, and what else systemd gives these to read."""
    units = readers.environment_files() or {}
    does: dict[int, list[str]] = {}
    # each look goes through all processes, so whether anybody has one of them open is asked first
    held = procfs.holders(file for path in databases for file in rows.files(path))
    for path in databases if held else ():
        for pid in procfs.holders(rows.files(path)):
            does.setdefault(pid, []).append(f"has {path} open")
    for group, files in units.items():
        for place in places.intersection(files):
            for pid in procfs.in_cgroup(group):
                does.setdefault(pid, []).append(f"reads {place} by EnvironmentFile=")
    mine = set(readers.own_line())
    for pid in (pid for pid in procfs.processes() if pid not in mine and readers.runs_in(pid, root)):
        # whoever else stands in the folder says nothing about the application
        if procfs.user_of(pid) in (0, root.stat().st_uid):
            does.setdefault(pid, []).append(f"runs in {root}")
    found: dict[str, Services] = {}
    by_process: dict[int, Services] = {}
    others: set[str] = set()
    for pid, what in sorted(does.items()):
        unit = readers.unit_of(pid)
        name = unit or f"{procfs.command_name(pid)} (process {pid})"
        new: Services = {"name": name, "unit": bool(unit), "user": procfs.user_of(pid) or 0, "does": [], "ports": []}
        one = by_process[pid] = found.setdefault(name, new)
        one["does"] = list(dict.fromkeys([*one["does"], *what]))[:MOST_DEEDS]
        one["ports"] = sorted({*one["ports"], *procfs.ports(pid)})[:MOST_DEEDS]
        others |= {place for group in procfs.cgroups(pid) for place in units.get(group, [])}
    return by_process, [Path(place) for place in sorted(others - places)]


def _given(services: Mapping[int, Services], known: Collection[str]) -> list[Secret]:
    """Return what looks like a secret in the environment of the services and in no file."""
    found: dict[str, Secret] = {}
    for pid, service in services.items():
        lines = "\n".join(
            f"{name}={value}" for name, value in procfs.all_given(pid).items() if "\n" not in value and "'" not in value
        )
        with contextlib.suppress(KeyturnError):  # what would take too long to read
            for one in settings.secrets(Path(".env"), lines.encode(errors="replace")):
                if one.value not in known and one.key not in found:
                    place = f"the environment of {service['name']}"
                    found[one.key] = Secret(place, Setting("environment", "", one.key, one.value))
    return list(found.values())
