"""A lab at whose side the three providers stand, with the credentials that a person would bring."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from keyturn.base.fingerprint import fingerprint

from support.fakes import Fake, FakeAlpaca, FakeHuggingFace, FakePlaid
from support.lab import ROOT, Lab

VARIABLES = {
    "plaid": ("PLAID_CLIENT_ID", "PLAID_SECRET"),
    "alpaca": ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"),
    "hf_token": ("HF_TOKEN",),
}
PLAYBOOKS = {
    "plaid": "rotate_plaid_credentials",
    "alpaca": "rotate_alpaca_credentials",
    "hf_token": "rotate_hf_token",
}
OWNERS = {"plaid": "ours", "alpaca": "PA31XK2", "hf_token": "trader:read"}


def new_credentials(plaid_id: str) -> dict[str, tuple[str, ...]]:
    """Return a fresh credential of each secret; the id of the Plaid client stays."""
    return {
        "plaid": (plaid_id, secrets.token_hex(15)),
        "alpaca": ("PK" + secrets.token_hex(9).upper(), secrets.token_urlsafe(30)),
        "hf_token": ("hf_" + secrets.token_hex(17),),
    }


def environment_of(secret: str, credential: tuple[str, ...]) -> dict[str, str]:
    """Return the environment of a pipeline that brings a credential."""
    return {f"KEYTURN_NEW_{name}": value for name, value in zip(VARIABLES[secret], credential, strict=True)}


class Bench:
    """One lab and the providers. ``new`` has the next credential of each secret; nothing is valid but the current ones."""

    def __init__(self, lab: Lab, fakes: dict[str, Fake]) -> None:
        self.lab = lab
        self.fakes = fakes
        self.new = new_credentials(self.current("plaid")[0])
        for secret, fake in fakes.items():
            fake.valid = {self.current(secret): OWNERS[secret]}

    def current(self, secret: str) -> tuple[str, ...]:
        """Return the credential that the application's `.env` holds."""
        held = dotenv_values(self.lab.env)
        return tuple(str(held[name]) for name in VARIABLES[secret])

    def fingerprints(self, secret: str) -> list[str]:
        """Return those of ``current``: pytest would print values."""
        return [fingerprint(value) for value in self.current(secret)]

    def is_new(self, secret: str) -> bool:
        """Tell whether the application's `.env` holds the credential that was brought."""
        return self.current(secret) == self.new[secret]

    def make(self, secret: str) -> None:
        """Let the person make the new credential at the provider: at Alpaca that is the end of the old one."""
        fake = self.fakes[secret]
        owner = OWNERS[secret]
        fake.valid = ({} if secret == "alpaca" else fake.valid) | {self.new[secret]: owner}

    def entry(self, secret: str) -> dict[str, Any]:
        """Return the catalogue entry for a module that is run by itself."""
        text = (ROOT / "applications/trader_ai/catalogue.yml").read_text()
        found = dict(yaml.safe_load(text)["secrets"][secret])
        return found | {"provider": found["provider"] | {"url": self.fakes[secret].url}}

    def revoke(self, secret: str, credential: tuple[str, ...]) -> None:
        """Let the person delete a credential at the provider."""
        self.fakes[secret].valid.pop(credential, None)

    def bring(self, secret: str) -> dict[str, str]:
        """Return the environment of a pipeline that brings the new credential."""
        return environment_of(secret, self.new[secret])


@contextlib.contextmanager
def bench(folder: Path, kind: type[Lab] = Lab, **more: object) -> Iterator[Bench]:
    """Make a bench whose application and engine run, on a lab of this ``kind``."""
    plaid, alpaca, hugging_face = FakePlaid(), FakeAlpaca(), FakeHuggingFace()
    with plaid, alpaca, hugging_face:
        urls = {"plaid": plaid.url, "alpaca": alpaca.url, "huggingface": hugging_face.url}
        variables = {f"keyturn_{name}_url": url for name, url in urls.items()}
        lab = kind(folder, variables=variables, plaid_url=plaid.url, alpaca_url=alpaca.url, **more)  # type: ignore[arg-type]
        plaid.tokens = {item: token for item, token in lab.tokens.items() if token}
        found = Bench(lab, {"plaid": plaid, "alpaca": alpaca, "hf_token": hugging_face})
        lab.start()
        lab.start_engine()
        try:
            yield found
        finally:
            lab.stop()
        assert [fake.violations for fake in found.fakes.values()] == [[], [], []]
