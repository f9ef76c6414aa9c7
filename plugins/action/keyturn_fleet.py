"""Runs keyturn/controller/fleet.py; library/keyturn_fleet.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_fleet``."""
