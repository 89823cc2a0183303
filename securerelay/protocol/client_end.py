"""The client's end of a connection: handshake, WELCOME and REKEY (SR1 sections 3 and 4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard

from securerelay.crypto import contexts
from securerelay.errors import RemoteError
from securerelay.protocol import hello, lines, schedule
from securerelay.protocol.initiator import (
    AnswerError,
    ClientComplete,
    ClientConfig,
    ClientTicket,
    Credential,
    Initiator,
)
from securerelay.protocol.lines import LineSplitter
from securerelay.protocol.link import REKEY_INTERVAL, End, Link, LinkHost
from securerelay.protocol.records import Kind
from securerelay.protocol.rekey import ClientRekey

_MAX_TICKETS = 8

REKEY_AFTER = 3600.0
REKEY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, repr=False)
class Welcome:
    """What a relay says first, and again after a REKEY (SR1 section 4).

    ``time`` is the relay's clock in Unix ms; ``certificate`` is DER, or None when no new one came;
    ``relay_spki`` is the relay's own key, SubjectPublicKeyInfo in DER.
    """

    time: int
    tickets: tuple[ClientTicket, ...]
    limits: dict[str, Any]
    log: dict[str, Any]
    certificate: bytes | None
    resumed: bool
    relay_name: str | None
    relay_spki: bytes
    rekey: bool


class ClientHost(LinkHost, Protocol):
    """What a client's end asks of its owner."""

    def welcome(self, welcome: Welcome) -> None:
        """The relay let us in, or goes on after a REKEY."""


class ClientConnection(Link):
    """The client's end.

    Args:
        config: what the client brings.
        host: the owner of the transport.
        seconds: a clock that never goes back.
    """

    __slots__ = (
        "_answer",
        "_complete",
        "_config",
        "_exchange",
        "_host",
        "_initiator",
        "_lines",
        "_resumption",
        "_since",
        "established",
    )

    def __init__(
        self, config: ClientConfig, host: ClientHost, seconds: Callable[[], float]
    ) -> None:
        super().__init__(seconds)
        self._config = config
        self._host: ClientHost = host
        self._lines = LineSplitter()
        self._initiator: Initiator | None = Initiator(config)
        self._complete: ClientComplete | None = None
        self._exchange: ClientRekey | None = None
        self._answer: bytearray | None = None
        self._resumption = b""
        self._since = 0.0
        self.established = False
        self._held = not isinstance(config.credential, Credential)  # in an enrolment, for ever

    def start(self) -> None:
        """Send the first line."""
        assert self._initiator is not None
        self._host.write(self._initiator.hello())

    # --- lines ---

    def _receive_lines(self, data: bytes) -> None:
        self._lines.feed(data)
        while self._initiator is not None and (line := self._lines.next()) is not None:
            result = self._initiator.line(line)
            if result is None:
                continue
            if len(self._lines):
                raise RemoteError("protocol", "input before its turn")
            if isinstance(result, ClientComplete):
                self._complete_with(result)
            else:
                self._host.write(result)

    def _complete_with(self, done: ClientComplete) -> None:
        self._initiator = None
        self._resumption = done.secrets.resumption
        self.suite, self.group, self.session_id = done.suite, done.group, done.session_id
        self._establish(done.secrets.root, done.secrets.client, done.secrets.relay)
        self._config = replace(self._config, ticket=None)
        self._answer = bytearray()
        self._complete = _without_secrets(done)
        self._host.write(done.data)

    def _receive_records(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer += data
            if len(self._answer) < 2:
                return
            if self._answer.startswith(b"SR"):  # no legal length of a record: an ERR line
                self._refused(data)
                return
            data, self._answer = bytes(self._answer), None
        super()._receive_records(data)

    def _refused(self, data: bytes) -> None:
        assert self._answer is not None
        self._lines.feed(bytes(self._answer) if not len(self._lines) else data)
        line = self._lines.next()
        if line is not None:
            if lines.verb_of(line) != b"ERR":
                raise RemoteError("protocol", "a line where records belong")
            raise AnswerError(hello.read_error(line))

    def fail(self, error: RemoteError) -> None:
        """End the connection; before the WELCOME in silence, for a client has no ERR line."""
        if isinstance(error, AnswerError):
            self._finish(End(error.code, error.detail, False, True))
        elif not self.established:
            self._finish(End(error.code, error.detail, False, False))
        else:
            super().fail(error)

    def _finish(self, end: End) -> None:
        self._initiator = self._exchange = None
        self._resumption = b""
        super()._finish(end)

    # --- records ---

    def _control(self, kind: int, content: bytes) -> None:
        answer = kind == Kind.CLOSE and self._closing
        if not (self._takes_data or answer or kind in (Kind.WELCOME, Kind.ALERT)):
            raise RemoteError("protocol", "WELCOME comes first")
        super()._control(kind, content)

    def _welcomed(self, content: bytes) -> None:
        if self._takes_data or self._complete is None:
            raise RemoteError("protocol", "a second WELCOME")
        welcome = self._read_welcome(content, self._complete)
        self._takes_data = True
        self._resumption = b""
        self._since = self._seconds()
        self.carried = 0
        self.established = True
        self._host.welcome(welcome)

    def _read_welcome(self, content: bytes, complete: ClientComplete) -> Welcome:
        try:
            said = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RemoteError("protocol", "WELCOME is not JSON") from error
        time = said.get("time") if isinstance(said, dict) else None
        if not _is_time(time):
            raise RemoteError("protocol", "WELCOME without a time")
        limits, log = said.get("limits", {}), said.get("log", {})
        tickets, certificate = said.get("tickets", []), said.get("certificate")
        if not (
            isinstance(limits, dict)
            and isinstance(log, dict)
            and isinstance(tickets, list)
            and isinstance(certificate, str | None)
        ):
            raise RemoteError("protocol", "WELCOME of another form")
        return Welcome(
            time,
            tuple(self._read_ticket(row, complete) for row in tickets[:_MAX_TICKETS]),
            limits,
            log,
            None if certificate is None else lines.decode(certificate),
            complete.resumed,
            complete.relay_name,
            complete.relay_spki,
            self._rekeyed_at is not None,
        )

    def _read_ticket(self, row: object, complete: ClientComplete) -> ClientTicket:
        if not (isinstance(row, list) and len(row) == 2):
            raise RemoteError("protocol", "a ticket of another form")
        text, expiry = row
        if not (isinstance(text, str) and _is_time(expiry)):
            raise RemoteError("protocol", "a ticket of another form")
        ticket_id = lines.decode(text, hello.TICKET_SIZE)
        return ClientTicket(
            ticket_id,
            schedule.ticket_psk(self._resumption, ticket_id),
            expiry,
            complete.relay_certificate,
            complete.relay_spki,
        )

    def tick(self) -> None:
        """Look at the age of the keys, and ratchet or begin a REKEY when it is time."""
        super().tick()
        if self._seconds() - self._since >= REKEY_AFTER or self.carried >= REKEY_BYTES:
            self.rekey()

    def rekey(self) -> bool:
        """Begin a REKEY.

        Returns:
            Whether it began; not while one is under way, nor within 60 s of the last.
        """
        if not (self.established and self.may_send) or self._exchange or self._sealer is None:
            return False
        now = self._seconds()
        if self._rekeyed_at is not None and now - self._rekeyed_at < REKEY_INTERVAL:
            return False
        self._exchange = ClientRekey.begin(self.group)
        self._host.write(self._sealer.seal(Kind.REKEY, self._exchange.body))
        return True

    def _rekey_due(self) -> None:
        if not self._takes_data:
            raise RemoteError("protocol", "WELCOME comes first")
        self.rekey()

    def _rekeying(self) -> bool:
        return self._exchange is not None

    def _rekey(self, body: bytes) -> None:
        complete, credential = self._complete, self._config.credential
        assert self._root is not None
        assert self._sealer is not None
        assert self._opener is not None
        if self._exchange is None or complete is None:
            raise RemoteError("protocol", "REKEY begins with the client")
        answered = self._exchange.answered(body, self._root, complete.relay_spki)
        signature = credential.sign(contexts.PEER_REKEY, answered.digest)
        done = self._sealer.seal(Kind.REKEY, answered.done(signature))
        self._exchange = None
        self._rekeyed_at = self._seconds()
        self._root = answered.secrets.root
        self._resumption = answered.secrets.resumption
        self._sealer.install(answered.secrets.client)
        self._opener.install(answered.secrets.relay)
        self._takes_data = False
        self._host.write(done)


def _is_time(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 63


def _without_secrets(done: ClientComplete) -> ClientComplete:
    nothing = schedule.SessionSecrets(b"", b"", b"", schedule.RekeyRoot(b"", b""))
    return ClientComplete(
        b"",
        nothing,
        done.suite,
        done.group,
        done.session_id,
        done.resumed,
        done.relay_name,
        done.relay_certificate,
        done.relay_spki,
    )
