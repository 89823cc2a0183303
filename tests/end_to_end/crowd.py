"""Peers that speak the protocol to the letter, many in one process, and write down what they see.

They are no clients of the library: what the text says a client does after a crash is written here a
second time (SR1 section 5), with all the freedom it leaves taken at random.
"""

# More than 400 lines: the crowd's ways of connecting, sending and recording depend on each other.

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import primitives
from securerelay.identity.invitation import Invitation
from securerelay.protocol import messages
from securerelay.protocol.connection import (
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    Enrolment,
    Welcome,
)
from tests.end_to_end.history import Recorder

IN_FLIGHT = 300
"""How many messages of a sender may be without verdict."""
UNACKNOWLEDGED = 200
TRY_AGAIN = 0.02
RETRY = 0.01

FINAL = {b"unknown", b"not-permitted", b"offline", b"mailbox-full", b"too-large", b"unsealed"}


def digest(body: bytes) -> str:
    """Name a body in histories."""
    return hashlib.sha256(body).hexdigest()[:16]


class _Relay:
    """A relay's certificate, taken at its word: who the relay is, other tests ask."""

    def __init__(self, der: bytes) -> None:
        key = x509.load_der_x509_certificate(der).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        self.name = "relay"
        self.spki = primitives.spki(key)


def trust(_: bytes, der: bytes) -> _Relay:
    """Take any relay of the right authority."""
    return _Relay(der)


class Scene:
    """What all peers of a run share.

    Args:
        port: of the relay, on 127.0.0.1.
        folder: for the histories.
        seed: of every random choice.
    """

    def __init__(self, port: int, folder: Path, seed: int) -> None:
        self.port = port
        self.folder = folder
        self.seed = seed
        self.selector = selectors.DefaultSelector()
        self.relay_id = b""
        self.over = False
        """True when nothing new is sent, and everything is to be delivered."""

    def turn(self, seconds: float) -> None:
        """Let every connection do what its socket is ready for."""
        for key, ready in self.selector.select(seconds):
            if ready & selectors.EVENT_WRITE:
                key.data.writable()
            if ready & selectors.EVENT_READ and key.data.socket is not None:
                key.data.readable()


class Wire:
    """A non-blocking connection to the relay; what comes of it is its owner's."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.name = name
        self.record = Recorder(scene.folder, name)
        self.socket: socket.socket | None = None
        self.connection: ClientConnection | None = None
        self.decoder: messages.MessageDecoder | None = None
        self.again = 0.0
        self.began = 0
        self._out = bytearray()

    def connect(self, credential: Credential | Enrolment, ticket: ClientTicket | None) -> bool:
        """Begin a handshake; False if nobody listens."""
        self.began = time.monotonic_ns()
        try:
            self.socket = socket.create_connection(("127.0.0.1", self.scene.port))
        except OSError:
            self.again = time.monotonic() + RETRY
            return False
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out.clear()
        self.scene.selector.register(self.socket, selectors.EVENT_READ, self)
        config = ClientConfig(self.scene.relay_id, trust, credential, ticket=ticket)
        self.connection = ClientConnection(config, self, time.monotonic)
        self.decoder = messages.client_decoder(self)  # type: ignore[arg-type]
        self.connection.start()
        return True

    def write(self, data: bytes) -> None:
        """Send bytes, or keep what the socket does not take."""
        if self.socket is None:
            return
        if not self._out:
            with contextlib.suppress(OSError):
                data = data[self.socket.send(data) :]
        if data:
            self._out += data
            self._watch()

    def writable(self) -> None:
        """Send what was kept."""
        assert self.socket is not None
        with contextlib.suppress(OSError):
            del self._out[: self.socket.send(self._out)]
        self._watch()

    def _watch(self) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self.scene.selector.modify(self.socket, wanted, self)

    def readable(self) -> None:
        """Take what came."""
        assert self.socket is not None
        assert self.connection is not None
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.connection.receive(data)
        else:
            self.connection.lost()

    def data(self, content: bytes) -> None:
        """Take the content of a record."""
        if self.decoder is not None:
            self.decoder.feed(content)

    def hang_up(self) -> None:
        """Go, without a word."""
        if self.socket is not None:
            self.scene.selector.unregister(self.socket)
            self.socket.close()
        self.socket = self.connection = self.decoder = None
        self.again = time.monotonic() + RETRY

    def wrong(self, what: str) -> None:
        """The relay said something that it must not say."""
        self.record("end", code=f"wrong: {what}")

    def ended(self, end: End) -> None:
        """The relay ended the session, or is gone."""
        raise NotImplementedError

    def welcome(self, welcome: Welcome) -> None:
        """The relay let us in."""
        raise NotImplementedError


class Newcomer(Wire):
    """Redeems an invitation, as often as it takes.

    Args:
        scene: of the run.
        invitation: what to redeem.
        key: the newcomer's.
    """

    def __init__(self, scene: Scene, invitation: Invitation, key: rsa.RSAPrivateKey) -> None:
        super().__init__(scene, f"{invitation.name}.enrolling")
        scene.relay_id = invitation.relay_id
        self.invitation = invitation
        self.credential: Credential | None = None
        self.refused = False
        self._key = key
        self._spki = primitives.spki(key.public_key())

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self.credential is not None or self.refused

    def sign(self, context: bytes, told: bytes) -> bytes:
        """Sign with the newcomer's key."""
        return primitives.sign_pss(self._key, context, told)

    def step(self) -> None:
        """Try, if it is time to."""
        if self.socket is None and not self.done and time.monotonic() >= self.again:
            one = self.invitation
            seed = one.signing_seed
            self.connect(Enrolment(one.token, one.name, seed, self._spki, self.sign), None)

    def _told(self, kind: str, **what: Any) -> None:
        token = self.invitation.token.hex()
        self.record(kind, token=token, name=self.invitation.name, key=digest(self._spki), **what)

    def welcome(self, welcome: Welcome) -> None:
        """The certificate came."""
        assert welcome.certificate is not None
        serial = x509.load_der_x509_certificate(welcome.certificate).serial_number
        self._told("enrolled", serial=f"{serial:x}")
        self.credential = Credential(welcome.certificate, self.sign)

    def ended(self, end: End) -> None:
        """Try again, unless the answer is no."""
        self.hang_up()
        if end.by_peer and end.code in ("token-used", "expired", "revoked", "auth-failed"):
            self.refused = True
            self._told("unenrolled", code=end.code)


class Peer(Wire):
    """One peer, whose application sends at random and wants everything once.

    Args:
        scene: of the run.
        name: whose.
        credential: of the name.
        others: to whom it sends; nobody, if empty.
        attendance: the chance that it listens in a session.
        restlessness: the chance, at every step, that it hangs up.
    """

    def __init__(
        self,
        scene: Scene,
        name: str,
        credential: Credential,
        others: Sequence[str] = (),
        *,
        attendance: float = 1.0,
        restlessness: float = 0.001,
    ) -> None:
        super().__init__(scene, name)
        self.random = random.Random(f"{scene.seed} {name}")
        self.credential = credential
        self.others = [name.encode() for name in others]
        self.attendance = attendance
        self.restlessness = restlessness
        self.barred = False
        self._tickets: deque[ClientTicket] = deque(maxlen=2)
        self._ticket: ClientTicket | None = None
        self._session = ""
        self.stream_id = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=")
        self.stream_text = self.stream_id.decode()
        self._next = 1
        self._pending: dict[int, bytes] = {}
        self._streaming = False
        self._held_until = 0.0
        self._resend = False
        self._served = False
        self._listened = 0
        self._seen: set[tuple[bytes, bytes, int]] = set()
        self._last = self._acked = self._shown = self._unacknowledged = 0
        self.empty = False
        self.delivered = 0

    # --- what it does by itself ---

    def step(self) -> None:
        """Do one thing or another."""
        now = time.monotonic()
        if self.socket is None:
            if now >= self.again and not self.barred:
                self._come()
            return
        if not self._session:
            return
        over = self.scene.over
        if not over and self.random.random() < self.restlessness:
            self.hang_up()
            self._session = ""
            return
        if self._streaming and now >= self._held_until:
            if self._resend:
                self._send_again(0)
            if not over and self.others and len(self._pending) < IN_FLIGHT:
                self._send_some()
        if over and self._served and not self.empty and self._acked == self._last:
            self._listen(self._last)
        if self._unacknowledged and (over or self.random.random() < 0.3):
            self._acknowledge()

    def __repr__(self) -> str:
        return (
            f"<{self.name}: session {self._session[:6] or None}, {len(self._pending)} without "
            f"verdict from {min(self._pending, default=0)} on, streaming {self._streaming}, "
            f"resend {self._resend}, served {self._served}, last {self._last:x}, "
            f"shown {self._shown:x}, acked {self._acked:x}, empty {self.empty}>"
        )

    @property
    def in_session(self) -> bool:
        """Whether it is connected."""
        return bool(self._session)

    @property
    def done(self) -> bool:
        """Whether all verdicts are there, and the mailbox is empty."""
        return self.barred or (not self._pending and self.empty)

    def _come(self) -> None:
        self._ticket = None
        if self._tickets and self.random.random() < 0.7:
            self._ticket = self._tickets.pop()
        if not self.connect(self.credential, self._ticket) and self._ticket is not None:
            self._tickets.append(self._ticket)

    def _say(self, data: bytes) -> None:
        if data and self.connection is not None and self.connection.may_send:
            self.connection.send(data)

    # --- sessions ---

    def welcome(self, welcome: Welcome) -> None:
        """In: open the stream, and listen perhaps."""
        assert self.connection is not None
        assert self.connection.session_id is not None
        self._session = self.connection.session_id.hex()
        ticket = self._ticket.id.hex() if self._ticket is not None else ""
        self.record(
            "opened",
            session=self._session,
            resumed=welcome.resumed,
            ticket=ticket,
            began=self.began,
        )
        self.record("tickets", ids=[ticket.id.hex() for ticket in welcome.tickets])
        self._tickets.extend(welcome.tickets)
        self._streaming = self._served = self.empty = False
        self._resend = bool(self._pending)
        self._held_until = 0.0
        out = []
        if self.others:
            answered = min(self._pending, default=self._next) - 1
            out.append(messages.stream(self.stream_id, answered))
        if self.scene.over or self.random.random() < self.attendance:
            # What is kept comes again, if it is asked for.
            self._listen(self._last if self.random.random() < 0.7 else 0)
        if self.others and self.random.random() < 0.3:
            # Nothing says that the answer must be waited for.
            self._resend = False
            out += self._pending.values()
        self._say(b"".join(out))

    def ended(self, end: End) -> None:
        """Out: come again, unless that is of no use."""
        was, self._session = self._session, ""
        self._served = False
        self.hang_up()
        if was:
            self.record("end", code=end.code)
        elif end.code != "truncated":
            self.record("refused", code=end.code)
        if end.code == "revoked":
            self.barred = True

    # --- sending ---

    def _send_some(self) -> None:
        out = []
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 10, 30))):
            seq, chance = self._next, self.random.random()
            to = b"nobody" if chance < 0.01 else self.random.choice(self.others)
            ttl = 0 if 0.01 < chance < 0.05 else 3600 if chance > 0.9 else None
            size = self.random.choice((0, 10, 100, 500, 1000, 4000))
            if chance > 0.99:
                size = 40_000
            body = b"%s %s %d %s " % (self.name.encode(), self.stream_id, seq, to)
            body += self.random.randbytes(size)
            self.record(
                "invoke",
                stream=self.stream_text,
                seq=seq,
                to=to.decode(),
                ttl=ttl,
                body=digest(body),
            )
            self._next += 1
            self._pending[seq] = messages.send(seq, to, ttl, chance < 0.2, body)
            out.append(self._pending[seq])
        self._say(b"".join(out))

    def _send_again(self, after: int) -> None:
        self._resend = False
        self._say(b"".join(data for seq, data in self._pending.items() if seq > after))

    def stream(self, stream: bytes, last: int) -> None:
        """The stream is open: send again what has no verdict, or only what never came."""
        self._streaming = True
        if stream != self.stream_id or not min(self._pending, default=self._next) - 1 <= last:
            self.wrong(f"STREAM {last}, of {self._next - 1}")
        if last >= self._next:
            self.wrong(f"STREAM {last}, but {self._next - 1} were sent")
        if self._resend:
            self._send_again(0 if self.random.random() < 0.5 else last)

    def ok(self, seq: int) -> None:
        """Messages are accepted."""
        if seq >= self._next:
            self.wrong(f"OK {seq}, but {self._next - 1} were sent")
        for pending in [one for one in self._pending if one <= seq]:
            del self._pending[pending]
            self.record("ok", stream=self.stream_text, seq=pending)

    def no(self, seq: int, code: bytes) -> None:
        """A message is refused."""
        final = code in FINAL
        self.record("no", stream=self.stream_text, seq=seq, code=code.decode(), final=final)
        if final:
            self._pending.pop(seq, None)
        else:
            self._held_until = time.monotonic() + TRY_AGAIN
            self._resend = True

    def got(self, seq: int, peer: bytes, _: int) -> None:
        """A recipient acknowledged a message."""
        self.record("got", stream=self.stream_text, seq=seq, peer=peer.decode())

    # --- receiving ---

    def _listen(self, after: int) -> None:
        self._served = False
        self._shown = after
        self._say(messages.listen(after))

    def listen(self, first: int, last: int) -> None:
        """The mailbox is served."""
        self._served = True
        self._listened += 1
        if first > last and self._acked == self._last:
            self.empty = True
        else:
            # Acknowledged once more, for the last word may never have arrived.
            self._acknowledge()

    def msg(
        self,
        number: int,
        sender: bytes,
        to: bytes,
        stream: bytes,
        seq: int,
        _: int,
        body: bytes,
    ) -> None:
        """A message came: give it to the application, unless it has it."""
        text = {"from": sender.decode(), "stream": stream.decode(), "seq": seq}
        self.record("msg", listened=self._listened, n=number, **text)
        self._last = max(self._last, number)
        self._shown = max(self._shown, number)
        self._unacknowledged += 1
        self.empty = False
        key = sender, stream, seq
        if key not in self._seen:
            self._seen.add(key)
            self.delivered += 1
            self.record("deliver", to=to.decode(), body=digest(body), **text)
        if self._unacknowledged >= UNACKNOWLEDGED:
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self._served and self._shown:
            self._unacknowledged = 0
            self._acked = max(self._acked, self._shown)
            self._say(messages.ack(self._shown))

    def stopped(self, reason: bytes) -> None:
        """Another session of ours listens, which is one that we left."""
        self.wrong(f"STOPPED {reason.decode()}")

    # --- the rest ---

    def event(self, kind: bytes, body: bytes) -> None:
        """Something happened; only what became of messages matters here."""
        if kind == b"expired":
            told = json.loads(body)
            self.record("expired", stream=self.stream_text, seq=told["seq"], peer=told["peer"])

    def ping(self, token: bytes) -> None:
        """Still here."""
        self._say(messages.pong(token))
