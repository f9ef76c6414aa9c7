"""An application is data of one folder: no code of the product knows the one that we ship, and a mistake is told by file and key."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.base.errors import KeyturnError
from keyturn.entry import inventory
from keyturn.inputs import application, catalogue
from keyturn.inputs.application import Application
from support.lab import ROOT

SHIPPED = Application(ROOT / "applications/trader_ai")
PRODUCT = ("module_utils", "library", "plugins", "roles", "playbooks", "ci", "bin")
# what a person of trader-ai types: three lines each
ITS_PLAYBOOKS = {
    *(ROOT / "playbooks" / one["commands"][0] for one in SHIPPED.part("policy.yml", "procedures").values()),
    *(ROOT / f"playbooks/rotate_{name}.yml" for name in SHIPPED.offered),
}


def choices(spec: catalogue.Spec) -> Iterator[str]:
    """Every legal value that the product itself has: providers and probes have the names of their protocols."""
    for option in spec.values():
        yield from option.get("choices", ())
        yield from choices(option.get("options", {}))


def words() -> set[str]:
    """What only the application's own files may say: its secrets, variables, tables, files, routes, texts of its log, counters."""
    entries = SHIPPED.part("catalogue.yml", "secrets") | SHIPPED.offered
    counted = SHIPPED.part("monitoring.yml")
    found = {*entries, *SHIPPED.variables(), counted["namespace"]}
    for entry in entries.values():
        found |= {*entry["variables"], *entry.get("aliases", {})}
        found |= {consumer["path"] for consumer in entry["consumers"]} - {".env"}
        found |= {column["table"] for column in entry["migration"].get("columns", ())}
        found |= {entry["migration"]["database"]} if "database" in entry["migration"] else set()
        found |= {probe["path"] for probe in entry["probes"] if "path" in probe}
    for name, line in SHIPPED.part("catalogue.yml", "log_lines").items():
        found |= {name, line.get("logger", ""), line["message"].strip()}
    found |= {count["counter"] for count in (*counted["counts"], *counted["access"]["counts"])}
    found |= {name for count in counted["counts"] for name in count.get("ends", ())}
    found |= {told["alert"] for told in counted["metrics"].values()} | set(counted["metrics"])
    found |= {contact["address"] for contact in SHIPPED.part("policy.yml", "contacts").values()}
    found |= {"trader-ai", "Trader AI"}
    shared = {*choices(catalogue.ENTRY), *choices(catalogue.SERVICE), *choices(catalogue.STORE), ""}
    # of the policy of everybody: a heading of the logger's level, and the protocol's word for a refused login
    return {word for word in found if word not in shared | {"auth"}}


def product_files() -> Iterator[Path]:
    for folder in PRODUCT:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix != ".pyc" and path not in ITS_PLAYBOOKS:
                yield path


def test_no_file_of_the_product_names_what_is_the_application_s() -> None:
    assert len(words()) > 50
    pattern = re.compile(
        "|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in sorted(words(), key=len, reverse=True))
    )
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in product_files()
        for match in pattern.finditer(path.read_text())
    }
    assert sorted(found) == []


def test_the_default_stands_in_one_place() -> None:
    named = {str(path.relative_to(ROOT)): path.read_text().count("trader_ai") for path in product_files()}
    assert {path: count for path, count in named.items() if count} == {"module_utils/keyturn/inputs/application.py": 1}


def test_its_playbooks_are_three_lines_each() -> None:
    for path in ITS_PLAYBOOKS:
        (play,) = yaml.safe_load(path.read_text())
        assert set(play) == {"name", "ansible.builtin.import_playbook", "vars"}
        assert play["vars"].keys() == {"keyturn_secret"}


def test_what_we_ship_has_nothing_wrong() -> None:
    for folder in (ROOT / "applications").iterdir():
        assert list(Application(folder).problems()) == [], folder.name


def test_optional_secrets_are_there_where_the_inventory_chooses_them() -> None:
    first, *others = SHIPPED.offered
    chosen = SHIPPED._replace(optional=(first,))
    assert set(chosen.part("catalogue.yml", "secrets")) - set(SHIPPED.part("catalogue.yml", "secrets")) == {first}
    assert set(chosen.part("incident.yml", "order")) - set(SHIPPED.part("incident.yml", "order")) == {first}
    assert not {*others} & {name for row in chosen.part("incident.yml", "table").values() for name in row["precaution"]}
    wrong = SHIPPED._replace(optional=("moon", first))
    assert list(wrong.problems()) == [
        f"keyturn_optional_secrets names moon, and optional_secrets of catalogue.yml has {', '.join([first, *others])}"
    ]


def test_an_inventory_chooses_the_same_for_all_its_hosts() -> None:
    assert application.optional([None, ["a", "b"], ["a", "b"]]) == ("a", "b")
    assert application.optional([None, []]) == application.optional([]) == ()
    for stated, message in (("a", "must be a list of names"), (["b"], "name several by keyturn_optional_secrets")):
        with pytest.raises(KeyturnError, match=message):
            application.optional([["a"], stated])


def test_a_secret_is_optional_or_is_not(mine: Path) -> None:
    text = (mine / "catalogue.yml").read_text()
    (mine / "catalogue.yml").write_text(text.replace("optional_secrets:\n", "optional_secrets:\n  jwt: {}\n"))
    assert list(Application(mine).problems()) == [
        "catalogue.yml: jwt is in secrets and in optional_secrets: leave it in one of them"
    ]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED.folder, tmp_path / "shop"))


WRONG = [
    ("catalogue.yml", "secrets: []\n", "catalogue.yml: secrets must be a mapping"),
    ("catalogue.yml", "secret: {}\n", "catalogue.yml: secret is nothing that Keyturn knows"),
    ("catalogue.yml", "", "catalogue.yml: secrets must be a mapping"),
    ("catalogue.yml", "- a\n", "catalogue.yml: a mapping of names must stand there"),
    ("catalogue.yml", "secrets:\n  a: {b: ]\n", "catalogue.yml, line 2: this is no YAML"),
    ("policy.yml", "review: {next: 2026-02-30}\n", "policy.yml: a date in it is none"),
    ("policy.yml", "owner: me\n", "policy.yml: checklist must be a list"),
    (
        "policy.yml",
        "checklist: []\nthresholds: [{metric: a, title: b, warning: x, critical: 2}]\n",
        "thresholds[0].warning must be",
    ),
    ("incident.yml", "order: {}\n", "incident.yml: table must be a mapping"),
    (
        "incident.yml",
        "order: {}\ntable: {a: {title: x, affected: [], precaution: [], tokens: often, by_hand: []}}\n",
        "table.a.tokens must be",
    ),
    ("monitoring.yml", "counts: [{line: a}]\n", "monitoring.yml: counts[0].counter must be a text"),
    ("variables.yml", "keyturn_x: 7\n", "variables.yml: keyturn_x must be a text or a list"),
]


@pytest.mark.parametrize(("file", "text", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_a_mistake_is_told_by_file_and_key(mine: Path, file: str, text: str, said: str) -> None:
    (mine / file).write_text(text)
    assert any(said in problem for problem in Application(mine).problems()), list(Application(mine).problems())


def test_a_file_that_is_not_there_is_an_empty_one(mine: Path) -> None:
    for name in application.FILES.keys() - set(application.NEEDED):
        (mine / name).unlink()
    found = Application(mine)
    assert list(found.problems()) == []
    assert (found.part("incident.yml", "table"), found.part("monitoring.yml", "counts"), found.variables()) == (
        {},
        [],
        {},
    )


@pytest.mark.parametrize("name", application.NEEDED)
def test_what_no_rotation_can_do_without_is_named(mine: Path, name: str) -> None:
    (mine / name).unlink()
    assert [problem.partition(" must")[0] for problem in Application(mine).problems()] == {
        "catalogue.yml": ["catalogue.yml: secrets"],
        "policy.yml": ["policy.yml: review", "policy.yml: checklist"],
    }[name]


def test_what_everybody_may_change_decides_nothing(mine: Path) -> None:
    (mine / "catalogue.yml").chmod(0o666)
    (said,) = Application(mine).problems()
    assert (
        said
        == f"{mine}/catalogue.yml may be changed by everybody, and decides what a run does: chmod go-w {mine}/catalogue.yml"
    )


def problem(mine: Path) -> str:
    (said,) = Application(mine).problems()
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to a group of others")
def test_what_a_group_may_change_decides_nothing_unless_nobody_else_is_in_it(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (mine / "catalogue.yml", mine):
        os.chown(place, -1, 4711)
        place.chmod(0o770)
        assert list(Application(mine).problems()) == []
        with monkeypatch.context() as patch:
            patch.setattr(pwd, "getpwall", lambda: [pwd.struct_passwd(("eve", "x", 4712, 4711, "", "/", ""))])
            assert problem(mine).startswith(f"{place} may be changed by a group (eve), and decides what a run does")
        place.chmod(0o700)


def test_what_may_be_exchanged_on_the_way_to_it_decides_nothing(mine: Path) -> None:
    mine.parent.chmod(0o777)
    assert problem(mine).startswith(f"{mine.parent}, in which {mine} lies, may be changed by everybody")
    mine.parent.chmod(0o1777)
    assert list(Application(mine).problems()) == [], "nobody renames there what is another's"


def test_no_file_is_followed_that_would_never_end(mine: Path) -> None:
    (mine / "policy.yml").unlink()
    os.mkfifo(mine / "policy.yml", 0o600)
    assert any("is not a regular file" in problem for problem in Application(mine).problems())


@pytest.mark.parametrize(
    "name", ["", "../x", "Shop", "a-b", "shop/", "/srv/a-b", "/", "srv/shop", "a" * 64, None, ["shop"], True]
)
def test_an_application_is_a_name_or_an_absolute_folder(name: Any) -> None:
    with pytest.raises(
        KeyturnError, match=r"^keyturn_application must be the name of a folder in applications/, or an absolute path"
    ):
        application.chosen(name, ROOT)


def test_an_application_s_folder_is_named_where_there_is_none() -> None:
    (said,) = application.chosen("shop", ROOT).problems()
    assert said.startswith(f"keyturn_application: there is no folder {ROOT}/applications/shop")
    assert "trader_ai" in said
    assert application.chosen("/srv/x/../shop", ROOT).folder == Path("/srv/shop")


class Hosts(dict[str, dict[str, Any]]):
    """What Ansible knows of hosts."""

    def raw_get(self, host: str) -> dict[str, Any]:
        return self[host]


def test_hosts_choose_together_and_one_that_says_nothing_has_nothing_against_it() -> None:
    hosts = Hosts(web={"keyturn_application": "trader_ai", "keyturn_hosts": "shop"}, balancer={})
    assert inventory.choose(hosts) == inventory.chosen() == (SHIPPED, "shop")
    assert inventory.choose(Hosts(web={})) == (SHIPPED, "trader_ai")
    for name, values in (("keyturn_application", ("a", "b")), ("keyturn_hosts", ("a", "b"))):
        with pytest.raises(
            KeyturnError, match=rf"^an inventory has one application, and its hosts name several by {name}: a, b$"
        ):
            inventory.choose(Hosts({value: {name: value} for value in values}))
    with pytest.raises(KeyturnError, match=r"^keyturn_hosts must be the name of a group"):
        inventory.choose(Hosts(web={"keyturn_hosts": "all:!web"}))


def test_the_policy_s_schedule_is_the_age_of_a_secret() -> None:
    found = application.secrets({"a": {"title": "A"}, "b": {"max_age_days": 7}}, {"a": {"max_age_days": 90}})
    assert found == {"a": {"title": "A", "max_age_days": 90}, "b": {"max_age_days": 7}}
