#!/usr/bin/python3
"""Sorts the requests of the access log by where they come from, and counts: ``keyturn_addresses.py SETTINGS.json``.

A timer runs it; it goes on where it stopped. Files that were renamed or truncated are followed. What a stranger can make
grow is bounded: addresses that never got a good answer are not learned, and an IPv6 network of 64 bits counts as one.
Only the standard library, and geoip2 where a country database is configured.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLASSES = {
    "known": "Requests from addresses that are known.",
    "new": "Requests from addresses that are not.",
    "denied": "Requests from addresses of the deny list.",
    "unexpected_country": "Requests from countries that are not expected.",
}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """What is remembered of addresses: when each was first and last seen. Times are seconds since the epoch."""

    def __init__(self, settings: dict[str, Any], state: dict[str, Any], country: Callable[[str], str | None]) -> None:
        self.always_known = [ipaddress.ip_network(text) for text in settings["known_networks"]]
        self.denied = [ipaddress.ip_network(text) for text in settings["denied_networks"]]
        self.countries = set(settings["expected_countries"])
        self.baseline_seconds = settings["baseline_days"] * 86400
        self.settle_seconds = settings["settle_hours"] * 3600
        self.expire_seconds = settings["expire_days"] * 86400
        self.limit = settings["max_addresses"]
        self.country = country
        self.started: float = state.get("started", 0)
        self.seen: dict[str, list[float]] = state.get("seen", {})
        self.counts: dict[str, int] = {name: state.get("counts", {}).get(name, 0) for name in CLASSES}

    def count(self, text: str, status: int, now: float) -> None:
        """Count one request."""
        try:
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            return
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        self.started = self.started or now
        if _within(address, self.denied):
            self.counts["denied"] += 1
        if self.countries and not _within(address, self.always_known):
            country = self.country(str(address))
            self.counts["unexpected_country"] += country is not None and country not in self.countries
        self.counts["known" if self._known(address, status, now) else "new"] += 1

    def _known(self, address: Address, status: int, now: float) -> bool:
        if _within(address, self.always_known):
            return True
        name = _name(address)
        first_last = self.seen.get(name)
        baseline = now < self.started + self.baseline_seconds
        if status < 400 and not _within(address, self.denied):
            if first_last is not None:
                first_last[1] = now
            elif len(self.seen) < self.limit:
                # within the baseline an address is known at once, later it settles first
                self.seen[name] = first_last = [now - self.settle_seconds if baseline else now, now]
        return first_last is not None and now >= first_last[0] + self.settle_seconds

    def forget(self, now: float) -> None:
        """Drop the addresses that have not been seen for a long time."""
        self.seen = {name: times for name, times in self.seen.items() if now < times[1] + self.expire_seconds}

    def state(self) -> dict[str, Any]:
        """Return what the next run needs."""
        return {"started": self.started, "seen": self.seen, "counts": self.counts}

    def textfile(self, environment: str, now: float) -> str:
        """Return the metrics in Prometheus' text format."""
        labels = f'{{environment="{environment}"}}'
        lines = []
        for name, text in CLASSES.items():
            metric = f"keyturn_{name}_requests_total" if "_" in name else f"keyturn_{name}_address_requests_total"
            lines += [f"# HELP {metric} {text}", f"# TYPE {metric} counter", f"{metric}{labels} {self.counts[name]}"]
        for metric, value in (
            ("keyturn_addresses_remembered", len(self.seen)),
            ("keyturn_addresses_time_seconds", now),
        ):
            lines += [f"# TYPE {metric} gauge", f"{metric}{labels} {value:.0f}"]
        return "\n".join(lines) + "\n"


def _within(address: Address, networks: list[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _name(address: Address) -> str:
    """One name for all that one client can choose from: an IPv6 network of 64 bits."""
    return str(address) if address.version == 4 else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def file_lines(path: Path, position: dict[str, int]) -> Iterator[str]:
    """Yield the whole lines after ``position`` (inode, offset), which moves on; a renamed file is read to its end first."""
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return
    if position.get("inode") not in (None, inode):
        for sibling in path.parent.glob(f"{path.name}*"):
            if sibling.stat().st_ino == position["inode"]:
                yield from _rest(sibling, position)
        position["offset"] = 0
    position["inode"] = inode
    if path.stat().st_size < position.get("offset", 0):
        position["offset"] = 0
    yield from _rest(path, position)


def _rest(path: Path, position: dict[str, int]) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(position.get("offset", 0))
        for line in file:
            if not line.endswith(b"\n"):  # still being written
                return
            position["offset"] = position.get("offset", 0) + len(line)
            yield line.decode(errors="replace").rstrip("\n")


def journal_lines(unit: str, cursor: Path) -> Iterator[str]:
    """Yield the lines of a unit since the last call."""
    command = ["journalctl", "--quiet", "--output=cat", f"--unit={unit}", f"--cursor-file={cursor}"]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.stderr:  # without a word it only has no line
        done.check_returncode()
    for line in io.BytesIO(done.stdout):  # a path may hold what ends a line of text, but no line feed
        yield line.decode(errors="replace").rstrip("\n")


def country_reader(database: str) -> Callable[[str], str | None]:
    """Return a look-up in a MaxMind-format database: the country's code, None where it has none."""
    if not database:
        return lambda _: None
    import geoip2.database
    import geoip2.errors

    reader = geoip2.database.Reader(database)

    def country(address: str) -> str | None:
        try:
            return reader.country(address).country.iso_code
        except geoip2.errors.AddressNotFoundError:
            return None

    return country


def replace(path: Path, content: str, mode: int) -> None:
    """Replace a file at once: a reader sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(content, encoding="utf-8")
    temporary.chmod(mode)
    os.replace(temporary, path)  # noqa: PTH105


def main(settings_path: str, now: float) -> None:
    """Read what is new and write the counts."""
    settings = json.loads(Path(settings_path).read_text(encoding="utf-8"))
    state_path = Path(settings["state"])
    state: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        state = json.loads(state_path.read_text(encoding="utf-8"))
    addresses = Addresses(settings, state, country_reader(settings["country_database"]))
    position = state.get("position", {})
    if settings["log"]:
        lines = file_lines(Path(settings["log"]), position)
    else:
        lines = journal_lines(settings["unit"], state_path.with_suffix(".cursor"))
    request = re.compile(settings["request"])
    for line in lines:
        found = request.match(line)
        if found:
            addresses.count(found["address"], int(found["status"]), now)
    addresses.forget(now)
    # the state first: what it has counted is never counted again
    replace(state_path, json.dumps({**addresses.state(), "position": position}), 0o600)
    replace(Path(settings["textfile"]), addresses.textfile(settings["environment"], now), 0o644)


if __name__ == "__main__":
    main(sys.argv[1], time.time())
