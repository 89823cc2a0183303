"""Whose keys are sealed with, and until when."""

from __future__ import annotations

from dataclasses import replace

from securerelay.client.sealing.contacts import Peer
from securerelay.sealing import bundle, pins
from tests.sealing import world
from tests.sealing.world import MS


def test_keys_are_used_while_they_are_good_and_no_longer() -> None:
    now = MS + 1
    pin = pins.first_sight(world.bob().served())
    peer = Peer(world.alice().author, world.bob().served(), now)
    assert peer.fresh(pin, now)
    month = replace(peer, fetched=peer.bundle.expires)
    blocked = replace(pin, blocked=world.mallory().identity)
    for one, known, when in (
        (peer, pin, now + bundle.FRESH),
        (peer, pin, now - 1),
        (peer, replace(pin, number=peer.bundle.number + 1), now),
        (peer, replace(pin, identity=world.mallory().identity), now),
        (peer, blocked, now),
        (month, pin, peer.bundle.expires),
    ):
        assert not one.fresh(known, when)
