"""Merkle trees as Certificate Transparency has them (RFC 9162 section 2.1), with SHA-256.

A leaf that was ever appended stays where it is.  An inclusion proof shows that a leaf is in the
tree with a given root; a consistency proof that one tree begins with all of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from securerelay.crypto.primitives import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256()
"""The root of a tree without leaves."""
MAX_PROOF = 64
"""Hashes that the longest proof can need, for a tree of up to 2^63 leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return sha256(b"\x00", leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node from those of its children, 32 bytes."""
    return sha256(b"\x01", left, right)


class Tree:
    """A growing tree that remembers the hash of every complete subtree.

    Appending costs two hashes on average; roots and proofs cost as many as the tree is high.  It
    takes 64 bytes of memory a leaf.

    Args:
        leaves: hashes of leaves to begin with (:func:`leaf_hash`).
    """

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        # The hash at i in _levels[k] covers the 2^k leaves from i * 2^k on.
        self._levels: list[bytearray] = [bytearray()]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0]) // HASH_SIZE

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf (:func:`leaf_hash`) at the end."""
        level = 0
        self._levels[0] += leaf
        while len(self._levels[level]) % (2 * HASH_SIZE) == 0:
            pair = bytes(self._levels[level][-2 * HASH_SIZE :])
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node_hash(pair[:HASH_SIZE], pair[HASH_SIZE:])

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the whole tree, or of its first ``size`` leaves."""
        size = self._within(len(self) if size is None else size)
        return self._hash(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the proof that leaf ``index`` is in the tree of the first ``size`` leaves.

        RFC 9162 section 2.1.3.1.

        Raises:
            IndexError: if there is no such leaf.
        """
        if not 0 <= index < self._within(size):
            raise IndexError(f"no leaf {index} among {size}")
        proof = []
        start, length = 0, size
        while length > 1:
            half = _half(length)
            if index < start + half:
                proof.append(self._hash(start + half, length - half))
                length = half
            else:
                proof.append(self._hash(start, half))
                start, length = start + half, length - half
        return proof[::-1]

    def consistency(self, first: int, second: int) -> list[bytes]:
        """Return the proof that the first ``second`` leaves begin with the first ``first`` ones.

        RFC 9162 section 2.1.4.1; nothing needs to be proven about an empty tree, nor about one of
        the same size.

        Raises:
            IndexError: if there are fewer leaves.
        """
        if not 0 <= first <= self._within(second):
            raise IndexError(f"{first} leaves of {second}")
        if first in (0, second):
            return []
        proof = []
        start, length, known = 0, second, True
        while first != start + length:
            half = _half(length)
            if first <= start + half:
                proof.append(self._hash(start + half, length - half))
                length = half
            else:
                proof.append(self._hash(start, half))
                start, length, known = start + half, length - half, False
        if not known:
            proof.append(self._hash(start, length))
        return proof[::-1]

    def _within(self, size: int) -> int:
        if not 0 <= size <= len(self):
            raise IndexError(f"{size} leaves; there are {len(self)}")
        return size

    def _hash(self, start: int, length: int) -> bytes:
        if length & (length - 1) == 0:
            place = start // length * HASH_SIZE
            return bytes(self._levels[length.bit_length() - 1][place : place + HASH_SIZE])
        half = _half(length)
        return node_hash(self._hash(start, half), self._hash(start + half, length - half))


class Frontier:
    """The complete subtrees that a tree ends in: all that is needed to append and know the root.

    Args:
        size: leaves so far.
        peaks: the roots of the subtrees, largest first, one for each bit set in ``size``.

    Raises:
        ValueError: if their number does not fit the size.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or size.bit_count() != len(peaks):
            raise ValueError(f"{len(peaks)} peaks of a tree of {size} leaves")
        self._size = size
        self._peaks = list(peaks)

    def __len__(self) -> int:
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """What to keep besides the size."""
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf (:func:`leaf_hash`) at the end."""
        full = self._size
        while full & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            full >>= 1
        self._peaks.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        """Return the root of the tree."""
        if not self._peaks:
            return EMPTY_ROOT
        hashed = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            hashed = node_hash(peak, hashed)
        return hashed


def _half(length: int) -> int:
    """Return the largest power of two below a length of 2 or more."""
    return 1 << ((length - 1).bit_length() - 1)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Tell whether a proof shows a leaf to be in a tree (RFC 9162 section 2.1.3.2).

    Args:
        leaf: the hash of the leaf.
        index: its place, from 0.
        size: leaves of the tree.
        proof: hashes as :meth:`Tree.inclusion` returns them.
        root: the root of the tree.
    """
    if not 0 <= index < size:
        return False
    place, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            hashed = node_hash(sibling, hashed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and hashed == root


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether a proof shows one tree to begin with another (RFC 9162 section 2.1.4.2).

    Args:
        first: leaves of the smaller tree.
        second: leaves of the larger tree.
        first_root: the root of the smaller tree.
        second_root: the root of the larger tree.
        proof: hashes as :meth:`Tree.consistency` returns them.
    """
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    hashes = list(proof)
    if first & (first - 1) == 0:
        hashes.insert(0, first_root)
    if not hashes:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root
