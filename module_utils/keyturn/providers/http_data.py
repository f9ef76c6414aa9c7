"""A provider that is data: one request, and what its answers mean. What no answer of the entry matches is ``unknown``."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence

from ..base import http
from ..base.deadline import within
from ..base.errors import KeyturnError
from .shapes import ProviderSpec

# an answer is from outside, and may be made for a pattern that then takes very long
SEARCHED_BYTES, SEARCH_SECONDS = 4096, 2
FIELD = re.compile(r"\{([a-z_]+)\}")


def fault(spec: ProviderSpec) -> str:
    """Return what is wrong with a request and its answers, empty where nothing is."""
    used = {
        name
        for text in (spec["url"], *(spec["headers"]).values(), spec["body"] or "")
        for name in FIELD.findall(str(text))
    }
    if used != set(spec["fields"]):
        told = ", ".join(sorted(used ^ set(spec["fields"])))
        return f"fields of the provider and what its url, headers and body have in braces are not the same: {told}"
    for answer in spec["answers"]:
        try:
            re.compile(answer["says"] or "")
        except re.error:
            return f"{answer['says']} of its answers is no regular expression"
    if {answer["verdict"] for answer in spec["answers"]} != {"accepted", "rejected"}:
        return "its answers must say what is accepted and what is rejected"
    if _whole(spec["url"]):
        return ""
    why = http.fault(FIELD.sub("x", spec["url"]), whole=True)
    return f"the provider's url {why}" if why else ""


def ask(spec: ProviderSpec, values: Sequence[str], seconds: float) -> tuple[str, str, http.Answer]:
    """Make the request; return the verdict, the call in words that have no value, and the answer."""
    held = dict(zip(spec["fields"], values, strict=True))
    url = held[spec["url"][1:-1]] if _whole(spec["url"]) else _filled(spec["url"], held, _in_a_path)
    call = f"{spec['method']} {_host(url)}"
    nothing = http.Answer(None, b"")
    if why := http.fault(url, whole=True):
        return "unknown", f"{call} (the address {why})", nothing
    if spec["tls"] and not url.startswith("https://"):
        return "unknown", f"{call} (the address is not https, and nothing was sent)", nothing
    headers = {name: _filled(str(text), held, str) for name, text in spec["headers"].items()}
    body = None if spec["body"] is None else _filled(spec["body"], held, _in_json).encode()
    try:
        answer = http.ask(url, seconds, headers, body, method=spec["method"])
    except KeyturnError:
        answer = nothing
    return _verdict(spec, answer), call, answer


def _verdict(spec: ProviderSpec, answer: http.Answer) -> str:
    text = answer.body[:SEARCHED_BYTES].decode(errors="replace")
    with contextlib.suppress(TimeoutError), within(SEARCH_SECONDS):
        for known in spec["answers"]:
            if answer.status in known["status"] and re.search(known["says"] or "", text):
                return str(known["verdict"])
    return "unknown"


def _whole(url: str) -> bool:
    return FIELD.fullmatch(url) is not None


def _filled(text: str, held: Mapping[str, str], form: Callable[[str], str]) -> str:
    return FIELD.sub(lambda found: form(held[found[1]]), text)


def _in_a_path(value: str) -> str:
    return urllib.parse.quote(value, safe="")


def _in_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _host(url: str) -> str:
    try:
        found = urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        found = ""
    return found if re.fullmatch(r"[a-z0-9.:-]{1,100}", found) else "an address"
