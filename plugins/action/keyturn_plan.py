"""Runs keyturn/controller/plan.py; library/keyturn_plan.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_plan``."""

    shows = True
