"""Calls library/keyturn_rollback.py."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_rollback``."""
