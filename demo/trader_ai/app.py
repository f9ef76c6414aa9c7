"""The HTTP interface."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from trader_ai import alpaca, auth, environment, plaid
from trader_ai.token_store import TokenStore

LOGIN_TOKEN_NAMES = ("session_token", "access_token", "jwt_token")

app = FastAPI(title="trader-ai stand-in")
# The last one added sees a request first: a browser's question before a request (CORS) needs a token as well.
app.add_middleware(CORSMiddleware, allow_origins=["http://localhost:3000"], allow_credentials=True, allow_methods=["*"])
app.add_middleware(auth.JwtMiddleware)


class Login(BaseModel):
    """The documented login request."""

    user_id: str


class Item(BaseModel):
    """A linked bank."""

    item_id: str
    access_token: str
    institution_name: str | None = None


@app.get("/")
def root() -> dict[str, str]:
    """Say what this is."""
    return {"message": "trader-ai stand-in", "status": "running"}


@app.get("/health")
@app.get("/api/health")
def health() -> dict[str, str]:
    """Answer 200 whatever the keys are: health proves nothing about a secret."""
    return {"status": "healthy"}


@app.get("/api/positions")
@app.get("/api/alerts")
def nothing() -> list[Any]:
    """Answer behind the token check, whatever the other keys are: no path of the real application reads a stored token."""
    return []


@app.get("/api/metrics/current")
@app.get("/api/engine/status")
@app.get("/api/gates/status")
@app.get("/api/barbell/allocation")
def state() -> dict[str, Any]:
    """Answer behind the token check, as above."""
    return {"connected": False, "mode": "paper"}


@app.post("/api/auth/login")
def login(request: Login) -> dict[str, Any]:
    """Answer as documented, the token under the name TRADER_AI_LOGIN gives; by default 404 as the real code."""
    name = environment.get("TRADER_AI_LOGIN")
    if name not in LOGIN_TOKEN_NAMES:
        raise HTTPException(404, "Not Found")
    return {name: auth.make_token(request.user_id), "token_type": "bearer", "expires_in": auth.LIFETIME_SECONDS}


# The real application has none of the paths below. They let a person, and a test, see the stored tokens and the Alpaca pair in use.


@app.get("/api/bank/accounts")
def bank_accounts() -> JSONResponse:
    """Use every stored token: 200 when all work, 502 with the number that does not.

    ``items`` is the number of rows. A row with an empty token was never linked, so there is nothing to use.
    """
    items = TokenStore().all_items()
    failed = plaid.count_unusable(item.access_token for item in items if item.access_token)
    if failed:
        return JSONResponse({"items": len(items), "failed": failed}, 502)
    return JSONResponse({"items": len(items)})


@app.post("/api/bank/items", status_code=201)
def save_item(item: Item) -> dict[str, str]:
    """Save an item."""
    TokenStore().save_item(item.item_id, item.access_token, item.institution_name)
    return {"item_id": item.item_id}


@app.delete("/api/bank/items/{item_id}")
def delete_item(item_id: str) -> dict[str, str]:
    """Delete an item."""
    if not TokenStore().delete_item(item_id):
        raise HTTPException(404, "No such item")
    return {"item_id": item_id}


@app.get("/api/alpaca/account")
def alpaca_account() -> JSONResponse:
    """Show which account the pair in use opens."""
    base_url = environment.get("ALPACA_BASE_URL")
    if not base_url:
        return JSONResponse({"detail": "ALPACA_BASE_URL is not set"}, 503)
    account = alpaca.get_account(base_url)
    if account is None:
        return JSONResponse({"detail": "Alpaca refused or did not answer"}, 502)
    return JSONResponse({"account_number": account.get("account_number"), "status": account.get("status")})
