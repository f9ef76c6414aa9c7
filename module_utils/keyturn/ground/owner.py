"""Whose ground a path lies on, and acting as that user for as long as it is touched.

Root that opens, renames or deletes by a path which another user may change does whatever that user makes of the path. As that
user it can do nothing that the user could not. Ground that only root may change, from / down, is root's own. Another process
than root has nobody to become.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..base import attributes, shown
from ..base.errors import KeyturnError

EVERYBODY = -1
MOST_LINKS = 40
PRIVATE = 0o077


class User(NamedTuple):
    """As whom files are touched: numbers, and the name for messages."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


@contextlib.contextmanager
def acting(path: Path, root: Path | None = None) -> Iterator[None]:
    """Be the one user besides root who may change what lies at ``path``; nothing happens on root's own ground.

    With ``root``, the application's folder, a symbolic link that leaves it is refused, and a file that belongs to another user
    than its folder. KeyturnError also where several users may change what is there.
    """
    with own():
        entries = _entries(path)
        if root is not None:
            _check_links(path, root, entries)
        user = _alone(path, entries)
        if user is not None and root is not None:
            _check_owner(entries, user)
    with _being(user):
        yield


@contextlib.contextmanager
def looking(path: Path, name: str | None = None) -> Iterator[None]:
    """Be a user who may change ``path``, to read what is only counted or compared: ``name``, or the only one there is."""
    with _being(reader(path, name)):
        yield


def listing(name: str | None, refused: list[str]) -> Callable[[Path], contextlib.AbstractContextManager[None]]:
    """Return what is a user who may change a folder while its names are read (``folders.below``), as ``looking`` is.

    One of which no name says who that is gets an OSError, and ``refused`` a sentence.
    """

    @contextlib.contextmanager
    def entering(folder: Path) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(looking(folder / "each file", name))
            except KeyturnError as error:
                refused.append(f"{folder} was not looked through: {error}")
                raise PermissionError from None
            yield

    return entering


@contextlib.contextmanager
def being(name: str) -> Iterator[None]:
    """Be the user with this name; nothing happens in another process than root."""
    with _being(_named(name)):
        yield


@contextlib.contextmanager
def on_behalf(*paths: Path) -> Iterator[None]:
    """Be the user besides root by whose word something is done: who may change what the first of the paths that anybody may change says.

    Such a word leads somewhere, and there root would be let in where the user is not. Nothing happens where only root may change them.
    """
    with own():
        user = next(filter(None, map(_author, paths)), None)
    with _being(user):
        yield


@contextlib.contextmanager
def own() -> Iterator[None]:
    """Be root again, in the midst of ``acting``, for what root keeps itself."""
    with _being(None):
        yield


def alone(path: Path) -> User | None:
    """Return the one user besides root who may change what lies at ``path``, None where only root may; KeyturnError for several."""
    with own():
        return _alone(path, _entries(path))


def steady(path: Path) -> Path:
    """Return ``path`` without symbolic links, as far as only root may change them: no other user chooses what it comes to."""
    if os.getuid() != 0:
        return path.resolve()
    place, links = Path("/"), 0
    left = [*reversed((Path.cwd() / path).parts[1:])]
    while left and not _writers([place, entry := place / left[-1]]):
        left.pop()
        if links < MOST_LINKS and _is_link(entry):
            links += 1
            place = _behind(entry, place, left)
        else:
            place = place.parent if entry.name == ".." else entry
    return Path(os.path.normpath(place.joinpath(*reversed(left))))


def reader(path: Path, name: str | None = None) -> User | None:
    """Return whom ``looking`` becomes, None for nobody. KeyturnError where no name says which of several users."""
    if name is None:
        return alone(path)
    with own():
        return _named(name) if os.getuid() == 0 and _writers(_entries(path)) else None


def writer(path: Path) -> tuple[str, Path] | None:
    """Return who besides root may change the file at ``path``, in it or on the way to it, and where; None where nobody may."""
    return next(((_name(uid), place) for uid, place in _authors(path).items()), None)


def _authors(path: Path) -> dict[int, Path]:
    entries = _entries(path)
    writers = _writers(entries)
    with contextlib.suppress(OSError):
        for uid in _may_write(entries[-1]) - {0}:
            writers.setdefault(uid, entries[-1])
    return writers


def _author(path: Path) -> User | None:
    return _only(path, _authors(path)) if os.getuid() == 0 else None


def _alone(path: Path, entries: list[Path]) -> User | None:
    return _only(path, _writers(entries)) if os.getuid() == 0 else None


def _only(path: Path, writers: dict[int, Path]) -> User | None:
    if len(writers) > 1 or EVERYBODY in writers:
        told = " and ".join(f"{place} by {_name(uid)}" for uid, place in writers.items())
        raise KeyturnError(
            f"{path}: only one user besides root may be able to change the folders on the way to it, but {told} may be changed: "
            "let the application's user alone own them, and take the right to write from group and others"
        )
    return _user(*writers) if writers else None


def _check_links(path: Path, root: Path, entries: list[Path]) -> None:
    home = _entries(root)[-1]
    if not path.is_relative_to(root) or entries[-1].is_relative_to(home):
        return
    links = [entry for entry in entries if entry.is_relative_to(home) and _is_link(entry)]
    named = links[-1] if links else path
    raise KeyturnError(
        f"{named} leaves {root} and leads to {entries[-1]}: put the file itself there, or name {entries[-1]} as the `path` (of a "
        "database, `database`) in keyturn_secrets"
    )


def _check_owner(entries: list[Path], user: User) -> None:
    file = entries[-1]
    try:
        uid = file.lstat().st_uid
    except OSError:
        return  # what is not there is told by what reads it
    if uid != user.uid:
        folder, place = shown.argument(file.parent), shown.argument(file)
        raise KeyturnError(
            f"{file} belongs to {_name(uid)}, and {user.name} may put another file in its place: give the folder to root "
            f"(chown root {folder} && chmod go-w {folder}), or the file to the application's user (chown {user.name} {place})"
        )


def _entries(path: Path) -> list[Path]:
    """Return each name on the way to ``path``, also behind symbolic links; the last is the file itself, if it is there."""
    place, entries, links = Path("/"), [Path("/")], 0
    left = [*reversed((Path.cwd() / path).parts[1:])]
    while left:
        name = left.pop()
        if name == "..":
            place = place.parent
            continue
        entry = place / name
        entries.append(entry)
        if links < MOST_LINKS and _is_link(entry):
            links += 1
            place = _behind(entry, place, left)
        else:
            place = entry
    return entries if entries[-1] == place else [*entries, place]


def _behind(link: Path, place: Path, left: list[str]) -> Path:
    """Put where a link in ``place`` leads before what is ``left`` of the way, and return the folder from which that goes on."""
    target = link.readlink()
    left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return Path("/") if target.is_absolute() else place


def _is_link(place: Path) -> bool:
    try:
        return place.is_symlink()
    except OSError:
        return False  # another user than root may not look there


def _writers(entries: list[Path]) -> dict[int, Path]:
    """Return the users besides root who may put something else in the place of one of the names, and where each of them may."""
    writers: dict[int, Path] = {}
    for entry in entries[1:]:
        folder = entry.parent
        try:
            status = folder.stat()
            able = _may_write(folder)
            if status.st_mode & stat.S_ISVTX and os.path.lexists(entry):
                able = {status.st_uid, entry.lstat().st_uid}  # nobody else may rename or remove it
        except OSError:
            break  # from here on nothing is there
        for uid in able - {0}:
            writers.setdefault(uid, folder)
    return writers


def _may_write(place: Path) -> set[int]:
    status = place.stat()
    able = {status.st_uid}
    if status.st_mode & stat.S_IWGRP:
        able |= _members(status.st_gid)
    if status.st_mode & stat.S_IWOTH:
        able.add(EVERYBODY)
    for entry in attributes.writers(place):
        able |= {entry.number} if entry.tag == attributes.USER else _members(entry.number)
    return able


@functools.cache
def _members(gid: int) -> frozenset[int]:
    """Return the users of a group, as far as this host lists them. Those of root's group are root."""
    if gid == 0:
        return frozenset((0,))
    found = {one.pw_uid for one in pwd.getpwall() if one.pw_gid == gid}
    with contextlib.suppress(KeyError):
        for name in grp.getgrgid(gid).gr_mem:
            with contextlib.suppress(KeyError):
                found.add(pwd.getpwnam(name).pw_uid)
    return frozenset(found)


def _name(uid: int) -> str:
    if uid == EVERYBODY:
        return "everybody"
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def _named(name: str) -> User:
    try:
        return _user(pwd.getpwnam(name).pw_uid)
    except KeyError:
        raise KeyturnError(f"this host has no user {name}: correct keyturn_app_user") from None


@functools.cache
def _user(uid: int) -> User:
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        raise KeyturnError(
            f"files of the application belong to the user {uid}, whom this host does not know: give them to one that it knows"
        ) from None
    return User(uid, known.pw_gid, tuple(os.getgrouplist(known.pw_name, known.pw_gid)), known.pw_name)


@contextlib.contextmanager
def _being(user: User | None) -> Iterator[None]:
    """Switch the effective user and groups and back: what turns rows holds files of both at a time, so no other process will do.

    Who shortens a file that is mapped into memory ends this process by a signal, and no core is to be left, which would hold values.
    """
    wanted = user or User(0, os.getgid(), (), "root")
    if os.getuid() != 0 or os.geteuid() == wanted.uid:
        yield
        return
    before = User(os.geteuid(), os.getegid(), tuple(os.getgroups()), "")
    mask, cores = os.umask(PRIVATE), resource.getrlimit(resource.RLIMIT_CORE)
    try:
        _become(wanted)
        resource.setrlimit(resource.RLIMIT_CORE, (0, cores[1]))
        yield
    finally:
        _become(before)
        resource.setrlimit(resource.RLIMIT_CORE, cores)
        os.umask(mask)


def _become(user: User) -> None:
    try:
        os.seteuid(0)
        os.setgroups(user.groups)
        os.setegid(user.gid)
        os.seteuid(user.uid)
    except PermissionError:
        raise KeyturnError(
            f"this process is root and may not become {user.name or user.uid}, to whom the ground belongs: let it have the "
            "capabilities CAP_SETUID and CAP_SETGID"
        ) from None
