"""The staging gate refuses what staging has not proved, by name and with the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from keyturn import staging_gate
from keyturn.controller import fleet
from keyturn.errors import KeyturnError

HEADER = {
    "value": "shared",
    "overrides": {},
    "title": "JWT secret",
    "secret": "jwt",
    "revision": "a" * 16,
    "started": "2026-03-10T12:00:00Z",
}


def report(**more: Any) -> dict[str, Any]:
    fields = {"secret": "jwt", "outcome": "committed", "revision": "a" * 16, "finished": "2026-03-09T12:00:00Z"}
    return {**fields, "rotation_id": "20260309T120000Z-0123456789abcdef", **more}


def test_a_proof_of_staging_lets_production_pass() -> None:
    older = report(rotation_id="older", finished="2026-03-08T12:00:00Z")
    assert staging_gate.check([older, report()], "staging", HEADER, 7) == report()["rotation_id"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"secret": "db_key"}, "was never committed on staging"),
        ({"outcome": "committed_with_exclusions"}, "was never committed on staging"),
        ({"outcome": "rolled_back"}, "was never committed on staging"),
        ({"revision": "b" * 16}, f"by another revision of Keyturn ({'b' * 16}, this is {'a' * 16})"),
        ({"finished": "2026-03-03T11:59:59Z"}, "7 days ago"),
    ],
)
def test_anything_less_is_refused(changed: dict[str, str], words: str) -> None:
    with pytest.raises(KeyturnError) as error:
        staging_gate.check([report(**changed)], "staging", HEADER, 7)
    assert words in str(error.value)
    assert "rotate jwt on staging first" in str(error.value)


def test_a_report_that_knows_no_revision_is_none() -> None:
    old = report()
    del old["revision"]
    with pytest.raises(KeyturnError, match="unknown"):
        staging_gate.check([old], "staging", HEADER, 7)


def test_an_age_at_the_limit_passes() -> None:
    assert staging_gate.check([report(finished="2026-03-03T12:00:00Z")], "staging", HEADER, 7)


def test_the_reports_are_read_from_the_folder_of_staging(tmp_path: Path) -> None:
    given = {
        "plan": HEADER,
        "staging": "staging",
        "max_age_days": 7,
        "folder": str(tmp_path),
        "hosts": {},
        "excluded": {},
    }
    with pytest.raises(KeyturnError, match=f"{tmp_path}/staging does not exist"):
        fleet.run(given, False)
    assert fleet.run(given | {"staging": ""}, False)["passed"] == ""
    assert fleet.run(given | {"plan": HEADER | {"overrides": {"staging": "it burns"}}}, False)["passed"] == ""
    begun = {"app1": {"rotation_looked": {"rotation": {"rotation_id": "any"}}}}
    assert fleet.run(given | {"hosts": begun}, False)["passed"] == "", "one that has begun goes on"
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging/status.json").write_text("{}")
    (tmp_path / f"staging/{report()['rotation_id']}.json").write_text(json.dumps(report()))
    assert fleet.run(given, False)["passed"] == report()["rotation_id"]


def test_the_revision_is_that_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "roles/a").mkdir(parents=True)
    (tmp_path / "inventory").mkdir()
    task = tmp_path / "roles/a/main.yml"
    task.write_text("one")
    first = staging_gate.revision(tmp_path)
    (tmp_path / "inventory/hosts.yml").write_text("other hosts")
    (tmp_path / "roles/a/main.pyc").write_text("compiled")
    assert staging_gate.revision(tmp_path) == first
    task.write_text("two")
    second = staging_gate.revision(tmp_path)
    assert second != first
    task.rename(tmp_path / "roles/a/other.yml")
    assert staging_gate.revision(tmp_path) not in (first, second)
