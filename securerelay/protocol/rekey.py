"""REKEY: a fresh key exchange inside a session, signed by both sides (SR1 section 4).

The client sends ``01 || group || share``, the relay answers ``02 || group || share || signature``,
the client ends with ``03 || signature``.  Whoever stole the old keys cannot sign, and so does not
get the new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS, Offer
from securerelay.errors import RemoteError
from securerelay.protocol import schedule
from securerelay.protocol.schedule import RekeyRoot, SessionSecrets
from securerelay.protocol.transcript import Item, Transcript

_OFFER, _ANSWER, _DONE = b"\x01", b"\x02", b"\x03"


def _protocol(detail: str) -> RemoteError:
    return RemoteError("protocol", detail)


def _write_share(kind: bytes, group: str, share: bytes) -> bytes:
    name = group.encode("ascii")
    return kind + bytes((len(name),)) + name + len(share).to_bytes(2, "big") + share


def _write_signature(signature: bytes) -> bytes:
    return len(signature).to_bytes(2, "big") + signature


def _read_share(body: bytes, kind: bytes) -> tuple[str, bytes, int]:
    """Return group, share and where the share should end, for the caller to compare."""
    if body[:1] != kind:
        raise _protocol("another REKEY message belongs here")
    name_end = 2 + int.from_bytes(body[1:2], "big")
    share_start = name_end + 2
    end = share_start + int.from_bytes(body[name_end:share_start], "big")
    return body[2:name_end].decode("latin-1"), body[share_start:end], end


def _read_signature(body: bytes, start: int) -> bytes:
    signature = body[start + 2 :]
    if int.from_bytes(body[start : start + 2], "big") != len(signature):
        raise _protocol("REKEY with a signature of another length")
    return signature


def _require(spki: bytes, context: bytes, digest: bytes, signature: bytes) -> None:
    key = primitives.load_rsa_spki(spki)
    if key is None or not primitives.verify_pss(key, context, digest, signature):
        raise _protocol("REKEY with a wrong signature")


@dataclass(slots=True, repr=False)
class ClientRekey:
    """The client's side, from its offer to DONE."""

    group: str
    offer: Offer
    body: bytes

    @classmethod
    def begin(cls, group: str) -> ClientRekey:
        """Make the offer; ``body`` is the content of the first REKEY record."""
        offer = GROUPS[group].offer()
        return cls(group, offer, _write_share(_OFFER, group, offer.share))

    def answered(self, body: bytes, root: RekeyRoot, relay_spki: bytes) -> Answered:
        """Verify the relay's answer.

        Args:
            body: content of the relay's REKEY record.
            root: what the session kept for this.
            relay_spki: the key of the relay's certificate.

        Raises:
            RemoteError: ``protocol``.
        """
        group, share, end = _read_share(body, _ANSWER)
        signature = _read_signature(body, end)
        if group != self.group or share == self.offer.share:
            raise _protocol("REKEY answered with another group, or with our own share")
        transcript = _transcript(root, self.body)
        unsigned = transcript.copy().add(Item.REKEY_RELAY, body[:end])
        _require(relay_spki, contexts.RELAY_REKEY, unsigned, signature)
        try:
            shared = self.offer.complete(share)
        except RemoteError as error:
            raise _protocol(error.detail) from error
        digest = transcript.add(Item.REKEY_RELAY, body)
        return Answered(digest, schedule.after_rekey(root, shared, digest))


@dataclass(frozen=True, slots=True, repr=False)
class Answered:
    """A verified answer: what the client signs, and the secrets that follow."""

    digest: bytes
    secrets: SessionSecrets

    def done(self, signature: bytes) -> bytes:
        """Return the content of the client's last record under the old key."""
        return _DONE + _write_signature(signature)


def _transcript(root: RekeyRoot, offer: bytes) -> Transcript:
    transcript = Transcript()
    transcript.add(Item.REKEY_EXPORTER, root.exporter)
    transcript.add(Item.REKEY_CLIENT, offer)
    return transcript


@dataclass(slots=True, repr=False)
class RelayRekey:
    """The relay's side, from the client's offer to DONE."""

    transcript: Transcript
    unsigned: bytes
    shared: bytes
    digest: bytes
    next: SessionSecrets | None = None

    @classmethod
    def offered(cls, body: bytes, root: RekeyRoot, permitted: tuple[str, ...]) -> RelayRekey:
        """Take the client's offer; ``digest`` is what the relay's key signs under ``RELAY_REKEY``.

        Args:
            body: content of the client's REKEY record.
            root: what the session kept for this.
            permitted: groups.

        Raises:
            RemoteError: ``protocol``.
        """
        group, share, end = _read_share(body, _OFFER)
        if end != len(body) or group not in permitted:
            raise _protocol("REKEY with a group that is not permitted, or with extra bytes")
        try:
            own_share, shared = GROUPS[group].answer(share)
        except RemoteError as error:
            raise _protocol(error.detail) from error
        unsigned = _write_share(_ANSWER, group, own_share)
        transcript = _transcript(root, body)
        digest = transcript.copy().add(Item.REKEY_RELAY, unsigned)
        return cls(transcript, unsigned, shared, digest)

    def answer(self, signature: bytes, root: RekeyRoot) -> bytes:
        """Return the content of the relay's last record under the old key."""
        body = self.unsigned + _write_signature(signature)
        self.digest = self.transcript.add(Item.REKEY_RELAY, body)
        self.next = schedule.after_rekey(root, self.shared, self.digest)
        return body

    def done(self, body: bytes, peer_spki: bytes) -> SessionSecrets:
        """Verify DONE and return the secrets that follow.

        Args:
            body: content of the client's REKEY record.
            peer_spki: the key of the peer's certificate.

        Raises:
            RemoteError: ``protocol``.
        """
        if body[:1] != _DONE or self.next is None:
            raise _protocol("another REKEY message belongs here")
        _require(peer_spki, contexts.PEER_REKEY, self.digest, _read_signature(body, 1))
        return self.next
