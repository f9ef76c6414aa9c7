"""The replacement of access tokens, killed at every system call: at most the one item is lost whose call was under way.

strace kills at the entry of a call. What the provider did is known from the fake: a kill counts as within the window when
the provider has committed an item's new token and the log has not got it.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keyturn.fleet import answers
from support import forked, selection
from support.evidence import lost
from support.fakes import FakePlaid
from support.faults import CHANGING_CALLS, KILLED, Call, record
from support.lab import Lab, catalogue

NETWORK = ("sendto", "recvfrom")
CALLS = ",".join((CHANGING_CALLS, *(f"?{name}" for name in NETWORK)))
# what ends a step: the log is appended to, and what the provider does lies between two calls of the network
ENDS_A_STEP = ("fsync", "rename", "unlink", *NETWORK)
SHARES = 4 if selection.exhaustive() else 1


class Desk:
    """A lab of three items and Plaid, put back to the begin for each kill."""

    def __init__(self, lab: Lab, fake: FakePlaid) -> None:
        self.lab, self.fake = lab, fake
        self.issuer = catalogue()["plaid"] | {"provider": {"kind": "plaid", "url": fake.url}}
        self.linked = {item: token for item, token in lab.tokens.items() if token}
        self.database = lab.database.read_bytes()
        self.reset()

    def reset(self) -> None:
        """Put everything back."""
        self.fake.tokens = dict(self.linked)
        self.fake.invalidated.clear()
        self.lab.database.write_bytes(self.database)
        shutil.rmtree(self.lab.state, ignore_errors=True)

    def module(self, *strace: str, **given: Any) -> Any:
        """Run the module."""
        given |= self.lab.about_one(self.lab.rotation()) | {"issuer": self.issuer}
        called = self.lab.module_and_arguments("replace_tokens", **given)
        return forked.run(*called, ("-o", str(self.lab.folder / "strace.log"), *strace) if strace else ())

    def answer(self, **given: Any) -> dict[str, Any]:
        """Run the module to its end."""
        done = self.module(**given)
        assert done.returncode == 0, done.stdout + done.stderr
        found = dict(json.loads(done.stdout))
        assert not [token for token in (*self.linked.values(), *self.fake.tokens.values()) if token in done.stdout]
        return found

    def logged(self) -> list[Call]:
        text = (self.lab.folder / "strace.log").read_text()
        names = re.findall(r"^(\w+)\(", text, flags=re.MULTILINE)
        return [Call(name, names[: index + 1].count(name)) for index, name in enumerate(names)]

    def killed(self, call: Call) -> bool:
        """Run the module and kill it before ``call``; False where it ended without making that call."""
        kill = f"inject={call.name}:signal=SIGKILL:when={call.number}"
        done = self.module("-e", f"trace={CALLS}", "-e", kill)
        if (self.lab.folder / "strace.log").read_text().splitlines()[-1] == KILLED:
            assert done.returncode == -signal.SIGKILL
            return True
        assert done.returncode == 0, done.stdout + done.stderr
        return False

    def within_window(self) -> list[str]:
        """Return the items that the provider has committed and neither log nor database knows."""
        paths = list(self.lab.state.rglob("replacement.jsonl"))
        steps = []
        for line in paths[0].read_text().splitlines() if paths else []:
            try:
                steps.append(json.loads(line))
            except ValueError:
                continue
        received = {step["item"] for step in steps if step["state"] != "in_flight"}
        return sorted(set(self.fake.invalidated) - received) if paths else []


@pytest.fixture
def desk(make_lab: Callable[..., Lab]) -> Iterator[Desk]:
    with FakePlaid() as fake:
        lab = make_lab(rows=4)  # of each form one
        env = dict(line.split("=", 1) for line in lab.env.read_text().splitlines() if "PLAID_" in line and "=" in line)
        pair = (env["export PLAID_CLIENT_ID"], env["PLAID_SECRET"].split("'")[1])
        fake.valid = {pair: "ours"}
        yield Desk(lab, fake)
        assert fake.violations == []


def works(desk: Desk) -> None:
    """Check that the application reads the token that Plaid has of each item."""
    assert lost(desk.lab, desk.fake.tokens) == []
    assert not set(desk.fake.tokens.values()) & set(desk.linked.values()), "an old token is still alive"


def test_all_tokens_are_replaced_in_the_form_of_their_rows_and_proved(desk: Desk) -> None:
    found = desk.answer()
    assert (found["ended"], found["done"], found["proven"], found["relink_required"]) == (True, 4, 4, [])
    works(desk)
    verified = desk.lab.verified()
    assert verified["rows"] == {"two_layer": 2, "one_layer": 1, "plaintext": 1, "empty": 0}
    (problem,) = verified["problems"]
    assert problem.startswith(
        f"service backend is not healthy at {desk.lab.services['backend']['health_url']}: start it ("
    )
    summary = next(desk.lab.state.rglob("replacement.json"))
    assert json.loads(summary.read_text())["relink_required"] == []


def test_each_call_brings_the_work_on_however_short_it_is(desk: Desk) -> None:
    """The controller makes no other after one that did not."""
    work, lines = answers.Work("replace_tokens", "here"), []
    while line := work.left(desk.answer(seconds=0)):
        lines.append(line)
    assert len(lines) == 2 * 4 - 1 and lines[4] == "4 of 4 tokens replaced, 1 proved"
    works(desk)


@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_any_call_loses_at_most_the_token_of_its_window(
    desk: Desk, share: int, record_property: Callable[[str, object], None]
) -> None:
    assert desk.module("-e", f"trace={CALLS}").returncode == 0
    calls = desk.logged()
    beyond = [Call(name, number + 1) for name, number in Counter(call.name for call in calls).items()]
    series = "SIGKILL at every call, replacement of tokens"
    chosen = [calls[index] for index in selection.calls(series, [call.name for call in calls], ENDS_A_STEP)][
        share::SHARES
    ]
    record_property("points", [series, len(chosen), len(calls[share::SHARES])])
    fired = relinked = missed = 0
    for call in [*chosen, *beyond[share::SHARES]]:
        desk.reset()
        if not desk.killed(call):
            # in how many pieces an answer arrives is the network's affair
            missed += call in calls and call.name not in NETWORK
            continue
        fired += 1
        desk.fake.settle()
        window = desk.within_window()
        found = desk.answer()
        assert found["ended"]
        assert found["relink_required"] == window, f"kill before {call}"
        assert len(window) <= 1
        relinked += len(window)
        desk.fake.tokens = {item: token for item, token in desk.fake.tokens.items() if item not in window}
        works(desk)
    assert (fired > 0, missed) == (True, 0), "a kill did not fire"
    record(
        series,
        {
            "points": fired + missed,
            "fired": fired,
            "lost_rows": 0,
            "converged": fired,
            "note": f"relink_required: {relinked}",
        },
    )


@pytest.mark.parametrize(("when", "relinked"), [("before", 0), ("after", 1)])
def test_a_lost_answer_costs_a_token_only_where_the_provider_has_committed(
    desk: Desk, when: str, relinked: int
) -> None:
    unlucky = sorted(desk.linked)[2]

    def hook(moment: str, item: str) -> None:
        if (moment, item) == (when, unlucky):
            desk.fake.hook = lambda *_: None
            raise ConnectionResetError

    desk.fake.hook = hook
    found = desk.answer()
    assert found["relink_required"] == [unlucky][:relinked]
    assert found["proven"] == 4 - relinked


def test_a_rate_limit_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.fake.hook = lambda moment, item: setattr(desk.fake, "limited", 2) if moment == "after" else None
    answer = desk.fake.answer

    def limited(method: str, path: str, *more: Any) -> Any:
        left = getattr(desk.fake, "limited", 0)
        if path.endswith("/invalidate") and left:
            desk.fake.limited = left - 1  # type: ignore[attr-defined]
            return desk.fake.refusal(429, "RATE_LIMIT_EXCEEDED", "RATE_LIMIT")
        return answer(method, path, *more)

    monkeypatch.setattr(desk.fake, "answer", limited)
    found = desk.answer()
    assert (found["proven"], found["relink_required"]) == (4, [])
    works(desk)


def test_a_rotation_does_not_begin_while_tokens_are_being_replaced(desk: Desk) -> None:
    assert desk.killed(Call("fsync", 5))
    answer = desk.lab.module("stage")
    assert answer["msg"] == "a replacement of access tokens is open on this host: end it with replace_plaid_tokens.yml"
    assert desk.answer()["ended"]


def test_a_replacement_does_not_begin_while_a_rotation_is_open(desk: Desk) -> None:
    desk.lab.start()
    desk.lab.step("stage")
    done = json.loads(desk.module().stdout)
    assert "is open on this host: end it with resume.yml or rollback.yml, then replace the tokens" in done["msg"]
    assert desk.fake.calls == []
