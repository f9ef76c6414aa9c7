"""The backend: the application's database, token encryption, Plaid client and JWT middleware behind routes that use them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from trader_ai import CONFIG, begin

begin()

from src.finances.bank_database_encrypted import BankDatabase  # noqa: E402 - the application reads its environment at import
from src.security.auth_middleware import configure_jwt_auth_middleware  # noqa: E402

DATABASE = "data/bank_accounts.db"
app = FastAPI()
configure_jwt_auth_middleware(app)


@app.get("/health")
def health() -> dict[str, str]:
    """Answer whatever the keys are."""
    return {"status": "healthy"}


@app.get("/api/positions")
def positions() -> dict[str, list[str]]:
    """Answer behind the middleware."""
    return {"positions": []}


@app.get("/bank/accounts")
@app.get("/api/bank/accounts")
def bank_accounts() -> JSONResponse:
    """Use every stored token at Plaid, by the application's own client; the second path is behind the middleware."""
    import plaid  # seconds, which a start does not have

    plaid.Environment.Sandbox = os.environ["PLAID_BASE_URL"]
    from src.finances.plaid_client import create_plaid_client

    database, client = BankDatabase(DATABASE), create_plaid_client(CONFIG)
    with closing(sqlite3.connect(DATABASE)) as connection:
        items = [item for (item,) in connection.execute("SELECT item_id FROM plaid_items")]
    failed = 0
    for item in items:
        try:
            client.get_accounts(database.get_access_token(item))
        except Exception:  # the application raises nothing more precise, and has logged it
            failed += 1
    return JSONResponse({"items": len(items), "failed": failed}, 502 if failed else 200)


uvicorn.run(app, host=os.environ["HOST"], port=int(os.environ["PORT"]))
