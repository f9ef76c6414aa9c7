"""The action ``keyturn_agree``: a step of the controller, as ``keyturn_controller`` runs it."""

from ansible.plugins.loader import action_loader

ActionModule = action_loader.get("keyturn_controller", class_only=True)
