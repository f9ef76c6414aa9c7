#!/usr/bin/python
"""Plan a rotation."""

DOCUMENTATION = r"""
module: keyturn_plan
short_description: Plan a rotation
description:
  - Checks the catalogue entry and the services against their legal values, and fixes the id, the reason and the operator.
  - Runs on the controller and changes nothing.
options:
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  secret:
    description: Name of the entry to rotate.
    type: str
    required: true
  application:
    description: The folder of the application's data, which is part of what staging has tried.
    type: path
    required: true
  store:
    description: The inventory's C(keyturn_store). docs/stores.md says all keys.
    type: dict
    default: {kind: dotenv}
  hosts:
    description:
      - What the inventory says of each host of the application, by its name. The action reads it from the inventory.
      - It has C(keyturn_environment), which must be one, C(keyturn_services) and the hooks of a balancer.
    type: dict
    default: {}
  reason:
    description: Why the secret is rotated.
    type: str
    required: true
  operator:
    description: Who rotates. The pipeline's actor or the user if empty.
    type: str
    default: ''
  rotation_id:
    description: Id of a rotation to go on with. A new one if empty.
    type: str
    default: ''
  inventory:
    description: Folder of the inventory. It must bear the environment's name, unless this is empty.
    type: str
    default: ''
  until:
    description: How far the rotation goes. With C(ready) it ends after every check that needs no new value.
    type: str
    default: committed
    choices: [committed, ready]
  overrides:
    description: What a person has overridden, with the reason; an empty reason overrides nothing.
    type: dict
    default: {}
  accept_unproved:
    description: Why a rotation goes on of which nothing can show that the new value works; refused without a reason.
    type: str
    default: ''
  pipeline_log:
    description:
      - Of a pipeline, the environment's folder of reports. It must outlive the job, so one in the checkout is refused, and the
        hosts compare its log with what they know. Anybody else's if omitted.
    type: path
  reports:
    description: The environment's folder of reports, whose rotations without an end the hosts are asked about first.
    type: path
  batches:
    description: Batches of a rolling switch, as C(serial) of a play takes them.
    type: list
    elements: raw
    default: [1, 25%, 100%]
extends_documentation_fragment: keyturn.info
"""

EXAMPLES = r"""
- name: Plan the rotation
  keyturn_plan:
    secrets: "{{ keyturn_secrets }}"
    secret: signing_key
    application: /srv/keyturn/applications/shop
    inventory: staging
    reason: scheduled
"""

RETURN = r"""
plan:
  description: The rotation's id, reason, operator, start and batches, and what the catalogue says of the secret.
  returned: success
  type: dict
text:
  description: The same for a person; the action prints it.
  returned: success
  type: str
run:
  description: What every call on a host is told of the run.
  returned: success
  type: dict
"""

# The work is done in the controller's own process: plugins/action/keyturn_plan.py
