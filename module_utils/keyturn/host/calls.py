"""What one call ``turn`` does on a host: the steps that lead to a phase of its journal. The controller prints the same names."""

from __future__ import annotations

# by the phase after which the call ends
ONE_KEY = {
    "prepared": ("prepare",),
    # of data that all hosts share
    "stopped": ("stop",),
    "turned": ("turn_rows",),
    "switched": ("prepare", "switch"),
    "proved": ("prepare", "switch", "prove"),
}
# Of a list of keys each host by itself takes all of them in one call. Where hosts share the value, a call ends at each barrier:
# no host goes on before every other one is there.
LIST_OF_ITS_OWN = {
    "prepared": ("back_up",),
    "leads": ("back_up", "lead"),
    "turned": ("back_up", "lead", "reencrypt"),
    "switched": ("back_up", "lead", "reencrypt", "drop"),
    "proved": ("back_up", "lead", "reencrypt", "drop", "prove"),
}
SHARED_LIST = {
    "prepared": ("back_up",),
    "accepts": ("back_up", "accept"),
    "leads": ("lead",),
    "turned": ("reencrypt",),
    "switched": ("drop",),
    "proved": ("drop", "prove"),
}
UNTIL = ("prepared", "stopped", "accepts", "leads", "turned", "switched", "proved")


def steps(overlap: str, value: str, until: str) -> tuple[str, ...]:
    """Return the steps of a call until the phase ``until``, by ``overlap`` and ``value`` of the catalogue's entry."""
    if overlap != "key_list":
        return ONE_KEY[until]
    return (SHARED_LIST if value == "shared" else LIST_OF_ITS_OWN)[until]
