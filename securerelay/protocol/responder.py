"""The relay's side of the handshake, as a table of states (SR1 sections 3 and 6).

::

    Hello ──C1──▶ (Ticket) ──▶ Signing ──▶ Auth ──C2──▶ done
      │ RETRY       ▲  asks the store        │ enrolment
      └──▶ Hello ───┘                        └──▶ Invited ──▶ done

Each state holds the keys that it may use and no others, and has a method for the one thing that may
happen in it; so what comes at a wrong time finds nothing to run.  A step is what the connection
does next: write, ask its host, or go on to records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securerelay import names
from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS
from securerelay.errors import RemoteError
from securerelay.protocol import auth, hello, schedule
from securerelay.protocol.hello import ClientHello
from securerelay.protocol.schedule import HandshakeSecrets, SessionSecrets
from securerelay.protocol.steps import (
    Authenticated,
    Complete,
    EnrolmentRequest,
    FindInvitation,
    FindTicket,
    NewTicket,
    RelayConfig,
    Resumption,
    Sign,
    Step,
    Write,
)
from securerelay.protocol.transcript import Item, Transcript

TOKEN_SIZE = 6

_CERTIFICATE_FORM = (Item.CCERT, Item.CSIG, Item.CFIN)
_ENROLMENT_FORM = (Item.INVITE, Item.NEWKEY, Item.POSSESSION, Item.INVITESIG, Item.CFIN)
_RESUMED_FORM = (Item.CFIN,)


class Responder:
    """The relay's side of one handshake.

    Args:
        config: what the relay brings.
        now: seconds on a clock that never goes back, for the memory of knocks.
    """

    __slots__ = ("_state",)

    def __init__(self, config: RelayConfig, now: Callable[[], float]) -> None:
        self._state: _State = _Hello(config, now)

    def line(self, line: bytes) -> Step:
        """Take a line, without its LF.

        Raises:
            RemoteError: with the code of the ERR line that answers it.
        """
        if not isinstance(self._state, _Hello | _Auth):
            raise RemoteError("protocol", "a line before its turn")
        return self._enter(self._state.line(line))

    def ticket_found(self, found: Resumption | None) -> Step:
        """Take the answer to :class:`FindTicket`; None leads to a full handshake."""
        assert isinstance(self._state, _Ticket), "no ticket was asked for"
        return self._enter(self._state.found(found))

    def signed(self, signature: bytes) -> Step:
        """Take the answer to :class:`Sign`."""
        assert isinstance(self._state, _Signing), "no signature was asked for"
        return self._enter(self._state.signed(signature))

    def invitation_found(self, public_key: bytes | None) -> Step:
        """Take the answer to :class:`FindInvitation`: an Ed25519 key (32 bytes) or None."""
        assert isinstance(self._state, _Invited), "no invitation was asked for"
        return self._enter(self._state.found(public_key))

    def _enter(self, change: tuple[_State, Step]) -> Step:
        self._state, step = change
        return step


@dataclass(slots=True)
class _Hello:
    """C1 belongs here, or after a RETRY C1'."""

    config: RelayConfig
    now: Callable[[], float]
    first: ClientHello | None = None
    retry: bytes = b""

    def line(self, line: bytes) -> tuple[_State, Step]:
        config = self.config
        key = hello.knock_key(config.relay_id)
        said = hello.read_client_hello(line, key, config.knocks, self.now())
        suite = _first(config.suites, said.suites, "no-common-suite")
        group = _first(config.groups, said.groups, "no-common-group")
        if said.group not in said.groups:
            raise RemoteError("bad-share", "a share of a group that is not offered")
        transcript = Transcript()
        if self.first is not None:
            if not said.unchanged(self.first) or said.group != group:
                raise RemoteError("protocol", "C1' says something else than C1")
            transcript.add(Item.FIRST_C1, primitives.sha384(self.first.line))
            transcript.add(Item.RETRY, self.retry)
        elif said.group != group:
            retry = hello.write_retry(group)
            return _Hello(config, self.now, said, retry), Write(retry + b"\n")
        # The share comes before the ticket: what is refused for its share must not use a ticket up.
        chosen = _Choice(config, said, suite, group, transcript, *GROUPS[group].answer(said.share))
        if said.ticket is None:
            return chosen.answer(None)
        return _Ticket(chosen), FindTicket(said.ticket, chosen.verify_binder)


def _first(preferred: Sequence[str], offered: Sequence[str], code: str) -> str:
    for name in preferred:
        if name in offered:
            return name
    raise RemoteError(code, "nothing in common")


@dataclass(slots=True)
class _Choice:
    """What HELLO settled; not yet a state, but what the next ones share."""

    config: RelayConfig
    said: ClientHello
    suite: str
    group: str
    transcript: Transcript
    share: bytes
    shared: bytes

    def verify_binder(self, psk: bytes) -> None:
        """Check the proof that the client has the ticket's PSK.

        Raises:
            RemoteError: ``auth-failed``.
        """
        partial = self.transcript.copy().add(Item.PARTIAL_C1, self.said.partial())
        binder = self.said.binder
        if binder is None or not primitives.equal(binder, schedule.binder(psk, partial)):
            raise RemoteError("auth-failed", "wrong binder")

    def answer(self, resumption: Resumption | None) -> tuple[_State, Step]:
        """Say HELLO and derive the handshake's secrets."""
        transcript = self.transcript
        transcript.add(Item.C1, self.said.line)
        nonce = primitives.random_bytes(hello.NONCE_SIZE)
        line = hello.write_relay_hello(
            self.suite, nonce, self.group, self.share, resumption is not None
        )
        digest = transcript.add(Item.S1, line)
        early = schedule.early(resumption.psk if resumption else None)
        secrets = schedule.handshake(early, self.shared, digest)
        state = _Auth(self.config, self.suite, self.group, transcript, secrets, resumption)
        if resumption is not None:
            return state, Write(line + b"\n" + state.own_auth([(Item.EE, b"")]))
        items = [(Item.EE, self.config.ca_spki), (Item.SCERT, self.config.certificate)]
        for kind, value in items:
            digest = transcript.add(kind, value)
        return _Signing(state, line, items), Sign(contexts.RELAY_VERIFY, digest)


@dataclass(slots=True)
class _Ticket:
    """The store looks for a ticket."""

    chosen: _Choice

    def found(self, resumption: Resumption | None) -> tuple[_State, Step]:
        return self.chosen.answer(resumption)


@dataclass(slots=True)
class _Signing:
    """The relay's key signs the transcript, in a thread most often."""

    next: _Auth
    line: bytes
    items: list[tuple[Item, bytes]]

    def signed(self, signature: bytes) -> tuple[_State, Step]:
        self.next.transcript.add(Item.SSIG, signature)
        items = [*self.items, (Item.SSIG, signature)]
        return self.next, Write(self.line + b"\n" + self.next.own_auth(items))


@dataclass(slots=True)
class _Auth:
    """C2 belongs here: the client's proof, or a newcomer's."""

    config: RelayConfig
    suite: str
    group: str
    transcript: Transcript
    secrets: HandshakeSecrets
    resumption: Resumption | None

    def own_auth(self, items: list[tuple[Item, bytes]]) -> bytes:
        """Return the relay's AUTH with these items, which are in the transcript, and SFIN."""
        transcript = self.transcript
        if self.resumption is not None:
            transcript.add(*items[0])
        finished = schedule.finished(self.secrets.relay, transcript.digest())
        transcript.add(Item.SFIN, finished)
        return auth.seal(
            self.suite,
            self.secrets.relay,
            contexts.RELAY_AUTH,
            [*items, (Item.SFIN, finished)],
            self.resumption is not None,
        )

    def line(self, line: bytes) -> tuple[_State, Step]:
        resumed = self.resumption is not None
        forms = (_RESUMED_FORM,) if resumed else (_CERTIFICATE_FORM, _ENROLMENT_FORM)
        values = auth.unseal(
            line, self.suite, self.secrets.client, contexts.CLIENT_AUTH, forms, resumed
        )
        if self.resumption is not None:
            self.confirm(values[0])
            old = self.resumption
            return self.complete(
                old.name, b"", old.certificate_sha256, old.peer_spki, old.auth_time
            )
        if len(values) == len(_ENROLMENT_FORM):
            return self.invited(values)
        certificate, signature, finished = values
        peer = self.config.check_peer(certificate)
        digest = self.transcript.add(Item.CCERT, certificate)
        self.require_signature(peer.spki, contexts.PEER_VERIFY, digest, signature)
        self.transcript.add(Item.CSIG, signature)
        self.confirm(finished)
        return self.complete(
            peer.name, certificate, primitives.sha256(certificate), peer.spki, None
        )

    def require_signature(
        self, spki: bytes, context: bytes, digest: bytes, signature: bytes
    ) -> None:
        """Check a signature by a peer's key, old or new."""
        key = primitives.load_rsa_spki(spki)
        if key is None or not primitives.is_strong_rsa(key, 2048, 4096):
            raise RemoteError("auth-failed", "not an RSA key of 2048 to 4096 bits")
        if not primitives.verify_pss(key, context, digest, signature):
            raise RemoteError("auth-failed", "wrong signature")

    def confirm(self, finished: bytes) -> None:
        """Check CFIN, the last item of C2."""
        expected = schedule.finished(self.secrets.client, self.transcript.digest())
        if not primitives.equal(finished, expected):
            raise RemoteError("auth-failed", "wrong CFIN")
        self.transcript.add(Item.CFIN, finished)

    def complete(
        self, name: str, certificate: bytes, sha256: bytes, spki: bytes, auth_time: int | None
    ) -> tuple[_State, Step]:
        secrets, session_id = schedule.session(self.secrets.handshake, self.transcript.digest())
        peer = Authenticated(
            name,
            certificate,
            sha256,
            spki,
            self.resumption is not None,
            auth_time,
            session_id,
            self.suite,
            self.group,
            new_tickets(secrets, self.config.tickets),
        )
        return _Done(), Complete(peer, secrets, self.suite, self.group, session_id)

    def invited(self, values: list[bytes]) -> tuple[_State, Step]:
        invite, spki, possession, invite_signature, finished = values
        token, name = invite[:TOKEN_SIZE], invite[TOKEN_SIZE:]
        if not names.is_peer(name):  # which is empty if the token is short
            raise RemoteError("auth-failed", "no token and name")
        self.transcript.add(Item.INVITE, invite)
        digest = self.transcript.add(Item.NEWKEY, spki)
        self.require_signature(spki, contexts.ENROL_POSSESSION, digest, possession)
        invite_digest = self.transcript.add(Item.POSSESSION, possession)
        self.transcript.add(Item.INVITESIG, invite_signature)
        self.confirm(finished)
        return (
            _Invited(self, token, name.decode("ascii"), spki, invite_digest, invite_signature),
            FindInvitation(token),
        )


@dataclass(slots=True)
class _Invited:
    """The store looks for the invitation whose key must have signed."""

    auth: _Auth
    token: bytes
    name: str
    spki: bytes
    digest: bytes
    signature: bytes

    def found(self, public_key: bytes | None) -> tuple[_State, Step]:
        if public_key is None or not primitives.verify_ed25519(
            public_key, contexts.ENROL_INVITATION, self.digest, self.signature
        ):
            raise RemoteError("auth-failed", "unknown invitation, or wrong signature by it")
        state = self.auth
        secrets, session_id = schedule.session(state.secrets.handshake, state.transcript.digest())
        request = EnrolmentRequest(self.token, self.name, self.spki, session_id)
        return _Done(), Complete(request, secrets, state.suite, state.group, session_id)


@dataclass(slots=True)
class _Done:
    """No line belongs here any more."""


_State = _Hello | _Ticket | _Signing | _Auth | _Invited | _Done


def new_tickets(secrets: SessionSecrets, count: int) -> tuple[NewTicket, ...]:
    """Make the tickets of a session; ``secrets.resumption`` is dropped afterwards."""
    ids = [primitives.random_bytes(hello.TICKET_SIZE) for _ in range(count)]
    return tuple(NewTicket(id_, schedule.ticket_psk(secrets.resumption, id_)) for id_ in ids)
