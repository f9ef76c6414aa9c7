"""Whose ground a path lies on: root becomes that user there, stays root on its own, and works on nobody's for two."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.ground import owner
from support.others import NOBODY, give, ground, needs_root

pytestmark = needs_root
OTHER = 1  # daemon, whom every host has


@pytest.fixture
def app() -> Iterator[Path]:
    with ground() as made:
        yield made


def who() -> tuple[int, int, list[int]]:
    return os.geteuid(), os.getegid(), os.getgroups()


def test_root_is_the_owner_of_the_ground_and_itself_again(app: Path) -> None:
    before, mask = who(), os.umask(0o022)
    with owner.acting(app / ".env", app):
        assert who() == (NOBODY, NOBODY, [NOBODY])
        (app / "made").write_text("")
        with pytest.raises(PermissionError):
            Path("/etc/shadow").read_bytes()
        with owner.own():
            assert os.geteuid() == 0
            with owner.acting(app / "other"):
                assert os.geteuid() == NOBODY
        assert os.geteuid() == NOBODY
    assert who() == before
    assert os.umask(mask) == 0o022
    made = (app / "made").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (NOBODY, 0o600)


def test_an_error_leaves_nobody_behind(app: Path) -> None:
    with pytest.raises(ValueError, match="x"), owner.acting(app / ".env"):
        raise ValueError("x")
    assert os.geteuid() == 0


def test_ground_that_only_root_may_change_is_roots_own(app: Path, tmp_path: Path) -> None:
    give(app, user=0)
    (app / ".env").touch()
    give(app / ".env")
    for path in (app / ".env", tmp_path / ".env", Path("/etc/passwd")):
        with owner.acting(path, path.parent):
            assert os.geteuid() == 0


@pytest.mark.parametrize("name", ["", "data", "data/deeper"])
def test_a_component_that_a_second_user_may_change_is_named(app: Path, name: str) -> None:
    (app / "data/deeper").mkdir(parents=True)
    give(app / "data", app / "data/deeper")
    (app / name).chmod(0o757)
    with (
        pytest.raises(KeyturnError, match=f"{app / name} by everybody"),
        owner.acting(app / "data/deeper/x"),
    ):
        pass
    (app / name).chmod(0o755)
    give(app / "data", user=OTHER)
    with (
        pytest.raises(KeyturnError, match=f"{app} by the user nobody and {app}/data by the user daemon"),
        owner.acting(app / "data/x"),
    ):
        pass


def test_a_group_of_one_is_that_one_and_one_of_several_is_refused(app: Path) -> None:
    give(app, user=OTHER)
    app.chmod(0o775)
    with owner.acting(app / "x"):
        assert os.geteuid() == OTHER
    os.chown(app, NOBODY, OTHER)
    with pytest.raises(KeyturnError, match="by the user daemon"), owner.acting(app / "x"):
        pass


def test_a_link_that_leaves_the_application_is_refused_and_one_within_is_not(app: Path) -> None:
    (app.parent / "other").mkdir()
    (app.parent / "other/.env").write_text("")
    (app / "conf").mkdir()
    (app / "conf/env").write_text("")
    give(app / "conf", app / "conf/env")
    (app / ".env").symlink_to("conf/env")
    with owner.acting(app / ".env", app):
        assert os.geteuid() == NOBODY
    for target in ("../other/.env", str(app.parent / "other/.env")):
        (app / ".env").unlink()
        (app / ".env").symlink_to(target)
        with pytest.raises(KeyturnError, match=f"{app}/.env leaves {app} and leads to {app.parent}/other/.env: put"):
            owner.acting(app / ".env", app).__enter__()


def test_the_roots_own_path_may_have_links(app: Path) -> None:
    link = app.parent / "current"
    link.symlink_to("app")
    with owner.acting(link / ".env", link):
        assert os.geteuid() == NOBODY


def test_a_file_of_roots_in_a_folder_of_another_is_refused_with_both_remedies(app: Path) -> None:
    (app / ".env").touch()
    told = (
        f"give the folder to root .chown root {app} && chmod go-w {app}., or the file to .* .chown nobody {app}/.env."
    )
    with pytest.raises(KeyturnError, match=told), owner.acting(app / ".env", app):
        pass


def test_what_is_only_read_is_read_as_the_named_user_or_whose_the_folder_is(app: Path) -> None:
    with owner.looking(app / "log"):
        assert os.geteuid() == NOBODY
    with owner.looking(app / "log", "daemon"):
        assert os.geteuid() == OTHER
    give(app, user=0)
    with owner.looking(app / "log", "daemon"):
        assert os.geteuid() == 0, "it is root's own"
    app.chmod(0o777)
    with pytest.raises(KeyturnError, match="everybody"), owner.looking(app / "log"):
        pass


def test_who_may_change_a_program_is_told(app: Path) -> None:
    program = app / "start.sh"
    program.touch()
    assert owner.writer(program) == ("the user nobody", app)
    give(app, user=0)
    assert owner.writer(program) is None
    give(program)
    assert owner.writer(program) == ("the user nobody", program)
    assert owner.writer(Path("/bin/sh")) is None
