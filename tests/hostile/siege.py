"""A real relay in its own process, with limits as shipped, and what must hold after every attack.

Attackers come from loopback addresses of their own, as strangers do, so that what one of them did
is not held against the next; and a canary, a peer that has nothing to do with any of it, must get
its message through afterwards.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import keys
from tests.end_to_end.daemon import PATIENCE, Daemon, wait_until
from tests.hostile import independent as sr1
from tests.relay.folders import copy_folder

CONFIGURATION = """
listen = ["tcp:0:interface=127.0.0.1"]

[policy]
require_sealed = false
"""
"""Everything else is as shipped, so that the limits are those that users have."""

GROWTH = 48 << 20
"""Bytes of memory that a module's attacks may leave behind, which is what allocators keep."""
ERR = re.compile(rb"SR1 ERR code=[a-z-]+\n")

_SOURCE = re.compile(r" source=(\S+)")
_EVENTS = frozenset(
    {
        "handshake.failed",
        "session.opened",
        "session.closed",
        "session.replaced",
        "peer.enrolled",
        "peer.revoked",
        "invitation.made",
        "invitation.withdrawn",
        "enrolment.token-used",
        "enrolment.refused",
        "penalties.lifted",
        "source.penalised",
        "alarm.acknowledged",
        "log.suppressed",
    }
)


def err(code: str) -> bytes:
    """Return the line that tells a stranger what it did."""
    return f"SR1 ERR code={code}\n".encode()


@dataclass(frozen=True)
class Peer:
    """Somebody enrolled.

    Attributes:
        name: who.
        credential: what it shows.
        index: of its key, for :func:`tests.keys.rsa_key`.
    """

    name: str
    credential: sr1.Credential
    index: int


class Siege:
    """A relay under attack.

    Args:
        folder: for everything.
        configuration: TOML that goes after :data:`CONFIGURATION`.

    Attributes:
        daemon: the relay.
        canary: a peer of long standing, connected all the time.
        configuration: the file, for tests that change it.
        extra: log events that the running test may cause besides the usual ones.
    """

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self.configuration = path = folder / "relay.toml"
        path.write_text(CONFIGURATION + configuration)
        copy_folder(folder / "data")
        self.daemon = Daemon.start(folder, "--config", path)
        self.pid = self.daemon.process.pid
        self.relay_id = bytes.fromhex(self.daemon.admin("status")["id"])
        self._sources = 0
        self._arrived: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._sessions: Counter[str] = Counter()
        self._seen = 0
        self._rounds = 0
        self.extra: set[str] = set()
        self.canary = self.enrol("canary")
        self._canary = self.enter(self.canary)
        self._canary.send(sr1.encode("STREAM", "canary" + "A" * 16, 0) + sr1.encode("LISTEN", 0))
        for _ in range(3):
            self.round_trip()
            self.enter(self.canary).close()
        self._settle()
        self._descriptors = self.descriptors()
        self._memory = self.memory()

    # --- attackers ---

    def source(self) -> str:
        """Return an address that nobody has come from yet."""
        self._sources += 1
        number = self._sources
        return f"127.{1 + number // 60_000}.{number // 250 % 240}.{1 + number % 250}"

    def connect(
        self, source: str | None = None, *, receive: int | None = None, port: int = 0
    ) -> socket.socket:
        """Open a connection.

        Args:
            source: where from; a new address if None.
            receive: size of the receive buffer in bytes.
            port: where to, if not to the relay's first port.
        """
        source = source or self.source()
        self._arrived[source] += 1
        made = socket.socket()
        made.settimeout(PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        made.bind((source, 0))
        made.connect(("127.0.0.1", port or self.daemon.port))
        return made

    def say(self, *segments: bytes, source: str | None = None, lines: int = 0) -> bytes:
        """Send this and return what is answered.

        Args:
            segments: each is sent by itself.
            source: where from; a new address if None.
            lines: how many are waited for; 0 to say that nothing more comes and wait for the end.
        """
        try:
            wire = self.connect(source)
        except ConnectionResetError:  # dropped faster than this end knew that it was connected
            return b""
        with wire:
            with contextlib.suppress(OSError):  # the relay may have heard enough
                for segment in segments:
                    wire.sendall(segment)
                if not lines:
                    wire.shutdown(socket.SHUT_WR)
            return everything(wire, lines)

    def client(
        self, credential: sr1.Credential | None = None, source: str | None = None, **options: Any
    ) -> sr1.Client:
        """Return a connected client of the independent implementation, before its first line."""
        made = sr1.Client(self.relay_id, credential, **options)
        return made.attach(self.connect(source))

    def enter(self, peer: Peer, **options: Any) -> sr1.Client:
        """Return a client whose session has begun."""
        client = self.client(peer.credential, **options)
        client.handshake()
        return client

    def invite(self, name: str, **arguments: Any) -> sr1.Invitation:
        """Invite somebody."""
        answer = self.daemon.admin("invite", name=name, **arguments)
        assert answer["ok"], answer
        return sr1.Invitation.parse(answer["uri"])

    def enrol(self, name: str, index: int = 1) -> Peer:
        """Enrol somebody; peers may share a key."""
        key = keys.rsa_key(2048, index)
        return Peer(name, self.client().enrol(self.invite(name), key), index)

    def authority(self) -> sr1.Authority:
        """Return the relay's own authority, for certificates that it would never make."""
        made = sr1.Authority(keys.rsa_key(2048, 4096))
        assert made.relay_id == self.relay_id
        return made

    # --- the canary, and what must hold ---

    def round_trip(self) -> None:
        """Have the canary send itself a message; whoever waits long calls this in between."""
        self._rounds += 1
        number, body = self._rounds, f"round {self._rounds}".encode()
        canary = self._canary
        canary.send(sr1.encode("SEND", number, "canary", "-", "-", body=body))
        settled = arrived = False
        while not (settled and arrived):
            message = canary.receive()
            if message.verb == "MSG":
                if message.tokens[1] == "canary":  # others may write to it, too
                    assert message.body == body
                    arrived = True
                canary.send(sr1.encode("ACK", message.tokens[0]))
            elif message.verb == "PING":
                canary.send(sr1.encode("PONG", message.tokens[0]))
            elif message.verb == "OK":
                settled = message.tokens[0] == number
            else:
                assert message.verb in ("STREAM", "LISTEN"), message

    def descriptors(self) -> int:
        """Count the relay's open files."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """Return the relay's resident memory in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024

    def cpu(self) -> float:
        """Return the processor time that the relay has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _settle(self) -> list[str]:
        """Wait until the log tells of a handshake from a new address; return the new lines."""
        source = self.source()
        self.enter(self.canary, source=source).close()
        self.daemon.wait_for(f"session.closed source={source} ", self._seen)
        lines = self.daemon.lines[self._seen :]
        self._seen += len(lines)
        return lines

    def check(self) -> None:
        """Assert that the relay took no harm, and leave traces of what came before behind."""
        assert self.daemon.process.poll() is None, self.daemon.output
        assert self.daemon.process.pid == self.pid
        self.round_trip()
        lines = self._settle()
        for line in lines:
            time_, level, event, *_ = line.split(" ")
            assert time_.endswith("Z"), line
            assert level in ("info", "warn"), line
            assert event in _EVENTS | self.extra, line
            assert line.isprintable(), line
            found = _SOURCE.search(line)
            if found is not None:
                failed = event == "handshake.failed"
                (self._failures if failed else self._sessions)[found[1]] += 1
        # One line about a stranger, two about a session, which may end later than its test.
        for source, count in self._failures.items():
            assert count <= self._arrived[source], f"{count} lines about {source}"
        for source, count in self._sessions.items():
            assert count <= 2 * self._arrived[source] or "." not in source, source
        self.extra.clear()
        wait_until(lambda: self.descriptors() <= self._descriptors, "the descriptors are back")
        assert self.memory() <= self._memory + GROWTH
        assert self.daemon.admin("status")["unauthenticated"] == 0

    def stop(self) -> None:
        """End it."""
        self._canary.wire.close()
        self.daemon.stop()


def everything(wire: socket.socket, lines: int = 0) -> bytes:
    """Read until the other side ends, in whatever way, or has said so many lines."""
    said = bytearray()
    with contextlib.suppress(ConnectionError):
        while not lines or said.count(b"\n") < lines:
            data = wire.recv(1 << 16)
            if not data:
                break
            said += data
    return bytes(said)


@contextlib.contextmanager
def besieged(folder: Path, configuration: str = "") -> Iterator[Siege]:
    """Run a relay for the time of a ``with`` block."""
    siege = Siege(folder, configuration)
    try:
        yield siege
    finally:
        siege.stop()


def told(attack: Callable[[], object]) -> tuple[str, str]:
    """Return how the relay ended what an attack began: ``alert``, ``err``, ``close`` or ``end``."""
    try:
        attack()
    except sr1.Told as told:
        return told.how, told.code
    except ConnectionError:
        return "end", ""
    raise AssertionError("the relay went on as if nothing were")


class HalfWay:
    """A handshake by hand, up to where C2 belongs.

    Args:
        siege: the relay.
        credential: what to show, or what a newcomer has.
        options: of :class:`independent.ClientHandshake`.

    Attributes:
        wire: the connection.
        core: the independent client, which has read S1.
        s1: the relay's two lines, each without its LF.
        c2: the honest proof with its LF, not sent.
    """

    def __init__(
        self, siege: Siege, credential: sr1.Credential | sr1.Newcomer, **options: Any
    ) -> None:
        client = siege.client()
        self.wire: Any = client.wire
        self.core = sr1.ClientHandshake(siege.relay_id, credential, **options)
        self.c1 = self.core.hello()
        self.wire.sendall(self.c1)
        self.s1 = (client.read_line(), client.read_line())
        self.core.server_hello(self.s1[0])
        self.c2 = self.core.server_auth(self.s1[1])

    def seal(self, items: sr1.Items) -> bytes:
        """Return a C2 of other items than the honest ones."""
        return sr1.seal_auth(self.core.suite, self.core.secrets, "c", items, sr1.FULL)

    def seal_plain(self, plain: bytes) -> bytes:
        """Return a C2 of just these bytes."""
        return sr1.seal_auth_plain(self.core.suite, self.core.secrets, "c", plain)

    def end(self, *segments: bytes) -> bytes:
        """Send this and return everything that is said until the relay ends."""
        with self.wire:
            with contextlib.suppress(ConnectionError):
                for segment in segments:
                    self.wire.sendall(segment)
            return everything(self.wire)
