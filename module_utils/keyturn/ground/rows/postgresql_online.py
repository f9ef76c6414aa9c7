"""Turning rows of a PostgreSQL database while the application, which reads both keys and writes under one, serves and writes.

Nobody waits long for us: a page is one short transaction, and where a row of it is locked the page is let go, and comes again smaller.
So no deadlock comes either, of which the server would make the application the victim.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ...base.errors import KeyturnError
from .contract import Online
from .postgresql_session import LOCKED, Cursor, transaction
from .postgresql_staging import FIRST, GROWTH, Goal, Staging, fetched, holders, put, triggers_away
from .postgresql_table import Column
from .sqlite_file import Row

# at most; after a page that was let go the next is as much smaller as it is larger after one that was written
PAGE = 1_000
# of a rehearsal
TRIED = 100
DEADLOCK = "40P01"
# how long somebody may hold a row, or a transaction that has written, before that is told
PATIENCE_SECONDS, LOOK_SECONDS = 60.0, 0.1
# shorter than the time after which a session that waits for us looks for a deadlock
BRIEFLY = """
SELECT set_config('lock_timeout', least(100, greatest(1, setting::int / 2))::text, true),
       set_config('synchronous_commit', 'off', true)
  FROM pg_settings WHERE name = 'deadlock_timeout'
"""
# who has written to the tables, or to parts of them, and not ended yet
WRITING = """
SELECT l.virtualtransaction FROM pg_locks l
 WHERE l.mode = 'RowExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT t.oid FROM unnest(%s::oid[]) t(oid)
                      UNION SELECT p.relid FROM unnest(%s::oid[]) t(oid), pg_partition_tree(t.oid) p)
"""


TurnsPage = Callable[[Sequence[Row]], Iterable[Goal]]


class Work(NamedTuple):
    """The columns to turn, each with what makes goals of a page of its rows."""

    connection: Any
    staging: Staging
    name: str
    targets: Sequence[Column]
    turners: Sequence[TurnsPage]

    def turn(self, deadline: float) -> Online:
        """Turn pages until ``deadline`` of the monotonic clock, from where the last call has come to; begin anew after the last one."""
        read = turned = 0
        for number in range(len(self.targets)):
            size, since = min(FIRST, PAGE), time.monotonic()
            while True:
                if read and time.monotonic() > deadline:
                    return Online(read, turned, finished=False)
                try:
                    found, written = self._page(number, size)
                except Exception as error:
                    self._check_busy(error, since)
                    size = max(1, size // GROWTH)
                    continue
                if not found:
                    break
                read, turned = read + found, turned + written
                size, since = min(PAGE, found * GROWTH), time.monotonic()
        with transaction(self.connection) as cursor:
            cursor.execute("SELECT set_config('synchronous_commit', 'on', true)")
            self.staging.begin_anew(cursor)
        return Online(read, turned, finished=True)

    def _page(self, number: int, size: int) -> tuple[int, int]:
        """Return how many rows a page has, and how many were written: of the others somebody else knows better."""
        target = self.targets[number]
        with transaction(self.connection) as cursor:
            cursor.execute(BRIEFLY)
            page = self.staging.page(cursor, number, target, size)
            if not page:
                return 0, 0
            written = self._put(cursor, target, [*self.turners[number](page)])
            self.staging.reach(cursor, number, page[-1].locator)
        return len(page), written

    def rehearse(self) -> None:
        """Write the first rows of each column and take it back."""
        for number, target in enumerate(self.targets):
            since = time.monotonic()
            while True:
                try:
                    with contextlib.suppress(_Enough), transaction(self.connection) as cursor:
                        cursor.execute(BRIEFLY)
                        query = f"SELECT {target.select()} FROM {target.table} t LIMIT {TRIED}"  # noqa: S608
                        for page in [*fetched(cursor, target, query)]:
                            self._put(cursor, target, [*self.turners[number](page)])
                        raise _Enough
                except Exception as error:
                    self._check_busy(error, since)
                else:
                    break

    @staticmethod
    def _put(cursor: Cursor, target: Column, goals: Sequence[Goal]) -> int:
        if not goals:
            return 0
        with triggers_away(cursor, target):
            return put(cursor, target, goals)

    def _check_busy(self, error: Exception, since: float) -> None:
        """Raise ``error`` again unless it is that a row was locked; KeyturnError once that is so for too long."""
        if getattr(error, "pgcode", "") not in (LOCKED, DEADLOCK):
            raise error
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise self._held() from None

    def _held(self) -> KeyturnError:
        with transaction(self.connection, snapshot=True) as cursor:
            named = holders(cursor, self.targets)
        return KeyturnError(
            f"{self.name}: another session has held what it has written there for {PATIENCE_SECONDS:.0f} s ({named}): end it, then run "
            "resume.yml"
        )

    def wait_for_writers(self) -> None:
        """Wait until all who have written have ended, so that the next look sees it; nobody waits for us."""
        deadline, oids = time.monotonic() + PATIENCE_SECONDS, [target.oid for target in self.targets]
        first: set[str] | None = None
        while first is None or first:
            with transaction(self.connection, snapshot=True) as cursor:
                cursor.execute(WRITING, (oids, oids))
                found = {one for (one,) in cursor.fetchall()}
            first = found if first is None else first & found
            if first and time.monotonic() > deadline:
                raise self._held()
            time.sleep(LOOK_SECONDS if first else 0)


class _Enough(Exception):
    """What was tried is taken back."""
