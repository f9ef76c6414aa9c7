"""What Keyturn writes on the controller: who can read it, who has written it, who has signed it, and what finds a rewritten log."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keyturn import incident
from keyturn.base import durable
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import rotation_info, stage
from keyturn.inputs import persons
from keyturn.records import audit, checklist, report, rotation_log, signatures
from support import steps
from support.faults import ROTATION_ID, Host
from unit.test_checklist import WANTED, case
from unit.test_no_defect import PLAN, RECORD, STATE, environment, parameters
from unit.test_report_and_log import entry

# -- who can read it ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def wide(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): f"{mode:04o}" for path, mode in report.open_to_others(folder)}


@pytest.mark.usefixtures("umask")
def test_all_that_is_written_is_for_one_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made/reports"
    environment(folder)
    written = {path.name for path in folder.rglob("*")}
    assert {"rotation-log.jsonl", "rotation-log.md", "status.html", "storage.json", "incident.md", "lock"} <= written
    # the folder of the evidence is made by the helper of the tests
    (folder / "local/incidents/INC-2/evidence").chmod(0o700)
    assert wide(tmp_path / "made") == {}


@pytest.mark.usefixtures("umask")
def test_what_was_made_wider_is_narrowed_by_the_next_that_is_written(tmp_path: Path) -> None:
    rotation_log.append(tmp_path / "own", entry())
    for path in (tmp_path / "own", *(tmp_path / "own").iterdir()):
        path.chmod(path.stat().st_mode | 0o055)
    assert len(wide(tmp_path / "own")) == 3
    rotation_log.append(tmp_path / "own", entry(1))
    assert wide(tmp_path / "own") == {}


def test_a_folder_of_somebody_else_is_used_as_it_is_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "local"
    folder.mkdir()
    folder.chmod(0o777)
    descriptor = os.open(folder, os.O_RDONLY)
    pid = os.fork()
    if not pid:
        os.setuid(65534)
        durable.narrow(descriptor)
        os._exit(0)
    os.close(descriptor)
    assert os.waitpid(pid, 0)[1] == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    asked = parameters(tmp_path)["storage_report"] | {"environment": "local"}
    told = steps.take("storage_report", asked, True)["findings"]["controller"]
    (found,) = (one for one in told if one["rule"] == "permissions")
    assert str(folder) in found["what"] and "0777" in found["what"] and f"chmod -R go= {folder}" in found["remedy"]
    durable.make_reports_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert wide(folder) == {}
    os.chown(folder, 65534, -1)
    assert wide(folder) == {".": "0700"}, "its owner can take the log out"


def test_a_link_in_the_place_of_the_log_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious, without an end of line")
    (tmp_path / rotation_log.LINES).symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        rotation_log.append(tmp_path, entry())
    assert (tmp_path / "other").read_text() == "precious, without an end of line"


# -- who has written it ------------------------------------------------------------------------------------------------


def in_a_child(change: Callable[[], None]) -> dict[str, str]:
    """What a process says of its login after ``change``."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        change()
        os.write(write, json.dumps(persons.login({"SUDO_USER": "hint"})).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        found: dict[str, str] = json.loads(told.read())
    assert os.waitpid(pid, 0)[1] == 0
    return found


def test_the_kernel_says_who_it_is_whoever_one_has_become() -> None:
    def log_in() -> None:
        persons.SESSION.write_text("65534")

    assert in_a_child(lambda: os.setuid(65534))["user"] == "nobody"
    found = in_a_child(log_in)
    assert found == {"user": "root", "session": "nobody", "sudo": "hint"}
    assert persons.real(found) == "nobody" and persons.said(found) == ["nobody", "hint"]
    assert persons.real({"user": "root"}) == "root" and persons.real({}) == ""


def test_what_the_environment_says_is_printable_and_short() -> None:
    found = persons.login({"GITHUB_ACTOR": "a\udcff\x1b[31m\n" + "x" * 999, "SSH_USER_AUTH": "/dev/zero"})
    assert found["actor"].startswith("a?[31mx") and len(found["actor"]) == persons.LONGEST
    assert "key" not in found


def test_the_key_by_which_one_came_is_told_by_its_fingerprint(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    told = tmp_path / "auth"
    told.write_text(f"password\npublickey {key.with_suffix('.pub').read_text()}")
    shown = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True).stdout.split()[1]
    assert persons.login({"SSH_USER_AUTH": str(told)})["key"] == shown
    told.write_text("publickey ssh-rsa ???")
    assert "key" not in persons.login({"SSH_USER_AUTH": str(told)})


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", path], check=True)
    return path


@given(st.text(max_size=20))
@example("A\xb4")
def test_a_name_is_the_same_however_it_is_spelled(name: str) -> None:
    known = persons.normal(name)
    assert persons.normal(known) == known
    for other in (f" {name}", f"{name}.", name.replace(" ", "-"), f"\u200b{name}"):
        assert persons.normal(other) == known


def test_who_opens_an_incident_and_ticks_a_point_of_it_is_told_with_the_login(tmp_path: Path) -> None:
    environment(tmp_path)
    asked = {"action": "tick", "folder": str(tmp_path / "local"), "id": "INC-2", "point": "training"}
    steps.take("incident", asked | {"note": "on Monday", "operator": "somebody"})
    path = tmp_path / "local/incidents/INC-2/incident.json"
    document = json.loads(path.read_text())
    (done,) = (one["done"] for one in incident.points(document) if one["id"] == "training")
    assert done["login"] == document["login"] == persons.login(os.environ)
    assert f", somebody (login {persons.real(done['login'])}): on Monday" in path.with_suffix(".md").read_text()


def test_each_record_has_the_login_beside_the_name(tmp_path: Path) -> None:
    environment(tmp_path)
    records = rotation_log.read(tmp_path / "local")
    assert len(records) > 2 and all(one["login"] == persons.login(os.environ) for one in records)
    assert rotation_log.verify(tmp_path / "local", {})["records"] == len(records)
    ended = [one for one in records if one["event"] == "ended"]
    real = persons.real(ended[0]["login"])
    assert f"| somebody (login {real}) |" in rotation_log.table(ended)
    assert "login" not in rotation_log.table([one | {"rotated_by": f"{real.title()}."} for one in ended])
    assert "login" not in rotation_log.table([one | {"outcome": "killed"} for one in ended])


LOGINS = [
    ({"user": "root", "session": "first"}, {"user": "root", "session": "first"}, "first"),
    ({"user": "first"}, {"user": "root", "sudo": "First"}, "First"),
    ({"user": "runner", "actor": "first"}, {"user": "runner", "actor": "second"}, "runner"),
    ({"user": "runner", "actor": "first"}, {"user": "first"}, "first"),
    ({"user": "shared", "key": "SHA256:abc"}, {"user": "other", "key": "SHA256:abc"}, "SHA256:abc"),
    ({"user": "root", "session": "first"}, {"user": "root", "session": "second"}, ""),
    ({"user": "root", "session": "first"}, {"user": "second"}, ""),
    ({"user": "runner", "actor": "first"}, {"user": "second"}, ""),
]


@pytest.mark.parametrize(("rotator", "signer", "same"), LOGINS)
def test_a_login_that_has_rotated_may_not_sign_under_another_name(
    rotator: dict[str, str], signer: dict[str, str], same: str
) -> None:
    rotated = case()
    begun = {"event": "started", "rotation_id": rotated.report["rotation_id"], "by": "somebody", "login": rotator}
    rotated = rotated._replace(records=[begun, *rotated.records])
    if not same:
        assert checklist.sign(rotated, "Another", {}, WANTED, signer)["signer"] == "Another"
        return
    with pytest.raises(KeyturnError, match=f"from the login that has rotated .{same}."):
        checklist.sign(rotated, "Another", {}, WANTED, signer)


def test_who_ends_a_killed_attempt_has_not_rotated() -> None:
    rotated = case()
    found = {
        "event": "ended",
        "rotation_id": rotated.report["rotation_id"],
        "rotated_by": "x",
        "login": {"user": "second"},
    }
    rotated = rotated._replace(records=[*rotated.records, found])
    assert checklist.sign(rotated, "Another", {}, WANTED, {"user": "second"})


# -- who has signed it -------------------------------------------------------------------------------------------------


class Desk:
    """Where people sign a rotation."""

    def __init__(self, reports: Path) -> None:
        self.reports, self.folder, self.allowed = reports, reports / "local", reports / "allowed"
        lines = [
            f"{names} {self.key(names).with_suffix('.pub').read_text()}"
            for names in ("somebody,root,alias", "second,2nd")
        ]
        self.allowed.write_text("".join(lines))

    def key(self, names: str) -> Path:
        path = self.reports / names.partition(",")[0]
        return path if path.exists() else make_key(path)

    def take(self, step: str, **given: Any) -> str:
        """Sign or close as the playbooks do; return what is said, also where it is refused."""
        asked = parameters(self.reports)["checklist"] | {"allowed_signers": str(self.allowed), "step": step} | given
        try:
            return str(
                steps.take("checklist", {name: value for name, value in asked.items() if value is not None})["text"]
            )
        except KeyturnError as error:
            return str(error)

    def sign(self, signer: str, key: str, **given: Any) -> str:
        return self.take("sign", signer=signer, signing_key=str(self.key(key)), **given)

    def verify(self, allowed: bool = True) -> str:
        keys = {"allowed_signers": str(self.allowed)} if allowed else {}
        try:
            return str(steps.take("log", {"folder": str(self.folder), **keys})["text"])
        except KeyturnError as error:
            return str(error)

    def rewrite(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Write the whole log anew, as who holds the folder can: every number and every hash is right."""
        path = self.folder / rotation_log.LINES
        before = hashlib.sha256(b"").hexdigest()
        lines = []
        for number, one in enumerate(change(rotation_log.read(self.folder)), start=1):
            forged = {name: value for name, value in one.items() if name != "hash"} | {
                "number": number,
                "previous": before,
            }
            before = rotation_log.digest_of(forged)
            lines.append(json.dumps(forged | {"hash": before}, sort_keys=True) + "\n")
        path.write_text("".join(lines))
        for file in self.folder.glob("[2s]*.json"):
            file.unlink()  # with what they knew of the log


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An environment with a committed rotation of somebody's, who was root, and people with keys."""
    environment(tmp_path)
    return Desk(tmp_path)


def test_another_person_signs_with_a_key_and_it_counts(desk: Desk) -> None:
    assert "keyturn_signer=NAME -e keyturn_signing_key=KEY" in desk.take("close")
    assert "signed by second" in desk.sign("second", "second")
    assert "nobody has signed" not in desk.take("close")
    (record,) = (one for one in rotation_log.read(desk.folder) if one["event"] == "signed")
    assert record["signature"].startswith("-----BEGIN SSH SIGNATURE-----")
    assert "signatures 1 by key, and all hold" in desk.verify()
    assert "signatures not looked at" in desk.verify(allowed=False)
    desk.sign("second", "second")
    assert "signatures 1 by key" in desk.verify(), "a repetition adds nothing"
    again = {"event": "started", "attempt": {"id": "a9", "controller": "c1", "pid": 1}, "at": "2026-01-01T00:00:00Z"}
    rotation_log.append(desk.folder, PLAN | again | {"by": "second"})
    assert "signatures 1 by key" in desk.verify(), "who takes up what was signed has not turned it"


REFUSED = [
    ("second", "somebody", "is no key of second by"),
    ("third", "second", "is no key of third by"),
    ("stranger", "stranger", "is no key of stranger by"),
    ("somebody", "somebody", "somebody else must verify"),
    ("alias", "somebody", "by {allowed}, also a key of somebody, who has rotated"),
]


@pytest.mark.parametrize(("signer", "key", "said"), REFUSED)
def test_a_key_that_is_not_another_person_s_signs_nothing(desk: Desk, signer: str, key: str, said: str) -> None:
    before = (desk.folder / rotation_log.LINES).read_bytes()
    assert said.format(allowed=desk.allowed) in desk.sign(signer, key)
    assert (desk.folder / rotation_log.LINES).read_bytes() == before


def test_a_line_for_everybody_is_one_for_who_has_rotated(desk: Desk) -> None:
    desk.allowed.write_text(f"* {desk.key('second').with_suffix('.pub').read_text()}")
    assert "also a key of somebody" in desk.sign("second", "second")


def test_where_there_are_keys_a_name_does_not_sign(desk: Desk) -> None:
    assert "-e keyturn_signing_key=KEY; nothing was signed" in desk.take("sign")
    assert "nobody could check the signature" in desk.sign("second", "second", allowed_signers=None)
    desk.allowed.chmod(0o646)
    assert "everybody may write it" in desk.sign("second", "second")
    desk.allowed.unlink()
    assert f"keyturn_allowed_signers: {desk.allowed}: No such file" in desk.sign("second", "second")


def test_a_key_with_a_passphrase_signs_by_the_agent_and_asks_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = make_key(desk.reports / "locked", "a passphrase")
    desk.allowed.write_text(f"second {locked.with_suffix('.pub').read_text()}")
    assert "without a passphrase, or the public half of one that ssh-agent has" in desk.sign("second", "locked")
    asked = desk.reports / "ask"
    asked.write_text("#!/bin/sh\necho a passphrase\n")
    asked.chmod(0o700)
    agent = ["ssh-agent", "-D", "-a", desk.reports / "agent"]
    with subprocess.Popen(agent, stdout=subprocess.DEVNULL) as running:
        try:
            awaited(lambda: (desk.reports / "agent").exists())
            monkeypatch.setenv("SSH_AUTH_SOCK", str(desk.reports / "agent"))
            given = os.environ | {"SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["ssh-add", locked], check=True, env=given, capture_output=True)
            assert "signed by second" in desk.sign("second", "locked.pub")
        finally:
            running.terminate()


def awaited(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not there() and time.monotonic() < end:
        time.sleep(0.01)


def test_a_signature_is_for_one_use_and_for_the_time_of_its_key(desk: Desk) -> None:
    key, at = desk.key("second"), "2026-01-01T00:00:00Z"
    public = key.with_suffix(".pub").read_text()
    content = b"a record"
    signature = signatures.seal(key, desk.allowed, "second", [], at)(content)
    for line, moment, holds in (
        (f'second namespaces="keyturn" {public}', at, True),
        (f'second namespaces="git" {public}', at, False),
        (f'second valid-before="20260201" {public}', at, True),
        (f'second valid-before="20260201" {public}', "2026-02-02T00:00:00Z", False),
    ):
        desk.allowed.write_text(line)
        assert signatures.is_of("second", content, signature, desk.allowed, moment) is holds
        assert not signatures.is_of("second", content + b".", signature, desk.allowed, moment)


def test_a_log_that_was_rewritten_whole_does_not_bear_the_signature(desk: Desk) -> None:
    desk.sign("second", "second", points={"backup": "seen"})
    desk.rewrite(lambda records: [one | {"rotated_by": "else"} if one["event"] == "ended" else one for one in records])
    assert "chain      whole" in desk.verify(allowed=False), "by the chain alone nothing is to be seen"
    assert "by second does not bear that person's signature" in desk.verify()


def test_the_login_of_a_job_of_awx_signs_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its container's user is that of every job, whoever has launched it."""
    monkeypatch.setenv("AWX_PRIVATE_DATA_DIR", "/runner")
    assert "a job of AWX has the login of its container" in desk.take("sign", signer="second", allowed_signers=None)


def test_a_sign_off_without_a_key_counts_nothing_where_there_are_keys(desk: Desk) -> None:
    rotation_log.append(desk.folder, by_hand())
    assert "nobody has signed" not in desk.take("close", allowed_signers=None)
    assert "nobody has signed" in desk.take("close")
    assert "signatures 0 by key" in desk.verify(), "of before there were keys"
    desk.sign("second", "second")
    assert "nobody has signed" not in desk.take("close") and "signatures 1 by key" in desk.verify()
    rotation_log.append(desk.folder, by_hand() | {"signer": "2nd"})
    assert "by 2nd was made without a key" in desk.verify()


def test_who_has_rotated_signs_the_record_by_hand_and_closes_it_and_that_is_found(desk: Desk) -> None:
    def sealed(key: str) -> rotation_log.Seal:
        return lambda content: signatures._sign(content, desk.key(key))

    rotation_log.append(desk.folder, by_hand() | {"signer": "alias"}, sealed("somebody"))
    assert "nobody has signed" in desk.take("close")
    assert f"by alias bears by {desk.allowed} the signature of somebody, who has rotated" in desk.verify()
    desk.rewrite(lambda records: [one for one in records if "signature" not in one])
    rotation_log.append(desk.folder, by_hand() | {"rotation_id": "20260102T000000Z-0123456789abcdef"}, sealed("second"))
    assert "signatures 1 by key" in desk.verify()
    rotation_log.append(desk.folder, {"event": "closed", "rotation_id": ROTATION_ID, "at": "2026-01-01T00:00:00Z"})
    assert f"the checklist of {ROTATION_ID} was closed, and nobody has signed it with a key" in desk.verify()


def test_the_status_says_what_the_keys_say(desk: Desk) -> None:
    def status(**given: str) -> tuple[str, str, str]:
        asked = parameters(desk.reports)["status"] | {"hosts": {"a": None}} | given
        found = steps.take("status", asked)
        (desk.folder / "status.json").unlink()
        return found["status"]["state"], found["text"], (desk.folder / "status.html").read_text()

    keys = {"allowed_signers": str(desk.allowed)}
    _, text, page = status()
    assert "signatures not looked at" in text and "is to be signed (sign_off.yml -e " in text.replace("was", "is")
    _, text, page = status(**keys)
    assert " -e keyturn_signer=NAME -e keyturn_signing_key=KEY" in text and " -e keyturn_signing_key=KEY" in page
    desk.sign("second", "second", points={"backup": "seen"})
    _, text, page = status(**keys)
    assert "signatures 1 by key, and all hold" in text and "Signatures: 1 by key, and all hold." in page
    desk.rewrite(lambda records: [one | {"rotated_by": "else"} if one["event"] == "ended" else one for one in records])
    assert "the chain is whole" in status()[1]
    state, text, page = status(**keys)
    wrong = f"the sign-off of {ROTATION_ID} by second does not bear that person"
    assert state == "broken" and wrong in text and wrong in page and "the chain is whole" not in page
    desk.allowed.chmod(0o666)
    assert f"chmod o-w {desk.allowed}" in status(**keys)[1]


def by_hand() -> dict[str, Any]:
    """A sign-off as anybody can write it who holds the folder."""
    return {
        "event": "signed",
        "rotation_id": ROTATION_ID,
        "signer": "second",
        "points": {},
        "at": "2026-01-01T00:00:00Z",
    }


# -- what finds a rewritten log ----------------------------------------------------------------------------------------


def test_a_host_keeps_the_head_of_the_log_that_has_begun_the_rotation(host: Host) -> None:
    first, second = ({"number": number, "hash": f"{number:064x}"} for number in (3, 9))
    stage.run(dataclasses.replace(host.rotation(), check_mode=True), log_head=first)
    assert host.lab.journals() == []
    stage.run(host.rotation(), log_head=first)
    assert host.lab.journals()[0]["log_head"] == first
    host.go_forward()
    told = stage.run(host.rotation(), log_head=second)
    assert not told["changed"] and host.lab.journals()[0]["log_head"] == second, "the log of another controller"
    stage.run(host.rotation())
    said = rotation_info.run(str(host.lab.app), str(host.lab.state))
    assert [past["log_head"] for past in said["closed"].values()] == [second]


def test_a_log_that_was_rewritten_with_its_reports_is_found_by_what_hosts_have_kept(desk: Desk) -> None:
    (begun,) = (one for one in rotation_log.read(desk.folder) if one["event"] == "started")
    kept = {"log_head": rotation_log.head([begun])}
    hosts = {
        "a": STATE | {"closed": {ROTATION_ID: RECORD | kept}},
        "b": STATE | {"closed": {}, "rotation": RECORD | kept},
        "c": None,
    }

    def verified() -> str:
        try:
            return str(steps.take("log", {"folder": str(desk.folder), "hosts": hosts})["text"])
        except KeyturnError as error:
            return str(error)

    assert "are where they were, 2 of them kept by hosts" in verified()
    forged = {"by": "else", "rotated_by": "else"}
    desk.rewrite(lambda records: [one | {name: forged[name] for name in forged.keys() & one.keys()} for one in records])
    assert "chain      whole" in desk.verify(allowed=False), "by the chain alone nothing is to be seen"
    assert f"was the head of the log for a, in the journal of {ROTATION_ID}, and is another" in verified()
    found = steps.take("status", parameters(desk.reports)["status"] | {"hosts": {"a": hosts["a"]}})["status"]
    assert found["state"] == "broken" and "in the journal of" in found["log"]["problem"]


def test_a_rotation_that_another_log_has_begun_breaks_no_log(desk: Desk) -> None:
    other = RECORD | {"rotation_id": "20260301T000000Z-0123456789abcdef", "outcome": "rolled_back"}
    hosts = {"a": STATE | {"closed": {other["rotation_id"]: other | {"log_head": {"number": 1, "hash": "0" * 64}}}}}
    assert audit.anchors(hosts, rotation_log.read(desk.folder)) == {}
    assert "chain      whole" in steps.take("log", {"folder": str(desk.folder), "hosts": hosts})["text"]


def test_a_log_that_was_begun_anew_vouches_for_what_came_since_and_says_so(tmp_path: Path) -> None:
    """What it has taken over is older than it; nothing else is excused by that word."""
    taken, ids = rotation_log.TAKEN_OVER, ("20260101T000000Z-0123456789abcdef", "20260103T000000Z-0123456789abcdef")
    hosts = {"a": STATE | {"closed": {name: RECORD | {"rotation_id": name} for name in ids}}}
    entries = [{"event": taken, "rotation_id": name} for name in ids]
    setup = rotation_log.setup("local", "2026-01-02T00:00:00Z")
    assert [*audit.anchors(hosts, [setup | {"taken_over": "a disk"}, *entries])] == [f"a, in the journal of {ids[1]}"]
    assert len(audit.anchors(hosts, [setup, *entries])) == 2
    rotation_log.begin_anew(tmp_path, [setup | {"taken_over": "a disk"}])
    assert "begun      anew from the hosts: a disk" in steps.take("log", {"folder": str(tmp_path)})["text"]
