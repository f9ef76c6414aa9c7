"""The row store ``fernet_postgresql``: Fernet tokens in columns of a PostgreSQL database that all hosts share.

What is prepared stands in a schema of the rotation's own in the same database, so that any host goes on with it. All that is
believed of it is what the rows say: a row that is not as it was staged is turned by what opens it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ...base import durable
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprint
from ...base.sides import Side, other
from . import backup_file, fernet_forms, postgresql_copy, postgresql_online, postgresql_scan
from .contract import Backup, Census, Examined, Online, Prepared, RowStore, Space, Spec, Turned
from .fernet_forms import FORMS, JSON, Opened, Stored, Turner, Unreadable, of_any_shape
from .fernet_json import JsonPages
from .fernet_keys import fernet_keys
from .fernet_pages import Pages
from .postgresql_session import STATEMENT_SECONDS, Cursor, Login, check_server, transaction
from .postgresql_staging import (
    FIRST,
    GROWTH,
    Known,
    Staging,
    as_they_are,
    fetched,
    lock,
    portion,
    put_staged,
    staged_by,
    triggers_away,
    write,
)
from .postgresql_table import Column, column
from .row_counts import Refusals, Tally
from .sqlite_file import Row, quote

BACKUP = "backup.sql"
# of a copy: what escapes, hexadecimal digits and compression (TOAST) may make of the bytes that a table takes
TIMES, BESIDES = 16, 64 << 20
PAGE = 5_000
# of statements that read or write all rows at once
LONGEST_SECONDS = 6 * 3600
REPLICAS = "{name} has {count} replicas: a service that reads rows from one sees them turned when that has caught up"
SIDES: tuple[Side, Side] = ("old", "new")
# how long sessions of a service that has just been stopped may take to go, and between two looks
GONE_SECONDS, LOOK_SECONDS = 15.0, 0.2
# when a session began the server tells its own role alone, and members of pg_read_all_stats
# and what a role may do counts that it may become; the rows of a partition are those of its table
WRITERS = """
SELECT DISTINCT format('%%s of %%s%%s', a.pid, a.usename, coalesce(' from ' || host(a.client_addr), '')), a.pid
  FROM pg_stat_activity a
 WHERE a.datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND a.pid <> pg_backend_pid()
   AND (%s = 0 OR a.backend_start < clock_timestamp() - make_interval(secs => %s))
   AND a.usesysid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
   AND (a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user)
        OR EXISTS (SELECT FROM pg_roles r, unnest(%s::oid[]) t(oid),
                          LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid)) p
                    WHERE pg_has_role(a.usesysid, r.oid, 'MEMBER') AND has_any_column_privilege(r.oid, p.oid, 'INSERT, UPDATE')))
 ORDER BY a.pid
"""
# an update that no subscriber could be told: of a table without replica identity, or one that lacks columns of a filter
UNPUBLISHABLE = ("55000", "42P10")


class PostgresqlStore:
    """The contract over the declared columns of one database."""

    def __init__(
        self,
        spec: Spec,
        root: Path,
        variables: Sequence[str],
        values: Mapping[Side, Mapping[str, str]],
        accepted: Collection[str],
    ) -> None:
        self._declared = spec["columns"]
        rule, separator, variable = spec.get("key"), spec.get("separator"), variables[0]
        lists = {side: fernet_keys(rule, variable, held[variable], separator) for side, held in values.items()}
        keys = {side: listed[0] for side, listed in lists.items()}
        self._ciphers = {side: fernet_forms.cipher(variable, listed) for side, listed in lists.items()}
        self._accepted = accepted
        self._login = Login(spec, root)
        self.name = self.label = self._login.name
        self.parts: Sequence[RowStore] = (self,)
        made = [key for listed in lists.values() for key in listed] if rule or separator else []
        self.secrets = (*self._login.secrets, *made)
        # of both sides: what was prepared for other values is not this rotation's
        self._marks = json.dumps({side: fingerprint(key) for side, key in keys.items()}, sort_keys=True)
        self._values = [self._pages(declared, keys) for declared in self._declared]
        self._forms = (*FORMS, JSON) if any(declared.get("paths") for declared in self._declared) else FORMS
        self._staging, self._recalled = Staging("", self._marks), False

    def _pages(self, declared: Spec, keys: Mapping[Side, str]) -> Pages:
        turner = Turner(self._ciphers, declared.get("plaintext"))
        return JsonPages(turner, keys, declared["paths"]) if declared.get("paths") else Pages(turner, keys)

    @contextlib.contextmanager
    def _transaction(self, *, snapshot: bool = False, seconds: float = STATEMENT_SECONDS) -> Iterator[Cursor]:
        with (
            self._login.connected() as connection,
            transaction(connection, snapshot=snapshot, seconds=seconds) as cursor,
        ):
            check_server(self._login, cursor, connection.info.backend_pid)
            yield cursor

    def _columns(self, cursor: Cursor) -> list[Column]:
        try:
            known = zip(self._declared, self._values, strict=True)
            return [column(cursor, one)._replace(weigh=values.weigh) for one, values in known]
        except KeyturnError as error:
            raise KeyturnError(f"{self.name}: {error}") from None

    # -- reading ---------------------------------------------------------------------------------------------------

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        """Look at the server and the tables, open every row, and look for tokens where none is declared."""
        if encrypt_plaintext:
            raise KeyturnError(
                f"{self.name}: unset keyturn_encrypt_plaintext_rows: plaintext rows of a PostgreSQL database stay as they are"
            )
        with self._transaction(snapshot=True) as cursor:
            targets = self._columns(cursor)
            self._staging.check_alone(cursor, self.name)
            census = self._census(cursor, targets)
            if refusal := self.refusal(census):
                raise KeyturnError(refusal)
            if empty := [table for table in census["empty_tables"] if table not in allow_empty]:
                raise KeyturnError(
                    f"{self.name}: table {', '.join(empty)} has no rows, so nothing would prove the new key; if that is right, set "
                    f"keyturn_allow_empty_tables: [{', '.join(empty)}]"
                )
            self._explain(cursor, targets)
            cursor.execute("SELECT count(*) FROM pg_stat_replication")
            (replicas,) = cursor.fetchone()
            found = postgresql_scan.undeclared(
                cursor, targets, functools.partial(fernet_forms.opens, self._ciphers["old"])
            )
        if found.opening:
            raise KeyturnError(
                f"{self.name}: tokens of this key stand where the catalogue declares none: {', '.join(found.opening)}; add these columns "
                "to the migration, or, of a materialized view, take them out of it"
            )
        plain = census["rows"]["plaintext"]
        findings = [f"{plain} rows are plaintext and stay so"] if plain else []
        findings += [REPLICAS.format(name=self.name, count=replicas)] if replicas else []
        findings += [f"{name} holds Fernet-like text that the value does not open" for name in found.other]
        findings += [
            f"{name} may not be read by the login: whether it holds tokens of this key is not known"
            for name in found.unseen
        ]
        return Examined(census["rows"], findings)

    def space(self) -> Space:
        """The backup is kept: a column is no longer than its table. What the server needs, its disk has to have."""
        with self._transaction(snapshot=True) as cursor:
            tables = [target.oid for target in self._columns(cursor)]
            cursor.execute(
                "SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint FROM unnest(%s::oid[]) t(oid)", (tables,)
            )
            (taken,) = cursor.fetchone()
        return Space(int(taken), {})

    def check_switch(self) -> None:
        """Have the server plan the statements of the switch: it looks at rights, types and names, and writes nothing."""
        with self._transaction(snapshot=True) as cursor:
            self._explain(cursor, self._columns(cursor))

    def _explain(self, cursor: Cursor, targets: Sequence[Column]) -> None:
        for target in targets:
            try:
                cursor.execute(f"EXPLAIN UPDATE {target.table} t SET {target.column} = NULL WHERE false")  # noqa: S608
            except Exception as error:
                if getattr(error, "pgcode", "") not in UNPUBLISHABLE:
                    raise
                raise KeyturnError(
                    f"{self.name}: {target.name}: its table is published (logical replication) so that the server lets nobody update it: "
                    "give it a replica identity that has the columns of the publication's filter"
                ) from None

    def census(self) -> Census:
        """Open every row, in one snapshot."""
        with self._transaction(snapshot=True) as cursor:
            return self._census(cursor, self._columns(cursor))

    def sample(self) -> Census:
        """Open the first page of each column."""
        with self._transaction(snapshot=True) as cursor:
            return self._census(cursor, self._columns(cursor), most=PAGE)

    def _census(self, cursor: Cursor, targets: Sequence[Column], most: int | None = None) -> Census:
        rows: Counter[str] = Counter(dict.fromkeys(self._forms, 0))
        under: Counter[str] = Counter(old=0, new=0)
        refusals, empty = Refusals(), []
        for target, values in zip(targets, self._values, strict=True):
            before = rows.total() + refusals.count
            limit = f" ORDER BY {', '.join(f't.{key}' for key in target.keys)} LIMIT {most}" if most else ""
            for page in fetched(cursor, target, f"SELECT {target.select()} FROM {target.table} t{limit}"):  # noqa: S608
                for _, opened in self._open(page, target, values, refusals):
                    rows[opened.form] += 1
                    under.update(side for side in SIDES if opened.under(side))
            if rows.total() + refusals.count == before:
                empty.append(target.name.rpartition(".")[0])
        return {
            "rows": {form: rows[form] for form in self._forms},
            "under": {side: under[side] for side in SIDES},
            "refused": refusals.count,
            "refusals": str(refusals),
            "empty_tables": list(dict.fromkeys(empty)),
        }

    def refusal(self, census: Census) -> str:
        """Return the sentence about rows that cannot be turned."""
        count, named = census["refused"], census["refusals"]
        return f"{self.name}: {count} rows cannot be turned, nothing was changed: {named}" if count else ""

    def _open(
        self, page: Sequence[Row], target: Column, values: Pages, refusals: Refusals, tally: Tally | None = None
    ) -> Iterator[tuple[Row, Opened]]:
        for row, opened in zip(page, values.open_rows(page, target.flag), strict=True):
            found = of_any_shape(opened) if str(row.item) in self._accepted else opened
            if tally is not None:
                tally.add(target.identity(row), row.stored if isinstance(found, Unreadable) else found.plaintext)
            if isinstance(found, Unreadable):
                refusals.add(target, row, str(found), found.hint)
            else:
                yield row, found

    # -- backup ----------------------------------------------------------------------------------------------------

    def backup(self, folder: Path, online: bool) -> Backup:
        """Copy what the columns hold, by the keys of the rows, in one snapshot: a script that psql runs. Then try the switch."""
        path, most = folder / BACKUP, TIMES * self.space().kept + BESIDES
        durable.remove(path)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with path.open("w", encoding="utf-8", newline="") as file, self._transaction(snapshot=True) as cursor:
            for number, target in enumerate(self._columns(cursor)):
                postgresql_copy.write(cursor, file, number, target, most)
            file.flush()
            os.fsync(file.fileno())
        durable.sync_folder(folder)
        if online:
            self._rehearse()
        return backup_file.described(path)

    def _rehearse(self) -> None:
        """Turn the first rows and take it back: a constraint may forbid what reading does not show."""
        with self._login.connected() as connection:
            with transaction(connection, snapshot=True) as cursor:
                targets = self._columns(cursor)
            postgresql_online.Work(
                connection, self._staging, self.name, targets, self._turners(targets, "new")
            ).rehearse()

    def _turners(self, targets: Sequence[Column], to: Side) -> list[postgresql_online.TurnsPage]:
        return [
            functools.partial(self._turned, target=target, values=values, to=to, refusals=Refusals())
            for target, values in zip(targets, self._values, strict=True)
        ]

    def restore(self, folder: Path, backup: Mapping[str, object], scratch: Path) -> int:
        """Read the copy as psql would, and open each of its rows."""
        path = folder / BACKUP
        backup_file.check(path, backup)
        count = closed = 0
        for number, rows in postgresql_copy.read(path, PAGE):
            count += len(rows)
            while rows:
                page = portion(rows, self._values[number].weigh)
                opened = self._values[number].open_rows(page, self._declared[number].get("flag") or "")
                closed += sum(
                    isinstance(found, Unreadable) and row.item not in self._accepted
                    for row, found in zip(page, opened, strict=True)
                )
                rows = rows[len(page) :]
        if closed:
            raise KeyturnError(f"{closed} of {count} rows of the backup do not open")
        return count

    # -- prepare ---------------------------------------------------------------------------------------------------

    def recall(self, folder: Path, prepared: Mapping[str, object] | None) -> bool:
        """Look for what this rotation has prepared in the database, on whichever host: its schema says for which values."""
        self._staging = Staging(folder.name, self._marks)
        with self._transaction(snapshot=True) as cursor:
            self._recalled = self._staging.stands(cursor)
        return self._recalled

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        """Compute new ciphertexts, a page in each transaction; each is opened again before it is written down."""
        deadline = time.monotonic() + seconds
        staged = read = 0
        with self._login.connected() as connection:
            with transaction(connection) as cursor:
                check_server(self._login, cursor, connection.info.backend_pid)
                targets = self._columns(cursor)
                self._staging.check_alone(cursor, self.name)
                if not self._recalled or not all(self._staging.fits(cursor, *one) for one in enumerate(targets)):
                    self._staging.make(cursor, targets)
            self._recalled = True
            for number, (target, values) in enumerate(zip(targets, self._values, strict=True)):
                size = min(FIRST, PAGE)
                while True:
                    if read and time.monotonic() > deadline:
                        return Prepared(staged, read, finished=False)
                    with transaction(connection) as cursor:
                        cursor.execute("SET LOCAL synchronous_commit = off")  # the last one makes all of them durable
                        page = self._staging.page(cursor, number, target, size)
                        if not page:
                            break
                        turned = self._prepared(page, target, values)
                        self._staging.add(cursor, number, target, turned, page[-1].locator)
                    staged, read, size = staged + len(turned), read + len(page), min(PAGE, GROWTH * len(page))
            with transaction(connection) as cursor:
                self._staging.finish(cursor, targets)
        with (
            self._login.connected(LONGEST_SECONDS) as connection,
            transaction(connection, seconds=LONGEST_SECONDS) as cursor,
        ):
            self._staging.settle(cursor, len(targets))
        return Prepared(staged, read, finished=True)

    def _prepared(self, page: Sequence[Row], target: Column, values: Pages) -> list[tuple[Row, Stored]]:
        refusals = Refusals()
        turned = [*self._turned(page, target, values, "new", refusals)]
        if refusals.count:
            raise KeyturnError(f"{self.name}: {refusals.count} rows cannot be turned: {refusals}")
        return turned

    def _turned(
        self, page: Sequence[Row], target: Column, values: Pages, to: Side, refusals: Refusals
    ) -> Iterator[tuple[Row, Stored]]:
        turning = [
            (row, opened) for row, opened in self._open(page, target, values, refusals) if opened.under(other(to))
        ]
        new = values.turn([(row.stored, opened) for row, opened in turning], to)
        yield from ((row, stored) for (row, _), stored in zip(turning, new, strict=True))

    def marks(self, finished: bool) -> dict[str, object]:
        """Return nothing: what was prepared is known by what stands in the database."""
        return {}

    def forget(self, rotation_id: str) -> None:
        """Drop the schema of the rotation."""
        with self._login.connected() as connection, transaction(connection) as cursor:
            Staging(rotation_id, "").drop(cursor)

    def left(self) -> list[str]:
        """Name schemas of rotations."""
        with self._transaction(snapshot=True) as cursor:
            return [
                f"{self.name}: the schema {name} is left of a rotation: DROP SCHEMA {quote(name)} CASCADE, unless one is open on another "
                "host"
                for name in staged_by(cursor)
            ]

    # -- switch ----------------------------------------------------------------------------------------------------

    def check_unused(self) -> None:
        """Ask the server who else is in the database and may write to the tables; sessions of a stopped service take a moment to go."""
        deadline = time.monotonic() + GONE_SECONDS
        with self._login.connected() as connection:
            while True:
                with transaction(connection) as cursor:
                    found = self._writers(cursor, 0)
                if not found:
                    return
                if time.monotonic() > deadline:
                    raise KeyturnError(
                        f"{self.name}: {len(found)} other sessions may write to its rows ({', '.join(found[:5])}): stop what they belong "
                        "to, or end an idle one by pg_terminate_backend"
                    )
                time.sleep(LOOK_SECONDS)

    def opened_before(self, seconds: float) -> list[str]:
        """Name the sessions that may write to the tables and began more than ``seconds`` ago."""
        with self._transaction(snapshot=True) as cursor:
            return [f"session {name} of {self.name}" for name in self._writers(cursor, seconds)]

    def _writers(self, cursor: Cursor, seconds: float) -> list[str]:
        cursor.execute(WRITERS, (seconds, seconds, [target.oid for target in self._columns(cursor)]))
        return [name for name, _ in cursor.fetchall()]

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        """Put all rows under the key of ``to``: one transaction, in which nobody else writes, each row checked before the commit."""
        self.check_unused()
        left, turned, on_the_fly, key = Refusals(), 0, 0, os.urandom(32)
        with (
            self._login.connected(LONGEST_SECONDS) as connection,
            transaction(connection, seconds=LONGEST_SECONDS) as cursor,
        ):
            check_server(self._login, cursor, connection.info.backend_pid)
            targets = self._columns(cursor)
            self._staging.check_alone(cursor, self.name)
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
            )
            lock(cursor, targets, self.name)
            for number, (target, values) in enumerate(zip(targets, self._values, strict=True)):
                fits = self._recalled and self._staging.fits(cursor, number, target)
                staged = self._staging.table(number) if fits else None
                known = Known(target, staged, to)
                with triggers_away(cursor, target):
                    rows = _count(cursor, target)
                    turned += put_staged(cursor, target, staged, to) if staged else 0
                    # all others are as they were: nobody else writes, and the statement has seen what was staged alone
                    before, _ = self._held(cursor, target, values, known, key)
                    for page in fetched(cursor, target, known.loose()) if before.rows else ():
                        goals = [*self._turned(page, target, values, to, left)]
                        write(cursor, target, goals)
                        turned, on_the_fly = turned + len(goals), on_the_fly + len(goals)
                    if left.count and to == "new":
                        raise KeyturnError(f"{self.name}: {left.count} rows cannot be turned, all stay: {left}")
                    self._check(cursor, target, values, known, before, rows)
        return {"turned": turned, "on_the_fly": on_the_fly, "left": str(left)}

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        """Turn rows page by page, going on from where the schema of the rotation says; then open all in one snapshot."""
        marks = json.dumps([self._marks, to])  # a place on the way forward is none on the way back
        with self._login.connected() as connection:
            with transaction(connection) as cursor:
                check_server(self._login, cursor, connection.info.backend_pid)
                targets = self._columns(cursor)
                staging = Staging(folder.name, marks)
                staging.check_alone(cursor, self.name)
                if not staging.stands(cursor):
                    staging.begin(cursor, len(targets))
            work = postgresql_online.Work(connection, staging, self.name, targets, self._turners(targets, to))
            part = work.turn(time.monotonic() + seconds)
            if not part.finished:
                return part
            work.wait_for_writers()
            with transaction(connection, snapshot=True) as cursor:
                census = self._census(cursor, targets)
        return part._replace(left=census["under"][other(to)], refusals=census["refusals"])

    def _held(self, cursor: Cursor, target: Column, values: Pages, known: Known, key: bytes) -> tuple[Tally, Refusals]:
        """Count in a tally what the rows hold that are not known; name those that are under the other side."""
        tally, missed = Tally(key), Refusals()
        for page in fetched(cursor, target, known.loose()):
            for row, opened in self._open(page, target, values, Refusals(), tally):
                if known.side and opened.under(other(known.side)):
                    missed.add(target, row, f"is still under the {other(known.side)} value")
        return tally, missed

    def _check(self, cursor: Cursor, target: Column, values: Pages, known: Known, before: Tally, rows: int) -> None:
        """Show that each row holds what it held: as many rows, and the same plaintexts in those that were not staged."""
        after, missed = self._held(cursor, target, values, known, before.key) if before.rows else (before, Refusals())
        why, now = str(missed), _count(cursor, target)
        if now != rows:
            why = f"its table had {rows} rows and would have {now}"
        elif not missed.count and (after.rows, after.sum) != (before.rows, before.sum):
            why = "a row would not hold the plaintext that it held before"
        if why:
            raise KeyturnError(f"{self.name}: {target.name}: the check before the commit failed, all rows stay: {why}")

    def tally(self, key: bytes) -> list[tuple[int, int]]:
        """Open every row, in one snapshot."""
        found = []
        with self._transaction(snapshot=True) as cursor:
            for target, values in zip(self._columns(cursor), self._values, strict=True):
                held, _ = self._held(cursor, target, values, Known(target, None), key)
                found.append((held.rows, held.sum))
        return found

    def put_back(self, folder: Path) -> None:
        """Read the copy as psql would, and write rows that differ in one transaction, in which nobody else writes."""
        with (
            self._login.connected(LONGEST_SECONDS) as connection,
            transaction(connection, seconds=LONGEST_SECONDS) as cursor,
        ):
            check_server(self._login, cursor, connection.info.backend_pid)
            targets = self._columns(cursor)
            lock(cursor, targets, self.name)
            for number, kept in postgresql_copy.read(folder / BACKUP, PAGE):
                target, held = targets[number], {row.locator: row.stored for row in kept}
                with triggers_away(cursor, target):
                    rows = as_they_are(cursor, target, kept)
                    opened = self._open(rows, target, self._values[number], Refusals())
                    right = {row.locator for row, one in opened if one.under("old")}
                    goals = [(row, held[row.locator]) for row in rows if row.locator not in right]
                    write(cursor, target, [(row, stored) for row, stored in goals if row.stored != stored])

    def residue(self) -> list[str]:
        """Say where the server keeps what was replaced: nothing of it can be looked for."""
        return [
            f"{self.name}: replaced ciphertexts stand in dead rows until VACUUM FULL writes the tables anew (run it once the rotation has "
            "ended), and in the server's log of writes (WAL), its archive, replicas and backups for as long as these are kept"
        ]


def _count(cursor: Cursor, target: Column) -> int:
    cursor.execute(f"SELECT count(*) FROM {target.table}")  # noqa: S608
    return int(cursor.fetchone()[0])


def reach(spec: Spec, root: Path) -> None:
    """Refuse (Unreached) where this host does not come to the database."""
    with Login(spec, root).connected():
        pass
