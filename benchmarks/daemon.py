"""A relay in a process of its own, whose CPU time and memory the operating system accounts for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.peer import Peer
from securerelay.identity.invitation import Invitation
from securerelay.identity.keyfile import generate_key
from securerelay.protocol.connection import Credential

CONFIGURATION = """
data = "{data}"
listen = ["tcp:{port}:interface=127.0.0.1:backlog=4096"]

[limits]  # all peers come from one address here
unauthenticated = 65536
unauthenticated_per_source = 65536
handshake_cpu_percent = 100
{limits}
[peer]
messages_per_second = 10000000
messages_burst = 10000000
bytes_per_second = 1099511627776
sessions = 1024

[policy]  # what is measured is the relay
require_sealed = false
"""

_CPU_OF_PROCESS = 2
_START_SECONDS = 60


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, all of its threads together."""
    return time.clock_gettime(~pid << 3 | _CPU_OF_PROCESS)  # see clock_getcpuclockid(3)


class Daemon:
    """A relay with limits that do not get in a benchmark's way.

    All peers share one key, since making RSA keys is not what is measured.

    Args:
        key_size: bits of that key.
        prelude: Python that runs in the relay's process before the relay does.
        limits: further lines for that table of the configuration.
        configuration: another one than :data:`CONFIGURATION`, with the same places in it.
    """

    def __init__(
        self,
        key_size: int = 3072,
        prelude: str = "",
        limits: str = "",
        configuration: str = CONFIGURATION,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="securerelay-benchmark-")
        self.data = Path(self._folder.name) / "data"
        self.port = free_port()
        self.key: rsa.RSAPrivateKey = generate_key(key_size)
        self.relay_id = b""
        self.prelude = prelude
        self._limits = limits
        self._template = configuration
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def start(self, pause: float = 0.1) -> None:
        """Start it, and wait until it serves, looking after each pause (seconds)."""
        configuration = Path(self._folder.name) / "relay.toml"
        configuration.write_text(
            self._template.format(data=self.data, port=self.port, limits=self._limits)
        )
        run = self.prelude + "\nfrom twisted.scripts.twistd import run; run()"
        options = ["-n", "--pidfile=", "securerelay", "--config", str(configuration)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", run, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.set_blocking(self._process.stderr.fileno(), False)  # type: ignore[union-attr]
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the relay did not start: {self._said()}")
            time.sleep(pause)

    def kill(self) -> None:
        """Kill it, so that it can be started again."""
        assert self._process is not None, "not running"
        self._process.kill()
        self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            self._process.kill()
        self._folder.cleanup()

    def _said(self) -> str:
        output = self._process.stderr.read() if self._process and self._process.stderr else b""
        return (output or b"").decode(errors="replace")

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.data / "admin.sock"))
                return True
        except OSError:
            return False

    def admin(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Ask something of the administrator's socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.data / "admin.sock"))
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile("rb").readline())
        if not answer.get("ok"):
            raise SystemExit(f"{verb}: {answer}")
        return answer

    def enrol(self, name: str) -> Credential:
        """Invite a peer and enrol it."""
        invitation = Invitation.parse(self.admin("invite", name=name)["uri"])
        self.relay_id = invitation.relay_id
        return Peer.enrol(self.port, invitation, self.key)

    def peers(self, count: int) -> Iterator[tuple[str, Credential]]:
        """Enrol peers ``p0``, ``p1``, ..."""
        for number in range(count):
            yield f"p{number}", self.enrol(f"p{number}")

    @property
    def pid(self) -> int:
        """The relay's process id."""
        assert self._process is not None, "not running"
        return self._process.pid

    def cpu(self) -> float:
        """Return the CPU seconds that the relay has used so far."""
        return cpu_of(self.pid)

    def resident(self) -> int:
        """Return the relay's resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
