"""The value that a person or a pipeline brings, taken in the controller's own process: it never passes through a variable."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

DOCUMENTATION = r"""
name: keyturn_supplied
short_description: The new value that a person or a pipeline brings
description:
  - Looks in the environment (C(KEYTURN_NEW_<VARIABLE>)), then in a file that is encrypted by ansible-vault, then asks on the
    terminal without echo.
  - A value in the command line or in an Ansible variable is told by the name of its variable.
author: The Keyturn maintainers
options:
  _terms:
    description: Names of the variables.
    type: list
    elements: str
    required: true
  file:
    description: File with the values, encrypted as a whole by ansible-vault.
    type: str
    default: ''
  prompt:
    description: What the terminal shows. Nobody is asked if empty.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Check the value
  keyturn_supply:
    brought: "{{ lookup('keyturn_supplied', 'PLAID_SECRET', prompt='Plaid') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: >-
    One dictionary: C(values) by variable, C(exposed), the variables whose value stands where others see it, and C(problem),
    what is wrong with the file.
  type: list
  elements: dict
"""

PREFIX = "KEYTURN_NEW_"
VAULT = b"$ANSIBLE_VAULT;"


class LookupModule(LookupBase):
    """The lookup ``keyturn_supplied``."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return what was brought."""
        self.set_options(var_options=variables, direct=kwargs)
        exposed = [name for name in terms if _named(name, variables or {})]
        file = self.get_option("file")
        values = {name: os.environ[PREFIX + name] for name in terms if os.environ.get(PREFIX + name)}
        problem = ""
        if file and not values:
            values, problem = self._decrypted(file)
        prompt = self.get_option("prompt")
        if prompt and not (values or exposed or problem):
            values = _asked(prompt, terms)
        exposed += [name for name in terms if name not in exposed and _seen(values.get(name))]
        values = {name: values[name] for name in terms if name in values}
        return [{"values": values, "exposed": exposed, "problem": problem}]

    def _decrypted(self, file: str) -> tuple[dict[str, Any], str]:
        path = Path(self._loader.path_dwim(file))
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
