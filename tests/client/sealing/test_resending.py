"""Messages that cannot be opened are asked for, and sent again to those they were meant for."""

from __future__ import annotations

import base64

from securerelay.client.state import State
from securerelay.sealing.resend import Resend
from tests.client.sealing.village import DAY, Person, Village


def lose_prekeys(person: Person) -> None:
    """What a restored backup does."""
    person.stop()
    person.on_disk(lambda state: state.db.execute("DELETE FROM prekey"))
    person.client = person.new_client()


def contents(person: Person) -> int:
    def job(state: State) -> int:
        rows = state.db.execute("SELECT count(*) FROM message WHERE body IS NOT NULL")
        return int(rows.fetchone()[0])

    return person.on_disk(job)


def test_who_lost_the_keys_gets_the_message_all_the_same(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    bob.stop()
    alice.say("bob", "while you were away")
    lose_prekeys(bob)
    bob.start()
    village.run(10)
    assert bob.texts == ["hello", "while you were away"]
    cannot, copied = sorted(bob.notices)
    assert cannot == "1 message from alice cannot be opened yet"
    assert copied.startswith("this profile was restored or copied")
    assert bob.on_disk(bob.sealing.vault.unopened) == []
    alice.say("bob", "and on")
    assert bob.texts[-1] == "and on"
    assert not any("missing" in words for words in bob.notices)


def test_a_message_is_asked_for_once(village: Village):
    alice, bob = village.settle("alice", "bob")
    bob.stop()
    alice.say("bob", "secret")
    lost = village.relay.carried[-1]
    alice.stop()
    lose_prekeys(bob)
    bob.start()
    village.relay.put(lost)
    bob.restart()
    village.relay.put(lost)
    village.run(5)
    assert len([post for post in village.relay.carried if post.sender == b"bob"]) == 1


def test_a_message_is_not_sent_again_to_another_key_unless_the_user_says_so(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "for you alone")
    entries = alice.on_disk(
        lambda state: state.db.execute("UPDATE message SET bound = ?", (b"o" * 32,)).rowcount
    )
    assert entries == 1
    lost = village.relay.carried[-1]
    bob.stop()
    bob.on_disk(lambda state: state.db.execute("DELETE FROM dealt"))
    lose_prekeys(bob)
    bob.start()
    village.relay.put(lost)
    village.run(10)
    assert bob.texts == ["for you alone"], "the one from before"
    assert any("asks for a message again" in words for words in alice.notices)


def test_nobody_gets_what_was_sent_to_others(village: Village):
    alice, _, carol = village.settle("alice", "bob", "carol")
    alice.say("bob", "for bob alone")
    alice.say("carol", "hello")
    carol.say("alice", "hello")
    carol.forget()
    stream = alice.client._session.outbox.stream
    wish = Resend(base64.urlsafe_b64decode(stream + b"=="), 1, 0)
    carol.sealing.tell("alice", Resend.CONTENT_TYPE, wish.body())
    village.run(5)
    assert carol.texts == []
    assert (alice.texts, alice.notices) == (["hello"], [])


def test_contents_are_kept_for_16_days_and_no_longer(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    bob.stop()
    village.run(2)
    assert contents(alice) == 1
    assert b"hello" not in alice.bytes_on_disk()
    village.clock.advance(17 * DAY)
    alice.restart()
    village.run(10)
    assert contents(alice) == 0
