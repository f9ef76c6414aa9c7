"""The files from which an application reads its values, by format."""

from __future__ import annotations

import dataclasses
import errno
import functools
import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ...base import attributes, durable, files, mounts, shown
from ...base.errors import KeyturnError
from ...base.procfs import UserAndGroups
from .. import owner
from . import dotenv, ini_file, json_file, systemd_credential_file, systemd_creds, url, value_file, yaml_file


@dataclass(frozen=True)
class Consumer:
    """One file that holds values, and its format: a name in ``FORMATS``.

    ``aliases`` maps second names to the name whose value they carry as well. For a format with forms, ``keys`` says where
    each name stands, ``forms`` in which form it is to be written, ``references`` which texts only refer to it. ``sealed`` is
    the name under which the host's key encrypts the file, empty for a file in clear. ``section`` is that of an INI file, ``inside`` what a
    value is a part of, such as a ``url``. ``root`` is the application's folder, which no
    link on the way to a file in it may leave.
    """

    format: str
    path: Path
    aliases: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sealed: str = ""
    section: str = ""
    inside: str = ""
    root: Path | None = None

    def acting(self) -> AbstractContextManager[None]:
        """Be the user whose the ground is that the file lies on, as ``owner`` says it."""
        return owner.acting(self.path, self.root)

    def place(self, name: str) -> str:
        """Return where the value of ``name`` stands: the file, and its key where the file has keys."""
        return f"{self.path} ({self.keys[name]})" if name in self.keys else str(self.path)


@dataclass(frozen=True)
class Format:
    """What a format has to know; ``dotenv`` and ``json_file`` say what each function does.

    ``whole`` tells whether every value must stand in the file, or may be left to another one.
    """

    whole: bool
    read: Callable[[bytes, Sequence[str]], dict[str, str | None]]
    replace: Callable[[bytes, Mapping[str, str]], bytes]
    findings: Callable[[bytes, Sequence[str], Iterable[str]], list[str]]
    forms: Callable[[bytes, Sequence[str]], dict[str, str]]


def _dotenv(consumer: Consumer) -> Format:
    keys = consumer.keys
    if not keys:
        return Format(True, dotenv.read, dotenv.replace, dotenv.findings, lambda content, names: {})

    def read(content: bytes, names: Sequence[str]) -> dict[str, str | None]:
        held = dotenv.read(content, [keys.get(name, name) for name in names])
        return {name: held[keys.get(name, name)] for name in names}

    def replace(content: bytes, values: Mapping[str, str]) -> bytes:
        return dotenv.replace(content, {keys.get(name, name): value for name, value in values.items()})

    def findings(content: bytes, names: Sequence[str], secrets: Iterable[str]) -> list[str]:
        return dotenv.findings(content, [keys.get(name, name) for name in names], secrets)

    return Format(True, read, replace, findings, lambda content, names: {})


def _ini(consumer: Consumer) -> Format:
    layout = ini_file.Layout(consumer.section, consumer.keys)
    return Format(
        True,
        lambda content, names: ini_file.read(content, layout, names),
        lambda content, values: ini_file.replace(content, layout, values),
        lambda content, names, secrets: ini_file.findings(content, layout, names, secrets),
        lambda content, names: {},
    )


def _yaml(consumer: Consumer) -> Format:
    keys = consumer.keys
    return Format(
        True,
        lambda content, names: yaml_file.read(content, keys, names),
        lambda content, values: yaml_file.replace(content, keys, values),
        lambda content, names, secrets: yaml_file.findings(content, keys, names, secrets),
        lambda content, names: {},
    )


def _file(consumer: Consumer) -> Format:
    nothing: list[str] = []
    return Format(
        True,
        lambda content, names: value_file.read(content, consumer.keys, names),
        value_file.replace,
        lambda content, names, secrets: nothing,
        lambda content, names: {},
    )


def _inside_url(form: Format) -> Format:
    """Return a format whose values are the passwords of the URLs that stand there."""

    def read(content: bytes, names: Sequence[str]) -> dict[str, str | None]:
        held = form.read(content, names)
        return {name: url.password(text) if text else None for name, text in held.items()}

    def replace(content: bytes, values: Mapping[str, str]) -> bytes:
        # a key that leaves its value to the environment has no URL, and stays as it is
        held = form.read(content, list(values))
        put = {name: url.with_password(text, values[name]) for name, text in held.items() if text}
        return form.replace(content, {**values, **put})

    return dataclasses.replace(form, read=read, replace=replace)


def _json(consumer: Consumer) -> Format:
    layout, wanted = json_file.Layout(consumer.keys, consumer.references), consumer.forms
    return Format(
        False,
        lambda content, names: json_file.read(content, layout, names),
        lambda content, values: json_file.replace(content, layout, values, wanted),
        lambda content, names, secrets: json_file.findings(content, layout, names, secrets, wanted),
        lambda content, names: json_file.forms(content, layout, names),
    )


def _systemd_credential(consumer: Consumer) -> Format:
    nothing: list[str] = []
    read, replace = systemd_credential_file.read, systemd_credential_file.replace
    return Format(True, read, replace, lambda content, names, secrets: nothing, lambda content, names: {})


# of a file with values: each call reads it several times
MOST_BYTES = 1 << 20
MOST_BLANKS = 1000
_BLANKS = re.compile(rf"[^\S\n]{{{MOST_BLANKS + 1}}}")
P = ParamSpec("P")
R = TypeVar("R")


def _on_its_ground(call: Callable[Concatenate[Consumer, P], R]) -> Callable[Concatenate[Consumer, P], R]:
    """Let a call on a consumer be made as the user whose ground its file lies on."""

    def made(consumer: Consumer, /, *args: P.args, **more: P.kwargs) -> R:
        with consumer.acting():
            return call(consumer, *args, **more)

    return functools.wraps(call)(made)


RESTORE = "restore it with the values that the application runs on, for its user alone (0600)"
FORMATS: dict[str, Callable[[Consumer], Format]] = {
    "dotenv": _dotenv,
    "file": _file,
    "ini": _ini,
    "json": _json,
    "yaml": _yaml,
}
INSIDE: dict[str, Callable[[Format], Format]] = {"": lambda form: form, "url": _inside_url}


@_on_its_ground
def read(consumer: Consumer, names: Sequence[str]) -> dict[str, str]:
    """Return the value of each name; without the names that the file may leave to another one and does.

    KeyturnError for a file that cannot be read, a name without a value, and a second name with another value.
    """
    with _named(consumer.path):
        form = _format(consumer)
        found = form.read(_content(consumer)[0], [*names, *consumer.aliases])
    values = {name: value for name in names if (value := found[name])}
    for name in names:
        if form.whole and name not in values:
            where = " to `.env`, and run migrate_delivery.yml" if consumer.sealed else ""
            raise KeyturnError(
                f"{name} is not set in {consumer.path}: add it with its current value{where}; where this host needs none, leave it "
                "out of keyturn_secrets_here"
            )
    for alias, name in consumer.aliases.items():
        if found[alias] and found[alias] != values.get(name):
            raise KeyturnError(
                f"{consumer.path}: {alias} is a second name of {name} and holds another value: give both the one that is used"
            )
    return values


def holds(consumer: Consumer, names: Sequence[str]) -> bool:
    """Tell whether one of the names has a value in the file. One that cannot be read is held to: ``read`` says what is wrong with it."""
    try:
        with consumer.acting(), _named(consumer.path):
            return any(_format(consumer).read(_content(consumer)[0], [*names, *consumer.aliases]).values())
    except KeyturnError:
        return True


@_on_its_ground
def content(consumer: Consumer) -> bytes:
    """Return all that stands in the file, in clear."""
    with _named(consumer.path):
        return _content(consumer)[0]


@_on_its_ground
def forms(consumer: Consumer, names: Sequence[str]) -> dict[str, str]:
    """Return the form in which each name stands now, empty for a format that has but one."""
    with _named(consumer.path):
        return _format(consumer).forms(_content(consumer)[0], names)


@_on_its_ground
def findings(consumer: Consumer, names: Sequence[str], secrets: Iterable[str]) -> list[str]:
    """Return sentences, without values, about lines of the file that surprise; KeyturnError as ``read`` raises it."""
    with _named(consumer.path):
        found = _format(consumer).findings(_content(consumer)[0], [*names, *consumer.aliases], secrets)
    return [f"{consumer.path}: {sentence}" for sentence in found]


@_on_its_ground
def changed_at(consumer: Consumer) -> float:
    """Return when the content last changed (seconds since 1970); KeyturnError where there is no file."""
    with _named(consumer.path):
        return consumer.path.stat().st_mtime


@_on_its_ground
def check_replaceable(consumer: Consumer) -> None:
    """Raise KeyturnError when the file cannot be replaced without loss. Changes nothing."""
    path = _real_path(consumer.path)
    with _named(path):
        status = path.stat()
        read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
        _check_regular(status)
    if status.st_nlink > 1:
        raise KeyturnError(
            f"{path} has {status.st_nlink} hard links, and the others would keep the old value: "
            "replace the others by symbolic links to it"
        )
    if read_only:
        raise KeyturnError(f"{path} is on a read-only file system: mount it writable")
    # os.path.ismount does not see a file that is mounted from the same file system
    if any(mount.point == path for mount in mounts.mounts().values()):
        raise KeyturnError(f"{path} is a mount point, which no rename can replace: mount its folder instead")
    attributes.check_changeable(path)
    user = os.geteuid()
    if user != 0 and status.st_uid != user:
        raise KeyturnError(f"{path} belongs to the user {status.st_uid}, not to {user}: run as its owner or as root")
    if user != 0 and status.st_gid not in (os.getegid(), *os.getgroups()):
        raise KeyturnError(
            f"{path} belongs to the group {status.st_gid}, of which the user {user} is no member: "
            f"{'run as root, or ' if os.getuid() else ''}give the file a group of this user"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise KeyturnError(
            f"{path.parent} cannot be written by the user {user}, and the new file is made there: allow it"
        )


@_on_its_ground
def mode(consumer: Consumer) -> int:
    """Return the permissions of the file, for owner, owning group and others; an access list may let more read it."""
    with _named(consumer.path):
        return attributes.of(consumer.path).mode


@_on_its_ground
def check_reader(consumer: Consumer, reader: UserAndGroups) -> None:
    """Raise KeyturnError when the process reads the file by rights that ``replace`` takes away. Changes nothing."""
    if consumer.sealed:
        return  # systemd reads it, and gives the process the values
    path = _real_path(consumer.path)
    with _named(path):
        status = path.stat()
        held, listed = attributes.of(path), attributes.readers(path)
    member = status.st_gid in reader.groups
    kept = any(
        entry.number in (reader.groups if entry.tag == attributes.NAMED_GROUP else {reader.user}) for entry in listed
    )
    if kept or reader.user in (0, status.st_uid) or not held.mode & (stat.S_IRGRP if member else stat.S_IROTH):
        return
    user = _name(lambda: pwd.getpwuid(reader.user).pw_name, reader.user)
    group = _name(lambda: grp.getgrgid(status.st_gid).gr_name, status.st_gid)
    place = shown.argument(path)
    raise KeyturnError(
        f"{path} is readable by {f'the group {group}' if member else 'everybody'}, on which the user {user} of the service "
        f"depends, and keyturn leaves it to its owner alone: chown {user} {place} && chmod 600 {place}"
    )


def _name(known: Callable[[], str], number: int) -> str:
    try:
        return known()
    except KeyError:
        return str(number)


@_on_its_ground
def check_writable(consumer: Consumer, values: Mapping[str, str]) -> None:
    """Raise KeyturnError when ``replace`` could not write these values over others. Changes nothing.

    Asked about the current values before a rotation, so that a rollback can put them back, and about the new ones before anything stops.
    """
    with _named(consumer.path):
        form = _format(consumer)
        values = _with_aliases(consumer, form, _content(consumer)[0], values)
        form.replace(without(consumer, values), values)


@_on_its_ground
def without(consumer: Consumer, names: Iterable[str]) -> bytes:
    """Return the content with other values where those of ``names`` belong; KeyturnError as ``replace`` raises it."""
    with _named(consumer.path):
        form = _format(consumer)
        content = _content(consumer)[0]
        return form.replace(content, _with_aliases(consumer, form, content, dict.fromkeys(names, _OTHER_VALUE)))


@_on_its_ground
def replace(consumer: Consumer, values: Mapping[str, str], wanted_mode: int | None = None) -> None:
    """Put ``values`` into the file, atomically and durably; nothing is written when they already stand there.

    Owner and group stay; the mode stays or becomes stricter (no access for group and others, no execution), or becomes
    ``wanted_mode`` again. A symbolic link stays, and the file that it names is replaced. KeyturnError as
    ``check_replaceable`` and the format raise it, and for an error of the operating system.
    """
    path = _real_path(consumer.path)
    with _named(path):
        old, _ = _content(consumer)
        form = _format(consumer)
        new = form.replace(old, _with_aliases(consumer, form, old, values))
    if new == old:
        with _named(path):
            durable.clean(path)
        return
    write(consumer, new, wanted_mode)


@_on_its_ground
def write(consumer: Consumer, content: bytes, wanted_mode: int | None = None) -> None:
    """Replace the whole content of the file, as ``replace`` does."""
    check_replaceable(consumer)
    path = _real_path(consumer.path)
    with _named(path):
        sealed = systemd_creds.seal(content, consumer.sealed) if consumer.sealed else content
        durable.write_file(path, sealed, _attributes_of(path, wanted_mode))


@_on_its_ground
def rehearse(consumer: Consumer) -> None:
    """Make a file of the same size and attributes beside the file, rename it and remove it; KeyturnError where that fails.

    It is all that ``replace`` does, without a value: quotas, labels and folders that refuse show while the service runs.
    What a kill leaves of it goes by the next one, or ``clean``.
    """
    path = _real_path(consumer.path)
    try:
        durable.rehearse(path, bytes(path.stat().st_size), _attributes_of(path))
    except OSError as error:
        raise KeyturnError(
            f"{path}: a file with its size, owner and attributes cannot take its place ({error.strerror}), tried beside it: "
            f"allow that in {path.parent}"
        ) from None


@_on_its_ground
def clean(consumer: Consumer) -> None:
    """Remove what a write or a rehearsal that was killed has left."""
    durable.clean(Path(os.path.realpath(consumer.path)))


@_on_its_ground
def left(consumer: Consumer) -> list[Path]:
    """Return what ``clean`` would remove."""
    with _named(consumer.path):
        return durable.left(Path(os.path.realpath(consumer.path)))


def _attributes_of(path: Path, wanted_mode: int | None = None) -> Callable[[int], None]:
    """Return what gives an open file the owner and the attributes of ``path``."""
    status, had = path.stat(), attributes.of(path)

    def give(fd: int) -> None:
        made = os.fstat(fd)
        if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
            os.fchown(fd, status.st_uid, status.st_gid)
        attributes.put(fd, had, had.mode & 0o600 if wanted_mode is None else wanted_mode)

    return give


def is_placeholder(value: str) -> bool:
    """Tell whether a template's text still stands where a value belongs."""
    text = value.strip().lower()
    return _FRAME.fullmatch(text) is not None or _PLACEHOLDER.search(text) is not None


# a text in every format: YAML would take digits without quotation marks for a number
_OTHER_VALUE = "x"
_FRAME = re.compile(r"|<.*>|\{\{.*\}\}|\[.*\]|%.*%|__.*__|([x*.?#0-])\1*")
# Whole words or long ones, so that no random value matches by chance.
_PLACEHOLDER = re.compile(
    r"""^(?:your|my|put|insert|enter|paste|fill|add|set|generate)[-_ ].*(?:here|key|secret|token|password|value|char)
    | ^your[-_ ]
    | change[-_ ]?(?:me|this|it)(?:$|[^a-z])
    | replace[-_ ](?:me|this|with)
    | placeholder
    | (?:^|[-_ ])(?:secret|key|token|password|value)[-_ ]here$
    | ^(?:todo|tbd|fixme|none|null|undefined|example|dummy|sample|default|test|secret|password)$
    | ^(?:example|dummy|sample|default|test)[-_ ](?:key|secret|token|password|value)
    | ^(?:my|super)[-_ ]?secret
    | xxxxxx
    """,
    re.VERBOSE,
)


def _format(consumer: Consumer) -> Format:
    if consumer.sealed:
        return _systemd_credential(consumer)
    try:
        return INSIDE[consumer.inside](FORMATS[consumer.format](consumer))
    except KeyError:
        known = ", ".join(sorted(FORMATS))
        raise KeyturnError(f"the format {consumer.format} is unknown: use one of {known}") from None


def _with_aliases(consumer: Consumer, form: Format, content: bytes, values: Mapping[str, str]) -> dict[str, str]:
    """Add the second names that the file has."""
    there = form.read(content, list(consumer.aliases))
    return {**values, **{alias: values[name] for alias, name in consumer.aliases.items() if there[alias]}}


def _real_path(path: Path) -> Path:
    """Return the file that ``path`` stands for: a rename over a symbolic link would only replace the link."""
    with _named(path):
        if path.is_symlink() and not path.exists():
            raise KeyturnError("the symbolic link leads to nothing; point it to the file that holds the values")
        return path.resolve(strict=True)


def _content(consumer: Consumer) -> tuple[bytes, os.stat_result]:
    _check_regular(consumer.path.stat())
    with files.opened(consumer.path) as file:  # which looks again: it may be another one by now
        content, status = file.read(MOST_BYTES + 1), os.fstat(file.fileno())
    if len(content) > MOST_BYTES:
        raise KeyturnError(
            f"it is larger than {MOST_BYTES} bytes, which no such file is; name the file that holds the values"
        )
    held = systemd_creds.unseal(content, consumer.sealed) if consumer.sealed else content
    check_blanks(held)
    return held, status


def check_blanks(content: bytes) -> None:
    """Refuse a run of blanks that no such file has: what looks for its end takes the square of its length."""
    if _BLANKS.search(content.decode(errors="replace")):
        raise KeyturnError(
            f"it has more than {MOST_BLANKS} blanks one after the other, which no such file needs; take them out"
        )


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyturnError("this is not a regular file; name the file that holds the values")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name ``path`` in the errors of the operating system and of the formats."""
    try:
        yield
    except KeyturnError as error:
        raise KeyturnError(f"{path}: {error}") from None
    except RecursionError:
        raise KeyturnError(f"{path}: it is nested too deeply to be read: make it flatter") from None
    except FileNotFoundError:
        credential = path.parent == systemd_creds.STORE
        remedy = "run migrate_delivery.yml, which makes it of what `.env` holds" if credential else RESTORE
        raise KeyturnError(f"{path} does not exist: {remedy}") from None
    except OSError as error:
        remedy = f" to the user {os.geteuid()}: run as its owner" if error.errno == errno.EACCES else ""
        raise KeyturnError(f"{path}: {error.strerror}{remedy}") from None
