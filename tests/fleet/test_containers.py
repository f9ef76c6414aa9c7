"""The recipes of docs/guides/adopt.md for containers, word by word: the application in one, its settings and rows on the host."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from dotenv import dotenv_values
from support.lab import ROOT, Lab
from support.watching import wait_for

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


def recipe(name: str) -> str:
    """Return a file as the page has it, by the name that its comment says."""
    page = (ROOT / "docs/guides/adopt.md").read_text()
    (text,) = re.findall(rf"```\w*\n((?:#!/bin/sh\n)?# {re.escape(name)}\n.*?)```", page, re.DOTALL)
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

    names = ("start.sh", "stop.sh")

    def contain(self, image: str) -> None:
        """Put the page's scripts into the place of the stand-in's own."""
        # and what podman needs on a machine with few privileges, since a script gets nothing of a run's environment
        exports = "".join(f"export {name}={value}\n" for name, value in self.exports().items())
        given = {
            "#!/bin/sh\n": f"#!/bin/sh\n{exports}",
            "shop:1.4": image,
            "127.0.0.1:8080:": f"127.0.0.1:{self.port}:",
        }
        given |= {word: word.replace("shop", NAME) for word in (" shop ", " shop\n")} | self.instead
        for name in self.names:
            text = recipe(name)
            for before, after in given.items():
                text = text.replace(before, after)
            (self.app / name.removesuffix(", Compose")).write_text(text)
        # podman takes quotation marks for a part of the value
        self.env.write_text(self.env.read_text().replace('"', "").replace("'", ""))

    def start(self) -> None:
        """Start the service as Keyturn does, from the application's folder."""
        subprocess.run(["./start.sh"], check=True, cwd=self.app)
        self.watch("backend")

    instead: Mapping[str, str] = MappingProxyType({})
    container = NAME

    def exports(self) -> dict[str, str]:
        """Return what the scripts get beside what the page says."""
        return {"CONTAINERS_CONF": str(ROOT / "tests/molecule/containers.conf")}

    def pid(self) -> str:
        """The process that the container is."""
        return podman("inspect", "--format", "{{.State.Pid}}", self.container)

    def remove(self) -> None:
        """Leave nothing on this machine."""
        self.forget()
        with contextlib.suppress(subprocess.CalledProcessError):
            podman("rm", "--force", "--time", "0", self.container)


class Composed(Contained):
    """The same by Docker Compose, which asks podman as if it were Docker's daemon."""

    names = ("compose.yml", "start.sh, Compose", "stop.sh, Compose")
    instead = MappingProxyType({"docker compose": "docker-compose", "docker inspect": "podman inspect"})
    container = f"{NAME}_web_1"

    def contain(self, image: str) -> None:
        self.socket = self.folder / "podman.sock"
        self.daemon = subprocess.Popen(
            ["podman", "system", "service", "--time", "0", f"unix://{self.socket}"], env=os.environ | super().exports()
        )
        super().contain(image)

    def exports(self) -> dict[str, str]:
        return {**super().exports(), "DOCKER_HOST": f"unix://{self.socket}", "COMPOSE_PROJECT_NAME": NAME}

    def start(self) -> None:
        wait_for("the socket of podman", self.socket.exists)
        super().start()

    def remove(self) -> None:
        super().remove()
        podman("network", "rm", "--force", f"{NAME}_default")
        self.daemon.terminate()
        self.daemon.wait()


@pytest.fixture(params=[Contained, Composed])
def contained(request: pytest.FixtureRequest, image: str, tmp_path: Path) -> Iterator[Contained]:
    lab: Contained = request.param(tmp_path / "host")
    try:
        lab.contain(image)
        lab.start()
        yield lab
    finally:
        lab.remove()


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
