"""What a site has told a program that watches: kept, added to, or named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.monitoring import watcher
from keyturn.monitoring.watcher import Metric, Watcher

FLAGS = {"--web.listen-address": "10.0.0.1:9100", "--cluster.listen-address": ""}
VARIABLES = dict.fromkeys(FLAGS, "monitoring_address")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    unit, told = tmp_path / "node.service", tmp_path / "node"
    unit.write_text("[Service]\nExecStart=/usr/bin/node --a.b=c $ARGS\n")
    told.write_text('# ARGS="--web.listen-address=:1"\nARGS=""\n')
    said = {"Id": "node.service", "FragmentPath": str(unit), "EnvironmentFiles": f"{told} (ignore_errors=no)"}
    monkeypatch.setattr(Watcher, "_property", lambda self, name: said.get(name, ""))
    monkeypatch.setattr(Watcher, "unit", "node.service")
    monkeypatch.setattr(
        Watcher, "_write_drop_in", lambda self, path, content: (tmp_path / "written").write_text(content)
    )
    return tmp_path


def add(site: Path, arguments: str) -> str:
    (site / "node").write_text(f"# ours\n{arguments}\n")
    assert Watcher("node", "10.0.0.1", 9100, "monitoring_node_port", 1).add(FLAGS, VARIABLES, change=True)
    return (site / "written").read_text().splitlines()[-1]


def test_what_is_there_stays_and_what_is_missing_is_added(site: Path) -> None:
    command = "ExecStart=/usr/bin/node --a.b=c $ARGS"
    needed = "--web.listen-address=10.0.0.1:9100 --cluster.listen-address="
    assert add(site, "ARGS=") == f"{command} {needed}"
    assert add(site, 'ARGS="--web.listen-address=10.0.0.1:9100 --x"') == f"{command} --cluster.listen-address="


@pytest.mark.parametrize("said", ['ARGS="--web.listen-address=:9100"', "ARGS='--x --web.listen-address :9100'"])
def test_what_says_something_else_is_named_by_file_and_line(site: Path, said: str) -> None:
    with pytest.raises(
        KeyturnError, match=rf"^{site}/node:2 says --web.listen-address=:9100 and .* monitoring_address"
    ):
        add(site, said)


def test_an_answer_shows_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "rules"
    path.touch()
    read = Metric("read_seconds", (path,))
    assert watcher._missing("other 1\n", read) == "its answer does not have read_seconds"
    assert watcher._missing("read_seconds_total 1\n", read) == "its answer does not have read_seconds"
    assert f"it has not read {path}" in watcher._missing('read_seconds{a="b"} 1.7e+09\n', read)
    assert "nothing was written for 60 s" in watcher._missing("read_seconds 5\n", Metric("read_seconds", (), 60))
    assert watcher._missing(f"read_seconds {path.stat().st_mtime}\n", read) == ""
