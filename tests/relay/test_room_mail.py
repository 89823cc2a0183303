"""What is sent to a room: who gets it, when it is OK, and who misses it."""

from __future__ import annotations

import pytest

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits, PeerLimits, Policy, RoomRules
from securerelay.store.interface import StorageFull
from tests.relay.test_admission import newcomer
from tests.relay.test_rooms import ROOM, here, made, told
from tests.relay.world import OTHER_STREAM, STREAM, Guest, Slow, World, done


@pytest.fixture
def world() -> World:
    return World()


def test_everybody_but_the_sender_gets_it_and_the_sender_is_named(world: World) -> None:
    alice = made(world, "bob", "carol")
    alice.attend()
    bob, carol = here(world, "bob"), here(world, "carol")
    alice.send(1, ROOM, b"hello all")
    for guest in (bob, carol):
        ((_, sender, to, stream, seq, _, body),) = guest.of("msg")
        assert (sender, to, stream, seq, body) == (b"alice", ROOM, STREAM, 1, b"hello all")
    assert alice.of("msg") == []


def test_who_is_away_gets_it_later(world: World) -> None:
    alice = made(world, "bob", "carol")
    alice.send(1, ROOM, b"one")
    alice.send(2, ROOM, b"two")
    assert alice.of("ok")[-1] == (2,)
    assert here_later(world, "bob").bodies() == [b"one", b"two"]
    assert here_later(world, "carol").bodies() == [b"one", b"two"]


def here_later(world: World, name: str) -> Guest:
    guest = world.join(name)
    guest.attend()
    return guest


def test_ok_waits_for_the_disk_and_all_places_take_one_append() -> None:
    store = Slow("append")
    world = World(store=store)
    alice = made(world, "bob", "carol", "dave")
    bob = here(world, "bob")
    alice.send(1, ROOM)
    world.run(1)
    assert len(bob.of("msg")) == 1
    assert alice.of("ok") == []
    ((item,),) = [args[0] for name, args in store.asked if name == "append"]
    assert sorted(peer for peer, _ in item.recipients) == ["bob", "carol", "dave"]
    store.answer()
    world.run()
    assert alice.of("ok") == [(1,)]


def test_who_acknowledges_before_the_disk_needs_no_place_on_it() -> None:
    store = Slow()
    world = World(store=store)
    alice = made(world, "bob", "carol", "dave")
    bob, carol = here(world, "bob"), here(world, "carol")
    alice.send(1, ROOM)
    for guest in (bob, carol):
        ((n, *_),) = guest.of("msg")
        guest.say(messages.ack(n))
    assert alice.of("ok") == []
    world.run(1)
    ((item,),) = [args[0] for name, args in store.asked if name == "append"]
    assert [peer for peer, _ in item.recipients] == ["dave"]
    assert alice.of("ok") == [(1,)]


@pytest.mark.parametrize("answering", [20, 19])
def test_who_is_here_is_waited_for_a_while_and_not_once_all_have_it(answering: int) -> None:
    store = Slow()
    world = World(store=store)
    alice = made(world, *(f"m{number}" for number in range(21)))
    guests = [here(world, f"m{number}") for number in range(20)]
    alice.send(1, ROOM)
    for guest in guests[:answering]:
        guest.say(messages.ack(guest.of("msg")[0][0]))
    world.run(0.015)
    assert store.count("append") == (answering == 20)
    world.run(0.01)
    assert alice.of("ok") == [(1,)]
    ((item,),) = [args[0] for name, args in store.asked if name == "append"]
    assert len(item.recipients) == 21 - answering


def test_a_message_that_all_acknowledge_at_once_is_never_written() -> None:
    store = Slow()
    world = World(store=store)
    alice = made(world, "bob", "carol")
    guests = [here(world, name) for name in ("bob", "carol")]
    alice.send(1, ROOM)
    for guest in guests:
        assert alice.of("ok") == []
        ((n, *_),) = guest.of("msg")
        guest.say(messages.ack(n))
    assert alice.of("ok") == [(1,)]
    world.run(1)
    assert store.count("append") == 0


def test_an_acknowledgement_while_the_disk_writes_does_not_settle_for_the_others() -> None:
    store = Slow("append")
    world = World(store=store)
    alice = made(world, "bob", "carol")
    bob = here(world, "bob")
    alice.send(1, ROOM)
    world.run(1)
    ((n, *_),) = bob.of("msg")
    bob.say(messages.ack(n))
    assert alice.of("ok") == []
    store.answer()
    world.run(1)
    assert alice.of("ok") == [(1,)]
    assert done(world.store.mailbox_state("bob")).total.count == 0
    assert done(world.store.mailbox_state("carol")).total.count == 1
    mailbox = world.router.peer("bob").mailbox
    assert mailbox is not None
    assert (mailbox.count, mailbox.size) == (0, 0)


def test_receipts_come_from_each_member(world: World) -> None:
    alice = made(world, "bob", "carol")
    bob = here(world, "bob")
    alice.send(1, ROOM, receipt=True)
    world.run(1)
    for guest in (bob, here_later(world, "carol")):
        ((n, *_),) = guest.of("msg")
        guest.say(messages.ack(n))
        world.run(1)
    assert sorted(peer for _, peer, _ in alice.of("got")) == [b"bob", b"carol"]


def test_with_ttl_0_it_is_for_whoever_is_here(world: World) -> None:
    alice = made(world, "bob", "carol")
    alice.send(1, ROOM, ttl=0)
    assert alice.of("no") == [(1, b"offline")]
    bob = here(world, "bob")
    alice.send(2, ROOM, b"now", ttl=0)
    assert alice.of("ok") == [(2,)]
    assert bob.bodies() == [b"now"]
    assert here_later(world, "carol").bodies() == []


def test_alone_in_a_room_one_may_talk_all_the_same(world: World) -> None:
    alice = made(world)
    alice.send(1, ROOM)
    assert alice.of("ok") == [(1,)]


def test_where_only_the_owner_posts_members_only_listen(world: World) -> None:
    alice = made(world, "bob", post="owner")
    bob = here(world, "bob")
    alice.send(1, ROOM, b"news")
    assert bob.bodies() == [b"news"]
    bob.open(OTHER_STREAM)
    bob.send(1, ROOM)
    assert bob.of("no") == [(1, b"not-permitted")]


def test_the_policy_holds_for_rooms_too() -> None:
    world = World(Config(policy=Policy(send={"*": frozenset({"bob"})})))
    alice = made(world, "bob")
    alice.send(1, ROOM)
    assert alice.of("no") == [(1, b"not-permitted")]


def test_a_removed_member_gets_nothing_any_more_and_a_new_one_all_that_follows(
    world: World,
) -> None:
    alice = made(world, "bob")
    bob, carol = here(world, "bob"), here(world, "carol")
    alice.send(1, ROOM, b"one")
    alice.call("room.add", room="@team", peers=["carol"])
    alice.send(2, ROOM, b"two")
    alice.call("room.remove", room="@team", peers=["bob"])
    alice.send(3, ROOM, b"three")
    assert bob.bodies() == [b"one", b"two"]
    assert carol.bodies() == [b"two", b"three"]


def test_a_room_that_changed_on_the_way_has_the_sender_try_again() -> None:
    store = Slow("append")
    world = World(store=store)
    alice = made(world, "bob", "carol")
    alice.mumble(
        messages.send(1, ROOM, None, False, b"one"), messages.send(2, ROOM, None, False, b"two")
    )
    world.run()
    done(store.store.room_change("@team", remove=["bob"]))
    store.answer()
    world.run()
    assert alice.of("no") == [(1, b"room-changed"), (2, b"gap")]
    alice.take()
    alice.send(1, ROOM, b"one")
    store.answer()
    world.run()
    assert alice.of("ok") == [(1,)]
    assert done(world.store.mailbox_state("bob")).total.count == 0
    mailbox = world.router.peer("bob").mailbox
    assert mailbox is not None
    assert mailbox.count == 0
    assert here_later(world, "carol").bodies() == [b"one"]


# --- full mailboxes ---


def full_of(name: str, percent: int = 100) -> tuple[World, Guest]:
    """A world where one member's mailbox takes no more."""
    limits = Limits(mailbox_messages=2, mailbox_sender_percent=percent)
    world = World(Config(limits=limits))
    alice = made(world, "bob", "carol")
    for seq in (1, 2):
        alice.send(seq, name.encode(), b"fill")
    alice.take()
    return world, alice


def test_a_full_mailbox_keeps_nothing_from_the_others_and_the_sender_hears_who_misses_it() -> None:
    world, alice = full_of("bob")
    carol = here(world, "carol")
    alice.send(3, ROOM, b"hello")
    world.run(1)
    assert carol.bodies() == [b"hello"]
    assert alice.of("ok") == [(3,)]
    ((missed),) = told(alice, b"missed")
    assert (missed["seq"], missed["peer"]) == (3, "bob")
    assert here_later(world, "bob").bodies() == [b"fill", b"fill"]


def test_that_a_member_missed_it_is_told_after_the_sender_comes_back() -> None:
    world, alice = full_of("bob")
    alice.mumble(messages.send(3, ROOM, None, False, b"hello"))
    alice.move()
    alice.drop()
    world.run(1)
    world.crash()
    again = world.join("alice")
    again.open(STREAM, 2)
    assert [(event["seq"], event["peer"]) for event in told(again, b"missed")] == [(3, "bob")]
    world.run(1)
    once_more = world.join("alice")
    once_more.open(STREAM, 3)
    assert told(once_more, b"missed") == []


def test_a_message_that_everybody_would_miss_is_refused() -> None:
    _, alice = full_of("bob")
    for seq in (3, 4):
        alice.send(seq, b"carol", b"fill")
    alice.take()
    alice.send(5, ROOM)
    assert alice.of("no") == [(5, b"mailbox-full")]
    assert told(alice, b"missed") == []


def test_a_message_to_many_counts_for_more_than_one() -> None:
    world = World(Config(peer=PeerLimits(messages_per_second=10, messages_burst=16)))
    alice = made(world, *(f"m{number}" for number in range(32)))
    alice.mumble(*(messages.send(seq, ROOM, None, False, b"") for seq in range(1, 9)))
    world.run()
    refused = [code for _, code in alice.of("no")]
    assert refused[:1] == [b"rate"]
    assert len(refused) >= 4


# --- everyone ---


def test_without_a_word_of_the_operator_there_is_no_everyone(world: World) -> None:
    alice = made(world)
    alice.send(1, b"@everyone")
    assert alice.of("no") == [(1, b"unknown")]
    assert alice.call("room.members", room="@everyone")[0] == "unknown"


def test_everyone_is_every_peer_and_only_those_named_post_there() -> None:
    world = World(Config(rooms=RoomRules(everyone=frozenset({"alice"}))))
    alice = made(world)
    bob = here(world, "bob")
    alice.send(1, b"@everyone", b"to all")
    newcomer(world, world.invite("carol"))
    carol = here(world, "carol")
    alice.send(2, b"@everyone", b"to more")
    world.run(1)
    assert bob.bodies() == [b"to all", b"to more"]
    assert carol.bodies() == [b"to more"]
    assert bob.of("msg")[0][2] == b"@everyone"
    bob.open(OTHER_STREAM)
    bob.send(1, b"@everyone")
    assert bob.of("no") == [(1, b"not-permitted")]
    for method in ("room.leave", "room.delete", "room.join"):
        assert bob.call(method, room="@everyone")[0] in ("not-permitted", "ok")
    listed = bob.call("room.list")[1]["rooms"]
    assert [(room["room"], room["owner"], room["member"]) for room in listed] == [
        ("@everyone", None, True)
    ]


def test_of_everyone_one_sees_only_whom_the_policy_shows() -> None:
    config = Config(
        rooms=RoomRules(everyone=frozenset({"*"})), policy=Policy(see={"*": frozenset({"bob"})})
    )
    world = World(config)
    alice = made(world)
    world.enrol("bob")
    world.enrol("carol")
    status, answer = alice.call("room.members", room="@everyone")
    assert (status, answer["members"]) == ("ok", ["alice", "bob"])


def test_what_could_not_be_written_to_a_room_keeps_no_mailbox_in_memory() -> None:
    store = Slow("append")
    world = World(store=store)
    alice = made(world, "bob", "carol")
    for seq in (1, 1, 1):
        alice.say(*(messages.send(seq + more, ROOM, None, False, b"hello") for more in range(3)))
        store.answer(StorageFull("no room"))
        world.run(1)
    assert alice.of("no") == [(1, b"storage-full"), (2, b"gap"), (3, b"gap")] * 3
    for name in ("bob", "carol"):
        peer = world.router.find(name)
        assert peer is not None
        assert peer.mailbox is not None
        assert (peer.mailbox.count, peer.mailbox.idle) == (0, True)
