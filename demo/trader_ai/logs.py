"""Logging, in one of the two forms in which the real application writes a line."""

from __future__ import annotations

import logging

from trader_ai import environment

# Which one the real application has depends on whether an import has warned before the program configures logging.
FORMS = {
    "plain": logging.BASIC_FORMAT,
    "timed": "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
}


def configure(*more: logging.Handler) -> None:
    """Log to stderr and to ``more``, in the form that TRADER_AI_LOG_FORM names (plain if it names none)."""
    form = FORMS[environment.get("TRADER_AI_LOG_FORM") or "plain"]
    logging.basicConfig(level=logging.INFO, format=form, handlers=[logging.StreamHandler(), *more])
