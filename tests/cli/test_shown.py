"""What the next listener knows of what one showed that was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.cli import shown as module
from securerelay.cli.listen import receive
from securerelay.cli.shown import NAME, Shown, opened
from securerelay.client import Message
from securerelay.client.inbox import Inbox
from securerelay.errors import LocalError
from tests.cli.people import Office, Peer
from tests.network import outcome


@pytest.fixture
def bob() -> Iterator[Peer]:
    office = Office()
    yield Peer(office, "bob")
    office.close()


def start(work: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(work)


def message(n: int, sender: str = "alice") -> Message:
    return Message(sender, "bob", b"x", 0, n, "s" * 22, n, Inbox())


def listened(bob: Peer, folder: Path) -> list[bytes]:
    """Have a listener show what there is."""
    bodies: list[bytes] = []

    async def take(message: Message) -> None:
        bodies.append(message.body)

    with opened(folder) as shown:
        outcome(start(receive(bob, take, bob.office.clock.seconds, None, 0.0, shown)))  # type: ignore[arg-type]
    return bodies


def test_what_was_shown_and_not_noted_is_not_shown_again(bob: Peer, tmp_path: Path):
    killed = Shown(tmp_path)
    killed.add(message(1))
    killed.add(message(2))
    for body in (b"one", b"two", b"three"):
        bob.get("alice", body)
    assert listened(bob, tmp_path) == [b"three"]
    assert bob.inbox.acked == 3


def test_another_message_of_the_same_number_is_shown(bob: Peer, tmp_path: Path):
    killed = Shown(tmp_path)
    killed.add(message(1, "carol"))
    bob.get("alice", b"one")
    assert listened(bob, tmp_path) == [b"one"]


def test_the_file_is_private_and_emptied_when_the_profile_has_noted_everything(tmp_path: Path):
    shown = Shown(tmp_path)
    path = tmp_path / NAME
    assert path.stat().st_mode & 0o777 == 0o600
    noting: list[Deferred[None]] = [Deferred(), Deferred()]
    for number, one in enumerate(noting, 1):
        shown.add(message(number))
        start(shown.noted(message(number), one))
    noting[0].callback(None)
    assert len(path.read_bytes().splitlines()) == 2, "the second is not noted yet"
    noting[1].callback(None)
    assert path.read_bytes() == b""


def test_a_line_that_a_power_cut_spoiled_stands_for_nothing(tmp_path: Path):
    (tmp_path / NAME).write_bytes(b"\0\xff\nalice " + b"s" * 22 + b" 1\nalice " + b"s" * 22)
    shown = Shown(tmp_path)
    assert message(1) in shown
    assert message(2) not in shown


def test_a_file_that_grows_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LARGEST", 50)
    shown = Shown(tmp_path)
    shown.add(message(1))
    assert start(shown.noted(message(1), Deferred())).called
    shown.add(message(2))
    noting: Deferred[None] = Deferred()
    waiting = start(shown.noted(message(2), noting))
    assert not waiting.called
    noting.callback(None)
    assert waiting.called


def test_a_place_where_it_cannot_be_is_told(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(LocalError, match="cannot use"):
        Shown(tmp_path)


def test_what_is_noted_after_the_listener_has_ended_touches_no_file(tmp_path: Path):
    with opened(tmp_path) as shown:
        shown.add(message(1))
        noting: Deferred[None] = Deferred()
        start(shown.noted(message(1), noting))
    with open(tmp_path / "other", "w+b") as other:
        other.write(b"precious")
        other.flush()
        noting.callback(None)
        assert (tmp_path / "other").read_bytes() == b"precious"
