"""What both ends have in common after the handshake: the life of records (SR1 section 4).

A link opens and seals, ratchets on UPDATE, answers CLOSE, and turns every breach by the other side
into its answer in one place.  What is particular to the relay or the client is in
:mod:`securerelay.protocol.connection`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from securerelay.errors import RemoteError
from securerelay.protocol.records import (
    MAX_CONTENT,
    MAX_RECORDS,
    BrokenRecord,
    Kind,
    Opener,
    Sealer,
)
from securerelay.protocol.schedule import RekeyRoot

ALERTS = frozenset(
    {
        "revoked",
        "expired",
        "token-used",
        "replaced",
        "shutdown",
        "protocol",
        "too-large",
        "rekey-due",
        "rekey-overdue",
        "internal",
    }
)
"""The codes of ALERT; all but ``rekey-due`` end the connection."""

UPDATE_BURST = 16
UPDATE_INTERVAL = 0.1
UPDATE_AFTER = 600.0
"""Seconds under one traffic secret after which a link ratchets by itself."""
REKEY_INTERVAL = 60.0
_REKEY_TOLERANCE = 5.0

_REASON = re.compile(rb"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended.

    ``code`` is the reason of a CLOSE, the code of an ALERT or ERR, ``truncated`` when the bytes
    just stopped, or ``record`` when a record did not open.  ``orderly`` is true after a CLOSE
    alone.
    """

    code: str
    detail: str
    orderly: bool
    by_peer: bool
    error: Exception | None = None


class LinkHost(Protocol):
    """What a link needs of whoever owns the transport."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def data(self, content: bytes) -> None:
        """Take the content of a DATA record; none at all after :meth:`Link.go_on`."""

    def ended(self, end: End) -> None:
        """Close, after lingering a little; called once, and nothing is read or written after it."""


class Link:
    """One end of a connection, from the first record on.

    Args:
        host: who owns the transport.
        seconds: a clock that never goes back.

    Attributes:
        left: set by a host that has yet to take some of what came, at :meth:`go_on`.
    """

    __slots__ = (
        "_closing",
        "_end",
        "_goodbye",
        "_held",
        "_opener",
        "_ratcheted_at",
        "_rekeyed_at",
        "_root",
        "_sealer",
        "_seconds",
        "_takes_data",
        "_update_credit",
        "_updated_at",
        "carried",
        "group",
        "left",
        "session_id",
        "suite",
    )

    _host: LinkHost

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._root: RekeyRoot | None = None
        self._takes_data = False
        self._end: End | None = None
        self._closing = self._held = self.left = False
        self._goodbye: bytes | None = None  # a CLOSE that came while the host had something left
        self._update_credit = float(UPDATE_BURST)
        self._updated_at = 0.0
        self._ratcheted_at = float("-inf")
        self._rekeyed_at: float | None = None
        self.carried = 0
        self.suite = self.group = ""
        self.session_id = b""

    @property
    def ended(self) -> bool:
        """Whether the connection is over."""
        return self._end is not None

    @property
    def may_send(self) -> bool:
        """Whether :meth:`send` may be called now; not while a REKEY is under way."""
        return self._sealer is not None and not self._held and not self._closing

    def receive(self, data: bytes) -> None:
        """Take bytes from the transport; never raises."""
        if self._end is None and self._goodbye is None:
            try:
                if self._opener is None:
                    self._receive_lines(data)
                else:
                    self._receive_records(data)
            except Exception as error:
                self._went_wrong(error)

    def go_on(self) -> None:
        """Have the host take what it left of the last DATA; never raises.

        Whoever said CLOSE behind that is answered once all of it is taken.
        """
        if self._end is None:
            try:
                self.left = False
                self._host.data(b"")
                if self._goodbye is not None and not self.left:
                    self._closed(self._goodbye)
            except Exception as error:
                self._went_wrong(error)

    def _went_wrong(self, error: Exception) -> None:
        """Whatever goes wrong on behalf of the other side ends this connection."""
        if isinstance(error, RemoteError):
            self.fail(error)
        else:  # a bug of ours: this connection ends, the others live on
            self.alert("internal", type(error).__name__, error)

    def lost(self) -> None:
        """Say that the transport is gone: without a CLOSE before, that is a truncation."""
        if self._end is None and self._goodbye is None:
            self._finish(End("truncated", "", False, True))

    def send(self, data: bytes) -> None:
        """Send a stretch of the message stream; only while :attr:`may_send`.

        Args:
            data: any number of bytes but none.
        """
        sent = self.offer(data)
        assert sent, "not established, closing, or in the middle of a REKEY"

    def offer(self, data: bytes) -> bool:
        """Send a stretch of the message stream if :attr:`may_send`.

        Args:
            data: any number of bytes but none.

        Returns:
            Whether it was sent.
        """
        sealer = self._sealer
        if sealer is None or self._held or self._closing:
            return False
        records = sealer.seal(1, data) if len(data) <= MAX_CONTENT else sealer.seal_stream(data)
        self.carried += len(records)
        self._host.write(records)
        return True

    def update(self) -> bool:
        """Ratchet our own direction: whoever steals the key later cannot read what went before.

        Returns:
            Whether it was done; not during a REKEY, nor within 100 ms of the last.
        """
        now = self._seconds()
        if (
            self._sealer is None
            or not self.may_send
            or self._rekeying()
            or now - self._ratcheted_at < UPDATE_INTERVAL
        ):
            return False
        self._ratcheted_at = now
        record = self._sealer.seal(Kind.UPDATE, b"")
        self._sealer.ratchet()
        self._host.write(record)
        return True

    def tick(self) -> None:
        """Look at the age of the keys, and renew them when it is time.  To be called often."""
        if (
            self._sealer is not None
            and self._sealer.sequence
            and self._seconds() - self._ratcheted_at >= UPDATE_AFTER
        ):
            self.update()

    def doze(self) -> None:
        """Take less memory until there is something to say or to hear."""
        if self._sealer is not None and self._opener is not None:
            self._sealer.doze()
            self._opener.doze()

    def close(self, reason: str) -> None:
        """Begin an orderly end; the other side's CLOSE completes it.

        Args:
            reason: a word of ``[a-z0-9-]``, at most 32.
        """
        if self._closing:
            return
        if self._sealer is None:
            self._finish(End(reason, "before the handshake ended", True, False))
            return
        self._closing = True
        self._host.write(self._sealer.seal(Kind.CLOSE, reason.encode("ascii")))

    def alert(self, code: str, detail: str = "", error: Exception | None = None) -> None:
        """End the connection with an ALERT.

        Args:
            code: one of :data:`ALERTS`.
            detail: for our own log.
            error: what went wrong on our side, if anything.
        """
        if self._sealer is not None and not self._closing:
            self._host.write(
                self._sealer.seal(Kind.ALERT, code.encode("ascii"), self._least_size())
            )
        self._finish(End(code, detail, False, False, error))

    def fail(self, error: RemoteError) -> None:
        """Answer a breach by the other side: the one place where it becomes bytes.

        A record that does not open gets no answer; every other breach gets an ALERT.
        """
        if isinstance(error, BrokenRecord):
            self._finish(End(error.code, error.detail, False, False))
        else:
            self.alert(error.code if error.code in ALERTS else "protocol", error.detail)

    # --- what the two ends add ---

    def _receive_lines(self, data: bytes) -> None:
        raise NotImplementedError

    def _rekey(self, body: bytes) -> None:
        raise NotImplementedError

    def _rekeying(self) -> bool:
        raise NotImplementedError

    def _welcomed(self, content: bytes) -> None:
        raise RemoteError("protocol", "WELCOME comes from a relay")

    def _least_size(self) -> int:
        return 0

    def _rekey_due(self) -> None:
        raise RemoteError("protocol", "rekey-due comes from a relay")

    # --- records ---

    def _establish(self, root: RekeyRoot, sends: bytes, receives: bytes) -> None:
        """Go over from lines to records."""
        self._root = root
        self._sealer = Sealer(self.suite, sends)
        self._opener = Opener(self.suite, receives)
        self._ratcheted_at = self._seconds() - UPDATE_INTERVAL

    def _receive_records(self, data: bytes) -> None:
        opener = self._opener
        assert opener is not None
        self.carried += len(data)
        said: list[bytes] = []
        try:
            for kind, content in opener.open_all(data):
                if kind == 1 and self._takes_data:
                    if not content:
                        raise RemoteError("protocol", "DATA without content")
                    said.append(content)
                    continue
                if said:
                    self._hear(said)
                if self._end is None:
                    self._control(kind, content)
                if self._end is not None or self._goodbye is not None:
                    return
        finally:  # what came before a breach counts
            if said:
                self._hear(said)
        if opener.sequence >= MAX_RECORDS:
            raise RemoteError("rekey-overdue", "too many records under one key")

    def _hear(self, said: list[bytes]) -> None:
        """Pass on what came in one or several records, which is cheaper than one by one."""
        content = b"".join(said)
        said.clear()
        self._host.data(content)

    def _control(self, kind: int, content: bytes) -> None:
        if kind == Kind.UPDATE:
            self._updated(content)
        elif kind == Kind.REKEY:
            if not self._closing:  # else it crossed our CLOSE, and nothing new begins any more
                self._rekey(content)
        elif kind == Kind.CLOSE:
            if self.left:
                self._goodbye = content
            else:
                self._closed(content)
        elif kind == Kind.ALERT:
            self._alerted(content)
        elif kind == Kind.WELCOME:
            self._welcomed(content)
        else:
            raise RemoteError("protocol", f"a record of type {kind} here")

    def _updated(self, content: bytes) -> None:
        if content:
            raise RemoteError("protocol", "UPDATE with content")
        now = self._seconds()
        earned = (now - self._updated_at) / UPDATE_INTERVAL
        self._update_credit = min(UPDATE_BURST, self._update_credit + earned) - 1
        self._updated_at = now
        if self._update_credit < 0:
            raise RemoteError("protocol", "too many UPDATEs")
        assert self._opener is not None
        self._opener.ratchet()

    def _closed(self, content: bytes) -> None:
        if _REASON.fullmatch(content) is None:
            raise RemoteError("protocol", "CLOSE without a reason")
        if not self._closing and self._sealer is not None:
            self._host.write(self._sealer.seal(Kind.CLOSE, b"bye"))
        self._finish(End(content.decode("ascii"), "", True, not self._closing))

    def _alerted(self, content: bytes) -> None:
        if content == b"rekey-due":
            self._rekey_due()
            return
        if _REASON.fullmatch(content) is None:
            raise RemoteError("protocol", "ALERT without a code")
        self._finish(End(content.decode("ascii"), "", False, True))

    def _check_rekey_interval(self) -> None:
        now = self._seconds()
        if (
            self._rekeyed_at is not None
            and now - self._rekeyed_at < REKEY_INTERVAL - _REKEY_TOLERANCE
        ):
            raise RemoteError("protocol", "REKEY too soon after the last")

    def _finish(self, end: End) -> None:
        if self._end is None:
            self._end = end
            self._sealer = self._opener = self._root = None
            self._host.ended(end)


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Write JSON as it goes into records and calls: UTF-8, no spaces."""
    return json.dumps(value, separators=(",", ":")).encode("utf-8")
