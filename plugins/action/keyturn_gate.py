"""Runs keyturn/controller/gate.py; library/keyturn_gate.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_gate``."""
