"""A part of what Keyturn knows of the application that the inventory chooses."""

from __future__ import annotations

DOCUMENTATION = r"""
name: keyturn_application
short_description: A part of what Keyturn knows of the application
description:
  - The files of an application's folder are data, and are read once. Of the entries of C(catalogue.yml) the texts are templates of
    what the inventory says; in everything else braces are braces.
author: The Keyturn maintainers
options:
  _terms:
    description:
      - The file, and the name of a part of it; all of it without. Optional secrets that the inventory has not chosen are in none.
      - C(name) and C(folder) are the application's own.
    type: list
    elements: str
    required: true
  tells:
    description: Whether an entry whose templates do not resolve is one that says so, and no failure.
    type: bool
    default: false
"""

EXAMPLES = r"""
keyturn_policy: "{{ lookup('keyturn_application', 'policy.yml') }}"
"""

RETURN = r"""
_raw:
  description: The part, empty where there is none.
  type: list
  elements: raw
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.loader import action_loader
from ansible.plugins.lookup import LookupBase
from ansible.template import trust_as_template

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.entry import inventory
from ansible.module_utils.keyturn.inputs.application import UNRESOLVED, Application, secrets


class LookupModule(LookupBase):
    """The lookup ``keyturn_application``."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the part ``terms``."""
        self.set_options(var_options=variables, direct=kwargs)
        application = inventory.chosen().application
        if len(terms) == 1 and (own := OWN.get(terms[0])):
            return [own(application)]
        if not sound(application):  # which the guard of each playbook has told, or validate.yml is about to tell
            return [{}]
        if terms == ["catalogue.yml", "secrets"]:
            entries = self._entries(application, self.get_option("tells"))
            return [secrets(entries, application.part("policy.yml", "schedule"))]
        return [application.part(*terms)]

    def _entries(self, application: Application, tells: bool) -> Mapping[str, Any]:
        """Return the entries with their templates filled in. What has none is not shown to the templar: that costs most of a lookup."""
        filled = {}
        # what is not chosen is looked at as well, as far as it says what it is
        looked_at = application._replace(optional=tuple(application.offered)) if tells else application
        for name, entry in looked_at.part("catalogue.yml", "secrets").items():
            try:
                filled[name] = self._filled(entry)
            except AnsibleError as error:
                why = f"catalogue.yml: secrets.{name}: {error}"
                if not tells:
                    raise AnsibleError(why) from None
                if name in application.part("catalogue.yml", "secrets"):
                    filled[name] = {UNRESOLVED: str(error)}
        return filled

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        is_template = isinstance(value, str) and ("{{" in value or "{%" in value)
        return self._templar.template(trust_as_template(value)) if is_template else value


@cache
def sound(application: Application) -> bool:
    """Tell whether nothing is wrong with the files of an application."""
    return not any(application.problems())


OWN: dict[str, Callable[[Application], str]] = {"name": lambda one: one.name, "folder": lambda one: str(one.folder)}
