"""A program of the client library for end-to-end tests: it does what its input says.

Usage: ``peers.py FOLDER [INVITATION]``. It prints JSON arrays, each beginning with
what happened.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver

from securerelay.client import Client, connect, enrol
from securerelay.errors import Refused, SecureRelayError


def tell(*what: Any) -> None:
    print(json.dumps(what), flush=True)


class Orders(LineOnlyReceiver):
    """``send TO TEXT``, ``deliver TO TEXT``, ``call METHOD``; the end closes the client."""

    delimiter = b"\n"

    def __init__(self, client: Client) -> None:
        self.client = client
        self.done: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        Deferred.fromCoroutine(self.obey(*line.decode().split(" ", 2)))

    async def obey(self, verb: str, what: str, text: str = "") -> None:
        try:
            if verb == "call":
                tell("answer", await self.client.call(what))
            else:
                wait: Any = "delivered" if verb == "deliver" else "accepted"
                sent = await self.client.send(what, text.encode(), wait=wait)
                tell(verb, text, sent.seq, sent.delivered is not None)
        except Refused as error:
            tell("refused", error.code)
        except SecureRelayError as error:
            tell("error", str(error))

    def connectionLost(self, reason: object = None) -> None:
        self.done.callback(None)


async def listen(client: Client) -> None:
    async for message in client.listen():
        tell("message", message.sender, message.body.decode())


async def watch(client: Client) -> None:
    async for event in client.events("connected", "disconnected"):
        tell(event.kind)


async def main(reactor: Any, folder: str, *invitation: str) -> None:
    path = pathlib.Path(folder)
    if invitation:
        tell("joined", (await enrol(invitation[0], path)).name)
    client = await connect(path)
    tell("connected", client.relay)
    for forever in (listen(client), watch(client)):
        Deferred.fromCoroutine(forever).addErrback(lambda failure: tell("over", str(failure.value)))
    orders = Orders(client)
    StandardIO(orders)
    await orders.done
    await client.close()


if __name__ == "__main__":
    react(lambda reactor, *rest: Deferred.fromCoroutine(main(reactor, *rest)), sys.argv[1:])
