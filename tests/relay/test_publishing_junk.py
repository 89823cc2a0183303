"""Whatever a peer publishes is taken, or refused with a word, and its session goes on."""

from __future__ import annotations

import functools

from hypothesis import given, settings
from hypothesis import strategies as st

from securerelay.protocol.lines import encode
from securerelay.relay.config import Config, PeerLimits
from tests.relay.citizens import citizen, publish
from tests.relay.world import Guest, World
from tests.sealing.world import MS, raw_list

OFTEN = Config(peer=PeerLimits(calls_per_second=100_000))


class Junk:
    """A relay, a peer of it, and a bundle and a list that are the next ones and good."""

    def __init__(self) -> None:
        world = World(OFTEN)
        self.person = citizen(world, "alice", 1)
        self.alice: Guest = world.join("alice", 1)
        assert publish(self.alice, self.person) == "ok"
        assert self.alice.call("room.create", room="@team")[0] == "ok"
        self.bundle = self.person.bundle(number=MS + 1)
        self.list = raw_list(self.person, owner=self.person)

    def bring(self, method: str, key: str, raw: bytes, **more: str) -> str:
        status = self.alice.call(method, **more, **{key: encode(raw)})[0]
        assert self.alice.end == ""
        return status


@functools.cache
def junk() -> Junk:
    return Junk()


pieces = st.tuples(st.integers(0, 4000), st.integers(0, 8), st.binary(max_size=8))


def spoilt(good: bytes, piece: tuple[int, int, bytes]) -> bytes:
    at, length, other = piece
    at %= len(good)
    return good[:at] + other + good[at + length :]


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_no_bundle_that_was_tampered_with_is_kept(piece: tuple[int, int, bytes]) -> None:
    raw = spoilt(junk().bundle, piece)
    if raw and raw != junk().bundle:
        assert junk().bring("key.publish", "bundle", raw) == "bundle-bad"


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_no_list_that_was_tampered_with_is_kept(piece: tuple[int, int, bytes]) -> None:
    raw = spoilt(junk().list, piece)
    if raw and raw != junk().list:
        told = junk().bring("room.publish", "list", raw, room="@team")
        assert told in ("list-bad", "unchecked", "room-changed")


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_noise_is_neither(noise: bytes) -> None:
    assert junk().bring("key.publish", "bundle", noise) == "bundle-bad"
    assert junk().bring("room.publish", "list", noise, room="@team") == "list-bad"


def test_what_was_spoilt_above_is_good_by_itself() -> None:
    fresh = Junk()
    assert fresh.bring("key.publish", "bundle", fresh.bundle) == "ok"
    assert fresh.bring("room.publish", "list", fresh.list, room="@team") == "ok"
