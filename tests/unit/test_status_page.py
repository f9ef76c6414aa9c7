"""The status of an environment that has lived for a year: what needs somebody first, its lives, its page, its CSV and its schema."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from keyturn.inputs import typed
from keyturn.records import attention, life_line, lives, status_csv, status_page
from keyturn.steps import status as step
from support import history
from support.lab import ROOT


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("reports") / "staging"
    history.write(folder)
    return step.reckoned(history.given(folder), folder, history.NOW)


@pytest.fixture(scope="module")
def page(found: dict[str, Any]) -> str:
    return status_page.render(found, "staging")


def test_it_is_what_its_schema_says(found: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "docs/status.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    said = json.loads(json.dumps(found))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(said)] == []
    assert set(schema["properties"]["events"]["items"]["required"]) == set(lives.COLUMNS)


def test_the_worst_is_first_and_names_its_remedy(found: dict[str, Any], page: str) -> None:
    told = found["attention"]
    states = [step.reckoning.STATES.index(one["state"]) for one in told]
    assert states == sorted(states, reverse=True) and len(told) == 6
    first = (
        "a rotation of jwt is open on app1: resume.yml ends it on the new value, rollback.yml ends it on the old one"
    )
    assert told[0]["text"] == first
    heading = re.sub("<[^>]+>", "", re.search("<h1>(.*?)</h1>", page)[1])  # type: ignore[index]
    assert heading == f"staging is broken: {first}"
    remedies = re.compile(r"\w+\.yml|rotate it|see that|is not set in")
    assert [one["text"] for one in told if not remedies.search(one["text"])] == []


def test_what_a_person_has_to_bring_is_not_what_rotate_due_turns(found: dict[str, Any]) -> None:
    due = found | {"calendar": [found["calendar"][0] | {"turn": True, "due": found["at"]}]}
    late = due["calendar"][0]["secret"]

    def told(brought: tuple[str, ...]) -> list[str]:
        return [one["text"].partition(": ")[2] for one in attention.now(due, history.answers(), brought)]

    assert "run rotate_due.yml" in told(())
    assert f"bring its new value and run rotate.yml -e keyturn_secret={late}" in told((late,))
    assert "run rotate_due.yml" not in told((late,))


def test_a_rotation_that_cannot_go_back_comes_before_all(found: dict[str, Any]) -> None:
    hosts = history.answers()
    hosts["app1"]["rotation"] |= {"old_credential": {"verdict": "rejected", "detail": "HTTP 401", "at": found["at"]}}
    (first, second, *_) = attention.now(found, hosts)
    assert first["text"].startswith(
        "the old value is rejected at its provider, so nothing goes back; on the new value: app1;"
    )
    assert second["text"].startswith("a rotation of jwt is open on app1")


@pytest.mark.parametrize(
    ("decision", "ways"),
    [("rollback", "rollback.yml ends it on the old one"), ("commit", "resume.yml ends it on the new value")],
)
def test_an_open_rotation_says_first_what_is_down_and_only_ways_that_are_open(
    found: dict[str, Any], decision: str, ways: str
) -> None:
    hosts = history.answers()
    hosts["app1"]["rotation"] |= {"down": {"backend": "2026-01-10T09:00:02Z"}, "decision": decision}
    stopped = {"kind": "failure", "id": hosts["app1"]["rotation"]["rotation_id"], "detail": "going back failed: why"}
    (first, *_) = attention.now(found | {"events": [*found["events"], stopped]}, hosts)
    assert first["text"] == (
        f"down: backend of app1 since 2026-01-10T09:00:02Z; a rotation of jwt is open on app1: {ways} (it stopped at: going back "
        "failed: why)"
    )
    assert step.reckoning.table(found | {"attention": [first]}).startswith(f"BROKEN at {found['at']}: down: backend")


def test_a_review_that_is_late_counts_in_production_alone(tmp_path: Path) -> None:
    given, after = history.given(tmp_path), history.NOW.replace(year=history.NOW.year + 1)
    for production in (True, False):
        told = step.reckoned(given | {"production": production, "hosts": {}}, tmp_path, after)
        assert any("the policy's review was due" in one["text"] for one in told["attention"]) is production


def test_a_command_of_the_page_can_be_typed_and_the_data_has_its_name_alone(
    found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typed, "WRAPPED", True)
    step._write(tmp_path / "staging", found, ["inventory/staging"])
    page, data = ((tmp_path / f"staging/status.{end}").read_text() for end in ("html", "json"))
    assert "bin/keyturn resume -i inventory/staging ends it" in page and "resume.yml" not in page
    assert "resume.yml ends it" in data and "bin/keyturn" not in data


def test_where_nothing_needs_anybody_the_page_says_so(found: dict[str, Any]) -> None:
    assert "<h1>staging: nothing needs you</h1>" in status_page.render(found | {"attention": []}, "staging")


def test_lives_have_rotations_failures_revocations_an_incident_and_due_dates(found: dict[str, Any]) -> None:
    kinds = [one["kind"] for one in found["events"]]
    assert {kind: kinds.count(kind) for kind in lives.KINDS} == {
        "rotation": 12,
        "failure": 2,
        "revocation": 4,
        "incident": 1,
        "due": kinds.count("due"),
    }
    assert kinds.count("due") > 1
    moments = [one["at"] for one in found["events"]]
    assert moments == sorted(moments)
    revocations = {one["id"]: one for one in found["events"] if one["kind"] == "revocation"}
    first, last = (revocations[history.identity(day)] for day in ("2025-06-01", "2025-12-28"))
    assert (first["state"], first["until"]) == ("proved dead", "2025-06-04T22:01:00Z")
    assert (last["state"], last["until"]) == ("open", None)


def test_a_mark_lies_where_its_moment_does_and_never_outside() -> None:
    time = life_line.span([lives.event("rotation", "x", "2025-01-10T00:00:00Z", "committed")], history.NOW)
    assert time.place("2025-01-10T00:00:00Z") == 0.0
    assert time.place("1999-01-01T00:00:00Z") == 0.0 and time.place("2099-01-01T00:00:00Z") == 100.0
    assert 0 < time.place("2025-12-01T00:00:00Z") < time.place("2026-01-10T00:00:00Z") < 100


@pytest.mark.parametrize(
    ("state", "down", "colour"),
    [
        ("committed", 1.0, "ok"),
        ("committed_with_exclusions", 1.0, "ok"),
        ("committed", 61.0, "overdue"),
        ("committed_in_part", 1.0, "overdue"),
        ("rolled_back", 1.0, "overdue"),
        ("refused", 0.0, "due"),
        ("open", None, "overdue"),
        ("proved dead", None, "ok"),
    ],
)
def test_the_colour_of_an_event_says_how_it_ended(state: str, down: float | None, colour: str) -> None:
    one = lives.event("rotation", "x", "2025-01-10T00:00:00Z", state, downtime_seconds=down, downtime_budget_seconds=60)
    assert life_line.colour(one) == colour


def test_each_box_has_a_label_and_hides_what_there_is(page: str) -> None:
    boxes = re.findall(r'<input type="checkbox" id="show-([\w-]+)"', page)
    assert len(boxes) == len(lives.KINDS) + 5
    for name in boxes:
        assert f'<label for="show-{name}">' in page
        assert f":root:has(#show-{name}:not(:checked)) main .{name} {{ display: none; }}" in page
        assert re.search(rf'class="[^"]*\b{name}\b', page), name
    colours = {name for found in re.findall(r'class="state ([^"]+)"', page) for name in found.split()}
    assert colours & set(boxes) == set(), "a box hides what has a colour"


def test_text_of_people_is_text(page: str) -> None:
    assert history.HOSTILE not in page and "<script" not in page
    assert page.count("&lt;script&gt;alert(") == 3, (
        "of an operator and of an incident in the table, and of that on its line"
    )


def test_a_picture_says_what_is_in_it_and_motion_is_only_for_who_wants_it(page: str) -> None:
    pictures = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert "plaid: 2 rotations, 2 revocations; the table of events says when" in pictures
    assert page.count("scroll-behavior") == page.count("prefers-reduced-motion: no-preference") == 1
    assert "animation" not in page and "transition" not in page


def test_the_csv_has_a_row_for_all_of_it(found: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(status_csv.render(found))))
    assert list(rows[0]) == list(lives.COLUMNS)
    assert len(rows) == len(found["attention"]) + len(found["secrets"]) + len(found["events"])
    (open_one,) = [row for row in rows if row["kind"] == "revocation" and row["state"] == "open"]
    assert (open_one["secret"], open_one["until"]) == ("plaid", "")


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n-1", "\uff1d1", "=\x00", "a;=1", "a; @b", "a|+1"],
)
def test_no_cell_is_a_formula_whatever_a_country_takes_for_its_end(text: str) -> None:
    for cell in re.split("[;|]", status_csv.cell(text)):
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))


def test_the_files_lie_beside_each_other_and_their_paths_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "staging"
    history.write(folder)
    text = step.run(history.given(folder), check_mode=False)["text"]
    for what, name in (("page", "status.html"), ("table", "status.csv"), ("data", "status.json")):
        assert f"{what:<12}{folder / name}" in text
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    text = step.run(history.given(folder), check_mode=True)["text"]
    assert "status.html" not in text
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
