"""A host in other hands says what it likes: what is taken of it, and that nothing of it acts on the controller."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import test_draft
from ansible.plugins.loader import action_loader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyturn.base import durable, shape, shown
from keyturn.entry.module import attempt
from keyturn.fleet import answers
from keyturn.records import rotation_log
from support import hostile
from support.faults import ROTATION_ID
from support.lab import ROOT
from test_no_defect import AT, FINDING, HOST, KEY, MARK, RECORD, STATE, environment, parameters, take

REVOCATION = {name: RECORD[name] for name in ("rotation_id", "secret", "operator", "started", "old")} | {
    "reason": "scheduled",
    "state": "revoked",
    "since": AT,
    "evidence": "POST: HTTP 400",
}
OF_A_ROTATION = {"changed": True, "rotation": RECORD}
MEMBER = {"name": "files.jsonl", "bytes": 1, "sha256": "0" * 64}
VERIFIED = {
    "used": True,
    "values": {KEY: MARK},
    "rows": {"empty": 1},
    "services": {"b": "x"},
    "problems": [],
    "findings": [],
}
# an answer of each action as a host gives it
REAL: dict[str, dict[str, Any]] = {
    "ask_provider": OF_A_ROTATION | {"verdict": "accepted", "touched": True},
    "commit": OF_A_ROTATION,
    "delivery": {"changed": True, "delivery": "dotenv", "names": [KEY], "services": ["backend"], "downtime_seconds": 1.5},
    "evidence": {"changed": True, "archive": "aGVsbG8=", "members": [MEMBER], "missing": {"plaid": "no answer"}},
    "haproxy": {"changed": True, "kept_out": False},
    "issue": OF_A_ROTATION,
    "prune": {"changed": True, "pruned": [ROTATION_ID]},
    "reach_info": {"changed": False, "reaches": False, "why": "no login"},
    "replace_tokens": {
        "changed": True, "total": 3, "done": 3, "proven": 2, "relink_required": ["item"], "gone": [], "ended": True
    },
    "retire": {"changed": True, "revocations": [REVOCATION]},
    "rollback": OF_A_ROTATION,
    "stage": OF_A_ROTATION | {"clock_offset": 0.5, "place": "a machine", "diff": {"before": "a\n", "after": "b\n"}},
    "rotation_info": {"changed": False, **STATE},
    "storage_info": {"changed": False, "findings": [FINDING], "values": {"db_key": {KEY: MARK}}},
    "survey_info": test_draft.SURVEY,
    "turn": OF_A_ROTATION | {"progress": {"done": 1, "total": 2, "seconds": 0.5}},
    "holdings_info": {"changed": False, "verified": {"db_key": VERIFIED}, "problems": [], "text": "two\nlines"},
    "watcher": {"changed": True, "did": ["enable", "start"]},
}  # fmt: skip
ORDERS: dict[str, Any] = {
    "ansible_facts": {"keyturn_textfile": "/tmp/own.prom", "keyturn_return_hook": "/tmp/own.yml"},
    "add_host": {"host_name": "localhost", "host_vars": {"ansible_connection": "ssh"}},
    "add_group": "trader_ai",
    "ansible_stats": {"data": {"x": 1}},
    "_ansible_notify": ["x"],
    "_ansible_suppress_tmpdir_delete": True,
    "skipped": True,
    "unreachable": True,
    "deprecations": ["x"],
    "exception": "x",
    "invocation": {"module_args": {}},
    "context": {"app_root": "/"},
}


def test_every_action_on_a_host_has_the_shape_of_its_answer() -> None:
    steps = {path.stem for path in (ROOT / "module_utils/keyturn/steps").glob("[a-z]*.py")}
    modules = {path.stem.removeprefix("keyturn_") for path in (ROOT / "library").glob("*.py")}
    # those work on the controller, of what only the controller says
    here = {"alerts", "metrics", "phase", "silence"}
    assert answers.ANSWERS.keys() == REAL.keys() == modules - steps - here
    plugins = [path for path in (ROOT / "plugins/action").glob("*.py") if 'get("keyturn_host"' in path.read_text()]
    assert answers.ANSWERS.keys() == {path.stem.removeprefix("keyturn_") for path in plugins}, (
        "each takes its answer there"
    )


@pytest.mark.parametrize("action", sorted(REAL))
def test_what_a_host_has_to_say_is_taken_as_it_is_and_nothing_else(action: str) -> None:
    said = json.loads(json.dumps(REAL[action]))
    wanted = shape.fitting(answers.ANSWERS[action], said)
    assert answers.taken(action, said) == wanted
    assert answers.taken(action, said | ORDERS) == wanted
    # of the rotations that have ended the controller rests on less than their journals have
    assert action == "rotation_info" or wanted == said


@pytest.mark.parametrize("action", ["commit", "issue", "rollback", "stage", "turn"])
def test_an_answer_about_another_rotation_is_none(action: str) -> None:
    assert answers.taken(action, REAL[action], ROTATION_ID) == REAL[action]
    told = answers.taken(action, REAL[action], "20260101T000000Z-fedcba9876543210")
    assert told["failed"] and "rotation.rotation_id must be the one that was asked for" in told["msg"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"changed": "yes", "rotation": {}}, "changed must be true or false"),
        ({"changed": True, "rotation": RECORD | {"phase": "over"}}, "rotation.phase must be"),
        (
            {"changed": True, "rotation": RECORD | {"downtime_seconds": float("nan")}},
            "downtime_seconds must be a number",
        ),
        ({"changed": True, "would": ["x"]}, "would must be a text"),
        ({"rotation": {}}, "changed must be true or false"),
        ({"changed": True, "rotation": json.loads('{"turned":' * 60 + "1" + "}" * 60)}, "nested too deep"),
    ],
)
def test_what_has_another_shape_is_a_failure_of_the_host(said: dict[str, Any], wanted: str) -> None:
    told = answers.taken("turn", said)
    assert told["failed"] and wanted in told["msg"] and "look at the host" in told["msg"]


@pytest.mark.parametrize(
    ("action", "long", "wanted"),
    [
        ("turn", {"rotation": RECORD | {"findings": ["x"] * 1001}}, "findings has 1,001 entries, and may have 1,000"),
        ("turn", {"rotation": RECORD | {"rows": dict.fromkeys(map(str, range(1001)), 1)}}, "rows has 1,001 entries"),
        ("turn", {"rotation": RECORD | {"turned": {"x": {"closed": [0] * 1001}}}}, "closed has 1,001 entries"),
        ("rotation_info", {"closed": dict.fromkeys(map(str, range(10_001)), RECORD)}, "closed has 10,001 entries"),
        ("holdings_info", {"problems": ["x"] * 1001}, "problems has 1,001 entries"),
        ("storage_info", {"findings": [FINDING] * 1001}, "findings has 1,001 entries"),
    ],
)
def test_a_list_without_end_is_no_answer(action: str, long: dict[str, Any], wanted: str) -> None:
    told = answers.taken(action, REAL[action] | long)
    assert told["failed"] and wanted in told["msg"]


def test_what_grows_with_the_rows_may_have_more_entries_and_a_text_has_a_length() -> None:
    gone = [f"item-{number}" for number in range(5000)]
    assert answers.taken("replace_tokens", REAL["replace_tokens"] | {"gone": gone})["gone"] == gone
    told = answers.taken("turn", REAL["turn"] | {"rotation": RECORD | {"findings": ["x" * 10_000]}})
    assert told["rotation"]["findings"] == ["x" * 4096 + " ... (5904 more characters)"]
    assert len(answers.taken("turn", REAL["turn"] | {"would": "x" * 10_000})["would"]) == 10_000


@pytest.mark.parametrize(
    "other", ["x", "20260101T000000Z-0123456789abcdef -e a=b", "20260101T000000Z-" + "x" * 48, "../../x"]
)
@pytest.mark.parametrize("action", ["prune", "retire", "rotation_info", "turn"])
def test_what_is_no_id_is_no_answer(action: str, other: str) -> None:
    said: dict[str, Any] = {
        "prune": {"pruned": [other]},
        "retire": {"revocations": [REVOCATION | {"rotation_id": other}]},
        "rotation_info": {"closed": {other: RECORD}},
        "turn": {"rotation": RECORD | {"rotation_id": other}},
    }[action]
    told = answers.taken(action, REAL[action] | said)
    assert told["failed"] and "the id of a rotation like 20260131T235959Z-0123456789abcdef" in told["msg"]
    assert other not in told["msg"]
    if action == "rotation_info":
        assert "expired" in answers.taken(action, REAL[action] | {"expired": [other]})["msg"]
        assert answers.taken(action, REAL[action] | {"closed": {ROTATION_ID: RECORD | {"rotation_id": other}}})[
            "failed"
        ]


def test_a_failure_is_its_words_and_nothing_else() -> None:
    said = {"failed": True, "msg": "why\nand\x1b[2J", "rc": 1, **ORDERS}
    assert answers.taken("turn", said) == {"failed": True, "msg": "why\nand\\x1b[2J"}


def test_a_warning_is_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"__ansible_type": "WarningSummary", "event": {"__ansible_type": "Event", "msg": "kept out\x07"}}
    said = REAL["haproxy"] | {"warnings": [theirs, "plain", 5]}
    assert answers.taken("haproxy", said)["warnings"] == ["kept out\\x07", "plain", "5"]


def test_no_object_of_ansible_is_in_an_answer() -> None:
    said = json.loads(json.dumps(REAL["turn"]))
    said["rotation"]["turned"] = {"a": {"__ansible_type": "Event", "msg": "x"}}
    assert answers.taken("turn", said)["rotation"]["turned"] == {"a": {"msg": "x"}}


# -- text ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Größe 5 µ, /srv/app: 3 rows", "Größe 5 µ, /srv/app: 3 rows"),
        ("\x1b]0;own\x07", "\\x1b]0;own\\x07"),
        ("a\u202eb\u2028c\x9bd", "a\\u202eb\\u2028c\\x9bd"),
        ("\ud800", "\\ud800"),
        ("a\nb\r\nc", "a b\\r c"),
        ("::error::x", ": :error::x"),
        ("why ::set-output name=a::b", "why : :set-output name=a::b"),
        ("http://[::1]:80/ std::cout", "http://[::1]:80/ std::cout"),
        ("x ##[error]y ##vso[task]", "x # #[error]y # #vso[task]"),
        ("##teamcity[publishArtifacts '/etc']", "# #teamcity[publishArtifacts '/etc']"),
        ("section_start:1:x", "section _start:1:x"),
        ("TASK [Report] ***", "| TASK [Report] ***"),
        ("  ok: [app1]", "|   ok: [app1]"),
        ("PLAY RECAP", "| PLAY RECAP"),
    ],
)
def test_a_text_does_nothing_where_it_is_shown(text: str, wanted: str) -> None:
    assert shown.harmless(text) == wanted


def test_each_line_of_several_is_harmless() -> None:
    told = shown.harmless("all well\nTASK [x]\n ::error::y", lines=True)
    assert told == "all well\n| TASK [x]\n : :error::y"
    assert shown.harmless("x" * (shown.LONGEST + 7)).endswith("x ... (7 more characters)")


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b\n:#[TASK ")))
def test_no_text_is_an_order(text: str) -> None:
    for line in shown.harmless(text, lines=True).split("\n"):
        assert line.isprintable() and "##[" not in line
        assert not any(word.startswith("::") and word[2:3].isascii() and word[2:3].isalpha() for word in line.split())
        assert not line.lstrip().startswith("TASK [")
    assert "\n" not in shown.harmless(text)


# -- the call -----------------------------------------------------------------------------------------------------------------


def call(action: str, output: str, **args: Any) -> dict[str, Any]:
    """Let an action take what a host's interpreter has printed, as Ansible does."""
    action_loader.add_directory(str(ROOT / "plugins/action"))
    made = object.__new__(action_loader.get(f"keyturn_{action}", class_only=True))
    made._task = SimpleNamespace(action=f"keyturn_{action}", args=args)
    made._used_interpreter = "/usr/bin/python3"
    found = made._parse_returned_data({"stdout": output, "stderr": "", "rc": 0}, "legacy")
    said = found if isinstance(found, dict) else found.as_result_dict(for_round_trip=True)  # since ansible-core 2.21
    plain = {name: value for name, value in said.items() if not name.startswith("_ansible")}
    return plain if plain.get("failed") else {name: value for name, value in plain.items() if name != "failed"}


@pytest.mark.parametrize("action", sorted(REAL))
def test_each_action_takes_its_answer_so(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = json.dumps(REAL[action] | ORDERS)
    assert call(
        action, f"\x1b[2Jmotd\n{line}\n::error::behind it\n", rotation={"rotation_id": ROTATION_ID}
    ) == shape.fitting(answers.ANSWERS[action], REAL[action])
    assert capsys.readouterr() == ("", ""), "what stands around an answer was shown"


@pytest.mark.parametrize("dense", ["[],", "{},", "\n", "0,"])
def test_an_answer_of_values_without_end_is_not_read(dense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of two characters takes some sixty bytes of the controller's memory, and evidence may have many."""
    for module in [one for name, one in sys.modules.items() if name.endswith("keyturn.fleet.answers")]:
        monkeypatch.setattr(module, "MOST_VALUES", 1000, raising=False)
    output = f'{{"changed": true, "more": [{dense * 1000}0]}}'
    assert "values and lines" in call("evidence", output)["msg"]


def test_an_answer_about_another_rotation_than_the_calls_is_none() -> None:
    told = call("turn", json.dumps(REAL["turn"]), rotation={"rotation_id": "20260101T000000Z-fedcba9876543210"})
    assert told["failed"]


def test_an_answer_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    action_loader.add_directory(str(ROOT / "plugins/action"))
    action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
    from ansible.module_utils.keyturn.fleet import answers as used  # type: ignore[attr-defined]

    monkeypatch.setattr(used, "MOST_BYTES", 100)
    told = call("turn", json.dumps({"changed": True, "progress": "x" * 100}))
    assert told["failed"] and "the host has answered 1" in told["msg"]


@pytest.mark.parametrize("output", ["", "sh: 1: python3: not found", "{ this is none }", "[1]", "{\n"])
def test_what_is_no_json_is_a_failure(output: str) -> None:
    told = call("turn", output)
    assert told["failed"] and told["module_stdout"] == output
    assert "without an answer (exit code 0)" in told["msg"] and "ansible_python_interpreter" in told["msg"]


def test_what_is_nearly_json_does_not_become_an_answer_by_being_made_harmless() -> None:
    output = json.dumps(REAL["turn"] | ORDERS | {"x": "y"}).replace("y", "\t")
    told = call("turn", output)
    assert told["failed"] and "ansible_facts" not in told


# -- nothing of it acts -------------------------------------------------------------------------------------------------------

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PLACES = (
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
)
# by the descriptor of a folder, which stands behind the names
AT = ("os.rename", "os.remove")
STARTING = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "subprocess.Popen",
    "pty.spawn",
)
REACHING = tuple(f"socket.{name}" for name in ("bind", "connect", "getaddrinfo", "gethostbyname", "sendmsg", "sendto"))
ALLOWED: list[Path] = []
HEARD: list[str] = []


def hear(event: str, args: tuple[Any, ...]) -> None:
    """Note what is done beside the folder that is allowed, while one is."""
    if not ALLOWED:
        return
    if event in REACHING or event in STARTING:
        HEARD.append(event)
    elif event in PLACES or (event == "open" and isinstance(args[2], int) and args[2] & WRITING):
        paths = args[:2] if event in ("os.link", "os.rename", "os.symlink") else args[:1]
        if event == "open" and isinstance(args[0], str) and durable.LEFT.search(args[0]):
            return  # in a folder that is open, which its rename tells
        folders = [fd for fd in args[len(paths) :] if isinstance(fd, int) and fd >= 0] if event in AT else []
        place = f"/proc/self/fd/{folders[-1]}" if folders else ""
        names = [os.path.realpath(Path(place, os.fsdecode(path))) for path in paths if not isinstance(path, int)]
        HEARD.extend(f"{event} {name}" for name in names if not Path(name).is_relative_to(ALLOWED[0]))


sys.addaudithook(hear)


@contextmanager
def only_below(folder: Path) -> Iterator[None]:
    HEARD.clear()
    ALLOWED.append(folder.resolve())
    try:
        yield
    finally:
        ALLOWED.clear()


def test_the_watcher_hears(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    with only_below(tmp_path / "reports"):
        (tmp_path / "reports/own").write_text("")
        (tmp_path / "reports/own").rename(tmp_path / "reports/other")
        assert HEARD == []
        (tmp_path / "beside").write_text("")
        (tmp_path / "reports/other").rename(tmp_path / "reports/../out")
        subprocess.run(["true"], check=True)
        with socket.socket() as connection:
            connection.settimeout(0.1)
            connection.connect_ex(("127.0.0.1", 9))
    assert [line.split()[0] for line in HEARD if not line.startswith("os.posix")][:3] == [
        "open",
        "os.rename",
        "subprocess.Popen",
    ]
    assert "socket.connect" in HEARD


# what the controller does with an answer, by the step that takes it
Use = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]
USES: dict[str, tuple[Use, ...]] = {
    "rotation_info": tuple(
        (lambda said, name=name: (name, {"hosts": {"a": said}})) for name in ("status", "due_info", "recover", "log")
    ),
    "stage": (lambda said: ("agree", {"hosts": {"a": HOST | {"rotation_staged": said}}}),),
    **dict.fromkeys(
        ("ask_provider", "commit", "rollback", "turn"),
        (lambda said: ("report", {"hosts": {"a": said.get("rotation") or {}}}),),
    ),
    "retire": (lambda said: ("log_revocations", {"hosts": {"a": said["revocations"]}}),),
    "replace_tokens": (lambda said: ("log_replacement", {"hosts": {"a": said}}),),
    "storage_info": (lambda said: ("storage_report", {"hosts": {"a": said}}),),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of an environment, to be copied."""
    folder = tmp_path_factory.mktemp("controller") / "written"
    environment(folder)
    return folder


@settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)
@given(st.data())
def test_no_answer_writes_beside_the_reports_or_starts_or_reaches_anything(written: Path, data: st.DataObject) -> None:
    folder = written.with_name("reports")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(written, folder)
    action = data.draw(st.sampled_from(sorted(USES)))
    said = json.loads(json.dumps(data.draw(hostile.variants(REAL[action]))))
    found = answers.taken(action, said | ORDERS)
    assert found.keys() - {"failed", "msg"} <= {name.removesuffix("?") for name in answers.ANSWERS[action]}
    assert found.get("failed") or not any(shape.misfits("", answers.ANSWERS[action], found))
    for use in () if found.get("failed") else USES[action]:
        name, given = use(copy.deepcopy(found))
        with only_below(folder):
            _, failure = attempt(lambda name=name, given=given: take(name, parameters(folder)[name] | given))  # type: ignore[misc]
        assert "has a defect" not in failure, failure
        ours = (str(folder), "__pycache__")  # a step that is imported for the first time leaves its bytecode
        assert [line for line in HEARD if not any(place in line for place in ours)] == []


def test_a_revocation_of_a_rotation_that_nobody_made_is_not_logged(tmp_path: Path) -> None:
    environment(tmp_path)
    given = parameters(tmp_path)["log_revocations"]
    forged = REVOCATION | {"rotation_id": "20260202T000000Z-0123456789abcdef"}
    other = REVOCATION | {"secret": "plaid"}
    before = rotation_log.read(tmp_path / "local")
    told = take("log_revocations", given | {"hosts": {"a": [forged, other]}})
    assert (told["revoked"], told["dead"]) == ([], [])
    assert told["unknown"] == [f"{ROTATION_ID} of a", "20260202T000000Z-0123456789abcdef of a"]
    assert rotation_log.read(tmp_path / "local") == before

    still = REVOCATION | {"state": "open"}
    assert take("log_revocations", given | {"hosts": {"a": [REVOCATION], "b": [still]}})["revoked"] == []
    told = take("log_revocations", given | {"hosts": {"a": [REVOCATION], "b": [REVOCATION]}})
    assert (told["revoked"], told["unknown"]) == ([ROTATION_ID], [])
    assert told["dead"] == [{"secret": "db_key", "rotation_id": ROTATION_ID}]
    assert rotation_log.read(tmp_path / "local")[-1]["hosts"] == ["a", "b"]
