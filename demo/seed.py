"""Make a root directory for the stand-in application: fresh secrets, a database, start and stop scripts."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shlex
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cryptography.fernet import Fernet
from trader_ai.token_encryption import TokenEncryption
from trader_ai.token_store import TokenStore

DEMO = Path(__file__).resolve().parent
DATABASE = Path("data/bank_accounts.db")

ENV_FILE = """\
# trader-ai: local settings. Never commit this file.

# --- security ---
JWT_SECRET_KEY={jwt}
DATABASE_ENCRYPTION_KEY="{database}"

# --- Plaid ---
export PLAID_CLIENT_ID={plaid_id}
PLAID_SECRET='{plaid_secret}'  # from the dashboard
PLAID_ENV=production
{plaid_url}

# --- Alpaca ---
ALPACA_API_KEY={alpaca_key}
ALPACA_SECRET_KEY="{alpaca_secret}"
{alpaca_url}

# --- optional services ---
HF_TOKEN={hf}
DB_PASSWORD='{password}'
SMTP_PASSWORD={smtp}

LOG_LEVEL=INFO
"""


def seed(
    root: Path,
    rows: int,
    port: int,
    *,
    journal_mode: str = "delete",
    plaid_url: str | None = None,
    alpaca_url: str | None = None,
    python: str = sys.executable,
    forms: str = "mixed",
    random_seed: int | None = None,
    force: bool = False,
) -> dict[str, str]:
    """Fill ``root`` and return item_id -> plaintext token ('' for the never-linked row).

    ``random_seed`` fixes which row has which form; keys and tokens are fresh every time.
    """
    root = Path(root)
    if (root / ".env").exists() and not force:
        raise FileExistsError(f"{root / '.env'} exists; use --force to overwrite it")
    for name in ("data", "logs", "run"):
        (root / name).mkdir(parents=True, exist_ok=True)
    key = Fernet.generate_key().decode()
    _write_env(root, key, plaid_url, alpaca_url)
    tokens = _write_database(root / DATABASE, key, form_of_each_row(rows, forms, random_seed), journal_mode)
    for script in (DEMO / "scripts").iterdir():
        shutil.copy(script, root / script.name)
    settings = {"PYTHON": python, "PYTHONPATH": str(DEMO), "HOST": "127.0.0.1", "PORT": str(port)}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    (root / "service.conf").write_text("".join(lines), encoding="utf-8")
    return tokens


def form_of_each_row(rows: int, forms: str, random_seed: int | None) -> list[str]:
    """Return each row's form: two_layer, one_layer, plaintext or empty."""
    counts = {"one_layer": 0, "plaintext": 0, "empty": 0}
    if forms == "mixed" and rows >= 4:
        counts = {"one_layer": max(1, rows * 8 // 100), "plaintext": max(1, rows * 4 // 100), "empty": int(rows >= 8)}
    chosen = [form for form, count in counts.items() for _ in range(count)]
    chosen += ["two_layer"] * (rows - len(chosen))
    random.Random(random_seed).shuffle(chosen)
    return chosen


def _write_env(root: Path, key: str, plaid_url: str | None, alpaca_url: str | None) -> None:
    values = {
        "jwt": secrets.token_urlsafe(32),
        "database": key,
        "plaid_id": secrets.token_hex(12),
        "plaid_secret": secrets.token_hex(15),
        "alpaca_key": "PK" + secrets.token_hex(9).upper(),
        "alpaca_secret": secrets.token_urlsafe(30),
        "hf": "hf_" + secrets.token_hex(17),
        "password": secrets.token_urlsafe(18),
        "smtp": secrets.token_urlsafe(12),
    }
    urls = {
        "plaid_url": f"PLAID_BASE_URL={plaid_url}" if plaid_url else "# PLAID_BASE_URL=http://127.0.0.1:9000",
        "alpaca_url": f"ALPACA_BASE_URL={alpaca_url}" if alpaca_url else "# ALPACA_BASE_URL=http://127.0.0.1:9001",
    }
    env = root / ".env"
    env.unlink(missing_ok=True)
    # Private from its first byte; a chmod afterwards would leave a moment in which anybody may read it.
    with open(os.open(env, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(ENV_FILE.format(**values, **urls))
    placeholders = {name: f"your_{name}_here" for name in values}
    (root / ".env.example").write_text(ENV_FILE.format(**placeholders, **urls), encoding="utf-8")


def _write_database(path: Path, key: str, forms: list[str], journal_mode: str) -> dict[str, str]:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    TokenStore(path, key).create_tables()
    path.chmod(0o644)
    two_layers, fernet = TokenEncryption(key), Fernet(key)
    write: dict[str, Callable[[str], str]] = {
        "two_layer": two_layers.encrypt,
        "one_layer": lambda token: fernet.encrypt(token.encode()).decode(),
        "plaintext": str,
        "empty": str,
    }
    tokens: dict[str, str] = {}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode={'wal' if journal_mode == 'wal' else 'delete'}")
        for number, form in enumerate(forms, 1):
            item_id, day = f"item-{number:05d}", f"2025-{number % 12 + 1:02d}-{number % 28 + 1:02d}"
            token = tokens[item_id] = "" if form == "empty" else f"access-production-{uuid.uuid4()}"
            row = (item_id, write[form](token), f"Institution {number % 7 + 1}", f"{day} 09:30:00", f"{day} 17:00:00")
            connection.execute("INSERT INTO plaid_items VALUES (?, ?, ?, ?, ?)", row)
            if form != "empty":
                _add_account(connection, number, item_id, day)
    return tokens


def _add_account(connection: sqlite3.Connection, number: int, item_id: str, day: str) -> None:
    account_id = f"account-{number:05d}"
    connection.execute(
        "INSERT INTO bank_accounts (account_id, item_id, name, type, subtype, mask, current_balance, last_synced)"
        " VALUES (?, ?, 'Checking', 'depository', 'checking', ?, ?, ?)",
        (account_id, item_id, f"{number % 10000:04d}", number * 1.25, f"{day}T17:00:00"),
    )
    if number % 3 == 0:
        connection.execute(
            "INSERT INTO bank_transactions (transaction_id, account_id, amount, date, name, last_synced)"
            " VALUES (?, ?, ?, ?, 'Card payment', ?)",
            (f"transaction-{number:05d}", account_id, number * 0.5, day, f"{day}T17:00:00"),
        )


def main() -> None:
    """Run from the command line; prints counts and paths only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal-mode", choices=("delete", "wal"), default="delete")
    parser.add_argument("--plaid-url")
    parser.add_argument("--alpaca-url")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the application")
    parser.add_argument("--forms", choices=("mixed", "two_layer"), default="mixed")
    parser.add_argument("--seed", dest="random_seed", type=int, help="fixes which row has which form")
    parser.add_argument("--force", action="store_true", help="overwrite an existing .env and database")
    options = vars(parser.parse_args())
    try:
        tokens = seed(options.pop("root"), options.pop("rows"), options.pop("port"), **options)
    except FileExistsError as error:
        sys.exit(str(error))
    print(f"{len(tokens)} rows")


if __name__ == "__main__":
    main()
