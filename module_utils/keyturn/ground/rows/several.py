"""The row store ``several``: data of one secret in more than one place, each of which is a store of its own.

Each is prepared and backed up beside the running service, in a folder of its own in that of the rotation, and all are switched one after
the other within one stop. There is no transaction over all of them, and none is needed: both values stay durable until the rotation
ends, and of each store it is its rows that say under which they are. A switch that was cut off between two stores is done once more, the
same way or back, and does nothing where nothing is left to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ...base import durable
from ...base.errors import KeyturnError
from ...base.sides import Side
from .contract import Backup, Census, Examined, Online, Prepared, RowStore, Space, Turned


class Several:
    """The contract over some stores: what one of them says is told with its name."""

    def __init__(self, stores: Sequence[RowStore]) -> None:
        self.parts = stores
        self.name = " and ".join(store.name for store in stores)
        self.label = " and ".join(store.label for store in stores)
        self.secrets = tuple(secret for store in stores for secret in store.secrets)
        # of each store what the journal keeps of it, once it has begun to be prepared
        self._marks: list[dict[str, Any]] = []

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        """Examine each store, and add up their rows."""
        found = [store.examine(allow_empty, encrypt_plaintext) for store in self.parts]
        rows: Counter[str] = Counter()
        for one in found:
            rows.update(one.rows)
        return Examined(dict(rows), self._named(one.findings for one in found))

    def _named(self, told: Iterator[list[str]]) -> list[str]:
        return [f"{store.name}: {line}" for store, lines in zip(self.parts, told, strict=True) for line in lines]

    def space(self) -> Space:
        """Add up what they need: all of it is there at once."""
        found = [store.space() for store in self.parts]
        beside: Counter[Path] = Counter()
        for one in found:
            beside.update(one.beside)
        return Space(sum(one.kept for one in found), beside)

    def check_switch(self) -> None:
        """Check each."""
        for store in self.parts:
            store.check_switch()

    def census(self) -> Census:
        """Add up what is found in them."""
        found = [store.census() for store in self.parts]
        rows: Counter[str] = Counter()
        for one in found:
            rows.update(one["rows"])
        pairs = list(zip(self.parts, found, strict=True))
        return {
            "rows": dict(rows),
            "under": {side: sum(one["under"][side] for one in found) for side in ("old", "new")},
            "refused": sum(one["refused"] for one in found),
            "refusals": "; ".join(f"{store.name}: {one['refusals']}" for store, one in pairs if one["refused"]),
            "empty_tables": [table for one in found for table in one["empty_tables"]],
        }

    def sample(self) -> Census:
        """Open every row: none of its stores is shared."""
        return self.census()

    def refusal(self, census: Census) -> str:
        """Return the sentence about rows that cannot be turned."""
        count, named = census["refused"], census["refusals"]
        return f"{count} rows cannot be turned, nothing was changed: {named}" if count else ""

    def backup(self, folder: Path, online: bool) -> Backup:
        """Back up each; where one cannot be copied beside the running service, all are once more under the stop."""
        made = [store.backup(own, online) for store, own in self._in(folder)]
        sums = "".join(one["sha256"] for one in made)
        return {
            "path": ", ".join(one["path"] for one in made),
            "bytes": sum(one["bytes"] for one in made),
            "sha256": hashlib.sha256(sums.encode()).hexdigest(),
            "parts": made,
        }

    def _in(self, folder: Path) -> Iterator[tuple[RowStore, Path]]:
        """Yield each store with the folder for what it keeps."""
        for number, store in enumerate(self.parts, 1):
            own = folder / str(number)
            durable.make_private_folder(own)
            yield store, own

    def recall(self, folder: Path, prepared: Mapping[str, object] | None) -> bool:
        """Recall each; True where all that the journal says of any of them is vouched for."""
        known = list(cast(Sequence[dict[str, Any]], (prepared or {}).get("parts", [])))
        each = zip(self._in(folder), [*known, *[None] * len(self.parts)], strict=False)
        held = [store.recall(own, mark) for (store, own), mark in each]
        self._marks = known if all(held[: len(known)]) else []
        return bool(self._marks)

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        """Prepare one store after the other. Where one is not vouched for all are gone through, each from where it is vouched for."""
        deadline = time.monotonic() + seconds
        staged = read = 0
        for number, store in enumerate(self.parts):
            if number < len(self._marks) and self._marks[number]["finished"]:
                continue
            part = store.prepare(encrypt_plaintext, deadline - time.monotonic())
            self._marks[number:] = [{**store.marks(part.finished), "finished": part.finished}]
            staged, read = staged + part.staged, read + part.read
            if not part.finished or time.monotonic() > deadline:
                break
        return Prepared(staged, read, len(self._marks) == len(self.parts) and self._marks[-1]["finished"])

    def marks(self, finished: bool) -> dict[str, object]:
        """Return the marks of each that has begun."""
        return {"parts": self._marks}

    def check_unused(self) -> None:
        """Check each, before the first is switched."""
        for store in self.parts:
            store.check_unused()

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        """Switch one after the other; each is whole on one side at every moment."""
        found = [store.switch(to, encrypt_plaintext) for store in self.parts]
        told: Turned = {
            "turned": sum(one["turned"] for one in found),
            "on_the_fly": sum(one["on_the_fly"] for one in found),
            "left": self._joined(found, lambda one: one["left"]),
        }
        encrypted = self._joined(found, lambda one: one.get("encrypted", ""))
        return told | {"encrypted": encrypted} if encrypted else told

    def _joined(self, found: Sequence[Turned], part: Callable[[Turned], str]) -> str:
        told = [(store.name, part(one)) for store, one in zip(self.parts, found, strict=True)]
        return "; ".join(f"{name}: {text}" for name, text in told if text)

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        """Turn one after the other; of which nothing is left, a later call goes by until all are."""
        deadline = time.monotonic() + seconds
        done: list[Path] = []
        read = turned = 0
        parts = []
        for store, own in self._in(folder):
            done.append(own / f"prepared.turned_to_{to}")
            if done[-1].exists():
                continue
            part = store.turn_online(to, own, deadline - time.monotonic())
            parts.append((store, part))
            read, turned = read + part.read, turned + part.turned
            if not part.finished:
                return Online(read, turned, finished=False)
            if not part.left:
                durable.write_file(done[-1], b"")
        for mark in done:
            durable.remove(mark)
        refusals = "; ".join(f"{store.name}: {part.refusals}" for store, part in parts if part.refusals)
        return Online(read, turned, True, sum(part.left for _, part in parts), refusals)

    def opened_before(self, seconds: float) -> list[str]:
        """Ask each."""
        return [named for store in self.parts for named in store.opened_before(seconds)]

    def forget(self, rotation_id: str) -> None:
        """Have each forget it."""
        for store in self.parts:
            store.forget(rotation_id)

    def left(self) -> list[str]:
        """Name what is left in each."""
        return self._named(store.left() for store in self.parts)

    def residue(self) -> list[str]:
        """Look through each."""
        return self._named(store.residue() for store in self.parts)

    def restore(self, folder: Path, backup: Mapping[str, object], scratch: Path) -> int:
        """Restore each in a folder of its own."""
        rows = 0
        for (store, own), part in zip(self._in(folder), cast(Sequence[Backup], backup["parts"]), strict=True):
            place = scratch / own.name
            place.mkdir(mode=0o700)
            with _told(store):
                rows += store.restore(own, part, place)
        return rows


@contextlib.contextmanager
def _told(store: RowStore) -> Iterator[None]:
    try:
        yield
    except KeyturnError as error:
        raise KeyturnError(f"{store.name}: {error}") from None
