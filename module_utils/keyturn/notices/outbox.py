"""The messages of an environment, one file each: written before the first attempt, so that none is lost or sent twice.

A channel that does not take a message is tried a few times, then stays open in its file until a later call succeeds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from ..base import durable, timestamps
from .messages import ID, Message
from .notify import Channel, Undelivered

FOLDER = "notifications"
PAUSES_SECONDS = (1.0, 3.0)

STATE = {"state": str, "attempts": int, "detail": str, "at": str, "audience?": [str]}
# a header of a mail has no second one
LINE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")
SHAPE = {
    **dict.fromkeys(("event", "environment", "subject"), LINE),
    "time": timestamps.SHAPE,
    "text": str,
    "id": ID,
    "state": ("open", "closed"),
    "facts": {"*": str},
    "channels": {"*": STATE},
}
Channels = Mapping[str, Channel]
Send = Callable[[Channel, Message], str]


class Sent(TypedDict):
    """How far a message has come with a channel: open, sent or withdrawn."""

    state: str
    attempts: int
    detail: str
    at: str
    audience: NotRequired[list[str]]


class Stored(TypedDict):
    """A message as it is kept, with each channel that wants it."""

    id: str
    event: str
    environment: str
    time: str
    subject: str
    text: str
    facts: Mapping[str, str]
    state: str
    channels: dict[str, Sent]


def post(folder: Path, message: Message, channels: Channels, hook_failure: str = "") -> None:
    """Write the message durably, open for every channel that wants its event. One that is there stands.

    ``hook_failure`` tells that the inventory's own tasks have failed; that can only be made good by hand.
    """
    path = _path(folder, message.id)
    if path.exists():
        return
    wanted = [name for name, channel in channels.items() if message.event in channel["events"]]
    states = {name: _state("open", 0, "not tried yet", message.time) for name in wanted}
    if hook_failure:
        states["hook"] = _state("open", 1, hook_failure, message.time)
    durable.make_reports_folder(path.parent)
    durable.write_json(path, {"schema": 1, **message._asdict(), "state": _whole(states), "channels": states})


def deliver(
    folder: Path, channels: Channels, send: Send, now: Callable[[], str], pause: Callable[[float], None]
) -> list[str]:
    """Try every open message; return one line for each that a channel took.

    A channel that does not answer is left alone for the rest of the call, so that the call's length does not grow with what
    is open. A channel that the inventory does not have any more gets nothing, and its messages are withdrawn.
    """
    taken: list[str] = []
    silent: set[str] = set()
    with _locked(folder):
        for document in opened(folder):
            message = _message(document)
            for name, state in document["channels"].items():
                if state["state"] != "open" or name == "hook" or name in silent:
                    continue
                if name not in channels:
                    document["channels"][name] = _state("withdrawn", state["attempts"], "no such channel now", now())
                    continue
                tried, answers = _try(channels[name], message, send, now, pause, state["attempts"])
                document["channels"][name] = {**tried, "audience": channels[name]["audience"]}
                if tried["state"] == "sent":
                    taken.append(f"{name}: {message.id} ({tried['detail']})")
                elif not answers:
                    silent.add(name)
            document["state"] = _whole(document["channels"])
            durable.write_json(_path(folder, message.id), document)
    return taken


def opened(folder: Path) -> list[Stored]:
    """Return the messages that a channel still has to take, the newest first."""
    waiting = [one for one in _kept((folder / FOLDER).glob("*.json")) if one["state"] == "open"]
    return sorted(waiting, key=lambda one: (one["time"], one["id"]), reverse=True)


def open_lines(folder: Path) -> list[str]:
    """Return a line for each channel that has not taken a message: what a status shows."""
    return [
        f"{document['id']}: {name} after {state['attempts']} attempts: {state['detail']}"
        for document in opened(folder)
        for name, state in document["channels"].items()
        if state["state"] == "open"
    ]


def sent(folder: Path, message_id: str, audience: str) -> list[str]:
    """Return a line for each channel for an ``audience`` that took a message; ``*`` in its id stands for anything."""
    return [
        f"{name} took the message at {state['at']}"
        for document in _kept(sorted((folder / FOLDER).glob(f"{message_id}.json")))
        for name, state in document["channels"].items()
        if state["state"] == "sent" and audience in state.get("audience", [])
    ]


def _kept(paths: Iterable[Path]) -> Iterator[Stored]:
    """Yield the messages in files; one that is gone meanwhile is none."""
    for path in paths:
        document: Stored | None = durable.read_json(path, SHAPE)
        if document is not None:
            yield document


def _message(kept: Stored) -> Message:
    return Message(
        kept["id"], kept["event"], kept["environment"], kept["time"], kept["subject"], kept["text"], dict(kept["facts"])
    )


def _try(
    channel: Channel,
    message: Message,
    send: Send,
    now: Callable[[], str],
    pause: Callable[[float], None],
    before: int,
) -> tuple[Sent, bool]:
    """Return the new state, and whether the channel gives answers."""
    attempt, answers = before, True
    for seconds in (*PAUSES_SECONDS, None):
        attempt += 1
        try:
            return _state("sent", attempt, send(channel, message), now()), True
        except Undelivered as error:
            detail, answers = error.detail, not error.again
            if not error.again or seconds is None:
                break
        pause(seconds)
    return _state("open", attempt, detail, now()), answers


def _state(state: str, attempts: int, detail: str, at: str) -> Sent:
    return {"state": state, "attempts": attempts, "detail": detail, "at": at}


def _whole(channels: Mapping[str, Sent]) -> str:
    return "open" if any(state["state"] == "open" for state in channels.values()) else "closed"


def _path(folder: Path, identity: str) -> Path:
    return folder / FOLDER / f"{identity}.json"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one call at a time deliver: two would send the same message."""
    durable.make_reports_folder(folder / FOLDER)
    fd = os.open(folder / FOLDER / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
