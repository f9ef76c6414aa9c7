"""The checklist of a rotation: a machine's evidence, a person's, or open; who may sign, and what may be closed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import timestamps
from keyturn.base.errors import KeyturnError
from keyturn.notices import messages, outbox
from keyturn.records import attention, audit, checklist, report, rotation_log, status, status_page
from keyturn.records.checklist import Case
from unit.test_catalogue import shipped
from unit.test_policy import POLICY
from unit.test_report_and_log import FULL, HEADER, attempt, host

WANTED = POLICY["checklist"]
SECRETS = {name: {"sessions": "kept"} | entry for name, entry in shipped().items()}
NOW = datetime(2026, 1, 10, tzinfo=UTC)
SECOND = {"user": "second"}
ROWS = {
    "proof": "rows",
    "subject": "b.db",
    "verdict": "accepted",
    "wanted": "accepted",
    "detail": "5 rows open, none else",
}
HTTP = {
    "proof": "http",
    "subject": "backend",
    "verdict": "accepted",
    "wanted": "accepted",
    "detail": "GET /x: HTTP 200",
}
GOOD = {
    "proofs": [ROWS, HTTP],
    "evidence": {"logs": {"backend": {}}, "backup": {"ok": True, "rows": 5}},
    "downtime_seconds": 1.5,
}


def case(
    secret: str = "db_key", hosts: dict[str, Any] | None = None, excluded: dict[str, str] | None = None, **fields: Any
) -> Case:
    """A committed rotation that is logged; ``fields`` change what its host said."""
    given = hosts or {"a": host("closed", "committed", **(FULL | GOOD | fields))}
    header = HEADER | {"secret": secret, "variables": SECRETS[secret]["variables"]}
    document = report.build(header, given, "", True, excluded or {})
    ended = rotation_log.record(document, attempt()) | {"number": 2, "hash": "0" * 64}
    return Case(document, SECRETS[secret], [ended], [])


def states(given: Case) -> dict[str, str]:
    return {point["id"]: point["state"] for point in checklist.points(WANTED, given)}


def test_a_whole_rotation_of_the_database_key_needs_nobody_but_a_signer() -> None:
    assert states(case()) == {
        "works_everywhere": "proved",
        "old_deactivated": "proved",
        "logs_clean": "proved",
        "integrations": "proved",
        "users_notified": "not applicable",
        "logged": "proved",
        "backup": "proved",
        "downtime": "proved",
    }


OPEN: list[tuple[str, dict[str, Any]]] = [
    ("works_everywhere", {"proofs": [ROWS, HTTP | {"verdict": "unknown"}]}),
    ("integrations", {"proofs": [ROWS, HTTP | {"verdict": "not configured"}]}),
    ("old_deactivated", {"proofs": [HTTP]}),
    ("old_deactivated", {"evidence": GOOD["evidence"] | {"readers": ["unit w.service has KEY in its environment"]}}),
    ("logs_clean", {"evidence": GOOD["evidence"] | {"logs": {"backend": {"Plaid": 2}}}}),
    ("logs_clean", {"evidence": GOOD["evidence"] | {"logs": {"backend": None}}}),
    ("backup", {"evidence": GOOD["evidence"] | {"backup": {"ok": False, "failure": "no space"}}}),
    ("backup", {"evidence": None}),
    ("downtime", {"downtime_seconds": 61.0}),
]


@pytest.mark.parametrize(("point", "fields"), OPEN)
def test_a_point_without_evidence_is_open_until_a_person_signs_it(point: str, fields: dict[str, Any]) -> None:
    given = case(**fields)
    assert states(given)[point] == "open"
    signed = checklist.sign(given, "Second Person", {point: "seen  by hand"}, WANTED, SECOND)
    after = given._replace(records=[*given.records, signed])
    assert states(after)[point] == "signed"
    assert "Second Person: seen by hand" in "\n".join(checklist.text(checklist.points(WANTED, after)))


def test_the_application_s_own_check_shows_that_its_integrations_work() -> None:
    check = HTTP | {"proof": "command", "detail": "./test_plaid.py: exit code 0"}
    assert states(case(proofs=[ROWS, HTTP | {"verdict": "not configured"}, check]))["integrations"] == "proved"


def test_a_host_that_was_left_out_and_one_that_is_behind_keep_it_open() -> None:
    whole = host("closed", "committed", **(FULL | GOOD))
    assert states(case(hosts={"a": whole, "b": {}}, excluded={"b": "away"}))["works_everywhere"] == "open"
    assert states(case(hosts={"a": whole, "b": host("closed", "rolled_back")}))["works_everywhere"] == "open"


def test_an_old_credential_waits_for_its_provider() -> None:
    given = case("plaid")
    assert states(given)["old_deactivated"] == "open"
    revoked = {"rotation_id": HEADER["rotation_id"], "outcome": "revoked", "verified_by": "its provider: HTTP 400"}
    assert states(given._replace(records=[*given.records, revoked]))["old_deactivated"] == "proved"


def test_ended_sessions_need_somebody_who_tells_the_users() -> None:
    token = {**HTTP, "proof": "token of the other secret", "verdict": "rejected", "wanted": "rejected"}
    found = states(case("jwt", proofs=[HTTP | {"proof": "token"}, token]))
    assert [name for name, state in found.items() if state == "open"] == ["users_notified"]
    assert found["old_deactivated"] == "proved" and found["backup"] == "not applicable"


def test_a_message_that_a_channel_for_users_took_tells_the_users_and_no_other_does(tmp_path: Path) -> None:
    given = case("jwt").report
    rotation_log.append(tmp_path, rotation_log.started(HEADER | {"attempt": attempt()}))
    last = rotation_log.append(tmp_path, rotation_log.record(given, attempt()))
    report.write(tmp_path, {**given, "log_head": rotation_log.head([last])})
    facts = {"title": "JWT", "rotation_id": HEADER["rotation_id"], "hosts": ["a"], "link": "-"}
    told = messages.message(
        "sessions_invalidated", f"{HEADER['rotation_id']}-committed", "staging", "2026-01-01T00:00:00Z", facts
    )
    for_security = {"desk": {"events": ["sessions_invalidated"], "audience": ["security"]}}
    for_users = {"mail": {"events": ["sessions_invalidated"], "audience": ["users"]}}

    def after(channels: dict[str, Any]) -> checklist.Case:
        (tmp_path / f"{outbox.FOLDER}/{told.id}.json").unlink(missing_ok=True)
        outbox.post(tmp_path, told, channels)
        before = states(audit.case(tmp_path, HEADER["rotation_id"], SECRETS))
        assert before["users_notified"] == "open"
        outbox.deliver(tmp_path, channels, lambda *said: "taken", lambda: "2026-01-01T00:00:05Z", lambda pause: None)
        return audit.case(tmp_path, HEADER["rotation_id"], SECRETS)

    assert states(after(for_security))["users_notified"] == "open"
    found = after(for_security | for_users)
    assert states(found)["users_notified"] == "proved"
    assert found.told == ["mail took the message at 2026-01-01T00:00:05Z"]


@pytest.mark.parametrize(
    "name",
    ["somebody", " Somebody ", "SOMEBODY", "somebody.", "some.body", "some\u200bbody", "\uff53omebody", "some body"],
)
def test_who_rotated_may_not_sign(name: str) -> None:
    with pytest.raises(KeyturnError, match="somebody else must verify"):
        checklist.sign(case(), name, {}, WANTED, SECOND)


def test_who_rotated_in_an_earlier_attempt_may_not_sign_either() -> None:
    given = case()
    earlier = {"event": "started", "rotation_id": HEADER["rotation_id"], "by": "first"}
    with pytest.raises(KeyturnError, match="somebody else must verify"):
        checklist.sign(given._replace(records=[earlier, *given.records]), "First", {}, WANTED, SECOND)


@pytest.mark.parametrize(
    ("name", "notes", "said"),
    [
        ("", {}, "keyturn_signer is empty"),
        (".", {}, "keyturn_signer is empty"),
        ("NAME", {}, "keyturn_signer is NAME: name the person"),
        ("x", {"no_such": "seen"}, "keyturn_points names no_such"),
        ("x", {"backup": " "}, "says nothing of backup"),
        ("x", {"backup": "WHAT WAS SEEN"}, "says nothing of backup"),
    ],
)
def test_a_signature_that_says_nothing_is_refused(name: str, notes: dict[str, str], said: str) -> None:
    with pytest.raises(KeyturnError, match=said):
        checklist.sign(case(), name, notes, WANTED, SECOND)


def test_nothing_is_closed_while_a_point_is_open_or_nobody_has_signed() -> None:
    given = case(downtime_seconds=61.0)
    with pytest.raises(KeyturnError, match=r"stays unsigned: downtime .*; nobody has signed"):
        checklist.close(given, WANTED)
    assert checklist.unsigned(given.records) == [HEADER["rotation_id"]]
    signed = [*given.records, checklist.sign(given, "Second", {"downtime": "the disk was slow"}, WANTED, SECOND)]
    closing = checklist.close(given._replace(records=signed), WANTED)
    assert checklist.unsigned([*signed, closing]) == []
    assert "Second (keyturn, 2 of 2 proofs)" in rotation_log.table([*signed, closing])


def test_only_a_committed_rotation_has_a_checklist() -> None:
    given = case(hosts={"a": host("closed", "rolled_back", last="switched")})
    for call in (lambda: checklist.close(given, WANTED), lambda: checklist.sign(given, "x", {}, WANTED, SECOND)):
        with pytest.raises(KeyturnError, match="is rolled_back: only a committed one"):
            call()


# -- what the controller's records say, and the page -------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reports of an environment with one committed rotation and one whose run was killed."""
    home = tmp_path / "staging"
    given = case()
    rotation_log.append(home, rotation_log.started(HEADER | {"attempt": attempt()}))
    last = rotation_log.append(home, rotation_log.record(given.report, attempt()))
    report.write(home, {**given.report, "log_head": rotation_log.head([last])})
    killed = HEADER | {
        "rotation_id": "20260102T000000Z-0123456789abcdef",
        "attempt": attempt(1),
        "operator": "<b>me</b>",
    }
    rotation_log.begin(home, rotation_log.started(killed), alive=lambda one: True)
    (tmp_path / "production").mkdir()
    (tmp_path / "production/status.json").write_text('{"state": "due", "at": "2026-01-01T00:00:00Z"}')
    return home


def test_the_records_tell_what_is_unsigned_unfinished_and_whole(folder: Path) -> None:
    found = audit.look(folder, SECRETS, POLICY, NOW, {})
    assert [one["rotation_id"] for one in found["unsigned"]] == [HEADER["rotation_id"]] and not found["unsigned"][0][
        "open"
    ]
    assert [one["rotation_id"] for one in found["unfinished"]] == ["20260102T000000Z-0123456789abcdef"]
    assert found["log"]["problem"] is None and found["log"]["records"] == 3
    assert found["timeline"][0]["downtime_seconds"] == 1.5 and found["review"]["late"] is False
    assert found["environments"] == {"production": {"state": "due", "at": "2026-01-01T00:00:00Z"}}
    assert audit.look(folder, SECRETS, POLICY, datetime(2026, 3, 1, tzinfo=UTC), {})["review"]["late"] is True


@pytest.mark.parametrize(("days", "late"), [(6.9, False), (7.1, True)])
def test_a_checklist_has_a_week(folder: Path, days: float, late: bool) -> None:
    finished = timestamps.parse(json.loads((folder / f"{HEADER['rotation_id']}.json").read_text())["finished"])
    (one,) = audit.look(folder, SECRETS, POLICY, finished + timedelta(days=days), {})["unsigned"]
    assert one["late"] is late
    was = "was" if late else "is"
    assert status.signing(one).startswith(f"{was} to be signed (sign_off.yml -e keyturn_rotation_id=")


def test_a_rotation_that_hosts_have_committed_and_nobody_has_reported_is_named(folder: Path) -> None:
    known, lost, begun, opened, back = (f"2026010{day}T000000Z-0123456789abcdef" for day in range(1, 6))
    assert known == HEADER["rotation_id"]
    ended = {"secret": "db_key", "outcome": "committed"}
    closed = {known: ended, lost: ended, begun: ended, opened: ended, back: ended | {"outcome": "rolled_back"}}
    hosts = {
        "a": {"rotation": {}, "closed": closed},
        "b": {"rotation": {"rotation_id": opened}, "closed": {}},
        "c": None,
    }
    report.write(
        folder, json.loads((folder / f"{known}.json").read_text()) | {"rotation_id": begun, "outcome": "interrupted"}
    )
    found = audit.look(folder, SECRETS, POLICY, NOW, hosts)["unreported"]
    assert found == {
        lost: {"secret": "db_key", "hosts": ["a"], "begun": False, "known": True},
        begun: {"secret": "db_key", "hosts": ["a"], "begun": True, "known": True},
    }
    first, second = status.unreported_lines(found)
    assert f"run rotate.yml -e keyturn_secret=db_key -e keyturn_rotation_id={lost}" in first
    assert second.endswith("run resume.yml")


def test_a_report_keeps_the_head_so_that_a_cut_tail_is_broken(folder: Path) -> None:
    log = folder / rotation_log.LINES
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    found = audit.look(folder, SECRETS, POLICY, NOW, {})
    assert "the end of the log was cut off" in found["log"]["problem"]
    assert status.status({}, {}, NOW, found)["state"] == "broken"
    with pytest.raises(KeyturnError, match="cut off"):
        audit.case(folder, HEADER["rotation_id"], SECRETS)


def test_the_status_keeps_the_head_of_what_was_signed_since(folder: Path) -> None:
    rotation_log.append(
        folder, checklist.sign(audit.case(folder, HEADER["rotation_id"], SECRETS), "Second", {}, WANTED, SECOND)
    )
    found = audit.look(folder, SECRETS, POLICY, NOW, {})
    (folder / "status.json").write_text(json.dumps(found))
    assert audit.look(folder, SECRETS, POLICY, NOW, {})["log"]["problem"] is None
    log = folder / rotation_log.LINES
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert (
        "head of the log for status.json, and is missing"
        in audit.look(folder, SECRETS, POLICY, NOW, {})["log"]["problem"]
    )


def test_what_is_signed_and_not_closed_is_not_called_unsigned(folder: Path) -> None:
    def line() -> str:
        found = audit.look(folder, SECRETS, POLICY, NOW, {})
        (said,) = [
            one for one in status.table(status.status({}, {}, NOW, found)).splitlines() if HEADER["rotation_id"] in one
        ]
        return said

    assert line().startswith(f"unsigned    {HEADER['rotation_id']} of db_key: ")
    signed = checklist.sign(audit.case(folder, HEADER["rotation_id"], SECRETS), "bob", {}, WANTED, SECOND)
    rotation_log.append(folder, signed | {"at": "2026-01-02T00:00:00Z"})
    assert line().startswith(f"signed      {HEADER['rotation_id']} of db_key: ")
    assert "; is signed by bob, and is to be closed (close_rotation.yml -e keyturn_rotation_id=" in line()


def test_a_rotation_that_is_not_there_is_named(folder: Path) -> None:
    assert audit.case(folder, HEADER["rotation_id"], SECRETS).report["secret"] == "db_key"
    with pytest.raises(KeyturnError, match=f"no report of the rotation nothing .*{HEADER['rotation_id']}"):
        audit.case(folder, "nothing", SECRETS)


class Outline(HTMLParser):
    """Tags, headings and references of a page; the end must close what the begin opened."""

    VOID = ("meta", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(folder: Path) -> str:
    found = status.status({}, {"a": None}, NOW, audit.look(folder, SECRETS, POLICY, NOW, {})) | {"calendar": []}
    found |= {"expired": {"a": ["r1"]}, "unsent": ["overdue-x: mail after 3 attempts: no answer"]}
    found |= {"incidents": [{"id": "INC-1", "open": 4, "late": 2, "due": "2026-01-02T00:00:00Z"}]}
    return status_page.render(found | {"attention": attention.now(found, {"a": None})}, "staging")


def test_the_page_is_whole_needs_nothing_from_outside_and_escapes(folder: Path) -> None:
    text = page(folder)
    outline = Outline(text)
    assert outline.open == []
    tags = [tag for tag, _ in outline.seen]
    assert not {"script", "link", "img", "iframe"} & set(tags) and "http" not in text and "url(" not in text
    assert tags.count("h1") == 1 and ("html", {"lang": "en"}) in outline.seen
    assert "the old value of r1 has expired and is still on a: run prune.yml" in text
    assert "incident INC-1: 2 of 4 open points are late" in text and "not delivered: overdue-x: mail after 3" in text
    assert "<b>me</b>" not in text and "&lt;b&gt;me&lt;/b&gt;" in text
    scopes = [attributes.get("scope") for tag, attributes in outline.seen if tag == "th"]
    assert scopes and set(scopes) <= {"row", "col"}
    pictures = [attributes.get("aria-label") for _, attributes in outline.seen if attributes.get("role") == "img"]
    assert pictures and all(pictures)
    assert tags.count("table") == tags.count("caption") > 0


def luminance(colour: str) -> float:
    wide = colour if len(colour) == 7 else "#" + "".join(sign * 2 for sign in colour[1:])
    parts = [int(wide[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_has_contrast_in_both_schemes(scheme: int) -> None:
    colours = dict(
        part.strip().removeprefix("--").split(": ")
        for part in status_page.STYLE.split(":root {")[scheme + 1].split("}")[0].split(";")
        if part.strip().startswith("--")
    )
    page_is = luminance(colours["page"])
    for name in ("text", "quiet", "ok", "due", "overdue", "broken"):
        low, high = sorted((page_is, luminance(colours[name])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name
