"""A message with a key: however often it is sent, it arrives once.

The key names a stream that holds this message alone.  The relay refuses nothing twice in a stream
and accepts nothing twice, recipients drop what comes again, and the profile remembers what was sent
with the key; so each of the three would do.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from securerelay.client.drain import Drains
from securerelay.client.entry import Entry, Sent
from securerelay.client.journal import Journal
from securerelay.client.rows import Outgoing, Record
from securerelay.crypto import primitives
from securerelay.errors import Refused

LOOK_AGAIN = 0.5
"""Seconds after which to look what another process has achieved."""


async def send_once(
    journal: Journal, drains: Drains, clock: IReactorTime, entry: Entry, stream: str
) -> Sent:
    """Send a message unless that was done before, and wait for what becomes of it.

    Args:
        journal: the profile's.
        drains: makes the session that the stream needs.
        clock: the reactor.
        entry: the message; it says how long to wait.
        stream: what the key names.

    Raises:
        LocalError: if the key was used for another message.
        Refused: if the relay refused it, now or before.
    """
    to = entry.to.decode()
    message = Outgoing(1, to, entry.ttl, entry.receipt, entry.body)
    digest = primitives.sha256(entry.to, b"\0", entry.body)
    owner, now = journal.own(), journal.now()
    entry.seq = 1
    record: Record = await journal.do(lambda state: state.once(stream, owner, digest, message, now))
    while not _reached(record, entry):
        entry.done = Deferred()
        sent = await drains.deliver(stream, entry)
        if sent is not None:
            return sent
        # Another process of the profile is sending it.
        await deferLater(clock, LOOK_AGAIN)
        found = await journal.do(lambda state: state.find(stream, 1), write=False)
        record = found or record
    return Sent(stream, 1, record.delivered)


def _reached(record: Record, entry: Entry) -> bool:
    """Tell whether what the sender waits for has come about."""
    if record.state in ("refused", "expired"):
        code = record.code or record.state
        raise Refused(code, f"the relay refused a message to {record.to}")
    if record.state == "delivered" or entry.until == "queued":
        return True
    return record.state == "accepted" and entry.until == "accepted"
