"""One value in every sort of file at once: turned, put back, and read by the library of each format."""

from __future__ import annotations

import configparser
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from keyturn.base.errors import KeyturnError
from keyturn.ground import consumers
from keyturn.ground.consumers import Consumer
from keyturn.host.phases import commit, delivery, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import validated
from support.faults import Host
from support.lab import catalogue as shipped
from unit.test_catalogue import SERVICES, services

SECRET, OLD, NEW = "JWT_SECRET_KEY", "old-Value_9" * 4, "new-Value_7" * 4
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "settings.ini": ({"format": "ini", "section": "db", "keys": {SECRET: "password"}}, "; of us\n[db]\nPassword : {}\n\n[x]\ny=1\n"),
    "settings.yml": ({"format": "yaml", "keys": {SECRET: "db.password"}}, "db:  # here\n  password: '{}'  # kept\nlist: [1, 2]\n"),
    "plain.yml": ({"format": "yaml", "keys": {SECRET: "password"}}, "password: {}\nport: 8080\n"),
    "run/secret": ({"format": "file"}, "{}\n"),
    "url.env": ({"format": "dotenv", "keys": {SECRET: "URL"}, "inside": "url"}, 'A=1\nURL="postgresql://u:{}@h:5432/d"\n'),
    "url.ini": ({"format": "ini", "section": "core", "keys": {SECRET: "conn"}, "inside": "url"}, "[core]\nconn = mysql://u:{}@h/d\n"),
    "url.json": (
        {"format": "json", "keys": {SECRET: "db.url"}, "form": "kept", "inside": "url"},
        '{{"db": {{"url": "amqp://u:{}@h/"}},\n "n": 1}}\n',
    ),
}  # fmt: skip


def held(app: Path) -> dict[str, str]:
    """The value of each file, as the library of its format reads it."""

    def ini(name: str, section: str, option: str) -> str:
        parser = configparser.RawConfigParser()
        parser.read(app / name)
        return parser[section][option]

    def password(text: str | None) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(text or "").password or "")

    return {
        ".env": dotenv_values(app / ".env")[SECRET] or "",
        "settings.ini": ini("settings.ini", "db", "password"),
        "settings.yml": yaml.safe_load((app / "settings.yml").read_text())["db"]["password"],
        "plain.yml": yaml.safe_load((app / "plain.yml").read_text())["password"],
        "run/secret": (app / "run/secret").read_text().rstrip("\n"),
        "url.env": password(dotenv_values(app / "url.env")["URL"]),
        "url.ini": password(ini("url.ini", "core", "conn")),
        "url.json": password(json.loads((app / "url.json").read_text())["db"]["url"]),
    }


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    entry = shipped()["jwt"] | {"probes": [{"kind": "http"}]}
    entry["consumers"] = [*entry["consumers"], *({"path": path} | told for path, (told, _) in OTHERS.items())]
    made = Host(tmp_path / "host", secret="jwt", entry=entry, overrides={"unproved": "files are what is tried"})
    current = dotenv_values(made.lab.env)[SECRET] or ""
    made.lab.env.write_text(made.lab.env.read_text().replace(current, OLD))
    for path, (_, text) in OTHERS.items():
        (made.lab.app / path).parent.mkdir(exist_ok=True)
        (made.lab.app / path).write_text(text.format(OLD))
    yield made
    made.stop()


def test_every_file_gets_the_value_and_nothing_else_changes(host: Host) -> None:
    app = host.lab.app
    before = {path: (app / path).read_bytes() for path in OTHERS}
    assert set(held(app).values()) == {OLD}
    stage.run(host.rotation(), new_values={SECRET: NEW})
    turn.run(host.rotation(), "switched")
    assert set(held(app).values()) == {NEW}
    for path, content in before.items():
        assert (app / path).read_bytes() == content.replace(OLD.encode(), NEW.encode())
    host.go_back()
    assert {path: (app / path).read_bytes() for path in OTHERS} == before


def test_it_stands_everywhere_when_all_is_committed(host: Host) -> None:
    stage.run(host.rotation(), new_values={SECRET: NEW})
    turn.run(host.rotation(), "proved")
    commit.run(host.rotation(), "both")
    assert set(held(host.lab.app).values()) == {NEW}


def test_a_value_that_a_file_cannot_hold_is_refused_while_the_service_runs(host: Host) -> None:
    before = held(host.lab.app)
    with pytest.raises(KeyturnError, match=rf"plain\.yml: the new value of {SECRET} would be no text there"):
        stage.run(host.rotation(), new_values={SECRET: "7" * 43})
    assert held(host.lab.app) == before
    assert not list(host.lab.state.rglob("pending.json"))


def test_a_credential_leaves_no_file_in_clear_beside_it(host: Host) -> None:
    """Each of these formats holds the value itself, and only `.env` gives way to the credential."""
    sealed = replace(host.rotation(), delivery="systemd_credential")
    for path in (name for name, (told, _) in OTHERS.items() if told["format"] != "dotenv"):
        both = [one for one in sealed.entry["consumers"] if one["path"] in (".env", path)]
        with pytest.raises(KeyturnError, match=rf"{path} holds {SECRET} in clear, and would go on to"):
            delivery._check_none_in_clear(replace(sealed, entry={**sealed.entry, "consumers": both}))


def test_what_else_stands_in_a_file_stands_there_under_its_own_name(host: Host) -> None:
    """The secret that signs a probe's token lies beside a URL, or beside a second name of this one's value."""
    made: Rotation = host.rotation()
    env = host.lab.app / "url.env"
    env.write_text(env.read_text() + "OTHER=of-another\nALIAS=of-its-own\n")
    found = [one for one in made.entry["consumers"] if one["path"] == "url.env"]
    assert replace(made, entry={**made.entry, "consumers": found}).value_of("OTHER") == "of-another"
    plain = {"consumers": [dict(found[0], keys=None, inside=None)], "aliases": {"ALIAS": SECRET}}
    assert replace(made, entry={**made.entry, **plain}).value_of("OTHER") == "of-another"


@pytest.mark.parametrize("path", OTHERS)
def test_a_file_that_holds_another_value_is_named(host: Host, path: str) -> None:
    file = host.lab.app / path
    file.write_text(file.read_text().replace(OLD, NEW))
    with pytest.raises(KeyturnError, match=rf"{SECRET} differs: .*{path}.* holds kt:") as refused:
        stage.run(host.rotation(), new_values={SECRET: NEW})
    assert OLD not in str(refused.value) and NEW not in str(refused.value)


def test_a_file_of_one_value_has_none_for_another_name(host: Host) -> None:
    made: Rotation = host.rotation()
    first = [one for one in made.entry["consumers"] if one["format"] == "file"]
    made.entry["consumers"][:] = first
    with pytest.raises(KeyturnError, match=r"OTHER is not set in .*run/secret"):
        made.value_of("OTHER")


def test_a_key_that_leaves_its_url_to_the_environment_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text('{"url": ""}')
    file.chmod(0o600)
    references = {SECRET: [f"env:{SECRET}"]}
    made = Consumer("json", file, {}, {SECRET: "url"}, {SECRET: "kept"}, references, inside="url")
    consumers.replace(made, {SECRET: NEW})
    assert file.read_text() == '{"url": ""}'


JSON = {"format": "json", "path": "a", "keys": {SECRET: "x"}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"consumers": [{"format": "ini", "path": "a"}]}, "missing: keys, section"),
    ({"consumers": [{"format": "yaml", "path": "a"}]}, "missing: keys"),
    (
        {"consumers": [{"format": "yaml", "path": "a", "keys": {}}]},
        "the first consumer must be a file that is there and holds every",
    ),
    ({"consumers": [{"format": "file", "path": "a", "optional": True}]}, "the first consumer must be a file"),
    (
        {"consumers": [{"format": "file", "path": "a", "keys": {SECRET: "x"}}]},
        "a holds one value alone: the format file is for",
    ),
    (
        {"consumers": [{"format": "dotenv", "path": ".env"}, JSON | {"form": "literal", "inside": "url"}]},
        "a has the value inside a URL: such a key has the form kept",
    ),
    (
        {"consumers": [{"format": "dotenv", "path": ".env"}, JSON | {"form": "kept"}], "variables": [SECRET, "B"]},
        "keys of a leave out B: say where",
    ),
    ({"consumers": [{"format": "file", "path": "a"}], "variables": [SECRET, "B"]}, "a holds one value alone"),
    ({"consumers": [{"format": "dotenv", "path": "a", "section": "x"}]}, "a has no section: only the format ini has"),
    ({"consumers": [{"format": "file", "path": "a", "inside": "html"}]}, "must be one of: url, got: html"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_what_goes_together_is_said_by_name(changes: dict[str, Any], said: str) -> None:
    entry = shipped()["jwt"] | changes
    with pytest.raises(KeyturnError, match=rf"^keyturn_secrets\.jwt: .*{said}"):
        check_meaning("jwt", validated("keyturn_secrets.jwt", catalogue.ENTRY, entry), services(SERVICES))


@pytest.mark.parametrize(
    "first",
    [
        {"format": "ini", "path": "a", "section": "s", "keys": {SECRET: "x"}},
        {"format": "yaml", "path": "a", "keys": {SECRET: "x"}},
        {"format": "file", "path": "a"},
        {"format": "dotenv", "path": "a", "keys": {SECRET: "URL"}, "inside": "url"},
    ],
)
def test_a_file_of_any_such_format_may_be_the_first(first: dict[str, Any]) -> None:
    entry = shipped()["jwt"] | {"consumers": [first]}
    check_meaning("jwt", validated("keyturn_secrets.jwt", catalogue.ENTRY, entry), services(SERVICES))
