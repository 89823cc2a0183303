"""An authenticated, encrypted pipe between two programs, without a relay.

One end listens and shows a one-line invitation; the other joins with it.  Handshake and records are
those of SR1, with an authority and keys that live in memory for this one channel; nothing is
trusted silently and nothing is left behind::

    listener = await channel.listen("tcp:0:interface=127.0.0.1")
    print(listener.invitation)
    pipe = await listener.accept()

    pipe = await channel.join(invitation)
    await pipe.write(b"hello")
    async for chunk in pipe:
        ...
    await pipe.close()

``pipe.fingerprint`` is the same at both ends, for people who want to compare it.
``pipe.attach(protocol)`` runs a Twisted protocol over it.  :mod:`securerelay.channel.tunnel` runs a
channel inside anything else that carries bytes.
"""

from __future__ import annotations

from securerelay.channel.pipe import Pipe, PipeTransport
from securerelay.channel.wire import Listener, join, listen

__all__ = ["Listener", "Pipe", "PipeTransport", "join", "listen"]
