"""The HTTP interface, on Starlette: what FastAPI, which the real one uses, is itself made of, at a third of its start."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from trader_ai import alpaca, auth, environment, plaid
from trader_ai.token_store import TokenStore

LOGIN_TOKEN_NAMES = ("session_token", "access_token", "jwt_token")


async def _body(request: Request, *needed: str) -> dict[str, Any]:
    """Return the JSON object of a request; 422 where it is none or a text is missing."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in needed):
        raise HTTPException(422, f"a JSON object with {', '.join(needed)} is needed")
    return body


def root(request: Request) -> JSONResponse:
    """Say what this is."""
    return JSONResponse({"message": "trader-ai stand-in", "status": "running"})


def health(request: Request) -> JSONResponse:
    """Answer 200 whatever the keys are: health proves nothing about a secret."""
    return JSONResponse({"status": "healthy"})


def nothing(request: Request) -> JSONResponse:
    """Answer behind the token check, whatever the other keys are: no path of the real application reads a stored token."""
    return JSONResponse([])


def state(request: Request) -> JSONResponse:
    """Answer behind the token check, as above."""
    return JSONResponse({"connected": False, "mode": "paper"})


async def login(request: Request) -> JSONResponse:
    """Answer as documented, the token under the name TRADER_AI_LOGIN gives; by default 404 as the real code."""
    name, user = environment.get("TRADER_AI_LOGIN"), (await _body(request, "user_id"))["user_id"]
    if name not in LOGIN_TOKEN_NAMES:
        raise HTTPException(404, "Not Found")
    return JSONResponse({name: auth.make_token(user), "token_type": "bearer", "expires_in": auth.LIFETIME_SECONDS})


# The real application has none of the paths below. They let a person, and a test, see the stored tokens and the Alpaca pair in use.


def bank_accounts(request: Request) -> JSONResponse:
    """Use every stored token: 200 when all work, 502 with the number that does not.

    ``items`` is the number of rows. A row with an empty token was never linked, so there is nothing to use.
    """
    items = TokenStore().all_items()
    failed = plaid.count_unusable(item.access_token for item in items if item.access_token)
    if failed:
        return JSONResponse({"items": len(items), "failed": failed}, 502)
    return JSONResponse({"items": len(items)})


async def save_item(request: Request) -> JSONResponse:
    """Save an item."""
    item = await _body(request, "item_id", "access_token")
    await run_in_threadpool(TokenStore().save_item, item["item_id"], item["access_token"], item.get("institution_name"))
    return JSONResponse({"item_id": item["item_id"]}, 201)


def delete_item(request: Request) -> JSONResponse:
    """Delete an item."""
    item_id = request.path_params["item_id"]
    if not TokenStore().delete_item(item_id):
        raise HTTPException(404, "No such item")
    return JSONResponse({"item_id": item_id})


def alpaca_account(request: Request) -> JSONResponse:
    """Show which account the pair in use opens."""
    base_url = environment.get("ALPACA_BASE_URL")
    if not base_url:
        return JSONResponse({"detail": "ALPACA_BASE_URL is not set"}, 503)
    account = alpaca.get_account(base_url)
    if account is None:
        return JSONResponse({"detail": "Alpaca refused or did not answer"}, 502)
    return JSONResponse({"account_number": account.get("account_number"), "status": account.get("status")})


async def refused(request: Request, refusal: HTTPException) -> JSONResponse:
    """Answer a refusal as FastAPI does."""
    return JSONResponse({"detail": refusal.detail}, refusal.status_code)


ENDPOINTS = {
    root: ["/"],
    health: ["/health", "/api/health"],
    nothing: ["/api/positions", "/api/alerts"],
    state: ["/api/metrics/current", "/api/engine/status", "/api/gates/status", "/api/barbell/allocation"],
    bank_accounts: ["/api/bank/accounts"],
    alpaca_account: ["/api/alpaca/account"],
}
app = Starlette(
    routes=[
        *(Route(path, answer) for answer, paths in ENDPOINTS.items() for path in paths),
        Route("/api/auth/login", login, methods=["POST"]),
        Route("/api/bank/items", save_item, methods=["POST"]),
        Route("/api/bank/items/{item_id}", delete_item, methods=["DELETE"]),
    ],
    # The first one sees a request first: a browser's question before a request (CORS) needs a token as well.
    middleware=[
        Middleware(auth.JwtMiddleware),
        Middleware(
            CORSMiddleware, allow_origins=["http://localhost:3000"], allow_credentials=True, allow_methods=["*"]
        ),
    ],
    exception_handlers={HTTPException: refused},
)
