"""Calls keyturn/lifecycle/switch.py on the host; library/keyturn_switch.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_switch``."""
