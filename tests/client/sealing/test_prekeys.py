"""Prekeys live as long as a message may need them, and then they are gone from the disk."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from securerelay.client.sealing import own
from securerelay.client.state import State
from securerelay.protocol import lines
from tests.client.sealing.test_attacks import second
from tests.client.sealing.village import DAY, Person, Village


def wrapped(person: Person) -> dict[bytes, bytes]:
    """What the file has of private prekeys, by their ids."""

    def job(state: State) -> list[tuple[bytes, bytes]]:
        return state.db.execute("SELECT id, private FROM prekey").fetchall()

    return dict(person.on_disk(job))


def test_who_was_away_for_13_days_opens_everything_and_then_the_old_key_is_gone(village: Village):
    alice, bob = village.settle("alice", "bob")
    ((old, private),) = wrapped(bob).items()
    assert private in bob.bytes_on_disk()
    bob.stop()
    for day in range(13):
        alice.say("bob", f"day {day}")
        village.pass_(DAY)
    assert wrapped(bob) == {old: private}
    bob.start()
    village.run(5)
    assert bob.texts == [f"day {day}" for day in range(13)]
    assert bob.notices == []
    assert old in wrapped(bob), "messages may be on their way for two hours"
    village.pass_(3 * 3600 + 600)
    assert old not in wrapped(bob)
    left = bob.bytes_on_disk()
    assert private not in left
    assert private[12:44] not in left
    assert set(wrapped(bob)) == set(bob.sealing.own._prekeys)
    alice.say("bob", "and on")
    assert bob.texts[-1] == "and on"


def test_a_prekey_stays_while_what_came_is_not_dealt_with(village: Village):
    alice, bob = village.settle("alice", "bob")
    ((old, _),) = wrapped(bob).items()
    alice.say("bob", "hello")
    bob.stop()
    alice.say("bob", "slow")
    village.clock.advance(3600)
    bob.start(listen=False)
    bob.listening = None
    messages = bob.client.listen()
    assert messages is not None
    village.run(2)
    village.pass_(5 * 3600)
    assert old in wrapped(bob), "the message was not acknowledged"


def test_a_program_that_connects_often_does_not_publish_each_time(village: Village):
    (bob,) = village.settle("bob")
    for _ in range(5):
        bob.restart()
        village.clock.advance(60)
    assert len(village.relay.bundles["bob"]) == 1
    village.clock.advance(600)
    bob.restart()
    assert len(village.relay.bundles["bob"]) == 2
    assert bob.notices == []


def test_a_connected_program_publishes_every_hour(village: Village):
    (_bob,) = village.settle("bob")
    village.pass_(4 * 3600 + 60)
    assert len(village.relay.bundles["bob"]) == 5


def test_keys_of_somebody_else_in_our_name_take_no_number_from_ours(village: Village):
    _, bob = village.settle("alice", "bob")
    raw = lines.encode(second(village, "bob", (1 << 63) - 1))
    village.relay.serve = lambda to, name, true: {**true, "bundle": raw} if name == to else true
    village.clock.advance(3600)
    bob.restart()
    village.relay.serve = lambda to, name, true: true
    before = len(village.relay.bundles["bob"])
    village.clock.advance(3600)
    bob.restart()
    assert len(village.relay.bundles["bob"]) == before + 1


def test_what_one_program_destroyed_another_one_forgets(village: Village):
    alice, bob = village.settle("alice", "bob")
    ((old, _),) = wrapped(bob).items()
    first = bob.sealing, bob.lane, bob.listening
    bob.new_client()
    other = bob.sealing
    bob.sealing, bob.lane, bob.listening = first
    looking = Deferred.fromCoroutine(other.own.look_up())
    village.run(1)
    assert looking.called
    assert other.own.prekey(old) is not None
    alice.say("bob", "hello")
    village.pass_(4 * 3600)
    assert old not in wrapped(bob)
    Deferred.fromCoroutine(other.own.drained(0))
    village.run(1)
    assert other.own.prekey(old) is None


def test_keys_do_not_pile_up_with_a_program_that_never_listens(village: Village, monkeypatch):
    monkeypatch.setattr(own, "ENOUGH", 10)
    bob = village.person("bob").start(listen=False)
    village.pass_(20 * 3600)
    assert len(wrapped(bob)) == 11
    village.clock.advance(16 * DAY)
    village.pass_(7200)
    assert len(wrapped(bob)) == 2
