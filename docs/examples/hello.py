"""Send a message and wait for one: a peer in ten lines."""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from securerelay.client import connect


async def main(reactor, profile, friend):
    client = await connect(profile)
    await client.send(friend, b"hello from a program")
    async for message in client.listen():
        print(message.sender, "says", message.body.decode())
        await message.ack()
        break
    await client.close()


if __name__ == "__main__":
    react(lambda reactor, *names: Deferred.fromCoroutine(main(reactor, *names)), sys.argv[1:])
