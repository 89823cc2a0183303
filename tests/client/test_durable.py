"""What becomes of messages when the program that sent them ends before the relay has answered."""

# More than 400 lines: the life of a message through every crash of its program reads as one story.

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from securerelay.client import Sent
from securerelay.client.rows import Record
from securerelay.client.state import State
from securerelay.errors import ConnectError, LocalError, Refused, StorageError, TimedOut
from tests.client.conftest import World
from tests.client.relay import NOW
from tests.network import outcome


def journal_of(world: World) -> list[Record]:
    state = State(world.profile.path)
    try:
        return state.sent(100)
    finally:
        state.close()


def states(world: World) -> list[str]:
    return [record.state for record in journal_of(world)]


def successor(world: World) -> World:
    """Let the program die, and start another one of the same profile."""
    world.kill()
    return again(world)


def again(world: World) -> World:
    world.client = world.new_client(durable=True)
    world.client.startService()
    world.run(1)
    return world


def bodies(world: World) -> list[bytes]:
    return [said[4] for said in world.relay.verbs("send")]


def test_a_message_is_on_disk_before_the_relay_sees_it(durable: World):
    durable.start()
    durable.lane.held = True
    sending = durable.client.send("alice", b"hello")
    durable.run()
    assert durable.relay.verbs("send") == []
    durable.lane.release()
    assert isinstance(durable.after(sending), Sent)
    durable.run(1)
    (record,) = journal_of(durable)
    assert (record.to, record.size, record.state, record.seq) == ("alice", 5, "accepted", 1)
    assert record.settled is not None


def test_the_messages_of_one_turn_are_one_transaction_and_one_write(durable: World):
    durable.start()
    before = len(durable.relay.verbs("data"))
    for number in range(50):
        durable.client.post("alice", b"%d" % number)
    durable.run()
    assert len(durable.relay.verbs("send")) == 50
    assert len(durable.relay.verbs("data")) == before + 1


def test_a_message_is_queued_without_a_connection_and_sent_by_the_next_program(durable: World):
    sent = durable.after(durable.client.send("alice", b"hello", wait="queued"))
    assert isinstance(sent, Sent)
    durable.close()
    assert states(durable) == ["queued"]
    again(durable)
    assert durable.relay.verbs("send") == [(1, b"alice", None, False, b"hello")]
    assert durable.relay.verbs("stream") == [(sent.stream.encode(), 0)]
    durable.run(1)
    assert states(durable) == ["accepted"]
    assert bodies(durable) == [b"hello"], "once"


def test_after_a_crash_the_relay_is_asked_what_it_has_and_gets_only_the_rest(durable: World):
    durable.start()
    durable.relay.verdict = lambda seq, to: b"hold" if seq <= 3 else b"rate"
    for number in range(1, 6):
        durable.client.post("alice", b"%d" % number)
    durable.run()
    durable.relay.said.clear()
    durable.relay.verdict = lambda seq, to: None
    successor(durable)
    (stream,) = durable.relay.streams
    assert durable.relay.verbs("stream") == [(stream, 0)]
    assert [said[0] for said in durable.relay.verbs("send")] == [4, 5]
    assert states(durable) == ["accepted"] * 5


def test_whoever_hears_that_all_was_accepted_finds_it_so_in_the_journal(durable: World):
    durable.start()

    async def left() -> int:
        durable.client.post("alice", b"x")
        await durable.client.drain()
        return await durable.client.queued()

    assert durable.after(Deferred.fromCoroutine(left()), 1) == 0


def test_a_refusal_of_what_a_dead_program_sent_is_noted_with_its_code(durable: World):
    durable.client.send("alice", b"x", wait="queued")
    durable.run()
    durable.relay.verdict = lambda seq, to: b"unknown"
    successor(durable)
    (record,) = journal_of(durable)
    assert (record.state, record.code) == ("refused", "unknown")


def test_what_was_to_be_delivered_at_once_is_not_journaled_and_not_sent_later(durable: World):
    client = durable.client
    for body, ttl in ((b"1", None), (b"2", 0), (b"3", None), (b"4", 0)):
        client.post("alice", body, ttl=ttl)
    durable.run()
    successor(durable)
    sent = durable.relay.verbs("send")
    assert [(said[0], said[1], said[4]) for said in sent] == [
        (1, b"alice", b"1"),
        (2, b"nobody", b""),
        (3, b"alice", b"3"),
    ]


def test_a_live_message_that_was_given_up_leaves_a_number_that_reaches_nobody(durable: World):
    live = durable.client.send("alice", b"now", ttl=0, timeout=1)
    durable.client.post("alice", b"kept")
    durable.run(2)
    assert isinstance(outcome(live), TimedOut)
    durable.start()
    assert [said[1:5:3] for said in durable.relay.verbs("send")] == [
        (b"nobody", b""),
        (b"alice", b"kept"),
    ]


def test_the_streams_of_a_living_program_are_left_to_it(durable: World):
    durable.client.post("alice", b"x")
    durable.run()
    first = durable.client
    again(durable)
    assert durable.relay.verbs("send") == []
    closing = first.close()
    durable.run(6)
    assert closing.called
    assert bodies(durable) == [b"x"], "soon after the other has ended"


def test_streams_of_several_dead_programs_are_drained_in_order_each_in_its_session(durable: World):
    for number in range(3):
        durable.client.send("alice", b"%d" % number, wait="queued")
        durable.run()
        durable.kill()
        durable.client = durable.new_client(durable=True)
    again(durable)
    durable.run(1)
    assert bodies(durable) == [b"0", b"1", b"2"]
    assert len(durable.relay.verbs("stream")) == 3
    assert len(durable.relay.resumed) == 4


def test_a_receipt_that_nobody_was_there_to_hear_is_asked_for_later(durable: World):
    durable.start()
    durable.client.post("alice", b"x", receipt=True)
    durable.relay.verdict = lambda seq, to: b"hold"
    durable.run()
    successor(durable)
    assert states(durable) == ["accepted"]
    (stream,) = durable.relay.streams
    durable.relay.receipts = {stream: [(1, b"alice", 77_000)]}
    flushing = Deferred.fromCoroutine(durable.client.flush())
    assert durable.after(flushing, 1) == 1
    (record,) = journal_of(durable)
    assert (record.state, record.delivered) == ("delivered", 77_000)


def test_what_expired_while_nobody_was_there_to_hear_is_asked_for_once(durable: World):
    durable.relay.limits = {"ttl": 7200, "ttl_longest": 9000}
    durable.start()
    for ttl in (None, 3600, 86_400):
        assert isinstance(durable.after(durable.client.send("alice", b"x", ttl=ttl)), Sent)
    successor(durable)
    (stream,) = durable.relay.streams

    def asked() -> int:
        return len([said for said in durable.relay.verbs("stream") if said[0] == stream])

    before = asked()
    assert durable.after(Deferred.fromCoroutine(durable.client.flush()), 1) == 0
    for end, seq in ((3600, 2), (7200, 1), (9000, 3)):
        durable.relay.events = {stream: [("expired", seq, b"alice")]}
        durable.clock.advance(NOW + end + 61 - durable.relay.now())
        durable.run(30)
        assert durable.after(Deferred.fromCoroutine(durable.client.flush()), 1) == 0
    assert asked() == before + 3
    assert states(durable) == ["expired"] * 3


def test_a_member_of_a_room_that_misses_a_message_is_noted_with_it(durable: World):
    durable.start()
    durable.client.post("@team", b"x")
    durable.run()
    durable.relay.sessions[-1].tell("missed", 1, b"dan")
    durable.run(1)
    (record,) = journal_of(durable)
    assert (record.state, record.missed) == ("accepted", {"dan": "mailbox-full"})


def test_waiting_for_delivery_in_vain_says_that_the_relay_has_it(durable: World):
    durable.start()
    durable.relay.verdict = lambda seq, to: None
    durable.relay.mute_receipts = True
    late = durable.after(durable.client.send("alice", b"x", wait="delivered", timeout=3), 4)
    assert isinstance(late, TimedOut)
    assert "the relay has it" in late.message


def test_without_a_connection_in_time_the_message_stays_in_the_outbox(durable: World):
    late = durable.after(durable.client.send("alice", b"x", timeout=3), 4)
    assert isinstance(late, TimedOut)
    assert "stays in the outbox" in late.message
    durable.start()
    assert bodies(durable) == [b"x"]


def test_a_forgotten_stream_is_sent_anew_as_far_as_nothing_can_arrive_twice(durable: World):
    durable.start()
    durable.relay.verdict = lambda seq, to: b"hold" if seq > 1 else None
    durable.client.post("alice", b"accepted")
    durable.client.post("alice", b"perhaps")
    durable.run(1)
    durable.network.factory = None
    durable.network.cut()
    durable.client.post("alice", b"never written")
    durable.run(1)
    durable.kill()
    durable.relay.streams.clear()
    durable.relay.said.clear()
    durable.relay.verdict = lambda seq, to: None
    again(durable)
    durable.run(1)
    assert bodies(durable) == [b"never written"]
    found = {record.size: (record.state, record.code) for record in journal_of(durable)}
    assert found == {
        len(b"accepted"): ("accepted", None),
        len(b"perhaps"): ("refused", "unconfirmed"),
        len(b"never written"): ("accepted", None),
    }


def test_a_living_program_goes_on_in_a_new_stream_when_its_own_is_forgotten(durable: World):
    durable.start()
    durable.relay.verdict = lambda seq, to: b"hold" if seq > 1 else None
    durable.client.post("alice", b"accepted")
    perhaps = durable.client.send("alice", b"perhaps")
    durable.run(1)
    durable.network.factory = None
    durable.network.cut()
    durable.run()
    new = durable.client.send("alice", b"never written")
    durable.run()
    durable.relay.streams.clear()
    durable.relay.verdict = lambda seq, to: None
    durable.network.factory = durable.relay.factory()
    durable.run(5)
    refused = outcome(perhaps)
    assert isinstance(refused, Refused)
    assert refused.code == "unconfirmed"
    assert isinstance(outcome(new), Sent)
    durable.run(1)
    assert sorted(states(durable)) == ["accepted", "accepted", "refused"]
    assert len({record.stream for record in journal_of(durable)}) == 2


def test_a_spent_stream_of_a_dead_program_goes_on_in_a_new_one(durable: World):
    for number in range(3):
        durable.client.post("alice", b"%d" % number)
    durable.run()
    durable.relay.verdict = lambda seq, to: (
        b"new-stream" if seq == 2 and len(durable.relay.streams) == 1 else None
    )
    successor(durable)
    durable.run(5)
    assert states(durable) == ["accepted"] * 3
    assert bodies(durable)[-2:] == [b"1", b"2"]
    assert len(durable.relay.streams) == 2


def test_a_disk_that_fails_is_told_to_the_sender_and_the_number_reaches_nobody(
    durable: World, monkeypatch: pytest.MonkeyPatch
):
    durable.start()

    def full(self: State, jobs: list[object], write: bool = True) -> list[StorageError]:
        return [StorageError("the disk is full")] * len(jobs)

    with monkeypatch.context() as patch:
        patch.setattr(State, "run", full)
        failed = durable.after(durable.client.send("alice", b"lost"))
        assert isinstance(failed, StorageError)
    assert isinstance(durable.after(durable.client.send("alice", b"next")), Sent)
    assert [said[1] for said in durable.relay.verbs("send")] == [b"nobody", b"alice"]


# -- with a key


def once(world: World, key: str, body: bytes = b"x", **more: object) -> Deferred[Sent]:
    return world.client.send("alice", body, once=key, **more)  # type: ignore[arg-type]


def test_a_message_with_a_key_is_sent_once_however_often_it_is_asked_for(durable: World):
    durable.start()
    first, second = (durable.after(once(durable, "order 7"), 1) for _ in range(2))
    assert isinstance(first, Sent)
    assert isinstance(second, Sent)
    assert (first.stream, first.seq) == (second.stream, second.seq)
    assert bodies(durable) == [b"x"]
    other = durable.after(once(durable, "order 8"), 1)
    assert isinstance(other, Sent)
    assert other.stream != first.stream
    assert len(bodies(durable)) == 2


def test_a_key_that_was_used_for_another_message_is_refused(durable: World):
    durable.start()
    durable.after(once(durable, "order 7"), 1)
    refused = durable.after(once(durable, "order 7", b"y"), 1)
    assert isinstance(refused, LocalError)
    assert "another message" in refused.message
    assert bodies(durable) == [b"x"]


def test_a_key_finds_its_message_at_the_relay_when_the_profile_has_forgotten_it(durable: World):
    durable.start()
    first = durable.after(once(durable, "order 7"), 1)
    durable.close()
    for path in durable.profile.path.glob("state.sqlite*"):
        path.unlink()
    again(durable)
    second = durable.after(once(durable, "order 7"), 1)
    assert isinstance(first, Sent)
    assert isinstance(second, Sent)
    assert second.stream == first.stream
    assert bodies(durable) == [b"x"]


def test_a_message_with_a_key_that_a_dead_program_began_is_finished(durable: World):
    waiting = once(durable, "order 7")
    waiting.addErrback(lambda _: None)
    durable.run()
    durable.kill()
    durable.client = durable.new_client(durable=True)
    assert isinstance(durable.after(once(durable, "order 7"), 2), Sent)
    assert bodies(durable) == [b"x"]


def test_a_running_client_keeps_trying_to_send_a_message_with_a_key(durable: World):
    durable.network.factory = None
    durable.client.startService()
    waiting = once(durable, "order 7")
    durable.run(5)
    assert not waiting.called
    durable.network.factory = durable.relay.factory()
    assert isinstance(durable.after(waiting, 10), Sent)


def test_a_client_that_does_not_run_says_at_once_that_the_relay_is_away(durable: World):
    durable.network.factory = None
    assert isinstance(durable.after(once(durable, "order 7"), 1), ConnectError)
    assert states(durable) == ["queued"]


def test_waiting_for_delivery_with_a_key_asks_for_the_receipt_that_is_missing(durable: World):
    durable.start()
    durable.relay.mute_receipts = True
    accepted = durable.after(once(durable, "order 7"), 1)
    assert isinstance(accepted, Sent)
    assert accepted.delivered is None
    durable.relay.receipts = {accepted.stream.encode(): [(1, b"alice", 77_000)]}
    delivered = durable.after(once(durable, "order 7", wait="delivered"), 1)
    assert isinstance(delivered, Sent)
    assert delivered.delivered == 77_000
    assert bodies(durable) == [b"x"]


def test_a_refused_key_stays_refused(durable: World):
    durable.start()
    durable.relay.verdict = lambda seq, to: b"unknown"
    for _ in range(2):
        refused = durable.after(once(durable, "order 7"), 1)
        assert isinstance(refused, Refused)
        assert refused.code == "unknown"
    assert len(bodies(durable)) == 1


def test_a_key_without_a_journal_is_refused(connected: World):
    assert isinstance(outcome(connected.client.send("alice", b"x", once="key")), LocalError)
    assert isinstance(outcome(connected.client.send("alice", b"x", wait="queued")), LocalError)


# -- closing


def test_closing_leaves_what_has_no_verdict_in_the_outbox(durable: World):
    waiting = durable.client.send("alice", b"x")
    durable.run()
    durable.close()
    assert isinstance(outcome(waiting), ConnectError)
    assert states(durable) == ["queued"]
    assert not durable.clock.getDelayedCalls()


# -- receiving


def listening(world: World, got: list[bytes]) -> None:
    async def listen() -> None:
        async for message in world.client.listen():
            got.append(message.body)

    Deferred.fromCoroutine(listen()).addErrback(lambda _: None)


def test_what_was_dealt_with_is_on_disk_before_the_relay_hears_of_it(durable: World):
    durable.start()
    durable.relay.deliver(b"one")
    receiving = durable.client.listen()
    message = durable.after(receiving.next())
    durable.lane.held = True
    message.ack()
    durable.run(1)
    assert durable.relay.verbs("ack") == []
    durable.lane.release()
    durable.run()
    assert durable.relay.verbs("ack") == [(1,)]


def test_a_message_that_comes_again_to_the_next_program_is_not_shown_again(durable: World):
    durable.start()
    got: list[bytes] = []
    listening(durable, got)
    for body in (b"one", b"two"):
        durable.relay.deliver(body)
    durable.run()
    durable.relay.deliver(b"three")
    durable.run()
    assert got == [b"one", b"two", b"three"]
    successor(durable)
    durable.relay.said.clear()
    listening(durable, got)
    durable.run()
    assert got == [b"one", b"two", b"three"], "though the relay has them all still"
    assert durable.relay.verbs("ack")[-1] == (3,)


def test_a_message_sent_again_by_its_sender_is_not_shown_by_the_next_program(durable: World):
    durable.start()
    got: list[bytes] = []
    listening(durable, got)
    durable.relay.deliver(b"one", seq=7)
    durable.relay.deliver(b"end", seq=8)
    durable.run()
    successor(durable)
    durable.relay.mailbox.clear()
    for body, seq in ((b"one", 7), (b"new", 9), (b"older", 3)):
        durable.relay.deliver(body, seq=seq)
    listening(durable, got)
    durable.run()
    assert got == [b"one", b"end", b"new", b"older"]


def test_a_message_that_was_never_dealt_with_is_shown_again(durable: World):
    durable.start()
    for body in (b"one", b"two"):
        durable.relay.deliver(body)
    receiving = durable.client.listen()
    waiting = [durable.after(receiving.next())]
    second = receiving._inbox.next()
    durable.after(second).ack()
    durable.run()
    assert waiting[0].body == b"one"
    successor(durable)
    got: list[bytes] = []
    listening(durable, got)
    durable.run()
    assert got == [b"one"]


def test_closing_tells_the_relay_what_was_dealt_with(durable: World):
    durable.start()
    durable.relay.deliver(b"one")
    message = durable.after(durable.client.listen().next())
    message.ack()
    durable.close()
    assert durable.relay.verbs("ack") == [(1,)]
