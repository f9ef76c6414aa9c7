"""Values in a credential that only their host opens: the way there and back, rotations on it, a boot, and no value on a disk."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO

import pytest
from support.canary import PLAIN, Scanner
from support.fleet import HOSTS, JWT, KEY, Fleet, container
from test_gate import HOLD, rename_held
from test_values_on_hosts import values

pytestmark = pytest.mark.new_application
SEALED = ("-e", "keyturn_delivery=systemd_credential")
CLEAR = ("-e", "keyturn_delivery=dotenv")
DROP_IN = "/etc/systemd/system/trader-ai-backend.service.d/zz-keyturn-credential.conf"
BROKEN = "/etc/systemd/system/trader-ai-backend.service.d/zzz-site.conf"
# all that survives a boot and that a rotation or a delivery may write to, what the units are, and what a boot takes away
PLACES = "etc opt/trader-ai run tmp var usr/local root home"
# memory that systemd gives to a service alone
CREDENTIALS = "run/credentials/"
ENVIRONMENT = """
import json, subprocess
pid = subprocess.check_output(["systemctl", "show", "-p", "MainPID", "--value", "trader-ai-backend"], text=True).strip()
lines = open(f"/proc/{pid}/environ").read().split(chr(0))
print(json.dumps(dict(line.split("=", 1) for line in lines if "=" in line)))
"""


def given(fleet: Fleet, host: str) -> dict[str, str]:
    """Return the environment that the backend of a host runs with."""
    return dict(json.loads(fleet.run(host, f"python3 -c '{ENVIRONMENT}'")))


def on_disk(host: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the files on a host's disk, and of those in its memory but the credentials themselves."""
    command = ["podman", "exec", container(host), "sh", "-c", f"tar -c -C / --ignore-failed-read {PLACES} 2>/dev/null"]
    archive = subprocess.run(command, capture_output=True, check=False).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        for member in files:
            file = files.extractfile(member) if member.isfile() else None
            if file is not None and not member.name.startswith(CREDENTIALS):
                yield member.name, file.read()


def test_there_rotations_a_boot_and_back(fleet: Fleet) -> None:
    scanner = Scanner(values(fleet, "before"))
    assert any(scanner.find(content) for _, content in on_disk("app1")), "the scan does not see a value where it is"
    code, output = fleet.play("migrate_delivery", *SEALED, "--check")
    assert code == 0 and " ".join(output.split()).count("and restart the services") == len(HOSTS), output
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code == 0, output
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code == 0, output
    assert output.rpartition("PLAY RECAP")[2].count("changed=0 ") == len(HOSTS), output
    # as a kill leaves it that came before the start
    fleet.run("app2", "systemctl stop trader-ai-backend trader-ai-engine")
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code == 0, output
    assert JWT in given(fleet, "app2")

    for playbook, variable in (("rotate_jwt_secret", JWT), ("rotate_db_key", KEY)):
        before = {host: given(fleet, host) for host in HOSTS}
        code, output = fleet.play(playbook, *SEALED)
        assert code == 0, output[-4000:]
        after = {host: given(fleet, host) for host in HOSTS}
        assert all(before[host][variable] != after[host][variable] for host in HOSTS)
        proofs = [line for line in fleet.report()["hosts"]["app2"]["proofs"] if line["proof"] == "environment"]
        assert proofs and {line["verdict"] for line in proofs} == {"accepted"}
    names = {name: value for name, value in after["app1"].items() if name in before["app1"] and name not in PLAIN}
    known = {f"{host} {name}": after[host][name] for host in HOSTS for name in (JWT, KEY)}
    known |= {f"{host} {name} (previous)": before[host][name] for host in HOSTS for name in (JWT, KEY)}
    scanner = Scanner(known | {name: names[name] for name in ("PLAID_SECRET", "ALPACA_SECRET_KEY", "HF_TOKEN")})
    found = [
        f"{name} in {host}: {place}"
        for host in HOSTS
        for place, content in on_disk(host)
        for name in scanner.find(content)
    ]
    assert sorted(found) == []
    units = fleet.run("app1", "systemctl show trader-ai-backend; systemctl cat trader-ai-backend")
    assert scanner.find(units.encode()) == set()

    fleet.power_off("app1")
    fleet.boot("app1")
    fleet.start_application("app1")
    assert {name: given(fleet, "app1")[name] for name in (JWT, KEY)} == {
        name: after["app1"][name] for name in (JWT, KEY)
    }

    code, output = fleet.play("rotate_jwt_secret", *CLEAR)
    assert code != 0
    assert "keyturn_delivery: systemd_credential" in " ".join(output.split()), output
    # somebody has added the template's lines again
    fleet.run("app1", f"printf '{JWT}=\n{KEY}=\n' >>/opt/trader-ai/.env")
    code, output = fleet.play("migrate_delivery", *CLEAR)
    assert code == 0, output
    assert fleet.run("app1", "ls /etc/credstore.encrypted; find /etc/systemd -name zz-keyturn-credential*") == ""
    held = fleet.assert_ended()
    assert all(one["lost"] == 0 for one in held.values())
    fleet.assert_verified()


def break_unit(fleet: Fleet) -> None:
    """A drop-in of the site, after ours: systemd hands over nothing."""
    text = "[Service]\\nLoadCredentialEncrypted=\\n"
    fleet.run("app1", f"mkdir -p $(dirname {BROKEN}); printf '{text}' >{BROKEN}; systemctl daemon-reload")


def test_a_unit_that_does_not_start_on_it_takes_the_host_back(fleet: Fleet) -> None:
    before = fleet.run("app1", "sha256sum /opt/trader-ai/.env; stat -c '%a %u %g' /opt/trader-ai/.env")
    # where the launcher belongs there is something else
    fleet.run("app1", "rm -rf /usr/local/lib/keyturn; touch /usr/local/lib/keyturn")
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code != 0
    assert "'/usr/local/lib/keyturn'; the values are where they were" in " ".join(output.split()), output
    fleet.run("app1", "rm /usr/local/lib/keyturn")
    assert fleet.run("app1", "systemctl is-active trader-ai-backend").strip() == "active"
    break_unit(fleet)
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code != 0
    assert "the values are where they were" in " ".join(output.split()), output
    assert fleet.run("app1", "sha256sum /opt/trader-ai/.env; stat -c '%a %u %g' /opt/trader-ai/.env") == before
    for host in HOSTS:
        assert fleet.run(host, f"find /etc/credstore.encrypted {DROP_IN} -type f 2>/dev/null", check=False) == ""
    fleet.run("app1", f"rm {BROKEN}; systemctl daemon-reload")
    fleet.assert_ended()
    fleet.assert_verified()


def test_a_host_that_loses_power_on_the_way_boots_and_is_simply_run_again(fleet: Fleet) -> None:
    run = fleet.start("migrate_delivery", *SEALED)
    with rename_held(fleet, "app1") as wait:
        run.wait_for("TASK [rotation : Deliver the values")
        wait()
        fleet.power_off("app1")
    code, _ = run.end()
    assert code != 0
    fleet.boot("app1")
    fleet.run("app1", f"rm {HOLD}")
    fleet.start_application("app1")
    assert JWT in given(fleet, "app1"), "the credential delivers already, beside the file"
    assert JWT in fleet.run("app1", "cat /opt/trader-ai/.env")
    # half of the way is no place to go back to
    break_unit(fleet)
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code != 0
    assert "the values are where they were" in " ".join(output.split()), output
    assert fleet.run("app1", "systemctl is-active trader-ai-backend").strip() == "active"
    assert fleet.run("app1", f"find /etc/credstore.encrypted {DROP_IN} -type f 2>/dev/null", check=False) == ""
    fleet.run("app1", f"rm {BROKEN}; systemctl daemon-reload")
    code, output = fleet.play("migrate_delivery", *SEALED)
    assert code == 0, output
    assert all(JWT not in fleet.run(host, "cat /opt/trader-ai/.env") for host in HOSTS)
    code, output = fleet.play("migrate_delivery", *CLEAR)
    assert code == 0, output
    fleet.assert_ended()
    fleet.assert_verified()
