"""Send a message and wait for one: a peer in ten lines."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from securerelay.client import connect


async def main(reactor, profile, friend):
    client = await connect(profile, reactor=reactor)
    await client.send(friend, b"hello from a program")
    async for message in client.listen():
        print(message.sender, "says", message.body.decode())
        break
    await client.close()


def run(reactor, *arguments):
    return Deferred.fromCoroutine(main(reactor, *arguments))


if __name__ == "__main__":
    import sys

    react(run, sys.argv[1:])
