"""The response to an incident, on a host of its own with the providers beside it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from keyturn.base import timestamps
from support import processes
from support.brought import VARIABLES, Bench, bench
from support.evidence import everything, lost
from support.lab import ROOT, catalogue
from support.processes import marked, new_mark
from support.receivers import Webhook

SLACK = {
    "keyturn_notification_channels": {
        "chat": {"kind": "slack", "url_from": "SLACK_URL", "events": ["incident_opened"], "audience": ["security"]}
    }
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    identity = tmp_path / "age.key"
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    public = identity.read_text().split("public key: ")[1].split()[0]
    with bench(tmp_path) as found:
        found.lab.write_inventory(keyturn_incident_age_recipient=public, **SLACK)
        yield found


def respond(desk: Bench, leaked: str, *more: str, affected: tuple[str, ...] = (), drill: bool = False) -> list[str]:
    said = {"keyturn_incident_id": "INC-7", "keyturn_incident_leaked": leaked}
    said |= {"keyturn_incident_affected": list(affected), "keyturn_incident_drill": drill}  # type: ignore[dict-item]
    return ["respond_to_incident", "-e", json.dumps(said), *more]


def folder(desk: Bench) -> Path:
    return desk.lab.reports / "test/incidents/INC-7"


def document(desk: Bench) -> dict[str, Any]:
    return dict(json.loads((folder(desk) / "incident.json").read_text()))


def states(desk: Bench) -> dict[str, str]:
    return {step["name"]: step["state"] for step in document(desk)["steps"]}


def took(desk: Bench) -> int:
    """Return the seconds from the opening to the death of the last affected secret, by the steps; the document says the same."""
    found = document(desk)
    last = max(step["at"] for step in found["steps"] if step["tier"] == "affected")
    seconds = int((timestamps.parse(last) - timestamps.parse(found["opened"])).total_seconds())
    assert found["dead"] == {"at": last, "seconds": seconds}
    return seconds


def opened(desk: Bench, name: str) -> dict[str, bytes]:
    """Open a sealed archive with the key of those who may read it; see that it is what the document says."""
    (note,) = [one for one in document(desk)["evidence"] if one["file"] == name]
    file = folder(desk) / "evidence" / name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == note["sha256"]
    identity = desk.lab.folder / "age.key"
    done = subprocess.run(["age", "--decrypt", "-i", identity, file], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        found = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    sums = dict(line.split("  ")[::-1] for line in found["SHA256SUMS"].decode().splitlines())
    assert sums == {member["name"]: member["sha256"] for member in note["members"]}
    assert all(hashlib.sha256(found[name]).hexdigest() == total for name, total in sums.items())
    return found


def kill(running: subprocess.Popen[bytes], mark: dict[str, str]) -> None:
    """Let the controller die: the run, its workers and the playbook that a worker has started. A module on the host lives on."""
    processes.kill(
        lambda: {
            pid: command
            for pid, command in marked(mark).items()
            if any("ansible-playbook" in word for word in command[:2])
        }
    )
    running.wait()


def no_value(desk: Bench, values: list[str], *outputs: str) -> None:
    written = [path.read_text(errors="replace") for path in desk.lab.reports.rglob("*") if path.is_file()]
    assert not [number for number, value in enumerate(values) if any(value in text for text in [*written, *outputs])]


def test_database_and_key_with_a_kill_in_the_middle(desk: Bench) -> None:
    """Killed while the key turns; the next run ends it, and every token is replaced."""
    lab, plaid = desk.lab, desk.fakes["plaid"]
    desk.fakes["alpaca"].orders = [  # type: ignore[attr-defined]
        {"symbol": "AAPL", "notional": None, "qty": "1", "type": "limit", "side": "buy", "time_in_force": "day"}
        | {"status": "new", "submitted_at": moments_ago(hours)}
        for hours in (900, 3, 2)
    ]
    old_key, old_tokens = lab.key(), dict(plaid.tokens)  # type: ignore[attr-defined]
    before = everything(lab)
    checked = lab.play(*respond(desk, "key_and_database", "--check"))
    assert checked.returncode == 0, checked.stdout
    assert "1  rotate db_key (affected: opens the access tokens of a stolen database)" in checked.stdout
    assert "2  replace access tokens (affected)" in checked.stdout
    assert everything(lab) == before
    with Webhook() as chat:
        mark = new_mark()
        environment = lab.environment() | mark | {"SLACK_URL": chat.url}
        running = subprocess.Popen(
            lab.command(*respond(desk, "key_and_database")),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not any(journal["phase"] not in ("staging", "staged") for journal in lab.journals()):
            assert time.monotonic() < deadline and running.poll() is None, "the key does not turn"
            time.sleep(0.02)
        kill(running, mark)
        assert states(desk)["rotate db_key"] == "running"

        done = lab.play(*respond(desk, "key_and_database", "-vvv"), SLACK_URL=chat.url)
        assert done.returncode == 0, done.stdout
        assert len(chat.calls) == 1, "the security team was told of the incident once"
        assert "affected   db_key" in json.loads(chat.calls[0][1])["text"]

    assert lab.key() != old_key
    assert lab.get("/api/bank/accounts") == 200
    assert sorted(plaid.invalidated) == sorted(item for item, token in old_tokens.items() if token)  # type: ignore[attr-defined]
    assert lost(lab, plaid.tokens) == []  # type: ignore[attr-defined]
    assert not set(old_tokens.values()) & set(lab.tokens_read().values())
    (turned,) = [journal["rotation_id"] for journal in lab.journals() if journal["secret"] == "db_key"]
    kept = {path.name for path in lab.state.glob(f"*/rotations/{turned}/*")}
    assert kept == {"journal.json"}, "the old key lives on"
    found = document(desk)
    assert states(desk)["rotate db_key"] == states(desk)["replace access tokens"] == "done"
    assert states(desk)["rotate plaid"] == "waiting", "nobody brought a credential for a precaution"
    assert states(desk)["rotate jwt"] == "done"
    assert took(desk) > 0
    ticked = {point["id"]: point["done"] for one in found["checklists"] for point in one["points"]}
    assert {name for name, done in ticked.items() if done} == {"rotate_affected", "notify_security"}
    archive = opened(desk, "here-before.tar.gz.age")
    assert len(json.loads(archive["alpaca/orders.json"])) == 2, "orders of the last week"
    assert len(archive["plaid/items.jsonl"].splitlines()) == 11
    assert b"bank_accounts.db" in archive["files.jsonl"]
    names = json.loads(archive["logs/names.json"])
    assert any(path.endswith("/logs/backend.err.log") and archive[name] for name, path in names.items())
    values = [old_key, *filter(None, old_tokens.values()), *filter(None, dotenv_values(lab.env).values())]
    no_value(desk, [value for value in values if len(value) > 20 and "://" not in value], done.stdout, done.stderr)
    text = (folder(desk) / "incident.md").read_text()
    assert "- [x] Rotate ALL affected keys immediately" in text

    late = {"opened": "2026-01-01T00:00:00Z"}
    for one in found["checklists"]:
        one["due"] = "2026-01-01T01:00:00Z"
    (folder(desk) / "incident.json").write_text(json.dumps(found | late))
    status = lab.play("incident_status")
    assert status.returncode == 2
    assert "LATE  2026-01-01T01:00:00Z  root_cause: Investigate root cause of exposure" in status.stdout
    note = {
        "keyturn_incident_id": "INC-7",
        "keyturn_incident_point": "root_cause",
        "keyturn_incident_note": "a | lost key",
    }
    assert lab.play("tick_incident", "-e", json.dumps(note)).returncode == 0
    assert "a \\| lost key" in (folder(desk) / "incident.md").read_text()
    assert "root_cause" not in lab.play("incident_status").stdout


def moments_ago(hours: int) -> str:
    from datetime import UTC, datetime, timedelta

    return timestamps.text(datetime.now(UTC) - timedelta(hours=hours))


def test_a_drill_goes_on_when_one_secret_fails(desk: Bench) -> None:
    """All are affected; one that is brought is no good, and nobody has brought another. A second run ends it."""
    old = {secret: desk.current(secret) for secret in VARIABLES}
    held = dotenv_values(desk.lab.env)
    old_key, old_jwt = desk.lab.key(), held["JWT_SECRET_KEY"]
    unused = {
        f"rotate {name}": "skipped" for name, entry in catalogue().items() if not held.keys() & {*entry["variables"]}
    }
    for secret in ("alpaca", "hf_token"):
        desk.make(secret)
    brought = desk.bring("plaid") | desk.bring("alpaca")
    first = desk.lab.play(*respond(desk, "laptop", drill=True), **brought)
    assert first.returncode == 2, first.stdout
    assert (
        states(desk)
        == {
            "rotate alpaca": "done",
            "rotate jwt": "done",
            "rotate plaid": "failed",
            "rotate db_key": "done",
            "rotate hf_token": "waiting",
            "prove the old alpaca dead": "done",
            "prove the old plaid dead": "waiting",
            "prove the old hf_token dead": "waiting",
        }
        | unused
    ), first.stdout
    assert document(desk)["dead"] is None
    said = " ".join(first.stdout.split())
    assert "bring KEYTURN_NEW_HF_TOKEN in the environment (by read -rs, for the shell's history), or a file by" in said
    missing = {source for one in document(desk)["evidence"] for source in one["missing"]}
    assert not {"alpaca", "plaid"} & missing, "the dead pair was not asked again after the rotation"
    assert opened(desk, "here-after.tar.gz.age")["alpaca/account.json"]

    desk.make("plaid")
    for secret in ("plaid", "hf_token"):
        desk.revoke(secret, old[secret])
    second = desk.lab.play(*respond(desk, "laptop", drill=True), **desk.bring("plaid"), **desk.bring("hf_token"))
    assert second.returncode == 0, second.stdout
    assert {name: state for name, state in states(desk).items() if state != "done"} == unused
    for secret in VARIABLES:
        assert desk.is_new(secret)
        assert old[secret] not in desk.fakes[secret].valid
    assert desk.lab.key() != old_key
    assert dotenv_values(desk.lab.env)["JWT_SECRET_KEY"] != old_jwt
    assert "(drill)" in (folder(desk) / "incident.md").read_text()
    assert f"affected secrets dead after {took(desk)} s" in " ".join(second.stdout.split())
    reasons = {json.loads(path.read_text())["reason"] for path in (desk.lab.reports / "test").glob("2*.json")}
    assert reasons == {"drill INC-7"}
    no_value(desk, [*desk.new["plaid"], *desk.new["alpaca"], *desk.new["hf_token"]][1:], first.stdout, second.stdout)


def test_a_request_that_cannot_be_meant_is_refused(desk: Bench) -> None:
    before = everything(desk.lab)
    for more, text in (
        (respond(desk, "credentials"), "only a person knows which: name them"),
        (respond(desk, "moon"), "keyturn_incident_leaked must say what has leaked, one of credentials, key, database"),
        ([*respond(desk, "key"), "-e", "keyturn_incident_age_recipient=age1x"], "must be the public key (age1...)"),
    ):
        done = desk.lab.play(*more)
        assert done.returncode == 2
        assert text in " ".join(done.stdout.split()) + " ".join(done.stderr.split()), done.stdout
    assert everything(desk.lab) == before
