"""The reader of addresses, as the host's timer runs it: a settings file, a log, a state, a metrics file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mmdb_writer import MMDBWriter
from netaddr import IPSet

DATA = Path(__file__).parents[2] / "applications/trader_ai"
PROGRAM = Path(__file__).parents[2] / "roles/monitoring/files/keyturn_addresses.py"
SPEC = importlib.util.spec_from_file_location("keyturn_addresses", PROGRAM)
assert SPEC and SPEC.loader
program = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(program)
START, HOUR, DAY = 1_800_000_000.0, 3600, 86400


class Host:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.log = folder, folder / "out.log"
        self.log.touch()
        self.settings = folder / "addresses.json"
        self.set(**settings)

    def set(self, **settings: Any) -> None:
        document = {
            "environment": "test",
            "request": yaml.safe_load((DATA / "monitoring.yml").read_text())["access"]["line"],
            "log": str(self.log),
            "unit": "",
            "state": str(self.folder / "state.json"),
            "textfile": str(self.folder / "addresses.prom"),
            "known_networks": ["127.0.0.0/8"],
            "denied_networks": [],
            "expected_countries": [],
            "country_database": "",
            "baseline_days": 0,
            "settle_hours": 24,
            "expire_days": 90,
            "max_addresses": 100,
            **settings,
        }
        self.settings.write_text(json.dumps(document))

    def say(self, *addresses: str, status: int = 200) -> None:
        with self.log.open("a") as log:
            log.writelines(f'INFO:     {one}:5000 - "GET /api/positions HTTP/1.1" {status} OK\n' for one in addresses)

    def read(self, now: float = START) -> dict[str, int]:
        program.main(str(self.settings), now)
        lines = [line.split() for line in (self.folder / "addresses.prom").read_text().splitlines() if line[0] != "#"]
        found = {name.split("{")[0].removeprefix("keyturn_"): int(value) for name, value in lines}
        return {name.removesuffix("_requests_total").removesuffix("_address"): value for name, value in found.items()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def counts(found: dict[str, int]) -> tuple[int, int]:
    return found["known"], found["new"]


def test_each_line_is_counted_once(host: Host) -> None:
    host.say("192.0.2.1", "127.0.0.1")
    assert counts(host.read()) == (1, 1)
    assert counts(host.read()) == (1, 1)
    host.say("192.0.2.1")
    assert counts(host.read()) == (1, 2)


def test_a_line_that_is_still_written_waits(host: Host) -> None:
    with host.log.open("a") as log:
        log.write('INFO:     192.0.2.1:5000 - "GET / HT')
    assert counts(host.read()) == (0, 0)
    with host.log.open("a") as log:
        log.write('TP/1.1" 200 OK\n')
    assert counts(host.read()) == (0, 1)


def test_a_renamed_log_is_read_to_its_end_and_the_new_one_from_its_begin(host: Host) -> None:
    host.say("192.0.2.1")
    host.read()
    host.say("192.0.2.1", "192.0.2.1")
    host.log.rename(host.log.with_name("out.log.1"))
    host.say("192.0.2.1")
    assert counts(host.read()) == (0, 4)


def test_a_truncated_log_is_read_from_its_begin(host: Host) -> None:
    host.say(*["192.0.2.1"] * 3)
    host.read()
    host.log.write_text("")
    host.say("192.0.2.1")
    assert counts(host.read()) == (0, 4)


def test_a_log_that_is_not_there_is_no_failure(host: Host) -> None:
    host.log.unlink()
    assert counts(host.read()) == (0, 0)


def test_within_the_baseline_an_address_is_known_at_once_and_later_it_settles_first(host: Host) -> None:
    host.set(baseline_days=14)
    host.say("192.0.2.1")
    assert counts(host.read()) == (1, 0)
    host.say("192.0.2.2")
    assert counts(host.read(START + 15 * DAY)) == (1, 1)
    host.say("192.0.2.2", "192.0.2.1")
    assert counts(host.read(START + 15 * DAY + HOUR)) == (2, 2)
    host.say("192.0.2.2")
    assert counts(host.read(START + 16 * DAY)) == (3, 2)


def test_an_address_without_one_good_answer_is_never_learned(host: Host) -> None:
    host.set(baseline_days=14)
    host.say("192.0.2.9", status=500)
    assert counts(host.read()) == (0, 1)
    host.say("192.0.2.9", status=500)
    assert counts(host.read(START + 30 * DAY)) == (0, 2)


def test_what_is_not_seen_for_long_is_forgotten(host: Host) -> None:
    host.set(baseline_days=14)
    host.say("192.0.2.1")
    assert host.read()["addresses_remembered"] == 1
    assert host.read(START + 90 * DAY)["addresses_remembered"] == 0


def test_a_flood_of_addresses_neither_grows_nor_drives_out_what_is_known(host: Host) -> None:
    host.set(baseline_days=1)
    host.say("192.0.2.1")
    host.read()
    host.say(*(f"198.51.{n // 250}.{n % 250}" for n in range(1000)))
    found = host.read(START + 2 * DAY)
    assert (found["addresses_remembered"], found["new"]) == (100, 1000)
    host.say("192.0.2.1")
    assert counts(host.read(START + 2 * DAY)) == (2, 1000)


def test_an_ipv6_network_counts_as_one_and_a_mapped_address_as_ipv4(host: Host) -> None:
    host.say("[2001:db8::1]", "2001:db8::ffff", "2001:db8:0:1::1", "::ffff:127.0.0.1")
    found = host.read()
    assert (found["addresses_remembered"], *counts(found)) == (2, 1, 3)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [("203.0.113.0/24", "203.0.113.255", "203.0.114.0"), ("2001:db8:5::/48", "2001:db8:5::1", "2001:db8:6::1")],
)
def test_a_denied_network(host: Host, network: str, inside: str, outside: str) -> None:
    host.set(denied_networks=[network], baseline_days=14)
    host.say(outside)
    assert host.read()["denied"] == 0
    host.say(inside)
    found = host.read()
    assert (found["denied"], found["new"]) == (1, 1), "a denied address is not learned either"


@pytest.mark.parametrize(
    "line",
    [
        'x INFO:     192.0.2.1:1 - "GET / HTTP/1.1" 200 OK',
        'WARNING:src.security.auth_middleware:Missing Authorization header for INFO:     192.0.2.1:1 - "GET / HTTP/1.1" 200',
        'INFO:     192.0.2.1:1 - "WebSocket /ws/1" [accepted]',
        'INFO:     999.0.2.1:1 - "GET / HTTP/1.1" 200 OK',
    ],
)
def test_what_is_no_request_is_not_counted(host: Host, line: str) -> None:
    host.log.write_text(line + "\n")
    assert counts(host.read()) == (0, 0)


def test_countries_by_a_real_database(tmp_path: Path) -> None:
    """An address without a record counts for nothing, nor does one whose record names no country, such as a satellite's."""
    writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True)
    for network, record in {
        "192.0.2.0/28": {"country": {"iso_code": "US"}},
        "192.0.2.16/28": {"country": {"iso_code": "FR"}},
        "192.0.2.32/28": {"continent": {"code": "EU"}},
        "2001:db8::/32": {"country": {"iso_code": "FR"}},
    }.items():
        writer.insert_network(IPSet([network]), record)
    database = tmp_path / "country.mmdb"
    writer.to_db_file(str(database))
    host = Host(tmp_path, expected_countries=["US"], country_database=str(database))
    host.say("192.0.2.1", "192.0.2.33", "203.0.113.1", "127.0.0.1")
    assert host.read()["unexpected_country"] == 0
    host.say("192.0.2.17", "[2001:db8::1]")
    assert host.read()["unexpected_country"] == 2


def test_the_state_is_private_and_the_metrics_are_readable(host: Host) -> None:
    host.say("192.0.2.1")
    host.read()
    assert (host.folder / "state.json").stat().st_mode & 0o777 == 0o600
    assert (host.folder / "addresses.prom").stat().st_mode & 0o777 == 0o644
