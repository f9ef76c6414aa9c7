"""Calls library/keyturn_prove.py."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_prove``."""
