"""What every broker has in common: a process, its CPU time, and clients that load it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.compare.certificates import Certificates
from benchmarks.daemon import cpu_of, free_port

_PLACES = ("/usr/local/sbin", "/usr/sbin")
"""Where servers are, though not everybody's PATH says so."""
_START_SECONDS = 30
_CHUNK = 1 << 18


class Unsupported(Exception):
    """A broker cannot do what a pattern asks; the reason is for the table."""


class Closable(Protocol):
    """A connection."""

    def close(self) -> None:
        """Just go."""


class Client(ABC):
    """One connection, on a blocking socket of its own; knows messages of one size.

    Args:
        name: whose connection it is.
        size: bytes of a body.

    Attributes:
        socket: to wait for.
        sent: how many messages were sent so that they are acknowledged.
        settled: how many of those were.
    """

    socket: socket.socket

    def __init__(self, name: bytes, size: int) -> None:
        self.name = name
        self.body = b"x" * size
        self.sent = self.settled = 0

    @abstractmethod
    def listen(self, room: bytes = b"", *, kept: bool = False) -> None:
        """Receive what is sent to our name, or to a room, from when this returns.

        Args:
            room: the room, if that is meant.
            kept: whether to acknowledge.
        """

    @abstractmethod
    def send(self, to: bytes, count: int, *, kept: bool = False) -> None:
        """Send so many messages in one write, to be acknowledged if they are to be kept."""

    @abstractmethod
    def take(self) -> int:
        """Wait for bytes, take what came, acknowledge it; returns how many messages that were."""

    def settle(self, most: int = 0) -> None:
        """Wait until no more than so many messages are unacknowledged."""
        while self.sent - self.settled > most:
            self.take()

    def drain(self) -> None:
        """Take what has come, if anything has."""
        waiting = select.poll()  # which, unlike select, takes any descriptor
        waiting.register(self.socket, select.POLLIN)
        while waiting.poll(0):
            self.take()

    def close(self) -> None:
        """Just go."""
        self.socket.close()


class TlsClient(Client):
    """A client of a broker that speaks TLS.

    Args:
        name: whose connection it is.
        size: bytes of a body.
        broker: which one.
    """

    def __init__(self, name: bytes, size: int, broker: TlsBroker) -> None:
        super().__init__(name, size)
        self.buffer = bytearray()
        plain = socket.create_connection(("127.0.0.1", broker.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.greet(plain)
        self.socket = broker.tls.wrap_socket(plain, session=broker.session)

    def greet(self, plain: socket.socket) -> None:
        """Do what comes before TLS."""

    def receive(self) -> None:
        """Wait for bytes, and take all that have come."""
        tls = self.socket
        assert isinstance(tls, ssl.SSLSocket), "inside TLS"
        data = tls.recv(_CHUNK)
        if not data:
            raise SystemExit("the broker ended a connection")
        self.buffer += data
        while tls.pending():
            self.buffer += tls.recv(_CHUNK)


class Broker(ABC):
    """A broker that can be started.

    Attributes:
        title: its name for people.
        program: what has to be installed.
    """

    title: str
    program = ""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="securerelay-compare-")
        self.folder = Path(self._folder.name)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def found(cls) -> str | None:
        """Tell where its executable is; None if it is not installed."""
        places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), *_PLACES]
        return shutil.which(cls.program, path=os.pathsep.join(places))

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Tell its version."""

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when it serves."""

    @abstractmethod
    def arriving(self, count: int, size: int) -> Iterator[Client]:
        """Connect clients named ``p0``, ``p1``, ..., for bodies of so many bytes, one by one."""

    def clients(self, count: int, size: int) -> list[Client]:
        """Connect so many clients, see :meth:`arriving`."""
        return list(self.arriving(count, size))

    @abstractmethod
    def crowd(self, count: int) -> Sequence[Closable]:
        """Connect so many, who may be the same again and again."""

    @abstractmethod
    def resume(self, count: int) -> None:
        """Connect and go, so many times, each with the ticket of the time before if any."""

    def listen(self, clients: Sequence[Client], room: bytes = b"", *, kept: bool = False) -> None:
        """Have all of them listen, see :meth:`Client.listen`."""
        for client in clients:
            client.listen(room, kept=kept)

    def make_room(self, clients: list[Client]) -> bytes:
        """Have a room whose members are these clients, owned by the first; returns its name."""
        return b"room"

    def absent(self) -> bytes:
        """Have a recipient for whom messages are kept while it is away; returns its name."""
        return b"away"

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None, "not running"
        return self.process.pid

    def cpu(self) -> float:
        """Return the CPU seconds that it has used, all of its threads together."""
        return cpu_of(self.pid)

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise SystemExit(f"{self.title} is gone")

    def __enter__(self) -> Broker:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class TlsBroker(Broker):
    """A broker that is a program of its own and speaks TLS.

    Attributes:
        tls: a client's side, with its certificate.
        session: what clients resume.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tls = Certificates(self.folder).client()
        self.session: ssl.SSLSession | None = None

    @abstractmethod
    def configuration(self) -> str:
        """Write its configuration file."""

    @abstractmethod
    def command(self, configuration: Path) -> list[str]:
        """Return the command's arguments."""

    @abstractmethod
    def connect(self, name: bytes, size: int) -> TlsClient:
        """Connect one client."""

    def arriving(self, count: int, size: int) -> Iterator[Client]:
        """See :meth:`Broker.arriving`."""
        return (self.connect(b"p%d" % number, size) for number in range(count))

    def crowd(self, count: int) -> Sequence[Closable]:
        """See :meth:`Broker.crowd`."""
        return [self.connect(b"c%d" % number, 0) for number in range(count)]

    def resume(self, count: int) -> None:
        """See :meth:`Broker.resume`."""
        for number in range(count):
            client = self.connect(b"c%d" % number, 0)
            tls = client.socket
            assert isinstance(tls, ssl.SSLSocket), "inside TLS"
            if self.session is not None and not tls.session_reused:
                raise Unsupported("takes no tickets")
            self.session = tls.session
            if self.session is None or not self.session.has_ticket:
                raise Unsupported("issues no tickets")
            client.close()

    def start(self) -> None:
        """See :meth:`Broker.start`."""
        path = self.folder / "configuration"
        path.write_text(self.configuration())
        program = self.found()
        assert program is not None, "asked for before"
        log = self.folder / "log"
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [program, *self.command(path)], stdout=said, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.title} did not start: {log.read_text()}")
            time.sleep(0.05)
