"""What no argument spec can say of the migration ``several``: only the controller asks this, and no host gets it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...base.errors import KeyturnError
from . import places


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError for what is wrong in a secret's ``entry`` of the catalogue: of each store what its own kind asks."""
    stores = entry["migration"]["stores"]
    if len(stores) == 1 or not stores:
        raise KeyturnError(f"{where}: migration several has {len(stores)} stores: it is for more than one")
    known: set[str] = set()
    for number, store in enumerate(stores):
        meaning = import_module(f"{__package__}.{store['kind']}_meaning")
        meaning.check(f"{where}: stores[{number}]", {**entry, "migration": store})
        for place in places(store, Path()):
            if (named := os.path.normpath(place)) in known:
                raise KeyturnError(f"{where}: {named} is in two stores of the migration: give all of it to one of them")
            known.add(named)
