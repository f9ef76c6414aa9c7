"""What is not there in an application's folder is a sentence with file and key, whatever it is: each part of what we ship is taken away."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.incident import plan
from keyturn.inputs import application, mistakes
from keyturn.inputs.application import Application
from keyturn.monitoring import alerts, cloudwatch, datadog, prometheus
from support.lab import ROOT

SHIPPED = Application(ROOT / "applications/trader_ai")
FILES = {name: dict(SHIPPED.file(name)) for name in application.FILES}


def places(part: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All that can be taken away; of a secret the whole entry, since its spec refuses what is less."""
    names = range(len(part)) if isinstance(part, list) else part if isinstance(part, dict) else ()
    for name in names:
        yield (*way, name)
        if way != ("secrets",):
            yield from places(part[name], (*way, name))


def without(part: Any, way: tuple[Any, ...]) -> Any:
    left = copy.deepcopy(part)
    place = left
    for name in way[:-1]:
        place = place[name]
    del place[way[-1]]
    return left


def asked(folder: Application) -> Iterator[Callable[[], Any]]:
    """What the controller makes of the files, besides what an action's own shape refuses."""
    policy, told, lines = (
        folder.file("policy.yml"),
        folder.file("incident.yml"),
        folder.part("catalogue.yml", "log_lines"),
    )
    secrets = folder.file("catalogue.yml")["secrets"]
    counted = alerts.Counted(folder.name, folder.file("monitoring.yml"))
    limits = policy.get("thresholds", [])
    yield lambda: prometheus.rules(limits, counted, "https://x", 100)
    yield lambda: cloudwatch.template(limits, counted, lines, "g", "", "https://x")
    yield lambda: datadog.monitors(limits, counted, lines, "", "https://x")
    yield lambda: plan.check_table(told["table"], told["order"], secrets)
    yield lambda: mistakes.mistakes(folder, secrets)


@pytest.mark.parametrize("name", FILES)
def test_each_part_may_be_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, found = 0, []
    for way in places(FILES[name]):
        files = FILES | {name: without(FILES[name], way)}
        monkeypatch.setattr(application, "_read", lambda path, files=files: files.get(path.name, {}))
        if any(SHIPPED.problems()):
            continue  # no run begins
        tried += 1
        for call in asked(SHIPPED):
            try:
                call()
            except KeyturnError as said:
                assert str(said).startswith(tuple(application.FILES)), (way, str(said))
            except Exception as error:
                found.append((way, type(error).__name__))
    assert found == [] and tried
