"""Mailboxes: what goes in comes out once, in order; the same in every store."""

from __future__ import annotations

import pytest

from securerelay.store.interface import Store
from securerelay.store.rows import (
    Accepted,
    Expired,
    MailboxState,
    Receipt,
    Rejected,
    StoredMessage,
    Usage,
)
from tests.store.samples import LATER, NOW, STREAM, message, result

EPOCH = 1 << 32


@pytest.fixture(autouse=True)
def streams(store: Store) -> None:
    for sender in ("alice", "carol"):
        result(store.stream_open(sender, STREAM, 0, NOW))


def fill(store: Store, count: int, peer: str = "bob", **changes) -> list[int]:
    """Send so many messages from alice; returns their numbers."""
    numbers = [EPOCH + 10 * index for index in range(1, count + 1)]
    batch = [message(index + 1, (peer, n), **changes) for index, n in enumerate(numbers)]
    assert set(result(store.append(batch))) == {Accepted()}
    return numbers


def fetch(store: Store, peer: str = "bob", after: int = 0) -> list[StoredMessage]:
    return result(store.fetch(peer, after, 100, 1 << 20))


def test_an_empty_mailbox_gives_nothing(store: Store):
    assert fetch(store) == []
    assert result(store.mailbox_state("bob")) == MailboxState(Usage(), 0, 0, {})


def test_what_all_mailboxes_hold_is_counted(store: Store):
    assert result(store.mail_total()) == Usage()
    result(store.append([message(1, ("bob", EPOCH + 1), ("dave", EPOCH + 2), body=b"12345")]))
    result(store.append([message(2, ("bob", EPOCH + 3), body=b"123")]))
    assert result(store.mail_total()) == Usage(3, 13)
    result(store.ack("bob", EPOCH + 3, NOW))
    assert result(store.mail_total()) == Usage(1, 5)


def test_a_message_comes_out_as_it_went_in(store: Store):
    body = bytes(range(256))
    sent = message(1, ("bob", EPOCH + 1), body=body, receipt=True, time=NOW + 1, expiry=NOW + 2)
    result(store.append([sent]))
    expected = StoredMessage(
        EPOCH + 1, "alice", "bob", STREAM, 1, NOW + 1, NOW + 2, receipt=True, body=body
    )
    assert fetch(store) == [expected]
    assert fetch(store)[0].receipt is True


@pytest.mark.parametrize("size", [0, 1, 4000, 70_000, 1 << 20])
def test_bodies_of_every_size_come_out_whole(store: Store, size: int):
    body = bytes(index % 251 for index in range(size))
    result(store.append([message(1, ("bob", EPOCH + 1), body=body)]))
    assert fetch(store)[0].body == body
    result(store.ack("bob", EPOCH + 1, NOW))
    assert fetch(store) == []


def test_messages_come_in_order_of_their_numbers(store: Store):
    numbers = fill(store, 30)
    assert [row.n for row in fetch(store)] == numbers
    assert [row.seq for row in fetch(store)] == list(range(1, 31))


def test_a_page_begins_after_a_number_and_ends_at_its_limits(store: Store):
    numbers = fill(store, 5, body=b"x" * 100)

    def page(after: int, count: int, size: int) -> list[int]:
        return [row.n for row in result(store.fetch("bob", after, count, size))]

    assert page(numbers[1], 2, 1000) == numbers[2:4]
    assert page(numbers[1] - 1, 2, 1000) == numbers[1:3]
    assert page(0, 10, 300) == numbers[:3]
    assert page(0, 10, 299) == numbers[:2]
    assert page(0, 10, 1) == numbers[:1]
    assert page(numbers[4], 10, 1000) == []


def test_an_acknowledgement_forgets_everything_up_to_it(store: Store):
    numbers = fill(store, 4)
    acked = result(store.ack("bob", numbers[1] + 3, NOW))
    assert acked.freed == {"alice": Usage(2, 2 * len(b"message 1"))}
    assert acked.receipts == ()
    assert [row.n for row in fetch(store)] == numbers[2:]
    assert result(store.ack("bob", numbers[1], NOW)).freed == {}
    assert result(store.ack("nobody", numbers[1], NOW)).freed == {}


def test_an_acknowledgement_touches_no_other_mailbox(store: Store):
    fill(store, 2)
    result(store.append([message(1, ("dave", EPOCH + 1), sender="carol")]))
    result(store.ack("bob", EPOCH + 999, NOW))
    assert len(fetch(store, "dave")) == 1


def test_a_message_for_many_is_there_for_each_until_that_one_has_it(store: Store):
    everyone = tuple((f"peer{index}", EPOCH + index) for index in range(1, 200))
    result(store.append([message(1, *everyone, to="@team", body=b"to all")]))
    for peer, n in everyone:
        (row,) = fetch(store, peer)
        assert (row.n, row.to, row.body) == (n, "@team", b"to all")
        assert result(store.ack(peer, n, NOW)).freed == {"alice": Usage(1, 6)}
        assert fetch(store, peer) == []


def test_a_mailbox_is_measured_by_sender(store: Store):
    numbers = fill(store, 3, body=b"12345")
    more = [message(1, ("bob", EPOCH + 99), sender="carol", body=b"")]
    result(store.append(more))
    assert result(store.mailbox_state("bob")) == MailboxState(
        Usage(4, 15), numbers[0], EPOCH + 99, {"alice": Usage(3, 15), "carol": Usage(1, 0)}
    )
    result(store.ack("bob", numbers[0], NOW))
    assert result(store.mailbox_state("bob")).first == numbers[1]


def test_expired_messages_go_soonest_first_and_are_reported(store: Store):
    batch = [
        message(1, ("bob", EPOCH + 1), expiry=LATER + 3, body=b"123"),
        message(2, ("bob", EPOCH + 2), expiry=LATER + 1, body=b"12"),
        message(3, ("bob", EPOCH + 3), expiry=LATER + 2, body=b"1"),
    ]
    result(store.append(batch))
    assert result(store.expire(LATER)) == []
    first = Expired(EPOCH + 2, 2, Receipt("alice", STREAM, 2, "bob", LATER + 2, expired=True))
    second = Expired(EPOCH + 3, 1, Receipt("alice", STREAM, 3, "bob", LATER + 2, expired=True))
    assert result(store.expire(LATER + 2)) == [first, second]
    assert [row.seq for row in fetch(store)] == [1]
    assert result(store.mailbox_state("bob")).total == Usage(1, 3)


def test_expiry_stops_at_its_limit_and_goes_on(store: Store):
    fill(store, 5)
    assert len(result(store.expire(LATER, limit=3))) == 3
    assert [row.seq for row in fetch(store)] == [4, 5]
    assert len(result(store.expire(LATER, limit=3))) == 2
    assert result(store.expire(LATER, limit=3)) == []


def test_a_message_for_many_expires_for_each(store: Store):
    everyone = (("bob", EPOCH + 1), ("dave", EPOCH + 1), ("erin", EPOCH + 1))
    result(store.append([message(1, *everyone)]))
    result(store.ack("dave", EPOCH + 1, NOW))
    assert [row.receipt.peer for row in result(store.expire(LATER))] == ["bob", "erin"]
    assert fetch(store) == []


def test_a_room_send_counts_only_for_the_membership_it_was_made_for(store: Store):
    result(store.room_create("@team", "alice", NOW))
    version = result(store.room_change("@team", add=["bob"])).version
    sent = message(1, ("bob", EPOCH + 1), to="@team", room_version=version)
    result(store.room_change("@team", add=["dave"]))
    changed = Rejected("room-changed")
    assert result(store.append([sent])) == [changed]
    assert result(store.append([sent._replace(room_version=version + 1)])) == [Accepted()]
    gone = message(2, ("bob", EPOCH + 2), to="@none", room_version=1)
    assert result(store.append([gone])) == [changed]


def test_messages_are_there_after_the_store_was_opened_again(store: Store):
    numbers = fill(store, 3)
    result(store.ack("bob", numbers[0], NOW))
    result(store.close())
    result(store.open())
    assert [row.n for row in fetch(store)] == numbers[1:]
