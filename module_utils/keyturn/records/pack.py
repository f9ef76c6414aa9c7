"""The evidence of a period for an audit: part of the log, its reports and signatures, and how to verify them without Keyturn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple, cast

from ..base import durable, shape
from ..base.errors import KeyturnError
from ..base.shown import cell
from . import audit, report, rotation_log, signatures
from .evidence import Members

DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
STATUS = ("status.json", "status.csv", "status.html")
SIGNERS, CHECKER, MANUAL = "allowed_signers", "verify_chain.py", "VERIFY.md"


class Period(NamedTuple):
    """From the begin of a day to the end of another, in UTC."""

    begin: str
    end: str

    def has(self, record: Mapping[str, object]) -> bool:
        """Tell whether a record of the log was written in it."""
        return self.begin <= str(record.get("at") or record.get("started"))[:10] <= self.end


def period(begin: str, end: str) -> Period:
    """Return a period; KeyturnError where a day is none, or the second lies before the first."""
    for name, day in (("keyturn_from", begin), ("keyturn_to", end)):
        if not _is_day(day):
            raise KeyturnError(
                f"{name} must be a day such as 2026-01-31: -e keyturn_from=2026-01-01 -e keyturn_to=2026-03-31"
            )
    if begin > end:
        raise KeyturnError(f"keyturn_from {begin} lies after keyturn_to {end}: exchange them")
    return Period(begin, end)


def _is_day(text: str) -> bool:
    try:
        return bool(DAY.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def fault(folder: Path, allowed: str) -> str:
    """Return why the log does not verify, with what was its head for reports and status, and its signatures; empty where it does."""
    try:
        rotation_log.verify(folder, audit.heads(folder, report.documents(folder)))
        if allowed:
            signatures.check(folder / rotation_log.LINES, rotation_log.read(folder), Path(allowed))
    except KeyturnError as error:
        return str(error)
    return ""


def members(folder: Path, when: Period, allowed: str, words: Mapping[str, str]) -> tuple[Members, dict[str, int]]:
    """Return the files of the archive, and how many records, reports and signatures are in it.

    ``words`` are ``environment``, and ``fault`` and ``reason`` where the log does not verify and a person wants the evidence all the same.
    """
    lines = _part(folder, when)
    records = [cast(rotation_log.Record, one) for one in map(shape.parse, lines) if isinstance(one, dict)]
    reports = _reports(folder, {str(one.get("rotation_id")) for one in records})
    signed = _signatures(records)
    signers = {SIGNERS: Path(allowed).read_bytes()} if allowed else {}
    found = {rotation_log.LINES: b"".join(lines), CHECKER: Path(__file__).with_name(CHECKER).read_bytes()}
    found |= reports | signed | signers | _status(folder)
    counts = {"records": len(lines), "reports": len(reports), "signatures": len(signed) // 4}
    return found | {MANUAL: _manual(when, counts, bool(signers), words).encode()}, counts


def _part(folder: Path, when: Period) -> list[bytes]:
    """Return the lines of the log from the first of the period to its last. Lines older than the chain only come whole."""
    path = folder / rotation_log.LINES
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    records = [one if isinstance(one, dict) else {} for one in map(shape.parse, lines)]
    inside = [number for number, one in enumerate(records) if when.has(one)]
    if not inside:
        days = [str(one.get("at") or one.get("started"))[:10] for one in records if "at" in one or "started" in one]
        has = f"has records from {min(days)} to {max(days)}" if days else "has none at all"
        raise KeyturnError(
            f"{path} has no record from {when.begin} to {when.end}, so there is no evidence of that period: the log {has}"
        )
    first = 0 if "hash" not in records[inside[0]] else inside[0]
    return lines[first : inside[-1] + 1]


def _reports(folder: Path, wanted: set[str]) -> Members:
    found = {path: durable.read_json(path, report.SHAPE) or {} for path in sorted(folder.glob("[0-9]*.json"))}
    return {
        f"reports/{path.name}": path.read_bytes() for path, one in found.items() if one.get("rotation_id") in wanted
    }


def _signatures(records: Sequence[rotation_log.Record]) -> Members:
    """Return what ssh-keygen needs for each signature, a file each: names of people never stand in a command."""
    found: Members = {}
    for one in records:
        if one.get("event") == "signed" and "signature" in one:
            place = f"signatures/{one['number']:06}"
            found |= {f"{place}.record": rotation_log.signed_part(one), f"{place}.sig": one["signature"].encode()}
            found |= {f"{place}.signer": one["signer"].encode(), f"{place}.at": re.sub(r"\D", "", one["at"]).encode()}
    return found


def _status(folder: Path) -> Members:
    missing = [name for name in STATUS if not (folder / name).is_file()]
    if missing:
        raise KeyturnError(f"{folder} has no {', '.join(missing)}: run status.yml, which writes them, then this again")
    return {name: (folder / name).read_bytes() for name in STATUS}


SUMS_AND_CHAIN = """
```sh
sha256sum -c SHA256SUMS
```

Every line must say `OK`. The run that has made the archive printed the SHA-256 of the archive itself.

## 2. The chain of the log

```sh
python3 -I verify_chain.py
```

It must say `whole`. It reads `rotation-log.jsonl`, compares each record's hash, number and predecessor, the heads of the log that the
reports have kept, and the files in `signatures/` with the records. It is a page of Python without anything of Keyturn's: read it first;
with `-I` it takes nothing else that lies here for a part of Python.
The hash that the first record follows is that of the last record before the period: it is the last one in the evidence of the period
before. Compare the last one with a head that was kept elsewhere, such as in the log of a pipeline.

## 3. The signatures
"""
VERIFY_SIGNATURES = """
```sh
for record in signatures/*.record; do
  one=${record%.record}
  TZ=UTC ssh-keygen -Y verify -n keyturn -f allowed_signers -I "$(cat "$one.signer")" -O verify-time="$(cat "$one.at")" \\
    -s "$one.sig" < "$record" || echo "WRONG: $record"
done
```

Each must say `Good "keyturn" signature`. `allowed_signers` says whose key is whose: compare it with what those people say of their keys.
"""


def _manual(when: Period, counts: Mapping[str, int], signers: bool, words: Mapping[str, str]) -> str:
    """Return the instructions. Their commands are the same in every archive."""
    broken = (
        f"\n**The log does not verify.** {cell(words['fault'])}. It was packed all the same, because: {cell(words['reason'])}\n"
        if words["fault"]
        else ""
    )
    if not counts["signatures"]:
        signed = "\nNobody has signed with a key in this period.\n"
    elif not signers:
        signed = "\nThe inventory does not say whose key is whose (`keyturn_allowed_signers`), so nothing can be verified here.\n"
    else:
        signed = VERIFY_SIGNATURES
    return f"""# Evidence of {cell(words["environment"])}, {when.begin} to {when.end}
{broken}
| file | what it is |
|---|---|
| `rotation-log.jsonl` | {counts["records"]} lines of the rotation log, from the first of the period to its last |
| `reports/` | {counts["reports"]} reports of rotations that stand in them |
| `signatures/` | {counts["signatures"]} sign-offs by people's keys: what was signed, by whom, when, and the signature |
| `status.json`, `status.csv`, `status.html` | the status as it was said last, with its own time |
| `SHA256SUMS`, `verify_chain.py` | what the commands below need |

There are fingerprints (`kt:...`) in the place of values, which stand in none of the files. The commands are to be typed in the folder
into which the archive was unpacked.

## 1. The files
{SUMS_AND_CHAIN}{signed}"""
