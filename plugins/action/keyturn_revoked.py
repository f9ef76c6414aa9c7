"""Runs keyturn/controller/revoked.py; library/keyturn_revoked.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_revoked``."""
