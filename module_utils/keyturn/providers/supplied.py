"""A new value that a person or a pipeline brings: is it whole, of the right shape, and good at its provider."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from .. import providers
from ..base.errors import KeyturnError
from ..ground.consumers import is_placeholder
from . import Reply, guards

PREFIX = "KEYTURN_NEW_"
QUOTES = "'\"`\u2018\u2019\u201c\u201d"


class Source(TypedDict):
    """What the catalogue says of a value that people bring: how to get one, and the shapes of some variables."""

    steps: Sequence[str]
    shapes: Mapping[str, str]


class Brought(TypedDict):
    """What the action ``keyturn_supply`` found: values by variable, those that others see, and what is wrong with the file."""

    values: Mapping[str, object]
    exposed: Sequence[str]
    problem: str


def by_a_person(entry: Mapping[str, Any]) -> bool:
    """Tell whether somebody has to bring the new value: Keyturn makes the others, or has them made by the store."""
    return entry["source"]["kind"] == "supplied" and not entry["source"].get("static_role")


def ways(variables: Sequence[str]) -> str:
    """Return how a value may come in, for a person."""
    names = ", ".join(PREFIX + name for name in variables)
    return (
        f"run this on a terminal, which asks for it, or bring it by keyturn_new_values (a file with {', '.join(variables)}, encrypted by "
        f"ansible-vault), or by {names} in the environment of a pipeline (typed before a command, it stays in the shell's history)"
    )


def check(variables: Sequence[str], source: Source, brought: Brought) -> dict[str, str]:
    """Return the new value of each variable; KeyturnError names the variable with what is wrong, never the value.

    ``source`` is the catalogue's; ``brought`` is what the action ``keyturn_supply`` found.
    """
    if brought["exposed"]:
        raise KeyturnError(
            f"{', '.join(brought['exposed'])}: a value stands in the command line or in an Ansible variable, where other users "
            f"and logs see it; nothing was changed. Have that value replaced by a new one, then {ways(variables)}"
        )
    if brought["problem"]:
        raise KeyturnError(f"{brought['problem']}; nothing was changed")
    values = {name: brought["values"].get(name) for name in variables}
    missing = [name for name, value in values.items() if value in (None, "")]
    if missing:
        steps = "; ".join(source["steps"])
        raise KeyturnError(
            f"no new value was given for {', '.join(missing)}, nothing was changed: {ways(missing)}. To get one: {steps}"
        )
    for name, value in values.items():
        _check_form(name, value, source["shapes"].get(name))
    if len(set(values.values())) < len(values):
        raise KeyturnError(f"{' and '.join(values)} have the same new value: one of them was pasted twice")
    return {name: str(value) for name, value in values.items()}


def _check_form(name: str, value: object, shape: str | None) -> None:
    if not isinstance(value, str):
        raise KeyturnError(f"the new value of {name} is not text: put it into quotes in the file")
    if any(character.isspace() for character in value):
        raise KeyturnError(f"the new value of {name} has white space in it that was pasted along: give the value alone")
    if value[0] in QUOTES or value[-1] in QUOTES:
        raise KeyturnError(f"the new value of {name} has quotes round it that were pasted along: give the value alone")
    if is_placeholder(value):
        raise KeyturnError(f"the new value of {name} is a template's placeholder: give the value itself")
    if shape and not re.fullmatch(shape, value):
        raise KeyturnError(
            f"the new value of {name} ({len(value)} characters) has not the shape of one ({shape}): was it cut off, or "
            "is it the value of something else?"
        )


def ask(entry: Mapping[str, Any], overrides: Mapping[str, str], values: Mapping[str, str]) -> Reply:
    """Try the new value at its provider; KeyturnError unless it is accepted, and nothing is there that a restart would harm."""
    provider, credential = entry["provider"], [values[name] for name in entry["variables"]]
    title = providers.PROVIDERS[provider["kind"]].title
    providers.check_place(provider, credential)
    reply = providers.ask(provider, credential)
    if reply.verdict == "rejected":
        raise KeyturnError(
            f"{title} rejects the new value ({reply.detail}), nothing was changed: is it whole, of this environment, and "
            "not deleted again?"
        )
    if reply.verdict == "unknown":
        asked = provider["url"] or provider["command"][0]
        raise KeyturnError(
            f"{title} at {asked} does not say whether the new value is good ({reply.detail}), nothing was changed: "
            "try again when it answers"
        )
    guards.check(entry["guard"]["kind"], provider, overrides, credential)
    return reply
