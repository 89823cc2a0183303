"""Whatever senders, recipients, store and clock do in whatever order: what is OK arrives."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits
from securerelay.store.interface import StorageFull
from tests.relay.world import STREAM, Guest, Slow, World, done

FOR_NOW = {b"gap", b"busy", b"rate", b"storage-full"}
SHORT = 5
NAMES = (b"bob", b"carol")
names = st.sampled_from(NAMES)


class Sender:
    """A client that sends again what was refused for now, and checks what it is told.

    Args:
        world: where.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[tuple[bytes, int | None, bytes]] = []
        self.ok = 0
        self.refused: set[int] = set()
        self.got: set[int] = set()
        self.expired: set[int] = set()
        self.guest = self.world.join("alice")
        self.connect()

    def connect(self) -> None:
        self.hear()
        self.guest = self.world.join("alice")
        self.guest.open(answered=self.answered)
        ((_, last),) = self.guest.of("stream")
        self.hear()
        assert self.ok <= last <= len(self.sent)
        self.say(last + 1)

    @property
    def answered(self) -> int:
        """The highest seq up to which every one has its verdict."""
        seq = self.ok
        while seq + 1 in self.refused:
            seq += 1
        return seq

    def say(self, first: int, settle: float = 0.0) -> None:
        """Say everything from a seq on, in one record."""
        said = [
            messages.send(seq, to, ttl, True, body)
            for seq, (to, ttl, body) in enumerate(self.sent[first - 1 :], first)
        ]
        if said:
            self.guest.say(*said)
        self.world.run(settle)

    def hear(self) -> None:
        """Take in what was told."""
        for verb, *told in self.guest.take():
            if verb == "ok":
                assert self.ok <= told[0] <= len(self.sent)
                self.ok = max(self.ok, told[0])
            elif verb == "no" and told[1] in FOR_NOW:
                assert told[0] > self.ok
            elif verb == "no":
                assert told[1] == b"mailbox-full" or told[1:] == [b"offline"]
                assert told[0] in self.refused or told[0] > self.ok, "OK spoke for a refusal"
                assert told[0] <= len(self.sent), "refused before it was sent"
                self.refused.add(told[0])
            elif verb == "got":
                self.got.add(told[0])
            elif verb == "event":
                assert told[0] == b"expired"
                self.expired.add(json.loads(told[1])["seq"])
        assert not self.guest.end


class Recipient:
    """A client that knows what it was shown.

    Args:
        world: where.
        name: whose mail it takes.
    """

    def __init__(self, world: World, name: bytes) -> None:
        self.world = world
        self.name = name
        self.shown: dict[int, tuple[int, bytes]] = {}
        self.first: dict[int, int] = {}
        self.guests: list[Guest] = []

    def hear(self, sent: list[tuple[bytes, int | None, bytes]]) -> None:
        """Take in what came, and check that it is what was sent and in order."""
        for guest in self.guests:
            last = 0
            for verb, *told in guest.heard:
                if verb == "listen":
                    last = 0
                elif verb == "msg":
                    n, sender, _, stream, seq, _, body = told
                    assert n > last, "not in order"
                    last = n
                    assert (sender, stream) == (b"alice", STREAM)
                    assert sent[seq - 1][0] == self.name
                    assert body == sent[seq - 1][2]
                    assert self.shown.setdefault(n, (seq, body)) == (seq, body)
                    if seq not in self.first:
                        assert seq > max(self.first, default=0), "overtaken"
                        self.first[seq] = n
            assert guest.end in ("", "replaced")

    def connect(self, after: int = 0) -> None:
        self.guests.append(self.world.join(self.name.decode()))
        self.guests[-1].attend(after)

    def numbers(self, guest: Guest) -> list[int]:
        return [message[0] for message in guest.of("msg")]


class Delivery(RuleBasedStateMachine):
    """One sender, two recipients, and a store that answers late or not at all."""

    @initialize(window=st.integers(1, 5), percent=st.sampled_from([30, 100]))
    def begin(self, window: int, percent: int) -> None:
        limits = Limits(
            window_messages=window,
            window_bytes=65_536,
            mailbox_messages=16,
            mailbox_sender_percent=percent,
        )
        self.store = Slow()
        self.world = World(Config(limits=limits), self.store)
        self.world.enrol("alice")
        self.recipients = {name: Recipient(self.world, name) for name in NAMES}
        for recipient in self.recipients.values():
            recipient.connect()
        self.sender = Sender(self.world)
        self.crashed = False

    @invariant()
    def everybody_hears(self) -> None:
        if not hasattr(self, "sender"):
            return
        self.sender.hear()
        for recipient in self.recipients.values():
            recipient.hear(self.sender.sent)
            peer = self.world.router.find(recipient.name.decode())
            if peer is not None and peer.mailbox is not None:
                shares = peer.mailbox.shares.values()
                assert peer.mailbox.count == sum(share.count for share in shares) >= 0
                assert peer.mailbox.size == sum(share.size for share in shares) >= 0
        assert self.world.router.journal.depth >= 0

    @rule(
        to=names,
        sizes=st.lists(st.sampled_from([0, 0, 0, 0, 40_000]), min_size=1, max_size=6),
        ttl=st.sampled_from([None, None, None, SHORT, 0]),
        pause=st.sampled_from([0.0, 0.0, 0.05]),
    )
    def send(self, to: bytes, sizes: list[int], ttl: int | None, pause: float) -> None:
        first = len(self.sender.sent) + 1
        for seq, size in enumerate(sizes, first):
            self.sender.sent.append((to, ttl, b"%d " % seq + bytes(size)))
        self.sender.say(first, pause)

    @rule()
    def send_again(self) -> None:
        self.sender.say(self.sender.answered + 1)

    @rule(drop=st.booleans())
    def connect_sender(self, drop: bool) -> None:
        if drop:
            self.sender.guest.drop()
        self.sender.connect()

    @rule(to=names, which=st.integers(0, 1), share=st.floats(0, 1))
    def ack(self, to: bytes, which: int, share: float) -> None:
        recipient = self.recipients[to]
        here = [guest for guest in recipient.guests if not guest.gone]
        if here:
            guest = here[-1 - which % len(here)]
            numbers = recipient.numbers(guest)
            if numbers:
                guest.say(messages.ack(numbers[int(share * (len(numbers) - 1))]))

    @rule(to=names)
    def ack_one_by_one(self, to: bytes) -> None:
        guest = self.recipients[to].guests[-1]
        numbers = self.recipients[to].numbers(guest)
        if numbers and not guest.gone:
            guest.say(*map(messages.ack, numbers))

    @rule(to=names, share=st.none() | st.floats(0, 1), how=st.sampled_from(["again", "new", "in"]))
    def listen(self, to: bytes, share: float | None, how: str) -> None:
        recipient = self.recipients[to]
        shown = sorted(recipient.shown)
        after = shown[int(share * (len(shown) - 1))] if shown and share is not None else 0
        last = recipient.guests[-1]
        if how == "again" and not last.gone:
            last.attend(after)
            return
        if how == "new":
            last.drop()
        recipient.connect(after)

    @rule(to=names)
    def lose(self, to: bytes) -> None:
        self.recipients[to].guests[-1].drop()

    @rule(slow=st.sets(st.sampled_from(["append", "append", "fetch", "ack"])))
    def slow_down(self, slow: set[str]) -> None:
        self.store.slow = slow

    @rule(count=st.integers(1, 3), fails=st.booleans())
    def answer(self, count: int, fails: bool) -> None:
        for _ in range(count):
            if self.store.waiting:
                full = fails and self.store.waiting[0][0] == "append"
                self.store.answer(StorageFull("no room") if full else None)
                self.world.run()

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.05, 1, 12]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(written=st.booleans())
    def crash(self, written: bool) -> None:
        waiting, self.store.waiting = self.store.waiting, []
        for name, _, work in waiting:
            if written and name != "fetch":
                done(work())
        self.store.slow.clear()
        self.world.crash()
        self.crashed = True
        for recipient in self.recipients.values():
            recipient.guests.clear()
            recipient.connect()
        self.sender.connect()

    def teardown(self) -> None:
        if hasattr(self, "sender"):
            self.end_well()

    def calm(self) -> None:
        """Let everything come to rest."""
        self.store.slow.clear()
        while self.store.waiting:
            self.store.answer()
            self.world.run()
        self.world.run(0.05)

    def end_well(self) -> None:
        sender = self.sender
        self.calm()
        for recipient in self.recipients.values():
            for guest in recipient.guests:
                guest.drop()
            recipient.connect()
        self.calm()
        sender.hear()
        for _ in range(20):
            if sender.answered == len(sender.sent):
                break
            sender.say(sender.answered + 1, 1)
            self.calm()
            sender.hear()
        assert sender.answered == len(sender.sent), "no verdict"
        for recipient in self.recipients.values():
            guest = recipient.guests[-1]
            acked = 0
            while recipient.numbers(guest) and recipient.numbers(guest)[-1] > acked:
                acked = recipient.numbers(guest)[-1]
                guest.say(messages.ack(acked))
                self.calm()
        self.world.run(12)
        sender.connect()
        self.everybody_hears()
        self.check(sender)
        for name in NAMES:
            sender.sent.append((name, 0, b"last"))
        sender.say(len(sender.sent) - 1, 1)
        self.everybody_hears()
        assert sender.refused.isdisjoint({len(sender.sent) - 1, len(sender.sent)}), "stuck"

    def check(self, sender: Sender) -> None:
        """Nothing that got its OK is missing, and nothing is left of it."""
        accepted = [seq for seq in range(1, len(sender.sent) + 1) if seq not in sender.refused]
        for seq in accepted:
            to, ttl, _ = sender.sent[seq - 1]
            came = seq in self.recipients[to].first
            assert came or (ttl == SHORT and seq in sender.expired), f"{seq} is lost"
            told = seq in sender.got | sender.expired
            assert told or ttl == 0 or self.crashed, f"no receipt of {seq}"
        for seq in sender.got:
            assert seq in self.recipients[sender.sent[seq - 1][0]].first
        router: Any = self.world.router
        if not self.crashed:
            assert router.accepted == len(accepted)
        assert router.journal.depth == 0
        assert done(self.store.store.mail_total()).count == 0
        for name in NAMES:
            mailbox = router.find(name.decode()).mailbox
            assert (mailbox.count, mailbox.size) == (0, 0)
            assert {(share.count, share.size) for share in mailbox.shares.values()} <= {(0, 0)}


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
