"""A peer on a blocking socket that says what a test has it say, and keeps what it hears.

Run as a program it listens, acknowledges, and writes down what comes: ``python -m
tests.end_to_end.speaker PORT FOLDER`` with what :meth:`Speaker.save` put into the folder.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import primitives
from securerelay.protocol import messages
from securerelay.protocol.connection import (
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    Welcome,
)
from tests import keys
from tests.end_to_end.crowd import trust
from tests.end_to_end.daemon import PATIENCE


def credential(certificate: bytes, key: rsa.RSAPrivateKey | None = None) -> Credential:
    """Return what a peer shows; all peers of tests have one key."""
    key = keys.rsa_key(2048) if key is None else key
    return Credential(certificate, lambda context, told: primitives.sign_pss(key, context, told))


class Speaker:
    """One connected peer.

    Args:
        port: of the relay.
        relay_id: of the relay.
        who: the peer.
        ticket: to resume with.

    Attributes:
        heard: one tuple for each message, beginning with its verb.
        greeting: the last WELCOME.
        end: how the connection ended, None while it lives.
    """

    def __init__(
        self, port: int, relay_id: bytes, who: Credential, ticket: ClientTicket | None = None
    ) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.greeting: Welcome | None = None
        self.end: End | None = None
        self._decoder = messages.client_decoder(self)  # type: ignore[arg-type]
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = ClientConfig(relay_id, trust, who, ticket=ticket)
        self.connection = ClientConnection(config, self, time.monotonic)
        self.connection.start()

    def welcomed(self) -> Speaker:
        """Wait until the relay has let us in."""
        while self.greeting is None:
            self.receive()
        return self

    def say(self, *said: bytes) -> None:
        """Send messages."""
        self.connection.send(b"".join(said))

    def receive(self) -> None:
        """Take what comes, waiting for something."""
        assert self.end is None, f"the relay ended it: {self.end}"
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if data:
            self.connection.receive(data)
        else:
            self.connection.lost()

    def wait(self, verb: str, *rest: Any) -> tuple[Any, ...]:
        """Wait for a message, and take it out of what was heard.

        Args:
            verb: as the methods of ``ClientVerbs`` are called.
            rest: how its arguments begin.

        Returns:
            Its arguments.
        """
        wanted = (verb, *rest)
        return self._find(lambda found: found[: len(wanted)] == wanted)[1:]

    def wait_any(self, *verbs: str) -> tuple[Any, ...]:
        """Wait for a message of one of these verbs, and take it out; returns the verb too."""
        return self._find(lambda found: found[0] in verbs)

    def _find(self, fits: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        deadline = time.monotonic() + PATIENCE
        looked = 0
        while True:
            for at in range(looked, len(self.heard)):
                if fits(self.heard[at]):
                    return self.heard.pop(at)
            looked = len(self.heard)
            assert time.monotonic() < deadline, f"waited in vain; heard {self.heard[-5:]}"
            self.receive()

    def call(self, method: str, **parameters: Any) -> Any:
        """Make a control call, and return its answer."""
        self.say(messages.call(b"1", method.encode(), json.dumps(parameters).encode()))
        _, status, body = self.wait("reply", b"1")
        assert status == b"ok", (status, body)
        return json.loads(body)

    def close(self) -> None:
        """Go without a word."""
        self.socket.close()

    # --- ClientHost and ClientVerbs ---

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def data(self, content: bytes) -> None:
        """Take the content of a record."""
        self._decoder.feed(content)

    def welcome(self, welcome: Welcome) -> None:
        """The relay let us in."""
        self.greeting = welcome

    def ended(self, end: End) -> None:
        """The relay ended it."""
        self.end = end

    def ping(self, token: bytes) -> None:
        """Still here."""
        self.say(messages.pong(token))

    def __getattr__(self, verb: str) -> Any:
        if verb not in dir(messages.ClientVerbs):
            raise AttributeError(verb)
        return lambda *said: self.heard.append((verb, *said))


def save(folder: Path, relay_id: bytes, certificate: bytes) -> None:
    """Put into a folder what a listening program needs to be a peer."""
    pem = keys.rsa_key(2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key").write_bytes(pem)
    (folder / "who").write_text(json.dumps([relay_id.hex(), certificate.hex()]))


def main(port: str, folder: str) -> None:
    """Listen, over as many sessions as it takes, and write down seq and size of what comes."""
    here = Path(folder)
    key = serialization.load_pem_private_key((here / "key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    relay_id, certificate = (bytes.fromhex(text) for text in json.loads((here / "who").read_text()))
    last = 0
    with (here / "heard").open("a", buffering=1) as out:
        while True:
            speaker = Speaker(int(port), relay_id, credential(certificate, key)).welcomed()
            speaker.say(messages.listen(last))
            print("listening", flush=True)
            while speaker.end is None:
                speaker.receive()
                heard, speaker.heard = speaker.heard, []
                fresh = [said for said in heard if said[0] == "msg"]
                for _, n, _, _, _, seq, _, body in fresh:
                    last = n
                    out.write(f"{seq} {len(body)}\n")
                if fresh and speaker.end is None:
                    speaker.say(messages.ack(last))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        print(error, file=sys.stderr)
        os._exit(1)
