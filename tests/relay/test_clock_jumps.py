"""The clock of the machine jumps by years: nobody is cut, and nobody is told what is not true."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred

from securerelay.protocol import messages
from tests.relay.world import OTHER_STREAM, World, done

YEAR = 365.25 * 86_400
SOON = 0.01


class Jumping(World):
    """A relay on a machine whose time of day is whatever a test says."""

    jump = 0.0

    def wall(self) -> float:
        return super().wall() + self.jump


@pytest.fixture
def world() -> Jumping:
    return Jumping()


@pytest.mark.parametrize("years", [-40, -1, 1, 40])
def test_who_is_here_stays_and_is_served(world: Jumping, years: int) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    numbers = []
    for seq, jump in enumerate((0, years, 0, years), 1):
        world.jump = jump * YEAR
        world.run(30)
        alice.send(seq, b"bob", receipt=True)
        number, *_, came, _, _ = bob.of("msg")[-1]
        assert came == seq
        numbers.append(number)
        bob.say(messages.ack(number))
        world.run(SOON)
    assert numbers == sorted(set(numbers))
    assert alice.of("ok")[-1] == (4,)
    assert [seq for seq, _, _ in alice.of("got")] == [1, 2, 3, 4]
    assert (alice.end, bob.end) == ("", "")


def test_a_session_does_not_outlive_its_certificate_by_a_rekey(world: Jumping) -> None:
    alice = world.join("alice")
    world.run(61)
    assert alice.connection.rekey()
    world.run(61)
    assert (len(alice.welcomes), alice.end) == (2, "")
    world.jump = YEAR
    assert alice.connection.rekey()
    world.run(SOON)
    assert (len(alice.welcomes), alice.end) == (2, "expired")


def test_mail_that_a_jump_made_old_is_told_to_have_expired(world: Jumping) -> None:
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"bob")
    world.jump = YEAR
    world.run(11)
    ((kind, body),) = alice.of("event")
    assert (kind, json.loads(body)["seq"]) == (b"expired", 1)
    world.jump = 0
    alice.send(2, b"bob")
    bob = world.join("bob")
    bob.attend()
    assert [seq for *_, seq, _, _ in bob.of("msg")] == [2]


def test_mail_survives_a_clock_that_went_back_and_a_restart_then(world: Jumping) -> None:
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"bob")
    world.jump = -10 * YEAR
    world.run(11)
    alice.send(2, b"bob")
    world.crash()
    world.run(11)
    world.jump = 0
    bob = world.join("bob")
    bob.attend()
    assert [seq for *_, seq, _, _ in bob.of("msg")] == [1]  # the second was old ten years ago
    assert [message[0] for message in bob.of("msg")] == sorted(
        message[0] for message in bob.of("msg")
    )


def test_a_stream_that_a_jump_made_old_is_begun_anew_and_not_silently(world: Jumping) -> None:
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"bob")
    world.jump = YEAR
    done(world.store.tidy(world.context.now()))
    alice.send(2, b"bob")
    world.run(SOON)
    assert alice.of("no") == [(2, b"new-stream")]
    world.jump = 0
    again = world.join("alice")
    again.open(OTHER_STREAM)
    again.send(1, b"bob")
    world.run(SOON)
    assert again.of("ok") == [(1,)]


def test_who_was_revoked_stays_revoked_whatever_the_clock_says(world: Jumping) -> None:
    world.join("bob").drop()
    done(Deferred.fromCoroutine(world.router.revoke("bob")))
    for years in (-10, 10):
        world.jump = years * YEAR
        world.run(30)
        done(world.store.tidy(world.context.now()))
        world.crash()
    world.jump = 0
    assert world.join("bob").end == "revoked"
