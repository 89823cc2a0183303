"""The key log while the relay runs: the tree over its leaves, and the head that the relay signed.

The store has the leaves, each written in the transaction that it tells of.  What follows from them
is made here: the tree grows by what is new, and a head is signed once for each change, however many
connections are told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, DeferredLock

from securerelay.crypto import contexts, merkle, primitives
from securerelay.identity import keylog
from securerelay.identity.keylog import Kind, Leaf
from securerelay.relay.logging import EventLog
from securerelay.store.interface import Store
from securerelay.store.rows import LogKind, LogRow

PAGE = 1000
"""Leaves read from the store at a time."""

_KINDS: dict[LogKind, Kind] = {
    "issued": Kind.ISSUED,
    "renewed": Kind.ISSUED,
    "revoked": Kind.REVOKED,
    "closed": Kind.CLOSED,
}


def leaf_of(row: LogRow) -> bytes:
    """Return a leaf as it is hashed, from the store's row."""
    leaf = Leaf(_KINDS[row.kind], row.time, row.name, row.spki_sha256, row.certificate_sha256)
    return leaf.encode()


class KeyLog:
    """The key log of one relay.

    Args:
        store: has the leaves.
        relay_id: 32 bytes.
        sign: signs a digest (48 bytes) with the relay's key for a context, in a thread.
        now: the time, Unix ms.
        log: where it is told that this failed.
    """

    def __init__(
        self,
        store: Store,
        relay_id: bytes,
        sign: Callable[[bytes, bytes], Deferred[bytes]],
        now: Callable[[], int],
        log: EventLog,
    ) -> None:
        self._store = store
        self._relay_id = relay_id
        self._sign = sign
        self._now = now
        self._log = log
        self._tree = merkle.Tree()
        self._signed: int | None = None
        self._lock = DeferredLock()
        self._due = False
        self.head = b""
        """The newest head, signed; empty until there is one."""

    def __len__(self) -> int:
        return len(self._tree)

    def changed(self) -> None:
        """There may be new leaves: a head that has them follows soon."""
        if not self._due:
            self._due = True
            refreshing = Deferred.fromCoroutine(self.refresh())
            refreshing.addErrback(lambda failure: self._log.failure("keylog.failed", failure))

    async def refresh(self) -> None:
        """Read what is new, and sign a head if there is anything.

        Raises:
            RemoteError: ``busy``, if too many signatures are waited for.
            StorageError: if the store does not answer.
        """
        async with self._lock:
            self._due = False
            while rows := await self._store.key_log(len(self._tree), PAGE):
                for row in rows:
                    self._tree.append(merkle.leaf_hash(leaf_of(row)))
            size = len(self._tree)
            if size != self._signed:
                root, now = self._tree.root(), self._now()
                unsigned = keylog.unsigned_head(self._relay_id, size, root, now)
                digest = primitives.sha384(unsigned)
                signature = await self._sign(contexts.E2E_LOG_HEAD, digest)
                self.head, self._signed = keylog.finish_head(unsigned, signature), size

    def inclusion(self, index: int, size: int) -> Sequence[bytes]:
        """Prove that a leaf is among the first ``size``.

        Raises:
            IndexError: if there are no such leaves.
        """
        return self._tree.inclusion(index, size)

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        """Prove that the first ``second`` leaves begin with the first ``first`` ones.

        Raises:
            IndexError: if there are no such leaves.
        """
        return self._tree.consistency(first, second)
