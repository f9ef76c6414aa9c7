"""JSON schemas of an application's files, for editors, made from what a run checks; ``python -m support.editor_schemas`` writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyturn.inputs import application, catalogue

FOLDER = Path(__file__).parents[2] / "docs/schemas"
TYPES = {"str": "string", "path": "string", "int": "integer", "bool": "boolean", "dict": "object", "list": "array"}
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}
# what an inventory fills in
TEMPLATE = {"type": "string", "pattern": r"\{\{"}


def of_spec(spec: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a mapping with an argument spec."""
    found: dict[str, Any] = {
        "type": "object",
        "properties": {name: _option(option) for name, option in spec.items()},
        "additionalProperties": False,
    }
    needed = sorted(name for name, option in spec.items() if option.get("required"))
    return found | ({"required": needed} if needed else {})


def _option(option: Mapping[str, Any]) -> dict[str, Any]:
    kind = option["type"]
    inner = of_spec(option["options"]) if "options" in option else {}
    if kind == "dict":
        return inner or {"type": "object"}
    if kind == "list":
        items = inner or _or_template({"type": TYPES[option["elements"]]})
        # one text is a list of one
        return {"type": ["array", "string"] if items == {"type": "string"} else "array", "items": items}
    return _or_template({"enum": option["choices"]} if "choices" in option else {"type": TYPES[kind]})


def _or_template(plain: dict[str, Any]) -> dict[str, Any]:
    return plain if plain == {"type": "string"} else {"anyOf": [plain, TEMPLATE]}


def of_shape(shape: Any) -> dict[str, Any]:
    """Return the schema of what ``base/shape.py`` calls a shape."""
    if isinstance(shape, Mapping):
        names = {name.removesuffix("?"): inner for name, inner in shape.items() if name != "*"}
        needed = sorted(name for name in shape if name != "*" and not name.endswith("?"))
        found: dict[str, Any] = {"type": "object"}
        found |= {"properties": {name: of_shape(inner) for name, inner in names.items()}} if names else {}
        found["additionalProperties"] = of_shape(shape["*"]) if "*" in shape else False
        return found | ({"required": needed} if needed else {})
    if isinstance(shape, list):
        return {"type": "array", "items": of_shape(shape[0])}
    if isinstance(shape, tuple):
        return (
            {"enum": list(shape)} if all(isinstance(one, str) for one in shape) else {"anyOf": [*map(of_shape, shape)]}
        )
    if isinstance(shape, re.Pattern):
        return {"type": "string", "pattern": f"^{shape.pattern}$"}
    return {"type": SIMPLE[shape]}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each file, by its name in the folder."""
    found = {}
    for name, form in application.FILES.items():
        schema = of_shape(form)
        if name == "catalogue.yml":
            for part in ("secrets", "optional_secrets"):
                schema["properties"][part]["additionalProperties"] = of_spec(catalogue.ENTRY)
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{name} of an application"}
        found[f"{Path(name).stem}.schema.json"] = head | schema
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, document in schemas().items():
        (FOLDER / file).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
