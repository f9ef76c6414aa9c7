"""Stores: the durable home of values, beside the hosts. One file for each kind, one contract.

The store ``dotenv`` is the host itself (``values.py``): for it nothing is done on the controller.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from ..base.errors import KeyturnError
from ..inputs.catalogue import StoreSpec
from .aws_secretsmanager import AwsSecretsManager
from .contract import BY_HAND, Store
from .openbao import OpenBao

PASSWORD = "password"  # noqa: S105 - its name
STORES: dict[str, Callable[[StoreSpec, Mapping[str, str]], Store]] = {
    "aws_secretsmanager": AwsSecretsManager,
    "openbao": OpenBao,
}


def open_store(spec: StoreSpec, environment: Mapping[str, str] | None = None) -> Store:
    """Return the store that ``keyturn_store`` describes, logged in by what stands in ``environment`` (default: the process's)."""
    return STORES[spec["kind"]](spec, os.environ if environment is None else environment)


def password_at(spec: StoreSpec, environment: str, name: str) -> str:
    """Return a password that a person keeps in the store of an environment, by its name there; KeyturnError where there is none."""
    path = path_of(spec, environment, name)
    found = open_store(spec).kept(path, PASSWORD)
    if not found:
        raise KeyturnError(
            f"{path}: the store has no `{PASSWORD}` there, as an issuer's admin needs it: write it ({BY_HAND})"
        )
    return found


def path_of(spec: StoreSpec, environment: str, secret: str, host: str = "") -> str:
    """Return where a secret lies: each environment has a part of the store of its own, each host its own value."""
    parts = [*filter(None, spec["prefix"].split("/")), environment, secret, *filter(None, [host])]
    if any(part in (".", "..") or "/" in part for part in parts):
        raise KeyturnError(f"{'/'.join(parts)} is no path of a store: an environment, secret or host has / or .. in it")
    return "/".join(parts)
