"""The client library: connect to a relay, send, listen, call; join one by an invitation.

::

    client = await connect()
    await client.send("bob", b"hello")
    async for message in client.listen():
        print(message.sender, message.body)
    await client.close()

For a program that runs for ever, :func:`service` gives the same client as a Twisted service.
"""

from __future__ import annotations

from securerelay.client.calls import Event, Events
from securerelay.client.client import Client
from securerelay.client.enrol import enrol
from securerelay.client.entry import Sent
from securerelay.client.inbox import Message
from securerelay.client.peer import connect, service
from securerelay.client.receiving import Messages
from securerelay.client.rotation import Rotated, rotate

__all__ = [
    "Client",
    "Event",
    "Events",
    "Message",
    "Messages",
    "Rotated",
    "Sent",
    "connect",
    "enrol",
    "rotate",
    "service",
]
