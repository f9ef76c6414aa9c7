"""Where Ansible comes in."""
