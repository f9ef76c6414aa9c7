"""A server that is told by HTTP. The entry has a request for each call, and what the answers to it mean."""

from __future__ import annotations

import socket
import urllib.parse
from collections.abc import Mapping, Sequence

from .. import providers
from ..base.errors import KeyturnError
from ..base.here import Listener, server_users
from ..base.http import Connected
from ..providers import http_data
from ..providers.shapes import ProviderSpec
from .admin import STRANGERS, password
from .contract import Spec, Told, Unanswered

ADMINS = {"admin_user", "admin_password"}
SIDES = ("old", "new")
HTTP_PORT = 80


def fault(spec: Spec, provider: ProviderSpec) -> str:
    """Return what does not go together, empty where nothing does not."""
    requests = {name: request for name, request in (spec["requests"] or {}).items() if request}
    needed = ("set", "unset", "retire") if spec["strategy"] == "overlap" else ("set", "unset")
    if missing := [name for name in needed if name not in requests]:
        return f"with the strategy {spec['strategy']} the issuer http needs requests.{missing[0]}"
    if spec["admin"] and spec["admin"]["system_user"]:
        return "admin of the issuer http has a password_file, or is stored"
    values = {f"{side}_{name}" for side in SIDES for name in _fields(provider)}
    known = {*values, "rotation_id", *(ADMINS if spec["admin"] else ())}
    for name, request in requests.items():
        if why := _fault_of(request, values, known):
            return f"requests.{name} of the issuer: {why}"
    lacks = {f"new_{name}" for name in _fields(provider)} - http_data.fields(requests["set"])
    return f"requests.set of the issuer tells it no {', '.join(sorted(lacks))}" if lacks else ""


def _fault_of(request: Spec, values: set[str], known: set[str]) -> str:
    if strange := sorted(http_data.fields(request) - known):
        return f"nothing is known by the name {strange[0]}: there are {', '.join(sorted(known))}"
    if (values | ADMINS) & set(http_data.FIELD.findall(request["url"])):
        return "its url has a value in it, which logs would show: give it in a header or in the body"
    if why := http_data.fault_of_url(request["url"]):
        return f"its url {why}"
    if why := http_data.fault_of_body(request):
        return why
    if "accepted" not in {answer["verdict"] for answer in request["answers"]}:
        return "its answers must say by which it was done: accepted"
    return http_data.fault_of_answers(request)


class Http:
    """The issuer of one rotation, by ``Issuer`` of contract.py."""

    def __init__(self, spec: Spec, provider: ProviderSpec, variables: Sequence[str], told: Told) -> None:
        self._spec, self._told = spec, told
        self._names = dict(zip(_fields(provider), variables, strict=True))

    def prepare(self) -> list[str]:
        """See that the password of who tells the server can be read."""
        self._held()
        return []

    def set(self) -> None:
        """Have the new value accepted."""
        self._call("set")

    def mark(self) -> str:
        """Return nothing: what has begun is not looked at."""
        return ""

    def unset(self) -> None:
        """Have the old value accepted, and the new one no more."""
        self._call("unset")

    def retire(self, mark: str) -> list[str]:
        """End the old value, where there is a request for that."""
        if self._spec["requests"]["retire"]:
            self._call("retire")
        return []

    def _held(self) -> Mapping[str, str]:
        sides = zip(SIDES, (self._told.old, self._told.new), strict=True)
        held = {
            f"{side}_{field}": values.get(name, "") for side, values in sides for field, name in self._names.items()
        }
        admin = self._spec["admin"]
        mine = {"admin_user": admin["user"] or "", "admin_password": password(admin, self._told)} if admin else {}
        return {**held, **mine, "rotation_id": self._told.rotation_id}

    def _call(self, name: str) -> None:
        request = self._spec["requests"][name]
        given = (self._held(), self._spec["tls"], self._spec["seconds"])
        verdict, call, answer = http_data.call(request, *given, self._connected(request["url"]))
        if verdict == "accepted":
            return
        said = providers.evidence(call, answer, None, answer.headers.get("x-request-id"))
        if verdict == "rejected":
            raise KeyturnError(
                f"the issuer refuses the request {name} ({said}): see in its log why, then run this again"
            )
        raise Unanswered(f"the issuer does not say whether it has done the request {name} ({said})")

    def _connected(self, address: str) -> Connected:
        """Return what looks at who has taken the connection before an admin's password is sent in clear to this host itself."""
        admin, parts = self._spec["admin"], urllib.parse.urlsplit(http_data.FIELD.sub("x", address))
        if not admin or parts.scheme == "https":
            return lambda connection: None
        listener = Listener(parts.port or HTTP_PORT, server_users(admin["server_user"] or ""))

        def connected(connection: socket.socket) -> None:
            if why := listener.refusal(connection):
                raise KeyturnError(f"the issuer was told nothing: {why}: {STRANGERS}")

        return connected


def _fields(provider: ProviderSpec) -> list[str]:
    return [name.replace(" ", "_") for name in providers.fields(provider)]
