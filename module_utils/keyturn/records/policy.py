"""The key rotation policy as a page: everything in it is data, the dates of the last rotations come from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

from ..inputs.application import Threshold
from ..inputs.catalogue import Entry
from . import rotation_log
from .shapes import Instruction, Place, Policy, Procedure, Tier

NOTE = (
    "This page is made by `make policy` from `policy.yml` of the application and the catalogue beside it: change those."
)
Secrets = Mapping[str, Entry]
Records = Sequence[rotation_log.Record]


def render(policy: Policy, secrets: Secrets, records: Records = (), environment: str = "") -> str:
    """Return the policy as Markdown, with the dates and the log of ``environment`` where its ``records`` are given.

    A part that the owner has not promised has no section.
    """
    parts = [
        "# API Key & Secret Rotation Policy",
        NOTE,
        "  \n".join(
            f"**{title}**: {text}"
            for title, text in (
                ("Last Updated", policy.get("updated")),
                ("Owner", policy.get("owner")),
                ("Review Frequency", policy["review"].get("frequency")),
            )
            if text
        ),
        *([f"**Environment**: {environment}"] if environment else []),
        *(["## Purpose", policy["purpose"]] if "purpose" in policy else []),
        *_schedule(policy, secrets, records),
        *_procedures(policy.get("procedures", {})),
        *_incident(policy.get("incident", {})),
        *_storage(policy.get("storage", {})),
        *_monitoring(policy),
        "## Audit Trail",
        "### Key Rotation Log",
        rotation_log.table(records or [rotation_log.setup(environment, policy.get("updated", "-"))]).rstrip("\n"),
        "### Verification Checklist",
        "After each rotation:",
        _list(f"[ ] {point['text']}" for point in policy["checklist"]),
        *_appendix(policy.get("appendix", [])),
        *_contacts(policy.get("contacts", {})),
        *(
            [f"**Policy Version**: {policy['version']}  \n**Next Review Date**: {policy['review']['next']}"]
            if "version" in policy
            else []
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def last_rotated(records: Records, secret: str) -> str:
    """Return the day on which a secret was committed last, ``-`` where the log knows of none."""
    days = [
        str(entry["finished"])[:10]
        for entry in records
        if entry.get("secret") == secret and str(entry.get("outcome", "")) in rotation_log.COMMITTED
    ]
    return max(days, default="-")


def _schedule(policy: Policy, secrets: Secrets, records: Records) -> list[str]:
    turned = []
    for secret, rule in policy.get("schedule", {}).items():
        last = last_rotated(records, secret)
        due = "-" if last == "-" else str(date.fromisoformat(last) + timedelta(days=rule["max_age_days"]))
        turned += [
            (f"`{variable}`", f"Every {rule['max_age_days']} days", last, due)
            for variable in secrets[secret]["variables"]
        ]
    events = [
        (f"`{variable}`", trigger)
        for secret, trigger in policy.get("triggers", {}).items()
        for variable in secrets[secret]["variables"]
    ]
    return [
        "## Rotation Schedule",
        f"### Automatic Rotation ({policy['review'].get('frequency', 'by age')})",
        table(("Key Type", "Rotation Frequency", "Last Rotated", "Next Due"), turned),
        "### Event-Driven Rotation (On Security Incident)",
        table(("Key Type", "Rotation Trigger"), events),
    ]


def _procedures(procedures: Mapping[str, Procedure]) -> list[str]:
    parts = ["## Rotation Procedures"] if procedures else []
    for number, one in enumerate(procedures.values(), start=1):
        parts += [
            f"### {number}. {one['title']}",
            f"**Complexity**: {one['complexity']}  \n**Downtime Required**: {one['downtime']}  \n**Impact**: {one['impact']}",
            _code(f"{name} -i inventory/ENVIRONMENT" for name in one["commands"]),
            "\n".join(_step(*numbered) for numbered in enumerate(one["steps"], start=1)),
        ]
    return parts


def _step(number: int, step: Instruction) -> str:
    notes = "".join(f"\n   - {note}" for note in step.get("notes", []))
    return f"{number}. **{step['title']}**: {step['how']}{notes}"


def _contacts(contacts: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = [f"**{one['title']}**: {one['address']}" for one in contacts.values()]
    return ["## Contact Information", "  \n".join(lines)] if lines else []


def _appendix(values: Sequence[Mapping[str, str]]) -> list[str]:
    parts = ["## Appendix: Key Generation Commands"] if values else []
    for one in values:
        name = f" -e keyturn_name={one['name']}" if one["name"] else ""
        parts += [
            f"### {one['title']}",
            _code([f"generate_value.yml -e keyturn_kind={one['kind']}{name} -e keyturn_dest=./new-value"]),
        ]
    return parts


def _code(playbooks: Iterable[str]) -> str:
    return "\n".join(["```bash", *(f"ansible-playbook playbooks/{one}" for one in playbooks), "```"])


def _incident(steps: Mapping[str, Tier]) -> list[str]:
    parts = ["## Security Incident Response"] if steps else []
    for step in steps.values():
        parts += [
            f"### {step['title']} (Within {within(step['within_hours'])})",
            _list(f"[ ] {action['text']}" for action in step["actions"]),
        ]
    return parts


def within(hours: int) -> str:
    """Return a deadline in the policy's words: hours up to a day, then weeks where they are whole."""
    count, unit = (hours // 168, "week") if hours % 168 == 0 else (hours, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _storage(places: Mapping[str, Place]) -> list[str]:
    parts = ["## Key Storage Best Practices"] if places else []
    for place in places.values():
        parts += [f"### {place['title']}", "**DO:**", _list(place["do"]), "**DON'T:**", _list(place["dont"])]
    return parts


def _monitoring(policy: Policy) -> list[str]:
    metrics, thresholds = policy.get("metrics", []), policy.get("thresholds", [])
    if not metrics and not thresholds:
        return []
    parts = ["## Monitoring & Alerting", "### Key Usage Monitoring"]
    for metric in metrics:
        parts += [f"**{metric['title']}**", _list(metric["watched"])]
    rows = [(line["title"], _level(line, "warning"), _level(line, "critical")) for line in thresholds]
    return [*parts, "### Alert Thresholds", table(("Metric", "Warning", "Critical"), rows)]


def _level(line: Threshold, name: Literal["warning", "critical"]) -> str:
    return f"{line[name]}/{line['per']}" if line.get("per") else str(line[name])


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return text of the policy that stays in its cell; it is Markdown itself."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
