"""The guide's programs for MariaDB and Redis, as they are printed there, at Debian's servers: unpacked, and on a loopback of their own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from support import odd
from support.environments import unpacked

GUIDE = Path(__file__).parents[2] / "docs/guides/issuers.md"
PROGRAMS = dict(
    zip(("mariadb", "redis"), re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL), strict=True)
)
# the server is where the guide has it, at its own port, and nobody else sees it; all its processes end with the first
APART = ("unshare", "--mount", "--net", "--pid", "--fork", "bash", "-ec")
SCENE = """
cd {folder}
mount -t overlay -o lowerdir={root}/usr:/usr overlay /usr
echo '127.0.0.1 localhost db.internal' >hosts; mount --bind hosts /etc/hosts
ip link set lo up
{server}
while read -r argument told; do
    code=0; /usr/bin/python3 program "$argument" <"$told" >/dev/null 2>&1 || code=$?
    echo $code
done <steps
kill -9 %1; wait || true
code=0; /usr/bin/python3 program ask <old.json >/dev/null 2>&1 || code=$?
echo $code
"""
MARIADB = """
mkdir data; mount -t tmpfs none /run; mkdir /run/mysqld
mariadb-install-db --no-defaults --datadir=$PWD/data --user=root --auth-root-authentication-method=socket --skip-test-db >log 2>&1
options="--no-defaults --datadir=$PWD/data --user=root --socket=/run/mysqld/mysqld.sock"
mariadbd $options --general-log=1 --general-log-file=$PWD/queries >>log 2>&1 &
until mariadb -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; done
mariadb -e "CREATE USER 'shop'@'%' IDENTIFIED BY 'the first'"
"""
REDIS = """
printf 'user default on nopass ~* +@all\\nuser shop on >%s ~* +@all\\n' first >users.acl
redis-server --dir $PWD --aclfile $PWD/users.acl --save '' >log 2>&1 &
until redis-cli PING >/dev/null 2>&1; do sleep 0.1; done
"""


class Recipe(NamedTuple):
    """A server by its package, how it starts with the account, the variable of the program, the first password, what it notes."""

    package: str
    server: str
    variable: str
    first: str
    notes: tuple[str, ...]


RECIPES = {
    "mariadb": Recipe("mariadb-server", MARIADB, "DB_PASSWORD", "the first", ("queries", "log")),
    "redis": Recipe("redis-server", REDIS, "REDIS_PASSWORD", "first", ("users.acl", "log")),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", RECIPES)
def test_a_program_of_the_guide_sets_a_password_and_takes_it_back(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    (tmp_path / "program").write_text(PROGRAMS[name])
    steps: list[tuple[str, str, int]] = []

    def step(argument: str, told: object, wanted: int) -> None:
        path = tmp_path / f"{len(steps)}.json"
        path.write_text(json.dumps(told))
        steps.append((argument, path.name, wanted))

    (tmp_path / "old.json").write_text(json.dumps({"password": recipe.first}))
    for new in odd.PLAIN:
        told = {"rotation_id": "an-id", "old": {recipe.variable: recipe.first}, "new": {recipe.variable: new}}
        step("ask", {"password": recipe.first}, 0)
        for _ in range(2):  # each may come twice
            step("new", told, 0)
        step("ask", {"password": recipe.first}, 1)
        step("ask", {"password": new}, 0)
        step("ask", {"password": new + "x"}, 1)
        step("old", told, 0)
        step("ask", {"password": new}, 1)
    step("ask", {"password": "two\nlines"}, 2)
    (tmp_path / "steps").write_text("".join(f"{argument} {path}\n" for argument, path, _ in steps))
    scene = SCENE.format(folder=tmp_path, root=unpacked(recipe.package), server=recipe.server)
    done = subprocess.run([*APART, scene], capture_output=True, text=True, timeout=300)
    wanted = [*(code for *_, code in steps), 2]  # the last one asks a server that is gone
    codes = [int(code) for code in done.stdout.split()]
    wrong = [(*at, code) for at, code in zip(steps, codes, strict=False) if at[2] != code]
    assert codes == wanted, (wrong[:3], done.stderr[-2000:])
    noted = "".join((tmp_path / path).read_text() for path in recipe.notes)
    assert noted and not [one for one in odd.PLAIN if one in noted]
