"""Every public variable and what it may be. A name that stands for nothing, and what cannot be meant, is refused before a run begins.

What is in the catalogue, a service or the store is for ``catalogue.py``, and what a reason may say for ``plan.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import NamedTuple

from ..base import http
from ..providers.supplied import PREFIX

MINE = "keyturn_"
# what phases leave for each other: the command line would win over it
INNER = ("rotation_", "incident_", "notification_")
APPLICATION, GROUP, OPTIONAL = "keyturn_application", "keyturn_hosts", "keyturn_optional_secrets"
# whom the log believes, and what decides what a run does, is said where people review it
INVENTORY_S = ("keyturn_allowed_signers", APPLICATION, GROUP, OPTIONAL)
# of these an application is made: a text is the template that reads its part
PARTS = tuple(
    MINE + name
    for name in (
        *("counts", "error_lines", "log_lines", "policy", "secrets"),
        *(f"incident_{part}" for part in ("material", "order", "replacement", "table", "ticks")),
    )
)
# two names as near as these are one name and a slip of the hand
NEAR = 0.8


class Kind(NamedTuple):
    """What a variable may be, for a person and for the check."""

    says: str
    fits: Callable[[object], bool]


class Unresolved:
    """Stands for a template that does not resolve."""


def _text(given: object) -> bool:
    return isinstance(given, (str, int, float)) and not isinstance(given, bool)


def _number(given: object) -> bool:
    return _text(given) and re.fullmatch(r"\d{1,9}", str(given)) is not None


def _choice(*legal: str) -> Kind:
    return Kind(f"one of {', '.join(legal)}", lambda given: given in legal)


def _batch(given: object) -> bool:
    count = re.fullmatch(r"(\d{1,9})(%?)", str(given)) if _text(given) else None
    return count is not None and int(count[1]) >= 1 and (not count[2] or int(count[1]) <= 100)


TEXT = Kind("text", _text)
NUMBER = Kind("a number that is not negative", _number)
SWITCH = Kind("true or false", lambda given: str(given).lower() in ("true", "false", "yes", "no"))
MAPPING = Kind("a mapping", lambda given: isinstance(given, Mapping))
REASONS = Kind(
    "a mapping of names to reasons, {name: reason}",
    lambda given: isinstance(given, Mapping) and all(map(_text, given.values())),
)
NAMES = Kind("a list of names", lambda given: isinstance(given, list) and all(map(_text, given)))
PLACE = Kind("a path that begins with /", lambda given: isinstance(given, str) and given.startswith(("/", "~")))
TEXTFILE = Kind(
    "a path that begins with / and ends in .prom, without `..`",
    lambda given: (
        given == ""
        or (isinstance(given, str) and re.fullmatch(r"/.*[^/\n]\.prom", given) is not None and "/../" not in given)
    ),
)
URL = Kind(
    "an address that begins with http:// or https://, without a user, a password or a query",
    lambda given: given == "" or (isinstance(given, str) and not http.fault(given)),
)
WHOLE_URL = Kind(
    "an address that begins with http:// or https://, without a user or a password",
    lambda given: given == "" or (isinstance(given, str) and not http.fault(given, whole=True)),
)
BATCHES = Kind(
    'a list of numbers of hosts and shares of them, such as [1, "25%", "100%"]',
    lambda given: isinstance(given, list) and bool(given) and all(map(_batch, given)),
)

VARIABLES: Mapping[str, Kind] = {
    MINE + name: kind
    for kind, names in (
        (
            TEXT,
            "accept_unproved adopt app_user application checkout dest drain_hook environment from hosts "
            "incident_age_recipient incident_id incident_leaked "
            "incident_note incident_point incident_since incident_without_evidence log_broken log_from_hosts log_head name new_values "
            "notification_hook operator override_dead_value override_log override_lost_writes override_open_orders override_staging "
            "reason replacement_summary reports_dir return_hook rotation_id secret signer staging store_abandoned to",
        ),
        (NUMBER, "backup_retention_days grace_days staging_max_age_days"),
        (SWITCH, "checkout_history encrypt_plaintext_rows fail_when_left incident_drill pipeline production"),
        (MAPPING, "checks haproxy maintenance_window notification_channels services store"),
        (MAPPING, " ".join(name.removeprefix(MINE) for name in PARTS)),
        (REASONS, "accept_shapes exclude points"),
        (NAMES, "allow_empty_tables files incident_affected incident_logs optional_secrets secrets_here"),
        (PLACE, "allowed_signers app_root signing_key state_dir"),
        (TEXTFILE, "textfile"),
        (URL, "alertmanager_url reports_url"),
        (BATCHES, "batches"),
        (_choice("dotenv", "systemd_credential"), "delivery"),
        (_choice("fernet", "hex", "password", "token_urlsafe"), "kind"),
        (_choice("error", "note", "warning"), "storage_fail_at"),
        (_choice("committed", "ready"), "until"),
    )
    for name in names.split()
} | {
    # of a role's own: written into files that everybody may read
    "monitoring_runbooks": URL,
    "monitoring_webhook_url": WHOLE_URL,
}


# of each host
NEEDED = ("keyturn_environment", "keyturn_app_root", "keyturn_services")
# as somebody types them who forgets how they begin
BARE = [name.removeprefix(MINE) for name in VARIABLES if name.startswith(MINE)]


def kind_of(told: object) -> Kind:
    """Return what a variable of an application may be, as its ``variables.yml`` tells: a list of choices, or a name of ``TOLD``."""
    return _choice(*told) if isinstance(told, list) else TOLD.get(str(told), TEXT)


TOLD: Mapping[str, Kind] = {"text": TEXT, "number": NUMBER, "switch": SWITCH, "url": URL}


def looked_at(name: str) -> bool:
    """Tell whether a variable is for ``problems`` to judge."""
    return name.startswith(MINE) or name in VARIABLES


def problems(given: Mapping[str, object], more: Mapping[str, Kind] = MappingProxyType({})) -> Iterator[str]:
    """Say what is wrong with the variables of a host, as the inventory and the command line have them; no value is said.

    ``more`` are those of the application.
    """
    kinds = {**VARIABLES, **more}
    for name in sorted(filter(looked_at, given)):
        if name not in kinds:
            yield _unknown(name, kinds)
        elif not kinds[name].fits(given[name]):
            yield f"{name} is {_called(given[name])}, and must be {kinds[name].says}"


def lacking(given: Mapping[str, object], rotates: bool, in_a_collection: bool) -> Iterator[str]:
    """Say what the inventory has to say of a host and does not: for what ``rotates``, and what a checkout has a folder for."""
    for name in NEEDED if rotates else ():
        if name not in given:
            yield f"{name} is missing, which every rotation needs: docs/reference/variables.md says how to set it"
    if in_a_collection and not given.get(MINE + "reports_dir"):
        yield (
            "keyturn_reports_dir is not set: reports and log would lie in the installed collection, and go with its next version. Set it "
            "in the inventory, to a folder that is kept"
        )


def inner(typed: Iterable[str], may_choose: bool = False) -> Iterator[str]:
    """Say which names of the command line (``typed``) are those that phases use among themselves, or the inventory's alone.

    A run that only looks at an application's folder ``may_choose`` it there.
    """
    for name in sorted(typed):
        if name.startswith(INNER):
            yield f"{name} is what a phase tells the next, and is not said on the command line"
        if name in INVENTORY_S and not (may_choose and name == APPLICATION):
            yield f"{name} is said in the inventory, which people review, and not on the command line"


def unprefixed(typed: Iterable[str]) -> Iterator[str]:
    """Say which names of the command line (``typed``) are one of Keyturn's without its beginning, and would be nobody's."""
    for name in sorted(typed):
        if not name.startswith(MINE) and (near := get_close_matches(name, BARE, n=1, cutoff=NEAR)):
            yield f"{name} is no variable of Keyturn: is {MINE}{near[0]} meant?"


def _unknown(name: str, kinds: Iterable[str]) -> str:
    nearest = get_close_matches(name, list(kinds), n=1, cutoff=NEAR)
    if not nearest and name.startswith(PREFIX.lower()):
        return (
            f"{name.upper().removeprefix(PREFIX)}: a value stands in the command line or in an Ansible variable, where other users "
            f"and logs see it. Have that value replaced by a new one, and bring that by {name.upper()} in the environment"
        )
    return f"{name} is no variable of Keyturn" + (
        f": is {nearest[0]} meant?" if nearest else "; docs/reference/variables.md lists them"
    )


def _called(given: object) -> str:
    """Say of what sort something is."""
    if given is None:
        return "empty"
    sorts = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "other text"),
        (Mapping, "a mapping"),
        (list, "a list"),
        (Unresolved, "a template that does not resolve"),
    )
    return next((said for sort, said in sorts if isinstance(given, sort)), "something else")
