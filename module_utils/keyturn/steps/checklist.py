"""The action ``keyturn_checklist``."""

from __future__ import annotations

import os
from pathlib import Path

from ..base.errors import KeyturnError
from ..fleet import answers
from ..host.journal import utc_now
from ..inputs import persons
from ..inputs.request import check_rotation_id
from ..inputs.validation import Answer, Parameters
from ..records import audit, checklist, rotation_log, signatures
from .status import entries

# what AWX sets for each of its jobs
AWX = "AWX_PRIVATE_DATA_DIR"
SHAPE = {"checklist": answers.POINTS, "secrets": {"*": dict}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Sign a rotation's checklist, or close it, with a record in the log."""
    folder, wanted = Path(parameters["folder"]), parameters["checklist"]
    check_rotation_id(parameters["rotation_id"])
    case = audit.case(folder, parameters["rotation_id"], entries(parameters["secrets"]))
    _check_keys(parameters)
    if parameters["allowed_signers"]:
        case = case._replace(records=_counting(case.records, parameters))
    done = parameters["step"] == "close" and checklist.closed(case.records, parameters["rotation_id"])
    if not done:
        entry = STEPS[parameters["step"]](case, parameters)
        done = any(entry.items() <= old.items() for old in case.records)
    if not done:
        if not check_mode:
            at = utc_now()
            rotation_log.append(folder, {**entry, "at": at}, _seal(case, parameters, entry, at))
        case = case._replace(records=[*case.records, entry])
    lines = checklist.text(checklist.points(wanted, case))
    signed = f"signed by {checklist.signer(case.records, parameters['rotation_id'])}"
    left = len(checklist.still_open(checklist.points(wanted, case)))
    state = (
        f"closed, {signed}"
        if checklist.closed(case.records, parameters["rotation_id"])
        else f"{signed}, and not closed: "
        + (f"{left} points are open" if left else f"run {checklist.closing(parameters['rotation_id'])}")
    )
    head = f"{case.report['title']} ({parameters['rotation_id']}): {state}"
    last = rotation_log.head(rotation_log.read(folder))
    return {
        "changed": not done,
        "text": "\n".join([head, *lines, f"log head   record {last['number']}, {last['hash']}"]),
    }


def _check_keys(parameters: Parameters) -> None:
    if parameters["allowed_signers"]:
        signatures.check_file(Path(parameters["allowed_signers"]))
    elif parameters["signing_key"]:
        raise KeyturnError(
            "keyturn_signing_key is given, and nobody could check the signature: set keyturn_allowed_signers in the inventory; nothing "
            "was signed"
        )
    if parameters["step"] == "sign" and parameters["allowed_signers"] and not parameters["signing_key"]:
        raise KeyturnError(
            "keyturn_allowed_signers is set, so a person signs with a key: -e keyturn_signing_key=KEY; nothing was signed"
        )


def _counting(records: checklist.Records, parameters: Parameters) -> checklist.Records:
    """Return the records without the sign-offs of the rotation that do not count: those without the key of another person."""
    mine = [
        one for one in records if (one.get("event"), one.get("rotation_id")) == ("signed", parameters["rotation_id"])
    ]
    forged = [one for one in mine if signatures.fault(one, records, Path(parameters["allowed_signers"]))]
    return [one for one in records if one not in forged]


def _seal(
    case: checklist.Case, parameters: Parameters, entry: rotation_log.Record, at: str
) -> rotation_log.Seal | None:
    if entry["event"] != "signed" or not parameters["signing_key"]:
        return None
    key, allowed = Path(parameters["signing_key"]), Path(parameters["allowed_signers"])
    rotators = [case.report["operator"], *checklist.rotators(case.records, case.report["rotation_id"])]
    return signatures.seal(key, allowed, entry["signer"], rotators, at)


def _sign(case: checklist.Case, parameters: Parameters) -> rotation_log.Record:
    if AWX in os.environ and not parameters["signing_key"]:
        raise KeyturnError(
            "a job of AWX has the login of its container, which is no person's: sign with a key (keyturn_allowed_signers); nothing was "
            "signed"
        )
    login = {} if parameters["signing_key"] else persons.login(os.environ)
    return checklist.sign(case, parameters["signer"], parameters["points"], parameters["checklist"], login)


STEPS = {
    "close": lambda case, parameters: checklist.close(
        case, parameters["checklist"], bool(parameters["allowed_signers"])
    ),
    "sign": _sign,
}
