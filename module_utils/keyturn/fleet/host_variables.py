"""The variables of a host, as far as the controller reads them: what the inventory says, and what the run has registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from ..host.phases.answers import HostAnswer


class HostVariables(TypedDict, total=False):
    """``keyturn_NAME`` is the inventory's, ``rotation_NAME`` what a call has answered, or why the host has failed."""

    keyturn_environment: str
    keyturn_app_root: str
    keyturn_services: Mapping[str, object]
    keyturn_secrets_here: list[str]
    keyturn_drain_hook: str
    keyturn_return_hook: str
    keyturn_checks: Mapping[str, object] | None
    keyturn_delivery: str
    rotation_failure: str
    rotation_reached: HostAnswer
    rotation_looked: HostAnswer
    rotation_staged: HostAnswer
    rotation_issued: HostAnswer
    rotation_prepared: HostAnswer
    rotation_turned: HostAnswer
    rotation_decided: HostAnswer
    rotation_ended_old: HostAnswer
    rotation_finished: HostAnswer
    rotation_taken_back: HostAnswer
    rotation_asked_provider: HostAnswer
    rotation_allowed: HostAnswer
    rotation_went_back: HostAnswer
    rotation_left_open: HostAnswer


Hosts = Mapping[str, HostVariables]
