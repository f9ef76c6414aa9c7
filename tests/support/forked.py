"""A module in a process of its own whose interpreter need not be started: forked where all that it imports is loaded.

A kill matrix runs a module hundreds of times, and most of such a run would be the start of Python, each of whose system
calls strace stops at. The process waits until strace is attached, so what is traced is the module's work alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ansible.module_utils.testing import patch_module_args

UTILS = "ansible.module_utils.keyturn"
PRELOADED = (
    *(
        f"{UTILS}.host.phases.{name}"
        for name in ("commit", "issue", "prepare", "prove", "replace_tokens", "rollback", "stage", "switch", "turn")
    ),
    *(f"{UTILS}.{name}" for name in ("entry.module", "ground.rows.fernet_sqlite", "ground.rows.fernet_batch")),
    "ansible.module_utils.testing",
)
SECONDS = 120.0


def run(module: str, arguments: str, strace: Sequence[str] = (), named: str = "") -> subprocess.CompletedProcess[str]:
    """Run a module with a file of arguments to its end, under strace with the options ``strace`` if there are any.

    ``named`` ends the names of its temporary files, which nobody knows before otherwise.
    """
    assert all(map(find_spec, PRELOADED)), "multiprocessing passes over what is not there, and each kill would load it"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with tempfile.NamedTemporaryFile("r") as output:
        process = context.Process(target=_work, args=(module, arguments, output.name, bool(strace), named))
        process.start()
        said = ""
        if strace:
            traced = subprocess.run(
                ["strace", *strace, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True, check=False
            )
            said = traced.stderr
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"{module} has not ended: {said}")
        return subprocess.CompletedProcess([module, arguments], process.exitcode, output.read(), "")


def _work(module: str, arguments: str, output: str, traced: bool, named: str) -> None:
    if named:
        import_module(f"{UTILS}.base.durable")._temporary = lambda path: f"{path.name}{named}"
    sys.dont_write_bytecode = True  # a module imported for the first time would be two calls that no run after it makes
    given = json.loads(Path(arguments).read_text())
    descriptor = os.open(output, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    while traced and "\nTracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.001)
    with patch_module_args(given):
        try:
            runpy.run_path(module, run_name="__main__")
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(int(ended.code or 0))
