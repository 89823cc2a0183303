"""A read full of tiny messages: others have their turn in between, and none of it is lost."""

from __future__ import annotations

import pytest

from securerelay.protocol import messages
from securerelay.protocol.records import Kind
from securerelay.relay.host import A_TURN
from tests.relay.world import Guest, Slow, World, credential

MANY = 5000


def tokens(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def arrive(guest: Guest, said: bytes) -> None:
    """Have the relay read this, and no time pass."""
    guest.mumble(said)
    guest.move()


def test_one_read_is_taken_in_turns_and_in_order() -> None:
    world = World()
    alice = world.join("alice")
    arrive(alice, b"".join(map(messages.ping, tokens(MANY))))
    assert alice.wire.session is not None
    assert len(alice.wire.session._out) == A_TURN, "the rest is for later"
    assert alice.pipe.producerState == "paused", "there is enough to do"
    world.run()
    assert alice.of("pong") == [(token,) for token in tokens(MANY)]
    assert alice.pipe.producerState == "producing"
    alice.say(messages.ping(b"after"))
    assert alice.of("pong")[-1] == (b"after",)


def test_a_read_of_one_turn_is_taken_at_once() -> None:
    alice = World().join("alice")
    arrive(alice, messages.ping(b"x") * A_TURN)
    assert alice.pipe.producerState == "producing"
    alice.world.run()
    assert len(alice.of("pong")) == A_TURN


def test_a_turn_has_room_for_few_calls() -> None:
    alice = World().join("alice")
    arrive(alice, messages.call(b"x", b"relay.status", b"{}") * 9 + messages.ping(b"x") * 9)
    session = alice.wire.session
    assert session is not None
    assert [said.split()[0] for said in session._out] == [b"REPLY"] * 2
    alice.world.run()
    assert (len(alice.of("reply")), len(alice.of("pong"))) == (9, 9)


def test_messages_that_are_read_later_come_after_the_rest() -> None:
    alice = World().join("alice")
    said = b"".join(map(messages.ping, tokens(2 * A_TURN)))
    alice.mumble(said[:-3])
    alice.connection.update()  # a record of another kind cuts what is passed on at once in two
    alice.mumble(said[-3:])
    alice.world.run()
    assert alice.of("pong") == [(token,) for token in tokens(2 * A_TURN)]


def test_a_breach_in_the_rest_ends_the_session() -> None:
    world = World()
    alice = world.join("alice")
    arrive(alice, messages.ping(b"x") * A_TURN + b"NONSENSE\n")
    assert world.told.names().count("session.closed") == 0
    world.run()
    assert alice.end == "protocol"


def test_who_is_gone_before_its_rest_is_taken_harms_nobody() -> None:
    world = World()
    alice = world.join("alice")
    arrive(alice, messages.ping(b"x") * MANY)
    alice.drop()
    world.run(60)
    assert list(world.router.sessions) == []
    assert "connection.failed" not in world.told.names()


def test_who_says_close_behind_all_of_it_is_answered_and_heard_first() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    bob.attend()
    alice.open()
    names = [b"bob", b"alice"] * 500  # no two in a row to the same, so that none are a run
    said = [messages.send(n, to, None, False, b"%d" % n) for n, to in enumerate(names, 1)]
    alice.mumble(b"".join(said))
    alice.connection.close("done")
    world.run()
    assert alice.end == "bye"
    assert world.told.events[-1][1]["reason"] == "done"
    assert bob.bodies() == [b"%d" % n for n in range(1, 1001, 2)]


def test_who_leaves_at_once_after_its_close_is_heard_all_the_same() -> None:
    world = World()
    alice = world.join("alice")
    alice.open()
    alice.mumble(
        b"".join(messages.send(n, b"alice", None, n % 2 == 0, b"x") for n in range(1, 601))
    )
    alice.connection.close("done")
    alice.move()
    alice.drop()
    world.run()
    assert world.told.events[-1][1]["reason"] == "done"
    again = world.join("alice")
    again.attend()
    assert len(again.bodies()) == 600


def test_nothing_is_taken_behind_a_close_that_waits() -> None:
    world = World()
    alice = world.join("alice")
    arrive(alice, messages.ping(b"x") * MANY)
    sealer, connection = alice.connection._sealer, alice.wire.connection
    assert sealer is not None
    connection.receive(sealer.seal(Kind.CLOSE, b"done"))
    connection.receive(sealer.seal(Kind.DATA, messages.ping(b"late")))
    alice.wire.connection.receive(b"noise")
    world.run()
    assert len(alice.of("pong")) > MANY - A_TURN
    assert (b"late",) not in alice.of("pong")
    assert alice.end == "bye"


def test_a_rekey_does_not_let_go_whom_its_session_holds() -> None:
    world = World()
    alice = world.join("alice")
    world.run(61)
    alice.mumble(b"".join(map(messages.ping, tokens(MANY))))
    assert alice.connection.rekey()
    alice.move()
    assert alice._out, "the offer is answered, and that answer too"
    assert alice.pipe.producerState == "paused"
    world.run()
    assert len(alice.welcomes) == 2
    assert alice.of("pong") == [(token,) for token in tokens(MANY)]


@pytest.mark.parametrize(("count", "state"), [(MANY, "paused"), (1, "producing")])
def test_who_is_let_in_with_too_much_behind_its_proof_is_held_at_once(
    count: int, state: str
) -> None:
    store = Slow("lookup")
    world = World(store=store)
    row = world.enrol("alice")
    alice = world.connect(credential(row.der, 0))
    assert alice.connection.may_send
    alice.mumble(messages.ping(b"x") * count)
    alice.move()
    store.answer()
    assert alice.wire.session is not None
    assert alice.pipe.producerState == state
    world.run()
    assert len(alice.of("pong")) == count
