"""The silence of a rotation, asked for at a real Alertmanager."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.monitoring import silence
from support.lab import free_port
from support.watching import get, wait_for

ID, OTHER = "20260101T000000Z-0123456789abcdef", "20260101T000000Z-fedcba9876543210"


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("alertmanager")
    config, url = folder / "alertmanager.yml", f"http://127.0.0.1:{free_port()}"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    options = [f"--config.file={config}", f"--storage.path={folder}", "--cluster.listen-address="]
    with (folder / "log").open("wb") as log:
        command = ["prometheus-alertmanager", *options, f"--web.listen-address={url.removeprefix('http://')}"]
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def ready() -> bool:
        try:
            return "config" in get(f"{url}/api/v2/status")
        except OSError:
            return False

    wait_for("Alertmanager", ready)
    yield url
    process.terminate()
    process.wait(10)


def active(url: str) -> list[dict[str, Any]]:
    return [one for one in get(f"{url}/api/v2/silences") if one["status"]["state"] != "expired"]


def test_a_silence_covers_one_alert_of_one_environment_until_the_last_old_token_is_out_of_sight(
    alertmanager: str,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    assert silence.begin(alertmanager, "FailedAuth", "test", ID, now, 300)
    (one,) = active(alertmanager)
    assert {each["name"]: each["value"] for each in one["matchers"]} == {
        "alertname": "KeyturnFailedAuth",
        "environment": "test",
    }
    assert not any(each["isRegex"] for each in one["matchers"])
    ends = datetime.strptime(one["endsAt"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert ends == now + timedelta(seconds=300, hours=2)
    assert not silence.begin(alertmanager, "FailedAuth", "test", ID, now, 300), (
        "a second call finds what the first one asked for"
    )
    assert len(active(alertmanager)) == 1
    assert not silence.lift(alertmanager, OTHER), "another rotation's is left alone"
    assert silence.lift(alertmanager, ID)
    assert active(alertmanager) == []
    assert not silence.lift(alertmanager, ID)


@pytest.mark.parametrize(
    "call", [silence.lift, lambda url, one: silence.begin(url, "FailedAuth", "test", one, datetime.now(UTC), 0)]
)
def test_no_answer_is_told_with_the_remedy(call: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(KeyturnError, match=r"gives no answer: .* keyturn_alertmanager_url"):
        call(url, ID)
