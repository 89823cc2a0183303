"""Handshakes of an audit, by the client's own code: as a stranger, as a newcomer, and as a peer."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.audit.caller import PATIENCE, Talk
from securerelay.crypto import primitives
from securerelay.errors import CertificateError, RemoteError
from securerelay.identity import certificates, keyfile
from securerelay.identity.certificates import Certified
from securerelay.protocol import lines
from securerelay.protocol.connection import (
    AnswerError,
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    Enrolment,
    Welcome,
)
from securerelay.protocol.initiator import ClientComplete, Initiator
from securerelay.protocol.messages import call

NAME = "auditor"


@functools.cache
def stranger() -> Enrolment:
    """Return a newcomer with a key of its own and an invitation that nobody gave."""
    key = keyfile.generate_key(2048)
    return Enrolment(
        primitives.random_bytes(6),
        NAME,
        primitives.random_bytes(32),
        primitives.spki(key.public_key()),
        lambda context, digest: primitives.sign_pss(key, context, digest),
    )


@dataclass(slots=True)
class Seen:
    """What the relay showed of itself.

    Attributes:
        authority: the authority's key, once it is the one of the relay id.
        relay: the relay's certificate, once the authority's signature under it holds.
    """

    authority: rsa.RSAPublicKey | None = None
    relay: Certified | None = None

    def check(self, ca_spki: bytes, der: bytes) -> Certified:
        """Read the relay's certificate strictly, but for its dates, which get a grade."""
        authority = primitives.load_rsa_spki(ca_spki)
        if authority is None or not primitives.is_strong_rsa(authority, 2048, 4096):
            raise CertificateError("the authority's key is not RSA of 2048 to 4096 bits")
        self.authority = authority
        self.relay = certificates.check(authority, der, certificates.RELAY)
        return self.relay


@dataclass(slots=True)
class Attempt:
    """How a handshake went, up to where the client would prove itself.

    Attributes:
        sent: the first line.
        code: of the ERR line that answered; empty without one.
        wrong: what the relay did wrong; empty if nothing.
        retried: the group of a RETRY, if there was one.
        hello: the relay's HELLO as it came, without its LF.
        complete: the keys and C2, if the relay has proved itself.
        seen: what it showed.
    """

    sent: bytes = b""
    code: str = ""
    wrong: str = ""
    retried: bool = False
    hello: bytes = b""
    complete: ClientComplete | None = None
    seen: Seen = field(default_factory=Seen)


def attempt(talk: Talk, relay_id: bytes, **offers: Any) -> Attempt:
    """Do a handshake up to where C2 would be sent.

    Args:
        talk: the connection.
        relay_id: 32 bytes.
        offers: more for :class:`ClientConfig`.
    """
    done = Attempt()
    initiator = Initiator(ClientConfig(relay_id, done.seen.check, stranger(), **offers))
    done.sent = initiator.hello()
    talk.say(done.sent)
    while done.complete is None:
        line = talk.line()
        if line is None:
            done.wrong = "no whole line came"
            return done
        if line.startswith(b"SR1 HELLO "):
            done.hello = line
        try:
            result = initiator.line(line)
        except AnswerError as error:
            done.code = error.code
            talk.rest(PATIENCE)
            return done
        except RemoteError as error:
            done.wrong = error.detail or error.code
            return done
        if isinstance(result, ClientComplete):
            done.complete = result
        elif result is not None:
            done.retried = True
            talk.say(result)
    return done


def junk_proof() -> bytes:
    """Return a C2 of the right length and nothing else."""
    return b"SR1 AUTH " + lines.encode(primitives.random_bytes(3072 + 16)).encode() + b"\n"


class Visit:
    """A session of the profile's, for as long as it takes to ask one question.

    Args:
        talk: the connection.
        relay_id: 32 bytes.
        credential: who the profile is.
        ticket: resumes, if given.
        seconds: a monotonic clock.

    Attributes:
        welcomed: what the relay said first; None if it did not let us in.
        end: how the connection ended; None while it has not.
    """

    def __init__(
        self,
        talk: Talk,
        relay_id: bytes,
        credential: Credential,
        ticket: ClientTicket | None,
        seconds: Callable[[], float],
    ) -> None:
        self._talk = talk
        self._said = b""
        self.welcomed: Welcome | None = None
        self.end: End | None = None
        config = ClientConfig(relay_id, Seen().check, credential, ticket)
        self._connection = ClientConnection(config, self, seconds)
        self._connection.start()
        self._listen(lambda: self.welcomed is not None)

    def _listen(self, enough: Callable[[], bool]) -> None:
        while self.end is None and not enough():
            data = self._talk.more(PATIENCE)
            if not data:
                self._connection.lost()
            self._connection.receive(data)

    def status(self) -> dict[str, Any]:
        """Ask for ``relay.status``; nothing if there is no answer that can be read."""
        self._connection.send(call(b"1", b"relay.status", b"{}"))
        self._listen(lambda: self._reply() is not None)
        try:
            answer = json.loads(self._reply() or b"")
        except (ValueError, RecursionError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def _reply(self) -> bytes | None:
        """Return the body of the one REPLY, once all of it is there."""
        header, _, body = self._said.partition(b"\n")
        size = header.rpartition(b" ")[2][:9]
        whole = size.isdigit() and len(body) >= int(size)
        return body[: int(size)] if whole else None

    def leave(self) -> None:
        """Say goodbye, and wait until it is said back."""
        self._connection.close("done")
        self._listen(lambda: False)

    # --- what the connection asks of its owner ---

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._talk.say(data)

    def data(self, content: bytes) -> None:
        """Take a part of the answer; there is no other message for who only asks."""
        self._said += content

    def welcome(self, welcome: Welcome) -> None:
        """The relay let us in."""
        self.welcomed = welcome

    def ended(self, end: End) -> None:
        """It is over."""
        self.end = end
