"""A lab whose application is the real code, wherever it lies: its database is made and read by it, its processes are of it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.lab import ROOT, Lab

APPLICATION = Path(os.environ.get("KEYTURN_REAL_APPLICATION", ""))
PYTHON = os.environ.get("KEYTURN_REAL_PYTHON", sys.executable)
WRAPPED = ROOT / "tests/real/wrapped"
NEEDS = ("alpaca", "cryptography", "dotenv", "fastapi", "jose", "plaid", "uvicorn")
STORE = """
import json, sqlite3, sys
from src.finances.bank_database_encrypted import BankDatabase
database = BankDatabase("data/bank_accounts.db", sys.argv[1])
given = {database.add_plaid_item(token, "Bank"): token for token in json.load(sys.stdin)}
items = [item for (item,) in sqlite3.connect("data/bank_accounts.db").execute("SELECT item_id FROM plaid_items")]
json.dump(given or {item: database.get_access_token(item) for item in items}, sys.stdout)
"""


def missing() -> str:
    """Say in one sentence why the real code cannot be run; nothing where it can."""
    if not os.environ.get("KEYTURN_REAL_APPLICATION"):
        return "KEYTURN_REAL_APPLICATION names no folder with the public application"
    if not (APPLICATION / "src/finances/bank_database_encrypted.py").is_file():
        return f"KEYTURN_REAL_APPLICATION={APPLICATION} does not hold the public application"
    look = f"import importlib.util as u; print(*[name for name in {NEEDS} if u.find_spec(name) is None])"
    lacking = subprocess.run([PYTHON, "-c", look], check=True, capture_output=True, text=True).stdout.split()
    return f"{PYTHON} (KEYTURN_REAL_PYTHON) lacks {', '.join(lacking)}" if lacking else ""


@dataclass
class RealLab(Lab):
    """``log_form`` is one of the two that the application writes; ``literals`` are written into its configuration at the begin."""

    log_form: str = "default"
    proof: tuple[tuple[str, str], ...] = (("proof_path", "/bank/accounts"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = {
            "PYTHON": PYTHON,
            "PYTHONPATH": f"{WRAPPED}:{APPLICATION}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "LOG_FORM": self.log_form,
        }
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
        (self.app / "service.conf").write_text("".join(lines))
        script = self.app / "start.sh"
        script.write_text(script.read_text().replace("2>>logs", "2>logs").replace("SECONDS + 10", "SECONDS + 120"))
        (self.app / "config").mkdir()
        for name in ("config.json", "phase2_integration.json"):
            shutil.copy(APPLICATION / "config" / name, self.app / "config")
        self.database.unlink()
        self.tokens = self.stored([f"access-sandbox-{uuid.uuid4()}" for _ in range(self.rows)])

    @property
    def services(self) -> dict[str, Any]:
        """``keyturn_services`` of this host, with the time that the imports of the real code take."""
        found = super().services
        found["backend"] |= {"log_file": "logs/backend.err.log"} | dict(self.proof)
        return {name: service | {"health_timeout_seconds": 180} for name, service in found.items()}

    def stored(self, tokens: list[str] | None = None) -> dict[str, str]:
        """Let the application store tokens, and return them by item; without any, return what it reads."""
        done = subprocess.run(
            [PYTHON, "-c", STORE, self.key()],
            cwd=self.app,
            env={"PYTHONPATH": str(APPLICATION), "PYTHONDONTWRITEBYTECODE": "1"},
            input=json.dumps(tokens or []),
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(json.loads(done.stdout))

    def tokens_read(self) -> dict[str, str]:
        """Return every token as the application's own code reads it."""
        return self.stored()

    def configure(self, name: str, section: str = "", **values: str) -> None:
        """Write literals into a file of the configuration."""
        path = self.app / "config" / name
        document = json.loads(path.read_text())
        (document[section] if section else document).update(values)
        path.write_text(json.dumps(document, indent=2))

    def held(self, name: str, section: str = "") -> dict[str, Any]:
        """Return a file of the configuration, or one of its sections."""
        document = json.loads((self.app / "config" / name).read_text())
        return dict(document[section] if section else document)
