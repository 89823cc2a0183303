"""The relay as a state machine: as the protocol draws it, and as one that can be asked.

`DRAWN` is the protocol's drawing as a table. `Asked` says symbols to a real relay end in memory,
with the independent implementation's keys, and tells in a word or two what comes back.
"""

from __future__ import annotations

import copy
import functools
import os

from cryptography.hazmat.primitives.asymmetric import ed25519

from securerelay.crypto import primitives
from securerelay.protocol.connection import Resumption
from tests.hostile import independent as sr1
from tests.hostile.test_agreement import (
    STRANGER,
    OurRelay,
    authority,
    our_relay,
    rsa_key,
    spki,
    their_client,
    their_credential,
)

SYMBOLS = (
    "hello",  # C1
    "first",  # C1 with a share of a group that the relay does not take
    "second",  # C1', the answer to RETRY
    "ticket",  # C1 with a ticket
    "overheard",  # a C1 that somebody else said before
    "stranger",  # C1 with a wrong knock
    "low point",  # C1 with a share that is none
    "suite",  # C1 without a suite in common
    "group",  # C1 without a group in common
    "pipelined",  # C1 and a byte more
    "proof",  # C2 with a certificate
    "forged",  # the same with a wrong CFIN
    "short",  # C2 of a resumption
    "enrol",  # C2 of a newcomer
    "retry",  # a relay's line
    "err",  # another
    "verb",  # an unknown verb
    "empty",  # LF
    "long",  # a line too long
    "data",
    "update",
    "offer",  # REKEY
    "done",  # REKEY
    "wrong done",  # REKEY
    "close",
    "alert",
    "welcome",  # a record that only relays send
    "flipped",  # a record with a bit flipped
)

_PROTOCOL = ("err protocol", "ended")
_BAD_LINE = ("err bad-line", "ended")
_LINES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(SYMBOLS[:10], _PROTOCOL),
    **dict.fromkeys(("retry", "err", "verb"), _PROTOCOL),
    **dict.fromkeys(("proof", "forged", "short", "enrol"), _PROTOCOL),
    "empty": _BAD_LINE,
    "long": ("err too-long", "ended"),
    **dict.fromkeys(SYMBOLS[19:], _BAD_LINE),
}
"""What a state in which lines are read does with a symbol that has no arrow."""

_HELLOS: dict[str, tuple[str, str]] = {
    "overheard": _BAD_LINE,
    "stranger": _BAD_LINE,
    "low point": ("err bad-share", "ended"),
    "suite": ("err no-common-suite", "ended"),
    "group": ("err no-common-group", "ended"),
}
_FAILED = ("err auth-failed", "ended")
_PROOFS = dict.fromkeys(("proof", "forged", "short", "enrol"), _FAILED)

_SILENT = ("", "ended")
_BREACH = ("alert protocol", "ended")
_RECORDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(SYMBOLS[:19], _SILENT),
    "data": ("", "session"),
    "update": ("", "session"),
    "offer": ("rekey", "rekeying"),
    "done": _BREACH,
    "wrong done": _BREACH,
    "close": ("close", "ended"),
    "alert": _SILENT,
    "welcome": _BREACH,
    "flipped": _SILENT,
}

DRAWN: dict[str, dict[str, tuple[str, str]]] = {
    "start": {
        **_LINES,
        **_HELLOS,
        "hello": ("hello", "proving"),
        "second": ("hello", "proving"),  # without a RETRY it is a C1 like any other
        "first": ("retry", "retried"),
        "ticket": ("hello resumed", "resuming"),
    },
    # Any other C1 has another nonce, which is looked at before its share.
    "retried": {**_LINES, **_HELLOS, "low point": _PROTOCOL, "second": ("hello", "proving")},
    "proving": {
        **_LINES,
        **_PROOFS,
        "proof": ("welcome", "session"),
        "enrol": ("welcome close", "enrolled"),
    },
    "resuming": {**_LINES, **_PROOFS, "short": ("welcome", "session")},
    "session": _RECORDS,
    "rekeying": {
        **_RECORDS,
        "data": ("", "rekeying"),
        "update": _SILENT,
        "offer": _SILENT,
        "done": ("welcome", "rekeyed"),
        "wrong done": _SILENT,
        "welcome": _SILENT,
    },
    "rekeyed": {
        **_RECORDS,
        "data": ("", "rekeyed"),
        "update": ("", "rekeyed"),
        "offer": _BREACH,  # too soon after the last
    },
    # The relay has said CLOSE and waits for the newcomer's.
    "enrolled": {
        **dict.fromkeys(SYMBOLS, _SILENT),
        "data": ("", "ended"),
        "update": ("", "enrolled"),
        "offer": ("", "enrolled"),
        "done": ("", "enrolled"),
        "wrong done": ("", "enrolled"),
    },
    "ended": dict.fromkeys(SYMBOLS, _SILENT),
}
"""For each state and symbol: what the relay says, and the state after it."""


_NO_PROOF = b"SR1 AUTH " + b"A" * 4118 + b"\n"


@functools.cache
def _made() -> tuple[OurRelay, sr1.Ticket, dict[bytes, Resumption], bytes]:
    """A relay to take the configuration from, a ticket, how it is kept, and a C1 of the past."""
    side = our_relay(groups=("x25519",))
    client = their_client(side, groups=("x25519",))
    ticket = client.handshake().tickets[0]
    assert client.core is not None
    return side, ticket, dict(side.tickets), client.core._c1 + b"\n"


class Asked:
    """A relay end that is asked symbol by symbol.

    Attributes:
        established: whether the relay let anybody in.
    """

    def __init__(self) -> None:
        made, self._ticket, kept, self._overheard = _made()
        self._side = OurRelay(made.config, lambda: 1000.0)
        self._side.tickets = dict(kept)
        seed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
        self._side.invitation = seed.public_key().public_bytes_raw()
        self._invited = seed
        self._core: sr1.ClientHandshake | None = None
        self._proof = _NO_PROOF
        self._session: sr1.Session | None = None
        self._ready: sr1.Secrets = {}
        self._junk = sr1.Half("aes256gcm", {"x": os.urandom(48)}, "x")
        self._answer = b""
        self.established = False

    def say(self, symbol: str) -> str:
        """Say one symbol and return what the relay answers."""
        said = getattr(self, "_say_" + symbol.replace(" ", "_"))()
        self._side.connection.receive(said)
        out = b"".join(self._side.out)
        self._side.out.clear()
        words = []
        while out:
            word, out = self._read(out)
            words.append(word)
        return " ".join(word for word in words if word)

    def _read(self, out: bytes) -> tuple[str, bytes]:
        if out.startswith(b"SR1 "):
            line, _, out = out.partition(b"\n")
            _, verb, *rest = line.decode().split(" ")
            if verb == "ERR":
                return "err " + rest[0].removeprefix("code="), out
            if verb == "RETRY":
                return "retry", out
            assert self._core is not None
            if verb == "HELLO":
                self._core.server_hello(line)
                return "hello resumed" if self._core.resumed else "hello", out
            self._proof = self._core.server_auth(line)
            self._ready = self._core.secrets
            return "", out
        length = 2 + int.from_bytes(out[:2], "big")
        assert self._session is not None
        kind, content = self._session.into.open(out[2:length])
        if kind == sr1.WELCOME:
            self.established = True
        if kind == sr1.REKEY:
            self._answer = content
        names = ("", "data", "update", "rekey", "close", "alert " + content.decode("latin-1"))
        return "welcome" if kind == sr1.WELCOME else names[kind], out[length:]

    # --- lines ---

    def _hello(self, **options: object) -> bytes:
        if self._side.ends:
            return self._overheard  # whatever is said now, nobody listens
        options.setdefault("groups", ("x25519",))
        self._ready, self._proof = {}, _NO_PROOF
        self._core = sr1.ClientHandshake(
            authority().relay_id,
            their_credential(),
            **options,  # type: ignore[arg-type]
        )
        return self._core.hello()

    def _say_hello(self) -> bytes:
        return self._hello()

    def _say_first(self) -> bytes:
        return self._hello(groups=("x25519mlkem768", "x25519"))

    def _say_second(self) -> bytes:
        if self._core is None or self._core.first == "x25519" or self._core.items:
            return self._hello()
        if self._side.ends:
            return self._overheard
        return self._core.retry(b"SR1 RETRY group=x25519")

    def _say_ticket(self) -> bytes:
        return self._hello(ticket=self._ticket)

    def _say_overheard(self) -> bytes:
        return self._overheard

    def _say_stranger(self) -> bytes:
        nobody = sr1.ClientHandshake(bytes(32), their_credential(), groups=("x25519",))
        return nobody.hello()

    def _line(self, suite: str, group: str, share: bytes) -> bytes:
        front = (
            f"SR1 HELLO suites={suite} groups={group} nonce={sr1.b64(os.urandom(32))}"
            f" share={group}:{sr1.b64(share)}"
        ).encode()
        to = sr1.knock(authority().relay_id, front)
        return front + f" to={sr1.b64(to)}\n".encode()

    def _say_low_point(self) -> bytes:
        return self._line("aes256gcm", "x25519", bytes(32))

    def _say_suite(self) -> bytes:
        return self._line("rot13", "x25519", os.urandom(32))

    def _say_group(self) -> bytes:
        return self._line("aes256gcm", "x448", os.urandom(56))

    def _say_pipelined(self) -> bytes:
        return self._hello() + b"S"

    def _open(self) -> None:
        """Expect records from now on, under the keys that the last proof leads to."""
        if self._session is None and self._core is not None and self._ready:
            self._session = sr1.Session("client", self._core.suite, self._ready)

    def _say_proof(self) -> bytes:
        if self._core is not None and self._core.resumed and self._ready:
            items: sr1.Items = [(7, their_credential().certificate), (8, bytes(256))]
            return sr1.seal_auth(self._core.suite, self._ready, "c", [*items, (9, bytes(48))], 3072)
        self._open()
        return self._proof

    def _say_forged(self) -> bytes:
        if self._core is None or not self._ready:
            return self._proof
        size = sr1.SHORT if self._core.resumed else sr1.FULL
        items = [*self._core.items[self._own() : -1], (9, bytes(48))]
        return sr1.seal_auth(self._core.suite, self._ready, "c", items, size)

    def _own(self) -> int:
        """Where the client's items begin."""
        assert self._core is not None
        return -1 if self._core.resumed else -3

    def _say_short(self) -> bytes:
        if self._core is not None and self._core.resumed and self._ready:
            self._open()
            return self._proof
        if not self._ready or self._core is None:
            return b"SR1 AUTH " + b"A" * 363 + b"\n"
        return sr1.seal_auth(self._core.suite, self._ready, "c", self._core.items[-1:], sr1.SHORT)

    def _say_enrol(self) -> bytes:
        if self._core is None or not self._ready:
            return self._proof
        core = copy.copy(self._core)
        core.items, core.secrets = core.items[: self._own()], dict(core.secrets)
        key = rsa_key(STRANGER)
        invitation = _Invitation("127.0.0.1", 1, "carol", bytes(32), b"token!")
        core.identity = sr1.Newcomer(invitation, spki(STRANGER), sr1.signer(key))
        core.resumed = False
        line = core._client_auth()
        if not self._core.resumed:
            self._ready = core.secrets
            self._open()
        return line

    def _say_retry(self) -> bytes:
        return b"SR1 RETRY group=x25519\n"

    def _say_err(self) -> bytes:
        return b"SR1 ERR code=busy\n"

    def _say_verb(self) -> bytes:
        return b"SR1 QUIT\n"

    def _say_empty(self) -> bytes:
        return b"\n".ljust(1 if self._session is None else 300, b"\n")

    def _say_long(self) -> bytes:
        return b"a" * 5000

    # --- records ---

    def _record(self, kind: int, content: bytes = b"") -> bytes:
        half = self._junk if self._session is None else self._session.out
        return half.seal(kind, content)

    def _say_data(self) -> bytes:
        return self._record(sr1.DATA, b"PING x\n")

    def _say_update(self) -> bytes:
        record = self._record(sr1.UPDATE)
        if self._session is not None:
            self._session.out.update()
        return record

    def _say_offer(self) -> bytes:
        if self._session is None:
            return self._record(sr1.REKEY, b"\1" + sr1._exchange("x25519", os.urandom(32)))
        return self._record(sr1.REKEY, self._session.rekey_offer("x25519"))

    def _say_done(self) -> bytes:
        if self._session is None or not self._answer or self._core is None or self._side.ends:
            return self._say_wrong_done()
        answer, self._answer = self._answer, b""
        sign = their_credential().sign
        return self._session.rekey_confirm(answer, self._core.relay_spki, sign)

    def _say_wrong_done(self) -> bytes:
        return self._record(sr1.REKEY, b"\3" + sr1.u16(256) + os.urandom(256))

    def _say_close(self) -> bytes:
        return self._record(sr1.CLOSE, b"done")

    def _say_alert(self) -> bytes:
        return self._record(sr1.ALERT, b"internal")

    def _say_welcome(self) -> bytes:
        return self._record(sr1.WELCOME, b"{}")

    def _say_flipped(self) -> bytes:
        record = bytearray(self._record(sr1.DATA, b"PING x\n"))
        record[100] ^= 1
        return bytes(record)


class _Invitation(sr1.Invitation):
    """An invitation with a key that the test knows."""

    @property
    def key(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))


assert primitives.sha256(authority().spki) == authority().relay_id
