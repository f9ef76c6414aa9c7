"""Reach: before one host turns what all of them share, see which of them could. Changes nothing."""

from __future__ import annotations

from ...base.errors import KeyturnError
from ...ground import rows
from ..rotation import Holding
from .answers import HostAnswer


def run(holding: Holding) -> HostAnswer:
    """Tell whether this host reaches the data of the secret, and why not. Data of its own each host has."""
    migration = rows.read_by(holding.entry["migration"])
    kind = rows.KINDS.get(migration["kind"])
    try:
        if kind is not None and kind.reach is not None:
            kind.reach(migration, holding.app_root)
    except KeyturnError as error:
        return {"changed": False, "reaches": False, "why": str(error)}
    return {"changed": False, "reaches": True, "why": ""}
