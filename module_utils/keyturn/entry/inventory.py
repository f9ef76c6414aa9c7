"""Which application an inventory is of, and in which group its hosts are: asked once in a run, which its workers inherit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..base.errors import KeyturnError
from ..inputs import application
from ..inputs.application import Application
from ..inputs.tree import ROOT
from ..inputs.variables import APPLICATION, GROUP, OPTIONAL


class Chosen(NamedTuple):
    """The application of an inventory, and the group of its hosts."""

    application: Application
    group: str


_CHOSEN: list[Chosen] = []


def choose(hosts: Any, named: object = None) -> Chosen:
    """Return what the hosts of an inventory say, and keep it for this run; KeyturnError where they do not say one thing.

    ``hosts`` are Ansible's ``hostvars``; ``named`` is what counts in the place of theirs, and has optional secrets of its own.
    """
    optional: tuple[str, ...] = ()
    if named is None:
        named = application.one_of(APPLICATION, _stated(hosts, APPLICATION), application.DEFAULT)
        optional = application.optional(_stated(hosts, OPTIONAL))
    chosen_one = application.chosen(named, ROOT)._replace(optional=optional)
    found = Chosen(chosen_one, application.group(_stated(hosts, GROUP)))
    _CHOSEN[:] = [found]
    return found


def chosen() -> Chosen:
    """Return what was chosen in this run: the guard of every playbook chooses before its first task."""
    if not _CHOSEN:
        raise KeyturnError("no application is chosen: this play must begin with the lookup keyturn_whole_run")
    return _CHOSEN[0]


def _stated(hosts: Any, name: str) -> Iterator[object]:
    for host in hosts:
        said = hosts.raw_get(host).get(name)
        yield hosts[host][name] if isinstance(said, str) and "{" in said else said


def named() -> list[str]:
    """Return the inventories that were given to this run, and not those of its settings: a command of the same environment names them."""
    from ansible import constants, context  # the packed modules have no command line

    return [one for one in context.CLIARGS.get("inventory") or () if one not in constants.DEFAULT_HOST_LIST]
