"""The relay's end of a connection: handshake, WELCOME and REKEY (SR1 sections 3, 4 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from securerelay.crypto import contexts
from securerelay.errors import RemoteError
from securerelay.protocol import hello
from securerelay.protocol.lines import LineSplitter
from securerelay.protocol.link import End, Link, LinkHost, encode_json
from securerelay.protocol.records import FIRST_SIZE, MAX_RECORDS, Kind
from securerelay.protocol.rekey import RelayRekey
from securerelay.protocol.responder import Responder, new_tickets
from securerelay.protocol.steps import (
    Authenticated,
    Complete,
    EnrolmentRequest,
    FindInvitation,
    FindTicket,
    NewTicket,
    RelayConfig,
    Resumption,
    Step,
    Write,
)

_MAX_HELD = 256 * 1024

ASKS_AFTER = 5400.0
ASKS_BYTES = 1 << 32
ENDS_AFTER = 7200.0
ENDS_BYTES = 1 << 36


class RelayHost(LinkHost, Protocol):
    """What a relay's end asks of its owner; each answer may come inside the call or later."""

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        """Look a ticket up by SHA-256 of its id (16 bytes) and delete it.

        ``verify`` takes the PSK and raises inside the deleting transaction if the binder is wrong,
        so that the ticket stays. Answer with ``ticket_found`` or, with what was raised, ``fail``.
        """

    def find_invitation(self, token: bytes) -> None:
        """Look up an invitation's key by its token (6 bytes); answer with ``invitation_found``."""

    def sign(self, context: bytes, digest: bytes) -> None:
        """Sign with the relay's key; answer with ``signed``."""

    def authenticated(self, peer: Authenticated) -> None:
        """Check dates and revocation of a proven peer; answer with ``welcome`` or ``refuse``."""

    def enrolling(self, request: EnrolmentRequest) -> None:
        """Enrol a proven newcomer; answer with ``welcome`` (and a certificate) or ``refuse``."""

    def rekeyed(self, tickets: tuple[NewTicket, ...]) -> None:
        """Forget the session's tickets, keep these instead; answer with ``welcome``."""


class RelayConnection(Link):
    """The relay's end.

    Args:
        config: what the relay brings into every handshake.
        host: the owner of the transport.
        seconds: a clock that never goes back.
    """

    __slots__ = (
        "_asked",
        "_complete",
        "_config",
        "_exchange",
        "_host",
        "_lines",
        "_peer_spki",
        "_responder",
        "_since",
        "paused",
    )

    def __init__(self, config: RelayConfig, host: RelayHost, seconds: Callable[[], float]) -> None:
        super().__init__(seconds)
        self._config = config
        self._host: RelayHost = host
        self._lines: LineSplitter | None = LineSplitter()
        self._responder: Responder | None = Responder(config, seconds)
        self._complete: Complete | None = None
        self._exchange: RelayRekey | None = None
        self._peer_spki = b""
        self._since = 0.0
        self._asked = False
        self.paused = False

    @property
    def established(self) -> bool:
        """Whether records flow."""
        return self._sealer is not None

    # --- lines ---

    def _receive_lines(self, data: bytes) -> None:
        assert self._lines is not None
        self._lines.feed(data)
        if self.paused:
            self._check_held()
            return
        line = self._lines.next()
        if line is not None and self._responder is not None:
            self._do(self._responder.line(line))

    def _check_held(self) -> None:
        """Before C2 nothing may be waiting; after it records may, until the peer is let in."""
        waiting = len(self._lines or b"")
        if waiting > (_MAX_HELD if self._responder is None else 0):
            raise RemoteError("protocol", "input before its turn")

    def _do(self, step: Step) -> None:
        """Take one step of the handshake."""
        self.paused = not isinstance(step, Write)
        if isinstance(step, Complete):
            self._complete = step
            self._responder = None
            self.suite, self.group = step.suite, step.group
            self.session_id = step.session_id
            if isinstance(step.peer, Authenticated):
                self._peer_spki = step.peer.peer_spki
                self._host.authenticated(step.peer)
            else:
                self._host.enrolling(step.peer)
        elif isinstance(step, FindInvitation):
            self._host.find_invitation(step.token)
        else:
            self._check_held()
            if isinstance(step, Write):
                self._host.write(step.data)
            elif isinstance(step, FindTicket):
                self._host.find_ticket(step.ticket_id, step.verify)
            else:
                self._host.sign(step.context, step.digest)

    def _answered(self, advance: Callable[[Responder], Step]) -> None:
        if self._responder is not None:
            try:
                self._do(advance(self._responder))
            except Exception as error:
                self._went_wrong(error)

    def ticket_found(self, found: Resumption | None) -> None:
        """Answer ``find_ticket``; None means that it is unknown, and a full handshake follows."""
        self._answered(lambda responder: responder.ticket_found(found))

    def invitation_found(self, public_key: bytes | None) -> None:
        """Answer ``find_invitation`` with an Ed25519 key (32 bytes), None if it is unknown."""
        self._answered(lambda responder: responder.invitation_found(public_key))

    def signed(self, signature: bytes) -> None:
        """Answer ``sign``."""
        if self._exchange is None:
            self._answered(lambda responder: responder.signed(signature))
        elif self.may_send and self._sealer is not None and self._root is not None:
            body = self._exchange.answer(signature, self._root)
            self._held = True
            self._host.write(self._sealer.seal(Kind.REKEY, body))

    def welcome(self, content: Mapping[str, Any]) -> None:
        """Let the peer in, or go on after a REKEY.

        A newcomer's connection then closes by itself.

        Args:
            content: the JSON of WELCOME (SR1 section 4), at most 16,383 bytes of it.
        """
        if self._end is not None:
            return
        step = self._complete
        if step is not None:
            self._start(step)
            self._takes_data = isinstance(step.peer, Authenticated)
        assert self._sealer is not None, "nobody to welcome"
        self._held = self._asked = False
        self._since = self._seconds()
        self.carried = 0
        self._host.write(self._sealer.seal(Kind.WELCOME, encode_json(content), FIRST_SIZE))
        if step is not None:
            if isinstance(step.peer, EnrolmentRequest):
                self.close("enrolled")
            rest = self._lines.rest() if self._lines is not None else b""
            self._lines = None
            if rest:
                self.receive(rest)

    def refuse(self, code: str) -> None:
        """Turn away a peer that proved itself, with an encrypted ALERT.

        Args:
            code: ``revoked``, ``expired``, ``token-used``, ``shutdown`` or ``internal``.
        """
        self.alert(code)

    def _start(self, step: Complete) -> None:
        self._establish(step.secrets.root, step.secrets.relay, step.secrets.client)
        self._complete = None
        self.paused = False

    def _least_size(self) -> int:
        return 0 if self._takes_data and not self._held else FIRST_SIZE

    def timed_out(self) -> None:
        """Say that a deadline passed: before the welcome, or for the answer to our CLOSE."""
        if self._complete is not None:
            self.alert("internal", "too slow to let a peer in")
        elif not self.established:
            self.fail(RemoteError("timeout", "too slow"))
        elif self._closing and self._end is None:
            self._finish(End("timeout", "no answer to CLOSE", False, False))

    def fail(self, error: RemoteError) -> None:
        """Answer a breach: an ERR line before CFIN has verified, then as every link does."""
        if self._responder is not None:
            code = error.code if error.code in hello.ERROR_CODES else "auth-failed"
            self._host.write(hello.write_error(code))
            self._finish(End(code, error.detail, False, False))
        else:
            super().fail(error)

    def _finish(self, end: End) -> None:
        self._responder = self._lines = self._complete = self._exchange = None
        self.paused = False
        super()._finish(end)

    # --- records ---

    def close(self, reason: str) -> None:
        """Begin an orderly end; without a CLOSE while a REKEY waits for its WELCOME."""
        if self._held:
            self._finish(End(reason, "during a REKEY", False, False))
        else:
            super().close(reason)

    def alert(self, code: str, detail: str = "", error: Exception | None = None) -> None:
        """End the connection with an ALERT, without one while a REKEY waits for DONE."""
        if self._held and self._exchange is not None:
            self._finish(End(code, detail, False, False, error))
        else:
            if self._complete is not None:  # who proved itself is told under its keys
                self._start(self._complete)
            super().alert(code, detail, error)

    def ask_rekey(self) -> None:
        """Ask the client for a REKEY, once."""
        if self.may_send and not self._asked:
            self._asked = True
            assert self._sealer is not None
            self._host.write(self._sealer.seal(Kind.ALERT, b"rekey-due"))

    def tick(self) -> None:
        """As every link does; also ask for a REKEY in time, and end a session without one."""
        super().tick()
        if self._sealer is None or self._opener is None:
            return
        age = self._seconds() - self._since
        count = max(self._sealer.sequence, self._opener.sequence)
        if age >= ENDS_AFTER or self.carried >= ENDS_BYTES or count >= MAX_RECORDS:
            self.alert("rekey-overdue")
        elif age >= ASKS_AFTER or self.carried >= ASKS_BYTES or count >= MAX_RECORDS // 2:
            self.ask_rekey()

    def _rekeying(self) -> bool:
        return self._exchange is not None

    def _updated(self, content: bytes) -> None:
        # Only the client knows when a REKEY begins: an UPDATE of ours may cross its offer, but none
        # of its own may follow.
        if self._exchange is not None:
            raise RemoteError("protocol", "UPDATE during a REKEY")
        super()._updated(content)

    def _rekey(self, body: bytes) -> None:
        assert self._root is not None
        assert self._sealer is not None
        assert self._opener is not None
        if self._exchange is None:
            self._check_rekey_interval()
            self._exchange = RelayRekey.offered(body, self._root, self._config.groups)
            self._host.sign(contexts.RELAY_REKEY, self._exchange.digest)
            return
        secrets = self._exchange.done(body, self._peer_spki)
        self._exchange = None
        self._rekeyed_at = self._seconds()
        self._root = secrets.root
        self._sealer.install(secrets.relay)
        self._opener.install(secrets.client)
        self._host.rekeyed(new_tickets(secrets, self._config.tickets))
