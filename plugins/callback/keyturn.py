"""What a run prints: the plan, a line for each step of each host, errors, and the summary."""

from __future__ import annotations

DOCUMENTATION = r"""
name: keyturn
type: stdout
short_description: The plan, a line for each step of each host, errors, and the summary
description:
  - Prints what the phases of a rotation say of themselves, the messages of C(debug), the name of a task that has changed
    something and has no words of its own, and warnings. A task that has nothing to tell has no line.
  - An error is printed once, with what is the matter and what to do first, then the host and the task. What the summary or an earlier
    error has told already is not told again. C(PLAY RECAP) is printed where something has failed.
  - A playbook that a message names stands there as the command that starts it, with the inventory of this run.
  - Of results only messages are printed; nothing is of a task with C(no_log). Arguments are not printed.
  - In GitHub's and GitLab's pipelines the lines that say how far hosts are can be folded, and on GitHub an error is an annotation.
    Text of hosts folds and annotates nothing there.
  - From C(-v) on it prints what the callback C(default) prints, with Ansible's own trace of an error.
    C(ANSIBLE_STDOUT_CALLBACK=default) turns it off altogether.
author: The Keyturn maintainers
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

EXAMPLES = r"""
# ansible.cfg
# [defaults]
# callback_plugins = plugins/callback
# stdout_callback = keyturn
"""

import atexit
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import ansible.module_utils
from ansible import constants
from ansible.plugins.callback.default import CallbackModule as Default

# Ansible loads each callback that it finds, whatever it runs: this much costs nothing, and the controller's actions would
MODULE_UTILS = str(Path(__file__).parents[2] / "module_utils")
if MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(MODULE_UTILS)  # where a packed module finds them

from ansible.module_utils.keyturn.base import pipelines, shown

OURS = "keyturn_"
CONTROLLER = "localhost"
# the calls that print how far they are
TELLING = tuple(f"{OURS}{phase}" for phase in ("stage", "turn", "commit", "rollback"))
# whose summary is printed here, with the line of it that an error may have told
PLAN, REPORT = "keyturn_plan", "keyturn_report"
CAUSE = "cause"
INDENT = "\n       "
# how Ansible begins to say it
INTERRUPTED = (
    "This run was interrupted, and rotation {} may be open: verify.yml says what the hosts hold. End it with resume.yml (on the new "
    "value) or rollback.yml (on the old one); both wait for what is still at work on a host"
)
LACKS = "missing required arguments: "
HIDDEN = "what it says is hidden (no_log)"


class Heard(io.FileIO):
    """Standard output or error. Where nobody reads it any more (`| head`) the run goes on unheard: no rotation stays open for that."""

    def write(self, text: Any) -> int:
        """Write, and from a closed pipe on nowhere."""
        try:
            return super().write(text)
        except BrokenPipeError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            return len(text)


def heard(stream: TextIO) -> TextIO:
    """Return the stream by way of ``Heard``; one that is something else than a file stays as it is."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    stream.flush()  # what was printed before stays before
    raw = io.BufferedWriter(Heard(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=True)


def quiet(method: Callable[..., None]) -> Callable[..., None]:
    """Make a method print what the default callback does from ``-v`` on."""

    @functools.wraps(method)
    def chosen(self: Any, *args: Any, **more: Any) -> None:
        if self._display.verbosity:
            getattr(super(CallbackModule, self), method.__name__)(*args, **more)
        else:
            method(self, *args, **more)

    return chosen


class CallbackModule(Default):
    """The callback ``keyturn``."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "keyturn"

    def __init__(self) -> None:
        super().__init__()
        self._log = pipelines.log(os.environ)
        self._on_hosts = ""  # the play, where it works on hosts
        self._folded = self._failed = False
        self._told: list[str] = []
        self._silent: set[str] = set()  # hosts that have given no answer
        self._open = ""  # the rotation that this run has planned and not reported

    # -- the run ---------------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Have each line printed as it comes, also into a pipe, and make the log of a pipeline deaf to the text that follows."""
        sys.stdout, sys.stderr = heard(sys.stdout), heard(sys.stderr)
        self._command(self._log.begin())
        atexit.register(self._leave)  # no method is called where a person interrupts the run
        super().v2_playbook_on_start(playbook)

    @quiet
    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember whether it is one of the controller's own plays."""
        hosts = play.hosts if isinstance(play.hosts, list) else [play.hosts]
        self._on_hosts = "" if hosts == [CONTROLLER] else play.get_name().strip()

    @quiet
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Fold how far hosts are, and nothing else; where something has failed, the way back is to be seen."""
        if not self._on_hosts:
            self._unfold()
        elif task.action.rpartition(".")[2] in TELLING and not self._folded and not self._failed:
            self._command(self._log.fold(self._on_hosts))
            self._folded = True

    @quiet
    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Print nothing."""

    @quiet
    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Print nothing."""

    @quiet
    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Print nothing: a play with nothing to do has no hosts."""

    @quiet
    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """Print nothing: the error was told."""

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the recap where something has failed, or where somebody wants to see what a workflow is told."""
        self._open = ""
        self._unfold()
        told = stats.custom and self.get_option("show_custom_stats")
        if self._display.verbosity or stats.failures or stats.dark or told:
            super().v2_playbook_on_stats(stats)
        self._command(self._log.end())

    def _leave(self) -> None:
        """Name the ways out of a rotation that the run has not brought to its report."""
        if self._open:
            self._unfold()
            self._display.display(_typed(INTERRUPTED.format(self._open)), color=constants.COLOR_ERROR)

    # -- tasks -----------------------------------------------------------------------------------------------------

    @quiet
    def v2_runner_on_ok(self, result: Any) -> None:
        """Print a message, or the name of a task that has changed something and whose action prints nothing itself."""
        self._handle_warnings(result.result)
        action = result.task.action.rpartition(".")[2]
        if action == PLAN and not result.task.check_mode:
            self._open = str(result.result["plan"]["rotation_id"])
        if action == REPORT and result.result.get("text"):
            self._open = ""
            self._print(result, [self._told_already(line) for line in shown.lines(result.result["text"])])
        if self.host_label(result) == CONTROLLER:  # what its action has printed
            said = [str(result.result.get(name, "")) for name in ("text", "ending")]
            self._told += filter(None, [said[1], *said[0].splitlines()])
        if action == "debug":
            if not _looped(result):
                self._say(result)
        elif result.result.get("changed") and not _prints(action):
            self._print(result, [f"{_named(result)}{' (would change)' if result.task.check_mode else ''}"])

    @quiet
    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Print a message."""
        if result.task.action.rpartition(".")[2] == "debug":
            self._say(result)

    @quiet
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Print the error."""
        self._handle_warnings(result.result)
        if not ignore_errors and not _looped(result):
            self._error(result)

    @quiet
    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Print the error."""
        self._error(result)

    @quiet
    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Print why there is no answer, which is an error where the run does not go on with it."""
        if result.task.ignore_unreachable:
            self._silent.add(self.host_label(result))
            self._line(result)
        else:
            self._error(result)

    @quiet
    def v2_runner_on_skipped(self, result: Any) -> None:
        """Print nothing."""

    @quiet
    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Print nothing."""

    @quiet
    def v2_runner_retry(self, result: Any) -> None:
        """Print nothing: the last attempt tells."""

    @quiet
    def _print_task_banner(self, task: Any) -> None:
        """Print nothing: a difference stands alone."""

    # -- lines -----------------------------------------------------------------------------------------------------

    def _say(self, result: Any) -> None:
        """Print the message of a result, if it is a text or texts."""
        message = result.result.get("msg")
        texts = message if isinstance(message, list) else [message]
        self._print(result, [line for text in texts if isinstance(text, str) for line in shown.lines(text)])

    def _print(self, result: Any, lines: Sequence[str]) -> None:
        if not lines:
            return
        host, lines = self.host_label(result), [_typed(line) for line in lines]
        self._unfold()
        if host == CONTROLLER:
            self._display.display("\n".join(lines))
        else:
            self._display.display(f"{host}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{host}:", *lines]))

    def _line(self, result: Any) -> None:
        """Print what a host has said of itself, once."""
        host, text = self.host_label(result), _message(result)
        if not self._is_told(host, text):
            self._told.append(f"{host}: {text}")
            self._print(result, text.split("\n"))

    def _error(self, result: Any) -> None:
        """Print what is the matter and what to do, then where; nothing of what was told already."""
        host, text = self.host_label(result), _message(result)
        if self._is_told(host, text) or (result.result.get("lost") and host in self._silent):
            return
        self._failed = True
        self._told.append(text if host == CONTROLLER else f"{host}: {text}")
        self._unfold()
        where = f'in "{_named(result)}"' if host == CONTROLLER else f'on {host}, in "{_named(result)}"'
        text = _typed(text)
        self._command(self._log.error(f"Keyturn {where}", text))
        self._display.display(
            f"ERROR: {text}\n{where}".replace("\n", INDENT),
            color=constants.COLOR_ERROR,
            stderr=self.get_option("display_failed_stderr"),
        )

    def _is_told(self, host: str, text: str) -> bool:
        """Tell whether the host has said so, or whether the controller only sums up, behind a word for the end, what others have."""
        if host != CONTROLLER:
            return f"{host}: {text}" in self._told
        return any(map(self._sums_up, filter(None, (text, text.partition(": ")[2]))))

    def _sums_up(self, text: str) -> bool:
        """Tell whether a text is nothing but what was told. A host that says the words of the controller has told them as its own."""
        while text:
            first = max((one for one in self._told if f"{text}; ".startswith(f"{one}; ")), key=len, default="")
            if not first:
                return False
            text = text[len(first) :].removeprefix("; ")
        return True

    def _told_already(self, line: str) -> str:
        """Return a line of the summary, without a cause that was told as an error."""
        name, _, cause = line.partition(" ")
        return f"{name:<11}told above" if name == CAUSE and self._is_told(CONTROLLER, cause.strip()) else line

    def _unfold(self) -> None:
        if self._folded:
            self._command(self._log.unfold())
            self._folded = False

    def _command(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._display.display(line, screen_only=True)


def _typed(text: str) -> str:
    """Return a text in which playbooks stand as commands, as this run was started."""
    if ".yml" not in text:
        return text
    from ansible.module_utils.keyturn.entry import inventory
    from ansible.module_utils.keyturn.inputs.typed import typed

    return typed(text, inventory.named())


def _message(result: Any) -> str:
    missing = _missing(result.result)
    message = "\n".join(missing) if missing else result.result.get("msg")
    return "\n".join(shown.lines(shown.clipped(message.strip()))) if isinstance(message, str) else HIDDEN


def _missing(said: dict[str, Any]) -> list[str]:
    """Return a line for each argument that a role's spec wants and nobody has said, where nothing else is wrong."""
    errors = said.get("argument_errors", [])
    names = [name for error in errors for name in error.removeprefix(LACKS).split(", ")]
    if not errors or not all(error.startswith(LACKS) for error in errors):
        return []
    about = {name: str(said["argument_spec_data"][name].get("description", "")) for name in names}
    return [f"{name} is missing: {text} Say it by -e {name}=..., or in the inventory" for name, text in about.items()]


def _prints(action: str) -> bool:
    """Tell whether an action is one of ours that prints what it does: a step of the controller, or a phase of a host."""
    name = action.removeprefix(OURS)
    if name == action:
        return False
    # a run in which no module has changed anything does without
    from ansible.module_utils.keyturn.fleet.answers import OF_PHASES

    return name in OF_PHASES or find_spec(f"ansible.module_utils.keyturn.steps.{name}") is not None


def _named(result: Any) -> str:
    """Return the name of the task, without the role that ansible-core puts before it since 2.21."""
    return str(result.task_name).rpartition(" : ")[2]


def _looped(result: Any) -> bool:
    """Tell whether a task has told each of its items."""
    return bool(result.task.loop) and "results" in result.result
