"""Variables of any name, and `.env` files in several places, inside the application's folder and elsewhere: each read by python-dotenv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import commit, rollback, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from support import stores

ROTATION_ID = "20260101T000000Z-0123456789abcdef"
OLD = "old-Value_9" * 4
NAMES = [
    "x",
    "tokenKey",
    "SHOP_TOKEN",
    "shop.token-key",
    "_",
    "NAME",
    "A1",
    "café",
    "export_",
    "dash-",
    "a:b",
    "@",
    "9lives",
]


def rotation(folder: Path, variables: list[str], *consumers: dict[str, Any], **more: Any) -> Rotation:
    entry = stores.ENTRY | {"variables": variables, "consumers": [*consumers], **more}
    given = {"rotation_id": ROTATION_ID, "environment": "test", "reason": "planned", "operator": "tester"}
    given |= {"secret": "token", "entry": validated("entry", catalogue.ENTRY, entry), "services": {}}
    given |= {"overrides": {"unproved": "files are what is tried"}, "app_root": folder / "app", "app_user": None}
    return Rotation(**given, state_dir=folder / "state")


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def turned(one: Rotation) -> None:
    stage.run(one)
    turn.run(one, "proved")


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_of_any_name_is_turned_and_put_back(tmp_path: Path, name: str) -> None:
    text = f"# {name}=no\nexport OTHER='kept'\n{name}={OLD}  # ours\n{name}2=of another\n"
    env = written(tmp_path / "app/.env", text)
    one = rotation(tmp_path, [name], {"format": "dotenv", "path": ".env"})
    assert dotenv_values(env)[name] == OLD
    turned(one)
    new = dotenv_values(env)[name] or ""
    assert new not in ("", OLD) and env.read_text() == text.replace(OLD, new)
    rollback.run(one, "a test", abandon_commit=False)
    assert env.read_text() == text


def test_files_of_several_places_hold_the_same_each_under_its_own_name(tmp_path: Path) -> None:
    both = ["SHOP_USER", "SHOP_PASSWORD"]
    texts = {
        tmp_path / "app/.env": "A=1\nSHOP_USER='{}'\nSHOP_PASSWORD={}\n",
        tmp_path / "app/worker/.env": 'WORKER_USER="{}"\n\nWORKER_PASSWORD="{}"\n',
        tmp_path / "etc/shop.env": "SHOP_USER={}\nSHOP_PASSWORD={}\n",
    }
    old = ("user-1", OLD)
    for path, text in texts.items():
        written(path, text.format(*old))
    consumers: list[dict[str, Any]] = [{"format": "dotenv", "path": str(path)} for path in texts]
    consumers[0]["path"] = ".env"
    consumers[1]["keys"] = {"SHOP_USER": "WORKER_USER", "SHOP_PASSWORD": "WORKER_PASSWORD"}
    one = rotation(tmp_path, both, *consumers)
    turned(one)
    new = tuple(str(dotenv_values(tmp_path / "app/.env")[name]) for name in both)
    assert OLD not in new and {path: path.read_text() for path in texts} == {
        path: text.format(*new) for path, text in texts.items()
    }
    assert commit.run(one, "both")["rotation"]["outcome"] == "committed"


def test_a_kill_between_two_files_goes_on_or_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keyturn.ground import consumers as files

    paths = [written(tmp_path / place, f"X={OLD}\n") for place in ("app/.env", "etc/one.env", "etc/two.env")]
    given = [{"format": "dotenv", "path": str(path)} for path in paths]
    ordinary = files.replace
    for back in (False, True):
        one = rotation(tmp_path / str(back), ["X"], *given)
        (tmp_path / str(back) / "app").mkdir(parents=True)
        before = paths[0].read_text()
        stage.run(one)
        with monkeypatch.context() as patch:

            def cut(consumer: Any, *more: Any) -> None:
                if consumer.path == paths[1]:
                    raise KeyboardInterrupt
                ordinary(consumer, *more)

            patch.setattr(files, "replace", cut)
            with pytest.raises(KeyboardInterrupt):
                turn.run(one, "proved")
        assert len({path.read_text() for path in paths}) == 2
        if back:
            rollback.run(one, "a test", abandon_commit=False)
        else:
            turn.run(one, "proved")
            commit.run(one, "both")
        assert {path.read_text() == before for path in paths} == {back}


def test_a_file_elsewhere_that_holds_another_value_is_named(tmp_path: Path) -> None:
    written(tmp_path / "app/.env", f"X={OLD}\n")
    other = written(tmp_path / "etc/shop.env", "X=another-value\n")
    one = rotation(tmp_path, ["X"], *({"format": "dotenv", "path": path} for path in (".env", str(other))))
    with pytest.raises(KeyturnError, match=rf"X differs: .*/app/\.env holds kt:\w+, {other} holds kt:"):
        stage.run(one)
