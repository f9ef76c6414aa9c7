"""The verdict table: each provider in each situation, by real HTTP to a fake whose answers fit the provider's schemas."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from keyturn import providers
from keyturn.providers import Reply
from support.fakes import Fake, FakeAlpaca, FakeHuggingFace, FakePlaid

FAKES: dict[str, type[Fake]] = {"alpaca": FakeAlpaca, "huggingface": FakeHuggingFace, "plaid": FakePlaid}
OLD = {"alpaca": ("PKOLD", "old-secret"), "huggingface": ("hf_old",), "plaid": ("client", "old-secret")}
NEW = {"alpaca": ("PKNEW", "new-secret"), "huggingface": ("hf_new",), "plaid": ("client", "new-secret")}
OWNER = {"alpaca": "PA123", "huggingface": "trader", "plaid": "ours"}

VERDICTS = "verdicts"  # the table that conftest.py prints

# situation: the mood of the provider, and the verdicts about the old and the new credential
SITUATIONS: dict[str, tuple[str, str, str]] = {
    "both valid": ("", "accepted", "accepted"),
    "old dead": ("", "rejected", "accepted"),
    "both dead": ("", "rejected", "rejected"),
    "429": ("429", "unknown", "unknown"),
    "5xx": ("500", "unknown", "unknown"),
    "HTML with 401": ("html", "unknown", "unknown"),
    "slow": ("slow", "unknown", "unknown"),
    "connection reset": ("reset", "unknown", "unknown"),
}


@pytest.fixture(params=sorted(FAKES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(providers, "TIMEOUT_SECONDS", 2)
    with FAKES[kind]() as server:
        server.slowness = 4
        server.valid = {OLD[kind]: OWNER[kind], NEW[kind]: OWNER[kind]}
        yield server
        assert server.violations == []


def ask(kind: str, fake: Fake, values: tuple[str, ...]) -> Reply:
    before = len(fake.calls)
    reply = providers.ask({"kind": kind, "url": fake.url}, values)
    assert len(fake.calls) == before + 1, "not one call"
    assert not [value for value in values if value in reply.detail]
    return reply


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_verdict(kind: str, fake: Fake, situation: str, record_property: Any) -> None:
    fake.mood, old, new = SITUATIONS[situation]
    if "rejected" in old:
        del fake.valid[OLD[kind]]
    if "rejected" in new:
        del fake.valid[NEW[kind]]
    found = (ask(kind, fake, OLD[kind]), ask(kind, fake, NEW[kind]))
    record_property(VERDICTS, (kind, situation, found[0].verdict, found[1].verdict))
    assert (found[0].verdict, found[1].verdict) == (old, new)
    if situation == "both valid":
        assert found[0].identity == found[1].identity != ""


def test_a_name_that_does_not_resolve_and_a_closed_port_are_unknown(kind: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for url in ("http://nothing.invalid", f"http://127.0.0.1:{port}"):
        reply = providers.ask({"kind": kind, "url": url}, OLD[kind])
        assert reply.verdict == "unknown"
        assert reply.detail.endswith(": no answer")


SPECIAL: list[tuple[str, str, str, Any, str]] = [
    ("alpaca", "restricted account (403)", "restricted", "PA123", "unknown"),
    ("plaid", "unauthorized environment", "", "wrong environment", "unknown"),
]


@pytest.mark.parametrize(("special", "situation", "mood", "owner", "verdict"), SPECIAL)
def test_a_refusal_that_is_not_about_the_credential_is_unknown(
    special: str, situation: str, mood: str, owner: str, verdict: str, record_property: Any
) -> None:
    with FAKES[special]() as fake:
        fake.mood, fake.valid = mood, {NEW[special]: owner}
        reply = ask(special, fake, NEW[special])
    record_property(VERDICTS, (special, situation, "-", reply.verdict))
    assert reply.verdict == verdict


def test_a_paper_pair_on_the_live_host_is_rejected() -> None:
    with FakeAlpaca() as live:
        live.valid = {("AKLIVE", "secret"): "123"}
        assert ask("alpaca", live, NEW["alpaca"]).verdict == "rejected"


@pytest.mark.parametrize(("role", "findings"), [("read", 0), ("write", 1), ("fineGrained", 1)])
def test_a_role_that_is_broader_than_read_is_a_finding(role: str, findings: int) -> None:
    with FakeHuggingFace() as fake:
        fake.valid = {("hf_x",): f"trader:{role}"}
        reply = ask("huggingface", fake, ("hf_x",))
    assert (reply.verdict, reply.identity, len(reply.findings)) == ("accepted", "trader", findings)


def test_the_evidence_names_the_call_and_the_request() -> None:
    with FakeAlpaca() as fake:
        reply = ask("alpaca", fake, NEW["alpaca"])
    assert reply.verdict == "rejected"
    assert reply.detail.startswith("GET /v2/account: HTTP 401, 40110000, request ")


@pytest.mark.parametrize("said", ["a b", "", None, [], "x" * 65, "<b>", {"a": 1}])
def test_only_plain_words_of_strangers_are_shown(said: Any) -> None:
    assert providers.word(said) == ""
