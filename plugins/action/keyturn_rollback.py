"""The action ``keyturn_rollback``: one call of a host, as ``keyturn_host`` runs it."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """Differs from its base in its name only."""
