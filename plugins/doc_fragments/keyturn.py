"""The documentation that the modules of the lifecycle share."""

# what a call is told of the application, whatever it is about
OF_EACH_CALL = r"""
      app_root:
        description: Folder of the application; relative paths of the entry and the services start there.
        type: path
        required: true
      app_user:
        description: User that the service's scripts run as. The user of the connection if omitted.
        type: str
      state_dir:
        description: Folder (0700) for the journal, the staged values and the backups.
        type: path
        required: true
      services:
        description: C(keyturn_services) of the inventory.
        type: dict
        required: true
      accept_shapes:
        description: Rows that may have another shape than the catalogue declares, by their key, with the reason.
        type: dict
        default: {}
      delivery:
        description: How the values reach the application; C(migrate_delivery.yml) moves them.
        type: str
        default: dotenv
        choices: [dotenv, systemd_credential]
      secrets_here:
        description:
          - The secrets that the host holds. Where nobody says so, those of which its files, its data or its past rotations show
            something.
        type: list
        elements: str
"""
ENTRIES = r"""
  secrets:
    description: The catalogue, C(keyturn_secrets), or a part of it.
    type: dict
    required: true
"""
ONE_ENTRY = r"""
  secret:
    description: Name of the catalogue entry.
    type: str
    required: true
  entry:
    description: The catalogue entry, as C(keyturn_secrets) holds it.
    type: dict
    required: true
"""
ATTRIBUTES = r"""
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Reads only and says what would happen.
    support: full
  diff_mode:
    description: Shows fingerprints, never values.
    support: full
"""
NOTHING_TO_SHOW = r"""
author: The Keyturn maintainers
options: {}
attributes:
  diff_mode:
    description: There is nothing to show.
    support: none
  check_mode:
    support: full
    description: """


ROTATION = r"""
options:
  rotation:
    description:
      - The rotation as every call of one run describes it. The role C(rotation) builds it from the inventory, the
        catalogue and the plan.
      - It names the secret and holds no value; values stay in the host's own state folder.
    type: dict
    required: true
    suboptions:
      rotation_id:
        description: Id of the rotation, from M(keyturn_plan). The same id makes every call safe to repeat.
        type: str
        required: true
      environment:
        description: Name of the environment, such as C(staging).
        type: str
        required: true
      secret:
        description: Name of the catalogue entry.
        type: str
        required: true
      entry:
        description: The catalogue entry, as C(keyturn_secrets) holds it.
        type: dict
        required: true
      reason:
        description: Why the secret is rotated.
        type: str
        required: true
      operator:
        description: Who rotates.
        type: str
        required: true
      encrypt_plaintext_rows:
        description: Whether rows that were never encrypted are encrypted now.
        type: bool
        default: false
      allow_empty_tables:
        description: Declared tables that may have no rows.
        type: list
        elements: str
        default: []
      overrides:
        description: What a person has overridden, with the reason.
        type: dict
        default: {}
      error_lines:
        description: The application's known error lines, by kind, each as C(keyturn_log_lines) has it; the checklist counts them.
        type: dict
        default: {}
      backup_retention_days:
        description: Days that the backup and the old value are kept after the rotation.
        type: int
        default: 30
      speaker:
        description: Of data that all hosts share, the host that turns it for all of them.
        type: str
        default: ''
      speaks:
        description: Whether this host is that one.
        type: bool
        default: true
      rows_under:
        description: Under which value that host has said to have brought the rows, where it has.
        type: str
        default: ''
        choices: ['', new, old]"""
APPLICATION = r"""
options:
  application:
    description: The application on the host, as every call that is about no rotation describes it. The role C(rotation) builds it.
    type: dict
    required: true
    suboptions:"""


class ModuleDocFragment:
    """``extends_documentation_fragment: keyturn``; of what is about no rotation ``keyturn.secrets``, or ``keyturn.secret`` for one alone.

    ``keyturn.info`` is of what only reads, and ``keyturn.step`` of any other that needs to say no more of check mode.
    """

    DOCUMENTATION: str
    SECRETS: str
    SECRET: str
    INFO: str
    STEP: str


# not in the class, where ansible-test takes nothing but constants
ModuleDocFragment.DOCUMENTATION = ROTATION + OF_EACH_CALL + ATTRIBUTES
ModuleDocFragment.SECRETS = APPLICATION + OF_EACH_CALL + ENTRIES + ATTRIBUTES
ModuleDocFragment.SECRET = APPLICATION + OF_EACH_CALL + ONE_ENTRY + ATTRIBUTES
ModuleDocFragment.INFO = NOTHING_TO_SHOW + "Changes nothing anyway."
ModuleDocFragment.STEP = NOTHING_TO_SHOW + "Writes nothing."
