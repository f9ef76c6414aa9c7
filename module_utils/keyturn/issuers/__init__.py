"""Who can be told a new value, by kind. A host asks for none of their code but of the one it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..base.errors import KeyturnError

if TYPE_CHECKING:
    from ..providers.shapes import ProviderSpec
    from .contract import Issuer, Spec, Told

# whether the old value lives on when the new one is set
STRATEGIES = {"alternating": True, "overlap": True, "single": False}


class Kind(NamedTuple):
    """An issuer: the kind of provider that answers for it (None for any), its strategies, and its code.

    ``fault`` says what does not go together in an entry, and ``issuer`` makes what ``Issuer`` describes for one rotation.
    """

    provider: str | None
    strategies: Sequence[str]
    fault: Callable[[Spec, ProviderSpec, Sequence[str]], str]
    issuer: Callable[[Spec, ProviderSpec, Sequence[str], Told], Issuer]


def _fault_of_postgresql_role(spec: Spec, provider: ProviderSpec, variables: Sequence[str]) -> str:
    from . import postgresql_role

    return postgresql_role.fault(spec, provider)


def _postgresql_role(spec: Spec, provider: ProviderSpec, variables: Sequence[str], told: Told) -> Issuer:
    from . import postgresql_role

    return postgresql_role.issuer(spec, provider, variables, told)


def _fault_of_command(spec: Spec, provider: Spec, variables: Sequence[str]) -> str:
    from . import command

    return command.fault(spec)


def _command(spec: Spec, provider: Spec, variables: Sequence[str], told: Told) -> Issuer:
    from . import command

    return command.Command(spec, told)


def _fault_of_http(spec: Spec, provider: ProviderSpec, variables: Sequence[str]) -> str:
    from . import http

    return http.fault(spec, provider)


def _http(spec: Spec, provider: ProviderSpec, variables: Sequence[str], told: Told) -> Issuer:
    from . import http

    return http.Http(spec, provider, variables, told)


ISSUERS: dict[str, Kind] = {
    "command": Kind(None, ("overlap", "single"), _fault_of_command, _command),
    "http": Kind(None, ("overlap", "single"), _fault_of_http, _http),
    "postgresql_role": Kind("postgresql", ("alternating", "single"), _fault_of_postgresql_role, _postgresql_role),
}


def old_lives(spec: Spec) -> bool:
    """Tell whether the old value lives on when the new one is set."""
    return STRATEGIES[spec["strategy"]]


def fault(spec: Spec, provider: ProviderSpec, variables: Sequence[str]) -> str:
    """Return what does not go together in an entry, empty where nothing does not: only the controller asks this."""
    kind = ISSUERS[spec["kind"]]
    if kind.provider and provider["kind"] != kind.provider:
        return f"the issuer {spec['kind']} goes with the provider {kind.provider}"
    if spec["strategy"] not in kind.strategies:
        return f"the issuer {spec['kind']} knows the strategies {' and '.join(kind.strategies)}"
    return kind.fault(spec, provider, variables)


def issuer(spec: Spec, provider: ProviderSpec, variables: Sequence[str], told: Told) -> Issuer:
    """Return the issuer of a catalogue entry for one rotation."""
    return ISSUERS[spec["kind"]].issuer(spec, provider, variables, told)


def chosen(spec: Spec, variables: Sequence[str], old: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a new value that follow from the old one: of two users that take turns, the other one."""
    if spec["strategy"] != "alternating":
        return {}
    users, name = spec["users"], variables[0]
    if old[name] not in users:
        raise KeyturnError(
            f"{name} is none of the two users that take turns ({' and '.join(users)}): set it to one of them"
        )
    return {name: users[1 - users.index(old[name])]}
