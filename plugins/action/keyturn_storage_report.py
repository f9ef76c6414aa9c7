"""Runs keyturn/controller/storage_report.py; library/keyturn_storage_report.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_storage_report``."""
