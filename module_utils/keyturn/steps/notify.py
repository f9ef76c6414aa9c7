"""The action ``keyturn_notify``. The secrets of a channel are read here: they never pass through a variable."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from ..base import timestamps
from ..inputs.validation import Answer, Parameters, validated
from ..notices import messages, notify, outbox


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Write the message, then send what is open."""
    channels = {
        name: validated(f"keyturn_notification_channels.{name}", notify.CHANNEL, spec, notify.CHANNEL_REQUIRED_IF)
        for name, spec in parameters["channels"].items()
    }
    folder = Path(parameters["folder"])
    if check_mode:
        return {"changed": False, "sent": [], "open": []}
    if parameters["event"]:
        moment = parameters["time"] or timestamps.text(datetime.now(UTC))
        message = messages.message(
            parameters["event"],
            parameters["id"],
            parameters["environment"],
            moment,
            parameters["facts"],
            parameters["drill"],
        )
        outbox.post(folder, message, channels, parameters["hook_failure"])
    sent = outbox.deliver(folder, channels, _send, lambda: timestamps.text(datetime.now(UTC)), time.sleep)
    left = outbox.open_lines(folder)
    lines = [*(f"sent to {line}" for line in sent), *(f"NOT SENT {line}" for line in left)]
    if parameters["event"] == "sessions_invalidated":
        hosts = ", ".join(parameters["facts"]["hosts"])
        lines.insert(
            0, f"sessions invalidated in {parameters['environment']} on {hosts} at {moment}: users must sign in again"
        )
    return {"changed": bool(parameters["event"] or sent), "sent": sent, "open": left, "text": "\n".join(lines)}


def _send(channel: notify.Channel, message: messages.Message) -> str:
    return notify.send(channel, message, os.environ, datetime.now(UTC))
