"""The token store: one SQLite file, a connection for each call."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trader_ai.token_encryption import TokenEncryption

DATABASE = Path("data/bank_accounts.db")  # relative: the application runs in its root directory
BUSY_TIMEOUT_SECONDS = 5.0

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS plaid_items (
        item_id TEXT PRIMARY KEY,
        access_token TEXT NOT NULL,
        institution_name TEXT,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
    )""",
    """CREATE TABLE IF NOT EXISTS bank_accounts (
        account_id TEXT PRIMARY KEY,
        item_id TEXT NOT NULL,
        name TEXT,
        official_name TEXT,
        type TEXT,
        subtype TEXT,
        mask TEXT,
        current_balance REAL,
        available_balance REAL,
        currency TEXT DEFAULT 'USD',
        last_synced TIMESTAMP,
        FOREIGN KEY(item_id) REFERENCES plaid_items(item_id) ON DELETE CASCADE
    )""",
    """CREATE TABLE IF NOT EXISTS bank_transactions (
        transaction_id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL,
        amount REAL NOT NULL,
        date DATE NOT NULL,
        name TEXT,
        merchant_name TEXT,
        category TEXT,
        pending INTEGER DEFAULT 0,
        last_synced TIMESTAMP,
        FOREIGN KEY(account_id) REFERENCES bank_accounts(account_id) ON DELETE CASCADE
    )""",
    "CREATE INDEX IF NOT EXISTS idx_accounts_item ON bank_accounts(item_id)",
    "CREATE INDEX IF NOT EXISTS idx_transactions_account ON bank_transactions(account_id)",
    "CREATE INDEX IF NOT EXISTS idx_transactions_date ON bank_transactions(date)",
)


@dataclass(frozen=True)
class PlaidItem:
    """One row as the application uses it; the token stays out of the repr."""

    item_id: str
    institution_name: str | None
    access_token: str = field(repr=False)


class TokenStore:
    """Saves and reads tokens. ``key`` None means DATABASE_ENCRYPTION_KEY; without one: RuntimeError."""

    def __init__(self, path: str | Path = DATABASE, key: str | None = None) -> None:
        self._path = Path(path)
        self._encryption = TokenEncryption(key)
        self.create_tables()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # foreign_keys stays off as in the real application, so deleting an item leaves orphans.
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def create_tables(self) -> None:
        """Create what is missing; on a complete database this only reads."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            for statement in SCHEMA:
                connection.execute(statement)

    def save_item(self, item_id: str, access_token: str, institution_name: str | None = None) -> None:
        """Insert an item or replace its token, in the two-layer form."""
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO plaid_items (item_id, access_token, institution_name) VALUES (?, ?, ?)"
                " ON CONFLICT(item_id) DO UPDATE SET access_token = excluded.access_token,"
                " institution_name = excluded.institution_name, updated_at = CURRENT_TIMESTAMP",
                (item_id, self._encryption.encrypt(access_token), institution_name),
            )

    def get_access_token(self, item_id: str) -> str | None:
        """Return an item's token as the application would use it, or None without such an item."""
        with self._connection() as connection:
            row = connection.execute("SELECT access_token FROM plaid_items WHERE item_id = ?", (item_id,)).fetchone()
        return None if row is None else self._encryption.decrypt(row[0])

    def all_items(self) -> list[PlaidItem]:
        """Return every item, its token as the application would use it."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT item_id, institution_name, access_token FROM plaid_items ORDER BY item_id"
            ).fetchall()
        return [PlaidItem(item_id, name, self._encryption.decrypt(stored)) for item_id, name, stored in rows]

    def delete_item(self, item_id: str) -> bool:
        """Delete an item; False when there was none."""
        with self._connection() as connection:
            return connection.execute("DELETE FROM plaid_items WHERE item_id = ?", (item_id,)).rowcount > 0
