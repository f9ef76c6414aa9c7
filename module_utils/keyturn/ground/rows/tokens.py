"""The row stores in which tokens of a provider can be replaced. Only who replaces them imports their code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ...base.errors import KeyturnError
from .contract import RowStore, Tokens

if TYPE_CHECKING:
    from .sqlite_store import SqliteStore


def _fernet_sqlite(store: RowStore) -> Tokens:
    from .fernet_tokens import FernetTokens

    return FernetTokens(cast("SqliteStore", store).columns)


# by the kind of the row store
TOKENS: dict[str, Callable[[RowStore], Tokens]] = {"fernet_sqlite": _fernet_sqlite}


def of(kind: str, store: RowStore) -> Tokens:
    """Return the tokens of a store; KeyturnError where none of its kind can be replaced."""
    if kind not in TOKENS:
        raise KeyturnError(
            f"{store.name}: keyturn replaces no tokens in rows of the kind {kind}: take the old ones back at their provider"
        )
    return TOKENS[kind](store)
