"""Who takes a connection to this host itself: any user may take a port that is free, and carry a login on to the server behind it."""

from __future__ import annotations

import contextlib
import ipaddress
import pwd
import socket
from collections.abc import Collection

from . import procfs

ANY_PORT = 9


class Listener:
    """The users whose socket may take a connection to a TCP port of this host. Made before the connection, and asked when it stands."""

    def __init__(self, port: int, users: Collection[int]) -> None:
        self._port, self._users = port, users
        self._before = {one.inode for one in procfs.listening_on(port)}

    def refusal(self, connection: socket.socket) -> str:
        """Say why what has answered is not to be believed; empty where one of the users listens and has it, and for another host."""
        peer = str(connection.getpeername()[0])
        if not _is_here(peer):
            return ""
        found, place = procfs.listening([peer], self._port), f"port {self._port} of this host"
        if others := [one.user for one in found if one.user not in self._users]:
            return f"the user {others[0]} listens on {place}, who is neither root nor its server_user"
        if not found:
            return f"nobody is seen to listen on {place}, where somebody answers"
        taken = procfs.taker(connection)
        if taken and taken.user not in self._users and not procfs.takes_of(taken, found):
            return f"the user {taken.user} answers on {place}, who is neither root nor its server_user"
        same = all(one.inode in self._before for one in found)
        return "" if same else f"who listens on {place} has changed in the same moment"


def server_users(name: str) -> set[int]:
    """Return root, and the user of this name where this host knows one."""
    with contextlib.suppress(KeyError):
        return {0, pwd.getpwnam(name).pw_uid}
    return {0}


def _is_here(address: str) -> bool:
    """Tell whether an address is one of this host's; nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, ANY_PORT))
        mine = str(probe.getsockname()[0])
    return mine == address or ipaddress.ip_address(mine.partition("%")[0]).is_loopback
