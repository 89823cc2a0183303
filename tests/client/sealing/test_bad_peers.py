"""An enrolled peer whose client says what no client should, and what it can do to others' clients.

It signs what it likes under its own name; nobody else may lose anything by that.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.client.sealing import accounts, vault
from securerelay.client.sealing.opener import LOOK_AGAIN
from securerelay.protocol.items import Field, u64
from securerelay.protocol.sealed import DirectHeader
from securerelay.sealing import plaintext
from securerelay.sealing.plaintext import MAX_HEADS, Content, Place
from securerelay.sealing.resend import Resend
from tests.client.sealing.village import Person, Post, Village
from tests.sealing.world import message

ALTERED = "altered or misdirected message in mallory's name"
HIGHEST = (1 << 64) - 1


@pytest.fixture
def town(village: Village) -> tuple[Village, Person, Person]:
    """Bob and mallory, who have talked."""
    bob, mallory = village.settle("bob", "mallory")
    mallory.say("bob", "hello")
    bob.forget()
    return village, bob, mallory


def say(mallory: Person, **changes: Any) -> None:
    """Have mallory sign something else than a client would."""
    write = plaintext.write

    def written(content: Content, *more: Any) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Field, "allows", lambda *_: True)
            return write(replace(content, **changes), *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plaintext, "write", written)
        mallory.say("bob", "changed")


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": HIGHEST},
        {"heads": ((b"h" * 16, HIGHEST),)},
        {"replaces": Place(b"r" * 16, 1, HIGHEST)},
        {"replaces": Place(b"r" * 16, HIGHEST, 1)},
        {"log_head": (HIGHEST, b"r" * 32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_number_that_no_database_keeps_does_not_end_the_receiver(
    town, changes: dict[str, Any]
) -> None:
    _village, bob, mallory = town
    say(mallory, **changes)
    mallory.say("bob", "after")
    assert bob.texts == ["after"]
    assert bob.notices[0] == ALTERED


def test_a_request_for_a_number_that_cannot_be_does_not_end_the_receiver(town) -> None:
    village, bob, mallory = town
    body = Resend(b"s" * 16, 1, 1).body().replace(u64(1), u64(HIGHEST), 1)
    mallory.sealing.tell("bob", Resend.CONTENT_TYPE, body)
    village.run(2)
    mallory.say("bob", "after")
    assert bob.texts == ["after"]
    assert bob.notices == [ALTERED]


@pytest.mark.parametrize(
    ("stream", "inside"),
    [(b"A" * 21 + b"B", None), (b"A" * 22, bytes(1400)), (b"A" * 22, b"\xff" * 1400)],
    ids=["a stream's name that stands for no bytes", "zeros", "ones"],
)
def test_no_envelope_ends_the_receiver(town, stream: bytes, inside: bytes | None) -> None:
    village, bob, mallory = town
    mallory.say("bob", "before")
    post = village.relay.carried[-1]
    body = post.body if inside is None else post.body[:21] + inside
    village.relay.put(replace(post, stream=stream, seq=1, body=body))
    village.run(1)
    mallory.say("bob", "after")
    assert bob.texts == ["before", "after"]
    assert bob.notices == [ALTERED]
    assert not village.relay.mailboxes[b"bob"].posts


def test_nobody_can_stand_for_a_message_of_somebody_elses(town) -> None:
    village, bob, mallory = town
    (alice,) = village.settle("alice")
    alice.say("bob", "hello")
    bob.forget()
    late: list[Post] = []
    village.relay.carry = lambda post: late.append(post) or []
    alice.say("bob", "secret")
    village.relay.carry = lambda post: [post]
    (post,) = late
    lost = replace(post, seq=90, body=post.body[:13] + bytes(8) + post.body[21:])
    village.relay.put(lost)
    village.run(2)
    stream = base64.urlsafe_b64decode(post.stream + b"==")
    for seq in (post.seq, lost.seq):
        say(mallory, replaces=Place(stream, seq, 1))
    waiting = bob.on_disk(bob.sealing.vault.unopened)
    assert [(one.sender, one.seq) for one in waiting] == [("alice", 90)]
    village.relay.put(post)
    village.run(2)
    assert bob.texts == ["changed", "changed", "secret"]
    assert bob.notices == ["1 message from alice cannot be opened yet"]


def test_nonsense_that_no_person_sees_is_dealt_with_and_takes_no_room(town) -> None:
    village, bob, mallory = town
    for kind in bob.sealing.opener.control:
        mallory.sealing.tell("bob", kind, b"nonsense" * 1000)
    village.run(3)
    mallory.say("bob", "after")
    assert bob.texts == ["after"]
    assert set(bob.notices) == {ALTERED}
    assert bob.sealing.opener._accounts._shown == {}
    assert not village.relay.mailboxes[b"bob"].posts


def gaps(count: int, streams: int) -> Iterator[Content]:
    """What tells of so many streams in which so many messages are missing."""
    for nth in range(streams // MAX_HEADS):
        told = tuple((bytes((nth, one)) * 8, count) for one in range(MAX_HEADS))
        yield replace(message(to="bob"), seq=nth + 1, index=nth + 1, heads=told)


def test_gaps_without_end_fill_neither_memory_nor_disk(town, monkeypatch) -> None:
    village, bob, _mallory = town
    monkeypatch.setattr(accounts, "MOST_MISSING", 50_000)
    monkeypatch.setattr(accounts, "MOST_OF_ONE", 64)
    kept = accounts.Accounts(bob.sealing.journal)
    for n, content in enumerate(gaps(10_000, 256), 1):
        counted = accounts.Counted(b"m" * 32, content)
        looking = Deferred.fromCoroutine(kept.look_up(counted))
        village.run()
        assert looking.called
        assert sum(kept.arrive(n, counted).gaps.values()) == MAX_HEADS * 10_000
        missing = [len(one.missing) for one in kept._ledgers.values() if one is not None]
        assert sum(missing) <= 50_000
        told = kept.dealt(n)
        assert told is not None
        bob.on_disk(lambda state, told=told, n=n: accounts.keep(state, [told], n))
    rows = bob.on_disk(
        lambda state: state.db.execute(
            "SELECT count(*), max(used) FROM account WHERE fp = ?", ((b"m" * 32).hex(),)
        ).fetchone()
    )
    assert rows[0] <= 64
    assert rows[1] == n
    others = bob.on_disk(lambda state: state.db.execute("SELECT fp FROM account").fetchall())
    assert len({fp for (fp,) in others}) == 2, "nobody else's made room"


def test_who_writes_under_ever_other_sender_ids_is_asked_about_once_in_a_minute(town) -> None:
    village, bob, mallory = town
    asked: list[str] = []

    def serve(asker: str, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        asked.extend([name] if asker == "bob" else [])
        return entry

    def flood(first: int) -> None:
        for seq in range(first, first + 20):
            body = DirectHeader(seq.to_bytes(8, "big"), bytes(8)).encode() + bytes(1400)
            village.relay.put(Post(b"mallory", b"bob", b"A" * 22, seq, body))
        village.run(1)

    village.relay.serve = serve
    village.clock.advance(LOOK_AGAIN / 1000)  # her first message made bob ask, too
    flood(1)
    assert asked == ["mallory"]
    village.clock.advance(LOOK_AGAIN / 1000)
    flood(21)
    assert asked == ["mallory"] * 2
    mallory.say("bob", "after")
    assert bob.texts == ["after"], "what opens needs no question"


def test_junk_of_one_peer_is_told_and_keeps_no_message_of_anothers_out(town, monkeypatch) -> None:
    village, bob, mallory = town
    (alice,) = village.settle("alice")
    alice.say("bob", "hello")
    bob.forget()
    monkeypatch.setattr(vault, "MOST_UNOPENED_OF_ONE", (2, 1 << 20))
    mallory.say("bob", "junk")
    junk = village.relay.carried[-1]
    for n in range(4):
        body = junk.body[:13] + bytes(8) + junk.body[21:]
        village.relay.put(replace(junk, seq=50 + n, body=body))
    alice.say("bob", "secret")
    lost = [post for post in village.relay.carried if post.sender == b"alice"][-1]
    village.relay.put(replace(lost, seq=90, body=lost.body[:13] + bytes(8) + lost.body[21:]))
    village.run(5)
    assert bob.texts == ["junk", "secret"]
    cannot = "1 message from {} cannot be opened {}"
    assert bob.notices == [
        *[cannot.format("mallory", "yet")] * 2,
        *[cannot.format("mallory", "any more")] * 2,
        cannot.format("alice", "yet"),
    ]
