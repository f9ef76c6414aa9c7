"""What ``stage`` refuses of an environment file: with a name and a remedy, before anything has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from support.lab import KEY, Lab
from support.refusals import check_refused, set_key


def drop_key(host: Lab) -> None:
    lines = host.env.read_text().splitlines(keepends=True)
    host.env.write_text("".join(line for line in lines if not line.startswith(KEY)))


def dangle(host: Lab) -> None:
    host.env.unlink()
    host.env.symlink_to("nowhere")


def make_folder(host: Lab) -> None:
    host.env.unlink()
    host.env.mkdir()


def append(content: bytes) -> Callable[[Lab], Any]:
    return lambda host: host.env.write_bytes(host.env.read_bytes() + content)


ENV = {
    "no file": (
        lambda host: host.env.unlink(),
        [".env does not exist", "restore it with the values that the application runs on"],
    ),
    "no line": (drop_key, [f"{KEY} is not set in", ".env", "add it with its current value"]),
    "empty": (set_key(""), [f"{KEY} is not set in", "add it with its current value"]),
    "malformed": (set_key("short"), [f"{KEY} is not a Fernet key", "44 characters", "it has 5 characters"]),
    "two keys": (
        lambda host: set_key(f"{host.key()},{Fernet.generate_key().decode()}")(host),
        [f"{KEY} is a list of 2 Fernet keys: where the application reads such lists, say so in the catalogue"],
    ),
    "placeholder": (
        set_key("your_32_plus_char_encryption_key_here"),
        [f"{KEY} is not a Fernet key", f"{KEY} is still the template's placeholder"],
    ),
    "refers": (set_key("${OTHER}"), [f"{KEY} on line", "refers to another variable", "write the value itself there"]),
    "not UTF-8": (append(b"A=\xff\n"), [".env: line", "is not UTF-8 text", "save the file as UTF-8"]),
    "hard link": (lambda host: os.link(host.env, host.app / "other.env"), [".env has 2 hard links", "symbolic links"]),
    "dangling": (dangle, [".env: the symbolic link leads to nothing", "point it to the file"]),
}


@pytest.mark.parametrize("case", ENV)
def test_an_environment_file_that_cannot_be_turned_is_refused(host: Lab, case: str) -> None:
    change, texts = ENV[case]
    change(host)
    check_refused(host, texts)


def test_a_folder_for_an_environment_file_is_refused(host: Lab) -> None:
    make_folder(host)
    try:
        check_refused(host, [".env: this is not a regular file", "name the file that holds the values"])
    finally:
        host.env.rmdir()


def test_another_key_in_the_environment_file_is_refused_by_the_rows(host: Lab) -> None:
    set_key(Fernet.generate_key().decode())(host)
    check_refused(host, ["10 rows cannot be turned, nothing was changed", "'item-00001' opens under no value"])
