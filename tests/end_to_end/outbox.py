"""A program that sends until it is killed.

Usage: ``outbox.py FOLDER WORD MOST`` sends ``WORD 1``, ``WORD 2``, ... ``WORD MOST`` and prints
each once it is in the outbox.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import react

from securerelay.client import Client, service


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def send(client: Client, word: str, most: int) -> None:
    client.startService()
    slots = DeferredSemaphore(20)
    for number in range(1, most + 1):
        await slots.acquire()
        body = f"{word} {number}"
        sending = client.send("bob", body.encode(), wait="queued", receipt=number % 3 == 0)
        sending.addCallback(lambda _, body=body: tell(body))
        sending.addBoth(lambda _: slots.release())
    await Deferred()


async def main(reactor: Any, folder: str, word: str, most: str) -> None:
    await send(service(pathlib.Path(folder), reactor=reactor), word, int(most))


if __name__ == "__main__":
    react(lambda reactor, *rest: Deferred.fromCoroutine(main(reactor, *rest)), sys.argv[1:])
