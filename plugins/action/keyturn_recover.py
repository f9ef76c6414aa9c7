"""Runs keyturn/controller/recover.py; library/keyturn_recover.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_recover``."""
