"""The guard before the first task: one sentence for all that is wrong with a run, whoever started it and with what."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.collections import ImmutableDict
from ansible.plugins.loader import lookup_loader
from ansible.utils.vars import load_extra_vars
from support.lab import ROOT

BASE = {"keyturn_environment": "test", "keyturn_app_root": "/opt/app", "keyturn_services": {}}


class Resolved(dict[str, Any]):
    """Variables of a host; a template of these tests resolves to nothing."""

    def __getitem__(self, name: str) -> Any:
        if "{{" in str(super().__getitem__(name)):
            raise AnsibleError("it is undefined")
        return super().__getitem__(name)


class HostVars(dict[str, dict[str, Any]]):
    """What Ansible knows of each host; ``raw_get`` is as it stands in the inventory."""

    def __getitem__(self, host: str) -> dict[str, Any]:
        return Resolved(super().__getitem__(host))

    def raw_get(self, host: str) -> dict[str, Any]:
        return dict(super().__getitem__(host))


def guard(
    monkeypatch: pytest.MonkeyPatch,
    hosts: dict[str, dict[str, Any]],
    may: str = "",
    typed: dict[str, Any] | None = None,
    of: str = "application",
    **options: Any,
) -> list[str]:
    lookup_loader.add_directory(str(ROOT / "plugins/lookup"))
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(options))
    monkeypatch.setattr(load_extra_vars, "extra_vars", typed or {}, raising=False)
    watching = [host for host in hosts if host.startswith("watch")]
    groups = {"trader_ai": [host for host in hosts if host not in watching], "monitoring": watching}
    described = {host: given if host in watching else BASE | given for host, given in hosts.items()}
    known = {"groups": groups, "hostvars": HostVars(described)}
    found = lookup_loader.get("keyturn_whole_run").run([of], variables=known, **({may: True} if may else {}))
    return list(found)


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: Any, **more: Any) -> str:
    with pytest.raises(SystemExit) as ended:
        guard(monkeypatch, *args, **more)
    assert ended.value.code == 2
    _, error, said = capsys.readouterr().err.partition("[ERROR]")  # what Ansible still had to warn of comes before it
    return " ".join((error + said).split())


def test_a_run_that_can_be_meant_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard(monkeypatch, {"app1": {"keyturn_reason": "quarterly", "ansible_user": None}}) == ["trader_ai"]


def test_what_every_rotation_needs_is_missed_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(BASE, "keyturn_app_root")
    said = refusal(monkeypatch, capsys, {"app1": {"keyturn_app_root": "/opt/app"}, "app2": {}})
    assert said.startswith("[ERROR]: app2: keyturn_app_root is missing, which every rotation needs: docs/reference/")
    for may in ("may_be_part", "may_be_unknown"):
        assert guard(monkeypatch, {"app2": {}}, may) == ["trader_ai"]


def test_an_inventory_without_hosts_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(monkeypatch, capsys, {"watch1": {}})
    assert said.startswith("[ERROR]: the group trader_ai of this inventory has no hosts: name the right inventory with")
    assert guard(monkeypatch, {"watch1": {}}, "may_be_part") == ["trader_ai"]


def test_hosts_are_named_where_not_all_are_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"keyturn_grace_day": 7, "keyturn_exclude": "app2"}
    said = refusal(monkeypatch, capsys, {"app1": wrong, "app2": {"keyturn_grace_day": 7}})
    assert said == (
        "[ERROR]: app1: keyturn_exclude is other text, and must be a mapping of names to reasons, {name: reason}; keyturn_grace_day is "
        "no variable of Keyturn: is keyturn_grace_days meant?; nothing was changed: mend that, and run it again"
    )


def test_an_address_with_a_password_of_the_monitoring_host_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = {"app1": {}, "watch1": {"monitoring_webhook_url": "https://u:pa55@hook", "monitoring_retention": "30d"}}
    said = refusal(monkeypatch, capsys, hosts, "may_be_part")
    assert said.startswith("[ERROR]: watch1: monitoring_webhook_url is other text, and must be an address that begins")
    assert "pa55" not in said


def test_a_template_is_resolved_where_it_must_and_told_where_it_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = {"app1": {"keyturn_operator": "{{ nobody }}", "keyturn_checks": {"jwt": "{{ later }}"}}}
    said = refusal(monkeypatch, capsys, hosts)
    assert said.startswith("[ERROR]: keyturn_operator is a template that does not resolve, and must be text; nothing")


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("subset", "app1", "--limit"),
        ("tags", ("x",), "--tags"),
        ("start_at_task", "Stage", "--start-at-task"),
        ("step", True, "--step"),
    ],
)
def test_an_option_that_leaves_something_out_is_told_by_its_name(
    option: str, value: Any, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(monkeypatch, capsys, {"app1": {}}, **{option: value})
    assert said.startswith(
        f"[ERROR]: this playbook must run whole, and {name} would leave out hosts or guards; nothing"
    )
    assert guard(monkeypatch, {"app1": {}}, "may_be_part", **{option: value}) == ["trader_ai"]


def test_a_setting_and_a_variable_are_told_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", "free")
    said = refusal(monkeypatch, capsys, {"app1": {"keyturn_batches": "all"}})
    assert (
        "DEFAULT_STRATEGY is set (env: ANSIBLE_STRATEGY), and" in said and "keyturn_batches is other text, and" in said
    )


def test_where_nothing_runs_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard(monkeypatch, {"app1": {"keyturn_reson": "x"}}, syntax=True) == ["trader_ai"]


@pytest.mark.parametrize("name", ["keyturn_application", "keyturn_hosts"])
def test_an_application_that_is_typed_is_not_looked_at(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ansible.module_utils.keyturn.entry.inventory.choose", None)
    said = refusal(monkeypatch, capsys, {"app1": {}}, typed={name: "/tmp/evil"})
    assert said.startswith(
        f"[ERROR]: {name} is said in the inventory, which people review, and not on the command line;"
    )


def test_a_playbook_that_only_looks_at_a_folder_may_be_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = {"keyturn_application": "trader_ai"}
    assert guard(monkeypatch, {"app1": {}}, "may_choose", typed, of="one") == ["app1"]
    assert guard(monkeypatch, {"watch1": {}}, "may_choose", typed, of="one") == ["localhost"]


def test_what_is_wrong_with_an_application_s_folder_refuses_each_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(monkeypatch, capsys, {"app1": {"keyturn_application": "/nowhere/shop"}})
    assert said.startswith(
        "[ERROR]: keyturn_application: there is no folder /nowhere/shop (in /nowhere there are: none);"
    )
