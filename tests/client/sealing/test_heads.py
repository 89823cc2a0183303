"""What the first message of a stream tells of others: what is remembered, told, and not missed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securerelay.client import heads
from securerelay.client.rows import ACCEPTED, EXPIRED, REFUSED, Change, Outgoing, Verdict
from securerelay.client.sealing.heads import AUTHOR
from securerelay.client.sealing.letters import LETTER
from securerelay.client.state import State
from securerelay.protocol import lines
from securerelay.protocol.sealed import DirectHeader
from securerelay.sealing.numbers import HEADS_LIFE
from securerelay.sealing.plaintext import MAX_HEADS, Content
from tests.client.sealing.test_resending import lose_prekeys
from tests.client.sealing.village import Person, Post, Village

NOW = 1_800_000_000_000
MISSING = "1 message from alice missing (expired or withheld)"
Told = tuple[tuple[bytes, int], ...]


@pytest.fixture
def friends(village: Village) -> tuple[Village, Person, Person]:
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    bob.forget()
    return village, alice, bob


def drop(village: Village, drops: bool = True) -> None:
    """Have the relay drop what alice sends."""
    village.relay.carry = lambda post: [] if drops and post.sender == b"alice" else [post]


def written(person: Person) -> list[Content]:
    """Collect what somebody seals from now on."""
    sealed: list[Content] = []
    write = person.sealing.sealer._content

    def content(pen, entry):
        sealed.append(write(pen, entry))
        return sealed[-1]

    person.sealing.sealer._content = content
    return sealed


def stream(person: Person) -> bytes:
    return lines.decode(person.client._session.outbox.stream.decode())


class TestTelling:
    def test_the_first_message_tells_and_others_do_not(self, friends):
        _, alice, _ = friends
        before = stream(alice)
        alice.restart()
        sealed = written(alice)
        for text in ("one", "two"):
            alice.say("bob", text)
        alice.say("bob", "live", ttl=0)
        assert [one.heads for one in sealed] == [((before, 1),), (), ()]

    def test_of_each_stream_the_last_message_that_was_accepted_is_told_newest_first(self, friends):
        village, alice, _ = friends
        (carol,) = village.settle("carol")
        alice.say("bob", "two")
        alice.say("carol", "for her alone")
        streams = [(stream(alice), 2)]
        for _ in range(MAX_HEADS):
            alice.restart(listen=False)
            alice.say("bob", "next")
            streams.insert(0, (stream(alice), 1))
        alice.restart(listen=False)
        sealed = written(alice)
        village.relay.verdict = lambda seq, to: b"mailbox-full"
        alice.say("bob", "refused")
        village.relay.verdict = lambda seq, to: None
        alice.say("bob", "next")
        alice.restart(listen=False)
        sealed += (last := written(alice))
        alice.say("bob", "last")
        assert sealed[0].heads == tuple(streams[:MAX_HEADS])
        assert last[0].heads[0][1] == 2
        assert carol.notices == []

    def test_what_dies_with_a_program_and_was_accepted_is_told_by_the_next(self, friends):
        _, alice, bob = friends
        before = stream(alice)
        alice.kill()
        alice.start()
        sealed = written(alice)
        alice.say("bob", "next")
        assert [one.heads for one in sealed] == [((before, 1),)]
        assert (bob.texts, bob.notices) == (["next"], [])

    def test_what_went_to_other_keys_of_the_recipient_is_not_told(self, friends):
        _, alice, _ = friends
        alice.on_disk(lambda state: state.db.execute("UPDATE head SET bound = ?", (b"o" * 32,)))
        alice.restart()
        sealed = written(alice)
        alice.say("bob", "next")
        assert [one.heads for one in sealed] == [()]

    def test_what_was_signed_with_other_keys_of_ours_is_not_told(self, friends):
        _, alice, _ = friends
        alice.on_disk(lambda state: alice.sealing.vault.set_fact(state, AUTHOR, 1))
        alice.restart()
        sealed = written(alice)
        alice.say("bob", "next")
        assert [one.heads for one in sealed] == [()]

    def test_a_message_with_a_key_tells_too_and_is_told(self, friends):
        _, alice, bob = friends
        before = stream(alice)
        sealed = written(alice)
        once = alice.say("bob", "paid", once="invoice 7")
        alice.restart()
        sealed += (last := written(alice))
        alice.say("bob", "next")
        assert sealed[0].heads == ((before, 1),)
        assert last[0].heads == ((lines.decode(once.stream), 1), (before, 1))
        assert bob.notices == []


class TestMissing:
    def test_what_is_late_fills_in_and_nothing_is_missed_twice(self, friends):
        village, alice, bob = friends
        dropped: list[Post] = []
        village.relay.carry = lambda post: dropped.append(post) or []
        alice.say("bob", "one")
        drop(village, False)
        for text in ("two", "three", "four"):
            alice.restart()
            bob.restart()
            alice.say("bob", text)
        assert bob.texts == ["two", "three", "four"]
        assert bob.notices == [MISSING]
        village.relay.put(dropped[0])
        village.run(2)
        assert bob.texts[-1] == "one"
        assert bob.notices == [MISSING, "a late message from alice"]

    def test_what_waits_unopened_is_not_missed_nor_late_when_it_comes_anew(self, friends):
        village, alice, bob = friends
        bob.stop()
        alice.say("bob", "sealed to lost keys")
        alice.stop()
        lose_prekeys(bob)
        bob.start()
        village.pass_(3700)  # alice will ask for his new keys
        alice.start(listen=False)
        alice.say("bob", "next")
        village.run(2)
        assert bob.texts == ["next"]
        alice.restart()
        village.run(10)
        assert bob.texts == ["next", "sealed to lost keys"]
        assert not [words for words in bob.notices if "missing" in words or "late" in words]

    def test_what_the_relay_makes_up_excuses_one_missing_message_and_is_shown(self, friends):
        village, alice, bob = friends
        alice.restart(listen=False)  # she will not hear that she is asked for it
        drop(village)
        alice.say("bob", "one")
        sent = village.relay.carried[-1]
        head = DirectHeader(alice.sealing.own.identity.sender_id, b"no such.").encode()
        village.relay.put(replace(sent, body=head + sent.body[len(head) :]))
        drop(village, False)
        alice.say("bob", "two")
        assert bob.notices == ["1 message from alice cannot be opened yet"]
        drop(village)
        alice.say("bob", "three")
        drop(village, False)
        alice.say("bob", "four")
        assert bob.notices[1:] == [MISSING]


class TestRemembering:
    """What the profile's database keeps of it."""

    @pytest.fixture
    def state(self, tmp_path):
        state = State(tmp_path)
        yield state
        state.close()

    def send(
        self, state: State, name: str, places: list[int], at: int, then: int | None = None
    ) -> None:
        """Journal messages to a room, and what the relay said of them."""
        outgoing = [
            Outgoing(seq, "@team", None, False, b"", 1, LETTER, place, b"r" * 16)
            for seq, place in enumerate(places, 1)
        ]
        said = Verdict(ACCEPTED, 1, len(places), at)
        change = Change(name, "me", at, outgoing, last=len(places), verdicts=[said])
        if then is not None:
            change.verdicts.insert(0, Verdict(then, len(places), len(places), at))
        state.run([lambda state: state.apply(change)])

    def newest(self, state: State, now: int = NOW) -> Told:
        (told,) = state.run(
            [lambda state: heads.newest(state.db, "@team", b"r" * 16, b"\0" * 16, now)], write=False
        )
        return told

    def test_rooms_and_what_expired_count_and_what_was_refused_does_not(self, state: State):
        self.send(state, lines.encode(b"a" * 16), [1, 2, 3], NOW, REFUSED)
        self.send(state, lines.encode(b"b" * 16), [1, 2], NOW + 1, EXPIRED)
        self.send(state, lines.encode(b"c" * 16), [0, 0], NOW + 2)
        assert self.newest(state) == ((b"b" * 16, 2), (b"a" * 16, 2))

    def test_it_is_forgotten_after_a_month_and_but_for_the_newest(self, state: State):
        for number in range(3 * MAX_HEADS):
            self.send(state, lines.encode(bytes([number]) * 16), [1], NOW + number)
        before = self.newest(state)
        state.run([lambda state: heads.forget(state.db, NOW)])
        rows = state.db.execute("SELECT count(*) FROM head").fetchone()
        assert (rows, self.newest(state)) == ((heads.KEPT,), before)
        assert self.newest(state, NOW + HEADS_LIFE + 3 * MAX_HEADS) == ()
        state.run([lambda state: heads.forget(state.db, NOW + HEADS_LIFE + 3 * MAX_HEADS)])
        assert state.db.execute("SELECT count(*) FROM head").fetchone() == (0,)
