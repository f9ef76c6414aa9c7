"""Runs keyturn/steps/supply.py; library/keyturn_supply.py documents it.

What a person or a pipeline brings is taken here, and goes on in memory: it is in no variable, and in no task's arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.loader import action_loader
from ansible.utils.display import Display

BASE = action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.providers.supplied import PREFIX  # noqa: E402

VAULT = b"$ANSIBLE_VAULT;"


class ActionModule(BASE):
    """The action ``keyturn_supply``."""

    def _read(self, action: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return as ``brought`` the values by variable, those whose value others see, and what is wrong with the file."""
        args = self._task.args
        names, file, prompt = args["entry"]["variables"], args.get("file", ""), args.get("prompt", "")
        exposed = [name for name in names if _named(name, known)]
        values = {name: os.environ[PREFIX + name] for name in names if os.environ.get(PREFIX + name)}
        problem = ""
        if file and not values:
            values, problem = self._decrypted(Path(file).expanduser().absolute())
        if prompt and not (values or exposed or problem):
            values = _asked(prompt, names)
        exposed += [name for name in names if name not in exposed and _seen(values.get(name))]
        values = {name: values[name] for name in names if name in values}
        return {**super()._read(action, known), "brought": {"values": values, "exposed": exposed, "problem": problem}}

    def _decrypted(self, path: Path) -> tuple[dict[str, Any], str]:
        if not path.is_file():
            return {}, f"keyturn_new_values: {path} does not exist"
        if not path.read_bytes().startswith(VAULT):
            return {}, f"keyturn_new_values: {path} is not encrypted: run ansible-vault encrypt {path}"
        try:
            found = yaml.safe_load(self._loader.get_text_file_contents(str(path)))
        except AnsibleError:
            return {}, f"keyturn_new_values: {path} does not open: give its password by --vault-password-file"
        except yaml.YAMLError:  # its text quotes the line
            found = None
        if not isinstance(found, dict):
            return {}, f"keyturn_new_values: {path} holds no lines of the form NAME: value"
        return found, ""


def _named(name: str, variables: Any) -> bool:
    """Tell whether an Ansible variable is there to carry the value: by the names that one would try."""
    names = {name, name.lower(), PREFIX + name, (PREFIX + name).lower()}
    return any(tried in variables for tried in names) or any(
        f"{tried}{sign}" in argument for argument in _arguments() for tried in names for sign in ("=", ":", '":')
    )


def _seen(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 3 and any(value in argument for argument in _arguments())


def _arguments() -> list[str]:
    return [*sys.argv, *map(str, context.CLIARGS.get("extra_vars") or ())]


def _asked(prompt: str, names: list[str]) -> dict[str, str]:
    """Ask for each value; nothing where there is no terminal."""
    values = {}
    for name in names:
        try:
            said = Display().prompt_until(f"{prompt}\nNew value of {name} (it is not shown):", private=True)
        except AnsibleError:
            said = None
        # a worker gets the exception of the main process as a value
        if not isinstance(said, bytes):
            return {}
        values[name] = said.decode(errors="replace")
    return values
