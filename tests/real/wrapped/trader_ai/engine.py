"""The engine as far as it can be run: its adapter, with the credentials that the engine and the factory of phase 2 would give it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from src.brokers.alpaca_adapter import AlpacaAdapter

from trader_ai import CONFIG, PHASE_2, begin


def pairs() -> list[tuple[str, str]]:
    """Return the pairs in use: a literal wins over the environment; what phase 2 is given is sent as it stands."""
    config = json.loads(Path(CONFIG).read_text())
    broker = json.loads(Path(PHASE_2).read_text())["broker"]
    held = [
        (config["api_key"] or os.environ["ALPACA_API_KEY"], config["secret_key"] or os.environ["ALPACA_SECRET_KEY"])
    ]
    return held + ([] if broker["api_key"].startswith("${") else [(broker["api_key"], broker["api_secret"])])


def main() -> None:
    """Connect with each pair, then wait for a signal; like the real one it ends with status 0 when it cannot connect."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    begin(logging.FileHandler("logs/trading.log"))
    for key, secret in pairs():
        given = {"api_key": key, "secret_key": secret, "base_url": os.environ["ALPACA_BASE_URL"]}
        try:
            asyncio.run(AlpacaAdapter(given).connect())
        except Exception:  # the adapter has logged it
            sys.exit(0)
    while True:
        signal.pause()


main()
