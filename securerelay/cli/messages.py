"""How a message that came is shown, to people and to programs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from securerelay.cli.output import Block, Output, moment
from securerelay.errors import SecureRelayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from securerelay.client import Client, Event, Message


def say_message(out: Output, message: Message, template: str) -> None:
    """Write a message.

    JSON carries the body as ``text`` if it is UTF-8, and as ``base64`` if not; the other one is
    null.

    Args:
        out: where to.
        message: what came.
        template: for people; besides the record's keys there are ``when``, ``body``, and ``who``:
            the sender, with the room if it came by one, and a remark if it was not sealed.
    """
    try:
        text = message.body.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    record = {
        "from": message.sender,
        "to": message.to,
        "time": message.time,
        "n": message.n,
        "stream": message.stream,
        "seq": message.seq,
        "text": text,
        "base64": base64.b64encode(message.body).decode("ascii") if text is None else None,
        "sealed": message.sealed,
        "level": message.level,
        "content_type": message.content_type,
    }
    who = f"{message.sender} in {message.to}" if message.to[:1] == "@" else message.sender
    if not message.sealed:
        who += " (not sealed)"
    out.say(record, template, when=moment(message.time), who=who, body=Block(message.body))


def tell_missed(client: Client, out: Output) -> Deferred[None]:
    """Remark on each member of a room who does not get a message of ours, until cancelled."""

    def tell(event: Event) -> None:
        name, seq = event.data.get("peer"), event.data.get("seq")
        out.note(f"{name} does not get message {seq}: the mailbox is full")

    return _follow(client, "missed", tell)


def tell_notices(client: Client, out: Output) -> Deferred[None]:
    """Remark on what is found out about keys and messages, until cancelled."""

    def tell(event: Event) -> None:
        out.remark({"event": "notice", **event.data}, str(event.data.get("words")))

    return _follow(client, "notice", tell)


def _follow(client: Client, kind: str, tell: Callable[[Event], None]) -> Deferred[None]:
    from twisted.internet.defer import CancelledError, Deferred

    events = client.events(kind)

    async def follow() -> None:
        async for event in events:
            tell(event)

    following: Deferred[None] = Deferred.fromCoroutine(follow())
    # Why the client has ended is for whoever ran it to tell.
    following.addErrback(lambda failure: failure.trap(CancelledError, SecureRelayError) and None)
    return following
