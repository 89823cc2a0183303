"""A relay for tests that break things: quick to start, generous, with peers enrolled in advance."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from securerelay.identity.invitation import Invitation
from securerelay.protocol.connection import ClientTicket
from tests import keys
from tests.end_to_end.crowd import Newcomer, Scene
from tests.end_to_end.daemon import PATIENCE
from tests.end_to_end.nursery import Nursery
from tests.end_to_end.speaker import Speaker, credential
from tests.relay.folders import copy_folder

CONFIGURATION = """
data = "{data}"
listen = ["tcp:{port}:interface=127.0.0.1:backlog=1024"]

[limits]  # all peers come from one address here
unauthenticated = 4096
unauthenticated_per_source = 4096
handshake_cpu_percent = 100
mailbox_messages = 10000000
mailbox_bytes = 8589934592
mailbox_sender_percent = 100

[peer]
messages_per_second = 10000000
messages_burst = 10000000
bytes_per_second = 1099511627776
sessions = 1024

[policy]  # they send what nobody sealed
require_sealed = false
"""


class Relay:
    """One relay that is started and ended as often as a test likes.

    Args:
        folder: for everything.
        data: its data folder, if not below that; empty.
    """

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.folder = folder
        self.data = folder / "data" if data is None else data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        copy_folder(self.data)
        self._configuration = folder / "relay.toml"
        self._configuration.write_text(CONFIGURATION.format(data=self.data, port=self.port))
        self.nursery = Nursery()
        self.pid = 0
        self.relay_id = b""
        self.certificates: dict[str, bytes] = {}

    def start(self) -> None:
        """Start it, and wait until it serves."""
        before = self.log.count("relay.ready")
        self.pid = self.nursery.start(self.folder, "--config", self._configuration)
        self.wait(lambda: self.log.count("relay.ready") > before, "the relay serves")

    def kill(self) -> None:
        """Kill it."""
        self.nursery.kill(self.pid)

    def stop(self) -> int:
        """Ask it to end, and return how it did."""
        return self.nursery.stop(self.pid)

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"in vain until {what}:\n{self.log[-5000:]}"
            time.sleep(0.01)

    @property
    def log(self) -> str:
        """What it has said so far."""
        path = self.folder / "relay.log"
        return path.read_text() if path.exists() else ""

    def admin(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Ask the administrator's socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.data / "admin.sock"))
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile("rb").readline())
        assert answer["ok"], answer
        return answer

    def enrol(self, *names: str) -> None:
        """Enrol peers."""
        histories = self.folder / "histories"
        histories.mkdir(exist_ok=True)
        scene = Scene(self.port, histories, 0)
        newcomers = [
            Newcomer(
                scene, Invitation.parse(self.admin("invite", name=name)["uri"]), keys.rsa_key(2048)
            )
            for name in names
        ]
        while not all(newcomer.done for newcomer in newcomers):
            scene.turn(0.01)
            for newcomer in newcomers:
                newcomer.step()
        for newcomer in newcomers:
            assert newcomer.credential is not None, f"{newcomer.name} is refused"
            self.certificates[newcomer.invitation.name] = newcomer.credential.certificate
            newcomer.hang_up()
            newcomer.record.close()
        scene.selector.close()
        self.relay_id = scene.relay_id

    def begin(self, name: str, ticket: ClientTicket | None = None) -> Speaker:
        """Begin to connect as a peer."""
        return Speaker(self.port, self.relay_id, credential(self.certificates[name]), ticket)

    def join(self, name: str, ticket: ClientTicket | None = None) -> Speaker:
        """Connect as a peer."""
        return self.begin(name, ticket).welcomed()

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@contextlib.contextmanager
def relay_of(
    folder: Path, *names: str, data: Path | None = None, allow_traceback: bool = False
) -> Iterator[Relay]:
    """Run a relay with peers for the time of a ``with`` block."""
    relay = Relay(folder, data)
    try:
        relay.start()
        relay.enrol(*names)
        yield relay
    finally:
        relay.nursery.close()
    assert allow_traceback or "Traceback" not in relay.log, relay.log[-20_000:]
