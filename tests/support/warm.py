"""ansible-playbook without its start: a process that has Ansible loaded, and forks each run.

Loading Ansible costs a run of the tests as much as a good part of its tasks. A forked run is one all the same: a process and a
session of its own, whose arguments, environment and output are its own, and which ends with the exit code of the program.
What a fork cannot show is left to the program itself: settings but one, which Ansible reads as it loads, and what others see of a
process, its command line and its environment (the tests of kills find processes by them).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OWN = ROOT / "plugins"
LARGEST = 1 << 20
PIPELINES = ("GITHUB_ACTIONS", "GITLAB_CI")
# the one setting of Ansible's that each run has of its own
CALLBACK = "ANSIBLE_STDOUT_CALLBACK"
READ_AT_START = ("ANSIBLE_", "PYTHON", "LANG", "LC_", "PATH", "HOME", "TMP", "NO_COLOR")
LOADED = (
    "ansible.cli.playbook",
    "ansible.executor.process.worker",
    "ansible.parsing.yaml.dumper",
    *(f"ansible.playbook.{name}" for name in ("handler_task_include", "included_file", "role_include")),
)


def operators_environment() -> dict[str, str]:
    """Return an operator's environment: none of what the tests themselves need or Ansible was told.

    A run prints each task, by which tests know what was done; test_output.py is about the output that people see. No pipeline folds it.
    """
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "PYTHONPATH")) and name not in PIPELINES
    }
    return mine | {CALLBACK: "default"}


def would_load_the_same(environment: Mapping[str, str]) -> bool:
    """Tell whether Python and Ansible would start with this environment as the process of this file did."""
    differing = {name for name, _ in set(environment.items()) ^ set(operators_environment().items())} - {CALLBACK}
    return not any(name.startswith(READ_AT_START) for name in differing)


@cache
def server() -> socket.socket:
    """Start the process, once; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__], stdin=theirs, cwd=ROOT, env=operators_environment(), start_new_session=True
        )
    return ours


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook in the root of the repository, to its end."""
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        with theirs:
            request = json.dumps([arguments, dict(environment)]).encode()
            socket.send_fds(server(), [request], [output.fileno(), errors.fileno(), theirs.fileno()])
        said = ours.recv(100)
        assert said, "the process that forks runs is gone"
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, int(said), output.read(), errors.read())


def serve(requests: socket.socket) -> None:
    """Fork a run for each request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LARGEST, 3)
        if not request:
            return
        if not os.fork():
            requests.close()
            watch(*descriptors, *json.loads(request))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def watch(output: int, errors: int, said: int, arguments: list[str], environment: dict[str, str]) -> None:
    """Fork the run, wait for it and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.close(said)
        for descriptor, place in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
            os.dup2(descriptor, place)
            os.close(descriptor)
        os._exit(work(arguments, environment))
    _, status = os.waitpid(pid, 0)
    os.write(said, str(os.waitstatus_to_exitcode(status)).encode())


def work(arguments: list[str], environment: dict[str, str]) -> int:
    """Be ansible-playbook, and return its exit code."""
    from ansible import constants
    from ansible.cli.playbook import main
    from ansible.module_utils.keyturn.entry import memory  # type: ignore[attr-defined]
    from ansible.utils.path import cleanup_tmp_file

    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(arguments)
    constants.DEFAULT_STDOUT_CALLBACK = environment[CALLBACK]
    memory._FD = memory.opened()  # each run has its own
    atexit._clear()  # what the process of this file has is not the run's to remove
    packed = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")
    place = tempfile.mkdtemp(prefix=f"ansible-local-{os.getpid()}", dir=Path(constants.DEFAULT_LOCAL_TMP).parent)
    Path(place, packed.name).symlink_to(packed)  # what one run has packed the next one sends
    constants.DEFAULT_LOCAL_TMP = place
    atexit.register(cleanup_tmp_file, place, warn=True)
    try:
        main()
        code: Any = 0
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code or 0)


def keep_routes() -> None:
    """Read once where Ansible's own plugins have gone to: a text that is longer than all others of a run."""
    import ansible
    from ansible.utils.collection_loader import _collection_finder as collection_finder

    read = collection_finder._meta_yml_to_dict
    kept = collection_finder._meta_yml_to_dict = cache(read)
    kept(
        Path(ansible.__file__).with_name("config").joinpath("ansible_builtin_runtime.yml").read_bytes(),
        ("ansible.builtin", "runtime.yml"),
    )


def load() -> None:
    """Load what each run would."""
    for name in LOADED:
        import_module(name)
    from ansible import constants
    from ansible.plugins import loader

    for kind in (loader.filter_loader, loader.test_loader):
        list(kind.all())
    # with the settings that each describes
    for kind in ("become", "callback", "connection", "shell"):
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    named = {"inventory": constants.INVENTORY_ENABLED, "cache": ["memory"], "strategy": ["linear"]}
    named["lookup"] = [path.stem for path in OWN.glob("lookup/*.py")]
    for kind, names in named.items():
        for name in names:
            getattr(loader, f"{kind}_loader").get(name, class_only=True)
    keep_routes()
    for plugin in sorted(OWN.glob("action/*.py")):
        loader.action_loader.get(plugin.stem, class_only=True)
    Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").mkdir()
    gc.freeze()  # what is loaded stays: no run has to look through it for what is not used any more
    gc.set_threshold(50_000)


if __name__ == "__main__":
    load()
    with socket.socket(fileno=os.dup(0)) as requests:
        serve(requests)
