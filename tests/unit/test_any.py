"""`Any` in the signatures of the logic: a parameter or a result whose shape has no name says nothing to who calls, and hides mistakes."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "module_utils/keyturn"
# those that are left, by their reason
LEFT = {
    "the caller has named the shape that was looked for, and gives what it gets that shape's type": {
        "base.durable.parse_json",
        "base.durable.read_json",
        "base.shape.fitting",
        "inputs.validation.taken",
        "inputs.validation.validated",
    },
    "a record as an auditor's Python reads it, whose file goes into every pack and imports nothing of Keyturn's": {
        "records.verify_chain.chain",
        "records.verify_chain.part",
        "records.verify_chain.parsed",
        "records.verify_chain.reports",
        "records.verify_chain.signatures",
    },
    "a file of an application's, whose parts each have a shape of their own (`FILES`)": {
        "inputs.application._read",
        "inputs.application.file",
        "inputs.application.part",
    },
    "what a library takes or answers, and has no types for": {
        "base.http.__init__",
        "entry.module.run",
        "ground.rows.postgresql_session._words",
        "ground.rows.postgresql_session.connected",
        "ground.rows.postgresql_session.fetchall",
        "ground.rows.postgresql_session.fetchone",
        "ground.rows.postgresql_session.transaction",
        "ground.rows.postgresql_table._refusals",
        "ground.rows.postgresql_table.row",
        "stores.aws_secretsmanager._call",
        "stores.http_session.send",
        "stores.openbao._read",
    },
    "Ansible's own: the variables of hosts, options of a documentation, parameters before they have their types": {
        "entry.inventory._stated",
        "entry.inventory.choose",
        "entry.module._typed",
        "inputs.documented._spec",
        "inputs.documented.one",
    },
    "its name lies on a floor above": {
        "ground.rows.command_checked_meaning.check",
        "ground.rows.command_meaning.check",
        "ground.rows.command_meaning.check_stop",
        "ground.rows.fernet_postgresql_meaning.check",
        "ground.rows.fernet_sqlite_meaning._check_key",
        "ground.rows.fernet_sqlite_meaning.check",
        "ground.rows.several_meaning.check",
        "providers.supplied.ask",
        "providers.supplied.by_a_person",
        "records.lives.of_incidents",
    },
}
MOST = 60
# an argument spec is their shape, and has checked them before anything reads them; a type with the same names would be a second spec
HAVE_A_SPEC = {
    "inputs.catalogue.Entry",
    "inputs.catalogue.ProbeSpec",
    "inputs.catalogue.ServiceSpec",
    "inputs.catalogue.StoreSpec",
    "inputs.validation.Parameters",
    "issuers.contract.Spec",
    "notices.notify.Channel",
    "providers.shapes.ProviderSpec",
    "ground.rows.contract.Spec",
}


class Page:
    """A file of the logic: its aliases, what the names in it stand for, and its signatures."""

    def __init__(self, path: Path) -> None:
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.page = ast.parse(path.read_text())
        package = self.name.split(".") if path.name == "__init__.py" else self.name.split(".")[:-1]
        self.means = {"Any": "Any"}
        for node in ast.walk(self.page):
            if isinstance(node, ast.ImportFrom) and node.level:
                up = [*package[: len(package) + 1 - node.level], *(node.module or "").split(".")]
                for alias in node.names:
                    self.means[alias.asname or alias.name] = ".".join([*up, alias.name]).strip(".").replace("..", ".")
        self.aliases: dict[str, ast.expr] = {}
        for node in self.page.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if isinstance(node.value, ast.Subscript | ast.BinOp | ast.Name) and not name.isupper():
                    self.aliases[f"{self.name}.{name}"] = node.value
                    self.means[name] = f"{self.name}.{name}"

    def names(self, annotation: ast.expr) -> Iterator[str]:
        """Yield what each name of an annotation stands for."""
        for node in ast.walk(annotation):
            if isinstance(node, ast.Name):
                yield self.means.get(node.id, node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                yield f"{self.means.get(node.value.id, node.value.id)}.{node.attr}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self.names(ast.parse(node.value, mode="eval").body)

    def signatures(self) -> Iterator[tuple[str, list[ast.expr]]]:
        """Yield each function, by its name, with the annotations of its parameters and its result."""
        for node in ast.walk(self.page):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                of = node.args
                parameters = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
                annotations = [*(one.annotation for one in parameters), node.returns]
                yield node.name, [one for one in annotations if one]


def hiding(pages: list[Page]) -> set[str]:
    """Return what stands for `Any`: itself, and every alias in which it is, or another such alias."""
    found, before = {"Any"}, set[str]()
    while found != before:
        before = set(found)
        for page in pages:
            found |= {name for name, value in page.aliases.items() if found & set(page.names(value))} - HAVE_A_SPEC
    return found


def test_any_does_not_spread_in_signatures() -> None:
    pages = [Page(path) for path in sorted(ROOT.rglob("*.py"))]
    hidden = hiding(pages)
    assert {name for page in pages for name in page.aliases} >= HAVE_A_SPEC
    found = Counter[str]()
    for page in pages:
        for function, of in page.signatures():
            found[f"{page.name}.{function}"] += sum(name in hidden for one in of for name in page.names(one))
    found = +found
    print(f"{found.total()} Any in the signatures of {len(found)} functions")
    known = {name for names in LEFT.values() for name in names}
    assert found.keys() - known == set(), "name the shape, or say in LEFT why it has none"
    assert known - found.keys() == set(), "these have none any more: take them out of LEFT"
    assert found.total() < MOST
