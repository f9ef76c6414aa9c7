"""What the login to a store may read beyond its own environment."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.errors import KeyturnError
from ..inputs.catalogue import StoreSpec
from . import open_store, path_of

# Stores refuse before they look: a secret that is nowhere tells as much, and no value of another environment is fetched.
NOWHERE = "keyturn-has-no-such-secret"


def beyond(spec: StoreSpec, environment: str, others: Iterable[str]) -> list[str]:
    """Return those of ``others`` whose part of the store the login may read; KeyturnError where it cannot be told."""
    store = open_store(spec)
    if not store.may_read(path_of(spec, environment, NOWHERE)):
        raise KeyturnError(f"its login may not read {environment} either: it has expired, or is another environment's")
    return [other for other in others if store.may_read(path_of(spec, other, NOWHERE))]
