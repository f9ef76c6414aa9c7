"""The action ``keyturn_haproxy``: one call of a host, as ``keyturn_host`` runs it."""

from ansible.plugins.loader import action_loader

ActionModule = action_loader.get("keyturn_host", class_only=True)
