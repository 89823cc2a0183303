"""What a connection asks of the relay, and the session that comes of it; no transport in it.

The handshake's questions go to :mod:`~securerelay.relay.admission` and the signing threads, and
their answers back into the connection, now or later.  A question whose answer fails ends its
connection and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securerelay.errors import Refused, RemoteError
from securerelay.protocol.connection import (
    Authenticated,
    End,
    EnrolmentRequest,
    NewTicket,
    RelayConnection,
)
from securerelay.protocol.messages import MessageDecoder, relay_decoder
from securerelay.relay import admission
from securerelay.relay.context import RelayContext
from securerelay.relay.session import Session

T = TypeVar("T")

A_TURN = 256
"""Messages of a session that are taken before others have their turn; a run of SENDs is one, and a
CALL counts for many."""


class Host:
    """The owner of a connection.

    Args:
        context: the relay.
    """

    __slots__ = ("_closing", "_decoder", "connection", "context", "session", "source")

    connection: RelayConnection

    def __init__(self, context: RelayContext) -> None:
        self.context = context
        self.session: Session | None = None
        self.source = ""
        self._decoder: MessageDecoder | None = None
        self._closing = False

    # --- what the transport's side adds ---

    def write(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def ended(self, end: End) -> None:
        """Close, after lingering a little."""
        raise NotImplementedError

    def entered(self) -> None:
        """The connection is a peer's now."""
        raise NotImplementedError

    def answered(self) -> None:
        """A question was answered; reading may go on."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """See :class:`~securerelay.relay.session.Wire`."""
        raise NotImplementedError

    def send(self, data: bytes) -> bool:
        """See :class:`~securerelay.relay.session.Wire`."""
        raise NotImplementedError

    def hold(self, hold: bool) -> None:
        """See :class:`~securerelay.relay.session.Wire`."""
        raise NotImplementedError

    def abort(self, reason: str) -> None:
        """See :class:`~securerelay.relay.session.Wire`."""
        raise NotImplementedError

    # --- the handshake's questions ---

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        """See :class:`~securerelay.protocol.connection.RelayHost`."""
        found = Deferred.fromCoroutine(admission.find_ticket(self.context, ticket_id, verify))
        self._ask(found, self.connection.ticket_found)

    def find_invitation(self, token: bytes) -> None:
        """See :class:`~securerelay.protocol.connection.RelayHost`."""
        found = Deferred.fromCoroutine(admission.find_invitation(self.context, token))
        self._ask(found, self.connection.invitation_found)

    def sign(self, context: bytes, digest: bytes) -> None:
        """See :class:`~securerelay.protocol.connection.RelayHost`."""
        signed = self.context.pool.run(self.context.sign, context, digest)
        self._ask(signed, self.connection.signed)

    def authenticated(self, peer: Authenticated) -> None:
        """See :class:`~securerelay.protocol.connection.RelayHost`."""
        admitted = Deferred.fromCoroutine(admission.admit(self.context, peer))
        self._ask(admitted, self._admitted)

    def enrolling(self, request: EnrolmentRequest) -> None:
        """See :class:`~securerelay.protocol.connection.RelayHost`."""
        enrolled = Deferred.fromCoroutine(admission.enrol(self.context, request, self.source))
        self._ask(enrolled, self.connection.welcome)

    def rekeyed(self, tickets: tuple[NewTicket, ...]) -> None:
        """See :class:`~securerelay.protocol.connection.RelayHost`."""
        if self.session is None:
            self.connection.fail(RemoteError("protocol", "a newcomer's REKEY"))
            return
        welcome = Deferred.fromCoroutine(admission.again(self.context, self.session, tickets))
        self._ask(welcome, self._welcomed_again)

    def _ask(self, question: Deferred[T], answer: Callable[[T], object]) -> None:
        question.addCallback(answer).addErrback(self._no_answer).addBoth(self._go_on)

    def _go_on(self, _: object) -> None:
        self.answered()

    def _no_answer(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Refused):
            self.connection.refuse(error.code)
        elif isinstance(error, RemoteError):
            self.connection.fail(error)
        else:
            self.context.log.failure("connection.failed", failure, source=self.source)
            self.connection.refuse("internal")

    def _admitted(self, admitted: admission.Admitted) -> None:
        if self.connection.ended:
            return
        context = self.context
        who = admitted.peer
        session = Session(
            context,
            self,
            context.router.peer(who.name),
            who.session_id,
            not who.resumed,
            admitted.proved,
        )
        self.session = session
        self._decoder = relay_decoder(
            session, context.config.limits.message_bytes, session.send_run, A_TURN
        )
        self.entered()
        context.router.enter(session)
        context.log.info(
            "session.opened",
            source=self.source,
            peer=who.name,
            session=who.session_id.hex(),
            resumed="yes" if who.resumed else None,
        )
        self.connection.welcome(admitted.welcome)

    def _welcomed_again(self, content: dict[str, object]) -> None:
        self.connection.welcome(content)
        if self.session is not None:
            self.session.flush()

    # --- the session's side ---

    def data(self, content: bytes) -> None:
        """Take the content of a DATA record; after our CLOSE it is not looked at any more."""
        if self._decoder is None:
            raise RemoteError("protocol", "DATA of a newcomer")
        session, link = self.session, self.connection
        if self._closing or not self._decoder.feed(content) or session is None or link.left:
            return
        link.left = True
        session.hold_rest(True)
        self.context.reactor.callLater(0, self._take_rest, session)

    def _take_rest(self, session: Session) -> None:
        """Go on with what was read, now that others had their turn."""
        session.hold_rest(False)
        self.connection.go_on()

    def doze(self) -> None:
        """See :class:`.session.Wire`."""
        self.connection.doze()

    def close(self, reason: str) -> None:
        """See :class:`~securerelay.relay.session.Wire`."""
        self._closing = True
        self.connection.close(reason)

    def alert(self, code: str) -> None:
        """See :class:`~securerelay.relay.session.Wire`."""
        self.connection.alert(code)
