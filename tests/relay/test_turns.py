"""A read full of tiny messages: others have their turn in between, and none of it is lost."""

from __future__ import annotations

from securerelay.protocol import messages
from securerelay.relay.host import A_TURN
from tests.relay.world import Guest, World

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
