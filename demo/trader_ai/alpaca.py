"""The broker side: the account behind the Alpaca pair that was read at start."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from trader_ai import environment
from trader_ai.upstream import Upstream

logger = logging.getLogger("src.brokers.alpaca_adapter")
engine_logger = logging.getLogger("src.trading_engine")


def read_credentials(config: Path = Path("config/config.json")) -> tuple[str, str]:
    """Return key and secret: config.json wins over the environment, and "env:NAME" there is taken literally."""
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        settings = {}
    return (
        settings.get("api_key") or environment.get("ALPACA_API_KEY"),
        settings.get("secret_key") or environment.get("ALPACA_SECRET_KEY"),
    )


CREDENTIALS = read_credentials()  # at import, as the real engine does at its start


def get_account(base_url: str) -> dict[str, Any] | None:
    """Return Alpaca's account, or None after the log lines of a failure."""
    key, secret = CREDENTIALS
    try:
        with Upstream(base_url) as upstream:
            headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
            status, _, answer = upstream.request("GET", "/v2/account", headers)
    except OSError as error:
        _log_failure(str(error))
        return None
    if status == 200:
        logger.info("Connected to Alpaca (Account: %s)", answer.get("account_number"))
        return answer
    body = json.dumps({name: answer.get(name) for name in ("code", "message")})
    _log_failure(f"Authentication failed: {body}" if status in (401, 403) else f"HTTP {status}")
    return None


def _log_failure(reason: str) -> None:
    logger.error("Failed to connect to Alpaca: %s", reason)
    # The real engine says the same thing a second time; a reader of the log has to count it once.
    engine_logger.error("Failed to initialize trading engine: %s", reason)
