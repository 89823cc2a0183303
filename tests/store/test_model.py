"""The store on disk does what the store in memory does, whatever is asked in whatever order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.internet.defer import Deferred

from securerelay.errors import SecureRelayError
from securerelay.store.interface import KEPT, Store
from securerelay.store.memory import MemoryStore
from securerelay.store.rows import Receipt, Refuse, RoomListRow, TicketRow
from tests.store.samples import DAY, NOW, STREAM, certificate, invitation, message, on_disk, ticket

PEERS = ["alice", "bob", "bo6", "carol"]
names = st.sampled_from(PEERS)
rooms = st.sampled_from(["@team", "@tearn", "@news"])
streams = st.sampled_from([STREAM, "B" * 22])
tokens = st.sampled_from([b"aaaaaa", b"bbbbbb", b"cccccc", b"dddddd"])
small = st.integers(0, 4)
together = st.lists(st.binary(max_size=9), min_size=1, max_size=4)
codes = st.sampled_from(["unknown", "offline"])


class BothStores(RuleBasedStateMachine):
    """Asks both stores the same and compares what they say."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stores: list[Store] = [MemoryStore(), on_disk(Path(self.folder.name))]
        self.now = NOW
        self.issued = 0
        self.seqs: dict[tuple[str, str], int] = {}
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            self.both(lambda store: store.close())
            self.folder.cleanup()

    def both(self, ask: Callable[[Store], Deferred[Any]]) -> Any:
        model, disk = (self.outcome(ask(store)) for store in self.stores)
        assert disk == model
        return model

    @staticmethod
    def outcome(answer: Deferred[Any]) -> Any:
        found: list[Any] = []
        answer.addCallbacks(
            found.append,
            lambda failure: found.append((failure.type, str(failure.value))),
        )
        (one,) = found
        if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], type):
            assert issubclass(one[0], (SecureRelayError, ValueError)), one
        return one

    def open(self) -> None:
        self.epoch = self.both(
            lambda store: store.open().addCallback(lambda durability: durability.epoch)
        )
        self.n = self.epoch << 32

    @rule()
    def restart(self) -> None:
        self.both(lambda store: store.close())
        self.open()

    @rule(days=st.sampled_from([0.1, 1, 17, 31]))
    def time_passes(self, days: float) -> None:
        self.now += int(days * DAY)

    # Who is who.

    @rule(name=names, token=tokens, hours=st.sampled_from([1, 48]))
    def invite(self, name: str, token: bytes, hours: int) -> None:
        row = invitation(name, token, self.now + hours * DAY // 24)
        self.both(lambda store: store.invite(row))

    @rule(name=names, token=tokens, key=st.integers(1, 2))
    def consume(self, name: str, token: bytes, key: int) -> None:
        self.issued += 1
        row = certificate(name, self.issued, key, self.now + 5 * DAY)
        self.both(lambda store: store.consume(token, row, self.now))

    @rule(token=tokens)
    def withdraw(self, token: bytes) -> None:
        self.both(lambda store: store.withdraw(token))

    @rule(name=names)
    def renew(self, name: str) -> None:
        self.issued += 1
        row = certificate(name, self.issued, not_after=self.now + 5 * DAY)
        self.both(lambda store: store.renew(row))

    @rule(name=names, closed=st.booleans())
    def revoke(self, name: str, closed: bool) -> None:
        self.both(lambda store: store.revoke(name, self.now, closed=closed))

    @rule(name=names, number=small, current=st.sampled_from([True, True, False]))
    def publish(self, name: str, number: int, current: bool) -> None:
        def put(store: Store) -> Deferred[None]:
            return store.lookup(name).addCallback(
                lambda peer: store.publish(name, number, b"bundle %d" % number, digest(peer))
            )

        def digest(peer: Any) -> bytes:
            return peer.certificate.sha256 if peer is not None and current else bytes(32)

        self.both(put)

    @rule(name=names, number=small, hours=st.sampled_from([1, 48]))
    def put_ticket(self, name: str, number: int, hours: int) -> None:
        def put(store: Store) -> Deferred[None]:
            return store.lookup(name).addCallback(lambda peer: store.ticket_put(rows(peer)))

        def rows(peer: Any) -> list[TicketRow]:
            expiry = self.now + hours * DAY // 24
            current = certificate(name).sha256 if peer is None else peer.certificate.sha256
            return [ticket(name, number, certificate_sha256=current, expiry=expiry)]

        self.both(put)

    @rule(number=small, good=st.booleans())
    def take_ticket(self, number: int, good: bool) -> None:
        def verify(psk: bytes) -> None:
            if not good:
                raise ValueError("wrong binder")

        digest = ticket("", number).id_sha256
        self.both(lambda store: store.ticket_take(digest, self.now, verify))

    @rule(name=names, session=st.booleans())
    def kill_tickets(self, name: str, session: bool) -> None:
        if session:
            self.both(lambda store: store.tickets_kill(session_id=ticket("").session_id))
        else:
            self.both(lambda store: store.tickets_kill(name=name))

    # Streams and mailboxes.

    @rule(sender=names, stream=streams, answered=st.sampled_from([0, 0, 1, 3]))
    def open_stream(self, sender: str, stream: str, answered: int) -> None:
        row = self.both(lambda store: store.stream_open(sender, stream, answered, self.now))
        self.seqs[sender, stream] = row.last

    @rule(
        sender=names,
        stream=streams,
        parts=st.lists(
            st.tuples(st.sampled_from([-1, 0, 1, 1, 1, 1, 2]), together), min_size=1, max_size=4
        ),
        to=st.lists(names, unique=True, max_size=4),
        code=st.none() | codes,
        jump=st.booleans(),
        version=st.none() | st.integers(1, 3),
        receipt=st.booleans(),
        backwards=st.sampled_from([0, 0, 0, 0, 3]),
    )
    def append(
        self, sender: str, stream: str, parts: list[tuple[int, list[bytes]]], to: list[str],
        code: str | None, jump: bool, version: int | None, receipt: bool, backwards: int,
    ) -> None:  # fmt: skip
        batch: list[Any] = []
        for skip, bodies in parts:
            last = self.seqs.get((sender, stream), 0)
            seq = max(last + skip, 1)
            after = last if jump else None
            if code is not None:
                self.seqs[sender, stream] = max(last, seq)
                batch.append(Refuse(sender, stream, seq, code, self.now, after))
                continue
            self.seqs[sender, stream] = max(last, seq + len(bodies) - 1)
            self.n += len(bodies)
            recipients = [(peer, self.n - backwards) for peer in to]
            batch.append(
                message(
                    seq,
                    *recipients,
                    sender=sender,
                    stream=stream,
                    to="@team",
                    time=self.now,
                    expiry=self.now + seq % 3 * DAY,
                    receipt=receipt,
                    bodies=bodies,
                    after=after,
                    room_version=version,
                )
            )
        self.both(lambda store: store.append(batch))

    @rule(peer=names, back=st.integers(0, 12))
    def ack(self, peer: str, back: int) -> None:
        self.both(lambda store: store.ack(peer, self.n - back, self.now))

    @rule(limit=st.sampled_from([1, 3, 1000]))
    def expire(self, limit: int) -> None:
        self.both(lambda store: store.expire(self.now, limit))

    @rule(sender=names, stream=streams, peer=names, seq=small, told=st.booleans())
    def receipts(self, sender: str, stream: str, peer: str, seq: int, told: bool) -> None:
        rows = [Receipt(sender, stream, seq, peer, self.now)]
        if told:
            self.both(lambda store: store.receipts_told(rows))
        else:
            self.both(lambda store: store.receipts_keep(rows))

    @rule()
    def tidy(self) -> None:
        self.both(lambda store: store.tidy(self.now))

    @rule()
    def a_long_time_passes(self) -> None:
        self.now += KEPT
        self.tidy()

    # Rooms.

    @rule(room=rooms, owner=names)
    def create_room(self, room: str, owner: str) -> None:
        self.both(lambda store: store.room_create(room, owner, self.now))

    @rule(room=rooms, add=names, remove=names, post=st.none() | st.just("owner"), version=small)
    def change_room(self, room: str, add: str, remove: str, post: str | None, version: int) -> None:
        self.both(
            lambda store: store.room_change(
                room, add=[add], remove=[remove], post=post, version=version or None
            )
        )

    @rule(room=rooms, version=st.integers(1, 3), members=st.lists(names, unique=True))
    def publish_list(self, room: str, version: int, members: list[str]) -> None:
        row = RoomListRow(room, version, ",".join(members).encode())
        self.both(lambda store: store.room_publish(row, sorted(members), self.now, 2))

    @rule(room=rooms)
    def delete_room(self, room: str) -> None:
        self.both(lambda store: store.room_delete(room))

    # Reading.

    @rule(name=names, room=rooms, token=tokens, back=st.integers(0, 12), count=st.integers(1, 5))
    def look(self, name: str, room: str, token: bytes, back: int, count: int) -> None:
        for ask in (
            lambda store: store.lookup(name),
            lambda store: store.peers(),
            lambda store: store.issued(name),
            lambda store: store.expiring(self.now + 4 * DAY),
            lambda store: store.revocations(1),
            lambda store: store.key_log(1, 3),
            lambda store: store.key_log_size(),
            lambda store: store.published(PEERS),
            lambda store: store.invitation(token),
            lambda store: store.invitations(),
            lambda store: store.fetch(name, self.n - back, count, 25),
            lambda store: store.mailbox_state(name),
            lambda store: store.room(room),
            lambda store: store.room_list(room),
            lambda store: store.room_list(room, count),
            lambda store: store.rooms(name),
            lambda store: store.rooms(),
        ):
            self.both(ask)


TestBothStores = BothStores.TestCase
TestBothStores.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
