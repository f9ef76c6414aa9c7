"""The action ``keyturn_agree``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ..base.errors import KeyturnError
from ..fleet import agreement, answers, forecast, isolation
from ..fleet.taking_part import holders, who_goes_on
from ..host.journal import JournalRecord
from ..host.phases.answers import HostAnswer
from ..inputs.validation import Answer, Parameters
from ..records import report

# what the action reads of each host
CALLS = ("rotation_staged", "rotation_examined")
READS = (*CALLS, "keyturn_secrets_here")
SHAPE = {"hosts": {"*": {**answers.HERE, **dict.fromkeys((f"{name}?" for name in CALLS), answers.STAGED)}}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Compare the hosts that have answered; in check mode say as a table what would become of each."""
    answers = {name: _answer(said) for name, said in parameters["hosts"].items()}
    held_by = holders(parameters["secret"], parameters["hosts"])
    lost = [name for name in held_by if answers[name].get("unreachable")]
    going_on = [
        name
        for name in who_goes_on(parameters["value"], list(answers), parameters["excluded"], lost)
        if name in held_by
    ]
    if lost and not going_on:
        raise KeyturnError(
            f"{', '.join(lost)} cannot be reached, and no other host is left to turn: bring it back, then run it again"
        )
    hosts: dict[str, agreement.StagedHost] = {
        name: {
            "place": answers[name]["place"],
            "clock_offset": float(answers[name]["clock_offset"]),
            "old": answers[name]["rotation"].get("old") or {},
            "new": answers[name]["rotation"].get("new"),
        }
        for name in going_on
        if "rotation" in answers[name]
    }
    if hosts:
        agreement.check(parameters["value"], hosts, parameters["adopted"])
    isolation.check(
        isolation.held_elsewhere(Path(parameters["reports"]), parameters["environment"]), hosts, parameters["may_stay"]
    )
    told = (
        {"text": _forecast(parameters, {name: answers[name].get("rotation") or {} for name in going_on})}
        if check_mode
        else {}
    )
    return {"changed": False, "hosts": going_on, **told}


def _forecast(parameters: Parameters, hosts: Mapping[str, JournalRecord]) -> str:
    reports = report.documents(Path(parameters["reports"]) / parameters["environment"])
    downtimes = {host: forecast.expected(reports, parameters["secret"], host) for host in hosts}
    table = forecast.text(hosts, parameters["new"], downtimes, shutil.get_terminal_size().columns)
    return f"\n{table}\n\n" if table else ""


def _answer(said: Mapping[str, HostAnswer]) -> HostAnswer:
    """Return what a host answered last: it is only examined where it stages nothing."""
    for name in CALLS:
        if said.get(name, {}).get("unreachable") or "rotation" in said.get(name, {}):
            return said[name]
    return {}
