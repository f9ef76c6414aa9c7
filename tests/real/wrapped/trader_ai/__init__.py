"""The real application's own code, started as the stand-in is: its scripts run ``python -m trader_ai`` from the application's root.

The code itself is no part of this repository; ``service.conf`` says where it is.
"""

from __future__ import annotations

import logging
import os

from dotenv import load_dotenv

# which of the two the application writes is decided by the import that warns first
FORMS = {"default": logging.BASIC_FORMAT, "timed": "%(asctime)s - %(name)s - %(levelname)s - %(message)s"}
CONFIG = "config/config.json"
PHASE_2 = "config/phase2_integration.json"


def begin(*more: logging.Handler) -> None:
    """Read `.env`, and log to stderr and to ``more`` as the application does."""
    load_dotenv(".env")
    logging.basicConfig(
        level=logging.INFO, format=FORMS[os.environ["LOG_FORM"]], handlers=[logging.StreamHandler(), *more]
    )
