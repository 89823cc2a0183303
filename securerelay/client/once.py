"""A message with a key: however often it is sent, it arrives once.

The key names a stream that holds this message alone.  The relay refuses nothing twice in a stream
and accepts nothing twice, recipients drop what comes again, and the profile remembers what was sent
with the key; so each of the three would do.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from securerelay.client.changes import pack
from securerelay.client.drain import Drains
from securerelay.client.entry import Entry, Sent
from securerelay.client.journal import Journal
from securerelay.client.rows import Outgoing, Record
from securerelay.crypto import primitives
from securerelay.errors import ConnectError, Refused

LOOK_AGAIN = 0.5
"""Seconds after which to look what another process has achieved."""


async def send_once(
    journal: Journal,
    drains: Drains,
    clock: IReactorTime,
    entry: Entry,
    stream: str,
    stay: Callable[[], bool],
    pack: Callable[[Entry], Outgoing] = pack,
) -> Sent:
    """Send a message unless that was done before, and wait for what becomes of it.

    Args:
        journal: the profile's.
        drains: makes the session that the stream needs.
        clock: the reactor.
        entry: the message; it says how long to wait.
        stream: what the key names.
        stay: tells whether to try again when the relay cannot be reached.
        pack: says what is journaled of it.

    Raises:
        ConnectError: if the relay cannot be reached; the message is in the journal.
        LocalError: if the key was used for another message.
        Refused: if the relay refused it, now or before.
    """
    # With a receipt, for whoever comes with the same key may want to wait for it.
    entry.receipt = True
    entry.seq = 1
    if entry.letter is not None:
        entry.letter.index = 1
    message = pack(entry)
    digest = primitives.sha256(entry.to, b"\0", entry.body)
    owner, now = journal.own(), journal.now()
    record: Record = await journal.do(lambda state: state.once(stream, owner, digest, message, now))
    while not _reached(record, entry):
        entry.done = Deferred()
        try:
            sent = await drains.deliver(stream, entry)
        except ConnectError:
            if not stay():
                raise
        else:
            if sent is not None:
                return sent
        # The relay is away, or another process of the profile is sending it.
        await deferLater(clock, LOOK_AGAIN)
        found = await journal.do(lambda state: state.find(stream, 1), write=False)
        record = found or record
    return Sent(stream, 1, record.delivered)


def _reached(record: Record, entry: Entry) -> bool:
    """Tell whether what the sender waits for has come about."""
    if record.state in ("refused", "expired"):
        code = record.code or record.state
        raise Refused(code, f"the relay refused a message to {record.to}")
    if record.state in ("delivered", "read") or entry.until == "queued":
        return True
    return record.state == "accepted" and entry.until == "accepted"
