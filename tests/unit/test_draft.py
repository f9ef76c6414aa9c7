"""The first folder of an application: what was found stands in it, a person's answers do not, and nothing in it is a template."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.base.errors import KeyturnError
from keyturn.fleet.draft import OPEN, Draft, draft
from keyturn.inputs.application import FILES, Application
from keyturn.inputs.mistakes import mistakes
from keyturn.steps import adopt

ROOT = Path("/srv/shop")
TODAY = date(2026, 2, 28)
KEY: Any = {
    **{"name": "TOKEN_KEY", "place": "/srv/shop/.env", "format": "dotenv", "section": "", "key": "TOKEN_KEY"},
    **{"inside": "", "number": 0, "rule": "", "mark": "kt:0123456789ab"},
}
COLUMN: Any = {
    **{
        "store": "fernet_sqlite",
        "database": "/srv/shop/data/shop.db",
        "login": {},
        "table": "accounts",
        "key": ["id"],
        "column": "token",
        "path": "",
        "flag": "",
    },
    **{"objects": False, "rows": 3, "empty": 0, "plain": 0, "unopened": 0, "under": {"0": 3}},
}
SERVICE: Any = {"name": "shop.service", "unit": True, "user": 1000, "does": ["has it open"], "ports": [8080]}
SURVEY: Any = {
    **{"changed": False, "keys": [KEY], "secrets": [], "columns": [COLUMN], "databases": ["/srv/shop/data/shop.db"]},
    **{"services": [SERVICE], "findings": [], "text": ""},
}


def survey(**more: Any) -> Any:
    return copy.deepcopy(SURVEY) | more


def written(tmp_path: Path, found: Draft) -> Application:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in found.files.items():
        (folder / name).write_text(text)
    return Application(folder)


def entry(found: Draft, secret: str = "token_key") -> dict[str, Any]:
    return dict(yaml.safe_load(found.files["catalogue.yml"])["secrets"][secret])


def test_what_was_found_is_a_folder_with_nothing_wrong(tmp_path: Path) -> None:
    found = draft("shop", ROOT, {"web1": survey()}, TODAY)
    application = written(tmp_path, found)
    assert mistakes(application, application.part("catalogue.yml", "secrets")) == []
    assert set(FILES) & set(found.files) == {"catalogue.yml", "policy.yml", "incident.yml"}
    one = entry(found)
    assert one["consumers"] == [{"format": "dotenv", "path": ".env"}]
    assert one["migration"]["database"] == "data/shop.db"
    assert yaml.safe_load(found.files["group_vars.yml"])["keyturn_services"] == {
        "shop": {"manager": "systemd", "unit": "shop", "health_url": "http://127.0.0.1:8080/"}
    }
    assert found.questions and all(f"{OPEN}" not in question for question in found.questions)


@pytest.mark.parametrize(
    ("change", "format_", "where"),
    [
        (
            {"format": "ini", "section": "core", "key": "fernet_key"},
            "ini",
            {"section": "core", "keys": {"TOKEN_KEY": "fernet_key"}},
        ),
        ({"format": "yaml", "key": "a.b"}, "yaml", {"keys": {"TOKEN_KEY": "a.b"}}),
        ({"format": "file", "place": "/etc/keys/token"}, "file", {"path": "/etc/keys/token"}),
        ({"format": "ini", "section": "core", "key": "conn", "inside": "url"}, "ini", {"inside": "url"}),
    ],
)
def test_a_value_is_declared_where_it_stands(tmp_path: Path, change: Any, format_: str, where: Any) -> None:
    found = draft("shop", ROOT, {"web1": survey(keys=[KEY | change])}, TODAY)
    application = written(tmp_path, found)
    assert mistakes(application, application.part("catalogue.yml", "secrets")) == []
    (consumer,) = entry(found)["consumers"]
    assert consumer["format"] == format_
    assert consumer.items() >= where.items()


@pytest.mark.parametrize(("marks", "value"), [(("a", "a"), "shared"), (("a", "b"), "per_host")])
def test_hosts_that_hold_the_same_share_it(marks: tuple[str, str], value: str) -> None:
    hosts = {f"web{number}": survey(keys=[KEY | {"mark": f"kt:{mark * 12}"}]) for number, mark in enumerate(marks)}
    assert entry(draft("shop", ROOT, hosts, TODAY))["value"] == value


def test_a_rule_is_declared_and_a_value_made_that_fits_it() -> None:
    one = entry(draft("shop", ROOT, {"web1": survey(keys=[KEY | {"rule": "hex"}])}, TODAY))
    assert (one["migration"]["key"], one["source"]["generator"]) == ({"rule": "hex"}, "hex")


def test_json_is_declared_by_its_places_and_what_has_none_is_open() -> None:
    places = [COLUMN | {"path": path} for path in ("a.secret", "list[*]", "(another key)")]
    found = draft("shop", ROOT, {"web1": survey(columns=places)}, TODAY)
    (column,) = entry(found)["migration"]["columns"]
    assert column["paths"] == ["a.secret", "list[*]"]
    assert any("(another key)" in question for question in found.questions)


def test_rows_are_declared_as_they_are_kept(tmp_path: Path) -> None:
    kept = COLUMN | {"key": ["tenant", "id"], "flag": "is_encrypted", "plain": 3}
    other = COLUMN | {"database": "/var/lib/shop/second.db", "objects": True}
    found = draft("shop", ROOT, {"web1": survey(columns=[kept, other])}, TODAY)
    application = written(tmp_path, found)
    assert mistakes(application, application.part("catalogue.yml", "secrets")) == []
    one = entry(found)
    assert (one["migration"]["kind"], one["probes"][0]) == ("several", {"kind": "rows"})
    first, second = one["migration"]["stores"]
    assert first["columns"] == [
        {"table": "accounts", "key": ["tenant", "id"], "column": "token", "flag": "is_encrypted"}
    ]
    assert (second["database"], second["columns"][0]["plaintext"]) == ("/var/lib/shop/second.db", "^\\{")
    assert not any("in clear" in question for question in found.questions)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unopened": 2}, "2 tokens open under no key"),
        ({"plain": 2}, "may 2 rows stand there in clear"),
    ],
)
def test_what_only_a_person_knows_is_asked(change: Any, said: str) -> None:
    found = draft("shop", ROOT, {"web1": survey(columns=[COLUMN | change])}, TODAY)
    assert any(said in question for question in found.questions)


def test_a_folder_without_a_key_is_not_accepted(tmp_path: Path) -> None:
    found = draft("shop", ROOT, {"web1": survey(keys=[], columns=[])}, TODAY)
    application = written(tmp_path, found)
    assert mistakes(application, application.part("catalogue.yml", "secrets"))
    assert any("keyturn_files" in question for question in found.questions)


def test_a_key_that_opens_nothing_is_passed_over(tmp_path: Path) -> None:
    found = draft("shop", ROOT, {"web1": survey(keys=[KEY, KEY | {"name": "OTHER_KEY"}])}, TODAY)
    assert list(yaml.safe_load(found.files["catalogue.yml"])["secrets"]) == ["token_key"]


def test_a_key_that_stands_in_no_file_is_not_accepted(tmp_path: Path) -> None:
    found = draft("shop", ROOT, {"web1": survey(keys=[KEY | {"format": "environment", "place": "it"}])}, TODAY)
    application = written(tmp_path, found)
    assert [one for one in mistakes(application, application.part("catalogue.yml", "secrets")) if "consumers" in one]


HOSTILE = "{{ lookup('pipe', 'id') }}{% x %}\n# \"'} a: [b \U0001f511"


def test_no_name_of_a_host_is_a_template_or_more_than_a_text(tmp_path: Path) -> None:
    """An entry of a catalogue is a template: it would run on the controller."""
    names = dict.fromkeys(("name", "place", "section", "key"), HOSTILE)
    one = survey(
        keys=[KEY | names | {"format": "ini"}],
        secrets=[KEY | names],
        columns=[COLUMN | dict.fromkeys(("database", "table", "column", "flag"), HOSTILE) | {"key": [HOSTILE, "b"]}],
        services=[SERVICE | {"name": HOSTILE, "does": [HOSTILE]}],
    )
    found = draft("shop", ROOT, {HOSTILE: one}, TODAY)
    texts: list[str] = []
    for file in ("catalogue.yml", "policy.yml", "incident.yml", "group_vars.yml"):
        texts += walk(yaml.safe_load(found.files[file]))
    assert texts
    assert [text for text in texts if "{{" in text or "{%" in text or "{#" in text] == []
    assert yaml.safe_load(found.files["catalogue.yml"]).keys() == {"secrets"}
    assert not any(line.startswith("#") and "\n" in line for line in found.files["catalogue.yml"].splitlines())


def walk(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [text for key, inner in found.items() for text in (str(key), *walk(inner))]
    if isinstance(found, list):
        return [text for inner in found for text in walk(inner)]
    return [str(found)]


def test_nothing_is_written_over_and_nothing_in_check_mode(tmp_path: Path) -> None:
    given = {"dest": str(tmp_path / "shop"), "root": "/srv/shop", "hosts": {"web1": survey()}}
    assert "would be written" in adopt.run(given, True)["text"]
    assert not (tmp_path / "shop").exists()
    adopt.run(given, False)
    before = {path.name: path.read_text() for path in (tmp_path / "shop").iterdir()}
    with pytest.raises(KeyturnError, match="is there already"):
        adopt.run(given, False)
    assert {path.name: path.read_text() for path in (tmp_path / "shop").iterdir()} == before
    with pytest.raises(KeyturnError, match="the last part is the application's name"):
        adopt.run(given | {"dest": str(tmp_path / "My-Shop")}, False)
