"""Runs what the role ``monitoring`` has written below a folder, on loopback and without systemd.

``python demo/watch.py --root FOLDER --logs FILE...`` starts mtail, node-exporter, Prometheus and Alertmanager and the reader of
addresses, and ends with the signal that ends it.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

HOST = "127.0.0.1"
ADDRESSES_EVERY_SECONDS = 5
READY_SECONDS = 30
PORTS = {"mtail": 3903, "node": 9100, "prometheus": 9090, "alertmanager": 9093}


class Watch:
    """The programs, each with its output in ``root/run``. ``ports`` has the names of ``PORTS``."""

    def __init__(self, root: Path, logs: list[Path], ports: dict[str, int]) -> None:
        self.root, self.logs, self.ports = root, logs, ports
        self.run = root / "run"
        self.ended = threading.Event()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reader = threading.Thread(target=self._read_addresses, daemon=True)

    def url(self, name: str) -> str:
        """Return where a program is."""
        return f"http://{HOST}:{self.ports[name]}"

    def start(self) -> None:
        """Start all and wait until they answer."""
        self.run.mkdir(parents=True, exist_ok=True)
        for name, command in self.commands().items():
            self._launch(name, command)
        self._reader.start()
        for name, path in {"mtail": "/metrics", "prometheus": "/-/ready", "alertmanager": "/-/ready"}.items():
            self._wait(name, path)

    def commands(self) -> dict[str, list[str]]:
        """Return the command lines: those of the units, with these ports and folders."""
        etc, listen = self.root / "etc", "--web.listen-address="
        return {
            "mtail": [
                *("mtail", "--progs", f"{etc}/keyturn-monitoring/mtail", "--address", HOST),
                *("--port", str(self.ports["mtail"]), "--logtostderr"),
                *(f"--logs={log}" for log in self.logs),
            ],
            "node": [
                *("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"),
                f"--collector.textfile.directory={self.root}/var/lib/prometheus/node-exporter",
                f"{listen}{HOST}:{self.ports['node']}",
            ],
            "prometheus": [
                *("prometheus", f"--config.file={etc}/prometheus/prometheus.yml"),
                *(f"--storage.tsdb.path={self.run}/prometheus", f"{listen}{HOST}:{self.ports['prometheus']}"),
            ],
            "alertmanager": [
                *("prometheus-alertmanager", f"--config.file={etc}/prometheus/alertmanager.yml"),
                *(f"--storage.path={self.run}/alertmanager", "--cluster.listen-address="),
                f"{listen}{HOST}:{self.ports['alertmanager']}",
            ],
        }

    def _launch(self, name: str, command: list[str]) -> None:
        with (self.run / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _wait(self, name: str, path: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                connection = http.client.HTTPConnection(HOST, self.ports[name], timeout=5)
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            if self.processes[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer, see {self.run / name}.log")
            time.sleep(0.05)

    def _read_addresses(self) -> None:
        """The timer of systemd's unit."""
        folder = self.root / "etc/keyturn-monitoring"
        while True:
            subprocess.run([sys.executable, folder / "keyturn_addresses.py", folder / "addresses.json"], check=False)
            if self.ended.wait(ADDRESSES_EVERY_SECONDS):
                return

    def stop(self) -> None:
        """End all."""
        self.ended.set()
        for process in self.processes.values():
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    """Run until a signal."""
    parser = argparse.ArgumentParser(description="Watch the stand-in application on loopback.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--logs", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    watch = Watch(arguments.root, arguments.logs, PORTS)
    try:
        watch.start()
        rules = yaml.safe_load((watch.root / "etc/prometheus/keyturn.rules.yml").read_text())
        count = sum("alert" in rule for group in rules["groups"] for rule in group["rules"])
        print(f"{count} alerts: {watch.url('prometheus')}/classic/alerts (Ctrl-C ends)", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        watch.stop()


if __name__ == "__main__":
    main()
