"""validate.yml lists all mistakes of an application's folder at once, each by file and key."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from keyturn.inputs import mistakes
from keyturn.inputs.application import Application, secrets
from support import editor_schemas
from support.lab import ROOT
from support.steps import take
from unit.test_catalogue import shipped

SHIPPED = Application(ROOT / "applications/trader_ai")


def wrong(folder: Path, changes: dict[str, dict[str, Any]]) -> list[str]:
    """What is said of trader-ai's folder with changes, by file, of the places ``a.b.c``; None takes a part away."""
    mine = Application(Path(shutil.copytree(SHIPPED.folder, folder / "shop")))
    entries = shipped()
    for file, places in changes.items():
        document = copy.deepcopy(SHIPPED.file(file))
        for place, value in places.items():
            *way, last = place.split(".")
            for part in (document, entries if file == "catalogue.yml" and way[:1] == ["secrets"] else None):
                here: Any = part
                if here is None:
                    continue
                for step in way if part is document else way[1:]:
                    here = here[int(step) if step.isdigit() else step]
                if value is None:
                    here.pop(last)
                else:
                    here[int(last) if last.isdigit() else last] = value
        (mine.folder / file).write_text(yaml.safe_dump(document))
    return mistakes.mistakes(mine, entries)


def test_nothing_is_wrong_with_what_we_ship() -> None:
    told = take("validate", {"folder": str(SHIPPED.folder), "secrets": shipped()})
    assert told["mistakes"] == []
    assert f"nothing is wrong with {', '.join(shipped())}" in told["text"]


WRONG: list[tuple[str, str, Any, str]] = [
    ("catalogue.yml", "secrets.jwt.colour", "red", "catalogue.yml: secrets.jwt: Unsupported parameters: colour"),
    (
        "catalogue.yml",
        "secrets.jwt.switch",
        "rolling",
        "catalogue.yml: secrets.jwt: a shared value is switched rolling only",
    ),
    (
        "catalogue.yml",
        "log_lines.auth.message",
        "(",
        "catalogue.yml: log_lines.auth.message is no regular expression: ",
    ),
    ("catalogue.yml", "log_lines.auth.level", None, "catalogue.yml: log_lines.auth: level and logger go together"),
    (
        "policy.yml",
        "schedule.moon",
        {"max_age_days": 1},
        "policy.yml: schedule names moon, which secrets of catalogue.yml does not have",
    ),
    ("policy.yml", "checklist.0.id", "backup", "policy.yml: checklist has the id backup twice"),
    ("incident.yml", "order.db_key", None, "incident.yml: no order for secret db_key: say what others can do with it"),
    (
        "incident.yml",
        "table.key.affected",
        ["moon"],
        "incident.yml: table.key names moon, which catalogue.yml does not have",
    ),
    (
        "incident.yml",
        "replacement",
        None,
        "incident.yml: table.database has tokens replaced, and there is no replacement",
    ),
    (
        "incident.yml",
        "ticks.moon",
        "notified",
        "incident.yml: ticks names moon, which incident of policy.yml does not have",
    ),
    (
        "monitoring.yml",
        "counts.0.line",
        "moon",
        "monitoring.yml: counts names moon, which log_lines of catalogue.yml does",
    ),
    (
        "monitoring.yml",
        "metrics.failed_auth.expected",
        "moon",
        "monitoring.yml: metrics.failed_auth names moon, which counts",
    ),
    ("monitoring.yml", "access.line", "(?P<path>x)", "monitoring.yml: access.line has no group (?P<address>...)"),
    ("variables.yml", "keyturn_reason", "text", "variables.yml: keyturn_reason must begin with keyturn_, and be none"),
    (
        "variables.yml",
        "keyturn_x",
        "colour",
        "variables.yml: keyturn_x must be a list of choices, or one of text, number",
    ),
]


@pytest.mark.parametrize(("file", "place", "value", "said"), WRONG, ids=[said[:50] for *_, said in WRONG])
def test_each_mistake_is_told_by_file_and_key(tmp_path: Path, file: str, place: str, value: Any, said: str) -> None:
    assert any(one.startswith(said) for one in wrong(tmp_path, {file: {place: value}})), said


def test_all_are_told_at_once(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {}
    for file, place, value, _ in WRONG:
        if place not in ("log_lines.auth.level", "incident.yml"):
            changes.setdefault(file, {})[place] = value
    found = wrong(tmp_path, changes)
    assert len(found) >= len(WRONG) - 2, found


def test_what_is_not_there_is_no_mistake_and_is_told(tmp_path: Path) -> None:
    mine = Path(shutil.copytree(SHIPPED.folder, tmp_path / "shop"))
    (mine / "incident.yml").unlink()
    told = take("validate", {"folder": str(mine), "secrets": secrets({}, {}) | shipped()})
    assert told["mistakes"] == []
    assert "incident.yml is not there: respond_to_incident.yml has no table to decide by" in told["text"]


def test_the_schemas_for_editors_are_made_from_what_is_checked() -> None:
    written = {path.name: json.loads(path.read_text()) for path in editor_schemas.FOLDER.glob("*.json")}
    assert written == json.loads(json.dumps(editor_schemas.schemas())), "run make docs"


def test_an_editor_takes_what_we_ship_and_shows_a_mistake() -> None:
    for file, schema in editor_schemas.schemas().items():
        document = SHIPPED.file(file.replace(".schema.json", ".yml"))
        jsonschema.validate(document, schema)
    schema = editor_schemas.schemas()["catalogue.schema.json"]
    for place, value in (
        ("switch", "sideways"),
        ("colour", "red"),
        ("downtime_budget_seconds", "soon"),
        ("title", None),
    ):
        changed = copy.deepcopy(SHIPPED.file("catalogue.yml"))
        changed["secrets"]["jwt"][place] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed, schema)
