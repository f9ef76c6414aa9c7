"""On PYTHONPATH for linters and tests that load a module without ansible-playbook, which would bundle module_utils.

Each Python that a test starts loads this, and few of them Ansible: it is found with Keyturn's part when somebody wants it.
"""

import sys
from importlib.machinery import PathFinder


class WithOurs:
    """Finds Ansible's module_utils."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return where they are, with ours beside them."""
        if name != "ansible.module_utils":
            return None
        from pathlib import Path

        spec = PathFinder.find_spec(name, path)
        spec.submodule_search_locations.append(str(Path(__file__).parents[2] / "module_utils"))
        return spec


sys.meta_path.insert(0, WithOurs)
