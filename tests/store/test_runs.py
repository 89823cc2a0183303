"""Messages that came together: kept as one, and still each a message of its own; in every store."""

from __future__ import annotations

import pytest

from securerelay.store.interface import Store
from securerelay.store.rows import (
    Accepted,
    Duplicate,
    Expired,
    MailboxState,
    Receipt,
    Rejected,
    StoredMessage,
    Usage,
)
from tests.store.samples import LATER, NOW, STREAM, message, result

EPOCH = 1 << 32
BODIES = (b"a", b"bc", b"", b"defg")
OK = [Accepted()]
GAP = Rejected("gap")


@pytest.fixture(autouse=True)
def streams(store: Store) -> None:
    for sender in ("alice", "carol"):
        result(store.stream_open(sender, STREAM, 0, NOW))


def keep(store: Store, seq: int = 1, last: int = EPOCH + 14, **changes) -> None:
    """Send bob four messages from alice that came together, his 11 to 14."""
    changes.setdefault("bodies", BODIES)
    assert result(store.append([message(seq, ("bob", last), **changes)])) == OK


def fetch(store: Store, peer: str = "bob", after: int = 0) -> list[StoredMessage]:
    return result(store.fetch(peer, after, 1000, 1 << 21))


def seen(store: Store, peer: str = "bob", after: int = 0) -> list[tuple[int, int, bytes]]:
    return [(row.n - EPOCH, row.seq, row.body) for row in fetch(store, peer, after)]


def got(seq: int, peer: str = "bob", **changes) -> Receipt:
    return Receipt("alice", STREAM, seq, peer, NOW, **changes)


def state(store: Store, peer: str = "bob") -> MailboxState:
    return result(store.mailbox_state(peer))


def test_messages_that_came_together_come_out_one_by_one(store: Store):
    keep(store, seq=1, to="@team", receipt=True, time=NOW + 1, expiry=NOW + 2)
    assert fetch(store) == [
        StoredMessage(n, "alice", "@team", STREAM, seq, NOW + 1, NOW + 2, True, body)
        for n, seq, body in zip(range(EPOCH + 11, EPOCH + 15), range(1, 5), BODIES, strict=True)
    ]


@pytest.mark.parametrize("taken", range(5))
@pytest.mark.parametrize("acked", range(4))
def test_a_page_begins_and_ends_anywhere_among_them(store: Store, taken: int, acked: int):
    keep(store)
    keep(store, 5, EPOCH + 20, bodies=(b"5", b"6"))
    result(store.ack("bob", EPOCH + 10 + acked, NOW))
    everything = [(11, 1), (12, 2), (13, 3), (14, 4), (19, 5), (20, 6)]
    after = EPOCH + 10 + taken
    left = everything[max(taken, acked) :]
    for count in range(1, 7):
        page = result(store.fetch("bob", after, count, 1000))
        assert [(row.n - EPOCH, row.seq) for row in page] == left[:count]


def test_a_page_ends_when_the_next_of_them_is_too_much(store: Store):
    keep(store)

    def page(after: int, size: int) -> list[bytes]:
        return [row.body for row in result(store.fetch("bob", EPOCH + after, 1000, size))]

    assert page(0, 7) == list(BODIES)
    assert page(0, 6) == [b"a", b"bc", b""]
    assert page(0, 2) == [b"a"]
    assert page(0, 0) == [b"a"]
    assert page(11, 6) == [b"bc", b"", b"defg"]
    assert page(12, 3) == [b""]
    assert page(13, 3) == [b"defg"]
    assert page(14, 3) == []


def test_what_was_left_of_a_full_page_is_counted_from_the_next_on(store: Store):
    keep(store)
    keep(store, 5, EPOCH + 16, bodies=(b"12", b"345"))
    page = result(store.fetch("bob", EPOCH + 13, 1000, 6))
    assert [row.body for row in page] == [b"defg", b"12"]


def test_the_first_of_them_can_be_acknowledged(store: Store):
    keep(store, receipt=True)
    before = state(store)
    assert before == MailboxState(Usage(4, 7), EPOCH + 11, EPOCH + 14, {"alice": Usage(4, 7)})
    acked = result(store.ack("bob", EPOCH + 12, NOW))
    assert acked.receipts == (got(1), got(2))
    assert acked.freed == {"alice": Usage(2, 3)}
    assert seen(store) == [(13, 3, b""), (14, 4, b"defg")]
    assert state(store) == MailboxState(Usage(2, 4), EPOCH + 13, EPOCH + 14, {"alice": Usage(2, 4)})
    assert result(store.mail_total()) == Usage(2, 4)


def test_they_can_be_acknowledged_one_after_the_other(store: Store):
    keep(store, receipt=True)
    for at, body in enumerate(BODIES, 1):
        acked = result(store.ack("bob", EPOCH + 10 + at, NOW + at))
        assert acked.receipts == (Receipt("alice", STREAM, at, "bob", NOW + at),)
        assert acked.freed == {"alice": Usage(1, len(body))}
        assert result(store.mail_total()) == Usage(4 - at, len(b"".join(BODIES[at:])))
    assert state(store) == MailboxState(Usage(), 0, 0, {})
    told = result(store.stream_open("alice", STREAM, 0, NOW)).receipts
    assert [(row.seq, row.time) for row in told] == [(at, NOW + at) for at in range(1, 5)]


@pytest.mark.parametrize("upto", [0, 10])
def test_an_acknowledgement_before_them_frees_nothing(store: Store, upto: int):
    keep(store, receipt=True)
    acked = result(store.ack("bob", EPOCH + upto, NOW))
    assert (acked.receipts, acked.freed) == ((), {})
    assert len(seen(store)) == 4


def test_an_acknowledgement_twice_frees_once(store: Store):
    keep(store, receipt=True)
    result(store.ack("bob", EPOCH + 13, NOW))
    again = result(store.ack("bob", EPOCH + 13, NOW))
    assert (again.receipts, again.freed) == ((), {})
    assert seen(store) == [(14, 4, b"defg")]


def test_an_acknowledgement_sums_up_what_came_before_by_sender(store: Store):
    keep(store, receipt=True)
    result(store.append([message(1, ("bob", EPOCH + 16), sender="carol", bodies=(b"x", b"yz"))]))
    keep(store, 5, EPOCH + 20, receipt=True, bodies=(b"56", b"7", b"8"))
    keep(store, 8, EPOCH + 21, receipt=True, bodies=(b"9",))
    result(store.ack("bob", EPOCH + 11, NOW))
    acked = result(store.ack("bob", EPOCH + 19, NOW))
    assert acked.receipts == tuple(got(seq) for seq in range(2, 7))
    assert acked.freed == {"alice": Usage(5, 9), "carol": Usage(2, 3)}
    assert seen(store) == [(20, 7, b"8"), (21, 8, b"9")]
    assert state(store).senders == {"alice": Usage(2, 2)}


def test_everybody_acknowledges_as_they_like(store: Store):
    everyone = (("bob", EPOCH + 4), ("dave", EPOCH + 7), ("erin", EPOCH + 9))
    sent = message(1, *everyone, to="@team", bodies=BODIES, receipt=True)
    assert result(store.append([sent])) == OK
    assert result(store.mail_total()) == Usage(12, 21)
    assert result(store.ack("dave", EPOCH + 6, NOW)).freed == {"alice": Usage(3, 3)}
    assert result(store.ack("bob", EPOCH + 4, NOW)).freed == {"alice": Usage(4, 7)}
    assert seen(store, "bob") == []
    assert seen(store, "dave") == [(7, 4, b"defg")]
    assert seen(store, "erin") == [(6, 1, b"a"), (7, 2, b"bc"), (8, 3, b""), (9, 4, b"defg")]
    acked = result(store.ack("erin", EPOCH + 7, NOW))
    assert acked.receipts == (got(1, "erin"), got(2, "erin"))
    result(store.ack("dave", EPOCH + 7, NOW))
    assert seen(store, "erin") == [(8, 3, b""), (9, 4, b"defg")]
    assert result(store.mail_total()) == Usage(2, 4)


def test_each_of_them_expires(store: Store):
    keep(store)
    result(store.ack("bob", EPOCH + 11, NOW))
    assert result(store.expire(LATER - 1)) == []
    assert result(store.expire(LATER)) == [
        Expired(EPOCH + 10 + seq, size, Receipt("alice", STREAM, seq, "bob", LATER, expired=True))
        for seq, size in ((2, 2), (3, 0), (4, 4))
    ]
    assert state(store) == MailboxState(Usage(), 0, 0, {})
    told = result(store.stream_open("alice", STREAM, 0, NOW)).receipts
    assert [row.seq for row in told] == [2, 3, 4]


def test_expiry_stops_among_them_and_goes_on(store: Store):
    everyone = (("bob", EPOCH + 4), ("dave", EPOCH + 8))
    result(store.append([message(1, *everyone, bodies=BODIES)]))
    keep(store, 5, EPOCH + 9, bodies=(b"alone",))

    def expired(limit: int) -> list[tuple[str, int, int, int]]:
        rows = result(store.expire(LATER, limit=limit))
        return [(row.receipt.peer, row.n - EPOCH, row.receipt.seq, row.size) for row in rows]

    assert expired(3) == [("bob", 1, 1, 1), ("bob", 2, 2, 2), ("bob", 3, 3, 0)]
    assert seen(store) == [(4, 4, b"defg"), (9, 5, b"alone")]
    assert state(store) == MailboxState(Usage(2, 9), EPOCH + 4, EPOCH + 9, {"alice": Usage(2, 9)})
    assert expired(3) == [("bob", 4, 4, 4), ("bob", 9, 5, 5), ("dave", 5, 1, 1)]
    assert seen(store, "dave") == [(6, 2, b"bc"), (7, 3, b""), (8, 4, b"defg")]
    assert expired(3) == [("dave", 6, 2, 2), ("dave", 7, 3, 0), ("dave", 8, 4, 4)]
    assert expired(3) == []
    assert result(store.mail_total()) == Usage()


def test_they_expire_in_order_of_their_time(store: Store):
    keep(store, expiry=LATER + 2)
    keep(store, 5, EPOCH + 16, expiry=LATER + 1, bodies=(b"5", b"6"))
    assert [row.receipt.seq for row in result(store.expire(LATER + 2, limit=4))] == [5, 6, 1, 2]
    assert [row.seq for row in fetch(store)] == [3, 4]


@pytest.mark.parametrize("last", [EPOCH + 10, EPOCH + 13])
def test_numbers_rise_among_them_too(store: Store, last: int):
    keep(store, bodies=(b"1",), last=EPOCH + 10)
    sent = message(2, ("dave", EPOCH + 9), ("bob", last), bodies=BODIES)
    assert result(store.append([sent])) == [Rejected("busy")]
    assert seen(store, "dave") == []
    assert len(seen(store)) == 1
    keep(store, 2)
    assert [n for n, _, _ in seen(store)] == [10, 11, 12, 13, 14]


def test_numbers_rise_among_what_is_written_at_once(store: Store):
    batch = [message(1, ("bob", EPOCH + 4), bodies=BODIES)]
    batch += [message(5, ("bob", EPOCH + 7), bodies=BODIES)]
    batch += [message(5, ("bob", EPOCH + 8), bodies=BODIES)]
    assert result(store.append(batch)) == [Accepted(), Rejected("busy"), Accepted()]


def test_the_first_number_of_an_epoch_is_not_below_it(store: Store):
    sent = message(1, ("bob", EPOCH + 3), bodies=BODIES)
    assert result(store.append([sent])) == [Rejected("busy")]
    keep(store, last=EPOCH + 4)


def test_they_are_consumed_together(store: Store):
    keep(store)
    sent = message(1, ("bob", EPOCH + 99), bodies=BODIES)
    assert result(store.stream_open("alice", STREAM, 0, NOW)).last == 4
    assert result(store.append([sent])) == [Duplicate(None)]
    assert result(store.append([sent._replace(bodies=BODIES[:2])])) == [Duplicate(None)]
    assert result(store.append([message(2, ("bob", EPOCH + 99), bodies=BODIES[:3])])) == [
        Duplicate(None)
    ]
    assert len(seen(store)) == 4
    keep(store, 5, EPOCH + 99, bodies=(b"5",))


@pytest.mark.parametrize("seq", [1, 3, 4, 6])
def test_what_is_known_in_part_or_comes_too_early_is_not_taken(store: Store, seq: int):
    keep(store)
    sent = message(seq, ("bob", EPOCH + 99), bodies=(*BODIES, b"more"))
    assert result(store.append([sent])) == [GAP]
    assert len(seen(store)) == 4
    assert result(store.stream_open("alice", STREAM, 0, NOW)).last == 4
    keep(store, 5, EPOCH + 18)


def test_they_can_follow_what_never_was_in_the_store(store: Store):
    keep(store)
    sent = message(8, ("bob", EPOCH + 20), bodies=(b"8", b"9"))
    assert result(store.append([sent._replace(after=5), sent])) == [GAP, GAP]
    assert result(store.append([sent._replace(after=4)])) == OK
    assert seen(store, after=EPOCH + 14) == [(19, 8, b"8"), (20, 9, b"9")]
    assert result(store.append([message(10)])) == OK


def test_they_are_counted_if_nobody_needs_them(store: Store):
    assert result(store.append([message(1, bodies=BODIES), message(5)])) == OK * 2
    assert result(store.mail_total()) == Usage()
    assert result(store.stream_open("alice", STREAM, 0, NOW)).last == 5


@pytest.mark.parametrize("bodies", [(b"", b""), (b"", b"", b"x"), (b"x", b""), (b"",)])
def test_they_may_be_empty(store: Store, bodies: tuple[bytes, ...]):
    keep(store, bodies=bodies)
    assert [row.body for row in fetch(store)] == list(bodies)
    acked = result(store.ack("bob", EPOCH + 15 - len(bodies), NOW))
    assert acked.freed == {"alice": Usage(1, 0 if bodies[0] == b"" else 1)}
    assert [row.body for row in fetch(store)] == list(bodies[1:])


def test_they_may_be_many(store: Store):
    bodies = tuple(bytes([at]) * (2 * at) for at in range(256))
    bodies = (*bodies[:255], bytes((1 << 20) - sum(map(len, bodies[:255]))))
    keep(store, last=EPOCH + 256, bodies=bodies)
    assert state(store).total == Usage(256, 1 << 20)
    assert seen(store) == [(at, at, body) for at, body in enumerate(bodies, 1)]
    for at in (100, 101, 255):
        result(store.ack("bob", EPOCH + at, NOW))
        assert state(store).total == Usage(256 - at, len(b"".join(bodies[at:])))
        assert seen(store)[0] == (at + 1, at + 1, bodies[at])
    assert result(store.ack("bob", EPOCH + 256, NOW)).freed == {"alice": Usage(1, len(bodies[255]))}


def test_they_are_there_after_the_store_was_opened_again(store: Store):
    keep(store, receipt=True)
    result(store.ack("bob", EPOCH + 11, NOW))
    result(store.close())
    result(store.open())
    assert seen(store) == [(12, 2, b"bc"), (13, 3, b""), (14, 4, b"defg")]
    assert result(store.ack("bob", EPOCH + 12, NOW)).receipts == (got(2),)
