"""Join the pipe that an invitation leads to, say something and print the answer."""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from securerelay import channel


async def main(reactor, invitation):
    pipe = await channel.join(invitation)
    await pipe.write(b"hello through the pipe")
    print((await pipe.read()).decode())
    await pipe.close()


if __name__ == "__main__":
    react(lambda reactor, uri: Deferred.fromCoroutine(main(reactor, uri)), sys.argv[1:])
