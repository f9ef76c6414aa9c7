"""The action ``keyturn_plan``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .. import issuers
from ..base.errors import KeyturnError
from ..fleet import abandoned, answers, attempts, run_state, staging_gate
from ..fleet.host_variables import HostVariables
from ..fleet.taking_part import holders
from ..ground import rows
from ..host import probes
from ..host.journal import utc_now
from ..inputs import catalogue, logins, meaning
from ..inputs import request as planning
from ..inputs.catalogue import Entry
from ..inputs.reason import check_reason
from ..inputs.request import Plan
from ..inputs.tree import ROOT
from ..inputs.validation import Answer, Parameters, services, store, validated
from ..inputs.variables import NEEDED
from ..records import report, rotation_log
from ..records.shapes import Report
from ..stores import password_at

# what the action reads of each host
HOOKS = {"keyturn_drain_hook", "keyturn_return_hook"}
# folders of an inventory that say nothing: AWX and ansible-runner write that of every job into one of the latter name
NAMELESS = ("", "inventory")
PROVED_BY = ("keyturn_checks", "keyturn_delivery")
READS = (*NEEDED, *sorted(HOOKS), "keyturn_secrets_here", *PROVED_BY)
TOLD = ("rotation_id", "environment", "secret", "reason", "operator", "overrides")

SHAPE = {"hosts": {"*": answers.HERE}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Check the request and return the plan."""
    store(parameters["store"])
    entry = _entry(parameters)
    hosts = _holders(parameters)
    _check_services(parameters, entry, hosts)
    environment = _environment(parameters["inventory"], hosts)
    _check_store(parameters, entry, environment)
    plan = _plan(parameters, entry, hosts, environment)
    before = _before(parameters, plan["rotation_id"])
    # from then on it only goes forward, whatever a host says
    plan["decided"] = before.get("decided", False)
    if parameters["pipeline_log"]:
        plan["logged"] = _logged(Path(parameters["pipeline_log"]))
    return {
        "changed": False,
        "plan": plan,
        "run": {name: value for name, value in plan.items() if name in TOLD},
        "text": _text(plan, list(hosts), before, check_mode),
    }


def _plan(parameters: Parameters, entry: Entry, hosts: Mapping[str, HostVariables], environment: str) -> Plan:
    return {
        "rotation_id": planning.check_rotation_id(parameters["rotation_id"] or planning.rotation_id()),
        "secret": parameters["secret"],
        "environment": environment,
        "holders": list(hosts),
        "reason": check_reason(parameters["reason"]),
        "operator": parameters["operator"] or planning.operator(os.environ),
        "started": utc_now(),
        "attempt": attempts.mine(),
        "revision": staging_gate.revision(ROOT, Path(parameters["application"])),
        "until": parameters["until"],
        "overrides": planning.check_overrides(parameters["overrides"])
        | _unproved(parameters["secret"], entry, hosts, parameters["accept_unproved"]),
        "source": entry["source"]["kind"],
        # what commits at once, or goes back at once
        "unit": "fleet" if entry["value"] == "shared" else "batch",
        # the new value of some issuers is the death of the old one: then every host is examined before there is one
        "examines_first": parameters["until"] == "ready" or (entry["overlap"] == "none" and entry["issuer"] is None),
        # no host can know a rotation that has just got its id, but perhaps one whose run was killed
        "looks": bool(
            parameters["rotation_id"] or (parameters["reports"] and abandoned.suspected(Path(parameters["reports"])))
        ),
        "store": parameters["store"]["kind"],
        "drains": entry["switch"] == "rolling" and any(HOOKS & known.keys() for known in hosts.values()),
        # without data that depends on the value there is nothing to prepare
        "migrates": entry["migration"]["kind"] != "none",
        # what is one for all hosts is turned by one of them, while all are stopped
        "shares": rows.shared(entry["migration"]),
        "has_inverse": rows.has_inverse(entry["migration"]),
        "issues": entry["issuer"] is not None,
        "old_lives": entry["issuer"] is not None and issuers.old_lives(entry["issuer"]),
        "batches": parameters["batches"] if entry["switch"] == "rolling" else ["100%"],
        "title": entry["title"],
        "variables": entry["variables"],
        "value": entry["value"],
        "switch": entry["switch"],
        "overlap": entry["overlap"],
        "sessions": entry["sessions"],
        "downtime_budget_seconds": entry["downtime_budget_seconds"],
    }


def _check_store(parameters: Parameters, entry: Entry, environment: str) -> None:
    """See that the entry goes with the secret store, which has a static role, or the password of who tells the issuer."""
    if entry["issuer"] and entry["issuer"]["strategy"] == "alternating" and parameters["store"]["kind"] != "dotenv":
        raise KeyturnError(
            f"keyturn_secrets.{parameters['secret']}: only the hosts know which of the two users is next, so the strategy alternating goes "
            "without a store: take the strategy single, or no keyturn_store"
        )
    if entry["source"]["static_role"] and parameters["store"]["kind"] != "openbao":
        raise KeyturnError(
            f"keyturn_secrets.{parameters['secret']}: source.static_role is a role of OpenBao or Vault: set keyturn_store to one (openbao)"
        )
    admin = (entry["issuer"] or {}).get("admin") or {}
    if not (name := admin.get("stored")):
        return
    if parameters["store"]["kind"] == "dotenv":
        raise KeyturnError(
            f"keyturn_secrets.{parameters['secret']}: its issuer's admin is stored ({name}), and this environment has no secret store: set "
            "keyturn_store, or take password_file"
        )
    password_at(store(parameters["store"]), environment, name)


def _entry(parameters: Parameters) -> Entry:
    secret, known = parameters["secret"], ", ".join(sorted(parameters["secrets"])) or "nothing"
    if not secret:
        raise KeyturnError(f"name the secret by -e keyturn_secret=NAME: the catalogue has {known}")
    if secret not in parameters["secrets"]:
        raise KeyturnError(
            f"keyturn_secrets has no entry {secret} (it has: {known}); an optional one is chosen by keyturn_optional_secrets of the "
            "inventory"
        )
    entry = validated(f"keyturn_secrets.{secret}", catalogue.ENTRY, parameters["secrets"][secret])
    if others := logins.same(secret, parameters["secrets"]):
        raise KeyturnError(f"keyturn_secrets: {logins.words(secret, others)}")
    return entry


def _holders(parameters: Parameters) -> dict[str, HostVariables]:
    """Return what the inventory says of the hosts that hold the secret; KeyturnError where it leaves out what is needed."""
    hosts = {name: parameters["hosts"][name] for name in holders(parameters["secret"], parameters["hosts"])}
    if parameters["hosts"] and not hosts:
        raise KeyturnError(
            f"no host here holds {parameters['secret']}: keyturn_secrets_here leaves it out on all of them"
        )
    if missing := run_state.missing(hosts):
        raise KeyturnError(
            f"The inventory lacks {', '.join(missing)}: nothing was rotated. Set what is missing, docs/reference/variables.md says how."
        )
    return hosts


def _check_services(parameters: Parameters, entry: Entry, hosts: Mapping[str, HostVariables]) -> None:
    for host, known in hosts.items():
        described = known["keyturn_services"]
        if not isinstance(described, dict):
            raise KeyturnError(
                f"keyturn_services of {host} must be a mapping of services by name: docs/reference/variables.md says how"
            )
        try:
            meant = services(described)
            meaning.check_meaning(parameters["secret"], entry, meant)
            meaning.check_reloads(meant, parameters["secrets"])
        except KeyturnError as error:
            raise KeyturnError(f"{host}: {error}") from None


def _environment(folder: str, hosts: Mapping[str, HostVariables]) -> str:
    """Return the environment of all hosts; KeyturnError where they are of several, or the inventory's ``folder`` is another's."""
    environments = sorted({str(known["keyturn_environment"]) for known in hosts.values()})
    if len(environments) != 1:
        raise KeyturnError(
            "the hosts of this inventory must have one keyturn_environment, "
            f"they have: {', '.join(environments) or 'none'}"
        )
    if folder not in (*NAMELESS, environments[0]):
        raise KeyturnError(
            f"keyturn_environment is {environments[0]}, and the inventory's folder is {folder}: "
            "one of the two is the wrong one. An inventory lies in a folder of its environment's name"
        )
    return environments[0]


def _unproved(secret: str, entry: Entry, hosts: Mapping[str, HostVariables], reason: str) -> dict[str, str]:
    """Return the person's ``reason`` where nothing could show that a new value works, nothing elsewhere; KeyturnError without one."""
    lacking = []
    for host, known in hosts.items():
        described = services(known["keyturn_services"])
        kinds = [probe["kind"] for probe in entry["probes"]]
        kinds += ["command"] if (known.get("keyturn_checks") or {}).get(secret) else []
        sealed = known.get("keyturn_delivery") == "systemd_credential"
        if not probes.can_show(kinds, [described[name] for name in entry["services"]], sealed):
            lacking.append(host)
    if not lacking:
        return {}
    if not reason:
        raise KeyturnError(
            f"nothing on {', '.join(lacking)} could show by its behaviour that a new value of {secret} works (it is asked by: "
            f"{', '.join(probe['kind'] for probe in entry['probes']) or 'no probe'}), nothing was changed: set proof_path of a service "
            f"that needs the value, or keyturn_checks.{secret}; or go on by keyturn_accept_unproved: REASON, and the rotation ends as "
            "committed_unproved"
        )
    return {"unproved": check_reason(reason, "keyturn_accept_unproved")}


def _logged(folder: Path) -> list[str]:
    """Return the rotations that stand in the log of a pipeline; KeyturnError where the log would end with the job."""
    if folder.resolve().is_relative_to(ROOT.resolve()):
        raise KeyturnError(
            f"{folder} lies in the checkout of this job and ends with it, and with it the log; nothing was rotated: set "
            "KEYTURN_REPORTS_DIR, or keyturn_reports_dir of the inventory, to a folder that outlives the job"
        )
    return list(
        dict.fromkeys(str(entry["rotation_id"]) for entry in rotation_log.read(folder) if "rotation_id" in entry)
    )


def _before(parameters: Parameters, rotation_id: str) -> Report:
    """Return what is reported of the rotation so far; KeyturnError where it is one of another secret."""
    folder = parameters["reports"]
    known = report.read(Path(folder) / f"{rotation_id}.json") if folder else report.NOTHING
    if known.get("secret", parameters["secret"]) != parameters["secret"]:
        raise KeyturnError(
            f"rotation {rotation_id} is one of {known['secret']}: give its id to that secret's playbook, or rotate {parameters['secret']} "
            "without keyturn_rotation_id; nothing was changed"
        )
    return known


def _text(plan: Plan, hosts: list[str], known: Report, check_mode: bool) -> str:
    """Say what will be done, the environment first."""
    lines = {
        "environment": plan["environment"] + (" (check mode: nothing changes)" if check_mode else ""),
        "secret": f"{plan['title']} ({plan['secret']})",
        "rotation": f"{plan['rotation_id']}, {plan['reason']}, by {plan['operator']}",
        "variables": f"{', '.join(plan['variables'])} ({plan['value']}, {plan['switch']})",
        "store": plan["store"],
        "hosts": ", ".join(hosts),
    }
    if plan["shares"]:
        meanwhile = "serve" if plan["overlap"] == "key_list" else "are stopped"
        lines["rows"] = f"of all hosts: the first that reaches them turns them, while all {meanwhile}"
    if not plan["has_inverse"]:
        lines["way back"] = (
            "the data has no inverse (`back`): once the service was started on the new value, to go back loses what was written since, and "
            "is done by keyturn_override_lost_writes alone"
        )
    if known.get("outcome") in report.ENDED:
        lines["over"] = f"{known['outcome']} since {known['finished']}: what has ended is not turned again"
    return "\n".join(f"{name:<11} {line}" for name, line in lines.items())
