"""How mtail keeps up: ``python -m bench.log_lines [LINES_PER_SECOND [SECONDS]]`` prints what was written and what was counted."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from support.watching import Mtail

LINES = (
    'INFO:     192.0.2.1:5000 - "GET /api/positions HTTP/1.1" 500 Internal Server Error\n'
    "WARNING:src.security.auth_middleware:JWT verification failed for /api/positions: Signature verification failed.\n"
    '  File "/usr/lib/python3/dist-packages/jose/jws.py", line 239, in _verify_signature\n'
    "jose.exceptions.JWTError: Signature verification failed.\n"
    "ERROR:src.finances.plaid_client:Failed to get accounts: Status Code: 400\n"
)
TICKS = os.sysconf("SC_CLK_TCK")


def main(rate: int = 10_000, seconds: int = 20) -> None:
    """Write at a rate, with a tenth of a second between writes, and see what is counted and when."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "app.log"
        log.touch()
        mtail = Mtail(folder, log)
        try:
            part = LINES * (rate // 10 // 5)
            begin = time.monotonic()
            with log.open("a") as file:
                for turn in range(seconds * 10):
                    time.sleep(max(0.0, begin + turn / 10 - time.monotonic()))
                    file.write(part)
                    file.flush()
            written, ended = part.count("\n") * seconds * 10, time.monotonic()
            counted = mtail.after(written)
            behind = time.monotonic() - ended
            stat = Path(f"/proc/{mtail.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            status = Path(f"/proc/{mtail.process.pid}/status").read_text()
        finally:
            mtail.stop()
    memory = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024
    print(f"written    {written} lines in {ended - begin:.1f} s ({written / (ended - begin):.0f} lines/s)")
    print(f"counted    all of them, {behind:.1f} s after the last; {counted}")
    print(f"processor  {(int(stat[11]) + int(stat[12])) / TICKS:.1f} s, memory {memory} MB at most")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
