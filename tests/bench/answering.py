"""The interpreter of a host that answers at once: what it costs a controller to turn many hosts, without the hosts.

Ansible packs the real module and sends it; this reads the parameters out of what was sent, and answers with the journal of a
real rotation as it stands after the phase. ``journal.json`` and ``calls``, which takes the CPU seconds of each call, lie beside it.
"""

import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
REACHED = {"stage": "staged", "prepare": "prepared", "switch": "switched", "prove": "proved", "turn": "proved"}


def journal(arguments):
    """Return the journal after the phase, of this rotation on this host."""
    step, rotation = arguments.get("step"), arguments["rotation"]
    phase = REACHED.get(arguments["phase"]) or ("proved" if step == "decide" else "closed")
    record = json.loads((HERE / "journal.json").read_text())
    record |= {name: rotation[name] for name in ("rotation_id", "environment", "secret", "app_root")}
    record |= {"phase": phase, "new": dict.fromkeys(record["new"], rotation["app_root"])}
    names = [entry["phase"] for entry in record["history"]]
    record["history"] = record["history"][: names.index(phase) + 1]
    later = {"decision": step is not None, "outcome": phase == "closed"}
    return {name: value for name, value in record.items() if later.get(name, True)}


def main():
    """Answer one call."""
    line = next(line for line in sys.stdin if line.startswith("params="))
    arguments = json.loads(eval(line[len("params=") : -2]))["ANSIBLE_MODULE_ARGS"]
    sys.stdin.read()
    answer = {"changed": True, "closed": {}, "rotation": {}, "clock_offset": 0.0}
    if "rotation" in arguments:
        answer |= {"rotation": journal(arguments), "place": arguments["rotation"]["app_root"]}
    print(json.dumps(answer))
    with (HERE / "calls").open("a") as calls:
        calls.write(f"{time.process_time()}\n")


main()
