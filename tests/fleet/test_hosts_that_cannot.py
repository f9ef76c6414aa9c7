"""One host cannot do what is asked: its disk is full, its files are read-only, its service does not start, it is not alone."""

from __future__ import annotations

import pytest
from support.fleet import HOSTS, JWT, KEY, Fleet, moved, one_side, record

# A disk of its own: a file system in memory is refused before it can be full. The words of Bash are entered on the host by a
# process of this machine, which may make the nodes of the loop devices that a container lacks.
SMALL_DISK = """
set -e; image=/var/lib/small.img; rm -f $image; mkfs.ext4 -q -m 0 -O ^has_journal $image {size}
[ -e /dev/loop-control ] || mknod -m 600 /dev/loop-control c 10 237
for number in $(seq 0 31); do [ -e /dev/loop$number ] || mknod -m 600 /dev/loop$number b 7 $number; done
mkdir -p -m 700 /var/lib/keyturn; mount -o loop $image /var/lib/keyturn; chmod 700 /var/lib/keyturn
"""
FILL = "dd if=/dev/zero of=/var/lib/keyturn/fill bs=4k 2>/dev/null || true"  # it ends where the disk does
REFUSE_OTHERS = r"""
held() {{ grep ^{variable}= /opt/trader-ai/.env | sha256sum; }}
printf '#!/bin/sh\n[ "$(grep ^{variable}= /opt/trader-ai/.env | sha256sum)" = "%s" ]\n' "$(held)" >/usr/local/bin/refuse
chmod 755 /usr/local/bin/refuse
mkdir -p /etc/systemd/system/trader-ai-backend.service.d
printf '[Service]\nExecStartPre=/usr/local/bin/refuse\n' >/etc/systemd/system/trader-ai-backend.service.d/10-refuse.conf
systemctl daemon-reload
"""


READ_ONLY_FILE = (
    "mount --bind /opt/trader-ai/.env /opt/trader-ai/.env && mount -o remount,ro,bind /opt/trader-ai/.env",
    "umount /opt/trader-ai/.env",
    "/opt/trader-ai/.env is a mount point",
)
READ_ONLY_FOLDER = (
    "mount --bind /opt/trader-ai /opt/trader-ai && mount -o remount,ro,bind /opt/trader-ai",
    # the unit has its own name space of mounts, in which its folder stays another one
    "umount -l /opt/trader-ai; systemctl restart trader-ai-backend trader-ai-engine",
    "/opt/trader-ai/.env is on a read-only file system",
)
FULL_DISK = (
    SMALL_DISK.format(size="512k") + FILL,
    "umount /var/lib/keyturn && rm /var/lib/small.img",
    "No space left on device",
)
SERVICE_DOWN = (
    "systemctl stop trader-ai-backend",
    "systemctl start trader-ai-backend",
    "service backend is not healthy",
)
UNREACHABLE = ("systemctl stop ssh.socket ssh; pkill sshd || true", "systemctl start ssh", "app2 cannot be reached")
OTHER_VALUE = (
    "cp -p /opt/trader-ai/.env /tmp/before; "
    "sed -i 's/^JWT_SECRET_KEY=.*/JWT_SECRET_KEY=another-value-of-some-length/' /opt/trader-ai/.env; "
    "systemctl restart trader-ai-backend; sleep 2",
    "cp -p /tmp/before /opt/trader-ai/.env; systemctl restart trader-ai-backend",
    "keyturn_adopt: HOST",
)
CLOCK_AHEAD = (
    "echo 'import time; time.time = lambda real=time.time: real() + 300' "
    ">/usr/local/lib/python3.11/dist-packages/ahead.pth",
    "rm /usr/local/lib/python3.11/dist-packages/ahead.pth",
    # by five minutes, and by how much longer one call takes than another
    "the clocks of the hosts differ by ",
)


@pytest.mark.parametrize(
    "ills",
    [
        {"app1": READ_ONLY_FOLDER, "app2": FULL_DISK, "app3": READ_ONLY_FILE},
        {"app3": SERVICE_DOWN},
        {"app2": UNREACHABLE},
        {"app2": OTHER_VALUE},
        {"app2": CLOCK_AHEAD},
    ],
    ids=["each_its_own", "service_down", "unreachable", "other_value", "clock"],
)
def test_hosts_that_cannot_are_named_and_nothing_changes(fleet: Fleet, ills: dict[str, tuple[str, str, str]]) -> None:
    for host, (hurt, _, _) in ills.items():
        fleet.run(host, hurt)
    before = fleet.look()
    code, output = fleet.play("rotate_jwt_secret")
    after = fleet.look()
    for host, (_, heal, _) in ills.items():
        fleet.run(host, heal)
        fleet.start_application(host)
    assert code != 0
    report = fleet.report()
    assert report["outcome"] == "refused", output
    assert not moved(JWT, before, after)
    found = fleet.assert_ended()
    for _, _, cause in ills.values():
        assert cause in report["failure"], output
        record(cause.split(" is ")[-1][:40], "jwt, before", report["outcome"], {"old": HOSTS}, found)


@pytest.mark.covering
@pytest.mark.parametrize("playbook", ["resume", "rollback"])
def test_a_disk_that_fills_up_in_the_rotation(fleet: Fleet, playbook: str) -> None:
    fleet.run("app2", SMALL_DISK.format(size="16m"))
    before = fleet.look()
    run = fleet.start("rotate_db_key")
    with fleet.lock_held("app2", "staged") as wait:
        wait()  # the canary has committed, and the next batch prepares
        fleet.run("app2", FILL)
    code, output = run.end()
    assert code != 0
    assert "No space left on device" in fleet.report()["failure"], output
    assert fleet.open_rotations() == ["app2"], "it could not even write that it goes back"
    assert all(fleet.healthy(host) for host in HOSTS)
    fleet.run("app2", "rm /var/lib/keyturn/fill")
    _, output = fleet.play(playbook)
    assert fleet.report()["outcome"] == "committed_in_part", output
    found = fleet.assert_ended()
    assert moved(KEY, before, found) == ["app1"]
    ended = f"{playbook}: committed_in_part"
    record("disk full", "db_key, prepare of app2", ended, {"old": HOSTS[1:], "new": HOSTS[:1]}, found)


@pytest.mark.covering
@pytest.mark.parametrize(("playbook", "variable"), [("rotate_jwt_secret", JWT), ("rotate_db_key", KEY)])
def test_a_service_that_does_not_start_with_the_new_value(fleet: Fleet, playbook: str, variable: str) -> None:
    before = fleet.look()
    fleet.run("app2", REFUSE_OTHERS.format(variable=variable))
    code, output = fleet.play(playbook)
    fleet.run("app2", "rm /etc/systemd/system/trader-ai-backend.service.d/10-refuse.conf; systemctl daemon-reload")
    assert code != 0
    found, report = fleet.assert_ended(), fleet.report()
    committed = ["app1"] if playbook == "rotate_db_key" else []
    assert moved(variable, before, found) == committed, output
    assert "app2: service backend" in report["failure"]
    assert report["outcome"] == ("committed_in_part" if committed else "rolled_back")
    assert {host: said["outcome"] for host, said in report["hosts"].items()} == {
        host: "committed" if host in committed else "rolled_back" for host in HOSTS
    }
    back = [host for host in HOSTS if host not in committed]
    record("service does not start", f"{variable}, switch", report["outcome"], {"old": back, "new": committed}, found)


def test_two_controllers_at_once(fleet: Fleet) -> None:
    before = fleet.look()
    runs = [fleet.start("rotate_jwt_secret"), fleet.start("rotate_db_key")]
    ends = [run.end() for run in runs]
    found = fleet.assert_ended()
    turned = [moved(variable, before, found) == list(HOSTS) for variable in (JWT, KEY)]
    assert [code == 0 for code, _ in ends] == turned, ends
    assert [bool(moved(variable, before, found)) for variable in (JWT, KEY)] == turned, "all hosts or none"
    assert not all(turned), "one must have been refused"
    refused = next(output for code, output in ends if code)
    assert "is open on this host" in refused, refused
    outcome = " and ".join("committed" if code == 0 else "refused" for code, _ in ends)
    record("two controllers", "jwt and db_key", outcome, {"new" if turned[0] else "old": HOSTS}, found)


def test_a_second_controller_is_refused_while_the_first_works(fleet: Fleet) -> None:
    before = fleet.look()
    first = fleet.start("rotate_jwt_secret")
    with fleet.lock_held("app2", "staged") as wait:
        wait()
        code, output = fleet.play("rotate_jwt_secret")
        assert code != 0
        assert "is open on this host" in " ".join(output.split()), output
    code, output = first.end()
    assert code == 0, output
    found = fleet.assert_ended()
    assert one_side(JWT, before, found) == "new"
    record("second controller", "jwt, prepare", "first committed, second refused", {"new": HOSTS}, found)
