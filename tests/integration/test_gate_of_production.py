"""Staging, then production: two hosts, two environments, one folder of reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import reports
from support.lab import Lab


class StagingLab(Lab):
    """A lab whose environment is called staging."""

    @property
    def inventory(self) -> Path:
        """The folder of the inventory has the environment's name."""
        return self.folder / "staging"


def said(done: object) -> str:
    return " ".join(str(done.stdout).split())  # type: ignore[attr-defined]


def test_production_waits_for_staging(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    production = make_lab(variables={"keyturn_staging": "staging"})
    production.start()
    folder = tmp_path / "staging-host"
    folder.mkdir()
    to = {"keyturn_environment": "staging", "keyturn_reports_dir": str(production.reports)}
    staging = StagingLab(folder, variables=to)
    staging.start()
    try:
        before = production.env.read_bytes()
        refused = production.play("rotate_jwt_secret")
        assert refused.returncode == 2, refused.stdout
        assert f"{production.reports}/staging does not exist, so nobody knows what was turned there" in said(refused)
        assert production.env.read_bytes() == before
        assert production.journals() == []

        first = staging.play("rotate_jwt_secret")
        assert first.returncode == 0, first.stdout
        passed = production.play("rotate_jwt_secret")
        assert passed.returncode == 0, passed.stdout
        assert production.env.read_bytes() != before

        other = production.play("rotate_db_key")
        assert other.returncode == 2
        assert "Database Encryption Key was never committed on staging: rotate db_key on staging first" in said(other)
        incident = production.play("rotate_db_key", "-e", "keyturn_override_staging=INC-7")
        assert incident.returncode == 0, incident.stdout
        assert reports.report(production)["overrides"] == {"staging": "INC-7"}
        assert "overridden: staging (INC-7)" in incident.stdout
    finally:
        staging.stop()


@pytest.mark.parametrize("value", ["", "a | b"])
def test_an_override_needs_a_reason(lab: Lab, value: str) -> None:
    done = lab.play(
        "rotate_jwt_secret", "--check", "-e", f'{{"keyturn_override_staging": "{value}", "keyturn_staging": "staging"}}'
    )
    assert done.returncode == 2
    assert "must be a reason" in done.stdout if value else "does not exist" in said(done)
