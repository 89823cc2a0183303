"""The way into the store: few batches, in order, and nothing is lost on the way."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from securerelay.protocol import messages
from securerelay.store.interface import StorageFull
from tests.relay.world import Guest, Slow, World, done

SOON = 0.01


def busy() -> tuple[World, Slow, Guest]:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    return world, store, alice


def said(first: int, last: int) -> list[bytes]:
    return [messages.send(seq, b"bob", None, False, b"x") for seq in range(first, last + 1)]


def test_while_one_batch_is_written_everything_else_goes_into_the_next() -> None:
    world, store, alice = busy()
    alice.say(*said(1, 1))
    for seq in range(2, 21):
        alice.say(*said(seq, seq))
    assert store.written() == [(1,)]
    store.answer()
    world.run()
    assert store.written() == [(1,), tuple(range(2, 21))]
    assert alice.of("ok") == [(1,)]
    store.answer()
    world.run()
    assert alice.of("ok") == [(1,), (20,)]


def test_a_lone_message_to_somebody_absent_does_not_wait() -> None:
    _, store, alice = busy()
    alice.say(*said(1, 1))
    assert store.written() == [(1,)]


def test_a_batch_that_was_asked_for_in_vain_holds_nobody_up() -> None:
    world, store, alice = busy()
    journal = world.router.journal
    alice.say(*said(1, 1))
    journal.hurry()  # while one is written, and nothing comes for the next
    store.answer()
    world.run(1)
    alice.say(*said(2, 2))
    world.run(1)
    assert store.written() == [(1,), (2,)]
    store.answer()
    world.run()
    assert alice.of("ok")[-1] == (2,)


def test_the_relay_can_wait_for_silence_twice_while_it_writes() -> None:
    world, store, alice = busy()
    journal = world.router.journal
    alice.say(*said(1, 1))
    again: list[object] = []
    journal.idle().addCallback(lambda _: journal.idle().addCallback(again.append))
    store.answer()
    world.run(SOON)
    assert again == [None]


def test_messages_that_are_acknowledged_in_time_are_left_out_of_the_batch() -> None:
    world, store, alice = busy()
    bob = world.join("bob")
    bob.attend()
    alice.say(*said(1, 3))
    bob.say(messages.ack(bob.of("msg")[1][0]))
    world.run(SOON)
    assert store.written() == [(3,)]
    assert store.asked[-1][1][0][0].after == 0
    store.answer()
    world.run()
    assert alice.of("ok")[-1] == (3,)


def test_an_acknowledgement_reaches_the_store_behind_the_batch_it_speaks_of() -> None:
    world, store, alice = busy()
    bob = world.join("bob")
    bob.attend()
    alice.say(*said(1, 1))
    world.run(SOON)
    bob.say(messages.ack(bob.of("msg")[0][0]))
    world.run(SOON)
    assert store.count("ack") == 0
    store.answer()
    world.run(SOON)
    assert store.count("ack") == 1
    assert done(store.store.fetch("bob", 0, 9, 9)) == []


def test_each_message_has_its_own_time_to_be_acknowledged_before_it_is_written() -> None:
    store = Slow()
    world = World(store=store)
    bob, carol, alice = world.join("bob"), world.join("carol"), world.join("alice")
    for guest in (bob, carol):
        guest.attend()
    alice.open()
    alice.send(1, b"bob")
    world.run(0.008)
    alice.send(2, b"carol")
    world.run(0.004)
    assert alice.of("ok") == [(1,)]
    carol.say(messages.ack(carol.of("msg")[0][0]))
    world.run(1)
    assert alice.of("ok") == [(1,), (2,)]
    assert store.written() == [(1,)]


def test_what_is_acknowledged_in_time_wakes_the_store_for_nothing() -> None:
    store = Slow()
    world = World(store=store)
    bob, alice = world.join("bob"), world.join("alice")
    bob.attend()
    alice.open()
    for seq in range(1, 10):
        alice.send(seq, b"bob")
        world.run(0.006)
        bob.say(messages.ack(bob.of("msg")[-1][0]))
    world.run(1)
    assert alice.of("ok")[-1] == (9,)
    assert store.count("append") == 0
    assert world.router.journal.depth == 0


def test_acknowledgements_are_served_while_the_disk_is_full() -> None:
    world, store, alice = busy()
    alice.say(*said(1, 2))
    store.answer()
    world.run()
    bob = world.join("bob")
    bob.attend()
    alice.say(*said(3, 3))
    bob.say(messages.ack(bob.of("msg")[1][0]))
    store.answer(StorageFull("no room"))
    world.run(SOON)
    assert alice.of("no") == [(3, b"storage-full")]
    assert done(store.store.fetch("bob", 0, 9, 9)) == []


def test_a_fault_of_the_store_is_refused_for_now_and_told_in_the_log() -> None:
    world, store, alice = busy()
    alice.say(*said(1, 1))
    store.answer(ZeroDivisionError("ours"))
    world.run()
    assert alice.of("no") == [(1, b"busy")]
    assert "store.failed" in world.told.names()
    alice.say(*said(1, 1))
    store.answer()
    world.run()
    assert alice.of("ok") == [(1,)]


def test_a_store_with_another_history_of_the_stream_makes_the_client_begin_another() -> None:
    world, store, alice = busy()
    alice.say(*said(1, 1))
    store.store._streams.clear()
    store.answer()
    world.run()
    assert alice.of("no") == [(1, b"new-stream")]
    alice.say(*said(1, 1))
    assert alice.of("no")[-1] == (1, b"new-stream")


def test_a_message_that_is_refused_for_now_takes_along_those_behind_it_and_nothing_more() -> None:
    world, store, alice = busy()
    alice.say(*said(1, 1))
    alice.say(*said(2, 3))
    store.answer()
    world.run()
    store.store._highest["bob"] = 1 << 62
    store.answer()
    world.run()
    assert alice.of("no") == [(2, b"busy"), (3, b"gap")]
    del store.store._highest["bob"]
    alice.say(*said(2, 3))
    store.answer()
    world.run()
    assert alice.of("ok")[-1] == (3,)


def test_a_batch_of_several_streams_refuses_only_the_one_that_is_refused() -> None:
    world, store, alice = busy()
    carol = world.join("carol")
    carol.open(b"c" * 22)
    alice.say(*said(1, 1))
    alice.say(*said(2, 2))
    carol.say(*said(1, 1))
    store.answer()
    world.run()
    del store.store._streams["alice", "s" * 22]
    store.answer()
    world.run()
    assert alice.of("no") == [(2, b"new-stream")]
    assert carol.of("ok") == [(1,)]


def test_who_comes_back_while_his_mail_is_being_forgotten_has_none_of_it_counted() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    alice.say(*said(1, 3))
    alice.drop()
    bob = world.join("bob")
    bob.attend()
    store.slow = {"ack"}
    bob.say(messages.ack(bob.of("msg")[-1][0]))
    world.run(1)
    bob.drop()
    done(Deferred.fromCoroutine(world.router.expire()))  # whoever is idle is forgotten
    bob = world.join("bob")
    bob.attend()
    store.slow.clear()
    store.answer()
    peer = world.router.find("bob")
    assert peer is not None
    assert peer.mailbox is not None
    assert (peer.mailbox.count, peer.mailbox.size) == (0, 0)
