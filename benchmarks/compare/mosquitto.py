"""Mosquitto, over MQTT 3.1.1 (OASIS standard), with frames written by hand."""

from __future__ import annotations

import getpass
import re
import subprocess
from pathlib import Path

from benchmarks.compare.broker import TlsBroker, TlsClient

_CONNACK = b"\x20\x02"
_DISCONNECT = b"\xe0\x00"
_CONFIGURATION = """
listener {port} 127.0.0.1
cafile {folder}/authority.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
require_certificate true
tls_version tlsv1.3
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
persistence true
persistence_location {folder}/
user {user}
"""
_ACKNOWLEDGED = 0x02
_PUBLISH, _PUBACK = 0x30, 0x40


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _frame(kind: int, content: bytes) -> bytes:
    length, size = b"", len(content)
    while True:
        size, digit = size >> 7, size & 127
        length += bytes((digit | (128 if size else 0),))
        if not size:
            return bytes((kind,)) + length + content


class MqttClient(TlsClient):
    """One connection; quality of service 1 for what is kept, else 0."""

    def connect(self, *, clean: bool = True) -> None:
        """Say who we are."""
        flags = b"\x02" if clean else b"\x00"
        self.socket.sendall(
            _frame(0x10, _text(b"MQTT") + b"\x04" + flags + b"\0\0" + _text(self.name))
        )
        self._expect(_CONNACK, 4)

    def listen(self, room: bytes = b"", *, kept: bool = False) -> None:
        """See :meth:`Client.listen`."""
        topic = _text(room or self.name)
        self.socket.sendall(_frame(0x82, b"\0\1" + topic + bytes((kept,))))
        self._expect(b"\x90\x03", 5)

    def _expect(self, start: bytes, size: int) -> None:
        while len(self.buffer) < size:
            self.receive()
        if not self.buffer.startswith(start):
            raise SystemExit(f"mosquitto said {bytes(self.buffer[:16])!r}")
        del self.buffer[:size]

    def send(self, to: bytes, count: int, *, kept: bool = False) -> None:
        """See :meth:`Client.send`."""
        topic = _text(to)
        if kept:
            out = b"".join(
                _frame(
                    _PUBLISH | _ACKNOWLEDGED,
                    topic + (number % 65535 + 1).to_bytes(2, "big") + self.body,
                )
                for number in range(self.sent, self.sent + count)
            )
            self.sent += count
        else:
            out = _frame(_PUBLISH, topic + self.body) * count
        self.socket.sendall(out)

    def take(self) -> int:
        """See :meth:`Client.take`."""
        self.receive()
        buffer, position, count = self.buffer, 0, 0
        acknowledgements: list[bytes] = []
        while len(buffer) - position >= 4:
            kind = buffer[position]
            length = shift = 0
            start = position + 1
            while True:
                digit = buffer[start]
                length |= (digit & 127) << shift
                shift += 7
                start += 1
                if digit < 128:
                    break
            if start + length > len(buffer):
                break
            if kind & 0xF0 == _PUBACK:
                self.settled += 1
            elif kind & 0xF0 == _PUBLISH:
                count += 1
                if kind & _ACKNOWLEDGED:
                    number = start + 2 + int.from_bytes(buffer[start : start + 2], "big")
                    acknowledgements.append(b"\x40\x02" + buffer[number : number + 2])
            position = start + length
        del buffer[:position]
        if acknowledgements:
            self.socket.sendall(b"".join(acknowledgements))
        return count


class Mosquitto(TlsBroker):
    """Mosquitto with its usual limits lifted."""

    title = "Mosquitto"
    program = "mosquitto"

    @classmethod
    def version(cls) -> str:
        """See :meth:`Broker.version`."""
        program = cls.found() or cls.program
        said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False)
        found = re.search(r"version (\S+)", said.stdout + said.stderr)
        return found[1] if found else "?"

    def configuration(self) -> str:
        """See :meth:`TlsBroker.configuration`."""
        return _CONFIGURATION.format(port=self.port, folder=self.folder, user=getpass.getuser())

    def command(self, configuration: Path) -> list[str]:
        """See :meth:`TlsBroker.command`."""
        return ["-c", str(configuration)]

    def connect(self, name: bytes, size: int, *, clean: bool = True) -> MqttClient:
        """See :meth:`TlsBroker.connect`; what is not clean is kept for when we are away."""
        client = MqttClient(name, size, self)
        client.connect(clean=clean)
        return client

    def absent(self) -> bytes:
        """See :meth:`Broker.absent`."""
        client = self.connect(b"away", 0, clean=False)
        client.listen(kept=True)
        client.socket.sendall(_DISCONNECT)
        client.close()
        return client.name
