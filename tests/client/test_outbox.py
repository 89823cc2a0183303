"""What a sender is told about its messages, whatever the relay answers and however often the
connection is lost.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from securerelay.client.entry import Entry, Sent
from securerelay.client.outbox import Outbox
from securerelay.client.pace import CAPACITY, WINDOW
from securerelay.errors import ConnectError, Refused, RemoteError, TimedOut


def box() -> Outbox:
    return Outbox(jitter=lambda: 1.0)


def entry(body: bytes = b"x", **more: object) -> Entry:
    made = Entry(b"bob", body, None, False, **more)  # type: ignore[arg-type]
    made.done = Deferred()
    return made


def add(outbox: Outbox, count: int) -> list[Entry]:
    entries = [entry(b"%d" % number) for number in range(1, count + 1)]
    for one in entries:
        outbox.add(one)
    return entries


def seqs(chunks: list[bytes]) -> list[int]:
    return [int(chunk.split(b" ")[1]) for chunk in chunks]


def result(one: Entry | Deferred[Sent] | None) -> object:
    """What became of a message: Sent, an error, or None while nothing is known."""
    got: list[object] = []
    waiting = one.done if isinstance(one, Entry) else one
    assert waiting is not None

    def look(value: object) -> object:
        got.append(getattr(value, "value", value))
        return got[0]

    waiting.addBoth(look)
    return got[0] if got else None


def test_messages_leave_in_order_and_a_cumulative_ok_accepts_them_all():
    outbox = box()
    entries = add(outbox, 3)
    waits = [one.done for one in entries]
    stream, answered = outbox.opening()
    assert (len(stream), answered) == (22, 0)
    assert outbox.take(1000) == [
        b"SEND 1 bob - - 1\n1",
        b"SEND 2 bob - - 1\n2",
        b"SEND 3 bob - - 1\n3",
    ]
    outbox.ok(3)
    assert [result(wait) for wait in waits] == [Sent(stream.decode(), n) for n in (1, 2, 3)]
    assert len(outbox) == 0


def test_nothing_is_written_into_a_used_stream_before_the_relay_has_said_where_it_stands():
    outbox = box()
    add(outbox, 2)
    outbox.opening()
    outbox.take(1000)
    assert outbox.opening()[1] == 0
    assert outbox.take(1000) == []
    assert outbox.opened(1)
    assert seqs(outbox.take(1000)) == [2]


def test_a_final_refusal_reaches_its_sender_and_the_others_go_on():
    outbox = box()
    entries = add(outbox, 3)
    waits = [one.done for one in entries]
    outbox.opening()
    outbox.take(1000)
    assert outbox.no(2, b"unknown") is None
    outbox.ok(3)
    refusal = result(waits[1])
    assert isinstance(refusal, Refused)
    assert refusal.code == "unknown"
    assert isinstance(result(waits[0]), Sent)
    assert isinstance(result(waits[2]), Sent)


@pytest.mark.parametrize("code", [b"rate", b"busy", b"storage-full", b"gap", b"room-changed"])
def test_a_refusal_for_now_is_tried_again_from_the_same_message_in_order(code: bytes):
    outbox = box()
    add(outbox, 4)
    outbox.opening()
    outbox.take(1000)
    delay = outbox.no(2, code)
    assert delay is not None
    assert delay > 0
    assert outbox.no(3, b"gap") is None
    assert outbox.no(4, b"gap") is None
    assert outbox.take(1000) == [], "not before the wait is over"
    outbox.resume()
    assert seqs(outbox.take(1000)) == [2, 3, 4]
    outbox.ok(4)
    assert len(outbox) == 0


def test_each_refusal_in_a_row_doubles_the_wait_and_an_acceptance_ends_that():
    outbox = box()
    add(outbox, 2)
    outbox.opening()
    waits = []
    for _ in range(4):
        outbox.take(1000)
        waits.append(outbox.no(1, b"rate"))
        outbox.resume()
    assert waits == [0.1, 0.2, 0.4, 0.8]
    outbox.take(1000)
    outbox.ok(1)
    assert outbox.no(2, b"rate") == 0.1


def test_only_a_window_of_messages_is_unanswered_at_a_time():
    outbox = box()
    add(outbox, WINDOW + 5)
    outbox.opening()
    assert len(outbox.take(1 << 30)) == WINDOW
    outbox.ok(3)
    assert seqs(outbox.take(1 << 30)) == [WINDOW + 1, WINDOW + 2, WINDOW + 3]


def test_a_turn_writes_no_more_than_its_budget():
    outbox = box()
    for _ in range(10):
        outbox.add(entry(b"y" * 100))
    outbox.opening()
    assert len(outbox.take(250)) == 3
    assert len(outbox.take(1)) == 1


def test_a_full_outbox_asks_to_wait_until_there_is_room():
    outbox = box()
    add(outbox, CAPACITY)
    assert outbox.space() is None
    outbox.add(entry())
    waiting = outbox.space()
    assert waiting is not None
    assert not waiting.called
    outbox.opening()
    outbox.take(1 << 30)
    outbox.ok(1)
    assert waiting.called


def test_large_bodies_fill_the_outbox_too():
    outbox = box()
    for _ in range(17):
        outbox.add(entry(bytes(1 << 20)))
    assert outbox.space() is not None


def test_a_message_that_never_left_can_be_taken_back_and_leaves_no_hole():
    outbox = box()
    first, second = add(outbox, 2)
    outbox.opening()
    assert outbox.withdraw(first) == "unsent"
    assert outbox.take(1000) == [b"SEND 1 bob - - 1\n2"]
    assert outbox.withdraw(second) == "sent"
    outbox.ok(1)
    assert len(outbox) == 0


def test_a_receipt_is_waited_for_beyond_the_acceptance():
    outbox = box()
    one = entry(until="delivered")
    waiting = one.done
    outbox.add(one)
    stream, _ = outbox.opening()
    outbox.take(1000)
    outbox.ok(1)
    assert result(waiting) is None
    assert outbox.wants_stream
    outbox.got(1, 1234)
    assert result(waiting) == Sent(stream.decode(), 1, 1234)


def test_a_receipt_that_comes_before_the_acceptance_counts_too():
    outbox = box()
    one = entry(until="delivered")
    waiting = one.done
    outbox.add(one)
    outbox.opening()
    outbox.take(1000)
    outbox.got(1, 99)
    assert result(waiting) is None
    outbox.ok(1)
    answer = result(waiting)
    assert isinstance(answer, Sent)
    assert answer.delivered == 99


def test_a_message_whose_time_ran_out_is_not_waited_for_any_longer():
    outbox = box()
    one = entry(until="delivered")
    waiting = one.done
    outbox.add(one)
    outbox.opening()
    outbox.take(1000)
    outbox.ok(1)
    outbox.missed(1, "alice", "expired")
    outbox.missed(1, "alice", "expired")
    refused = result(waiting)
    assert isinstance(refused, Refused)
    assert refused.code == "expired"


def test_a_spent_stream_is_followed_by_a_new_one_with_what_was_not_accepted():
    outbox = box()
    add(outbox, 4)
    old, _ = outbox.opening()
    outbox.take(1000)
    outbox.no(2, b"new-stream")
    outbox.no(3, b"gap")
    outbox.no(4, b"gap")
    outbox.resume()
    assert not outbox.must_reopen, "the first message has no verdict yet"
    assert outbox.take(1000) == []
    outbox.ok(1)
    assert outbox.must_reopen
    outbox.reopen()
    new, answered = outbox.opening()
    assert new != old
    assert answered == 0
    assert outbox.take(1000) == [
        b"SEND 1 bob - - 1\n2",
        b"SEND 2 bob - - 1\n3",
        b"SEND 3 bob - - 1\n4",
    ]


@pytest.mark.parametrize("last", [1, 9])
def test_a_relay_that_knows_another_history_of_the_stream_gets_a_new_one(last: int):
    outbox = box()
    add(outbox, 4)
    outbox.opening()
    outbox.take(1000)
    outbox.ok(3)
    outbox.opening()
    assert not outbox.opened(last)
    assert outbox.must_reopen


def test_a_lost_receipt_is_told_when_its_stream_ends():
    outbox = box()
    one = entry(until="delivered")
    waiting = one.done
    outbox.add(one)
    outbox.opening()
    outbox.take(1000)
    outbox.ok(1)
    outbox.reopen()
    assert isinstance(result(waiting), TimedOut)


def test_an_ok_for_what_was_never_sent_is_a_breach():
    outbox = box()
    add(outbox, 1)
    outbox.opening()
    outbox.take(1000)
    with pytest.raises(RemoteError) as caught:
        outbox.ok(2)
    assert caught.value.code == "protocol"


def test_verdicts_that_come_again_change_nothing():
    outbox = box()
    entries = add(outbox, 2)
    waits = [one.done for one in entries]
    outbox.opening()
    outbox.take(1000)
    outbox.no(1, b"offline")
    outbox.ok(2)
    assert outbox.no(1, b"offline") is None
    outbox.ok(2)
    assert isinstance(result(waits[0]), Refused)
    assert isinstance(result(waits[1]), Sent)


def test_a_refusal_that_nobody_waits_for_is_reported_elsewhere():
    reported = []
    outbox = Outbox(lambda one, code: reported.append((one.body, code)))
    one = entry()
    one.done = None
    outbox.add(one)
    outbox.opening()
    outbox.take(1000)
    outbox.no(1, b"mailbox-full")
    assert reported == [(b"x", "mailbox-full")]


def test_draining_waits_for_every_verdict():
    outbox = box()
    assert outbox.empty() is None
    add(outbox, 2)
    waiting = outbox.empty()
    assert waiting is not None
    outbox.opening()
    outbox.take(1000)
    outbox.ok(1)
    assert not waiting.called
    outbox.ok(2)
    assert waiting.called


def test_giving_up_tells_everybody_who_waits():
    outbox = box()
    entries = add(outbox, 2)
    waits = [one.done for one in entries]
    empty = outbox.empty()
    assert empty is not None
    empty.addErrback(lambda failure: None)
    outbox.opening()
    outbox.fail(ConnectError("closed"))
    assert all(isinstance(result(wait), ConnectError) for wait in waits)
    assert empty.called
    assert len(outbox) == 0
