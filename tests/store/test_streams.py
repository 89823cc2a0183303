"""Sending streams: what was consumed, refused and acknowledged; the same in every store."""

from __future__ import annotations

from securerelay.store.interface import KEPT, MAX_REFUSALS, Store
from securerelay.store.rows import (
    Accepted,
    Duplicate,
    Receipt,
    Refuse,
    Rejected,
    StreamRow,
)
from tests.store.samples import LATER, NOW, STREAM, message, result

EPOCH = 1 << 32
GAP, NEW_STREAM, BUSY = Rejected("gap"), Rejected("new-stream"), Rejected("busy")


def opened(store: Store, answered: int = 0, now: int = NOW) -> StreamRow:
    return result(store.stream_open("alice", STREAM, answered, now))


def refuse(seq: int, code: str = "unknown", **changes) -> Refuse:
    return Refuse("alice", STREAM, seq, code, NOW)._replace(**changes)


def test_a_new_stream_begins_at_nothing(store: Store):
    assert opened(store) == StreamRow(0, known=True)


def test_a_stream_goes_on_where_it_was(store: Store):
    opened(store)
    result(store.append([message(1, ("bob", EPOCH + 1)), message(2, ("bob", EPOCH + 2))]))
    assert opened(store) == StreamRow(2, known=True)


def test_streams_of_the_same_id_and_other_senders_are_others(store: Store):
    opened(store)
    result(store.append([message(1, ("bob", EPOCH + 1))]))
    assert result(store.stream_open("carol", STREAM, 0, NOW)).last == 0


def test_a_forgotten_stream_is_not_taken_for_a_new_one(store: Store):
    assert opened(store, answered=3) == StreamRow(0, known=False)
    assert opened(store) == StreamRow(0, known=True)


def test_what_the_client_has_a_verdict_for_is_consumed(store: Store):
    opened(store)
    assert opened(store, answered=7).last == 7
    assert opened(store, answered=5).last == 7
    assert result(store.append([message(7), message(8)])) == [Duplicate(None), Accepted()]


def test_each_seq_is_consumed_once_and_in_order(store: Store):
    opened(store)
    batch = [message(1, ("bob", EPOCH + 1)), message(1), message(3), message(2)]
    assert result(store.append(batch)) == [Accepted(), Duplicate(None), GAP, Accepted()]
    assert result(store.append([message(2), message(3)])) == [Duplicate(None), Accepted()]
    assert opened(store).last == 3


def test_the_same_batch_again_is_all_duplicates_and_stores_nothing(store: Store):
    opened(store)
    batch = [message(1, ("bob", EPOCH + 1)), refuse(2), message(3, ("bob", EPOCH + 2))]
    result(store.append(batch))
    expected = [Duplicate(None), Duplicate("unknown"), Duplicate(None)]
    assert result(store.append(batch)) == expected
    assert result(store.mailbox_state("bob")).total.count == 2


def test_seqs_acknowledged_without_the_disk_may_be_left_out_by_name(store: Store):
    opened(store)
    batch = [message(1), message(5, after=1), message(9, after=4), message(9, after=5)]
    assert result(store.append(batch)) == [Accepted(), Accepted(), GAP, Accepted()]
    assert result(store.append([message(7)])) == [Duplicate(None)]


def test_a_message_that_needs_no_disk_only_moves_the_stream(store: Store):
    opened(store)
    assert result(store.append([message(1), message(2)])) == [Accepted(), Accepted()]
    assert opened(store).last == 2


def test_nothing_is_taken_for_a_stream_that_was_not_opened(store: Store):
    assert result(store.append([message(1), refuse(1)])) == [NEW_STREAM, NEW_STREAM]
    assert opened(store).last == 0


def test_a_refusal_is_final_and_is_said_again(store: Store):
    opened(store)
    batch = [refuse(1), refuse(1, "offline"), refuse(2, "offline"), message(3), refuse(5)]
    expected = [Accepted(), Duplicate("unknown"), Accepted(), Accepted(), GAP]
    assert result(store.append(batch)) == expected
    assert opened(store).refusals == ((1, "unknown"), (2, "offline"))
    assert result(store.append([message(2)])) == [Duplicate("offline")]


def test_refusals_the_client_has_heard_are_forgotten(store: Store):
    opened(store)
    result(store.append([refuse(1), refuse(2), refuse(3)]))
    assert opened(store, answered=2).refusals == ((3, "unknown"),)
    assert opened(store).refusals == ((3, "unknown"),)


def test_a_stream_remembers_no_more_than_so_many_refusals(store: Store):
    opened(store)
    many = [refuse(seq) for seq in range(1, MAX_REFUSALS + 1)]
    assert set(result(store.append(many))) == {Accepted()}
    assert result(store.append([refuse(MAX_REFUSALS + 1)])) == [NEW_STREAM]
    assert result(store.append([message(MAX_REFUSALS + 1)])) == [Accepted()]
    opened(store, answered=1)
    batch = [refuse(MAX_REFUSALS + 2), refuse(MAX_REFUSALS + 3)]
    assert result(store.append(batch)) == [Accepted(), NEW_STREAM]


def test_a_number_that_does_not_rise_stores_nothing_and_consumes_nothing(store: Store):
    opened(store)
    batch = [
        message(1, ("bob", EPOCH)),
        message(1, ("bob", EPOCH + 5)),
        message(2, ("carol", EPOCH + 1), ("bob", EPOCH + 5)),
        message(2, ("carol", EPOCH + 1), ("bob", EPOCH + 6)),
    ]
    assert result(store.append(batch)) == [BUSY, Accepted(), BUSY, Accepted()]
    result(store.ack("bob", EPOCH + 6, NOW))
    assert result(store.append([message(3, ("bob", EPOCH + 6))])) == [BUSY]


def test_no_number_of_an_earlier_run_is_taken_again(store: Store):
    opened(store)
    result(store.append([message(1, ("bob", EPOCH + 5))]))
    result(store.ack("bob", EPOCH + 5, NOW))
    result(store.close())
    assert result(store.open()).epoch == 2
    assert result(store.append([message(2, ("bob", EPOCH + 6))])) == [BUSY]
    assert result(store.append([message(2, ("bob", 2 * EPOCH + 1))])) == [Accepted()]


def test_receipts_are_kept_until_they_were_told(store: Store):
    opened(store)
    wanted = message(1, ("bob", EPOCH + 1), ("carol", EPOCH + 1), receipt=True)
    result(store.append([wanted, message(2, ("bob", EPOCH + 2))]))
    assert opened(store).receipts == ()
    bob = Receipt("alice", STREAM, 1, "bob", NOW + 5)
    carol = Receipt("alice", STREAM, 1, "carol", NOW + 6)
    assert result(store.ack("carol", EPOCH + 9, NOW + 6)).receipts == (carol,)
    assert result(store.ack("bob", EPOCH + 2, NOW + 5)).receipts == (bob,)
    assert opened(store).receipts == (bob, carol)
    result(store.receipts_told([bob]))
    assert opened(store).receipts == (carol,)


def test_receipts_of_messages_that_were_never_stored_can_be_kept(store: Store):
    opened(store)
    result(store.append([message(1)]))
    receipt = Receipt("alice", STREAM, 1, "bob", NOW)
    result(store.receipts_keep([receipt, receipt]))
    assert opened(store).receipts == (receipt,)


def test_receipts_for_a_stream_nobody_can_open_are_dropped(store: Store):
    receipt = Receipt("alice", STREAM, 1, "bob", NOW)
    result(store.receipts_keep([receipt]))
    result(store.receipts_told([receipt]))
    assert opened(store).receipts == ()


def test_an_unused_stream_is_forgotten_after_thirty_days_with_all_that_is_its_own(store: Store):
    opened(store)
    result(store.append([refuse(1), message(2, time=NOW + 5)]))
    result(store.receipts_keep([Receipt("alice", STREAM, 2, "bob", NOW)]))
    result(store.tidy(NOW + 4 + KEPT))
    assert len(result(store.stream_open("alice", STREAM, 0, NOW + 6)).refusals) == 1
    result(store.tidy(NOW + 6 + KEPT))
    assert opened(store, answered=2) == StreamRow(0, known=False)
    assert result(store.append([message(3)])) == [NEW_STREAM]
    assert opened(store) == StreamRow(0, known=True)


def test_the_expiry_of_a_message_is_kept_for_its_sender(store: Store):
    opened(store)
    result(store.append([message(1, ("bob", EPOCH + 1))]))
    result(store.expire(LATER))
    receipt = Receipt("alice", STREAM, 1, "bob", LATER, expired=True)
    assert opened(store).receipts == (receipt,)


def test_receipts_say_whether_a_message_was_had_ran_out_or_was_missed(store: Store):
    opened(store)
    receipts = (
        Receipt("alice", STREAM, 1, "bob", NOW),
        Receipt("alice", STREAM, 1, "carol", NOW, expired=True),
        Receipt("alice", STREAM, 1, "dave", NOW, missed=True),
    )
    result(store.receipts_keep(receipts))
    assert opened(store).receipts == receipts
    result(store.receipts_told(receipts[2:]))
    assert opened(store).receipts == receipts[:2]
