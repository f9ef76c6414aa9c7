"""Calls keyturn/lifecycle/prepare.py on the host; library/keyturn_prepare.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_prepare``."""
