"""Which bodies a relay takes: sealed ones if the operator says so, under a room's newest list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.protocol import messages, sealed
from securerelay.protocol.sealed import DirectHeader, RoomHeader
from securerelay.relay.config import Config, Policy, RoomRules
from securerelay.relay.screen import for_room, only_sealed
from securerelay.store.rows import RoomListRow
from tests.relay.test_rooms import ROOM, here, made
from tests.relay.world import Guest, World, done

DIRECT = DirectHeader(b"alice-id", b"prekeyid").encode() + bytes(
    sealed.HPKE_OVERHEAD + sealed.SMALLEST
)
SEALED = Policy(require_sealed=True)


def for_version(version: int) -> bytes:
    header = RoomHeader(b"alice-id", b"k" * 16, version, b"s" * 32).encode()
    return header + bytes(sealed.TAG_SIZE + sealed.SMALLEST)


def strict(**policy: frozenset[str]) -> World:
    return World(Config(policy=Policy(require_sealed=True, **policy)), sealed=True)


def between(world: World, sender: str = "alice", to: str = "bob") -> tuple[Guest, Guest]:
    one, other = world.join(sender), here(world, to)
    one.open()
    return one, other


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"",
        b"SRE1",
        DIRECT[:-1],
        for_version(1)[:-1],
        b"SRE1\x03" + DIRECT[5:],
        b"SRE1\x00" + DIRECT[5:],
        b"sre1" + DIRECT[4:],
        b" " + DIRECT,
    ],
    ids=lambda body: repr(body[:6]) + str(len(body)),
)
def test_what_is_not_sealed_is_refused_for_good(body: bytes) -> None:
    alice, bob = between(strict())
    alice.send(1, b"bob", body)
    assert alice.of("no") == [(1, b"unsealed")]
    alice.send(1, b"bob", body)
    assert alice.of("no") == [(1, b"unsealed")] * 2
    alice.send(2, b"bob", DIRECT)
    assert bob.bodies() == [DIRECT]


@pytest.mark.parametrize("ttl", [0, None])
@pytest.mark.parametrize("body", [DIRECT, for_version(3)], ids=["direct", "room"])
def test_sealed_bodies_pass_and_plain_ones_do_not_whatever_their_lifetime(
    body: bytes, ttl: int | None
) -> None:
    alice, bob = between(strict())
    alice.send(1, b"bob", body, ttl=ttl)
    alice.send(2, b"bob", b"plain", ttl=ttl)
    assert bob.bodies() == [body]
    assert alice.of("no") == [(2, b"unsealed")]


def test_of_many_that_come_together_only_what_is_not_sealed_is_refused() -> None:
    alice, bob = between(strict())
    bodies = [b"plain", DIRECT, DIRECT, b"plain", DIRECT]
    said = [messages.send(seq, b"bob", None, False, body) for seq, body in enumerate(bodies, 1)]
    alice.say(*said)
    assert [message[4] for message in bob.of("msg")] == [2, 3, 5]
    assert alice.of("no") == [(1, b"unsealed"), (4, b"unsealed")]


def test_without_the_policy_everything_is_taken() -> None:
    alice, bob = between(World())
    alice.send(1, b"bob", b"hello")
    assert bob.bodies() == [b"hello"]


@pytest.mark.parametrize("name", ["alice", "bob", "*"])
def test_a_peer_that_is_named_sends_and_is_sent_plain_bodies(name: str) -> None:
    alice, bob = between(strict(plain=frozenset({name})))
    alice.send(1, b"bob", b"hello")
    assert bob.bodies() == [b"hello"]


def test_naming_one_peer_does_not_free_others() -> None:
    alice, bob = between(strict(plain=frozenset({"clock"})))
    alice.send(1, b"bob", b"hello")
    assert (alice.of("no"), bob.bodies()) == ([(1, b"unsealed")], [])


def test_the_log_says_once_who_does_not_seal_and_what_to_do() -> None:
    world = strict()
    alice, _ = between(world)
    for seq in (1, 2, 3):
        alice.send(seq, b"bob", b"hello")
    carol = world.join("carol", 3)
    carol.open()
    carol.send(1, b"bob", b"hello")
    carol.send(2, b"nobody", b"hello")
    hint = "[policy] plain names who may"
    told = [fields for name, fields in world.told.events if name == "message.unsealed"]
    assert told == [{"source": source, "to": b"bob", "hint": hint} for source in ("alice", "carol")]
    world.context.reconfigure(world.config)
    alice.send(4, b"bob", b"hello")
    assert world.told.names().count("message.unsealed") == 3


def test_a_refusal_for_lack_of_a_recipient_comes_first() -> None:
    """What a client writes for a message that it gave up reaches nobody, and never gets stuck."""
    alice, bob = between(strict())
    alice.send(1, b"nobody", b"", ttl=0)
    alice.send(2, b"bob", DIRECT)
    assert (alice.of("no"), bob.bodies()) == ([(1, b"unknown")], [DIRECT])


def test_the_policy_takes_effect_when_the_configuration_is_read_anew() -> None:
    world = World()
    alice, bob = between(world)
    alice.send(1, b"bob", b"one")
    world.context.reconfigure(Config(policy=SEALED))
    alice.send(2, b"bob", b"two")
    world.context.reconfigure(world.config)
    alice.send(3, b"bob", b"three")
    assert alice.of("no") == [(2, b"unsealed")]
    assert bob.bodies() == [b"one", b"three"]


def test_rooms_take_sealed_bodies_alone_unless_they_are_named() -> None:
    for plain, refused in ((frozenset(), [(1, b"unsealed")]), (frozenset({"@team"}), [])):
        world = strict(plain=plain)
        alice = made(world, "bob")
        alice.send(1, ROOM, b"hello")
        assert alice.of("no") == refused


def test_everyone_takes_plain_bodies_unless_the_operator_says_otherwise() -> None:
    rules = RoomRules(everyone=frozenset({"alice"}))
    world = World(Config(policy=SEALED, rooms=rules), sealed=True)
    alice, bob = between(world)
    alice.send(1, b"@everyone", b"hello")
    assert bob.bodies() == [b"hello"]


def test_unsealed_messages_count_against_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = strict()
    alice, _ = between(world)
    alice.send(1, b"bob", DIRECT)
    monkeypatch.setattr(type(world.router.peer("alice").allowance), "take", lambda *_: False)
    alice.send(2, b"bob", b"plain")
    assert alice.of("no") == [(2, b"rate")]


# --- rooms with a signed list ---


def listed(world: World, version: int) -> None:
    """Put a signed list in the store; whether it is good is not asked here."""
    for number in range(1, version + 1):
        row = RoomListRow("@team", number, b"list")
        members = ("alice", "bob")
        done(world.store.room_publish(row, members, world.context.now(), 1000))
    world.router.forget_route(ROOM)


@pytest.mark.parametrize("sealed", [False, True], ids=["any", "sealed"])
def test_a_message_under_an_older_list_is_to_be_sealed_anew(sealed: bool) -> None:
    world = World(Config(policy=SEALED), sealed=sealed)
    alice = made(world, "bob")
    bob = here(world, "bob")
    listed(world, 300)
    old, new = for_version(299), for_version(300)
    alice.send(1, ROOM, old)
    alice.send(2, ROOM, new)
    assert alice.of("no") == [(1, b"room-changed"), (2, b"gap")]
    alice.send(1, ROOM, new)
    assert bob.bodies() == [new]


def test_a_room_without_a_signed_list_does_not_look_at_versions() -> None:
    world = World()
    alice = made(world, "bob")
    bob = here(world, "bob")
    alice.send(1, ROOM, for_version(0))
    assert bob.bodies() == [for_version(0)]


@pytest.mark.parametrize("body", [b"plain", DIRECT], ids=["plain", "direct"])
def test_a_body_that_names_no_list_is_not_held_against_one(body: bytes) -> None:
    world = World()
    alice = made(world, "bob")
    bob = here(world, "bob")
    listed(world, 2)
    alice.send(1, ROOM, body)
    assert bob.bodies() == [body]


def test_the_version_of_one_who_knows_more_than_the_relay_is_let_through() -> None:
    world = World()
    alice = made(world, "bob")
    listed(world, 2)
    alice.send(1, ROOM, for_version(3))
    assert alice.of("ok") == [(1,)]


@given(st.binary(max_size=40) | st.builds(lambda n: DIRECT[:n], st.integers(0, 1500)))
def test_the_screen_says_what_the_format_says(body: bytes) -> None:
    assert (only_sealed(body) is None) == sealed.is_sealed(body)
    screen = for_room(1, True)
    assert screen is not None
    assert (screen(body) != b"unsealed") == sealed.is_sealed(body)


@given(st.integers(0, 400), st.integers(0, 1500))
def test_the_screen_of_rooms_says_what_the_format_says(version: int, size: int) -> None:
    body = for_version(version)[:size]
    assert (only_sealed(body) is None) == sealed.is_sealed(body)
