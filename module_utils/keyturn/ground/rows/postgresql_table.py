"""Columns of a PostgreSQL database that hold tokens: what is known of them, and what of their tables is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ...base.errors import KeyturnError
from .contract import Spec
from .postgresql_session import Cursor
from .sqlite_file import Cell, Row, quote

# how a column is read and compared: as text by its bytes, whatever its collation says is equal
TYPES = {"text": "text", "varchar": "text", "bytea": "bytea", "json": "json", "jsonb": "json"}
# the table with all its partitions, through which it is written, and the column in each
PARTS = """
WITH parts AS (
  SELECT a.attrelid AS oid, a.attnum AS number, a.attgenerated <> '' AS made
    FROM (SELECT to_regclass(%s)::oid AS oid UNION SELECT relid FROM pg_partition_tree(to_regclass(%s))) p
    JOIN pg_attribute a ON a.attrelid = p.oid AND a.attname = %s AND a.attnum > 0 AND NOT a.attisdropped)
"""
FACTS = """
SELECT c.oid, c.relkind, n.nspname, c.relname, a.attnum, b.typname, format_type(a.atttypid, NULL),
       EXISTS (SELECT FROM parts WHERE made), pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid),
       has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'UPDATE'),
       (SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
       EXISTS (SELECT FROM pg_constraint k JOIN parts ON k.conrelid = parts.oid AND parts.number = ANY (k.conkey)
               OR k.confrelid = parts.oid AND parts.number = ANY (k.confkey) WHERE k.contype = 'f'),
       EXISTS (SELECT FROM parts JOIN pg_attribute g ON g.attrelid = parts.oid AND g.attgenerated <> ''
               JOIN pg_attrdef d ON d.adrelid = g.attrelid AND d.adnum = g.attnum
               JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refobjid = parts.oid
               AND p.refobjsubid = parts.number),
       EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'),
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid),
       EXISTS (SELECT FROM parts JOIN pg_subscription_rel s ON s.srrelid = parts.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN parts ON parts.oid = c.oid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = parts.number
  JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
 WHERE c.oid = to_regclass(%s)
"""
KEYS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM unnest(%s::int2[]) WITH ORDINALITY AS k(number, place)
  JOIN pg_attribute a ON a.attrelid = %s AND a.attnum = k.number ORDER BY k.place
"""
# those that would run when the column is written; those of a statement run for the table that it names alone
TRIGGERS = """
SELECT DISTINCT tgname, tgenabled FROM pg_trigger JOIN parts ON tgrelid = parts.oid
 WHERE NOT tgisinternal AND tgtype & 16 <> 0 AND (tgattr = '' OR parts.number = ANY (tgattr))
   AND (tgtype & 1 <> 0 OR tgrelid = to_regclass(%s))
   AND tgenabled IN ('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
 ORDER BY tgname
"""


class Column(NamedTuple):
    """A column to work on: names quoted for SQL. ``keys`` are the primary key with its ``types``, ``item`` is what a person knows a row by.

    ``flag`` says of a row whether it is encrypted, where a column does. ``weigh`` says how many bytes of memory a value takes of its page.
    """

    name: str
    table: str
    oid: int
    column: str
    item: tuple[str, ...]
    keys: tuple[str, ...]
    types: tuple[str, ...]
    kind: str
    cast: str
    triggers: tuple[tuple[str, str], ...]
    flag: str
    weigh: Callable[[str | bytes], int] = len

    @property
    def value(self) -> str:
        """What is stored, as SQL of the table ``t``: text that is compared by its bytes, or bytes."""
        return f"t.{self.column}" if self.kind == "bytea" else f'(t.{self.column}::text COLLATE "C")'

    @property
    def stored(self) -> str:
        """The type in which it is staged."""
        return "bytea" if self.kind == "bytea" else 'text COLLATE "C"'

    def same_row(self, other: str) -> str:
        """Return the SQL condition that a row of the table ``t`` is that of another table."""
        return " AND ".join(f"t.{key} = {other}.{key}" for key in self.keys)

    def select(self) -> str:
        """Return the SQL list of what ``row`` takes: the key of a row as text, the name it is known by, what is stored."""
        first, *others = (f"t.{key}::text" for key in self.item)
        item = f"concat_ws(', ', {', '.join([first, *others])})" if others else first
        said = f"CASE lower(t.{self.flag}::text) WHEN 'true' THEN 1 WHEN '1' THEN 1 WHEN 'false' THEN 0 WHEN '0' THEN 0 END"
        flag = [f"CASE WHEN t.{self.flag} IS NULL THEN 0 ELSE {said} END"] if self.flag else ["1"]
        return ", ".join([*(f"t.{key}::text" for key in self.keys), item, *flag, self.value])

    def row(self, found: Sequence[Any]) -> Row:
        """Return a row that was selected so."""
        stored = found[-1]
        stored = bytes(stored) if isinstance(stored, memoryview) else stored
        return Row(tuple(found[: len(self.keys)]), found[-3], stored, found[-2])

    def identity(self, row: Row) -> tuple[Cell, ...]:
        """Return what a row is known by before and after it is turned."""
        return (row.item, *row.locator)


def column(cursor: Cursor, declared: Spec) -> Column:
    """Return a declared column as the database has it; KeyturnError for one that is not there, or that cannot be turned."""
    table, name, flag = declared["table"], declared["column"], declared.get("flag") or ""
    where = f"{table}.{name}"
    schema, _, alone = table.rpartition(".")
    named = f"{quote(schema or 'public')}.{quote(alone)}"
    cursor.execute(PARTS + FACTS, (named, named, name, named))
    facts = cursor.fetchone()
    if facts is None:
        raise KeyturnError(f"{where} does not exist: correct the columns of the migration in the catalogue")
    oid, _, schema, alone, _, base, cast, *_ = facts
    cursor.execute(PARTS + TRIGGERS, (named, named, name, named))
    triggers = tuple(cursor.fetchall())
    if base in ("json", "jsonb") and not declared.get("paths"):
        raise KeyturnError(f"{where} is of the type {base}: say by `paths` where in it tokens stand")
    for why in _refusals(facts, triggers):
        raise KeyturnError(f"{where}: {why}")
    cursor.execute(KEYS, (facts[11], oid))
    keys, types = zip(*cursor.fetchall(), strict=True)
    others = [*declared["key"], *([flag] if flag else [])]
    cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped", (oid,))
    known = {found for (found,) in cursor.fetchall()} - {name}
    if missing := [other for other in others if other not in known]:
        raise KeyturnError(
            f"{where}: {', '.join(missing)} must be another column of the table: rows are named by `key`, and `flag` says of each whether "
            "it is encrypted"
        )
    return Column(
        name=where,
        table=f"{quote(schema)}.{quote(alone)}",
        oid=oid,
        column=quote(name),
        item=tuple(map(quote, declared["key"])),
        keys=tuple(map(quote, keys)),
        types=types,
        kind=TYPES[base],
        cast=cast,
        triggers=triggers,
        flag=quote(flag) if flag else "",
    )


def _refusals(facts: Sequence[Any], triggers: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield why a column cannot be turned. Whatever a write of it would change besides is one reason."""
    _, kind, _, _, number, base, _, generated, owns, hidden, may, primary, foreign, feeds, rules, inherited, told = (
        facts
    )
    named = ", ".join(name for name, _ in triggers)
    if kind not in ("r", "p"):
        yield "is no table (a view, or one of another server), so nothing can be turned there: declare the table itself"
    if base not in TYPES:
        yield f"is of the type {base}, and tokens are turned in text, varchar, bytea, json and jsonb"
    if not primary:
        yield "its table has no primary key, so no row can be told from another: give it one"
    if number in (primary or ()):
        yield "is part of the primary key, by which rows are known: nothing turns it"
    if generated:
        yield "is a generated column, which the server writes: declare what it is made of"
    if feeds:
        yield "a generated column is made of it and would change with it: drop that column first"
    if foreign:
        yield "is part of a foreign key, so that rows elsewhere would have to change with it: drop that key first"
    if rules:
        yield "its table has a rule (CREATE RULE), which changes what a write does: drop it first"
    if inherited:
        yield "other tables inherit from its table, and its key does not tell their rows apart: declare them one by one"
    if told:
        yield "its table is written by a subscription (logical replication): turn the rows where they come from"
    if hidden:
        yield "row level security hides rows of its table from the login: name one that owns the table or has BYPASSRLS"
    if not may:
        yield "the login may not read and update it: GRANT SELECT, UPDATE to it"
    if triggers and (kind == "p" or not owns):
        why = "its table is partitioned" if kind == "p" else "only the owner of the table may keep that from happening"
        yield f"the trigger {named} would run for each row that is turned, and {why}: disable it, or name the owner's login"
