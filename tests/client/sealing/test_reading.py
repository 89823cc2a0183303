"""What was read: who is told, how much is said, and what a sender sees."""

from __future__ import annotations

import pathlib
import typing
from dataclasses import replace
from types import SimpleNamespace

import pytest

from securerelay.client import reads
from securerelay.client.calls import Event
from securerelay.client.entry import Entry, Letter
from securerelay.client.rows import ACCEPTED, Change, Outgoing, Verdict
from securerelay.client.sealing.letters import LETTER
from securerelay.client.sealing.pen import SealingPen
from securerelay.client.state import State
from securerelay.protocol import lines
from securerelay.sealing.plaintext import Content
from securerelay.sealing.resend import Read
from tests.client.sealing.test_resending import lose_prekeys
from tests.client.sealing.village import Person, Village


@pytest.fixture
def friends(village: Village) -> tuple[Village, Person, Person]:
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    bob.say("alice", "hello")
    forget(alice, bob)
    return village, alice, bob


def forget(*people: Person) -> None:
    for one in people:
        one.forget()


def told(village: Village, by: str, to: str = "alice") -> int:
    """Count what somebody said unseen, or seen, to somebody."""
    return sum(
        (post.sender, post.to) == (by.encode(), to.encode()) for post in village.relay.carried
    )


def reading(person: Person) -> list[Read]:
    """Collect what somebody says to have read from now on."""
    said: list[Read] = []
    tell = person.sealing.reading._tell

    def telling(to: str, content_type: str, body: bytes) -> None:
        assert content_type == Read.CONTENT_TYPE
        said.append(Read.read(body))
        tell(to, content_type, body)

    person.sealing.reading._tell = telling
    return said


class TestTelling:
    def test_who_asked_is_told_and_sees_it_and_who_did_not_is_not(self, friends):
        village, alice, bob = friends
        before = told(village, "bob")
        events = alice.client.events("read")
        alice.say("bob", "did you read this?", receipt=True)
        alice.say("bob", "no matter")
        assert told(village, "bob") == before + 1
        assert alice.states() == ["accepted", "read", "accepted"]
        (event,) = events._queue
        stream = alice.client._session.outbox.stream.decode()
        assert event == Event(
            "read", {"peer": "bob", "stream": stream, "seq": 2, "time": event.data["time"]}
        )
        assert (alice.texts, alice.notices, alice.refusals) == ([], [], [])
        assert bob.states() == ["accepted"], "what people did not write is not listed"

    def test_nothing_is_told_before_the_message_is_dealt_with(self, friends):
        village, alice, bob = friends
        bob.stop()
        messages = bob.client.listen()
        bob.listening, bob.events = None, bob.client.events("notice", "refused")
        bob.client.startService()
        village.run(1)
        before = told(village, "bob")
        alice.say("bob", "one", receipt=True)
        message = messages.next()
        village.run(5)
        assert message.result.body == b"one"
        assert told(village, "bob") == before
        message.result.ack()
        village.run(3)
        assert told(village, "bob") == before + 1
        assert alice.states()[-1] == "read"

    def test_many_are_told_in_one_message(self, friends):
        village, alice, bob = friends
        before, said = told(village, "bob"), reading(bob)
        for number in range(300):
            alice.client.post("bob", b"%d" % number, receipt=True)
        village.run(5)
        assert len(bob.texts) == 300
        assert told(village, "bob") - before == len(said) <= 3
        assert said[0].first == 2
        assert sum(one.index - one.first + 1 for one in said) == 300
        assert alice.states().count("read") == 100, "as many as are listed"

    def test_what_was_not_read_in_between_is_not_said_to_be_read(self, friends):
        village, alice, _ = friends
        withheld = (b"alice", 3)
        village.relay.carry = lambda post: [] if (post.sender, post.seq) == withheld else [post]
        for text in (b"one", b"withheld", b"three"):
            alice.client.post("bob", text, receipt=True)
        village.run(4)
        assert alice.states()[1:] == ["read", "delivered", "read"], "the relay lies"

    def test_what_was_read_at_last_is_told_before_a_program_ends(self, friends):
        village, alice, bob = friends
        bob.restart()
        alice.client.post("bob", b"one", receipt=True)
        village.run(0.25)
        assert bob.texts == ["one"]
        assert alice.states()[-1] == "delivered"
        bob.client.close()
        village.run(0.25)
        assert alice.states()[-1] == "read"

    def test_what_does_not_leave_before_a_program_ends_leaves_with_the_next(self, friends):
        village, alice, bob = friends
        bob.restart()
        alice.client.post("bob", b"one", receipt=True)
        village.run(0.25)
        bob.network.cut()
        bob.network.factory = None
        bob.client.close()
        village.run(2)
        bob.network.factory = village.relay.factory()
        bob.client = bob.new_client()
        assert alice.states()[-1] == "delivered"
        bob.start(listen=False)
        village.run(10)
        assert alice.states()[-1] == "read"

    def test_a_message_that_was_sent_again_counts_in_both_places(self, friends):
        village, alice, bob = friends
        bob.stop()
        alice.say("bob", "sealed to lost keys", receipt=True)
        lose_prekeys(bob)
        bob.start()
        village.run(15)
        assert bob.texts == ["sealed to lost keys"]
        assert alice.states()[1:] == ["read", "read"]

    def test_a_reader_may_keep_it_to_himself(self, friends):
        village, alice, bob = friends
        bob.sealing.reading._on = False
        before = told(village, "bob")
        alice.say("bob", "one", receipt=True)
        village.run(2)
        assert told(village, "bob") == before
        assert alice.states()[-1] == "delivered"

    def test_nobody_is_told_of_control_messages_or_what_is_delivered_live(self, friends):
        village, alice, bob = friends
        before = told(village, "bob")
        body = Read(b"s" * 16, 1).body()
        alice.sealing.sealer.post(
            entry := alice.client._entry(
                "bob", body, None, True, "accepted", Read.CONTENT_TYPE, False
            )
        )
        assert entry.receipt
        alice.say("bob", "live", ttl=0, receipt=True)
        village.run(2)
        assert bob.texts == ["live"]
        assert told(village, "bob") == before

    def test_rooms_are_not_asked_and_do_not_answer(self, friends):
        village, alice, bob = friends
        letter = Letter("text/plain", 5, index=1)
        pen = typing.cast(SealingPen, SimpleNamespace(stream=b"s" * 16, skipped=lambda to: ()))
        for to, asks in ((b"bob", True), (b"@team", False)):
            entry = Entry(to, b"x", None, True, seq=1, letter=letter)
            assert alice.sealing.sealer._content(pen, entry).receipt is asks
        before = told(village, "bob")
        asked = Content(b"s" * 16, 1, "@team", 1, 5, 1, "text/plain", b"x", receipt=True)
        bob.sealing.reading.shown(99, "alice", asked)
        bob.sealing.reading.dealt([99])
        village.run(3)
        assert told(village, "bob") == before
        bob.sealing.reading.shown(99, "alice", replace(asked, to="bob"))
        bob.sealing.reading.dealt([99])
        village.run(3)
        assert told(village, "bob") == before + 1

    def test_what_was_asked_is_signed_with_the_message(self, friends):
        _, alice, _ = friends
        sealed: list[Content] = []
        write = alice.sealing.sealer._content
        alice.sealing.sealer._content = lambda pen, entry: (
            sealed.append(write(pen, entry)) or sealed[-1]
        )
        for options in ({}, {"receipt": True}, {"receipt": True, "ttl": 0}):
            alice.say("bob", "x", **options)
        assert [one.receipt for one in sealed] == [False, True, False]


class TestHearing:
    def test_a_program_that_ended_is_told_through_the_next_that_listens(self, friends):
        village, alice, _ = friends
        alice.stop()
        alice.start(listen=False)
        alice.say("bob", "from the command line", receipt=True)
        alice.stop()
        village.run(2)
        assert alice.states()[-1] == "delivered"
        alice.start()
        village.run(2)
        assert alice.states()[-1] == "read"

    def test_a_receipt_that_the_relay_made_up_stands_out(self, friends):
        village, alice, _ = friends
        village.relay.carry = lambda post: []
        alice.say("bob", "one", receipt=True)
        assert alice.states()[-1] == "delivered"

    def test_it_is_noted_though_the_relay_withholds_its_receipt(self, friends):
        village, alice, _ = friends
        village.relay.mute_receipts = True
        alice.say("bob", "one", receipt=True)
        village.run(2)
        (record,) = alice.on_disk(lambda state: state.sent(1))
        assert (record.state, record.delivered) == ("read", None)
        alice.client._session.got(2, b"bob", 5)
        village.run(2)
        (record,) = alice.on_disk(lambda state: state.sent(1))
        assert (record.state, record.delivered) == ("read", 5)

    def test_nobody_says_so_of_what_was_sent_to_others(self, friends):
        village, alice, bob = friends
        (carol,) = village.settle("carol")
        carol.say("alice", "hello")
        bob.sealing.reading._on = False
        alice.say("bob", "for bob alone", receipt=True)
        stream = lines.decode(alice.client._session.outbox.stream.decode())
        for said in (Read(stream, 1 << 62, 1), Read(b"no such stream..", 9)):
            carol.sealing.tell("alice", Read.CONTENT_TYPE, said.body())
        village.run(3)
        assert alice.states()[-1] == "delivered"


class TestNoting:
    BOUND = (b"b" * 32,)

    @pytest.fixture
    def state(self, tmp_path: pathlib.Path):
        state = State(tmp_path)
        yield state
        state.close()

    def journal(self, state: State, rows: list[tuple[str, int]], receipt: bool = True) -> None:
        outgoing = [
            Outgoing(seq, to, None, receipt, b"", 1, LETTER, place, b"b" * 32)
            for seq, (to, place) in enumerate(rows, 1)
        ]
        verdict = Verdict(ACCEPTED, 1, len(rows), 5)
        change = Change("s" * 22, "me", 5, outgoing, last=len(rows), verdicts=[verdict])
        state.run([lambda state: state.apply(change)])

    def note(self, state: State, first: int, last: int, bound=BOUND) -> list[int]:
        (found,) = state.run(
            [lambda state: reads.note(state.db, "bob", bound, "s" * 22, first, last, 7)]
        )
        return found

    def test_indices_are_those_of_one_recipient_and_each_is_noted_once(self, state: State):
        names = ["bob", "carol", "carol", "bob", "bob", "carol", "bob"]
        places = [names[: nth + 1].count(name) for nth, name in enumerate(names)]
        self.journal(state, list(zip(names, places, strict=True)))
        assert self.note(state, 2, 2) == [4]
        assert self.note(state, 1, 3) == [1, 5]
        assert self.note(state, 4, 1 << 62) == [7]
        assert self.note(state, 1, 9) == []
        assert self.note(state, 1 << 62, 1 << 62) == []

    def test_what_was_sealed_for_other_keys_or_not_asked_is_not_noted(self, state: State):
        self.journal(state, [("bob", 1)])
        assert self.note(state, 1, 1, bound=(b"o" * 32,)) == []
        assert self.note(state, 1, 1, bound=(b"o" * 32, b"b" * 32)) == [1]

    def test_what_nobody_asked_is_not_noted(self, state: State):
        self.journal(state, [("bob", 1)], receipt=False)
        assert self.note(state, 1, 1) == []

    def test_it_takes_an_index_and_no_look_at_what_went_to_others(self, state: State):
        self.journal(state, [("bob", 1)])
        plan = state.db.execute(
            "EXPLAIN QUERY PLAN SELECT id, place, bound FROM message WHERE receipt = 1 AND "
            "read IS NULL AND recipient = ? AND id BETWEEN ? AND ? ORDER BY id",
            ("bob", 1, 2),
        ).fetchall()
        assert len(plan) == 1
        assert "USING INDEX message_unread (recipient=? AND rowid>? AND rowid<?)" in plan[0][3]
