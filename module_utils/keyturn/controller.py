"""What runs in the controller's own process: parameters in, one exception root to one failure, as for the modules."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from keyturn.ansible_module import validated
from keyturn.errors import KeyturnError

Result = dict[str, Any]


class Controller(ActionBase):  # type: ignore[misc]
    """The base of an action that needs no host. ``SPEC`` is its argument spec; ``act`` does the work."""

    SPEC: Mapping[str, Any] = {}

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> Result:
        """Return what ``act`` returns, or the failure."""
        result: Result = super().run(tmp, task_vars)
        try:
            given = validated(self._task.action, self.SPEC, dict(self._task.args))
            return result | self.act(given, task_vars or {})
        except KeyturnError as error:
            failure = str(error)
        except OSError as error:
            failure = f"{error.filename or 'the system'}: {error.strerror}"
        except Exception as error:  # a library's text may quote a value, so only the place is told
            place = traceback.extract_tb(error.__traceback__)[-1]
            failure = f"keyturn has a defect: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        return result | {"failed": True, "msg": failure}

    def act(self, given: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Result:
        """Do the work; KeyturnError for what a person can act on."""
        raise NotImplementedError

    @property
    def dry(self) -> bool:
        """Whether this is check mode."""
        return bool(self._task.check_mode)
