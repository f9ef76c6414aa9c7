"""Runs keyturn/controller/notify.py; library/keyturn_notify.py documents it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_notify``."""

    shows = True
