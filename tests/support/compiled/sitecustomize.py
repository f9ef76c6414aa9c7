"""Keeps what Python compiles of the modules that Ansible sends as an archive; without it each call compiles them anew.

That is nearly half of what a call costs a test host, and all that it changes. Code is found by its source, so that a file that
has changed is compiled again. The benchmark does without.
"""

import _frozen_importlib_external
import _imp
import contextlib
import marshal
import os
import zipimport
from pathlib import Path

FOLDER = Path("~/.cache/keyturn-tests").expanduser()
MAGIC = int.from_bytes(_frozen_importlib_external.MAGIC_NUMBER, "little")
compile_source = zipimport._compile_source


def kept(pathname, source):
    """Return the code of a source, compiled now or by an earlier process of the same Python."""
    path = FOLDER / f"{_imp.source_hash(MAGIC, source).hex()}-{len(source)}"
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
        code = marshal.loads(path.read_bytes())
        _imp._fix_co_filename(code, pathname)
        return code
    code = compile_source(pathname, source)
    with contextlib.suppress(OSError):
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(marshal.dumps(code))
        part.replace(path)
    return code


zipimport._compile_source = kept
