#!/usr/bin/python
"""Look at an application of which nothing is known yet."""

DOCUMENTATION = r"""
module: keyturn_survey_info
short_description: Look at an application of which nothing is known yet
description:
  - Looks through a folder for values that look like secrets and for databases, says which column holds tokens and which value opens
    them, and who works with these files. Each file is read as the user whose ground it lies on.
  - Of a PostgreSQL server whose login stands in a file of an environment the database is read in one snapshot, by that login.
  - Changes nothing, needs no state on the host, and returns names, counts and fingerprints, and no value.
options:
  folder:
    description: The folder of the application, C(keyturn_app_root).
    type: path
    required: true
  user:
    description: Its user, C(keyturn_app_user), where several may change the folder.
    type: str
  files:
    description: Settings and databases that lie elsewhere, C(keyturn_files).
    type: list
    elements: path
    default: []
extends_documentation_fragment: keyturn.info
"""

EXAMPLES = r"""
- name: Look at the application
  keyturn_survey_info:
    folder: /srv/hub
    files: [/etc/hub/environment]
"""

RETURN = r"""
keys:
  description: Values that open tokens, each with its C(name), C(place), C(rule), C(number) in a list of keys and C(mark), its fingerprint.
  returned: success
  type: list
  elements: dict
secrets:
  description: What else looks like a secret, in the same form and without a fingerprint.
  returned: success
  type: list
  elements: dict
columns:
  description: Columns with tokens, with counts; C(under) has how many each key opens, by its place in C(keys).
  returned: success
  type: list
  elements: dict
databases:
  description: The databases that were found.
  returned: success
  type: list
  elements: str
services:
  description: Units and processes that work with the files, and the ports that they listen on.
  returned: success
  type: list
  elements: dict
findings:
  description: What could not be looked at.
  returned: success
  type: list
  elements: str
text:
  description: Which key opens what, for a person.
  returned: success
  type: str
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.keyturn.entry.module import run

SPEC = {
    "folder": {"type": "path", "required": True},
    "user": {"type": "str"},
    "files": {"type": "list", "elements": "path", "default": []},
}


def look(folder: str, user: str | None, files: list[str]) -> Mapping[str, Any]:
    """Return what was found. What a host may not have is imported here, where its absence is told."""
    from ansible.module_utils.keyturn.host import survey

    return survey.look(Path(folder), user, [Path(one) for one in files])


if __name__ == "__main__":
    run(SPEC, lambda module: look(**module.params))
