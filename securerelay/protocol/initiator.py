"""The client's side of the handshake, as a table of states (SR1 sections 3 and 6).

::

    C1 ──▶ Hello ──RETRY, C1'──▶ Hello ──S1 HELLO──▶ Auth ──S1 AUTH──▶ C2, done

The client believes nothing before the CA of the relay id vouches for the relay, and shows nothing
of itself before the relay has proved its key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import DEFAULT_GROUPS, GROUPS, Offer
from securerelay.errors import RemoteError
from securerelay.protocol import auth, hello, lines, schedule
from securerelay.protocol.schedule import HandshakeSecrets, SessionSecrets
from securerelay.protocol.transcript import Item, Transcript

_FULL_FORM = (Item.EE, Item.SCERT, Item.SSIG, Item.SFIN)
_RESUMED_FORM = (Item.EE, Item.SFIN)


class RelayIdentity(Protocol):
    """What a relay's certificate says, once its CA's signature and its profile are checked."""

    @property
    def name(self) -> str:
        """The relay's name."""

    @property
    def spki(self) -> bytes:
        """The relay's public key, SubjectPublicKeyInfo in DER."""


Signer = Callable[[bytes, bytes], bytes]
"""Signs with the peer's key: context and hash (48 bytes) in, PSS signature out."""


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """An enrolled peer: its certificate (DER) and its key, which only signs."""

    certificate: bytes
    sign: Signer


@dataclass(frozen=True, slots=True, repr=False)
class Enrolment:
    """A newcomer: what the invitation holds, and the new key."""

    token: bytes
    name: str
    seed: bytes
    spki: bytes
    sign: Signer


@dataclass(frozen=True, slots=True, repr=False)
class ClientTicket:
    """A ticket as the client keeps it, with the certificate of the relay that gave it."""

    id: bytes
    psk: bytes
    expiry: int
    relay_certificate: bytes
    relay_spki: bytes


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What a client brings into a handshake.

    Args:
        relay_id: 32 bytes, from the invitation.
        check_relay: takes the CA's SubjectPublicKeyInfo and the relay's certificate, both DER;
            checks the one strictly against the other, and raises CertificateError.
        credential: who the client is, or is to become.
        ticket: resumes an earlier session; has been deleted wherever it was kept.
        suites: AEADs by preference.
        groups: permitted groups by preference; the first one is shared at once.
    """

    relay_id: bytes
    check_relay: Callable[[bytes, bytes], RelayIdentity]
    credential: Credential | Enrolment
    ticket: ClientTicket | None = None
    suites: tuple[str, ...] = primitives.SUITES
    groups: tuple[str, ...] = DEFAULT_GROUPS
    share: str | None = field(default=None)


@dataclass(frozen=True, slots=True, repr=False)
class ClientComplete:
    """The relay has proved itself; ``data`` (C2) proves the client, and records follow."""

    data: bytes
    secrets: SessionSecrets
    suite: str
    group: str
    session_id: bytes
    resumed: bool
    relay_name: str | None
    relay_certificate: bytes
    relay_spki: bytes


class Initiator:
    """The client's side of one handshake.

    Args:
        config: what the client brings.
    """

    __slots__ = ("_state",)

    def __init__(self, config: ClientConfig) -> None:
        self._state: _Hello | _Auth = _Hello.first(
            config, primitives.random_bytes(hello.NONCE_SIZE)
        )

    def hello(self) -> bytes:
        """Return C1 with its LF."""
        assert isinstance(self._state, _Hello), "the first line opens the handshake"
        return self._state.sent + b"\n"

    def line(self, line: bytes) -> bytes | ClientComplete | None:
        """Take a line of the relay's, without its LF.

        Returns:
            Bytes to send, None to wait for the next line, or the end of the handshake.

        Raises:
            RemoteError: the relay's own code after an ERR line; else what the relay did wrong.
        """
        if lines.verb_of(line) == b"ERR":
            raise AnswerError(hello.read_error(line))
        if isinstance(self._state, _Auth):
            return self._state.line(line)
        self._state = self._state.line(line)
        return self._state.sent + b"\n" if isinstance(self._state, _Hello) else None


class AnswerError(RemoteError):
    """The relay sent an ERR line."""


@dataclass(slots=True)
class _Hello:
    """The relay's HELLO belongs here, or a RETRY."""

    config: ClientConfig
    nonce: bytes
    group: str
    offer: Offer
    sent: bytes
    transcript: Transcript
    retried: bool = False

    @classmethod
    def first(cls, config: ClientConfig, nonce: bytes) -> _Hello:
        return cls.offering(config, nonce, config.share or config.groups[0], Transcript(), False)

    @classmethod
    def offering(
        cls, config: ClientConfig, nonce: bytes, group: str, transcript: Transcript, retried: bool
    ) -> _Hello:
        offer = GROUPS[group].offer()
        ticket = config.ticket
        sent = hello.write_client_hello(
            hello.knock_key(config.relay_id),
            config.suites,
            config.groups,
            nonce,
            group,
            offer.share,
            ticket.id if ticket else None,
        )
        if ticket is not None:
            partial = transcript.copy().add(Item.PARTIAL_C1, sent)
            sent = hello.add_binder(sent, schedule.binder(ticket.psk, partial))
        return cls(config, nonce, group, offer, sent, transcript, retried)

    def line(self, line: bytes) -> _Hello | _Auth:
        verb = lines.verb_of(line)
        if verb == b"RETRY" and not self.retried:
            return self.retry(line)
        if verb != b"HELLO":
            raise RemoteError("protocol", "HELLO belongs here")
        said = hello.read_relay_hello(line)
        config = self.config
        if said.suite not in config.suites:
            raise RemoteError("protocol", "a suite that was not offered")
        if said.group != self.group:
            raise RemoteError("protocol", "a share of another group")
        if said.nonce == self.nonce or said.share == self.offer.share:
            raise RemoteError("protocol", "our own words came back")
        if said.resumed and config.ticket is None:
            raise RemoteError("protocol", "resumed without a ticket")
        shared = self.offer.complete(said.share)
        self.transcript.add(Item.C1, self.sent)
        digest = self.transcript.add(Item.S1, line)
        psk = config.ticket.psk if said.resumed and config.ticket else None
        secrets = schedule.handshake(schedule.early(psk), shared, digest)
        return _Auth(config, said.suite, self.group, self.transcript, secrets, said.resumed)

    def retry(self, line: bytes) -> _Hello:
        group = hello.read_retry(line)
        if group not in self.config.groups or group == self.group:
            raise RemoteError("protocol", "RETRY for a group that was not offered, or was shared")
        transcript = Transcript()
        transcript.add(Item.FIRST_C1, primitives.sha384(self.sent))
        transcript.add(Item.RETRY, line)
        return self.offering(self.config, self.nonce, group, transcript, True)


@dataclass(slots=True)
class _Auth:
    """The relay's AUTH belongs here."""

    config: ClientConfig
    suite: str
    group: str
    transcript: Transcript
    secrets: HandshakeSecrets
    resumed: bool

    def line(self, line: bytes) -> ClientComplete:
        form = _RESUMED_FORM if self.resumed else _FULL_FORM
        values = auth.unseal(
            line, self.suite, self.secrets.relay, contexts.RELAY_AUTH, (form,), self.resumed
        )
        ticket = self.config.ticket
        if self.resumed and ticket is not None:
            name, certificate, spki = None, ticket.relay_certificate, ticket.relay_spki
            if values[0]:
                raise RemoteError("auth-failed", "a CA key where none belongs")
            self.transcript.add(Item.EE, b"")
        else:
            name, spki = self.authenticate(*values[:3])
            certificate = values[1]
        expected = schedule.finished(self.secrets.relay, self.transcript.digest())
        if not primitives.equal(values[-1], expected):
            raise RemoteError("auth-failed", "wrong SFIN")
        self.transcript.add(Item.SFIN, values[-1])
        data = self.own_auth()
        secrets, session_id = schedule.session(self.secrets.handshake, self.transcript.digest())
        return ClientComplete(
            data,
            secrets,
            self.suite,
            self.group,
            session_id,
            self.resumed,
            name,
            certificate,
            spki,
        )

    def authenticate(
        self, ca_spki: bytes, certificate: bytes, signature: bytes
    ) -> tuple[str, bytes]:
        """Check CA, certificate and signature, in this order; return the relay's name and key."""
        if not primitives.equal(primitives.sha256(ca_spki), self.config.relay_id):
            raise RemoteError("auth-failed", "another CA than the one of the relay id")
        relay = self.config.check_relay(ca_spki, certificate)
        self.transcript.add(Item.EE, ca_spki)
        digest = self.transcript.add(Item.SCERT, certificate)
        key = primitives.load_rsa_spki(relay.spki)
        if key is None or not primitives.verify_pss(key, contexts.RELAY_VERIFY, digest, signature):
            raise RemoteError("auth-failed", "wrong signature")
        self.transcript.add(Item.SSIG, signature)
        return relay.name, relay.spki

    def own_auth(self) -> bytes:
        """Return C2, with everything in it added to the transcript."""
        credential = self.config.credential
        items: list[tuple[Item, bytes]] = []

        def add(kind: Item, value: bytes) -> bytes:
            items.append((kind, value))
            return self.transcript.add(kind, value)

        if self.resumed:
            pass
        elif isinstance(credential, Credential):
            digest = add(Item.CCERT, credential.certificate)
            add(Item.CSIG, credential.sign(contexts.PEER_VERIFY, digest))
        else:
            add(Item.INVITE, credential.token + credential.name.encode("ascii"))
            digest = add(Item.NEWKEY, credential.spki)
            digest = add(Item.POSSESSION, credential.sign(contexts.ENROL_POSSESSION, digest))
            signature = primitives.sign_ed25519(credential.seed, contexts.ENROL_INVITATION, digest)
            add(Item.INVITESIG, signature)
        add(Item.CFIN, schedule.finished(self.secrets.client, self.transcript.digest()))
        return auth.seal(self.suite, self.secrets.client, contexts.CLIENT_AUTH, items, self.resumed)
