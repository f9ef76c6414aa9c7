"""On PYTHONPATH for linters and tests that load a module without ansible-playbook, which would bundle module_utils."""

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).parents[2] / "module_utils"))
