"""A first folder of data for an application, of what hosts were seen to have: what was found, and what a person has to answer.

Names come from hosts. Each is written as a text in quotes in which no brace begins a template: entries of a catalogue are templates,
which run on the controller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path, PurePath
from typing import NamedTuple

from ..ground.rows import GENERATORS, KINDS
from ..host.survey import Columns, Secrets, Services, Survey, where

OPEN = "# OPEN: "
BRACES = re.compile(r"\{[{%#]")
# places in a text that no catalogue can name
UNNAMED = re.compile(r"\(")


class Draft(NamedTuple):
    """The texts by the names of their files, and what is open."""

    files: dict[str, str]
    questions: list[str]


class _Found(NamedTuple):
    """A key with the columns that it opens, and whether all hosts hold the same value."""

    secret: str
    key: Secrets
    listed: bool
    shared: bool
    columns: list[Columns]


def draft(name: str, root: Path, hosts: Mapping[str, Survey], today: date) -> Draft:
    """Return the files of the folder ``name`` for the application in ``root``, and for the inventory."""
    found = list(_keys(hosts))
    services = _services(hosts)
    files = {
        "catalogue.yml": "\n".join(_catalogue(name, root, found, services, hosts)),
        "policy.yml": "\n".join(_policy(found, today)),
        "incident.yml": "\n".join(_incident(found)),
        "group_vars.yml": "\n".join(_group_vars(root, services)),
    }
    questions = [
        f"{file}, line {number}: {line.partition(OPEN)[2]}"
        for file, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if OPEN in line
    ]
    return Draft({file: f"{text}\n" for file, text in files.items()}, questions)


def _keys(hosts: Mapping[str, Survey]) -> Iterator[_Found]:
    """Yield the keys that open something, each once for all hosts: those of one list of keys are one secret."""
    marks: dict[tuple[str, str], list[set[str]]] = {}
    first: dict[tuple[str, str], Secrets] = {}
    columns: dict[tuple[str, str], dict[tuple[str, ...], Columns]] = {}
    for survey in hosts.values():
        held: dict[tuple[str, str], set[str]] = {}
        for number, key in enumerate(survey["keys"]):
            at = (key["place"], key["name"])
            first.setdefault(at, key)
            held.setdefault(at, set()).add(key["mark"])
            for one in survey["columns"]:
                if str(number) in one["under"]:
                    columns.setdefault(at, {}).setdefault((where(one), one["table"], one["column"], one["path"]), one)
        for at, now in held.items():
            marks.setdefault(at, []).append(now)
    taken: set[str] = set()
    for at, key in first.items():
        if at not in columns:  # a key that opens nothing is none of ours, whatever a host calls it
            continue
        secret = _identifier(key["name"].lower(), taken)
        mine = list(columns[at].values())
        # what a server holds is one for all hosts, and so is its key
        shared = len(hosts) == 1 or all(held == marks[at][0] for held in marks[at]) or any(one["login"] for one in mine)
        yield _Found(secret, key, key["number"] > 0, shared, mine)


def _catalogue(
    name: str, root: Path, found: Sequence[_Found], services: Mapping[str, Services], hosts: Mapping[str, Survey]
) -> Iterator[str]:
    yield "---"
    yield f"# A first catalogue of {name}, by what was found in {_quoted(str(root))} on {', '.join(map(_plain, hosts))}."
    yield "# Read each line, answer what is OPEN, and take the comment out: validate.yml says what is wrong."
    if not found:
        yield f"{OPEN}no value that was found opens a token: name the files that hold the keys by keyturn_files, and look again"
        yield "secrets: {}"
        return
    yield "secrets:"
    for one in found:
        yield from _entry(root, one, services, len(hosts))
    yield from _others(hosts, {(one.key["place"], one.key["name"]) for one in found})


def _entry(root: Path, found: _Found, services: Mapping[str, Services], hosts: int) -> Iterator[str]:
    key = found.key
    yield f"  {found.secret}:"
    yield f"    title: {_quoted(key['name'].replace('_', ' ').title())}"
    yield f"    variables: [{_quoted(key['name'])}]"
    yield f"    source: {{kind: generated, generator: {GENERATORS[key['rule']]}}}"
    if hosts == 1 and not any(one["login"] for one in found.columns):
        yield f"    {OPEN}do all hosts hold one value (shared, together), or each its own (per_host, rolling)? One host was looked at"
    yield f"    value: {'shared' if found.shared else 'per_host'}"
    yield f"    switch: {'together' if found.shared else 'rolling'}"
    yield "    overlap: none_needed"
    if found.listed:
        yield f"    {OPEN}{_plain(key['name'])} is a list of keys: docs/guides/key-lists.md turns such a one without a stop"
    yield "    consumers:"
    if key["format"] == "environment":
        yield f"      {OPEN}{_plain(key['name'])} stands in {_plain(key['place'])} and in no file: name that by keyturn_files"
    else:
        if key["format"] == "json":
            yield f"      {OPEN}JSON is never the first file, since its key may leave the value to the environment: which file holds it?"
        yield f"      - {_consumer(root, key)}"
    yield from _migration(root, found)
    yield f"    services: [{', '.join(services)}]"
    yield "    retire: {kind: none}"
    yield f"    {OPEN}how long may it be down? A switch takes well below a second for 10,000 rows, and the start of the service"
    yield "    downtime_budget_seconds: 300"


def _consumer(root: Path, key: Secrets) -> str:
    where = f", section: {_quoted(key['section'])}" if key["format"] == "ini" else ""
    keys = (
        f", keys: {{{_quoted(key['name'])}: {_quoted(key['key'])}}}" if key["format"] in ("ini", "json", "yaml") else ""
    )
    form = ", form: kept" if key["format"] == "json" else ""
    inside = f", inside: {key['inside']}" if key["inside"] else ""
    return f"{{format: {key['format']}, path: {_path(root, key['place'])}{where}{keys}{form}{inside}}}"


def _migration(root: Path, found: _Found) -> Iterator[str]:
    by_database: dict[str, list[Columns]] = {}
    for one in found.columns:
        by_database.setdefault(where(one), []).append(one)
    # of a server a migration has one, and nothing else
    servers = [name for name, columns in by_database.items() if columns[0]["login"]]
    if servers and len(by_database) > 1:
        others = ", ".join(_plain(name) for name in by_database if name != servers[0])
        yield f"    {OPEN}the key opens rows of {others} too, and a migration has one server alone: give these a key of their own"
        by_database = {servers[0]: by_database[servers[0]]}
    alone = len(by_database) == 1
    probe = KINDS[next(iter(by_database.values()))[0]["store"] if alone else "several"].probe
    yield "    migration:"
    if not alone:
        yield "      kind: several\n      stores:"
    for columns in by_database.values():
        rule = [f"key: {{rule: {found.key['rule']}}}"] if found.key["rule"] else []
        lines = [
            f"kind: {columns[0]['store']}",
            *rule,
            _place(root, columns[0]),
            "columns:",
            *_columns(columns),
        ]
        for number, line in enumerate(lines):
            yield f"      {line}" if alone else f"        {'  ' if number else '- '}{line}"
    yield f"    probes: [{{kind: {probe}}}, {{kind: http}}]"


def _place(root: Path, column: Columns) -> str:
    path = _path(root, column["database"])
    if not column["login"]:
        return f"database: {path}"
    names = ", ".join(f"{part}: {_quoted(name)}" for part, name in column["login"].items())
    return f"login: {{path: {path}, {names if 'url' in column['login'] else f'parts: {{{names}}}'}}}"


def _columns(columns: Sequence[Columns]) -> Iterator[str]:
    for (table, name), places in _by_column(columns).items():
        yield from (f"  {line}" for line in _comments(places))
        paths = [one["path"] for one in places if one["path"] and not UNNAMED.search(one["path"])]
        if not paths and places[0]["path"]:
            continue
        told = {"table": _quoted(table), "key": ", ".join(map(_quoted, places[0]["key"])), "column": _quoted(name)}
        if len(places[0]["key"]) > 1:
            told["key"] = f"[{told['key']}]"
        if all(one["objects"] for one in places) and not paths:
            told["plaintext"] = "'^\\{'"
        if places[0]["flag"]:
            told["flag"] = _quoted(places[0]["flag"])
        if paths:
            told["paths"] = f"[{', '.join(map(_quoted, paths))}]"
        yield f"  - {{{', '.join(f'{word}: {value}' for word, value in told.items())}}}"


def _comments(places: Sequence[Columns]) -> Iterator[str]:
    first = places[0]
    yield f"# {first['rows']} rows: {sum(first['under'].values())} tokens, {first['empty']} empty, {first['plain']} without a token"
    if first["plain"] and not first["flag"]:
        yield f"{OPEN}may {first['plain']} rows stand there in clear? `plaintext` is the shape of what they hold"
    if unopened := sum(one["unopened"] for one in places):
        yield f"{OPEN}{unopened} tokens open under no key that was found: until none is left a rotation is refused"
    for one in places:
        if UNNAMED.search(one["path"]):
            yield f"{OPEN}tokens stand {_plain(one['path'])}, where none can be turned: give them a place of their own"


def _others(hosts: Mapping[str, Survey], told: set[tuple[str, str]]) -> Iterator[str]:
    """Say what else looks like a secret: what proves such a value, only a person knows."""
    others = {(one["place"], one["name"]): one for survey in hosts.values() for one in survey["secrets"]}
    left = [one for at, one in others.items() if at not in told]
    if left:
        yield f"{OPEN}these look like secrets too: an entry for each that is turned, with a probe that shows whether a value works"
    for one in left:
        inside = ", a password inside a URL" if one["inside"] else ""
        yield f"# {_plain(one['name'])} in {_plain(one['place'])} ({one['format']}{inside})"


def _policy(found: Sequence[_Found], today: date) -> Iterator[str]:
    yield "---"
    yield f"{OPEN}when is this policy looked at again?"
    yield f'review: {{next: "{today.replace(year=today.year + 1, day=min(today.day, 28))}"}}'
    yield "schedule:" if found else "schedule: {}"
    for one in found:
        yield f"  {OPEN}how old may the value become?"
        yield f"  {one.secret}: {{max_age_days: 90}}"
    yield f"{OPEN}whom do messages about an incident name?"
    yield "# contacts: {on_call: {title: On-Call, address: ...}, incident_report: {title: Incident Report, address: ...}}"
    yield "checklist:"
    for identity, text in CHECKLIST.items():
        yield f"  - {{id: {identity}, text: {text}}}"


CHECKLIST = {
    "works_everywhere": "The new value works on every host",
    "logs_clean": "No errors in the logs",
    "backup": "There is a backup of the database",
}


def _incident(found: Sequence[_Found]) -> Iterator[str]:
    names = ", ".join(one.secret for one in found)
    yield "---"
    yield f"{OPEN}what else can leak, and what can no playbook do then?"
    yield "table:"
    for leaked, title in (
        ("key", "a key is known to others"),
        ("database", "a copy of the database is in the hands of others"),
    ):
        yield f"  {leaked}: {{title: {title}, affected: [{names}], precaution: [], tokens: never, by_hand: []}}"
    yield "order:" if found else "order: {}"
    for one in found:
        yield f"  {one.secret}: {_quoted('opens what ' + one.key['name'] + ' protects')}"


def _group_vars(root: Path, services: Mapping[str, Services]) -> Iterator[str]:
    yield "---"
    yield "# For the inventory: inventory/ENVIRONMENT/group_vars/GROUP.yml. docs/reference/variables.md says what each is."
    yield f"{OPEN}the folder of this application, the group of its hosts, the environment, and where reports are kept"
    yield "# keyturn_application: \"{{ inventory_dir ~ '/../../NAME' }}\""
    yield "# keyturn_hosts: GROUP"
    yield "# keyturn_environment: staging"
    yield "# keyturn_reports_dir: \"{{ inventory_dir ~ '/../../reports' }}\""
    yield f"keyturn_app_root: {_quoted(str(root))}"
    yield "keyturn_services:"
    for name, one in services.items():
        yield f"  {name}:"
        for deed in one["does"]:
            yield f"    # {_plain(one['name'])} {_plain(deed)}"
        if one["unit"]:
            yield f"    manager: systemd\n    unit: {_quoted(one['name'].removesuffix('.service'))}"
        else:
            yield f"    {OPEN}by which commands is it stopped and started? From keyturn_app_root, each ends when that is done"
            yield "    manager: script\n    start: ./start.sh\n    stop: ./stop.sh"
        port = one["ports"][0] if one["ports"] else 8080
        yield f"    {OPEN}which page answers 200 when it works? It listens on {', '.join(map(str, one['ports'])) or 'no port'}"
        yield f"    health_url: http://127.0.0.1:{port}/"


def _services(hosts: Mapping[str, Survey]) -> dict[str, Services]:
    """Return who works with the files by a name for the catalogue, each once for all hosts."""
    units = {one["name"]: one for survey in hosts.values() for one in survey["services"]}
    taken: set[str] = set()
    found = {}
    for name, one in units.items():
        found[_identifier(re.sub(r"\.service$| \(process.*", "", name).lower(), taken)] = one
    nobody: Services = {
        "name": "nobody",
        "unit": False,
        "user": 0,
        "does": ["was seen with its files open"],
        "ports": [],
    }
    return found or {"app": nobody}


def _by_column(columns: Iterable[Columns]) -> dict[tuple[str, str], list[Columns]]:
    found: dict[tuple[str, str], list[Columns]] = {}
    for one in columns:
        found.setdefault((one["table"], one["column"]), []).append(one)
    return found


def _identifier(text: str, taken: set[str]) -> str:
    """Return a name of small letters, digits and _ that none of ``taken`` is."""
    name = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
    name = name if name[:1].isalpha() else f"s_{name}".rstrip("_")
    while name in taken:
        name += "_2"
    taken.add(name)
    return name


def _path(root: Path, place: str) -> str:
    """Return a path as the catalogue has it, from the application's folder where it lies there."""
    path = PurePath(place)
    return _quoted(str(path.relative_to(root) if path.is_relative_to(root) else path))


def _quoted(text: str) -> str:
    """Return a text of a host as one of YAML that is no template."""
    # YAML knows no pairs of halves, by which JSON spells what lies beyond 16 bits
    return json.dumps(BRACES.sub("{ ", text), ensure_ascii=False)


def _plain(text: str) -> str:
    """Return a text of a host for a comment, which is one line."""
    return " ".join(text.split())
