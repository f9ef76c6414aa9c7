"""Monitoring on real hosts: what the role installs, a rotation under the load of clients, and an attack in the same minutes."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from dotenv import dotenv_values
from jose import jwt
from support.fleet import ADDRESS, BALANCER, GATEWAY, HOSTS, Fleet
from support.watching import Webhook, get, wait_for

PROMETHEUS, ALERTMANAGER = f"{BALANCER}:9090", f"{BALANCER}:9093"
UNITS = "keyturn-mtail keyturn-addresses.timer prometheus-node-exporter prometheus prometheus-alertmanager"
# each is on the wrong secret once: more than the warning of all hosts together, fewer than what a rotation may cause
CLIENTS = 45
ATTACK = 60


@pytest.fixture
def webhook(fleet: Fleet) -> Iterator[Webhook]:
    with Webhook(GATEWAY) as heard:
        yield heard
        heard.shutdown()
    for host in (*HOSTS, "lb"):
        fleet.run(host, f"systemctl stop {UNITS} 2>/dev/null", check=False)


def query(expression: str) -> list[dict[str, Any]]:
    where = f"{PROMETHEUS}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    return list(get(where)["data"]["result"])


def total(expression: str) -> int:
    return sum(int(float(one["value"][1])) for one in query(expression))


def ask(url: str, **headers: str) -> int:
    """Return the status of an answer, 0 without one."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/api/positions", headers=headers), timeout=5
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class Client(threading.Thread):
    """A user with a session: asks through the balancer, and stops to sign in again when the session is refused."""

    def __init__(self, secret: str, number: int) -> None:
        super().__init__(daemon=True)
        claims = {"sub": f"user {number}", "user_id": f"user {number}", "exp": 4102444800}
        self.token = jwt.encode(claims, secret)
        self.good = self.refused = 0

    def run(self) -> None:
        while not self.refused:
            status = ask(BALANCER, Authorization=f"Bearer {self.token}")
            self.good += status == 200
            self.refused += status == 500
            time.sleep(1)


def test_a_rotation_under_load_is_silent_and_an_attack_is_not(fleet: Fleet, webhook: Webhook) -> None:
    told = {"monitoring_webhook_url": webhook.url, "keyturn_alertmanager_url": ALERTMANAGER}
    code, output = fleet.play("monitoring", "-e", json.dumps(told))
    assert code == 0, output
    code, output = fleet.play("monitoring", "-e", json.dumps(told))
    assert code == 0, output
    assert output.rpartition("PLAY RECAP")[2].count("changed=0 ") == len(HOSTS) + 1, output

    code, output = fleet.play("monitoring", "-e", json.dumps(told | {"monitoring_group_wait": "2s"}))
    assert code == 0, output
    assert output.rpartition("PLAY RECAP")[2].count("changed=2 ") == 1, "the file, and a reload of Alertmanager alone"
    wait_for(
        "the new configuration", lambda: "group_wait: 2s" in get(f"{ALERTMANAGER}/api/v2/status")["config"]["original"]
    )

    wait_for("every exporter", lambda: total('up{job=~"keyturn-.*"}') == 2 * len(HOSTS))
    for host in HOSTS:
        listening = fleet.run(host, "ss -ltnH | awk '{print $4}'").split()
        exporters = {one for one in listening if one.endswith((":3903", ":9100"))}
        assert exporters == {f"{ADDRESS[host]}:3903", f"{ADDRESS[host]}:9100"}
    wait_for("the addresses", lambda: total("keyturn_known_address_requests_total") > 0)

    secret = str(dotenv_values(stream=open_env(fleet))["JWT_SECRET_KEY"])
    clients = [Client(secret, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    wait_for("good answers", lambda: all(client.good for client in clients))
    run = fleet.start("rotate_jwt_secret", "-e", json.dumps(told))
    run.wait_for("TASK [rotation : Prepare, switch and prove")  # the silence stands
    began = time.time()
    attack()
    code, output = run.end()
    assert code == 0, output
    wait_for("the end of all sessions", lambda: all(client.refused for client in clients))
    assert fleet.report()["outcome"] == "committed", "what strangers cause is no veto"
    heard = wait_for("the attack", lambda: webhook.heard("KeyturnFailedAuthOtherCause", "critical", "firing"))
    after = time.time() - began

    held = wait_for("the alert that is held", lambda: alerts("KeyturnFailedAuth"))
    assert {one["status"]["state"] for one in held} == {"suppressed"}
    wait_for("all refusals", lambda: total("trader_ai_auth_signature_total") >= CLIENTS)
    assert total("trader_ai_auth_signature_total") <= CLIENTS + 2 * len(HOSTS), (
        "each client once, and Keyturn's own proof"
    )
    # the attacker has never had a good answer, so that its address is a new one
    wait_for("the new address", lambda: "KeyturnNewAddresses" in {one["labels"]["alertname"] for one in webhook.alerts})
    time.sleep(5)  # a few more evaluations
    assert {one["labels"]["alertname"] for one in webhook.alerts} == {
        "KeyturnFailedAuthOtherCause",
        "KeyturnNewAddresses",
    }
    print(f"attack of {ATTACK} requests: {heard[0]['labels']['severity']} alert {after:.1f} s after the first of them")
    fleet.assert_ended()


PACKAGES = "mtail prometheus-node-exporter prometheus prometheus-alertmanager python3-apt"


def test_a_fresh_host_is_told_what_would_change(fleet: Fleet, webhook: Webhook) -> None:
    """Nothing is installed there, not even what apt's own check mode needs."""
    # other tests have left units there: monitoring's own, and the gate of the application's
    written = "find /etc/systemd/system /etc/keyturn-monitoring -name '*keyturn*' 2>/dev/null || true"
    before = fleet.run("app1", written)
    keep = f"{{ dpkg -L {PACKAGES}; find /var/lib/dpkg; }} | xargs ls -d 2>/dev/null | tar -cPf /root/packages.tar --no-recursion -T -"
    for host in ("app1", "lb"):
        fleet.run(host, f"{keep} && dpkg --purge --force-depends {PACKAGES}")
    try:
        code, output = fleet.play("monitoring", "--check", "--limit", "app1,lb")
    finally:
        for host in ("app1", "lb"):
            fleet.run(host, "tar -xPf /root/packages.tar; systemctl daemon-reload")
    assert code == 0, output
    assert "would be installed, and its units run: mtail, prometheus-node-exporter" in output
    assert fleet.run("app1", written) == before


STRANGER = "systemd-run --quiet --unit=site-{} python3 -m http.server {} --bind {}"
AT = {**ADDRESS, "lb": BALANCER.removeprefix("http://")}


@pytest.fixture
def site(fleet: Fleet, webhook: Webhook) -> Iterator[Fleet]:
    yield fleet
    for host in (*HOSTS, "lb"):
        fleet.run(host, "systemctl stop 'site-*'; sed -i s/ARGS=.*/ARGS=/ /etc/default/prometheus*")


def test_a_stranger_on_a_port_is_named_with_the_variable(site: Fleet) -> None:
    taken = (("app1", "mtail", 3903), ("app2", "node", 9100), ("lb", "prometheus", 9090))
    for host, name, port in taken:
        site.run(host, STRANGER.format(name, port, AT[host]))
        site.wait_on(host, f"ss -ltn | grep -q {port}")
    code, output = site.play("monitoring")
    assert code == 2, output
    for _, name, port in taken:
        words = rf"{port} \(python3, process \d+ of site-{name}.service listens there\): free it, or set monitoring_\w+ and "
        assert re.search(rf"{words}monitoring_{name}_port", output), output


def test_what_the_site_says_is_added_to_or_named(site: Fleet) -> None:
    told = "/etc/default/prometheus-node-exporter"
    site.run("lb", STRANGER.format("alertmanager", 9093, AT["lb"]))
    site.run("app1", f"echo 'ARGS=\"--web.listen-address=:9100\"' >{told}")
    site.run("app2", f"echo 'ARGS=\"--no-collector.wifi\"' >{told}")
    # the reader of addresses cannot work, and what it has written once says nothing
    state = "/var/lib/keyturn-monitoring/addresses.json"
    site.run("app3", f"rm -rf {state} /var/lib/prometheus/node-exporter/*; mkdir -p {state}")
    code, output = site.play("monitoring", "-e", "monitoring_start_seconds=20")
    site.run("app3", f"rmdir {state}")
    assert code == 2, output
    assert "of site-alertmanager.service listens there" in output
    assert f"{told}:1 says --web.listen-address=:9100 and Keyturn needs" in output
    assert "its answer does not have keyturn_addresses_time_seconds" in output
    runs = site.run("app2", "tr '\\0' ' ' </proc/$(pgrep -f ^/usr/bin/prometheus-node)/cmdline")
    assert "--no-collector.wifi --web.listen-address=10." in runs, "its own arguments, and those that are needed"
    assert "200" in site.run("app2", f"curl -so /dev/null -w '%{{http_code}}' http://{AT['app2']}:9100/metrics"), (
        "a whole scrape"
    )
    site.run("lb", "echo 'scrape_configs: []' >/etc/prometheus/prometheus.yml")
    code, output = site.play("monitoring", "--limit", "lb")
    site.run("lb", "rm /etc/prometheus/prometheus.yml")
    assert code == 2, output
    assert "/etc/prometheus/prometheus.yml:1 was not written by Keyturn" in output


def open_env(fleet: Fleet) -> io.StringIO:
    return io.StringIO(fleet.run("app1", "cat /opt/trader-ai/.env"))


def attack() -> None:
    """Ask without a token until all requests have had an answer."""
    answered = 0
    while answered < ATTACK:
        answered += ask(f"http://{ADDRESS['app1']}:8000") == 500
        time.sleep(0.1)


def alerts(name: str) -> list[dict[str, Any]]:
    return list(get(f"{ALERTMANAGER}/api/v2/alerts?filter=alertname%3D{name}"))
