"""What Keyturn knows of an application: files of data in one folder, ``applications/NAME`` of the checkout or one of an adopter's own.

A file that is not there, or a part of one, is as if it were empty; who needs it says so by its name. Nothing in these files is a
template but the entries of the catalogue, which the lookup ``keyturn_application`` reads anew for that.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import yaml

from ..base import files, shape
from ..base.errors import KeyturnError
from .catalogue import Entry
from .variables import APPLICATION, GROUP, NAMES, OPTIONAL, Kind, kind_of

DEFAULT = "trader_ai"
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MOST_BYTES = 1 << 20
# the one name of an entry whose templates do not resolve
UNRESOLVED = "unresolved"

LINE = {"level?": str, "logger?": str, "message": str}
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
PROCEDURE = {
    **dict.fromkeys(("title", "complexity", "downtime", "impact"), str),
    "commands": [str],
    "steps": [{"title": str, "how": str, "notes?": [str]}],
}
POINTS = [{"id": str, "text": str}]
TIER = {"title": str, "within_hours": int, "actions": POINTS}
ROW = {
    "title": str,
    "affected": [str],
    "precaution": [str],
    "tokens": ("always", "if_plaintext", "never"),
    "by_hand": [str],
}
THRESHOLD = {"metric": str, "title": str, "warning": int, "critical": int, "per?": ("", "minute", "hour", "day")}
COUNTED = {"line": str, "ends?": {"*": str}, "counter": str}
METRIC = {"alert": str, "counters": [str], "runbook": str, "lines?": [str], "expected?": str}
# by the file, what may stand in it; what a name without "?" stands for is needed wherever its mapping is
FILES: Mapping[str, Mapping[str, object]] = {
    "catalogue.yml": {
        "log_lines?": {"*": LINE},
        "secrets": {"*": dict},
        "optional_secrets?": {"*": dict},
        "error_lines?": {"*": LINE},
    },
    "policy.yml": {
        **dict.fromkeys(("version?", "updated?", "owner?", "purpose?", "page?"), str),
        "review": {"frequency?": str, "last?": str, "next": DAY},
        "schedule?": {"*": {"max_age_days": int}},
        "triggers?": {"*": str},
        "procedures?": {"*": PROCEDURE},
        "incident?": {"*": TIER},
        "storage?": {"*": {"title": str, "do": [str], "dont": [str]}},
        "metrics?": [{"title": str, "watched": [str]}],
        "thresholds?": [THRESHOLD],
        "checklist": POINTS,
        "appendix?": [{"title": str, "kind": str, "name": str}],
        "contacts?": {"*": {"title": str, "address": str}},
    },
    "incident.yml": {
        "table": {"*": ROW},
        "order": {"*": str},
        "ticks?": {"*": str},
        "material?": {"*": [str]},
        "replacement?": {"secret": str, "issuer": str},
    },
    "monitoring.yml": {
        "service?": str,
        "namespace?": str,
        "counts?": [COUNTED],
        "access?": {"line": str, "counts": [{"path": str, "status?": str, "counter": str}]},
        "metrics?": {"*": METRIC},
        "spikes?": {"*": str},
    },
    "variables.yml": {"*": (str, [str])},
}
# without the one there is nothing to turn, and without the other nothing to sign
NEEDED = ("catalogue.yml", "policy.yml")
REMEDY = "docs/guides/adopt.md says what stands there"
# lists; everything else is a mapping
LISTS = {("policy.yml", name) for name in ("metrics", "thresholds", "checklist", "appendix")} | {
    ("monitoring.yml", "counts")
}


class Rule(TypedDict):
    """What the policy's schedule promises of a secret."""

    max_age_days: int


class Threshold(TypedDict):
    """From how many on a metric is worth a warning, and from how many on somebody is woken; ``per`` is a minute, an hour or a day."""

    metric: str
    title: str
    warning: int
    critical: int
    per: NotRequired[str]


class Application(NamedTuple):
    """The folder of an application. Its name is the application's, of which counters are named.

    ``optional`` are the optional secrets that the inventory has chosen: the others are as if no file named them.
    """

    folder: Path
    optional: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the application."""
        return self.folder.name

    def file(self, name: str) -> dict[str, Any]:
        """Return what stands in a file; KeyturnError where that is no mapping, or the file cannot be read."""
        return _read(self.folder / name)

    def part(self, name: str, key: str = "") -> Any:
        """Return a part of a file, or all of it, as the inventory uses it; empty where there is none."""
        found = self.file(name)
        if key and (name, key) in CHOSEN_FROM:
            return CHOSEN_FROM[name, key](self, found.get(key, {}))
        return found.get(key, [] if (name, key) in LISTS else {}) if key else found

    @property
    def offered(self) -> dict[str, Entry]:
        """The optional secrets, of which an inventory chooses."""
        return dict(self.file("catalogue.yml").get("optional_secrets", {}))

    @property
    def others(self) -> set[str]:
        """The optional secrets that the inventory has not chosen."""
        return self.offered.keys() - set(self.optional)

    def variables(self) -> dict[str, Kind]:
        """Return what an inventory may say of this application alone."""
        return {name: kind_of(told) for name, told in self.file("variables.yml").items()}

    def problems(self) -> Iterator[str]:
        """Say what keeps every run from beginning: by file and key. What single playbooks need they ask for themselves."""
        yield from list(self._misshapen()) or self._misnamed()

    def _misshapen(self) -> Iterator[str]:
        try:
            self._check_mine()
        except KeyturnError as error:
            yield str(error)
            return
        for name, form in FILES.items():
            try:
                found = self.file(name)
            except KeyturnError as error:
                yield str(error)
                continue
            if found or name in NEEDED:
                yield from (f"{name}: {one.lstrip('.')}: {REMEDY}" for one in shape.misfits("", form, found))
                yield from (f"{name}: {one} is nothing that Keyturn knows: {REMEDY}" for one in _unknown(form, found))

    def _misnamed(self) -> Iterator[str]:
        for name in sorted(set(self.optional) - self.offered.keys()):
            known = ", ".join(self.offered) or "none"
            yield f"{OPTIONAL} names {name}, and optional_secrets of catalogue.yml has {known}"
        for name in sorted(self.offered.keys() & self.file("catalogue.yml")["secrets"].keys()):
            yield f"catalogue.yml: {name} is in secrets and in optional_secrets: leave it in one of them"

    def _check_mine(self) -> None:
        for path in (self.folder, *(self.folder / name for name in FILES)):
            try:
                path.stat()
            except FileNotFoundError:
                if path == self.folder:
                    known = ", ".join(sorted(one.name for one in shipped(path.parent))) or "none"
                    raise KeyturnError(
                        f"{APPLICATION}: there is no folder {path} (in {path.parent} there are: {known})"
                    ) from None
                continue
            except OSError as error:
                raise KeyturnError(f"{APPLICATION}: {path}: {error.strerror}") from None
            for place in (path, *path.resolve().parents):
                _check_not_of_others(path, place)


def _check_not_of_others(path: Path, place: Path) -> None:
    """Refuse what others than its owner may change: ``path``, or a ``place`` on the way to it, where they could put another thing."""
    status = place.stat()
    if status.st_mode & stat.S_ISVTX and place != path:
        return  # nobody renames there what is another's
    able = "everybody" if status.st_mode & stat.S_IWOTH else ""
    if not able and status.st_mode & stat.S_IWGRP and (others := _others(status)):
        able = f"a group ({', '.join(others)})"
    if able:
        way = "" if place == path else f", in which {path} lies,"
        raise KeyturnError(f"{place}{way} may be changed by {able}, and decides what a run does: chmod go-w {place}")


def _others(status: os.stat_result) -> list[str]:
    """Return the users of the group of something, as far as this machine lists them, without its owner, root and who runs this."""
    mine = {0, status.st_uid, os.getuid()}
    listed = {one.pw_name for one in pwd.getpwall() if one.pw_gid == status.st_gid and one.pw_uid not in mine}
    with contextlib.suppress(KeyError):
        listed |= {name for name in grp.getgrgid(status.st_gid).gr_mem if pwd.getpwnam(name).pw_uid not in mine}
    return sorted(listed)


def shipped(folder: Path) -> list[Path]:
    """Return the folders of applications in one."""
    return [path for path in folder.glob("*/") if (path / "catalogue.yml").is_file()]


def chosen(named: object, root: Path) -> Application:
    """Return the application that an inventory names; KeyturnError where that is neither a name nor a folder."""
    text = str(named)
    if NAME.fullmatch(text):
        return Application(root / "applications" / text)
    folder = Path(text).resolve()
    if not text.startswith("/") or not NAME.fullmatch(folder.name):
        raise KeyturnError(
            f"{APPLICATION} must be the name of a folder in applications/, or an absolute path whose last part is the application's "
            "name: small letters, digits and _, a letter first"
        )
    return Application(folder)


def one_of(name: str, stated: Iterable[object], default: str) -> str:
    """Return what hosts say of the application, the same all of them; KeyturnError where two say two things.

    A host that says nothing has nothing against it: not every host of an inventory is one of the application.
    """
    found = sorted({str(one) for one in stated if one is not None})
    if len(found) > 1:
        raise KeyturnError(
            f"an inventory has one application, and its hosts name several by {name}: {', '.join(found)}"
        )
    return found[0] if found else default


def group(stated: Iterable[object]) -> str:
    """Return the group of the application's hosts, as those say (``stated``)."""
    found = one_of(GROUP, stated, DEFAULT)
    if not GROUP_NAME.fullmatch(found):
        raise KeyturnError(f"{GROUP} must be the name of a group of the inventory: letters, digits and _")
    return found


def optional(stated: Iterable[object]) -> tuple[str, ...]:
    """Return which optional secrets the inventory has chosen, as hosts say (``stated``)."""
    named = [one for one in stated if one is not None]
    if not all(map(NAMES.fits, named)):
        raise KeyturnError(f"{OPTIONAL} must be {NAMES.says}")
    found = one_of(OPTIONAL, (",".join(map(str, one)) for one in named if isinstance(one, list)), "")
    return tuple(filter(None, found.split(",")))


def _entries(application: Application, entries: Mapping[str, object]) -> dict[str, object]:
    return {**entries, **{name: one for name, one in application.offered.items() if name in application.optional}}


def _order(application: Application, order: Mapping[str, object]) -> dict[str, object]:
    others = application.others
    return {name: why for name, why in order.items() if name not in others}


def _table(application: Application, table: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    others = application.others
    return {
        leaked: {
            key: [one for one in told if one not in others] if isinstance(told, list) else told
            for key, told in row.items()
        }
        for leaked, row in table.items()
    }


# the parts that differ by what an inventory has chosen of the optional secrets
CHOSEN_FROM = {
    ("catalogue.yml", "secrets"): _entries,
    ("incident.yml", "order"): _order,
    ("incident.yml", "table"): _table,
}


def secrets(entries: Mapping[str, Entry], schedule: Mapping[str, Rule]) -> dict[str, Entry]:
    """Return the catalogue's entries, each with the age that the policy's ``schedule`` promises."""
    promised = {name: {"max_age_days": rule["max_age_days"]} for name, rule in schedule.items()}
    return {name: promised.get(name, {}) | dict(entry) for name, entry in entries.items()}


@cache
def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(files.read(path, MOST_BYTES), Loader=LOADER)  # noqa: S506 - of the safe ones, the fast one
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KeyturnError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise KeyturnError(f"{path}{line}: this is no YAML: mend it") from None
    except (ValueError, RecursionError):  # a day that there is none of, or lists in lists without end
        raise KeyturnError(f"{path}: a date in it is none, or it is nested too deeply: mend it") from None
    if not isinstance(content, dict) and content is not None:
        raise KeyturnError(f"{path}: a mapping of names must stand there: {REMEDY}")
    return content or {}


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _unknown(form: Mapping[str, object], content: Mapping[str, object]) -> list[str]:
    """Return names at the top of a file that stand for nothing: a slip of the hand would be a missing part."""
    known = {name.removesuffix("?") for name in form}
    return [] if "*" in form else sorted(str(name) for name in content if name not in known)
