"""Calls keyturn/lifecycle/rollback.py on the host; library/keyturn_rollback.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_rollback``."""
