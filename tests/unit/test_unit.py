"""The page about a unit, of what systemd 252 prints, and what of it is refused."""

from __future__ import annotations

import pytest
from keyturn.host import probes
from keyturn.services import unit

# as `systemctl show` prints it; a question with many answers has many lines
SHOWN = """\
Type=simple
TimeoutStopUSec=1min 30s
MainPID=78
ExecStop={ path=/bin/one ; argv[]=/bin/one a=b ; ignore_errors=no }
ExecStop={ path=/bin/two ; argv[]=/bin/two ; ignore_errors=no }
ControlGroup=/system.slice/w.service
KillMode=control-group
SendSIGKILL=yes
Id=w.service
BoundBy=dep3.service
ConsistsOf=dep.service dep2.service
TriggeredBy=w.socket
LoadState=loaded
ActiveState=active
CanStart=yes
CanStop=yes
RefuseManualStart=no
RefuseManualStop=no
Transient=no

Id=dep.service
ActiveState=inactive
BoundBy=
"""


def test_a_page_has_all_answers_and_no_line_that_the_unit_runs() -> None:
    page, other = unit.pages(SHOWN)
    assert (page.pid, page.running, page.triggers) == (78, True, ["w.socket"])
    assert page.followers == ["dep.service", "dep2.service", "dep3.service"]
    assert (other.running, other.followers, other.pid) == (False, [], 0)
    assert str(page) == (
        "unit w.service, Type=simple, KillMode=control-group, TimeoutStopSec=1min 30s, started by w.socket, "
        "stops dep.service dep2.service dep3.service"
    )
    assert unit.refusal(page, {}) == ""


@pytest.mark.parametrize(
    ("span", "wanted"),
    [("1min 30s", 90), ("5s", 5), ("100ms", 0.1), ("1h 2min 3s", 3723), ("0", 0), ("infinity", float("inf"))],
)
def test_a_span_of_time(span: str, wanted: float) -> None:
    assert unit.seconds(span) == pytest.approx(wanted)


def test_a_stop_may_take_as_long_as_each_of_its_steps() -> None:
    (page, _) = unit.pages(SHOWN)
    assert page.stop_seconds == 4 * 90, "two commands, TERM and KILL"
    (page, _) = unit.pages(SHOWN.replace("Id=w", "ExecStopPost={ path=/bin/three }\nId=w"))
    assert page.stop_seconds == 7 * 90, "one more command, and both signals again"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("Type=simple", "Type=oneshot"), "no main process"),
        (("MainPID=78", "MainPID=0"), "no main process"),
        (("KillMode=control-group", "KillMode=process"), "(KillMode=process)"),
        (("KillMode=control-group", "KillMode=none"), "(KillMode=none)"),
        (("SendSIGKILL=yes", "SendSIGKILL=no"), "(SendSIGKILL=no)"),
        (("TimeoutStopUSec=1min 30s", "TimeoutStopUSec=infinity"), "would never end"),
        (("Transient=no", "Transient=yes"), "it is transient"),
        (("CanStop=yes", "CanStop=no"), "CanStop: nobody may stop"),
        (("RefuseManualStart=no", "RefuseManualStart=yes"), "RefuseManualStart: nobody"),
        (("Id=w.service", "Id=w.socket"), "it is no service"),
        (("Id=w", "SuccessAction=reboot\nId=w"), "the host itself would go down when it stops, or does not start"),
        (("Id=w", "FailureAction=poweroff\nId=w"), "(FailureAction=poweroff)"),
        (("Id=w", "StopWhenUnneeded=yes\nId=w"), "(StopWhenUnneeded=yes)"),
    ],
)
def test_what_cannot_be_handled(change: tuple[str, str], said: str) -> None:
    page, _ = unit.pages(SHOWN.replace(*change))
    why = unit.refusal(page, {})
    assert said in why
    if "outlive" in why:
        assert unit.refusal(page, {"kill_left": True}) == ""


def test_many_slow_workers_do_not_hold_a_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(*given: object) -> list[probes.Proof]:
        asked.append(1)
        return [probes.proof("http", "x", "accepted", "")]

    monkeypatch.setitem(probes.PROBES, "http", ask)
    monkeypatch.setattr(probes, "LONGEST_SECONDS", -1)
    question = probes.Question("new", {}, None, [], None)
    assert [one["verdict"] for one in probes._ask({"kind": "http"}, question, 9)] == ["accepted", "unknown"]
    assert len(asked) == 1
    assert probes._session(b"[" * 100_000) is None


def test_of_many_workers_each_is_met() -> None:
    assert probes.askings(1) == 1
    for workers in (2, 4, 16):
        times = probes.askings(workers)
        assert workers * (1 - 1 / workers) ** times < 1 / 1000
