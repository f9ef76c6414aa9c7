"""Runs keyturn/controller/report.py; library/keyturn_report.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_report``."""

    shows = True
