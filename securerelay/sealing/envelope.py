"""Direct envelopes (suite 1): HPKE to a prekey of the recipient's, signed inside by the sender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from securerelay.crypto import contexts, hpke
from securerelay.errors import RemoteError
from securerelay.protocol.items import encode_items
from securerelay.protocol.sealed import DirectHeader, read_header
from securerelay.sealing import plaintext
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.plaintext import Content
from securerelay.sealing.verdicts import Rejected, Verdict, require


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the relay says of a message, in MSG.

    Args:
        sender: the peer who sent it.
        to: the peer or room it was sent to.
        stream: 16 bytes.
        seq: its number in the stream.
    """

    sender: str
    to: str
    stream: bytes
    seq: int

    def check(self, content: Content) -> None:
        """Compare with what the sender signed; done only once that is verified.

        Raises:
            Rejected: ``misdirected``.
        """
        same = (content.stream, content.seq, content.to) == (self.stream, self.seq, self.to)
        require(same, Verdict.MISDIRECTED, "the relay names another stream, seq or recipient")


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened and found to be its sender's.

    Args:
        sender: who signed it.
        content: what it says.
    """

    sender: Identity
    content: Content


def binding(header: bytes, sender_fp: bytes, recipient_fp: bytes) -> bytes:
    """Return ``info``: what HPKE and the signature bind an envelope to."""
    items = encode_items(((0x01, header), (0x02, sender_fp), (0x03, recipient_fp)))
    return contexts.E2E_SEAL + b"\0" + items


def seal(
    content: Content, author: Author, recipient_fp: bytes, prekey_id: bytes, key: hpke.PublicKey
) -> bytes:
    """Return an envelope.

    Args:
        content: what to say.
        author: who says it.
        recipient_fp: the fingerprint pinned for ``content.to``, 32 bytes.
        prekey_id: from that peer's bundle, 8 bytes.
        key: its prekey.

    Raises:
        ValueError: for content that the recipient would refuse.
    """
    header = DirectHeader(author.identity.sender_id, prekey_id).encode()
    info = binding(header, author.identity.fp, recipient_fp)
    plain = plaintext.write(content, author, contexts.E2E_MESSAGE, info)
    return header + hpke.seal(key, info, plain)


def unseal(
    envelope: bytes,
    delivery: Delivery,
    me: Identity,
    find_sender: Callable[[bytes], Identity | None],
    find_prekey: Callable[[bytes], hpke.PrivateKey | None],
) -> Opened:
    """Open an envelope and check all that it and the relay say.

    Whether it came before is asked earlier, and :mod:`.numbers` accounts for its index afterwards.

    Args:
        envelope: the body of MSG.
        delivery: the header of MSG.
        me: ourselves.
        find_sender: returns who has a sender id (8 bytes) among the pins of ``delivery.sender``
            (:func:`securerelay.sealing.pins.sender`).
        find_prekey: returns the prekey of an id (8 bytes); none other is tried.

    Raises:
        Rejected: ``altered``, ``unchecked`` (no such sender pinned), ``unknown-prekey`` or
            ``misdirected``.
    """
    header = _read_header(envelope)
    sender = find_sender(header.sender_id)
    if sender is None:
        raise Rejected(Verdict.UNCHECKED, "no pinned fingerprint begins with the sender id")
    key = find_prekey(header.prekey_id)
    if key is None:
        raise Rejected(Verdict.UNKNOWN_PREKEY, header.prekey_id.hex())
    info = binding(envelope[: DirectHeader.SIZE], sender.fp, me.fp)
    plain = hpke.unseal(key, info, envelope[DirectHeader.SIZE :])
    if plain is None:
        raise Rejected(Verdict.ALTERED, "does not open")
    content = plaintext.verify(plain, sender, contexts.E2E_MESSAGE, info)
    require(sender.name == delivery.sender, Verdict.MISDIRECTED, "the relay names another sender")
    require(content.to == me.name, Verdict.MISDIRECTED, "for somebody else")
    delivery.check(content)
    return Opened(sender, content)


def _read_header(envelope: bytes) -> DirectHeader:
    try:
        header = read_header(envelope)
    except RemoteError as error:
        raise Rejected(Verdict.ALTERED, error.detail) from None
    if not isinstance(header, DirectHeader):
        raise Rejected(Verdict.ALTERED, "a message for a room")
    return header
