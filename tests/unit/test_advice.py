"""No message advises an act by which a value would be lost, or come to where it does not belong."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from keyturn.base.errors import KeyturnError
from keyturn.ground import consumers, repository
from keyturn.ground.consumers import Consumer, systemd_creds
from keyturn.ground.rows import fernet_forms
from keyturn.host import storage
from keyturn.host.phases import holdings_info, stage
from keyturn.providers import supplied
from keyturn.stores import contract
from keyturn.stores.contract import Held, Version
from support.faults import ROTATION_ID, Host
from support.lab import KEY, ROOT, catalogue


def said(call: Callable[[], object]) -> str:
    with pytest.raises(KeyturnError) as caught:
        call()
    return str(caught.value)


def test_a_host_that_was_not_moved_yet_is_told_to_move_and_not_to_write_the_values_somewhere(host: Host) -> None:
    host.more["delivery"] = "systemd_credential"
    rotation = host.rotation()
    (problem, *_) = holdings_info.run([rotation])["problems"]
    for text in (said(lambda: stage.run(rotation)), problem):
        assert (
            text
            == f"{rotation.systemd_credential.path} does not exist: run migrate_delivery.yml, which makes it of what `.env` holds"
        )


def test_every_call_on_a_credential_that_is_not_there_says_the_same() -> None:
    missing = Consumer(
        "systemd_credential", systemd_creds.STORE / "keyturn-test-of-nothing", {}, sealed="keyturn-test-of-nothing"
    )
    for call in (
        lambda: consumers.read(missing, ["NAME"]),
        lambda: consumers.changed_at(missing),
        lambda: consumers.check_replaceable(missing),
        lambda: consumers.replace(missing, {"NAME": "new"}),
    ):
        assert "run migrate_delivery.yml" in said(call)


def test_a_value_that_the_inventory_leaves_out_is_not_to_be_removed_unseen(host: Host) -> None:
    """It may be the only key of the host's rows."""
    host.more["secrets_here"] = ("jwt",)
    text = said(host.rotation().values_here)
    assert "remove the value" not in text
    assert text.endswith("add it there; only a value that nothing on this host needs any more may be removed")


def test_of_two_values_the_one_that_works_is_the_right_one(host: Host) -> None:
    (host.lab.app / "second.json").write_text(json.dumps({"key": "another"}))
    entry = catalogue()["db_key"] | {"max_age_days": 90}
    second = {"format": "json", "path": "second.json", "keys": {KEY: "key"}, "form": "literal"}
    host.more["entry"] = entry | {"consumers": [*entry["consumers"], second]}
    assert said(host.rotation().current_values).endswith(
        "make them equal first, to the one that the application works with"
    )


def test_a_pending_value_is_not_to_be_deleted_while_somebody_may_have_it() -> None:
    held = Held(None, Version({"V": "one"}, ROTATION_ID), None)
    text = said(lambda: contract.must_stage("path", held, ROTATION_ID, {"V": "other"}))
    assert "only where no host has it and its provider does not know it may it be deleted" in text


def sentences() -> Iterator[str]:
    """Every text in the code that a person may be told, with its parts."""
    for folder in ("module_utils", "plugins", "roles"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)


# an act, and what has to be said with it
WITH_CARE = {
    r"VACUUM": "once the rotation has ended",  # it renumbers rows, and what is staged for them is found by their numbers
    r"git rm": "keep a copy",  # the next pull deletes the file in every other checkout
    r"rewrite the history": "in a fresh clone",  # the working tree loses the file, too
    r"to the store as its current|as current \(|value anew": "...",  # BY_HAND
    r"chown": "chown ...",  # to nobody in particular
}


@pytest.mark.parametrize(("act", "care"), WITH_CARE.items(), ids=WITH_CARE)
def test_an_act_that_can_lose_something_is_advised_with_care(act: str, care: str) -> None:
    found = [text for text in sentences() if re.search(act, text)]
    assert found and all(care in text for text in found), found


def test_a_value_is_not_to_be_typed_before_a_command() -> None:
    said = supplied.ways(["HF_TOKEN"])
    assert said.startswith("run this on a terminal, which asks for it")
    assert said.endswith(
        "KEYTURN_NEW_HF_TOKEN in the environment of a pipeline (typed before a command, it stays in the shell's history)"
    )


def test_a_file_of_a_stranger_does_not_become_roots(host: Host) -> None:
    """A service that is not root could not read it any more."""
    os.chown(host.lab.env, 1234, -1)
    for user, remedy in (
        ("nobody", f"chown nobody {host.lab.env}"),
        (None, "let the user of the service own it, and name"),
    ):
        said = storage.look([dataclasses.replace(host.rotation(), app_user=user)], False)["findings"]
        found = [one for one in said if "belongs to the user" in one["what"]]
        assert [one["remedy"].startswith(remedy) for one in found] == [True]


def test_a_value_in_a_log_is_rotated_when_nothing_logs_it_any_more(host: Host) -> None:
    (host.lab.app / "said.log").write_text(f"key: {host.old}\n")
    services = {name: spec | {"log_file": "said.log"} for name, spec in host.rotation().services.items()}
    said = storage.look([dataclasses.replace(host.rotation(), services=services)], False)["findings"]
    (finding,) = [one for one in said if one["rule"] == "logs"]
    assert finding["remedy"] == (
        f"mend what logs it, or the new value is logged too, then rotate {KEY}; keep the log while it is evidence"
    )


def test_a_file_in_git_is_copied_before_it_is_taken_out(tmp_path: Path) -> None:
    for command in (["init", "-q"], ["add", "-f", ".env"]):
        (tmp_path / ".env").write_text("X=1\n")
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (remedy,) = [one.remedy for one in repository.look(tmp_path, [], []) if "is committed" in one.what]
    assert remedy.startswith("keep a copy outside of each checkout")


def test_one_key_of_several_is_not_to_be_thrown_away_while_rows_need_it() -> None:
    with pytest.raises(KeyturnError, match="have the application write every row under one of them"):
        fernet_forms.fernet("KEY", f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}")
