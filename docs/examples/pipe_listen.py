"""Invite one other program to an encrypted pipe, and echo what it says."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from securerelay import channel


async def main(reactor):
    listener = await channel.listen("tcp:0:interface=127.0.0.1")
    print(listener.invitation, flush=True)
    pipe = await listener.accept()
    async for chunk in pipe:
        await pipe.write(chunk)
    await pipe.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
