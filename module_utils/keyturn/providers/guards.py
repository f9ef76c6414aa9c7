"""What must not be interrupted by a restart, by kind of guard. A person overrides a guard with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .. import providers
from ..base import http, shape
from ..base.errors import KeyturnError
from .shapes import ProviderSpec


def check(kind: str, provider: ProviderSpec, overrides: Mapping[str, str], values: Sequence[str]) -> None:
    """Refuse to go on where a restart would do harm. ``values`` is a credential that works."""
    if kind != "none" and not overrides.get(kind):
        GUARDS[kind](provider, values)


def open_orders(provider: ProviderSpec, values: Sequence[str]) -> None:
    """Refuse while the market is open and orders are: nobody would watch them. What cannot be told counts as open."""
    url, headers = provider["url"].rstrip("/"), providers.alpaca_headers(values)
    remedy = "wait, or go on by keyturn_override_open_orders: REASON"
    clock = http.ask(f"{url}/v2/clock", providers.TIMEOUT_SECONDS, headers)
    market = clock.document().get("is_open") if http.good(clock.status) else None
    if market is False:
        return
    orders = http.ask(f"{url}/v2/orders?status=open&limit=1", providers.TIMEOUT_SECONDS, headers)
    orders_open = shape.parse(orders.body) if http.good(orders.status) else None
    if not isinstance(orders_open, list) or (orders_open and market is None):
        evidence = providers.evidence("GET /v2/clock and /v2/orders", orders, None, orders.headers.get("x-request-id"))
        raise KeyturnError(f"Alpaca does not say whether orders are open ({evidence}), nothing was changed: {remedy}")
    if orders_open:
        raise KeyturnError(
            f"the market is open and so are orders, and the trading engine would be restarted; nothing was changed: {remedy}"
        )


GUARDS: dict[str, Callable[[ProviderSpec, Sequence[str]], None]] = {"open_orders": open_orders}
