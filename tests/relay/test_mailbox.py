"""What a recipient gets: everything, once, in order, and no more at a time than it can hold."""

# More than 400 lines: one module of the package, shown fully by one module of tests.

from __future__ import annotations

import dataclasses

import pytest

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits
from securerelay.store.interface import StorageStopped
from tests.relay.world import OTHER_STREAM, STREAM, Guest, Slow, World, done

SOON = 0.01


def small(**limits: int) -> World:
    made = World(Config(limits=dataclasses.replace(Limits(), **limits)))
    made.enrol("bob")
    return made


@pytest.fixture
def world() -> World:
    return small()


def sender(world: World, name: str = "alice") -> Guest:
    guest = world.join(name)
    guest.open()
    return guest


def burst(guest: Guest, first: int, last: int, ttl: int | None = None) -> None:
    guest.say(
        *(messages.send(seq, b"bob", ttl, False, b"%d" % seq) for seq in range(first, last + 1))
    )
    guest.world.run(SOON)


def listener(world: World, after: int = 0) -> Guest:
    bob = world.join("bob")
    bob.attend(after)
    return bob


def ack_all(bob: Guest) -> None:
    bob.say(messages.ack(bob.of("msg")[-1][0]))
    bob.world.run(SOON)


def seqs(guest: Guest) -> list[int]:
    return [message[4] for message in guest.of("msg")]


def test_an_empty_mailbox_keeps_nothing_and_says_so(world: World) -> None:
    bob = listener(world)
    ((first, last),) = bob.of("listen")
    assert first == last + 1


def test_mail_that_waited_comes_first_and_in_order(world: World) -> None:
    burst(sender(world), 1, 5)
    bob = listener(world)
    ((first, last),) = bob.of("listen")
    assert seqs(bob) == [1, 2, 3, 4, 5]
    assert (first, last) == (bob.of("msg")[0][0], bob.of("msg")[-1][0])


def test_a_message_says_who_sent_it_to_whom_when_and_where_it_stands_in_its_stream(
    world: World,
) -> None:
    alice, bob = sender(world), listener(world)
    alice.send(1, b"bob", b"body")
    ((_, *message),) = bob.of("msg")
    assert message == [b"alice", b"bob", STREAM, 1, world.context.now(), b"body"]


def test_numbers_rise_over_restarts_of_the_relay(world: World) -> None:
    burst(sender(world), 1, 2)
    before = [message[0] for message in listener(world).of("msg")]
    world.crash()
    alice = world.join("alice")
    alice.open(answered=2)
    burst(alice, 3, 3)
    after = [message[0] for message in listener(world).of("msg")]
    assert after[:2] == before
    assert before[0] < before[1] < after[2]


def test_numbers_rise_although_the_mailbox_was_forgotten_in_between(world: World) -> None:
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 1)
    ack_all(bob)
    bob.drop()
    world.run(30)
    assert world.router.find("bob") is None
    burst(alice, 2, 2)
    again = listener(world)
    assert again.of("msg")[0][0] > bob.of("msg")[0][0]


def test_unacknowledged_mail_comes_again_to_the_next_session(world: World) -> None:
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 3)
    bob.say(messages.ack(bob.of("msg")[0][0]))
    world.run(SOON)
    bob.drop()
    assert seqs(listener(world)) == [2, 3]


def test_mail_that_is_not_stored_yet_comes_again_to_the_next_session_once() -> None:
    store = Slow("append")
    world = World(store=store)
    alice, bob = sender(world), listener(world)
    alice.send(1, b"bob")
    world.run(SOON)
    alice.send(2, b"bob")
    assert seqs(bob) == [1, 2]
    bob.drop()
    bob = listener(world)
    assert seqs(bob) == [1, 2]
    store.answer()
    world.run(SOON)
    store.answer()
    world.run(SOON)
    assert seqs(bob) == [1, 2]
    assert alice.of("ok") == [(1,), (2,)]


def test_listen_after_a_number_skips_what_came_before_but_forgets_nothing(world: World) -> None:
    burst(sender(world), 1, 3)
    first = listener(world)
    second = first.of("msg")[1][0]
    bob = listener(world, after=second)
    assert seqs(bob) == [3]
    assert len(done(world.store.fetch("bob", 0, 9, 99))) == 3
    bob.say(messages.ack(second))
    assert len(done(world.store.fetch("bob", 0, 9, 99))) == 1


def test_listen_after_a_number_that_was_never_given_hides_nothing(world: World) -> None:
    bob, alice = listener(world, after=10**18), sender(world)
    alice.send(1, b"bob")
    assert seqs(bob) == [1]


def test_listen_after_a_number_that_was_never_given_does_not_make_it_acknowledgeable(
    world: World,
) -> None:
    bob = listener(world, after=10**18)
    bob.say(messages.ack(10**18))
    assert bob.end == "protocol"


def test_acknowledged_mail_is_forgotten_and_its_room_is_free(world: World) -> None:
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 3)
    ack_all(bob)
    assert done(world.store.fetch("bob", 0, 9, 99)) == []
    mailbox = world.router.find("bob").mailbox
    assert (mailbox.count, mailbox.size) == (0, 0)
    bob.drop()
    assert seqs(listener(world)) == []


def test_the_newest_listener_wins_and_the_old_one_is_told(world: World) -> None:
    alice, old = sender(world), listener(world)
    new = listener(world)
    assert old.of("stopped") == [(b"replaced",)]
    alice.send(1, b"bob")
    assert (seqs(old), seqs(new)) == ([], [1])
    assert old.end == ""


def test_a_replaced_listener_may_still_acknowledge_what_it_got(world: World) -> None:
    alice, old = sender(world), listener(world)
    burst(alice, 1, 1)
    listener(world)
    ack_all(old)
    assert done(world.store.fetch("bob", 0, 9, 99)) == []


@pytest.mark.parametrize("listening", [True, False])
def test_nobody_can_acknowledge_what_was_never_sent(world: World, listening: bool) -> None:
    bob = listener(world) if listening else world.join("bob")
    bob.say(messages.ack(1 << 62))
    assert bob.end == "protocol"


def test_nobody_can_acknowledge_another_peers_mail(world: World) -> None:
    burst(sender(world), 1, 1)
    bob = listener(world)
    mallory = world.join("mallory")
    mallory.attend()
    mallory.say(messages.ack(bob.of("msg")[0][0] - 1))
    assert len(done(world.store.fetch("bob", 0, 9, 99))) == 1


def test_a_listener_gets_no_more_than_its_window_until_it_acknowledges() -> None:
    world = small(window_messages=4)
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 10)
    assert seqs(bob) == [1, 2, 3, 4]
    assert alice.of("ok")[-1] == (10,)
    ack_all(bob)
    assert seqs(bob) == [1, 2, 3, 4, 5, 6, 7, 8]
    ack_all(bob)
    assert seqs(bob) == list(range(1, 11))
    ack_all(bob)
    alice.send(11, b"bob")
    assert seqs(bob) == list(range(1, 12))


def test_a_window_is_also_one_of_bytes() -> None:
    world = small(window_bytes=65_536)
    alice, bob = sender(world), listener(world)
    body = b"x" * 40_000
    alice.say(*(messages.send(seq, b"bob", None, False, body) for seq in range(1, 6)))
    world.run(SOON)
    assert seqs(bob) == [1, 2]
    for _ in range(3):
        ack_all(bob)
    assert seqs(bob) == [1, 2, 3, 4, 5]


def test_what_comes_while_a_page_is_read_is_neither_lost_nor_doubled_nor_early() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    burst(alice, 1, 3)
    bob = world.join("bob")
    store.slow = {"fetch"}
    bob.attend()
    store.answer()
    world.run()
    burst(alice, 4, 5)
    assert seqs(bob) == []
    store.answer()
    world.run()
    while store.waiting:
        store.answer()
        world.run()
    assert seqs(bob) == [1, 2, 3, 4, 5]
    burst(alice, 6, 6)
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]


def test_a_page_for_a_listener_that_left_is_not_given_to_the_next() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    burst(sender(world), 1, 2)
    bob = world.join("bob")
    store.slow = {"fetch"}
    bob.attend()
    store.answer()
    world.run()
    bob.drop()
    other = world.join("bob")
    other.attend()
    while store.waiting:
        store.answer()
        world.run()
    assert seqs(other) == [1, 2]


def test_a_long_queue_comes_page_by_page_while_more_arrives() -> None:
    world = small(mailbox_sender_percent=100)
    alice = sender(world)
    burst(alice, 1, 700)
    bob = listener(world)
    burst(alice, 701, 720)
    while seqs(bob)[-1] < 720:
        ack_all(bob)
    assert seqs(bob) == list(range(1, 721))


def test_expired_mail_is_not_delivered_any_more() -> None:
    store = Slow("expire")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob", ttl=5)
    alice.send(2, b"bob", ttl=500)
    world.run(6)
    assert seqs(listener(world)) == [2]


def test_one_sender_can_fill_a_tenth_of_a_mailbox_and_no_more() -> None:
    world = small(mailbox_messages=20)
    alice, carol = sender(world), sender(world, "carol")
    burst(alice, 1, 3)
    assert alice.of("no") == [(3, b"mailbox-full")]
    burst(carol, 1, 1)
    assert carol.of("no") == []


def test_a_full_mailbox_refuses_and_keeps_what_it_has() -> None:
    world = small(mailbox_messages=3, mailbox_sender_percent=100)
    alice = sender(world)
    burst(alice, 1, 4)
    assert alice.of("no") == [(4, b"mailbox-full")]
    bob = listener(world)
    assert seqs(bob) == [1, 2, 3]
    ack_all(bob)
    bob.drop()
    burst(alice, 5, 5)
    assert alice.of("no") == [(4, b"mailbox-full")]


def test_a_mailbox_is_also_one_of_bytes() -> None:
    world = small(mailbox_bytes=65_536, message_bytes=65_536, mailbox_sender_percent=100)
    alice = sender(world)
    alice.send(1, b"bob", b"x" * 60_000)
    alice.send(2, b"bob", b"x" * 6_000)
    assert alice.of("no") == [(2, b"mailbox-full")]


def test_several_senders_together_fill_a_mailbox_and_no_more() -> None:
    world = small(mailbox_bytes=65_536, message_bytes=65_536, mailbox_sender_percent=100)
    alice, carol = sender(world), sender(world, "carol")
    alice.send(1, b"bob", b"x" * 40_000)
    carol.send(1, b"bob", b"x" * 40_000)
    assert (alice.of("no"), carol.of("no")) == ([], [(1, b"mailbox-full")])


def test_quotas_hold_after_a_restart() -> None:
    world = small(mailbox_messages=20)
    burst(sender(world), 1, 2)
    world.crash()
    alice = world.join("alice")
    alice.open(answered=2)
    burst(alice, 3, 3)
    assert alice.of("no") == [(3, b"mailbox-full")]


def test_a_live_message_needs_room_in_the_window_now() -> None:
    world = small(window_messages=2)
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 3, ttl=0)
    assert alice.of("no") == [(3, b"mailbox-full")]
    assert seqs(bob) == [1, 2]
    ack_all(bob)
    burst(alice, 4, 4, ttl=0)
    assert seqs(bob) == [1, 2, 4]


def test_a_live_message_never_overtakes_mail_that_waits() -> None:
    world = small(window_messages=2)
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 3)
    burst(alice, 4, 4, ttl=0)
    assert alice.of("no") == [(4, b"mailbox-full")]
    ack_all(bob)
    assert seqs(bob) == [1, 2, 3]


def test_live_messages_are_gone_with_their_listener(world: World) -> None:
    alice, bob = sender(world), listener(world)
    alice.send(1, b"bob", ttl=0)
    bob.drop()
    assert seqs(listener(world)) == []


def test_order_is_kept_for_each_sender_when_two_send_at_once(world: World) -> None:
    alice, carol, bob = sender(world), world.join("carol"), listener(world)
    carol.open(OTHER_STREAM)
    for seq in range(1, 21):
        alice.mumble(messages.send(seq, b"bob", None, False, b""))
        carol.mumble(messages.send(seq, b"bob", None, False, b""))
    world.run()
    got = bob.of("msg")
    for name in (b"alice", b"carol"):
        assert [message[4] for message in got if message[1] == name] == list(range(1, 21))
    numbers = [message[0] for message in got]
    assert numbers == sorted(set(numbers))


def test_a_peer_can_send_to_itself(world: World) -> None:
    alice = sender(world)
    alice.attend()
    alice.send(1, b"alice")
    assert alice.bodies() == [b"hello"]


def test_listening_again_in_the_same_session_begins_again(world: World) -> None:
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 2)
    bob.take()
    bob.attend()
    assert seqs(bob) == [1, 2]
    assert bob.of("stopped") == []


def test_who_begins_again_before_every_page_still_gets_pages() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    burst(sender(world), 1, 3)
    bob = world.join("bob")
    store.slow = {"fetch"}
    bob.attend()
    store.answer()
    world.run()
    for _ in range(3):
        bob.attend()
        for _ in range(2):
            store.answer()
            world.run()
    assert seqs(bob)[:3] == [1, 2, 3]


def test_who_begins_again_and_is_replaced_meanwhile_gets_nothing_more() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    burst(sender(world), 1, 3)
    bob = world.join("bob")
    store.slow = {"fetch"}
    bob.attend()
    store.answer()
    world.run()
    bob.attend()
    other = world.join("bob")
    other.attend()
    while store.waiting:
        store.answer()
        world.run()
    assert bob.of("stopped") == [(b"replaced",)]
    assert (seqs(bob), seqs(other)) == ([], [1, 2, 3])


def test_a_store_that_cannot_be_read_ends_the_session_and_keeps_the_mail() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    burst(sender(world), 1, 2)
    bob = world.join("bob")
    store.slow = {"fetch"}
    bob.attend()
    store.answer()
    world.run()
    store.answer(StorageStopped("gone"))
    world.run()
    assert bob.end == "internal"
    store.slow.clear()
    assert seqs(listener(world)) == [1, 2]
