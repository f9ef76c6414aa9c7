"""Runs keyturn/controller/store.py; library/keyturn_store.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_store``."""

    needs_no_log = True
