"""NATS: its core for live messages, JetStream for those that are kept."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.compare.broker import TlsBroker, TlsClient

_CONFIGURATION = """
listen: 127.0.0.1:{port}
tls {{
  cert_file: "{folder}/server.pem"
  key_file: "{folder}/server.key"
  ca_file: "{folder}/authority.pem"
  verify: true
  timeout: 30
}}
jetstream {{
  store_dir: "{folder}/jetstream"
  {sync}
}}
max_pending: 1GB
write_deadline: "30s"
"""
_STREAM = "KEPT"
_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"echo":true}\r\nPING\r\n'


class NatsClient(TlsClient):
    """One connection."""

    _kept = False
    _answers = b""

    def greet(self, plain: socket.socket) -> None:
        """Read ``INFO``, after which both sides turn to TLS."""
        said = b""
        while not said.endswith(b"\r\n"):
            said += plain.recv(1)

    def connect(self) -> None:
        """Say who we are."""
        self.socket.sendall(_CONNECT)
        self._answered()

    def _answered(self) -> None:
        while b"PONG\r\n" not in self.buffer:
            self.receive()
        self.buffer.clear()

    def listen(self, room: bytes = b"", *, kept: bool = False) -> None:
        """See :meth:`Client.listen`; what is kept comes from a consumer of our own."""
        subject = room or self.name
        self._kept = kept
        if kept:
            name = self.name.decode("ascii")
            consumer = {
                "durable_name": name,
                "deliver_subject": f"deliver.{name}",
                "filter_subject": f"kept.{subject.decode('ascii')}",
                "ack_policy": "all",
                "max_ack_pending": 65536,
            }
            path = f"CONSUMER.DURABLE.CREATE.{_STREAM}.{name}"
            self.ask(path, {"stream_name": _STREAM, "config": consumer})
            subject = b"deliver." + self.name
        self.socket.sendall(b"SUB %b 1\r\nPING\r\n" % subject)
        self._answered()

    def ask(self, path: str, request: dict[str, Any]) -> None:
        """Ask something of JetStream's own interface."""
        body = json.dumps(request).encode()
        asked = b"PUB $JS.API.%b answer.%b %d\r\n%b\r\n" % (
            path.encode(),
            self.name,
            len(body),
            body,
        )
        self.socket.sendall(b"SUB answer.%b 9\r\nUNSUB 9 1\r\n" % self.name + asked)
        while b"}\r\n" not in self.buffer or b"MSG answer" not in self.buffer:
            self.receive()
        if b'"error"' in self.buffer:
            raise SystemExit(f"JetStream said {bytes(self.buffer)!r}")
        self.buffer.clear()

    def send(self, to: bytes, count: int, *, kept: bool = False) -> None:
        """See :meth:`Client.send`."""
        size, body = len(self.body), self.body
        if not kept:
            self.socket.sendall(b"PUB %b %d\r\n%b\r\n" % (to, size, body) * count)
            return
        out = b""
        if not self._answers:
            self._answers = b"ok.%b" % self.name
            out = b"SUB %b 2\r\n" % self._answers
        out += b"PUB kept.%b %b %d\r\n%b\r\n" % (to, self._answers, size, body) * count
        self.sent += count
        self.socket.sendall(out)

    def take(self) -> int:
        """See :meth:`Client.take`."""
        self.receive()
        buffer = self.buffer
        end = buffer.rfind(b"\r\n") + 2
        last = buffer.rfind(b"MSG ", 0, end)
        if last >= 0:
            header = buffer.find(b"\r\n", last)
            size = int(buffer[buffer.rfind(b" ", last, header) + 1 : header]) if header > 0 else 0
            if header < 0 or header + 4 + size > len(buffer):
                end = last
        if end < 2:
            return 0
        answers = buffer.count(b"MSG ok.", 0, end)
        count = buffer.count(b"MSG ", 0, end) - answers
        self.settled += answers
        if answers and buffer.find(b'"error"', 0, end) >= 0:
            raise SystemExit(f"JetStream said {bytes(buffer[:400])!r}")
        if count and self._kept:
            last = buffer.rfind(b"MSG kept.", 0, end)
            reply = bytes(buffer[last : buffer.index(b"\r\n", last)]).split(b" ")[3]
            self.socket.sendall(b"PUB %b 4\r\n+ACK\r\n" % reply)
        if buffer.find(b"PING\r\n", 0, end) >= 0:
            self.socket.sendall(b"PONG\r\n")
        del buffer[:end]
        return count


class Nats(TlsBroker):
    """NATS; JetStream as it comes, which writes to disk and syncs every two minutes."""

    title = "NATS"
    program = "nats-server"
    sync = ""

    @classmethod
    def version(cls) -> str:
        """See :meth:`Broker.version`."""
        program = Nats.found() or cls.program
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"v(\d\S*)", said.stdout)
        return found[1] if found else "?"

    def configuration(self) -> str:
        """See :meth:`TlsBroker.configuration`."""
        return _CONFIGURATION.format(port=self.port, folder=self.folder, sync=self.sync)

    def command(self, configuration: Path) -> list[str]:
        """See :meth:`TlsBroker.command`."""
        return ["-c", str(configuration)]

    def connect(self, name: bytes, size: int) -> NatsClient:
        """See :meth:`TlsBroker.connect`."""
        client = NatsClient(name, size, self)
        client.connect()
        return client

    def start(self) -> None:
        """See :meth:`Broker.start`."""
        super().start()
        maker = self.connect(b"maker", 0)
        maker.ask(
            f"STREAM.CREATE.{_STREAM}",
            {"name": _STREAM, "subjects": ["kept.>"], "storage": "file"},
        )
        maker.close()


class NatsSynced(Nats):
    """NATS with a JetStream that syncs before it acknowledges."""

    title = "NATS, sync always"
    program = "nats-server 2.10"
    sync = "sync_interval: always"

    @classmethod
    def found(cls) -> str | None:
        """See :meth:`Broker.found`; older ones cannot do it."""
        found = Nats.found()
        new = tuple(map(int, Nats.version().split(".")[:2])) >= (2, 10) if found else False
        return found if new else None
