"""What single steps cost in this process, without sockets: ``python -m benchmarks micro``.

The raw signature comes first and last: it is the same work everywhere, so it says how fast the
machine is just now, and whether that changed meanwhile.  Every figure is a median, of CPU time.
"""

from __future__ import annotations

import datetime
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure
from benchmarks.peer import trust
from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS
from securerelay.identity.authority import Authority
from securerelay.identity.certificates import check_peer
from securerelay.identity.keyfile import generate_key
from securerelay.protocol import messages
from securerelay.protocol.connection import (
    Authenticated,
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    RelayConfig,
    RelayConnection,
    Resumption,
    Welcome,
)
from securerelay.protocol.hello import KnockMemory
from securerelay.protocol.lines import encode
from securerelay.protocol.records import Opener, Sealer
from securerelay.store.interface import Store
from securerelay.store.lane import InlineLane
from securerelay.store.rows import CertificateRow, InvitationRow, TicketRow
from securerelay.store.sqlite import SqliteStore

SAMPLES = 31
DIGEST = bytes(48)
BODY = bytes(128)
DAY = 86_400_000


def micro(quick: bool) -> Iterator[Figure]:
    """The parts that everything else is made of."""
    people = People()
    scale = measured(
        "raw signature, RSA-3072",
        lambda: primitives.sign_pss(people.relay_key, contexts.RELAY_VERIFY, DIGEST),
        1 if quick else 5,
    )
    times = 20 if quick else 200
    yield scale()
    yield from _records(times)
    yield from _messages(times)
    yield from _handshake_parts(people, times)
    yield from _handshakes(people, 20 if quick else 100)
    yield from _tickets(20 if quick else 200)
    yield scale()


def measured(
    name: str, act: Callable[[], object], times: int, goal: float | None = None
) -> Callable[[], Figure]:
    """Prepare to measure something: the median of samples in which it is done so many times."""

    def measure() -> Figure:
        samples = []
        for _ in range(SAMPLES):
            start = time.thread_time()
            for _ in range(times):
                act()
            samples.append((time.thread_time() - start) / times)
        return Figure(name, statistics.median(samples) * 1e6, "us", goal)

    return measure


def _records(times: int) -> Iterator[Figure]:
    secret, content = bytes(48), bytes(200)
    sealer = Sealer("aes256gcm", secret)
    yield measured("seal a record of 256 B", lambda: sealer.seal(1, content), times)()
    fresh = Sealer("aes256gcm", secret)
    records = iter([fresh.seal(1, content) for _ in range(SAMPLES * times)])
    opener = Opener("aes256gcm", secret)
    opened = functools.partial(lambda: list(opener.open_all(next(records))))
    yield measured("open a record of 256 B", opened, times)()


class _Counts:
    """Takes whatever a client says."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _messages(times: int) -> Iterator[Figure]:
    written = messages.send(1, b"bob", None, False, BODY)
    decoder = messages.MessageDecoder(messages._FROM_CLIENT, _Counts(), 1 << 20)
    encoded = functools.partial(messages.send, 1, b"bob", None, False, BODY)
    yield measured("encode a SEND of 128 B", encoded, times)()
    yield measured("decode a SEND of 128 B", lambda: decoder.feed(written), times)()


class People:
    """An authority, a relay and a peer."""

    def __init__(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        self.authority = Authority.create(now)
        self.relay_key, self.peer_key = generate_key(3072), generate_key(3072)
        spki = primitives.spki(self.relay_key.public_key())
        self.relay = self.authority.issue_relay("relay", spki, now).der
        spki = primitives.spki(self.peer_key.public_key())
        self.peer = self.authority.issue_peer("peer", spki, now).der


def _handshake_parts(people: People, times: int) -> Iterator[Figure]:
    share = GROUPS["x25519mlkem768"].offer().share
    signature = primitives.sign_pss(people.peer_key, contexts.PEER_VERIFY, DIGEST)
    public = people.peer_key.public_key()
    authority = people.authority.public_key
    parts: dict[str, Callable[[], object]] = {
        "answer a hybrid share": lambda: GROUPS["x25519mlkem768"].answer(share),
        "check a peer's certificate": lambda: check_peer(authority, people.peer),
        "verify a signature, RSA-3072": lambda: primitives.verify_pss(
            public, contexts.PEER_VERIFY, DIGEST, signature
        ),
        "derive one secret": lambda: primitives.expand_label(
            DIGEST, contexts.CLIENT_TRAFFIC, DIGEST, 48
        ),
    }
    for name, act in parts.items():
        yield measured(name, act, times)()


class _Relay:
    """A relay's end that answers everything at once; ``spent`` leaves out its signature."""

    def __init__(self, people: People, config: RelayConfig, tickets: dict[bytes, Any]) -> None:
        self.people, self.tickets = people, tickets
        self.out = b""
        self.spent = 0.0
        self.connection = RelayConnection(config, self, time.monotonic)  # type: ignore[arg-type]

    def take(self, data: bytes) -> bytes:
        """Take bytes, and return what they are answered with."""
        self.out = b""
        start = time.thread_time()
        self.connection.receive(data)
        self.spent += time.thread_time() - start
        return self.out

    def write(self, data: bytes) -> None:
        self.out += data

    def ended(self, end: End) -> None:
        raise SystemExit(f"the relay ended: {end}")

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        found = self.tickets.pop(ticket_id)
        verify(found.psk)
        self.connection.ticket_found(found)

    def sign(self, context: bytes, digest: bytes) -> None:
        start = time.thread_time()
        signature = primitives.sign_pss(self.people.relay_key, context, digest)
        self.spent -= time.thread_time() - start
        self.connection.signed(signature)

    def authenticated(self, peer: Authenticated) -> None:
        for new in peer.tickets:
            self.tickets[new.id] = Resumption(
                new.psk, peer.name, peer.peer_spki, 1, peer.certificate_sha256
            )
        expiry = int(time.time()) + 3600
        tickets = [[encode(new.id), expiry] for new in peer.tickets]
        self.connection.welcome({"time": 1, "tickets": tickets, "limits": {}, "log": {}})


class _Client:
    """A client's end that keeps what it is to send."""

    def __init__(self, people: People, ticket: ClientTicket | None) -> None:
        credential = Credential(
            people.peer, functools.partial(primitives.sign_pss, people.peer_key)
        )
        config = ClientConfig(people.authority.relay_id, trust, credential, ticket)
        self.out = b""
        self.greeting: Welcome | None = None
        self.connection = ClientConnection(config, self, time.monotonic)

    def write(self, data: bytes) -> None:
        self.out += data

    def data(self, content: bytes) -> None:
        raise SystemExit("nothing was sent")

    def welcome(self, welcome: Welcome) -> None:
        self.greeting = welcome

    def ended(self, end: End) -> None:
        raise SystemExit(f"the client ended: {end}")


def _handshakes(people: People, count: int) -> Iterator[Figure]:
    authority = people.authority
    config = RelayConfig(
        authority.relay_id,
        authority.spki,
        people.relay,
        functools.partial(check_peer, authority.public_key),
        KnockMemory(),
    )
    tickets: dict[bytes, Any] = {}

    def handshake(ticket: ClientTicket | None) -> tuple[float, ClientTicket]:
        relay, client = _Relay(people, config, tickets), _Client(people, ticket)
        client.connection.start()
        while client.greeting is None:
            data, client.out = client.out, b""
            client.connection.receive(relay.take(data))
        return relay.spent, client.greeting.tickets[0]

    for resume, name in (
        (False, "relay's end, full, but its signature"),
        (True, "relay's end, resumed"),
    ):
        spent, ticket = handshake(None)
        samples = []
        for _ in range(count):
            spent, ticket = handshake(ticket if resume else None)
            samples.append(spent)
        yield Figure(name, statistics.median(samples) * 1e6, "us")


def _tickets(times: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="securerelay-benchmark-") as folder:
        store: Store = SqliteStore(
            Path(folder), bytes(32), lambda call, *args: call(*args), lane=InlineLane
        )
        store.open()
        now = int(time.time() * 1000)
        row = CertificateRow("peer", b"der", bytes(32), b"spki", 1, now + DAY, now)
        store.invite(InvitationRow(b"tokens", bytes(32), "peer", (), now + DAY, now, "peer"))
        store.consume(b"tokens", row, now)
        ids = [primitives.random_bytes(32) for _ in range(2 * SAMPLES * times)]
        new, used = iter(ids), iter(ids[::2])

        def ticket() -> TicketRow:
            return TicketRow(next(new), DIGEST, "peer", bytes(32), now, now + DAY, bytes(16))

        def take() -> None:
            store.ticket_take(next(used), now, lambda _: None)

        putting = measured(
            "put two tickets on disk", lambda: store.ticket_put([ticket(), ticket()]), times
        )
        yield putting()
        yield measured("take a ticket from disk", take, times)()
        store.close()
