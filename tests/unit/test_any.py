"""`Any` in the signatures of the logic: a parameter or a result whose shape has no name says nothing to who calls, and hides mistakes."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "module_utils/keyturn"
# each that is left has its reason beside it, or in docs/decisions; this only falls
MOST = 285
# an argument spec is their shape, and has checked them before anything reads them; a type with the same names would be a second spec
HAVE_A_SPEC = {
    "inputs.catalogue.Entry",
    "inputs.catalogue.ProbeSpec",
    "inputs.catalogue.ServiceSpec",
    "inputs.catalogue.StoreSpec",
    "inputs.validation.Parameters",
    "notices.notify.Channel",
    "ground.rows.Spec",
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
        """Yield each function, by its line and name, with the annotations of its parameters and its result."""
        for node in ast.walk(self.page):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                of = node.args
                parameters = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
                annotations = [*(one.annotation for one in parameters), node.returns]
                yield f"{node.lineno} {node.name}", [one for one in annotations if one]


def hiding(pages: list[Page]) -> set[str]:
    """Return what stands for `Any`: itself, and every alias in which it is, or another such alias."""
    found, before = {"Any"}, set[str]()
    while found != before:
        before = set(found)
        for page in pages:
            found |= {name for name, value in page.aliases.items() if found & set(page.names(value))}
        found -= HAVE_A_SPEC
    return found


def test_any_does_not_spread_in_signatures() -> None:
    pages = [Page(path) for path in sorted(ROOT.rglob("*.py"))]
    hidden = hiding(pages)
    found = Counter[str]()
    for page in pages:
        for function, of in page.signatures():
            found[f"{page.name}:{function}"] += sum(
                name in hidden for annotation in of for name in page.names(annotation)
            )
    rooms = Counter[str]()
    for place, number in (+found).items():
        rooms[place.split(".")[0].split(":")[0]] += number
    print("\n".join(f"{number} {place}" for place, number in (+found).items()))
    print(f"{found.total()} Any in signatures: {', '.join(f'{room} {number}' for room, number in rooms.most_common())}")
    assert found.total() <= MOST, f"{found.total()} Any in signatures, and {MOST} were there: name the shape"
