"""Running under uvicorn: the two log streams, and a quick end on SIGTERM."""

from __future__ import annotations

import copy
import os
import signal
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from trader_ai import logs
from trader_ai.app import app

GRACE_SECONDS = 0.3
EXIT_NOT_STARTED = 3


def _die_by_sigterm(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


class Server(uvicorn.Server):
    """Ends by the signal, and soon.

    Debian 12's uvicorn has no limit for the graceful stop: one slow request would hold it for ever.
    """

    terminated = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the graceful stop and set its limit."""
        self.terminated = sig == signal.SIGTERM
        super().handle_exit(sig, frame)
        signal.signal(signal.SIGALRM, _die_by_sigterm)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)


def log_config() -> dict[str, Any]:
    """Return uvicorn's own settings (access log on stdout, the rest on stderr), each line once.

    Older versions hand their lines on to the root logger, which would print them a second time.
    """
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["uvicorn"]["propagate"] = False
    return config


def main() -> None:
    """Serve on HOST and PORT until a signal; status 3 when the port is taken."""
    logs.configure()
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    # nothing here is a web socket, whose code need not be loaded
    config = uvicorn.Config(app, host=host, port=port, log_config=log_config(), ws="none")
    server = Server(config)
    try:
        server.run()
    except SystemExit:
        # The status of a taken port differs between uvicorn's versions.
        if not server.started:
            sys.exit(EXIT_NOT_STARTED)
        raise
    if not server.started:
        sys.exit(EXIT_NOT_STARTED)
    if server.terminated:
        _die_by_sigterm()
