"""The recipe of docs/guides/adopt.md for podman, word by word: the application in a container, its settings and rows on the host."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from support.lab import ROOT, Lab

NUMBER = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
NAME = f"keyturn-shop-{NUMBER}"
CONTAINERFILE = """
FROM {host}
COPY trader_ai /app/trader_ai
WORKDIR /app
ENV HOST=0.0.0.0 PORT=8080
STOPSIGNAL SIGTERM
CMD ["python3", "-m", "trader_ai"]
"""


def podman(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], check=True, text=True, capture_output=True).stdout.strip()


def recipe(script: str) -> str:
    """Return a script as the page has it."""
    (text,) = re.findall(
        rf"```\n(#!/bin/sh\n# {script}\n.*?)```", (ROOT / "docs/guides/adopt.md").read_text(), re.DOTALL
    )
    return str(text)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The stand-in on the Debian of the tests' hosts."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keyturn-tests"
    host = subprocess.run(
        [ROOT / "tests/molecule/host/build", cache], check=True, text=True, capture_output=True
    ).stdout.strip()
    recipe = tmp_path_factory.mktemp("image") / "Containerfile"
    recipe.write_text(CONTAINERFILE.format(host=host))
    name = f"localhost/{NAME}:1.4"
    podman("build", "--quiet", "--tag", name, "--file", str(recipe), str(ROOT / "demo"))
    yield name
    podman("image", "rm", "--force", name)


class Contained(Lab):
    """The stand-in in a container, started and stopped by the page's two scripts."""

    @property
    def services(self) -> dict[str, Any]:
        """What the page says of the service."""
        return {"backend": super().services["backend"] | {"pid_file": "run/shop.pid"}}

    def contain(self, image: str) -> None:
        """Put the page's scripts into the place of the stand-in's own."""
        # and what podman needs on a machine with few privileges, since a script gets nothing of a run's environment
        settings = f"#!/bin/sh\nexport CONTAINERS_CONF={ROOT / 'tests/molecule/containers.conf'}\n"
        given = {"#!/bin/sh\n": settings, "shop:1.4": image, "127.0.0.1:8080:": f"127.0.0.1:{self.port}:"}
        given |= {word: word.replace("shop", NAME) for word in (" shop ", " shop\n")}
        for script in ("start.sh", "stop.sh"):
            text = recipe(script)
            for before, after in given.items():
                text = text.replace(before, after)
            (self.app / script).write_text(text)
        # podman takes quotation marks for a part of the value
        self.env.write_text(self.env.read_text().replace('"', "").replace("'", ""))

    def start(self) -> None:
        """Start the service as Keyturn does, from the application's folder."""
        subprocess.run(["./start.sh"], check=True, cwd=self.app)
        self.watch("backend")

    def pid(self) -> str:
        """The process that the container is."""
        return podman("inspect", "--format", "{{.State.Pid}}", NAME)


@pytest.fixture
def contained(image: str, tmp_path: Path) -> Iterator[Contained]:
    lab = Contained(tmp_path / "host")
    lab.contain(image)
    lab.start()
    yield lab
    lab.forget()
    with contextlib.suppress(subprocess.CalledProcessError):
        podman("rm", "--force", "--time", "0", NAME)


@pytest.mark.exhaustive
def test_a_key_is_turned_in_a_container_that_the_page_starts(contained: Contained) -> None:
    key, tokens, before = contained.key(), contained.tokens_read(), contained.pid()
    checked = contained.play("rotate_db_key", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (contained.key(), contained.pid()) == (key, before)
    done = contained.play("rotate_db_key")
    assert done.returncode == 0, done.stdout + done.stderr
    assert contained.key() != key and contained.pid() != before
    assert contained.tokens_read() == tokens
    assert (contained.app / "run/shop.pid").read_text().strip() == contained.pid()
    assert contained.get("/api/bank/accounts") == 200
    # a start that fails takes the container back to the old key
    now = contained.key()
    start = contained.app / "start.sh"
    text = start.read_text()
    held = hashlib.sha256(contained.env.read_bytes()).hexdigest()
    start.write_text(text.replace("set -eu\n", f"set -eu\nsha256sum .env | grep -q {held}\n"))
    failed = contained.play("rotate_db_key")
    assert failed.returncode == 2, failed.stdout
    assert contained.key() == now and dotenv_values(contained.env)["DATABASE_ENCRYPTION_KEY"] == now
    assert contained.tokens_read() == tokens and contained.get("/api/bank/accounts") == 200
