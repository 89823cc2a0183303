"""A program that sends many messages, or takes many, as fast as it can.

Usage: ``pour.py FOLDER send TO WORD COUNT`` sends ``WORD 1``, ``WORD 2``, ... and prints what was
refused; ``pour.py FOLDER take COUNT`` prints what it takes, and what it is told of sealing.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from securerelay.client import Client, connect
from securerelay.errors import TimedOut

QUIET = 2.0
"""Seconds without a message after which no more are expected."""


async def send(client: Client, to: str, word: str, count: str) -> None:
    refused = client.events("refused")
    for number in range(1, int(count) + 1):
        await client.post(to, f"{word} {number}".encode())
    await client.drain(300)
    for event in refused._queue:
        print("refused", event.data, flush=True)


async def take(client: Client, count: str) -> None:
    notices = client.events("notice")
    messages = client.listen()
    taken = 0
    while True:
        try:
            message = await messages.next(120 if taken < int(count) else QUIET)
        except TimedOut:
            break
        taken += 1
        print(message.body.decode(), flush=True)
    for event in notices._queue:
        print("notice", event.data["words"], flush=True)


async def main(reactor: Any, folder: str, verb: str, *rest: str) -> None:
    client = await connect(pathlib.Path(folder), reactor=reactor)
    await (send if verb == "send" else take)(client, *rest)
    await client.close()


if __name__ == "__main__":
    react(lambda reactor, *rest: Deferred.fromCoroutine(main(reactor, *rest)), sys.argv[1:])
