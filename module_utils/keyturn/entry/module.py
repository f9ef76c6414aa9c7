"""The one file that knows AnsibleModule: parameters in, one exception root to one ``fail_json``, nothing secret out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule, _load_params

from ..base.errors import KeyturnError
from ..host.journal import RECOVERY, JournalRecord
from ..host.phases.answers import HostAnswer
from ..host.rotation import Holding, Rotation
from ..inputs import catalogue
from ..inputs.validation import services, validated

Answer = Mapping[str, object]
Call = Callable[[AnsibleModule], Answer]
Code = Callable[..., HostAnswer]
ROTATION: dict[str, Any] = {"rotation": {"type": "dict", "required": True, "options": catalogue.ROTATION}}
APPLICATION: dict[str, Any] = {"application": {"type": "dict", "required": True, "options": catalogue.APPLICATION}}
# of a call that is about the application, with what the catalogue has of all its secrets, or of one
SECRETS: dict[str, Any] = {**APPLICATION, "secrets": {"type": "dict", "required": True}}
SECRET: dict[str, Any] = {
    **APPLICATION,
    "secret": {"type": "str", "required": True},
    "entry": {"type": "dict", "required": True},
}


NO_SECRETS = (
    "keyturn_secrets has no entry, so there is nothing to look at: describe the application's secrets under the key `secrets` of its "
    "catalogue.yml (applications/NAME/, or the folder that keyturn_application names)"
)


def run(argument_spec: Mapping[str, object], call: Call, **options: Any) -> None:
    """Run ``call`` as a module with check mode; it returns the result, or raises KeyturnError."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **options)
    result, failure = attempt(lambda: call(module))
    if failure:
        module.fail_json(msg=failure)
    module.exit_json(**result)


def attempt(call: Callable[[], Answer]) -> tuple[dict[str, object], str]:
    """Return the result of ``call`` and, where it has none, the text of its failure, in which no value can stand.

    The exception has been handled when this returns: Ansible would add its traceback, with the text of what caused it.
    """
    try:
        return dict(call()), ""
    except KeyturnError as error:
        return {}, str(error)
    except ModuleNotFoundError as error:
        return {}, (
            f"the Python {sys.executable} has no {error.name}: on a host install python3-cryptography, or name a Python that has it by "
            "ansible_python_interpreter; on the controller make setup"
        )
    except OSError as error:
        return {}, f"{error.filename or 'the system'}: {error.strerror}"
    except Exception as error:  # a library's text may quote a value, so only the place is told
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        return {}, f"keyturn has a defect: {where}; if a rotation stays open, {RECOVERY}"


class Phase(NamedTuple):
    """What a phase takes, and the sides whose fingerprints are shown as before and after, for one that changes values."""

    arguments: Mapping[str, Any]
    diff: tuple[str, str] | None = None


def run_phase(code: Code, phase: Phase) -> None:
    """Run ``code`` as a module; the parameters are passed on by name."""
    run(phase.arguments, _passing_on(code, phase))


def run_named_phase(phases: Mapping[str, Phase]) -> None:
    """Run the phase that the parameter ``phase`` names as a module: ``run`` of its file, and no other file is imported."""
    arguments = {"phase": {"type": "str", "required": True, "choices": sorted(phases)}}
    # The parameters depend on the phase, as those of a module of its own would: that is what this function is kept for.
    name = _load_params().get("phase")
    if name not in phases:
        run(arguments, lambda module: {})  # it refuses
    phase = phases[name]
    # what it imports a host may not have: that is told as any other failure
    run({**arguments, **phase.arguments}, _passing_on(lambda **given: _code(name)(**given), phase))


def _code(name: str) -> Code:
    found: Code = import_module(f"{__package__.rpartition('.')[0]}.host.phases.{name}").run
    return found


def _passing_on(code: Code, phase: Phase) -> Call:
    def call(module: AnsibleModule) -> HostAnswer:
        given = {name: module.params[name] for name in phase.arguments}
        if "rotation" in given:
            given["rotation"] = rotation_of(module)
        if "secrets" in given:
            del given["application"]
            given["holdings"] = list(holdings_of(module, given.pop("secrets") or {}).values())
            if not given["holdings"] and phase.arguments["secrets"].get("required"):
                raise KeyturnError(NO_SECRETS)
        elif "application" in given:
            del given["application"]
            given["holding"] = holdings_of(module, {given.pop("secret"): given.pop("entry")})[module.params["secret"]]
        result = code(**given)
        if module._diff and phase.diff and result["changed"]:
            result["diff"] = _diff(result.get("rotation", {}), *phase.diff)
        return result

    return call


def rotation_of(module: AnsibleModule) -> Rotation:
    """Return the rotation that the parameter ``rotation`` describes."""
    given = _typed(module, module.params["rotation"], [module.params["rotation"]["entry"]])
    return Rotation(**given | {"allow_empty_tables": tuple(given["allow_empty_tables"])})


def holdings_of(module: AnsibleModule, secrets: Mapping[str, object]) -> dict[str, Holding]:
    """Return by name what the parameter ``application`` and the catalogue's entries of ``secrets`` describe."""
    if not secrets:
        return {}
    entries = {name: validated(f"keyturn_secrets.{name}", catalogue.ENTRY, entry) for name, entry in secrets.items()}
    given = _typed(module, module.params["application"], list(entries.values()))
    return {name: Holding(secret=name, entry=entry, **given) for name, entry in entries.items()}


def _typed(module: AnsibleModule, described: Mapping[str, Any], entries: Sequence[catalogue.Entry]) -> dict[str, Any]:
    """Return parameters with their types; values that are read by what they make are masked in whatever is returned.

    The names of users that take turns are no secret, and stand in paths and messages.
    """
    named = {user for entry in entries for user in (entry["issuer"] or {}).get("users", ())}
    given = dict(described)
    given["app_root"] = Path(given["app_root"])
    given["state_dir"] = Path(given["state_dir"])
    if given["secrets_here"] is not None:
        given["secrets_here"] = tuple(given["secrets_here"])
    given["services"] = services(given["services"])
    return given | {
        "check_mode": module.check_mode,
        "hide": lambda values: module.no_log_values.update(set(values) - named),
    }


def _diff(record: JournalRecord, before: str, after: str) -> dict[str, str]:
    """Return the fingerprints of the two sides as text."""

    def lines(side: str) -> str:
        held = {"old": record.get("old"), "new": record.get("new")}
        found = held[side] or dict.fromkeys(record.get("old", {}), "to be generated")
        return "".join(f"{name}={value}\n" for name, value in found.items())

    return {"before": lines(before), "after": lines(after)}
