"""Calls keyturn/lifecycle/turn.py on the host; library/keyturn_turn.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_turn``."""
