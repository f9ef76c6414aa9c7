"""The decision table: what is done when something has leaked. The steps that close the widest door come first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..base.errors import KeyturnError
from ..inputs.catalogue import Entry, Spec
from ..inputs.request import INCIDENT_ID
from .shapes import Header, Row, Step

ROW: Spec = {
    "title": {"type": "str", "required": True},
    "affected": {"type": "list", "elements": "str", "required": True},
    "precaution": {"type": "list", "elements": "str", "required": True},
    "tokens": {"type": "str", "required": True, "choices": ["always", "if_plaintext", "never"]},
    "by_hand": {"type": "list", "elements": "str", "required": True},
}
TOKENS_STEP = "replace access tokens"


def check_id(identity: str) -> str:
    """Return the id of an incident; KeyturnError when it cannot be a folder's name."""
    if not INCIDENT_ID.fullmatch(identity):
        raise KeyturnError(
            "keyturn_incident_id must be 1 to 64 letters, digits or . _ -, such as INC-2026-007: give the id of your tracker"
        )
    return identity


def check_table(table: Mapping[str, Row], order: Mapping[str, str], secrets: Mapping[str, Entry]) -> None:
    """Refuse a table that names secrets which are not there, or an order that leaves one out."""
    missing = sorted(set(secrets) - set(order))
    if missing:
        raise KeyturnError(f"incident.yml: no order for {_called(missing)}: say what others can do with each")
    for leaked, row in table.items():
        unknown = sorted({*row["affected"], *row["precaution"]} - set(secrets))
        if unknown:
            raise KeyturnError(
                f"incident.yml: table.{leaked} names {', '.join(unknown)}, which catalogue.yml does not have"
            )


def _called(names: Sequence[str]) -> str:
    return f"secret{'s' if len(names) > 1 else ''} {', '.join(names)}"


def affected(row: Row, named: Sequence[str], order: Mapping[str, str], secrets: Mapping[str, Entry]) -> list[str]:
    """Return the secrets that are rotated at once, the widest door first. ``named`` adds to the table's."""
    unknown = sorted(set(named) - set(secrets))
    if unknown:
        raise KeyturnError(
            f"keyturn_incident_affected names {', '.join(unknown)}, and catalogue.yml has {', '.join(sorted(secrets))}"
        )
    chosen = {*row["affected"], *named}
    if not chosen:
        examples = ", ".join(f'"{name}"' for name in list(order)[:2])
        raise KeyturnError(
            f"when {row['title']} only a person knows which: name them, "
            f"-e '{{\"keyturn_incident_affected\": [{examples}]}}'"
        )
    return [name for name in order if name in chosen]


def steps(
    row: Row,
    named: Sequence[str],
    order: Mapping[str, str],
    secrets: Mapping[str, Entry],
    opened: bool,
    unused: Collection[str] = (),
) -> list[Step]:
    """Return what is done, in this order. ``opened`` tells that a rotation is open, which would refuse all others.

    ``unused`` are the secrets that no host holds: their steps are in the document as well, and there is nothing to do for them.
    An old credential that a person has to delete at its provider is proved dead after everything else: nobody waits for it.
    """
    first = affected(row, named, order, secrets)
    later = [name for name in order if name in row["precaution"] and name not in first]
    planned = [_step("end the open rotation", "resume", "affected")] if opened else []
    planned += [_step(f"rotate {name}", "rotate", "affected", name) for name in first]
    if row["tokens"] != "never":
        planned.append(_step(TOKENS_STEP, "tokens", "affected", condition=row["tokens"]))
    planned += [_step(f"rotate {name}", "rotate", "precaution", name) for name in later]
    for tier, names in (("affected", first), ("precaution", later)):
        revoked = [name for name in names if secrets[name]["retire"]["kind"] == "revoke"]
        planned += [_step(f"prove the old {name} dead", "revoke", tier, name) for name in revoked]
    # access tokens stand in the rows of a key
    concerned = {"tokens": {name for name, entry in secrets.items() if entry["migration"]["kind"] != "none"}}
    for step in planned:
        if concerned.get(step["kind"], {step["secret"]}) <= set(unused):
            step.update({"state": "skipped", "evidence": "not used here: no host holds it"})
    return planned


def _step(name: str, kind: str, tier: str, secret: str = "", condition: str = "always") -> Step:
    return {
        "name": name,
        "kind": kind,
        "tier": tier,
        "secret": secret,
        "condition": condition,
        "state": "todo",
        "attempts": [],
        "evidence": "",
        "at": "",
    }


def text(header: Header, order: Mapping[str, str], planned: Sequence[Step]) -> str:
    """Return the plan for a person."""
    lines = [
        f"incident    {header['id']} in {header['environment']}{' (drill)' if header['drill'] else ''}",
        f"leaked      {header['leaked']}: {header['title']}",
        f"evidence    since {header['since']}, collected before anything is rotated",
        "steps",
    ]
    for number, step in enumerate(planned, 1):
        why = order.get(step["secret"], "") if step["kind"] == "rotate" else ""
        condition = " where rows stand in plaintext" if step["condition"] == "if_plaintext" else ""
        skipped = f": {step['evidence']}" if step["state"] == "skipped" else ""
        lines.append(f"  {number:>2}  {step['name']}{condition} ({step['tier']}{': ' + why if why else ''}){skipped}")
    lines += ["by hand", *(f"  -   {line}" for line in header["by_hand"])]
    return "\n".join(lines)
