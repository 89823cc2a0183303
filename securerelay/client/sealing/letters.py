"""How a message that is to be sealed lies in the journal: wrapped, its place in the open."""

from __future__ import annotations

from securerelay.client.entry import Entry, Letter
from securerelay.client.rows import Outgoing, pack_place, unpack_place
from securerelay.client.sealing.vault import Vault
from securerelay.errors import LocalError
from securerelay.protocol.items import u64

PLAIN, LETTER, HIDDEN = range(3)
"""The forms of a journaled body."""
_HEAD = 9  # time, length of the content type


def pack(vault: Vault, entry: Entry) -> Outgoing:
    """Return what is journaled of a message."""
    to, letter = entry.to.decode(), entry.letter
    if letter is None:
        return Outgoing(entry.seq, to, entry.ttl, entry.receipt, entry.body)
    kind = letter.content_type.encode()
    content = b"".join((u64(letter.time), bytes((len(kind),)), kind, entry.body))
    return Outgoing(
        *(entry.seq, to, entry.ttl, entry.receipt, vault.wrap(f"letter/{to}", content)),
        *(len(entry.body), HIDDEN if letter.hidden else LETTER),
        *(letter.index, letter.bound or None),
        pack_place(letter.replaces),
    )


def unpack(vault: Vault, message: Outgoing) -> Entry:
    """Return a message that was journaled.

    Raises:
        LocalError: if it does not open, or is of a newer version.
    """
    body, letter = message.body, None
    if message.form in (LETTER, HIDDEN):
        content = vault.unwrap(f"letter/{message.to}", message.body)
        end = _HEAD + content[_HEAD - 1]
        kind, time = content[_HEAD:end].decode(), int.from_bytes(content[:8], "big")
        letter = Letter(
            *(kind, time, message.place, message.bound or b"", unpack_place(message.replaces)),
            hidden=message.form == HIDDEN,
        )
        body = content[end:]
    elif message.form != PLAIN:
        raise LocalError("a message in the outbox is of a newer version: update this program")
    return Entry(
        *(message.to.encode(), body, message.ttl, bool(message.receipt)),
        seq=message.seq,
        journaled=True,
        letter=letter,
    )
