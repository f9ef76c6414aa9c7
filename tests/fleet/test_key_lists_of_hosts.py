"""A list of keys that three hosts share is turned while clients read and write through the balancer, and none of them notices."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet
from support.fleet import HOOKS, HOSTS, KEY, Fleet, Writer, record, rotate_while_used
from support.lab import catalogue

pytestmark = pytest.mark.new_application
# what all hosts do before any goes on
ORDER = ("back_up, accept", "lead", "reencrypt", "drop, prove", "decide", "finish")
# the application of these hosts reads a list; a new installation takes the file away again
READS_A_LIST = """
folder=/etc/systemd/system/trader-ai-backend.service.d; mkdir -p $folder
printf '[Service]\\nEnvironment=TRADER_AI_KEY_SEPARATOR=,\\n' >$folder/10-key-list.conf
sed -i -E 's|^(export )?DATABASE_ENCRYPTION_KEY=.*|\\1DATABASE_ENCRYPTION_KEY={key}|' /opt/trader-ai/.env
systemctl daemon-reload; systemctl restart trader-ai-backend
"""
REKEY = """
import os, sys; sys.path.insert(0, "/usr/share/trader-ai"); os.chdir("/opt/trader-ai")
from dotenv import dotenv_values
from trader_ai.token_store import TokenStore
items = TokenStore("data/bank_accounts.db", dotenv_values(".env")["DATABASE_ENCRYPTION_KEY"]).all_items()
new = TokenStore("data/bank_accounts.db", "{key}")
[new.save_item(item.item_id, item.access_token, item.institution_name) for item in items]
"""
HELD = """
import json, os, sys; sys.path.insert(0, "/usr/share/trader-ai"); os.chdir("/opt/trader-ai")
from dotenv import dotenv_values
from trader_ai.token_store import TokenStore
items = TokenStore("data/bank_accounts.db", dotenv_values(".env")["DATABASE_ENCRYPTION_KEY"]).all_items()
print(json.dumps({item.item_id: item.access_token for item in items}))
"""


@pytest.fixture
def shared(fleet: Fleet, tmp_path: Path) -> tuple[str, ...]:
    """The options of a run on hosts that share one key, whose application reads a list of them."""
    key = Fernet.generate_key().decode()
    for host in HOSTS:
        fleet.run(host, "systemctl stop trader-ai-backend")
        fleet.run(host, f"runuser -u trader -- env PYTHONDONTWRITEBYTECODE=1 python3 -c '{REKEY.format(key=key)}'")
        fleet.run(host, READS_A_LIST.format(key=key))
        fleet.start_application(host)
    entry = catalogue()["db_key"] | {"value": "shared", "switch": "rolling", "overlap": "key_list"}
    entry["key_list"] = {"separator": ",", "grace_seconds": 1}
    chosen = tmp_path / "chosen.yml"
    chosen.write_text(yaml.safe_dump({"keyturn_secrets": {"db_key": entry}, **HOOKS}))
    return ("-e", f"@{chosen}", "-e", "keyturn_secret=db_key")


def held(fleet: Fleet) -> dict[str, str]:
    found: dict[str, str] = {}
    for host in HOSTS:
        found |= json.loads(fleet.run(host, f"PYTHONDONTWRITEBYTECODE=1 python3 -c '{HELD}' 2>/dev/null"))
    return found


@pytest.mark.exhaustive
def test_no_request_fails_and_no_write_is_lost(fleet: Fleet, shared: tuple[str, ...]) -> None:
    before = fleet.look()
    reader, writer, output = rotate_while_used(fleet, *shared)
    found = held(fleet)
    assert {item: found.get(item) for item in writer.saved} == writer.saved, "what was acknowledged is gone"
    after = fleet.assert_ended()
    assert len({one[KEY] for one in after.values()}) == 1
    assert all(after[host][KEY] != before[host][KEY] for host in HOSTS)
    # nobody writes under the new key before all read it, and no row is turned before all write under it
    steps = [line.partition(": ")[2] for line in output.splitlines() if line.endswith(" ...")]
    places = [[place for place, step in enumerate(steps) if step == f"{one} ..."] for one in ORDER]
    assert [len(one) for one in places] == [len(HOSTS)] * len(ORDER), steps
    assert all(max(one) < min(another) for one, another in itertools.pairwise(places))
    print(
        f"list of keys: 0 of {reader.asked} requests failed, {len(writer.saved)} writes while three hosts were turned"
    )
    record("none", "key list", "committed", {"new": HOSTS}, after)


@pytest.mark.exhaustive
@pytest.mark.parametrize("wish", ["resume", "rollback"])
@pytest.mark.parametrize("phase", ["accepts", "leads", "turning", "turned", "switched"])
def test_a_host_that_dies_in_a_step_comes_back_and_all_end_together(
    fleet: Fleet, shared: tuple[str, ...], phase: str, wish: str
) -> None:
    before = fleet.look()
    secret = fleet.run("app1", "sed -n s/^JWT_SECRET_KEY=//p /opt/trader-ai/.env").strip()
    with Writer(secret) as writer:
        with fleet.call_held("app2", phase) as wait:
            run = fleet.start("rotate", *shared)
            wait()
            run.kill()
            fleet.power_off("app2")
        fleet.boot("app2")
        code, output = fleet.play(wish, *shared[:2])
    assert code == 0, output
    found = held(fleet)
    assert {item: found.get(item) for item in writer.saved} == writer.saved, "what was acknowledged is gone"
    after = fleet.assert_ended()
    side = "new" if wish == "resume" else "old"
    assert [after[host][KEY] != before[host][KEY] for host in HOSTS] == [side == "new"] * 3
    record("power of app2", f"key list, {phase}", f"{wish}: {fleet.report()['outcome']}", {side: HOSTS}, after)
