"""The action ``keyturn_storage_report``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..base import durable, findings, shown
from ..base.errors import KeyturnError
from ..base.findings import SEVERITIES, Finding
from ..fleet import answers, isolation
from ..ground import checkout, repository, rows
from ..host.phases.answers import HostAnswer
from ..inputs.catalogue import Entry
from ..inputs.validation import Answer, Parameters, store
from ..records import report
from ..stores import rights
from .status import entries

# ``run`` takes a function that prints a line: a checkout may be large
SAYS = True


def shape(parameters: Parameters) -> object:
    """Return what this rests on: a finding, and the fingerprints of each secret."""
    finding = {"severity": SEVERITIES, **dict.fromkeys(("rule", "what", "remedy"), str)}
    values = {f"{name}?": {"*": str} for name in parameters["secrets"]} | answers.NOTHING
    entry = {"variables": [str], "source?": {"may_stay?": [str]}}
    return {"hosts": {"*": {"findings": [finding], "values": values}}, "secrets": {"*": entry}, "store": {"kind": str}}


def run(parameters: Parameters, check_mode: bool, say: checkout.Say = lambda line: None) -> Answer:
    """Add what only the controller can see to what the hosts have found; write it down, and say what is too bad."""
    elsewhere = isolation.held_elsewhere(Path(parameters["reports"]), parameters["environment"])
    found = {
        host: [*said["findings"], *_told(_shared(said["values"], elsewhere, parameters["secrets"]))]
        for host, said in parameters["hosts"].items()
    }
    found["controller"] = list(_told(_of_environment(parameters, say)))
    bad = [
        f"{place}: {one['what']}"
        for place, all_of in found.items()
        for one in findings.at_least(parameters["fail_at"], all_of)
    ]
    if not check_mode:
        folder = Path(parameters["reports"]) / parameters["environment"]
        durable.make_reports_folder(folder)
        durable.write_json(folder / "storage.json", found)
    return {"changed": False, "findings": found, "bad": sorted(bad), "text": findings.table(found)}


def _told(found: Iterator[Finding]) -> Iterator[dict[str, str]]:
    return (one._asdict() for one in found)


def _shared(
    held: Mapping[str, Mapping[str, str]], elsewhere: Mapping[str, str], secrets: Mapping[str, Entry]
) -> Iterator[Finding]:
    """No value is used in two environments, but for the variables that are one at the provider."""
    for secret, marks in held.items():
        may_stay = secrets[secret].get("source", {}).get("may_stay", [])
        for name, mark in marks.items():
            if mark in elsewhere and name not in may_stay:
                what = f"{name} {mark} is also {elsewhere[mark]}"
                yield Finding(
                    "error", "one environment each", what, f"rotate {secret} in the environment that is less worth"
                )


def _of_records(folder: Path) -> Iterator[Finding]:
    """What reports and log tell (hosts, fingerprints, who rotates when) is for nobody but who runs Keyturn."""
    wide = list(report.open_to_others(folder)) if folder.exists() else []
    if wide:
        path, mode = wide[0]
        what = f"of the reports {len(wide)} files and folders are open to other users, or theirs, such as {path} ({mode:04o})"
        remedy = f"chmod -R go= {folder}; all of it must belong to the user that Keyturn runs as"
        yield Finding("warning", "permissions", what, remedy)


def _of_environment(parameters: Parameters, say: checkout.Say) -> Iterator[Finding]:
    yield from _of_records(Path(parameters["reports"]) / parameters["environment"])
    if not isolation.environments(Path(parameters["reports"])) - {parameters["environment"]}:
        what = f"{parameters['reports']} has no reports of another environment, so whether one holds the same values is not known"
        remedy = (
            "give all environments one keyturn_reports_dir (docs/production.md), or compare what verify.yml says of each: the same "
            "fingerprint is the same value"
        )
        yield Finding("warning" if parameters["production"] else "note", "one environment each", what, remedy)
    if parameters["store"]["kind"] != "dotenv":
        yield from _rights(parameters)
    elif parameters["production"]:
        what = f"{parameters['environment']} keeps its values on its hosts alone"
        yield Finding("error", "a secret store", what, "set keyturn_store: docs/stores.md says how to move there")
    if parameters["checkout"]:
        folder = Path(parameters["checkout"])
        secrets = entries(parameters["secrets"]).values()
        names = [name for entry in secrets for name in entry["variables"]]
        stored = [place for entry in secrets for place in rows.places(entry["migration"], Path())]
        yield from repository.look(folder, names, [str(place) for place in stored])
        try:
            yield from _values(folder, parameters["hosts"], say)
            if parameters["history"] or checkout.gitleaks():
                yield from _history(folder, say)
            else:
                what = f"the history of {folder} was not searched for secrets"
                yield Finding(
                    "warning",
                    "never in git",
                    what,
                    "install gitleaks, or set keyturn_checkout_history, which takes long",
                )
        except KeyturnError as error:
            yield Finding("warning", "never in git", str(error), "mend that, and run this again")


def _rights(parameters: Parameters) -> Iterator[Finding]:
    """The login of an environment reads that environment alone, and not one whose name begins alike."""
    spec = store(parameters["store"])
    mine = parameters["environment"]
    others = isolation.environments(Path(parameters["reports"])) - {mine} | {f"{mine}-another"}
    try:
        readable = rights.beyond(spec, mine, sorted(others))
    except KeyturnError as error:
        what = f"what the store's login may read was not looked at: {error}"
        yield Finding("warning", "least privilege", what, "run this with the login that the pipeline has")
        return
    for other in readable:
        what = f"the store's login for {mine} may read the environment {other} too"
        remedy = "give each environment a role of its own: files/openbao-policy.hcl, files/iam-policy.json"
        yield Finding("error" if parameters["production"] else "warning", "least privilege", what, remedy)


def _values(folder: Path, hosts: Mapping[str, HostAnswer], say: checkout.Say) -> Iterator[Finding]:
    """A value that a host holds stands nowhere in the source; it is recognized by its fingerprint."""
    owners = {
        mark: (secret, f"{name} {mark} of {host}")
        for host, said in hosts.items()
        for secret, marks in said["values"].items()
        for name, mark in marks.items()
    }
    for place in dict.fromkeys(checkout.holding(folder, owners, say)):
        secret, whose = owners[place.mark]
        what = f"{folder}/{shown.name(place.file)} holds {whose} (line {place.line})"
        yield Finding(
            "error", "never in git", what, f"take it out, rotate {secret}, and rewrite the history, in a fresh clone"
        )


def _history(folder: Path, say: checkout.Say) -> Iterator[Finding]:
    """What a scanner finds in all that was ever committed."""
    for file, kind in sorted(checkout.history(folder, say)):
        what = f"{shown.name(file)} in the history of {folder}: {kind}"
        yield Finding(
            "error",
            "never in git",
            what,
            "look at it; where it is real, rotate it and rewrite the history, in a fresh clone",
        )
