"""Calls keyturn/lifecycle/stage.py on the host; library/keyturn_stage.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_stage``."""
