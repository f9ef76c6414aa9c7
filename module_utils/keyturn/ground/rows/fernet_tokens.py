"""Tokens in the declared columns of an SQLite database, for replacing them at the provider that gave them out."""

from __future__ import annotations

from typing import NamedTuple

from cryptography.fernet import InvalidToken

from ...base.errors import KeyturnError
from . import fernet_forms
from .contract import Item
from .fernet_json import JsonPages
from .fernet_sqlite import FernetSqlite
from .sqlite_file import Column, Row, pages, unquote, write


class Place(NamedTuple):
    """Where a token stands."""

    column: Column
    row: Row


class FernetTokens:
    """The tokens that the key in use opens."""

    def __init__(self, columns: FernetSqlite) -> None:
        self.columns = columns
        self.name = str(columns.database.path)
        self._cipher = columns.ciphers["old"]

    def items(self) -> list[Item]:
        """Return the rows that hold a token; what a person has accepted in another shape is none of the provider's."""
        found = []
        with self.columns.database.reading() as connection:
            for column, values in zip(self.columns.columns(connection), self.columns.turners, strict=True):
                if isinstance(values, JsonPages):
                    raise KeyturnError(f"{self.name}: {column.name} is JSON, and a token in it cannot be replaced")
                for page in pages(connection, column):
                    for row, opened in zip(page, values.open_rows(page, unquote(column.flag)), strict=True):
                        if isinstance(opened, fernet_forms.OtherShape) and self.columns.accepts(row):
                            continue
                        if isinstance(opened, fernet_forms.Unreadable):
                            raise KeyturnError(f"{self.name}: {column.name} of {row.item!r} {opened}")
                        if opened.plaintext:
                            token, place = opened.plaintext.decode(), Place(column, row)
                            found.append(Item(str(row.item), column.name, opened.form, token, place))
        return found

    def seal(self, token: str) -> str:
        """Return a token as one of the key in use."""
        return self._cipher.encrypt(token.encode()).decode()

    def unseal(self, sealed: str) -> str | None:
        """Return what ``seal`` was given."""
        try:
            return self._cipher.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None

    def repair(self) -> None:
        """Let SQLite end the transaction of a call that was killed: a connection that only reads cannot."""
        with self.columns.database.writing() as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def put(self, item: Item, token: str) -> bool:
        """Write the token if the row stands as it was read."""
        column, row = item.row
        goal = fernet_forms.seal(self._cipher, item.form, token.encode(), isinstance(row.stored, str))
        database = self.columns.database
        with database.writing() as connection, database.transaction(connection):
            return bool(write(connection, column, [(row, goal)]))
