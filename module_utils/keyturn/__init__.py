"""The logic of Keyturn: pure, typed, importable without Ansible.

``ansible_module.py`` is the one file that knows AnsibleModule.
"""
