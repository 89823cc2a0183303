"""Who is shown as being here, and for how long."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred

from securerelay.cli.who import Board, follow
from securerelay.client import Event, Events
from securerelay.errors import ConnectError
from tests.cli.people import Record


class Watched:
    """The part of a client that watching uses; tests say what the relay lists and tells."""

    def __init__(self, *listed: dict[str, bool] | Exception) -> None:
        self.listed = deque(listed)
        self.asked: list[str] = []
        self.events = Events(frozenset(), lambda _: None)

    async def watch(self) -> Events:
        self.asked.append("watch")
        return self.events

    async def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(method)
        listed = self.listed.popleft()
        if isinstance(listed, Exception):
            raise listed
        peers = [
            {"peer": name, "online": online, "listening": False} for name, online in listed.items()
        ]
        return {"peers": peers, "more": False}

    def tell(self, kind: str, **data: Any) -> None:
        self.events.put(Event(kind, data))


def watching(client: Watched) -> Record:
    out = Record()
    Deferred.fromCoroutine(follow(client, Board(out), out))  # type: ignore[arg-type]
    return out


def told(out: Record) -> list[tuple[str, bool]]:
    return [(record["name"], record["online"]) for record in out.said]


def test_nobody_comes_or_goes_unseen_between_the_list_and_the_watch():
    client = Watched({"ann": True})
    watching(client)
    assert client.asked == ["watch", "peer.list"]


def test_what_changed_while_there_was_no_connection_is_told_afterwards():
    client = Watched(
        {"ann": True, "ben": True, "cat": False}, {"ann": True, "ben": False, "cat": True}
    )
    out = watching(client)
    client.tell("disconnected")
    assert "connection is lost" in out.notes[0]
    client.tell("connected")
    assert told(out)[3:] == [("ben", False), ("cat", True)]


def test_who_is_not_listed_any_more_is_away():
    client = Watched({"ann": True, "ben": True}, {"ann": True})
    out = watching(client)
    client.tell("connected")
    assert told(out)[2:] == [("ben", False)]


def test_a_connection_that_is_lost_again_meanwhile_is_no_end():
    client = Watched({"ann": True}, ConnectError("lost"), {"ann": False})
    out = watching(client)
    client.tell("connected")
    client.tell("disconnected")
    client.tell("connected")
    assert told(out)[1:] == [("ann", False)]


def test_what_is_known_is_not_told_again():
    client = Watched({"ann": True})
    out = watching(client)
    client.tell("presence", peer="ann", online=True, listening=False)
    client.tell("presence", peer="ann", online=True, listening=True)
    assert told(out) == [("ann", True), ("ann", True)]
