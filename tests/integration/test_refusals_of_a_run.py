"""What ansible-playbook refuses: partial runs, wrong inventories, a wrong catalogue, a host that is not ready."""

from __future__ import annotations

import contextlib
import copy
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from support import reports
from support.evidence import everything
from support.lab import ROOT, Lab

PARTS = [
    ("--limit", "here"),
    ("--limit", "here,localhost"),
    ("--tags", "x"),
    ("--skip-tags", "always"),
    ("--tags", "x", "--skip-tags", "always"),
    ("--start-at-task", "Stage"),
    ("--start-at-task", "no such task"),
]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab whose service is down: nobody comes so far as to ask it."""
    return Lab(tmp_path)


@pytest.mark.covering(arguments=lambda arguments: arguments[::2])
@pytest.mark.parametrize("arguments", PARTS, ids=" ".join)
def test_a_run_of_a_part_is_refused(lab: Lab, arguments: tuple[str, ...]) -> None:
    before = everything(lab)
    done = lab.play("rotate_db_key", *arguments)
    assert done.returncode not in (0, None), done.stdout
    assert f"this playbook must run whole, and {', '.join(arguments[::2])} would leave out" in done.stderr + done.stdout
    assert everything(lab) == before


@pytest.mark.covering
@pytest.mark.parametrize("playbook", ["resume", "rollback", "verify"])
def test_the_other_playbooks_have_the_same_guard(lab: Lab, playbook: str) -> None:
    done = lab.play(playbook, "--tags", "x", "--skip-tags", "always")
    assert done.returncode != 0
    assert "this playbook must run whole" in done.stderr + done.stdout


def test_a_run_that_cannot_be_meant_is_refused_in_one_sentence(lab: Lab) -> None:
    lab.write_inventory(keyturn_exclud={"here": "a slip"})
    arguments = (
        "rotation_goes_on=true",
        "keyturn_reson=quarterly",
        "keyturn_batches=all",
        "keyturn_exclude=here",
        "keyturn_plaid_url=http://u:pa55@x",
    )
    before = everything(lab)
    done = lab.play(
        "rotate_db_key",
        *(part for one in arguments for part in ("-e", one)),
        ANSIBLE_STRATEGY="free",
        ANSIBLE_RUN_TAGS="x",
    )
    said = done.stderr.strip()
    assert done.returncode == 2
    assert said.startswith("[ERROR]: this playbook must run whole, and --tags would leave out"), said
    for text in (
        "DEFAULT_STRATEGY is set (env: ANSIBLE_STRATEGY), and hosts would not wait for each other between the phases",
        "keyturn_batches is other text, and must be a list of numbers of hosts and shares of them",
        "keyturn_exclud is no variable of Keyturn: is keyturn_exclude meant?",
        "keyturn_exclude is other text, and must be a mapping of names to reasons",
        "keyturn_plaid_url is other text, and must be an address that begins with http:// or https://, without a user",
        "keyturn_reson is no variable of Keyturn: is keyturn_reason meant?",
        "rotation_goes_on is what a phase tells the next, and is not said on the command line",
        "nothing was changed",
    ):
        assert text in said
    assert "lookup" not in said and "Traceback" not in said and "pa55" not in said
    assert "TASK" not in done.stdout
    assert everything(lab) == before


@pytest.mark.covering(playbook=lambda playbook: playbook.startswith("rotate"))
@pytest.mark.parametrize("playbook", ["rotate_db_key", "resume", "rollback", "verify"])
def test_an_inventory_without_application_hosts_is_refused(lab: Lab, playbook: str) -> None:
    path = lab.inventory / "hosts.yml"
    path.write_text(path.read_text().replace("trader_ai:", "trader_al:"))
    refused(lab, lab.play(playbook), "the group trader_ai of this inventory has no hosts")


def test_a_host_without_its_variables_is_refused(lab: Lab) -> None:
    document = yaml.safe_load((lab.inventory / "hosts.yml").read_text())
    del document["trader_ai"]["vars"]["keyturn_app_root"]
    (lab.inventory / "hosts.yml").write_text(yaml.safe_dump(document))
    refused(
        lab,
        lab.play("rotate_db_key"),
        "keyturn_app_root is missing, which every rotation needs: docs/reference/variables.md",
    )


def test_a_bad_entry_is_refused_by_name_with_the_legal_values(lab: Lab) -> None:
    entry = catalogue()
    entry["db_key"]["migration"]["kind"] = "fernet_mysql"
    (lab.folder / "catalogue.yml").write_text(yaml.safe_dump({"keyturn_secrets": entry}))
    done = lab.play("rotate_db_key", "-e", f"@{lab.folder}/catalogue.yml")
    refused(
        lab,
        done,
        "keyturn_secrets.db_key:",
        "must be one of: none, fernet_sqlite, ",
        "got: fernet_mysql",
    )


def test_an_unknown_secret_is_refused(lab: Lab) -> None:
    done = lab.play("rotate_db_key", "-e", "keyturn_secret=jwd")
    refused(lab, done, f"keyturn_secrets has no entry jwd (it has: {', '.join(sorted(catalogue()))})")


# one that its spec refuses, and one that only its meaning does: tests/unit/test_catalogue.py has all of them
CHANGES: list[tuple[str, Any, str]] = [
    ("source.generator", "uuid", "must be one of: fernet, hex, password, token_urlsafe, got: uuid found in source"),
    ("services", ["engine"], "service engine is not in keyturn_services of this host (it has: backend)"),
]


@pytest.mark.parametrize(("name", "value", "message"), CHANGES)
def test_the_plan_names_the_entry_and_what_is_legal(lab: Lab, name: str, value: Any, message: str) -> None:
    secrets = catalogue()
    place, _, last = f"db_key.{name}".rpartition(".")
    part = secrets
    for step in place.split("."):
        part = part[step]
    part[last] = value
    assert_plan_fails(lab, "keyturn_secrets.db_key: ", message, secrets=secrets)


def test_the_plan_names_the_host_and_the_service(lab: Lab) -> None:
    services = {"backend": lab.services["backend"] | {"manager": "upstart"}}
    assert_plan_fails(
        lab,
        "there: keyturn_services.backend: value of manager must be one of: script, systemd, got: upstart",
        hosts={"here": host(lab), "there": host(lab, keyturn_services=services)},
    )


def test_the_plan_names_the_host_whose_services_are_none(lab: Lab) -> None:
    message = "keyturn_services of there must be a mapping of services by name: docs/reference/variables.md says how"
    assert_plan_fails(lab, message, hosts={"here": host(lab), "there": host(lab, keyturn_services=[])})


def test_services_that_are_a_list_and_a_folder_that_cannot_be_made_are_refused_by_their_variables(lab: Lab) -> None:
    lab.write_inventory(keyturn_services=[])
    refused(lab, lab.play("rotate_db_key"), "keyturn_services is a list, and must be a mapping")
    lab.write_inventory(keyturn_reports_dir="/proc/nope")
    done = lab.play("rotate_db_key")
    refused(lab, done, "/proc/nope/test cannot be made", "set keyturn_reports_dir to a folder that you can write")


REQUESTS = [
    ({"reason": "a | b"}, "keyturn_reason must be 1 to 120 letters"),
    ({"rotation_id": "../../etc"}, "keyturn_rotation_id must look like 2026"),
    ({"pipeline_log": str(ROOT / "reports/test")}, "lies in the checkout of this job and ends with it"),
]


@pytest.mark.parametrize(("change", "message"), REQUESTS)
def test_the_plan_refuses_a_request_that_is_not_legal(lab: Lab, change: dict[str, Any], message: str) -> None:
    assert_plan_fails(lab, "", message, **change)


def test_the_plan_refuses_hosts_of_two_environments(lab: Lab) -> None:
    hosts = {name: host(lab, keyturn_environment=name) for name in ("staging", "production")}
    assert_plan_fails(lab, "must have one keyturn_environment, they have: production, staging", hosts=hosts)


def test_a_row_under_another_key_ends_in_a_report_that_says_refused(make_lab: Any) -> None:
    lab = make_lab()
    lab.start()
    with contextlib.closing(sqlite3.connect(lab.database)) as connection:
        foreign = Fernet(Fernet.generate_key()).encrypt(b"access-x").decode()
        connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = 'item-00002'", (foreign,))
        connection.commit()
    failure = check_report_of(lab, lab.play("rotate_db_key"))
    assert failure.startswith(f"here: {lab.database}: 1 rows cannot be turned, nothing was changed: ")
    assert "plaid_items.access_token of 'item-00002'" in failure


def test_a_state_folder_that_others_may_read_ends_in_a_report_that_says_refused(lab: Lab) -> None:
    lab.state.mkdir(mode=0o755)
    failure = check_report_of(lab, lab.play("rotate_db_key"))
    assert failure == f"here: {lab.state} is open to other users: chmod 700 {lab.state}"


def test_a_service_that_is_down_ends_in_a_report_that_says_refused(lab: Lab) -> None:
    failure = check_report_of(lab, lab.play("rotate_db_key"))
    url = lab.services["backend"]["health_url"]
    assert (
        failure
        == f"here: service backend is not healthy at {url}: start it (`cd {lab.app} && ./start.sh`), then rotate"
    )


def catalogue() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["secrets"]
    found["db_key"]["max_age_days"] = 90
    return copy.deepcopy(found)


def refused(lab: Lab, done: Any, *texts: str) -> None:
    said = " ".join((done.stdout + done.stderr).replace("''", "'").split())
    assert done.returncode != 0, said
    for text in texts:
        assert text in said
    assert not lab.state.exists()
    assert not lab.reports.exists()


def host(lab: Lab, **more: Any) -> dict[str, Any]:
    known = {"keyturn_environment": "test", "keyturn_app_root": str(lab.app), "keyturn_services": lab.services}
    return known | more


def assert_plan_fails(lab: Lab, *texts: str, **change: Any) -> None:
    request = {
        "secrets": catalogue(),
        "application": str(ROOT / "applications/trader_ai"),
        "secret": "db_key",
        "hosts": {"here": host(lab)},
        "reason": "a test",
    }
    answer = lab.action("plan", **(request | change))
    assert answer.get("failed"), "the plan accepted it"
    for text in texts:
        assert text in answer["msg"]


def check_report_of(lab: Lab, done: Any) -> str:
    assert done.returncode == 2, done.stdout
    report = reports.report(lab)
    assert report["outcome"] == "refused", report["failure"]
    assert "REFUSED: Database Encryption Key (db_key) in test" in done.stdout
    (record,) = reports.log(lab)
    assert (record["outcome"], record["verified_by"]) == ("refused", "nobody")
    assert lab.journals() == []
    assert lost_nothing(lab)
    return str(report["failure"])


def lost_nothing(lab: Lab) -> bool:
    return not list(lab.state.rglob("*.json")) and lab.get("/health") in (200, 0)
