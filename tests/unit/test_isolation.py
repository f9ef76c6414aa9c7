"""A value of one environment is refused in another, also one that it held long ago."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet import isolation
from keyturn.steps import agree
from support import steps

STAGING = {
    "old": {"PLAID_SECRET": "kt:000000000001"},
    "new": {"PLAID_SECRET": "kt:000000000002", "PLAID_CLIENT_ID": "kt:000000000009"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for environment, hosts in {
        "staging": {"s1": STAGING, "s2": {}},
        "production": {"p1": {"new": {"X": "kt:000000000007"}}},
    }.items():
        (tmp_path / environment).mkdir()
        report = {"environment": environment, "rotation_id": "20260101T000000Z-0123456789abcdef", "hosts": hosts}
        (tmp_path / environment / "20260101T000000Z-0123456789abcdef.json").write_text(json.dumps(report))
        (tmp_path / environment / "status.json").write_text("{}")
    return tmp_path


def asked(folder: Path, **new: str) -> dict[str, Any]:
    said = {"place": "a", "clock_offset": 0, "rotation": {"old": {"PLAID_SECRET": "kt:000000000005"}, "new": new}}
    more = {"environment": "production", "reports": str(folder), "may_stay": ["PLAID_CLIENT_ID"]}
    return agree.run(
        {
            "secret": "plaid",
            "value": "shared",
            "hosts": {"p1": {"rotation_staged": said}},
            "adopted": "",
            "excluded": {},
            **more,
        },
        False,
    )


@pytest.mark.parametrize("shown", ["kt:000000000001", "kt:000000000002"])
def test_a_value_of_another_environment_is_refused(folder: Path, shown: str) -> None:
    with pytest.raises(
        KeyturnError, match=f"p1 was given PLAID_SECRET {shown}, which is PLAID_SECRET of staging in rotation"
    ):
        asked(folder, PLAID_SECRET=shown)


def test_the_environment_s_own_and_new_values_pass(folder: Path) -> None:
    assert asked(folder, PLAID_SECRET="kt:000000000007")
    assert asked(folder, PLAID_SECRET="kt:000000000006", PLAID_CLIENT_ID="kt:000000000009")
    assert asked(folder)


def test_a_check_of_the_storage_says_that_there_is_nothing_to_compare_with(folder: Path, tmp_path: Path) -> None:
    def notes(reports: Path, production: bool = False) -> list[str]:
        given = {
            "hosts": {},
            "environment": "staging",
            "secrets": {},
            "reports": str(reports),
            "production": production,
        }
        found = steps.take("storage_report", given | {"store": {"kind": "dotenv"}}, check_mode=True)["findings"][
            "controller"
        ]
        return [f"{one['severity']}: {one['remedy']}" for one in found if one["rule"] == "one environment each"]

    assert notes(folder) == []
    apart = tmp_path / "apart"
    (apart / "staging").mkdir(parents=True, mode=0o700)
    (note,) = notes(apart)
    assert (
        note.startswith("note: give all environments one keyturn_reports_dir")
        and "what verify.yml says of each" in note
    )
    assert notes(apart, production=True) == [note.replace("note", "warning", 1)]


def test_no_other_environment_is_known(tmp_path: Path) -> None:
    assert isolation.held_elsewhere(tmp_path / "missing", "production") == {}
