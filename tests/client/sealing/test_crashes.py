"""A program dies at any moment; the next one says the same, to the same, and nothing twice."""

from __future__ import annotations

import itertools

from securerelay.client import Sent
from securerelay.crypto import contexts, hpke
from securerelay.protocol import sealed
from securerelay.sealing import envelope, plaintext
from securerelay.sealing.plaintext import Content
from securerelay.sealing.prekeys import Prekey
from tests.client.sealing.village import Village


def test_what_was_journaled_and_not_written_is_sealed_the_same_by_the_next(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    stream = alice.client._session.outbox.stream.decode()
    alice.network.cut()
    alice.network.factory = None
    assert isinstance(alice.say("bob", "secret", wait="queued"), Sent)
    alice.kill()
    sealed: list[Content] = []
    write = alice.sealing.sealer._content

    def content(pen, entry):
        sealed.append(write(pen, entry))
        return sealed[-1]

    alice.sealing.sealer._content = content
    alice.start()
    village.run(5)
    assert bob.texts == ["hello", "secret"]
    (one,) = sealed
    assert (one.seq, one.index, one.to, one.body) == (2, 2, "bob", b"secret")
    assert bob.shown[-1].stream == stream
    assert (bob.notices, alice.states()) == ([], ["accepted", "accepted"])


def test_what_was_written_and_not_answered_is_not_shown_twice(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    alice.lane.held = True
    alice.client.post("bob", b"journaled, and not yet known to be")
    village.run(1)
    alice.lane.release()
    village.clock.advance(0)
    alice.network.run()
    alice.kill()
    alice.start()
    village.run(5)
    assert bob.texts.count("journaled, and not yet known to be") == 1
    assert bob.notices == []


def test_a_receiver_that_dies_before_it_has_dealt_with_messages_sees_them_again(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "one")
    bob.kill()
    messages = bob.client.listen()
    bob.events = bob.client.events("notice", "refused")
    bob.client.startService()
    village.run(1)
    for text in ("two", "three", "four"):
        alice.say("bob", text)
    taken = [messages.next() for _ in range(2)]
    village.run(1)
    assert [message.result.body for message in taken] == [b"two", b"three"]
    bob.kill()
    bob.start()
    village.run(2)
    assert bob.texts[1:] == ["three", "four"], "the first of them was dealt with"
    alice.say("bob", "five")
    assert bob.texts[-1] == "five"
    assert bob.notices == []


def test_wherever_a_sender_dies_nothing_is_lost_doubled_or_missed(village: Village):
    alice, bob = village.settle("alice", "bob")
    village.person("carol")
    count = itertools.count()
    sent: list[str] = []
    for steps in range(12):
        for _ in range(3):
            sent.append(str(next(count)))
            alice.client.post("bob", sent[-1].encode())
            alice.client.post("carol", b"waits")
        village.clock.advance(0)
        for _ in range(steps):
            alice.network.run()
            village.clock.advance(0)
        alice.kill()
        alice.start(listen=False)
    village.run(10)
    assert sorted(bob.texts, key=int) == sent
    assert bob.notices == []
    carol = village.person("carol").start()
    village.run(90)
    assert carol.texts == ["waits"] * 36
    assert carol.notices == []


def test_wherever_a_receiver_dies_what_it_asks_for_is_asked_for(village: Village):
    """What is on disk after each transaction is what the next program finds."""
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    bob.stop()
    alice.say("bob", "while you were away")
    bob.on_disk(lambda state: state.db.execute("DELETE FROM prekey"))
    bob.client = bob.new_client()
    state, seen = bob.sealing.journal._state, set()
    run = state.run

    def watched(jobs, write=True):
        results = run(jobs, write)
        (asked,) = state.db.execute("SELECT count(*) FROM unopened WHERE asked != ''").fetchone()
        (requests,) = state.db.execute("SELECT count(*) FROM message").fetchone()
        seen.add((asked, requests))
        return results

    state.run = watched
    bob.start()
    village.run(10)
    assert bob.texts == ["hello", "while you were away"]
    assert (1, 1) in seen
    assert (1, 0) not in seen


def test_wherever_a_sender_dies_no_number_gets_another_content(village: Village, monkeypatch):
    made: dict[bytes, Prekey] = {}
    generate = Prekey.generate

    def remembered() -> Prekey:
        one = generate()
        return made.setdefault(one.id, one)

    monkeypatch.setattr(Prekey, "generate", remembered)
    alice, bob = village.settle("alice", "bob")
    said: dict[tuple[bytes, int], set[tuple[object, ...]]] = {}
    sender, me = alice.sealing.own.identity, bob.sealing.own.identity
    for steps in range(10):
        alice.client.post("bob", b"%d" % steps)
        village.clock.advance(0)
        for _ in range(steps):
            alice.network.run()
            village.clock.advance(0)
        if steps % 3 == 0:
            village.relay.verdict = lambda seq, to: b"rate"
            alice.client.post("bob", b"%d" % (10 + steps))
            village.run(1)
            village.clock.advance(3700)
            village.run(5)  # it is sealed anew, with newer keys
        alice.kill()
        village.relay.verdict = lambda seq, to: None
        alice.start(listen=False)
        village.run(2)
    village.run(10)
    for kind, *more in village.relay.said:
        if kind == "send" and sealed.is_sealed(more[-1]) and more[1] == b"bob":
            header, body = more[-1][:21], more[-1][21:]
            info = envelope.binding(header, sender.fp, me.fp)
            plain = hpke.unseal(made[header[13:]].key, info, body)
            assert plain is not None
            one = plaintext.verify(plain, sender, contexts.E2E_MESSAGE, info)
            what = (one.to, one.index, one.time, one.content_type, one.body, one.replaces)
            said.setdefault((one.stream, one.seq), set()).add(what)
    assert len(said) >= 10
    assert [what for what in said.values() if len(what) > 1] == []
    assert sorted(map(int, bob.texts)) == [*range(11), 13, 16, 19]
    assert bob.notices == []


def test_wherever_a_receiver_dies_as_it_changes_its_keys_everything_opens(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    for steps in range(12):
        bob.kill()
        village.clock.advance(3700)  # new keys are due
        bob.events = bob.client.events("notice", "refused")
        bob.client.startService()
        for _ in range(steps):
            bob.network.run()
            village.clock.advance(0)
        if steps % 2:
            alice.say("bob", str(steps))
        bob.kill()
        alice.say("bob", str(steps))
        bob.start()
        village.run(3)
    assert bob.texts[:1] == ["hello"]
    assert bob.texts[1:] == [str(n) for n in range(12) for _ in range(1 + n % 2)]
    assert (bob.notices, alice.notices) == ([], [])


def test_wherever_a_receiver_dies_as_messages_come_each_is_shown_and_none_is_missed(
    village: Village,
):
    alice, bob = village.settle("alice", "bob")
    for steps in range(10):
        bob.stop()
        for n in range(3):
            alice.say("bob", f"{steps} {n}")
        bob.events = bob.client.events("notice", "refused")
        bob.listening, bob.waiting = bob.client.listen(), None
        bob.client.startService()
        for _ in range(steps):
            bob.network.run()
            village.clock.advance(0)
            bob.look()
        bob.kill()
        before = len(bob.texts)
        bob.start()
        village.run(3)
        again = bob.texts[before:]
        assert bob.texts.count(f"{steps} 0") <= 2
        assert again == sorted(again), "in order"
    assert sorted(set(bob.texts)) == [f"{steps} {n}" for steps in range(10) for n in range(3)]
    assert bob.notices == []


def test_what_is_shown_and_not_dealt_with_is_not_missed_after_a_reconnection(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "one")
    bob.stop()
    messages = bob.client.listen()
    bob.events = bob.client.events("notice", "refused")
    bob.client.startService()
    village.run(1)
    for text in ("two", "three"):
        alice.say("bob", text)
    two = messages._inbox.next().result
    three = messages._inbox.next().result
    bob.network.cut()
    village.run(5)
    alice.say("bob", "four")
    four = messages._inbox.next().result
    assert [one.body for one in (two, three, four)] == [b"two", b"three", b"four"]
    assert bob.notices == []
