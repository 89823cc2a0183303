"""A client's view of the key log: it only grows, it has our contacts' keys, and no foreign ones.

A relay that minted a second key for a name has to log it, where its owner sees it; or show
different logs to different people, which those see as soon as one message passes between them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import merkle
from securerelay.errors import RemoteError
from securerelay.identity import keylog
from securerelay.identity.keylog import Head, Kind, Leaf
from securerelay.sealing.verdicts import Rejected, Verdict, require

MOST_LEAVES = 1 << 24
"""Leaves of the longest log that is read: what a relay writes in decades, and it has an end."""
MOST_TOLD = 1 << 16
"""Leaves of our own name and of names that ended that are remembered from one reading."""


def read_head(raw: bytes, relay_id: bytes, relay_key: rsa.RSAPublicKey) -> Head:
    """Read a head and verify that our relay signed it.

    Args:
        raw: as it came in WELCOME or as an answer.
        relay_id: 32 bytes.
        relay_key: the relay's key, from its certificate.

    Raises:
        Rejected: ``log-bad``.
    """
    try:
        head = keylog.read_head(raw)
    except RemoteError as error:
        raise Rejected(Verdict.LOG_BAD, error.detail) from None
    require(head.relay_id == relay_id, Verdict.LOG_BAD, "a head of another relay")
    require(head.size <= MOST_LEAVES, Verdict.LOG_BAD, f"a log of {head.size} leaves")
    require(head.signed_by(relay_key), Verdict.LOG_BAD, "a head that the relay did not sign")
    return head


def agree(one: tuple[int, bytes], other: tuple[int, bytes], proof: Sequence[bytes] | None) -> bool:
    """Hold two sights of the log against each other: ours, and one served, or told by a contact.

    Args:
        one: size and root.
        other: size and root.
        proof: of consistency between them, asked from the relay if this returned False without.

    Returns:
        True if the larger is known to begin with the smaller; False if a proof is needed.

    Raises:
        Rejected: ``split-log`` if they cannot be of one log, or the proof fails.
    """
    (small, small_root), (large, large_root) = sorted((one, other))
    if small == large:
        require(small_root == large_root, Verdict.SPLIT_LOG, f"two logs of {small} leaves")
        return True
    if proof is None:
        return False
    require(
        merkle.verify_consistency(small, large, small_root, large_root, proof),
        Verdict.SPLIT_LOG,
        f"no log of {large} leaves that begins with the one of {small}",
    )
    return True


def check_inclusion(head: Head, leaf: Leaf, index: int, proof: Sequence[bytes]) -> None:
    """Check that a leaf is in the log: for a new pin, or for our own certificate.

    Args:
        head: the largest one held.
        leaf: as it follows from the certificate.
        index: its place, from 0.
        proof: as the relay sent it.

    Raises:
        Rejected: ``log-bad``.
    """
    require(
        merkle.verify_inclusion(leaf.hash(), index, head.size, proof, head.root),
        Verdict.LOG_BAD,
        f"leaf {index} is not in the log",
    )


def certifies(leaf: Leaf, name: str, spki_sha256: bytes, certificate_sha256: bytes) -> None:
    """Check that a leaf is about the certificate that somebody uses.

    Raises:
        Rejected: ``log-bad``.
    """
    expected = (Kind.ISSUED, name, spki_sha256, certificate_sha256)
    told = (leaf.kind, leaf.name, leaf.spki_sha256, leaf.certificate_sha256)
    require(told == expected, Verdict.LOG_BAD, "a leaf about another certificate")


class Reading:
    """All leaves that are new, page by page: our own name and names that have ended are looked for.

    Args:
        known: the log as far as it was read before; not changed.
        name: our own.
    """

    def __init__(self, known: merkle.Frontier, name: str) -> None:
        self._reached = merkle.Frontier(len(known), known.peaks)
        self._name = name
        self._told: list[Leaf] = []

    def __len__(self) -> int:
        """Count the leaves read so far, those known before included."""
        return len(self._reached)

    def take(self, leaves: Iterable[bytes]) -> None:
        """Read some leaves.

        Args:
            leaves: those that follow, as the relay sent them.

        Raises:
            Rejected: ``log-bad`` for what is no leaf, or more of them to be told than there can be.
        """
        for data in leaves:
            try:
                leaf = Leaf.read(data)
            except RemoteError as error:
                raise Rejected(Verdict.LOG_BAD, error.detail) from None
            self._reached.append(merkle.leaf_hash(data))
            if leaf.name == self._name or leaf.kind is not Kind.ISSUED:
                self._told.append(leaf)
        require(len(self._told) <= MOST_TOLD, Verdict.LOG_BAD, "too many names that ended")

    def end(self, head: Head, own: Collection[bytes]) -> tuple[merkle.Frontier, tuple[Leaf, ...]]:
        """Hold what was read against the head.

        Args:
            head: verified.
            own: SHA-256 of the SubjectPublicKeyInfo of all keys we ever had.

        Returns:
            The log as far as it is read now, and the new leaves of our own name and of names that
            have ended.

        Raises:
            Rejected: ``split-log`` if the leaves do not lead to the head, ``foreign-leaf`` for a
                certificate in our name with a key that is not ours.
        """
        reached = self._reached
        require(
            (len(reached), reached.root()) == (head.size, head.root),
            Verdict.SPLIT_LOG,
            f"{len(reached)} leaves do not make the head of {head.size}",
        )
        for leaf in self._told:
            foreign = leaf.kind is Kind.ISSUED and leaf.spki_sha256 not in own
            require(not foreign, Verdict.FOREIGN_LEAF, f"issued at {leaf.time}")
        return reached, tuple(self._told)
