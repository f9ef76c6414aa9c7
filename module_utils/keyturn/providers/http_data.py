"""Requests that are data, with what their answers mean: what a provider is asked, and what an issuer is told.

What no answer of the entry matches is ``unknown``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence

from ..base import http
from ..base.deadline import within
from .shapes import ProviderSpec

# an answer is from outside, and may be made for a pattern that then takes very long
SEARCHED_BYTES, SEARCH_SECONDS = 4096, 2
FIELD = re.compile(r"\{([a-z_]+)\}")
BASIC = "Basic "


def fault(spec: ProviderSpec) -> str:
    """Return what is wrong with a provider's request and its answers, empty where nothing is."""
    used = fields(spec)
    if used != set(spec["fields"]):
        told = ", ".join(sorted(used ^ set(spec["fields"])))
        return f"fields of the provider and what its url, headers and body have in braces are not the same: {told}"
    if why := fault_of_body(spec) or fault_of_answers(spec):
        return why
    if {answer["verdict"] for answer in spec["answers"]} != {"accepted", "rejected"}:
        return "its answers must say what is accepted and what is rejected"
    if whole(spec["url"]):
        return ""
    why = fault_of_url(spec["url"])
    return f"the provider's url {why}" if why else ""


def fields(request: ProviderSpec) -> set[str]:
    """Return the names that stand in braces in a request."""
    texts = (request["url"], *request["headers"].values(), request["body"] or "")
    return {name for text in texts for name in FIELD.findall(str(text))}


def fault_of_body(request: ProviderSpec) -> str:
    """Return why a value could say more in a body than the one text that it stands in, empty where none can.

    The application's user chooses the value that stands in its files, and an administrator's request may have it.
    """
    try:
        json.loads(FIELD.sub("x", request["body"] or "null"))
    except ValueError:
        return "its body is no JSON, or has a name in braces outside of quotation marks"
    return ""


def fault_of_answers(request: ProviderSpec) -> str:
    """Return which of its answers cannot be looked for, empty where all can."""
    for answer in request["answers"]:
        try:
            re.compile(answer["says"] or "")
        except re.error:
            return f"{answer['says']} of its answers is no regular expression"
    return ""


def fault_of_url(url: str) -> str:
    """Return what is wrong with an address that may have names in braces, empty where nothing is."""
    return http.fault(FIELD.sub("x", url), whole=True)


def ask(spec: ProviderSpec, values: Sequence[str], seconds: float) -> tuple[str, str, http.Answer]:
    """Make the provider's request; return what ``call`` does."""
    return call(spec, dict(zip(spec["fields"], values, strict=True)), spec["tls"], seconds)


def call(
    request: ProviderSpec,
    held: Mapping[str, str],
    tls: bool,
    seconds: float,
    connected: http.Connected = lambda connection: None,
) -> tuple[str, str, http.Answer]:
    """Make a request with what is ``held`` by its names in braces; over TLS alone where ``tls``. ``connected`` is as for ``http.ask``.

    Return the verdict, the call in words that have no value, and the answer.
    """
    url = held[request["url"][1:-1]] if whole(request["url"]) else _filled(request["url"], held, _in_a_path)
    words = f"{request['method']} {_host(url)}"
    nothing = http.Answer(None, b"")
    if why := http.fault(url, whole=True):
        return "unknown", f"{words} (the address {why})", nothing
    if tls and not url.startswith("https://"):
        return "unknown", f"{words} (the address is not https, and nothing was sent)", nothing
    headers = {name: _in_a_header(_filled(str(text), held, str)) for name, text in request["headers"].items()}
    if not all(map(str.isprintable, headers.values())):
        return "unknown", f"{words} (a value would be more than one line of a header, and nothing was sent)", nothing
    body = None if request["body"] is None else _filled(request["body"], held, _in_json).encode()
    answer = http.ask(url, seconds, headers, body, method=request["method"], connected=connected)
    return _verdict(request, answer), words, answer


def _verdict(request: ProviderSpec, answer: http.Answer) -> str:
    text = answer.body[:SEARCHED_BYTES].decode(errors="replace")
    with contextlib.suppress(TimeoutError), within(SEARCH_SECONDS):
        for known in request["answers"]:
            if answer.status in known["status"] and re.search(known["says"] or "", text):
                return str(known["verdict"])
    return "unknown"


def whole(url: str) -> bool:
    """Tell whether a value is itself the address, so that whoever has written it chooses where that leads."""
    return FIELD.fullmatch(url) is not None


def _filled(text: str, held: Mapping[str, str], form: Callable[[str], str]) -> str:
    return FIELD.sub(lambda found: form(held[found[1]]), text)


def _in_a_path(value: str) -> str:
    return urllib.parse.quote(value, safe="")


def _in_a_header(text: str) -> str:
    """Return the text of a header; a user and a password of the scheme Basic (RFC 7617) are written plainly in an entry."""
    basic = text.startswith(BASIC) and ":" in text
    return BASIC + base64.b64encode(text[len(BASIC) :].encode()).decode() if basic else text


def _in_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _host(url: str) -> str:
    try:
        found = urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        found = ""
    return found if re.fullmatch(r"[a-z0-9.:-]{1,100}", found) else "an address"
