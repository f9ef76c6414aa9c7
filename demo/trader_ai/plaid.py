"""The bank side: every stored token is used at Plaid, or checked by its prefix when no URL is set."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from trader_ai import environment
from trader_ai.upstream import Upstream

logger = logging.getLogger("src.finances.plaid_client")


def count_unusable(tokens: Iterable[str]) -> int:
    """Return how many of the tokens do not work. Credentials are read at each call, as at each client's start."""
    tokens = list(tokens)
    base_url = environment.get("PLAID_BASE_URL")
    if not base_url:
        return sum(not token.startswith("access-") for token in tokens)
    headers = {
        "PLAID-CLIENT-ID": environment.get("PLAID_CLIENT_ID"),
        "PLAID-SECRET": environment.get("PLAID_SECRET"),
    }
    failed = 0
    with Upstream(base_url) as upstream:
        for done, token in enumerate(tokens):
            try:
                failed += not _get_accounts(upstream, headers, token)
            except OSError as error:
                logger.error("Failed to get accounts: %s", error)
                return failed + len(tokens) - done  # nothing is known of the rest
    return failed


def _get_accounts(upstream: Upstream, headers: dict[str, str], token: str) -> bool:
    status, reason, answer = upstream.request("POST", "/accounts/get", headers, {"access_token": token})
    if status == 200:
        return True
    # Named fields only: an error text from outside could quote what was sent.
    body = {name: answer.get(name) for name in ("error_code", "error_type", "request_id")}
    logger.error(
        "Failed to get accounts: Status Code: %s\nReason: %s\nHTTP response headers: {}\nHTTP response body: %s",
        status,
        reason,
        json.dumps(body),
    )
    return False
