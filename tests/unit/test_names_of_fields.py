"""What a host keeps and answers has a type with names, and the shape by which it is checked has the same names."""

from __future__ import annotations

import re

from keyturn.fleet import answers
from keyturn.host import journal
from keyturn.host.phases.answers import HostAnswer
from keyturn.inputs.request import Plan
from support.lab import ROOT

LOGIC = ROOT / "module_utils/keyturn"
# actions on a host that are no phase, and have a type of their own or none
OTHERS = {"evidence", "haproxy", "survey_info", "watcher"}


def names(shape: object) -> set[str]:
    assert isinstance(shape, dict)
    return {name.removesuffix("?") for name in shape}


def test_a_journal_has_a_type_for_all_that_its_readers_rest_on() -> None:
    assert names(journal.SHAPE) <= journal.JournalRecord.__annotations__.keys()


def test_an_answer_has_the_names_that_the_controller_takes() -> None:
    taken = {name for action, shape in answers.ANSWERS.items() if action not in OTHERS for name in names(shape)}
    # what Ansible says of a host that gave none, and of one that has failed
    assert HostAnswer.__annotations__.keys() == taken | {"unreachable", "lost", "failed", "msg"}


def test_a_plan_has_the_names_that_the_actions_rest_on() -> None:
    assert names(answers.PLAN) <= Plan.__annotations__.keys()


def test_only_the_journal_takes_its_fields_by_name() -> None:
    told = [
        f"{path.relative_to(LOGIC)}: {line.strip()}"
        for path in sorted(LOGIC.rglob("*.py"))
        if path != LOGIC / "host/journal.py"
        for line in path.read_text().splitlines()
        if re.search(r"\b(journal|opened|one)\.record\[", line)
    ]
    assert told == []
