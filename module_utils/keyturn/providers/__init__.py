"""What a provider says about a credential: one read-only call and a verdict, never a retry.

``accepted`` and ``rejected`` are the provider's own documented answers. Everything else - 429, 5xx, HTML, another
refusal, no answer - is ``unknown``: it says nothing about the credential. What comes from outside is shown only where
it is a plain word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..base import http
from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprint
from ..base.http import Answer
from .shapes import ProviderSpec

TIMEOUT_SECONDS = 10
USER = "user"
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLAID_REFUSAL = "INVALID_API_KEYS"
ALPACA_REFUSAL = 40110000
# of a program that is asked
ENDINGS: Mapping[int | None, str] = {0: "accepted", 1: "rejected"}
KEY_PREFIXES = {"alpaca": {"PK": "paper", "AK": "live"}}


class Reply(NamedTuple):
    """The verdict, the evidence for it, whose credential it is (empty where unknown), and what surprises."""

    verdict: str
    detail: str
    identity: str = ""
    findings: tuple[str, ...] = ()


class Provider(NamedTuple):
    """One provider: its name for a person, what its variables are in their order, the call, and what is wrong with an entry of it."""

    title: str
    fields: tuple[str, ...]
    ask: Callable[[ProviderSpec, Sequence[str]], Reply]
    fault: Callable[[ProviderSpec], str]


def fields(spec: ProviderSpec) -> tuple[str, ...]:
    """Return what the variables of a secret must be, in their order: a user that the entry names is none of them.

    Of a provider that is data the entry says it.
    """
    parts = PROVIDERS[spec["kind"]].fields or tuple(spec["fields"])
    return parts[1:] if parts[:1] == (USER,) and spec.get(USER) else parts


def ask(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """Ask the provider of a catalogue entry about ``values``, which stand in the order of the entry's variables."""
    wanted = fields(spec)
    if len(values) != len(wanted):
        raise KeyturnError(
            f"{PROVIDERS[spec['kind']].title} needs {' and '.join(wanted)}, in this order, and no other variable"
        )
    return PROVIDERS[spec["kind"]].ask(spec, values)


def leads(spec: ProviderSpec) -> bool:
    """Tell whether a value is itself the address that is asked."""
    if spec["kind"] != "http":
        return False
    from . import http_data as data

    return data.whole(spec["url"])


def user_and_password(spec: ProviderSpec, values: Sequence[str]) -> tuple[str, str]:
    """Return as whom a login is made: the entry names the user, or it is the first of the values."""
    *first, password = values
    return first[0] if first else str(spec[USER]), password


def check_place(spec: ProviderSpec, values: Sequence[str]) -> None:
    """Refuse a credential that says by its form that it is for another place, before that place sees it."""
    for prefix, account in KEY_PREFIXES.get(spec["kind"], {}).items():
        if values[0].startswith(prefix) and spec["account"] != account:
            raise KeyturnError(
                f"the new {PROVIDERS[spec['kind']].title} key id begins with {prefix}: it is of a {account} account, and "
                f"this environment trades on a {spec['account']} account; nothing was sent"
            )


def plaid(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """``/institutions/get``: it needs credentials and changes nothing. Plaid is judged by its error code, not by the status."""
    client_id, secret = values
    url = spec["url"].rstrip("/")
    body = {"count": 1, "offset": 0, "country_codes": ["US"]}
    answer = http.ask(f"{url}/institutions/get", TIMEOUT_SECONDS, plaid_headers(client_id, secret), body)
    said = answer.document()
    detail = evidence("POST /institutions/get", answer, said.get("error_code"), said.get("request_id"))
    if http.good(answer.status) and isinstance(said.get("institutions"), list):
        return Reply("accepted", detail, fingerprint(client_id))
    return Reply("rejected" if said.get("error_code") == PLAID_REFUSAL else "unknown", detail)


def plaid_headers(client_id: str, secret: str) -> dict[str, str]:
    """Return the headers of a call to Plaid."""
    return {"PLAID-CLIENT-ID": client_id, "PLAID-SECRET": secret}


def alpaca(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """``/v2/account``. A 403 may also restrict a good account: it rejects the pair only where it says nothing else."""
    url = spec["url"].rstrip("/")
    answer = http.ask(f"{url}/v2/account", TIMEOUT_SECONDS, alpaca_headers(values))
    said = answer.document()
    detail = evidence("GET /v2/account", answer, said.get("code"), answer.headers.get("x-request-id"))
    if http.good(answer.status) and word(said.get("account_number")):
        return Reply("accepted", detail, word(said["account_number"]))
    refused = said and (
        answer.status == 401 or (answer.status == 403 and said.get("code", ALPACA_REFUSAL) == ALPACA_REFUSAL)
    )
    return Reply("rejected" if refused else "unknown", detail)


def alpaca_headers(values: Sequence[str]) -> dict[str, str]:
    """Return the headers of a call to Alpaca."""
    key, secret = values
    return {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}


def huggingface(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """``whoami-v2``. Its rate limit has been seen as a refusal in HTML, so only JSON counts."""
    (token,) = values
    url = spec["url"].rstrip("/")
    answer = http.ask(f"{url}/api/whoami-v2", TIMEOUT_SECONDS, {"Authorization": f"Bearer {token}"})
    said = answer.document()
    detail = evidence("GET /api/whoami-v2", answer, None, answer.headers.get("x-request-id"))
    if http.good(answer.status) and word(said.get("name")):
        role = _role(said)
        findings = () if role == "read" else (f"the token's role is {role or 'not told'}, and the policy wants read",)
        return Reply("accepted", detail, word(said["name"]), findings)
    return Reply("rejected" if answer.status == 401 and said else "unknown", detail)


def _role(said: Mapping[str, object]) -> str:
    auth = said.get("auth")
    token = auth.get("accessToken") if isinstance(auth, dict) else None
    return word(token.get("role")) if isinstance(token, dict) else ""


def postgresql(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """Log in, as the application does: by TCP and the password. A server that asks for none has said nothing."""
    from ..base import postgresql as protocol  # hosts without such a secret need none of it
    from ..base import scram

    user, password = user_and_password(spec, values)
    server = protocol.address(spec["url"], spec["tls"], spec["ca_bundle"])
    call = f"a login at {server}"
    if not scram.plain(password):
        return Reply("unknown", f"{call}: the password has other characters than printable ASCII")
    try:
        with protocol.connected(server, user, password, TIMEOUT_SECONDS):
            return Reply("accepted", f"{call}: accepted by SCRAM-SHA-256")
    except protocol.Failed as failed:
        return Reply("rejected" if failed.code == protocol.WRONG_PASSWORD else "unknown", f"{call}: {failed.reason}")


def by_smtp(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """Log in at a mail server, and send nothing."""
    from . import smtp as mail

    return Reply(*mail.ask(spec, *user_and_password(spec, values), TIMEOUT_SECONDS))


def by_data(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """Make the request of the entry, which also says what its answers mean, and under which key of a JSON answer the owner stands."""
    from . import http_data as data

    verdict, call, answer = data.ask(spec, values, TIMEOUT_SECONDS)
    identity = word(answer.document().get(spec["identity"])) if verdict == "accepted" and spec["identity"] else ""
    return Reply(verdict, evidence(call, answer, None, answer.headers.get("x-request-id")), identity)


def by_command(spec: ProviderSpec, values: Sequence[str]) -> Reply:
    """Run a program that logs in with the values, which it reads as JSON from its standard input; its exit code is the answer."""
    from ..ground.scripts import Scripts

    (name, *_), seconds = spec["command"], spec["seconds"]
    given = json.dumps(dict(zip(spec["fields"], values, strict=True))).encode()
    try:
        code = Scripts(Path("/"), spec["system_user"]).run(spec["command"], seconds, told=given)
    except KeyturnError as error:
        return Reply("unknown", str(error))
    ended = f"did not end within {seconds} s" if code is None else f"exit code {code}"
    return Reply(ENDINGS.get(code, "unknown"), f"{name}: {ended}")


def _of_command(spec: ProviderSpec) -> str:
    if not spec["command"] or not spec["command"][0].startswith("/"):
        return "the provider's command begins with the path of a program, from / on"
    return "" if spec["fields"] else "fields of the provider name its variables"


def _of_http(spec: ProviderSpec) -> str:
    return _address(http.fault(spec["url"]))


def _of_postgresql(spec: ProviderSpec) -> str:
    from ..base import postgresql as protocol

    return _address(protocol.fault(spec["url"]))


def _of_smtp(spec: ProviderSpec) -> str:
    from . import smtp as mail

    return _address(mail.fault(spec["url"]))


def _of_http_data(spec: ProviderSpec) -> str:
    from . import http_data as data

    return data.fault(spec)


def _address(fault: str) -> str:
    return f"the provider's url {fault}" if fault else ""


def evidence(call: str, answer: Answer, code: object, request_id: object) -> str:
    """Return what was asked and answered, in words that may stand in a log."""
    status = "no answer" if answer.status is None else f"HTTP {answer.status}"
    parts = [status, word(code), f"request {word(request_id)}" if word(request_id) else ""]
    return f"{call}: {', '.join(part for part in parts if part)}"


def word(said: object) -> str:
    """Return what came from outside where it is a plain word or a number, else nothing."""
    text = str(said) if isinstance(said, str | int) else ""
    return text if WORD.fullmatch(text) else ""


PROVIDERS: dict[str, Provider] = {
    "alpaca": Provider("Alpaca", ("key id", "secret key"), alpaca, _of_http),
    "command": Provider("The program", (), by_command, _of_command),
    "huggingface": Provider("Hugging Face", ("token",), huggingface, _of_http),
    "http": Provider("The provider", (), by_data, _of_http_data),
    "plaid": Provider("Plaid", ("client id", "secret"), plaid, _of_http),
    "postgresql": Provider("PostgreSQL", (USER, "password"), postgresql, _of_postgresql),
    "smtp": Provider("The mail server", (USER, "password"), by_smtp, _of_smtp),
}
