"""A message that names a playbook is printed as the command that runs it, from where this run was started."""

from __future__ import annotations

from pathlib import Path

import pytest
from keyturn.inputs import typed
from support.lab import ROOT

SAID = "end it with resume.yml (on the new value) or rollback.yml -e keyturn_exclude=x; see policy.yml, my_status.yml, playbooks/prune.yml"


@pytest.mark.parametrize(
    ("wrapped", "installed", "start"),
    [
        (True, False, "bin/keyturn {}"),
        (False, False, "ansible-playbook playbooks/{}.yml"),
        (False, True, "ansible-playbook keyturn.core.{}"),
    ],
)
def test_a_playbook_is_named_as_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, wrapped: bool, installed: bool, start: str
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(typed, "WRAPPED", wrapped)
    monkeypatch.setattr(typed, "IN_A_COLLECTION", installed)
    named = [str(ROOT / "inventory/staging"), "app1,"]
    resume, rollback = (f"{start.format(name)} -i inventory/staging -i app1," for name in ("resume", "rollback"))
    assert typed.typed(SAID, named) == (
        f"end it with {resume} (on the new value) or {rollback} -e keyturn_exclude=x; see policy.yml, my_status.yml, playbooks/prune.yml"
    )


def test_from_another_folder_it_is_found_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(typed, "WRAPPED", True)
    assert typed.typed("run prune.yml") == f"run {ROOT}/bin/keyturn prune"
