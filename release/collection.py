"""The collection keyturn.core, made of the checkout: files go to where a collection has them, and names are qualified.

docs/decisions/01-no-collection-as-source-layout.md says why the source is none.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from keyturn.fleet.staging_gate import CODE

NAMESPACE, NAME = "keyturn", "core"
WITHIN = f"{NAMESPACE}.{NAME}."
# what goes into it, as git knows it; of the inventories those that people copy
PACKED = (*CODE, "applications", "ci", "docs", "files", "inventory/production", "inventory/staging")
FILES = (
    "ansible.cfg",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "requirements.lock",
    "requirements-image.lock",
)
# of a checkout alone: its settings for whoever stands there, and what needs an Ansible that is installed beside a collection
LEFT = ("playbooks/ansible.cfg", "applications/trader_ai/awx/", "ci/gitlab/")
MOVED = {"library/": "plugins/modules/", "module_utils/": "plugins/module_utils/"}
# A collection's playbooks and roles find its actions and roles by their short names, and nothing else: not what Python imports, nor
# lookups, filters, callbacks and pages of documentation.
QUALIFIED = [
    (re.compile(pattern, re.MULTILINE), made)
    for pattern, made in (
        (r"\bansible\.module_utils\.keyturn\b", f"ansible_collections.{WITHIN}plugins.module_utils.keyturn"),
        (r'(?<=_loader\.get\(")(?=keyturn_)', WITHIN),
        (r"(?<=\blookup\(['\"])(?=keyturn_)", WITHIN),
        (r"(?<=\| )(?=keyturn_pattern\b)", WITHIN),
        (r"(?<=\bM\()(?=keyturn_)", WITHIN),
        (r"(?<=^extends_documentation_fragment: )(?=keyturn\b)", WITHIN),
        (r"(?<=stdout_callback = )(?=keyturn$)", WITHIN),
        (r"(?<=^author: The Keyturn maintainers)$", " (!UNKNOWN)"),
    )
]
# what ansible-test wants to see at the head of a module and of a plugin with documentation, as the author without a handle above
LICENSE = "# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
HEAD = re.compile(r"\A#!/usr/bin/python\n")
# a task in the examples of a module
EXAMPLE = re.compile(r"^(  )(?=keyturn_\w+:$)", re.MULTILINE)
# settings that say where a checkout has its parts
PLACES = re.compile(r"^(inventory|library|module_utils|roles_path|\w+_plugins) = .*\n", re.MULTILINE)
TEXTS = (".cfg", ".j2", ".md", ".py", ".yml")


def build(root: Path, into: Path) -> Path:
    """Write the artefact into a folder and return its path."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        lay_out(root, tree)
        program = Path(sys.executable).with_name("ansible-galaxy")
        subprocess.run(
            [program, "collection", "build", "--output-path", folder, tree], check=True, stdout=subprocess.DEVNULL
        )
        (built,) = Path(folder).glob("*.tar.gz")
        into.mkdir(parents=True, exist_ok=True)
        artefact = into / built.name
        artefact.write_bytes(packed(built, committed_at(root)))
    return artefact


def lay_out(root: Path, tree: Path) -> None:
    """Write the collection's files into the folder ``tree``."""
    for name in tracked(root):
        place = tree / next((new + name.removeprefix(old) for old, new in MOVED.items() if name.startswith(old)), name)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = (root / name).read_bytes()
        place.write_bytes(qualified(name, content.decode()).encode() if name.endswith(TEXTS) else content)
        place.chmod((root / name).stat().st_mode & 0o755)
    about = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    _write_yaml(tree / "galaxy.yml", galaxy(about))
    _write_yaml(tree / "meta/runtime.yml", {"requires_ansible": _range(about["dependencies"], "ansible-core")})


def tracked(root: Path) -> Iterator[str]:
    """Yield the files that go into the collection, sorted."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--", *PACKED, *FILES]
    names = subprocess.run(command, check=True, text=True, capture_output=True).stdout.split("\0")
    return (name for name in sorted(filter(None, names)) if not name.startswith(LEFT))


def qualified(name: str, text: str) -> str:
    """Return the text of a file with Keyturn's names as a collection has them."""
    for pattern, made in QUALIFIED:
        text = pattern.sub(made, text)
    if re.match(r"plugins/(callback|filter|lookup)/", name):
        return LICENSE + text
    if name.startswith("library/"):
        text = HEAD.sub(rf"\g<0>{LICENSE}", EXAMPLE.sub(rf"\1{WITHIN}", text))
    return PLACES.sub("", text) if name == "ansible.cfg" else text


def galaxy(about: dict[str, Any]) -> dict[str, Any]:
    """Return what galaxy.yml says, from the table ``project`` of pyproject.toml."""
    return {
        "namespace": NAMESPACE,
        "name": NAME,
        "version": about["version"],
        "readme": "README.md",
        "authors": ["The Keyturn maintainers"],
        "description": about["description"],
        "license": [about["license"]],
        "tags": ["security", "secrets", "rotation", "encryption"],
        "dependencies": {},
    }


def _range(dependencies: list[str], name: str) -> str:
    return next(one.removeprefix(name) for one in dependencies if one.startswith(name))


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content, explicit_start=True, sort_keys=False))


def committed_at(root: Path) -> int:
    """Return the second of the commit that is checked out, which stands in what is built of it."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, check=True, text=True, capture_output=True).stdout)


def packed(built: Path, second: int) -> bytes:
    """Return an archive of ansible-galaxy's with the same content, sorted, and with one time in place of the clock's."""
    with tarfile.open(built) as archive:
        members = {one.name: one for one in archive}
        contents = {name: archive.extractfile(one).read() for name, one in members.items() if one.isfile()}  # type: ignore[union-attr]
    files, manifest = json.loads(contents["FILES.json"]), json.loads(contents["MANIFEST.json"])
    files["files"].sort(key=lambda one: one["name"])
    contents["FILES.json"] = json.dumps(files, indent=1).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(contents["FILES.json"]).hexdigest()
    contents["MANIFEST.json"] = json.dumps(manifest, indent=1).encode()
    written = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=written, filename="", mode="wb", mtime=second) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in sorted(members, key=lambda name: (name != "MANIFEST.json", name != "FILES.json", name)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = members[name].type, members[name].mode, second
            member.size = len(contents.get(name, b""))
            archive.addfile(member, io.BytesIO(contents.get(name, b"")))
    return written.getvalue()
