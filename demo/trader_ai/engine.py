"""The trading engine: ``python -m trader_ai.engine [--test]`` from its root directory.

Like the real one it ends with status 0 even when it could not connect; only its log tells, which it never begins anew. SIGINT
trips its kill switch.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from trader_ai import alpaca, environment, logs

KILL_SWITCH = Path("run/kill_switch")
logger = logging.getLogger("src.trading_engine")


def trip(*_: object) -> None:
    """Stop all trading until a person takes the switch back."""
    KILL_SWITCH.write_text("tripped by SIGINT\n")
    logger.critical("Kill switch activated")
    sys.exit(0)


def main() -> None:
    """Connect, then wait for a signal."""
    parser = argparse.ArgumentParser(description="The trading engine.")
    parser.add_argument("--test", action="store_true", help="connect and trade nothing")
    parser.parse_args()
    Path("logs").mkdir(exist_ok=True)
    logs.configure(logging.FileHandler("logs/trading.log"))
    signal.signal(signal.SIGINT, trip)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if alpaca.get_account(environment.require("ALPACA_BASE_URL")) is None:
        sys.exit(0)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
