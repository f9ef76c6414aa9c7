"""What a host knows of an intrusion and may soon forget: file times, logs, the journal, and what the providers have on record.

Everything is read and nothing is written. A source that cannot be had is named with the reason, and keeps back no other.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import heapq
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from urllib.parse import urlencode

from .. import providers
from ..base import files as regular
from ..base import folders, http, programs, shape, timestamps
from ..base.errors import KeyturnError
from ..base.seal import digest
from ..ground import owner
from ..ground.rows.contract import Item
from ..host.rotation import Holding
from ..inputs.catalogue import ServiceSpec

MEMBER_BYTES = 1 << 24
# of all logs together, which are in memory at a time
LOGS_BYTES, MOST_LOGS = 1 << 28, 500
FILES = 20_000
PAGES = 50
ITEMS = 500
ANSWER_BYTES = 1 << 23
JOURNAL_SECONDS = 120
SUMS = "SHA256SUMS"

Members = dict[str, bytes]


@dataclass(frozen=True)
class Scene:
    """What is asked for: the rotation of each secret that a source reads with, log files beyond the application's own, since when."""

    secrets: Mapping[str, Holding]
    app_root: Path
    services: Mapping[str, ServiceSpec]
    logs: Sequence[str]
    since: datetime
    app_user: str | None = None

    def values_of(self, kind: str) -> tuple[Holding, list[str]]:
        """Return the secret of a provider, and its current credential, which is never shown."""
        for holding in self.secrets.values():
            if (holding.entry["provider"] or {}).get("kind") == kind:
                held = holding.current_values()
                return holding, [held[name] for name in holding.variables]
        raise KeyturnError(f"keyturn_secrets has no credential of {kind}")


def collect(scene: Scene, sources: Sequence[str]) -> tuple[Members, dict[str, str]]:
    """Return the members of an archive, and the reason for each source that could not be had."""
    members: Members = {}
    missing: dict[str, str] = {}
    for name in sources:
        try:
            members |= SOURCES[name](scene)
        except KeyturnError as error:
            missing[name] = str(error)
        except OSError as error:
            missing[name] = f"{error.filename or 'the system'}: {error.strerror}"
        except (subprocess.SubprocessError, ValueError):
            missing[name] = "it does not answer, or with something else"
    return members, missing


def archive(members: Members, at: int) -> bytes:
    """Return a compressed tar of the members, with the list of their SHA-256; ``at`` is the time of all of them.

    The same members and the same time give the same bytes.
    """
    listed = members | {
        SUMS: "".join(f"{digest(content)}  {name}\n" for name, content in sorted(members.items())).encode()
    }
    whole = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=whole, mode="wb", compresslevel=6, mtime=at) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, content in sorted(listed.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o600, at
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def listing(members: Members) -> list[dict[str, str | int]]:
    """Return name, size and SHA-256 of each member."""
    return [
        {"name": name, "bytes": len(content), "sha256": digest(content)} for name, content in sorted(members.items())
    ]


def files(scene: Scene) -> Members:
    """List the application's files with owner, mode and all times. Their content is left where it is."""
    lines = list(islice(_listed(scene.app_root, scene.app_user), FILES))
    return {"files.jsonl": "".join(lines).encode()}


def _listed(root: Path, user: str | None) -> Iterator[str]:
    """A line for each file, and one for each folder whose names are not all seen."""
    left_out: list[str] = []
    try:
        for entry in folders.below(root, looking=owner.listing(user, left_out)):
            if line := _described(Path(entry.path), user):
                yield line
    except folders.TooMany as error:
        left_out.append(str(error))
    yield from (json.dumps({"left out": why}) + "\n" for why in left_out)


def _described(path: Path, user: str | None) -> str:
    with contextlib.suppress(OSError, KeyturnError):
        with owner.looking(path, user):
            held = path.lstat()
        times = {name: getattr(held, f"st_{name}_ns") / 1e9 for name in ("atime", "mtime", "ctime")}
        more = {"bytes": held.st_size, "mode": stat.filemode(held.st_mode), "uid": held.st_uid, "gid": held.st_gid}
        return json.dumps({"path": str(path), **more, **times}, sort_keys=True) + "\n"
    return ""


def logs(scene: Scene) -> Members:
    """Copy the newest part of every log file: the application's, and those that the inventory names."""
    named = [scene.app_root / service["log_file"] for service in scene.services.values() if service.get("log_file")]
    left_out: list[str] = []
    named += [path for pattern in scene.logs for path in _matching(pattern, left_out)]
    with contextlib.suppress(KeyturnError), owner.looking(scene.app_root / "logs/any file", scene.app_user):
        named += _matching(f"{glob.escape(str(scene.app_root))}/logs/*.log", left_out)
    found = [path for path in dict.fromkeys(named) if path.is_file()][:MOST_LOGS]
    if not found:
        raise KeyturnError("there is no log file: name them by keyturn_incident_logs")
    # whoever may write a log's folder chooses its name, and the members are listed in the document
    members = {f"logs/{number:04}.log": path for number, path in enumerate(found, 1)}
    said = {name: str(path) for name, path in members.items()} | ({"left out": "; ".join(left_out)} if left_out else {})
    listed = json.dumps(said, indent=1)
    read, left = {"logs/names.json": listed.encode()}, LOGS_BYTES
    for name, path in members.items():
        read[name] = _tail(path, min(MEMBER_BYTES, left))
        left -= len(read[name])
    return read


def _matching(pattern: str, left_out: list[str]) -> list[Path]:
    """Return what fits a pattern; ``left_out`` gets a sentence where there are too many names to look through."""
    try:
        return heapq.nsmallest(MOST_LOGS, folders.matching(pattern))
    except folders.TooMany as error:
        left_out.append(str(error))
        return []


def _tail(path: Path, most: int) -> bytes:
    """Read as whoever may put another file there: a link may lead anywhere. What cannot be read keeps back no other."""
    try:
        with owner.looking(path):
            opened = regular.opened(path)
    except KeyturnError as error:
        return f"it was not read: {error}\n".encode()
    except OSError as error:
        return f"it was not read: {error.strerror}\n".encode()
    with opened as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        return file.read(most)


def journal(scene: Scene) -> Members:
    """Copy the system's journal since the moment, the newest entries first and alone where it is long."""
    command = [
        "journalctl",
        "--quiet",
        "--no-pager",
        "--reverse",
        "--output=short-iso-precise",
        f"--since=@{int(scene.since.timestamp())}",
    ]
    done = programs.said(command, MEMBER_BYTES, JOURNAL_SECONDS)
    if done.code or not done.content:
        raise KeyturnError("journalctl shows nothing: run as root on a host with systemd")
    return {"journal.log": done.content}


def alpaca(scene: Scene) -> Members:
    """Ask Alpaca for the account, and for all orders and activities since the moment."""
    holding, values = scene.values_of("alpaca")
    url, headers = holding.entry["provider"]["url"].rstrip("/"), providers.alpaca_headers(values)

    def ask(path: str, **query: str | int) -> object:
        place = f"{path}?{urlencode(query)}" if query else path
        answer = http.ask(url + place, providers.TIMEOUT_SECONDS, headers, limit=ANSWER_BYTES)
        if not http.good(answer.status):
            raise KeyturnError(providers.evidence(f"GET {path}", answer, None, answer.headers.get("x-request-id")))
        if (found := shape.parse(answer.body)) is None:
            raise ValueError
        return found

    since = timestamps.text(scene.since)
    orders = _paged(
        lambda last: ask("/v2/orders", status="all", limit=500, direction="asc", after=last or since),
        "submitted_at",
        500,
    )
    token = "page_token"  # noqa: S105 - the name of a parameter
    activities = _paged(
        lambda last: ask(
            "/v2/account/activities", direction="asc", page_size=100, after=since, **({token: last} if last else {})
        ),
        "id",
        100,
    )
    found = {"account": ask("/v2/account"), "orders": orders, "activities": activities}
    return {f"alpaca/{name}.json": json.dumps(said, indent=1).encode() for name, said in found.items()}


def _paged(ask: Callable[[str], object], mark: str, size: int) -> list[dict[str, object]]:
    """Ask page by page; the last of a page says where the next begins."""
    found: list[dict[str, object]] = []
    last = ""
    for _ in range(PAGES):
        page = ask(last)
        if not isinstance(page, list) or any(shape.misfits("", [dict], page)):
            raise ValueError
        found += page
        if len(page) < size:
            break
        last = str(page[-1].get(mark, ""))
    return found


def plaid(scene: Scene) -> Members:
    """Ask Plaid what it knows of each item, with the application's own credential and tokens, which stay here."""
    holding, values = scene.values_of("plaid")
    url, headers = holding.entry["provider"]["url"].rstrip("/"), providers.plaid_headers(*values)
    lines = []
    for item in islice(_items(scene), ITEMS):
        answer = http.ask(f"{url}/item/get", providers.TIMEOUT_SECONDS, headers, {"access_token": item.token})
        said = answer.document()
        if said.get("error_code") == providers.PLAID_REFUSAL or answer.status is None:
            raise KeyturnError(
                providers.evidence("POST /item/get", answer, said.get("error_code"), said.get("request_id"))
            )
        lines.append(
            json.dumps({"item_id": item.name, "form": item.form, "status": answer.status, "said": said}) + "\n"
        )
    return {"plaid/items.jsonl": "".join(lines).encode()}


def _items(scene: Scene) -> Iterator[Item]:
    from ..ground.rows import tokens

    for holding in scene.secrets.values():
        kind = holding.entry["migration"]["kind"]
        store = holding.migration(holding.current_values(), None) if kind != "none" else None
        if store is not None:
            yield from tokens.of(kind, store).items()


SOURCES: dict[str, Callable[[Scene], Members]] = {
    "alpaca": alpaca,
    "files": files,
    "journal": journal,
    "logs": logs,
    "plaid": plaid,
}
