"""The page of the policy says what the data says: its tables are parsed back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from keyturn.base.generate import GENERATORS
from keyturn.inputs.application import Application, secrets
from keyturn.records import policy as page

ROOT = Path(__file__).parents[2]
APPLICATION = Application(ROOT / "applications/trader_ai")
POLICY = APPLICATION.part("policy.yml")
SECRETS = secrets(APPLICATION.part("catalogue.yml", "secrets"), POLICY["schedule"])
SHIPPED = (ROOT / "docs/policy.md").read_text()


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def boxes(text: str) -> list[str]:
    return re.findall(r"^- \[ \] (.*)$", text, re.MULTILINE)


def test_the_shipped_page_is_made_from_the_data() -> None:
    assert page.render(POLICY, SECRETS) == SHIPPED, "run make policy"


def test_the_tables_parse_back_to_the_policy() -> None:
    assert rows(section(SHIPPED, "Automatic Rotation (Quarterly)")) == [
        [f"`{variable}`", f"Every {rule['max_age_days']} days", "-", "-"]
        for secret, rule in POLICY["schedule"].items()
        for variable in SECRETS[secret]["variables"]
    ]
    events = rows(section(SHIPPED, "Event-Driven Rotation (On Security Incident)"))
    assert [row[0] for row in events] == [
        f"`{variable}`" for secret in POLICY["triggers"] for variable in SECRETS[secret]["variables"]
    ]
    assert all(row[1].startswith("Security breach, unauthorized access, or ") for row in events)
    assert rows(section(SHIPPED, "Alert Thresholds")) == [
        ["Failed auth attempts", "10/hour", "50/hour"],
        ["Alpaca API errors", "5/hour", "20/hour"],
        ["Plaid API errors", "3/hour", "10/hour"],
        ["API calls from new IPs", "1", "5"],
    ]


def policy_lines(page: str) -> list[str]:
    """Every line of the policy that promises something: points and steps, names of values, first cells of tables, prose."""
    found = []
    for line in re.sub(r"```.*?```", "", page, flags=re.DOTALL).splitlines():
        if match := re.match(r" *- (?:\[ \] )?(.*)|\| ([^|]+) \||(?:\d+\. )?\*\*([^*:]+)\*\*", line):
            found.append((match[1] or match[2] or match[3]).strip())
        elif line[:1].isalpha() and not line.startswith(("This page is made", "After each rotation")):
            found.append(line)
    heads = {"Key Type", "Metric", "Date", "---", "**DO:**", "**DON'T:**"}
    return [line for line in found if line not in heads]


def test_every_line_has_a_row_that_says_what_does_it() -> None:
    page = (ROOT / "docs/policy-line-by-line.md").read_text()
    known = {line for row in re.findall(r"^\| (.*?) \| .+ \|$", page, re.MULTILINE) for line in row.split("<br>")}
    wanted = policy_lines(SHIPPED)
    assert len(wanted) > 120
    assert [line for line in dict.fromkeys(wanted) if line not in known] == []


def test_each_playbook_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`([a-z_]+\.yml)", (ROOT / "docs/policy-line-by-line.md").read_text()))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / "playbooks" / name).is_file()] == []


def test_each_procedure_names_playbooks_that_are_there() -> None:
    assert set(POLICY["procedures"]) == set(SECRETS)
    for secret, one in POLICY["procedures"].items():
        assert (f"keyturn_secret: {secret}\n") in (ROOT / "playbooks" / one["commands"][0]).read_text()
        assert all((ROOT / "playbooks" / name).is_file() for name in one["commands"])
        assert ("confirm_revoked.yml" in one["commands"]) == (SECRETS[secret]["retire"]["kind"] == "revoke")
        text = section(SHIPPED, f"{list(POLICY['procedures']).index(secret) + 1}. {one['title']}")
        assert re.findall(r"^\d\. \*\*(.*?)\*\*", text, re.MULTILINE) == [step["title"] for step in one["steps"]]


def test_the_appendix_names_variables_of_the_catalogue() -> None:
    names = {name for entry in SECRETS.values() for name in entry["variables"]}
    for one in POLICY["appendix"]:
        assert one["kind"] in GENERATORS and one["name"] in names | {""}
        assert f"-e keyturn_kind={one['kind']}" in section(SHIPPED, one["title"])


def test_deadlines_and_checklists_parse_back() -> None:
    counts = {"Immediate Actions (Within 1 hour)": 4, "Short-Term Actions (Within 24 hours)": 5}
    for title, count in (counts | {"Long-Term Actions (Within 1 week)": 4}).items():
        assert len(boxes(section(SHIPPED, title))) == count, title
    assert boxes(section(SHIPPED, "Verification Checklist")) == [point["text"] for point in POLICY["checklist"]]
    assert len(POLICY["checklist"]) == 7
    assert "**Next Review Date**: 2026-02-08" in SHIPPED and "security@trader-ai.example.com" in SHIPPED


def ended(secret: str, day: str, outcome: str = "committed") -> dict[str, Any]:
    return {
        "event": "ended",
        "rotation_id": f"{secret}-{day}",
        "secret": secret,
        "variables": SECRETS[secret]["variables"],
        "outcome": outcome,
        "reason": "scheduled",
        "started": f"{day}T00:00:00Z",
        "finished": f"{day}T00:01:00Z",
        "rotated_by": "somebody",
        "verified_by": "keyturn, 5 of 5 proofs",
    }


def test_last_rotated_and_next_due_come_from_the_log() -> None:
    records = [ended("jwt", "2026-01-01"), ended("jwt", "2026-03-01"), ended("jwt", "2026-04-01", "rolled_back")]
    text = page.render(POLICY, SECRETS, records, "staging")
    assert rows(section(text, "Automatic Rotation (Quarterly)"))[:2] == [
        ["`JWT_SECRET_KEY`", "Every 90 days", "2026-03-01", "2026-05-30"],
        ["`DATABASE_ENCRYPTION_KEY`", "Every 90 days", "-", "-"],
    ]
    assert len(rows(section(text, "Key Rotation Log"))) == 3 and "**Environment**: staging" in text


def test_every_secret_is_turned_by_age_or_by_an_event_and_no_other_is_named() -> None:
    assert set(POLICY["schedule"]) | set(POLICY["triggers"]) == set(SECRETS)
    assert not set(POLICY["schedule"]) & set(POLICY["triggers"])
