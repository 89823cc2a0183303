"""A store that lasts as long as the process: for tests, and as the model of the others."""

# ruff: noqa: D102 - securerelay.store.interface documents every method.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed

from securerelay.errors import StorageError
from securerelay.store.answers import answered
from securerelay.store.interface import Store
from securerelay.store.memory_directory import MemoryDirectory
from securerelay.store.memory_mailboxes import MemoryMailboxes
from securerelay.store.memory_rooms import MemoryRooms
from securerelay.store.rows import Durability


class MemoryStore(MemoryRooms, MemoryDirectory, MemoryMailboxes):
    """A :class:`~securerelay.store.interface.Store` whose answers have fired already.

    It keeps what it holds while closed, so that it can be opened again as if after a restart.
    """

    def __init__(self) -> None:
        MemoryDirectory.__init__(self)
        MemoryMailboxes.__init__(self)
        MemoryRooms.__init__(self)

    def open(self) -> Deferred[Durability]:
        self.is_open = True
        self._epoch += 1
        self._highest.clear()
        return succeed(Durability(self._epoch, False, "memory", created=self._epoch == 1))

    def close(self) -> Deferred[None]:
        self.is_open = False
        return succeed(None)

    def backup(self, target: Path) -> Deferred[None]:
        return fail(StorageError("what is only in memory has no backup"))

    @answered
    def tidy(self, now: int) -> None:
        self._tidy_directory(now)
        self._forget_lists(now)
        self._tidy_mailboxes(now)


if TYPE_CHECKING:
    _: Store = MemoryStore()
