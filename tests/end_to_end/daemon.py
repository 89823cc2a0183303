"""A real relay for end-to-end tests: ``twistd -n securerelay`` on a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0
"""Seconds within which anything must happen on the slowest machine; nothing waits so long."""

TWISTD = "from twisted.scripts.twistd import run; run()"

_PORT = re.compile(r"relay\.ready .*?listen=\"\S+ port (\d+)")


def command(*options: str | Path) -> list[str]:
    """Return the command that runs a relay in the foreground."""
    return [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "securerelay", *map(str, options)]


def environment() -> dict[str, str]:
    """Return an environment in which the checkout is found from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds that nobody tells us of."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


class Daemon:
    """One running relay.

    Attributes:
        process: the process.
        data: its data folder.
        port: its first TCP port on 127.0.0.1.
        lines: what it has written so far, log and all.
    """

    def __init__(self, process: subprocess.Popen[str], data: Path):
        self.process = process
        self.data = data
        self.port = 0
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, folder: Path, *options: str | Path, like: Path | None = None) -> Daemon:
        """Start a relay and wait until it serves.

        Args:
            folder: its data is kept in ``data`` below it, and it runs there.
            options: more options; without any of where to listen it takes a free port on 127.0.0.1.
            like: a data folder to copy, so that no keys need to be made; see
                :func:`tests.relay.folders.copy_folder`.

        Returns:
            The relay.
        """
        data = folder / "data"
        if like is not None and not data.exists():
            shutil.copytree(like, data)
        if not any(
            str(option).startswith(("--port", "--listen", "--config")) for option in options
        ):
            options = ("--port", "tcp:0:interface=127.0.0.1", *options)
        process = subprocess.Popen(
            command("--data", data, *options),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        daemon = cls(process, data)
        ready = daemon.wait_for("relay.ready")
        port = _PORT.search(ready)
        daemon.port = int(port[1]) if port else 0
        return daemon

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append("(end of output)")
            self._news.notify_all()

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return "\n".join(self.lines)

    def wait_for(self, text: str, after: int = 0) -> str:
        """Wait for a line that contains a text.

        Args:
            text: what to look for.
            after: how many lines to leave out.

        Returns:
            The line.
        """
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for line in self.lines[after:]:
                    if text in line:
                        return line
                if "(end of output)" in self.lines or time.monotonic() > deadline:
                    self.process.kill()
                    raise AssertionError(f"no {text!r} in:\n{self.output}")
                self._news.wait(1)

    def admin(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Ask something of the administrator's socket.

        Returns:
            The whole answer, with ``ok``.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.data / "admin.sock"))
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
        return answer

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to end and wait until it has.

        Returns:
            Its exit code, negative for a signal.
        """
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.output, self.output
        return code


@contextlib.contextmanager
def running(folder: Path, *options: str | Path, like: Path | None = None) -> Iterator[Daemon]:
    """Run a relay for the time of a ``with`` block; see :meth:`Daemon.start`."""
    daemon = Daemon.start(folder, *options, like=like)
    try:
        yield daemon
    finally:
        daemon.stop()
