"""Staging, then production: two hosts, two environments, one folder of reports."""

from __future__ import annotations

import json
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
    # nothing names a staging: in production it is the environment of that name
    checks = {"jwt": [{"command": ["grep", "-q", "^JWT_SECRET_KEY=", ".env"]}]}
    production = make_lab(variables={"keyturn_production": True, "keyturn_checks": checks})
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
        proofs = {line["proof"]: line for line in reports.report(production)["hosts"]["here"]["proofs"]}
        assert proofs["command"]["detail"] == "exit code 0"

        other = production.play("rotate_db_key")
        assert other.returncode == 2
        assert "Database Encryption Key was never committed on staging: rotate db_key on staging first" in said(other)
        silent = production.play("rotate_db_key", "-e", "keyturn_staging=")
        assert silent.returncode == 2
        assert "keyturn_staging on the command line would move the staging gate" in said(silent)
        reason = '{"keyturn_staging": "", "keyturn_production": false, "keyturn_override_staging": "INC-7"}'
        incident = production.play("rotate_db_key", "-e", reason)
        assert incident.returncode == 0, incident.stdout
        assert reports.report(production)["overrides"] == {"staging": "INC-7"}
        assert reports.log(production)[-1]["overrides"] == {"staging": "INC-7"}
        assert "overridden: staging (INC-7)" in incident.stdout

        pipeline = {"keyturn_pipeline": True, "keyturn_override_staging": "INC-8"}
        pipeline["keyturn_reports_dir"] = str(tmp_path / "new")
        beside = production.play("rotate_db_key", "-e", json.dumps(pipeline))
        assert beside.returncode == 2
        rotation_id = reports.report(production)["rotation_id"]
        assert f"rotation {rotation_id} has ended on this host, and the log of this pipeline does not know it" in said(
            beside
        )
    finally:
        staging.stop()


@pytest.mark.parametrize("value", ["", "a | b"])
def test_an_override_needs_a_reason(lab: Lab, value: str) -> None:
    lab.write_inventory(keyturn_staging="staging")
    done = lab.play("rotate_jwt_secret", "--check", "-e", f'{{"keyturn_override_staging": "{value}"}}')
    assert done.returncode == 2
    assert "must be a reason" in done.stdout if value else "does not exist" in said(done)
