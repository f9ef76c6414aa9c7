"""What a person at the providers' dashboards does for a fleet, and the access tokens that its hosts hold."""

from __future__ import annotations

import json

from support.brought import OWNERS, PLAYBOOKS, VARIABLES, environment_of, new_credentials
from support.fleet import HOSTS, Fleet

# every token as the application reads it, by item: for the provider that must know them
TOKENS = """
import json, os, sys
sys.path.insert(0, "/usr/share/trader-ai")
os.chdir("/opt/trader-ai")
from dotenv import dotenv_values
from trader_ai.token_store import TokenStore
items = TokenStore("data/bank_accounts.db", dotenv_values(".env")["DATABASE_ENCRYPTION_KEY"]).all_items()
print(json.dumps({i.item_id: i.access_token for i in items if i.access_token}))
"""


class Desk:
    """The person. ``new`` has the next credential of each secret."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.old = {secret: fleet.credential("app1", secret) for secret in VARIABLES}
        self.new = new_credentials(self.old["plaid"][0])

    def make(self, secret: str) -> None:
        """Make the new credential: at Alpaca that is the end of the old one."""
        fake = self.fleet.providers[secret]
        fake.valid = ({} if secret == "alpaca" else fake.valid) | {self.new[secret]: OWNERS[secret]}

    def revoke(self, secret: str) -> None:
        """Delete the old credential: the provider accepts the new one alone."""
        self.fleet.providers[secret].valid = {self.new[secret]: OWNERS[secret]}

    def rotate(self, secret: str, *arguments: str) -> tuple[int, str]:
        """Rotate with the new credential."""
        return self.fleet.play(PLAYBOOKS[secret], *arguments, **environment_of(secret, self.new[secret]))

    def on_new(self, secret: str) -> list[str]:
        """Return the hosts that hold the new credential."""
        return [host for host in HOSTS if self.fleet.credential(host, secret) == self.new[secret]]


def tokens_held(fleet: Fleet) -> dict[str, str]:
    """Return the access tokens of all hosts, by host and item."""
    command = f"PYTHONDONTWRITEBYTECODE=1 python3 - <<'END' 2>/dev/null\n{TOKENS}END"
    tokens = {host: json.loads(fleet.run(host, command)) for host in HOSTS}
    return {f"{host}/{item}": token for host in HOSTS for item, token in tokens[host].items()}
