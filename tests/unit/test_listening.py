"""Who listens: the kernel's answer is what proc(5) says, which is read where there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import listening, procfs
from keyturn.base.listening import Listening

PROC = Path("/proc")


@pytest.fixture
def ours() -> Iterator[dict[str, socket.socket]]:
    """Sockets of this process that listen: of IPv4, of IPv6, and of both."""
    made = {"one": socket.create_server(("127.0.0.1", 0)), "any": socket.create_server(("0.0.0.0", 0))}
    if socket.has_ipv6:
        made["six"] = socket.create_server(("::1", 0), family=socket.AF_INET6)
        made["both"] = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    yield made
    for one in made.values():
        one.close()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("_read", lambda table: []),  # by the kernel alone
        ("SOCK_DIAG_BY_FAMILY", 999),  # by proc(5), since the kernel knows no such question
        ("NETLINK_SOCK_DIAG", 99),  # the same, since it may not be asked at all
    ],
)
def test_each_that_listens_is_found_with_its_address_and_number_and_user(
    ours: dict[str, socket.socket], monkeypatch: pytest.MonkeyPatch, name: str, instead: Any
) -> None:
    monkeypatch.setattr(listening, name, instead)
    found = {one.port: one for one in listening.sockets(PROC)}
    for kind, one in ours.items():
        number = str(os.fstat(one.fileno()).st_ino)
        address, port = one.getsockname()[:2]
        packed = socket.inet_pton(one.family, address)
        assert found[port] == Listening(listening.hexadecimal(packed), port, number, os.geteuid()), kind
        assert procfs.listeners(port) == [{os.getpid()}]
    for kind, one in ours.items():
        place = ("127.0.0.1" if kind == "both" else one.getsockname()[0], one.getsockname()[1])
        with socket.create_connection(place) as connected:
            assert connected.getsockname()[1] not in {one.port for one in listening.sockets(PROC)}
            assert procfs.taker(connected) is None, "it waits to be taken"
            with one.accept()[0] as taken:
                number = str(os.fstat(taken.fileno()).st_ino)
                found_end = procfs.taker(connected)
                assert found_end is not None
                assert (found_end.inode, found_end.user) == (number, os.geteuid()), kind
                assert procfs.takes_of(found_end, [found[place[1]]])


def test_a_connection_of_either_family_is_taken_by_who_listens_for_it(ours: dict[str, socket.socket]) -> None:
    def takes(kind: str, *addresses: str) -> list[bool]:
        port = ours[kind].getsockname()[1]
        return [bool(procfs.listening([address], port)) for address in addresses]

    assert takes("one", "127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2", "::1") == [True, True, False, False]
    assert takes("any", "127.0.0.2", "::1") == [True, False]
    if socket.has_ipv6:
        assert takes("six", "::1", "127.0.0.1") == [True, False]
        assert takes("both", "::1", "127.0.0.1") == [True, True]
        with socket.create_server(("::ffff:127.0.0.1", 0), family=socket.AF_INET6, dualstack_ipv6=True) as mapped:
            ours["both"].close()
            port = mapped.getsockname()[1]
            assert [bool(procfs.listening([one], port)) for one in ("127.0.0.1", "127.0.0.2")] == [True, False]
