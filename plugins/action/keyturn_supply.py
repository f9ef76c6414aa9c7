"""Runs keyturn/controller/supply.py; library/keyturn_supply.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_supply``."""

    needs_no_log = True
