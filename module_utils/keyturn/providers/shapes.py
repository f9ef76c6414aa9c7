"""What the catalogue says of a provider. The options of ``PROVIDER`` are its shape, and have validated it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ProviderSpec = Mapping[str, Any]
