"""One contract, three stores: the same cases over the host itself, a real OpenBao and the API of AWS Secrets Manager."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprints
from support import stores
from support.stores import VARIABLE, Cut, Host, Remote

KINDS = ["dotenv", "openbao", "aws_secretsmanager"]
FIRST, SECOND, THIRD = (f"2026010{day}T000000Z-0123456789abcdef" for day in (1, 2, 3))
OLD, NEW, OTHER = ({VARIABLE: f"the-{name}-value-of-the-tests"} for name in ("old", "new", "other"))
SIDES = (fingerprints(OLD), fingerprints(NEW))


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with stores.openbao() as openbao, stores.secretsmanager() as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in stores.AWS.items():
            patch.setenv(name, value)
        yield {"openbao": openbao, "aws_secretsmanager": aws}


@pytest.fixture
def make(servers: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    made: list[Any] = []

    def build(kind: str) -> Any:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        found: Any = (
            Host(folder) if kind == "dotenv" else Remote(kind, servers[kind], f"test{folder}".replace("/", "-"))
        )
        made.append(found)
        return found

    yield build
    for found in made:
        found.close()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, make: Callable[[str], Any], record_property: Any) -> Any:
    """A store whose current value is the old one."""
    record_property("store", (request.node.originalname.removeprefix("test_").replace("_", " "), request.param))
    found = make(request.param)
    found.change(OLD[VARIABLE])
    return found


@pytest.fixture(params=KINDS[1:])
def remote(request: pytest.FixtureRequest, make: Callable[[str], Any], record_property: Any) -> Remote:
    record_property("store", (request.node.originalname.removeprefix("test_").replace("_", " "), request.param))
    found = make(request.param)
    found.change(OLD[VARIABLE])
    return found  # type: ignore[no-any-return]


def held(store: Any) -> tuple[str, str, str]:
    """Say which value each version is, in words: pytest would print values."""
    names = {str(OLD): "old", str(NEW): "new", str(OTHER): "other"}
    return tuple(names[str(dict(found.values))] if found else "-" for found in store.read())  # type: ignore[return-value]


def refused(store: Any, *step: Any) -> str:
    with pytest.raises(KeyturnError) as error:
        store.step(*step)
    text = str(error.value)
    assert not [value for value in (*OLD.values(), *NEW.values(), *OTHER.values()) if value in text]
    return text


def test_staging_leaves_the_current_value(store: Any) -> None:
    assert store.step("stage", FIRST, NEW)
    assert held(store) == ("old", "new", "-")
    assert store.read().pending.rotation_id == FIRST


def test_staging_again_changes_nothing(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    assert not store.step("stage", FIRST, NEW)
    assert held(store) == ("old", "new", "-")


def test_promoting_keeps_the_old_value_as_previous(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    assert store.step("promote", FIRST, *SIDES)
    assert held(store) == ("new", "-", "old")
    assert not store.step("promote", FIRST, *SIDES)
    assert held(store) == ("new", "-", "old")


def test_discarding_leaves_the_current_value(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    assert store.step("discard", FIRST)
    assert held(store) == ("old", "-", "-")
    assert not store.step("discard", FIRST)


def test_destroying_the_previous_value(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    store.step("promote", FIRST, *SIDES)
    assert store.step("destroy_previous", FIRST)
    assert held(store) == ("new", "-", "-")
    assert not store.step("destroy_previous", FIRST)


def test_the_next_rotation_drops_what_was_previous(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    store.step("promote", FIRST, *SIDES)
    store.step("stage", SECOND, OTHER)
    store.step("promote", SECOND, SIDES[1], fingerprints(OTHER))
    assert held(store) == ("other", "-", "new")
    if store.kind == "openbao":
        assert store.direct._data(store.path, 1) is None


def test_another_current_value_is_refused(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    store.change(OTHER[VARIABLE])
    assert fingerprints(OTHER)[VARIABLE] in refused(store, "promote", FIRST, *SIDES)
    assert held(store)[:2] == ("other", "new")


def test_the_second_of_two_rotators_is_refused(store: Any) -> None:
    store.step("stage", FIRST, NEW)
    assert FIRST in refused(store, "stage", SECOND, OTHER)
    refused(store, "promote", SECOND, SIDES[0], fingerprints(OTHER))
    assert not store.step("discard", SECOND)
    assert held(store) == ("old", "new", "-")
    assert store.step("promote", FIRST, *SIDES)


STEPS = {"stage": (FIRST, NEW), "promote": (FIRST, *SIDES), "discard": (FIRST,), "destroy_previous": (FIRST,)}
END = {
    "stage": ("old", "new", "-"),
    "promote": ("new", "-", "old"),
    "discard": ("old", "-", "-"),
    "destroy_previous": ("new", "-", "-"),
}


def at(make: Callable[[str], Any], kind: str, step: str) -> Any:
    """Return a store of its own where ``step`` comes next."""
    store = make(kind)
    store.change(OLD[VARIABLE])
    if step != "stage":
        store.step("stage", FIRST, NEW)
    if step == "destroy_previous":
        store.step("promote", FIRST, *SIDES)
    return store


@pytest.mark.parametrize("step", ["stage", "promote", "discard"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_between_any_two_calls_is_mended_by_the_same_step(
    make: Callable[[str], Any], kind: str, step: str, record_property: Any
) -> None:
    killed = 0
    for number, before in itertools.product(range(60), (True, False) if kind != "dotenv" else (True,)):
        store = at(make, kind, step)
        if not store.killed_at(number, before, step, *STEPS[step]):
            break
        killed += 1
        store.step(step, *STEPS[step])
        assert held(store) == END[step], f"after a kill at call {number}"
    assert killed > 2
    record_property("store", (f"killed at each call of {step}, then repeated", kind, str(killed)))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_store_that_goes_down_at_any_call_is_told_and_repeated(
    make: Callable[[str], Any], kind: str, step: str, record_property: Any
) -> None:
    down = 0
    for number, before in itertools.product(range(60), (True, False)):
        store = at(make, kind, step)
        store.wire.count, hit = 0, []

        def hook(
            count: int, is_before: bool, number: int = number, before: bool = before, hit: list[int] = hit
        ) -> None:
            if count > number or (count, is_before) == (number, before):
                hit.append(count)
                raise Cut

        store.wire.hook = hook
        try:
            store.step(step, *STEPS[step])
        except KeyturnError as error:
            assert "gives no answer" in str(error)
        store.wire.hook = lambda count, is_before: None
        if not hit:
            break
        down += 1
        store.step(step, *STEPS[step])
        assert held(store) == END[step], f"after the store went down at call {number}"
    assert down > 2
    record_property("store", (f"down from each call of {step} on, then repeated", kind, str(down)))


def test_a_change_between_any_two_calls_of_a_promotion_is_never_lost(
    make: Callable[[str], Any], remote: Remote
) -> None:
    refusals = 0
    for number in range(60):
        store = at(make, remote.kind, "promote")
        store.wire.count, hit = 0, []

        def hook(count: int, before: bool, number: int = number, store: Any = store, hit: list[int] = hit) -> None:
            if before and count == number:
                hit.append(count)
                store.change(OTHER[VARIABLE])

        store.wire.hook = hook
        try:
            store.step("promote", FIRST, *SIDES)
        except KeyturnError as error:
            refusals += 1
            assert "somebody else has changed it" in str(error)
        if not hit:
            break
        assert held(store)[0] == "other", f"the change before call {number} was lost"
    assert refusals > 1


def test_an_expired_login_is_told(make: Callable[[str], Any], remote: Remote) -> None:
    for step, arguments in STEPS.items():
        store = at(make, remote.kind, step)
        before = held(store)
        if store.kind == "openbao":
            token = store.direct._client.auth.token.create(ttl="1h", policies=["root"])["auth"]["client_token"]
            store.store = store.open(BAO_TOKEN=token)
            store.direct._client.auth.token.revoke(token)
        else:
            store.wire.answer = (
                400,
                b'{"__type": "ExpiredTokenException", "message": "The security token is expired"}',
            )
        assert "the login has expired" in refused(store, step, *arguments)
        store.wire.answer = None
        assert held(store) == before


def test_a_first_value_has_nothing_before_it(make: Callable[[str], Any], remote: Remote) -> None:
    store = make(remote.kind)
    assert held(store) == ("-", "-", "-")
    store.step("stage", FIRST, NEW)
    assert held(store) == ("-", "new", "-")
    store.step("promote", FIRST, *SIDES)
    assert held(store) == ("new", "-", "-")


def test_a_pending_value_of_a_person_becomes_the_rotation_s(remote: Remote) -> None:
    put_pending(remote, NEW)
    assert held(remote) == ("old", "new", "-")
    assert "another pending value" in refused(remote, "stage", FIRST, OTHER)
    assert remote.step("stage", FIRST, NEW)
    assert remote.step("promote", FIRST, *SIDES)
    assert held(remote) == ("new", "-", "old")


def test_without_its_pending_value_nothing_is_promoted(remote: Remote) -> None:
    assert "has no pending value" in refused(remote, "promote", FIRST, *SIDES)
    remote.change(NEW[VARIABLE])  # the remedy of the message
    remote.step("promote", FIRST, *SIDES)
    assert held(remote)[:2] == ("new", "-")


def put_pending(remote: Remote, values: dict[str, str]) -> None:
    """A person brings a new value by the store's own tools."""
    client: Any = remote.direct
    if remote.kind == "openbao":
        client._kv.create_or_update_secret(path=f"{remote.path}.pending", secret=values, mount_point="secret")
    else:
        text = f'{{"{VARIABLE}": "{values[VARIABLE]}"}}'
        client._client.put_secret_value(SecretId=remote.path, SecretString=text, VersionStages=["AWSPENDING"])
