"""The staging gate refuses what staging has not proved, by name and with the remedy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet import staging_gate
from keyturn.records import rotation_log
from keyturn.steps import fleet

HEADER = {
    "rotation_id": "20260310T120000Z-0123456789abcdef",
    "environment": "live",
    "value": "shared",
    "overrides": {},
    "title": "JWT secret",
    "secret": "jwt",
    "revision": "a" * 16,
    "started": "2026-03-10T12:00:00Z",
}

ATTEMPT = {"id": "the first", "controller": "c1", "pid": 1, "process": None}


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
        "production": True,
        "typed": [],
        "hosts": {},
        "excluded": {},
    }
    with pytest.raises(KeyturnError, match=f"{tmp_path}/staging does not exist"):
        fleet.run(given, False)
    given |= {"production": False, "typed": []}
    assert fleet.run(given | {"staging": ""}, False)["passed"] == ""
    assert fleet.run(given | {"plan": HEADER | {"overrides": {"staging": "it burns"}}}, False)["passed"] == ""
    begun = {"app1": {"rotation_looked": {"rotation": {"rotation_id": HEADER["rotation_id"]}}}}
    plan = HEADER | {"attempt": {"id": "the second"}}
    with pytest.raises(KeyturnError, match="staging does not exist"):
        fleet.run(given | {"plan": plan, "hosts": begun}, False)
    told = {"event": "started", "attempt": ATTEMPT, "at": HEADER["started"], "by": "x", "variables": [], "reason": "x"}
    told |= {name: HEADER[name] for name in ("rotation_id", "secret", "environment")}
    rotation_log.append(tmp_path / "live", told)
    assert fleet.run(given | {"plan": plan, "hosts": begun}, False)["passed"] == "", "one that has begun goes on"
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging/status.json").write_text("{}")
    (tmp_path / f"staging/{report()['rotation_id']}.json").write_text(json.dumps(report()))
    assert fleet.run(given, False)["passed"] == report()["rotation_id"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"production": True}, "live is in production, and keyturn_staging names no environment that goes first"),
        ({"staging": "live"}, "keyturn_staging is live itself"),
        ({"typed": ["keyturn_production", "x"]}, "keyturn_production on the command line would move the staging gate"),
        (
            {"typed": ["keyturn_staging_max_age_days"], "staging": "staging"},
            "keyturn_staging_max_age_days on the command",
        ),
    ],
)
def test_no_setting_opens_the_gate_without_a_reason(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    shut = {"plan": HEADER, "staging": "", "max_age_days": 7, "folder": str(tmp_path), "production": False, "typed": []}
    shut |= {"hosts": {}, "excluded": {}, **given}
    with pytest.raises(KeyturnError) as error:
        fleet.run(shut, False)
    assert words in str(error.value) and "by keyturn_override_staging" in str(error.value)
    assert fleet.run(shut | {"plan": HEADER | {"overrides": {"staging": "INC-7"}}}, False)["passed"] == ""


PROJECT = """
[project]
dependencies = ["{name}>=2.19"]
[dependency-groups]
stores = ["no-such-store"]
"""


def checkout(folder: Path) -> None:
    (folder / "roles/a").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(name="ansible-core"))
    (folder / "ansible.cfg").write_text("[defaults]\nforks = 10\n")


def install(folder: Path, name: str, version: str, requires: str = "") -> None:
    """Put a package into a folder of packages, as far as its metadata go."""
    about = folder / f"{name}.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")


def test_the_revision_covers_templates_settings_and_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(name="our_tool"))
    (tmp_path / "applications/shop").mkdir(parents=True)
    changes: list[Callable[[], Any]] = [
        lambda: (tmp_path / "applications/shop/catalogue.yml").write_text("secrets: {}"),
        lambda: (tmp_path / "roles/a/unit.service.j2").write_text("one"),
        lambda: (tmp_path / "roles/a/unit.service.j2").write_text("two"),
        lambda: (tmp_path / "ansible.cfg").write_text("[defaults]\nforks = 20\n"),
        lambda: install(tmp_path / "packages", "our_tool", "1.0", "its_parser (>=1)"),
        lambda: install(tmp_path / "packages", "its_parser", "1.0"),
        lambda: install(tmp_path / "packages", "its_parser", "1.1"),
        lambda: install(tmp_path / "packages", "our_tool", "1.1", "its_parser (>=1)"),
    ]
    seen = [staging_gate.revision(tmp_path, tmp_path / "applications/shop")]
    for change in changes:
        change()
        seen.append(staging_gate.revision(tmp_path, tmp_path / "applications/shop"))
    assert len(set(seen)) == len(changes) + 1
    install(tmp_path / "packages", "a_stranger", "1.0")
    assert staging_gate.revision(tmp_path, tmp_path / "applications/shop") == seen[-1]


def test_the_revision_is_that_of_the_code(tmp_path: Path) -> None:
    checkout(tmp_path)
    (tmp_path / "inventory").mkdir()
    task = tmp_path / "roles/a/main.yml"
    task.write_text("one")
    first = staging_gate.revision(tmp_path, tmp_path / "applications/shop")
    (tmp_path / "inventory/hosts.yml").write_text("other hosts")
    (tmp_path / "roles/a/main.pyc").write_text("compiled")
    assert staging_gate.revision(tmp_path, tmp_path / "applications/shop") == first
    task.write_text("two")
    second = staging_gate.revision(tmp_path, tmp_path / "applications/shop")
    assert second != first
    task.rename(tmp_path / "roles/a/other.yml")
    assert staging_gate.revision(tmp_path, tmp_path / "applications/shop") not in (first, second)


def test_no_file_of_an_application_is_waited_for(tmp_path: Path) -> None:
    checkout(tmp_path)
    (tmp_path / "applications/shop").mkdir(parents=True)
    os.mkfifo(tmp_path / "applications/shop/other.yml")
    with pytest.raises(KeyturnError, match=r"other\.yml is not a regular file"):
        staging_gate.revision(tmp_path, tmp_path / "applications/shop")
