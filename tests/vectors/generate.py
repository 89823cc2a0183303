"""Makes the test vectors anew: ``python -m tests.vectors.generate`` in the root of the source.

They come from the independent implementation, so that what SecureRelay is held against owes it
nothing but the certificates.  Encapsulation, OAEP, PSS and RSA keys take no randomness from
outside; their results are recorded and differ each time.
"""

# More than 400 lines: one file makes every vector, in the order in which they build on each other.

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.identity.authority import Authority
from tests.hostile import independent as sr1
from tests.vectors.material import private_of

FOLDER = pathlib.Path(__file__).parent
NOW = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone.utc)
SEEDS = {
    "x25519": bytes(range(32)),
    "x25519mlkem768": bytes(range(96)),
    "ffdhe3072": (b"\x5a" * 32).rjust(384, b"\0"),
}
IDS = [bytes((number,)) * 16 for number in range(1, 9)]


def pkcs8(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).hex()


def write(name: str, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=True)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="ascii")


def make_keys() -> dict[str, Any]:
    """Keys and certificates that all handshakes share."""
    keys = {name: rsa.generate_private_key(65537, 2048) for name in ("ca", "relay", "peer", "new")}
    authority = Authority.from_key(keys["ca"], NOW)
    spki = {name: sr1.spki_of(key.public_key()) for name, key in keys.items()}
    return {
        "now": int(NOW.timestamp()),
        "relay_id": authority.relay_id.hex(),
        "private": {name: pkcs8(key) for name, key in keys.items()},
        "spki": {name: value.hex() for name, value in spki.items()},
        "relay_certificate": authority.issue_relay("box", spki["relay"], NOW).der.hex(),
        "peer_certificate": authority.issue_peer("alice", spki["peer"], NOW).der.hex(),
        "rsa3072-oaep": pkcs8(rsa.generate_private_key(65537, 3072)),
    }


@contextlib.contextmanager
def patched(target: Any, name: str, value: object) -> Iterator[None]:
    original = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, original)


class Recorder:
    """Runs sessions between the independent client and relay, and keeps everything.

    Args:
        keys: from :func:`make_keys`.
    """

    def __init__(self, keys: dict[str, Any]) -> None:
        self.keys = keys
        self.seeds = {**SEEDS, "rsa3072-oaep": bytes.fromhex(keys["rsa3072-oaep"])}

    def _key(self, name: str) -> rsa.RSAPrivateKey:
        key = private_of("rsa3072-oaep", bytes.fromhex(self.keys["private"][name]))
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    @property
    def ca(self) -> sr1.Authority:
        return sr1.Authority(self._key("ca"))

    def session(
        self,
        name: str,
        relay_groups: tuple[str, ...],
        client_groups: tuple[str, ...],
        suite: str = "aes256gcm",
        ticket: dict[str, Any] | None = None,
        newcomer: bool = False,
        replay: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run one session and return its vector.

        Args:
            name: of the vector.
            relay_groups: what the relay permits, by preference.
            client_groups: what the client permits; the first is shared.
            suite: the AEAD.
            ticket: resume with this.
            newcomer: enrol instead.
            replay: a vector whose signatures, exchanges and certificate to use again.
        """
        group = relay_groups[0]
        signatures: list[dict[str, str]] = []
        shares: list[dict[str, str]] = []
        records: list[dict[str, Any]] = []

        def signer(by: str, sign: sr1.Signer) -> sr1.Signer:
            def recorded(context: bytes, digest: bytes) -> bytes:
                if replay is None:
                    signature = sign(context, digest)
                else:
                    signature = bytes.fromhex(replay["signatures"][len(signatures)]["signature"])
                values = {"context": context.decode(), "digest": digest.hex()}
                signatures.append({"by": by, **values, "signature": signature.hex()})
                return signature

            return recorded

        answer_share = sr1.answer_share

        def answer(group: str, share: bytes, private: Any = None) -> tuple[bytes, bytes]:
            if replay is None:
                mine, z = answer_share(group, share, private)
            else:
                one = replay["exchanges"][len(shares)]
                mine, z = bytes.fromhex(one["relay_share"]), bytes.fromhex(one["z"])
            shares.append({"client_share": share.hex(), "relay_share": mine.hex(), "z": z.hex()})
            return mine, z

        seal = sr1.Half.seal

        def seal_and_keep(half: sr1.Half, kind: int, content: bytes, size: int = 0) -> bytes:
            record = seal(half, kind, content, size)
            by = "client" if "c_ap" in half.name else "relay"
            values = {"from": by, "type": kind, "content": content.hex(), "record": record.hex()}
            records.append(values)
            return record

        state = sr1.RelayState(
            self.ca,
            self._key("relay"),
            "box",
            suites=(suite,),
            groups=relay_groups,
            now=lambda: float(self.keys["now"]),
        )
        state.certificate = bytes.fromhex(self.keys["relay_certificate"])
        state.sign = signer("relay", state.sign)
        ids = iter(IDS)
        state.new_id = lambda: next(ids)
        peer = sr1.Credential(
            bytes.fromhex(self.keys["peer_certificate"]),
            signer("client", sr1.signer(self._key("peer"))),
        )
        relay = sr1.Relay(state, nonce=b"\xbb" * 32)
        privates = {one: private_of(one, self.seeds[one]) for one in client_groups}
        client = sr1.Client(
            self.ca.relay_id,
            peer,
            groups=client_groups,
            privates={**privates, "rekey": privates.get(group)},
            nonce=b"\xcc" * 32,
            now=float(self.keys["now"]),
        )
        wire = Tap(relay)
        client.attach(wire)
        with (
            patched(sr1, "answer_share", answer),
            patched(sr1.Half, "seal", seal_and_keep),
        ):
            if newcomer:
                invitation = self._invite(state)
                if replay is not None:
                    again = bytes.fromhex(replay["certificate"])
                    state.authority.issue = lambda *_, **__: again  # type: ignore[method-assign]
                with patched(sr1, "signer", lambda key: signer("client", _signer(key))):
                    client.enrol(invitation, self._key("new"))
            else:
                kept = self._ticket(state, ticket) if ticket else None
                client.handshake(kept)
                live(client, relay, group)
        assert client.core is not None
        core = client.core
        return {
            "name": name,
            "group": group,
            "suite": suite,
            "relay_groups": relay_groups,
            "client_groups": client_groups,
            "resumed": relay.resumed,
            "newcomer": newcomer,
            "ticket": ticket,
            "client_nonce": core.nonce.hex(),
            "relay_nonce": relay.nonce.hex(),
            "privates": {one: self.seeds[one].hex() for one in client_groups},
            "ticket_ids": [one.hex() for one in IDS],
            "exchanges": shares,
            "signatures": signatures,
            "lines": wire.lines,
            "items": [
                {"type": kind, "value": value.hex()} for kind, value in core.items if kind > 2
            ],
            "secrets": {name: value.hex() for name, value in client.secrets.items()},
            "certificate": state.invitations[b"token!"].certificate.hex() if newcomer else None,
            # The answer to a CLOSE may give any reason, so it is no part of a vector.
            "records": records[:-1],
        }

    def _invite(self, state: sr1.RelayState) -> sr1.Invitation:
        made = sr1.Invitation(
            "127.0.0.1",
            7443,
            "carol",
            self.ca.relay_id,
            b"token!",
            bytes(range(16)),
            self.keys["now"] + 86400,
        )
        state.invitations[made.token] = sr1.StoredInvitation(made.public, made.name, made.expiry)
        return made

    def _ticket(self, state: sr1.RelayState, ticket: dict[str, Any]) -> sr1.Ticket:
        id_, psk = bytes.fromhex(ticket["id"]), bytes.fromhex(ticket["psk"])
        now = self.keys["now"]
        spki = bytes.fromhex(self.keys["spki"]["peer"])
        state.tickets[sr1.sha256(id_)] = sr1.StoredTicket(
            psk, "alice", spki, float(now), now + 86400, bytes(16)
        )
        return sr1.Ticket(id_, psk, now + 86400, bytes.fromhex(self.keys["relay_certificate"]))


_signer: Callable[[rsa.RSAPrivateKey], sr1.Signer] = sr1.signer


class Tap(sr1.Memory):
    """A wire that keeps the lines."""

    def __init__(self, relay: sr1.Relay) -> None:
        super().__init__(relay)
        self.lines: list[dict[str, str]] = []

    def _keep(self, by: str, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line.startswith(b"SR1 "):
                self.lines.append({"from": by, "line": line.decode()})

    def sendall(self, data: bytes, /) -> None:
        self._keep("client", data)
        before = len(self._inbox)
        super().sendall(data)
        self._keep("relay", bytes(self._inbox[before:]))


def live(client: sr1.Client, relay: sr1.Relay, group: str) -> None:
    """What every session of the vectors does: data, UPDATE, REKEY, data, CLOSE."""
    client.send(b"PING one\n")
    relay.send(b"PONG one\n")
    client.receive()
    client.update()
    client.send(sr1.encode("SEND", 1, "bob", "-", "-", body=bytes(1000)))
    relay.update()
    relay.send(b"OK 1\n")
    client.receive()
    client.rekey(group)
    client.send(b"PING two\n")
    relay.send(b"PONG two\n")
    client.receive()
    client.close("done")


def make_groups(seeds: dict[str, bytes]) -> list[dict[str, str]]:
    """One exchange of every group."""
    fixed: dict[str, bytes | None] = {
        "x25519": bytes(range(32, 64)),
        "ffdhe3072": (b"\xa5" * 32).rjust(384, b"\0"),
    }
    found = []
    for group, seed in seeds.items():
        client = sr1.Ephemeral(group, private_of(group, seed))
        own = fixed.get(group)
        private: Any = own if own is None or group == "x25519" else private_of(group, own)
        share, z = sr1.answer_share(group, client.share, private)
        assert client.finish(share) == z
        found.append(
            {
                "group": group,
                "client_private": seed.hex(),
                "client_share": client.share.hex(),
                "relay_private": own.hex() if own else None,
                "relay_share": share.hex(),
                "z": z.hex(),
            }
        )
    return found


def make_records() -> list[dict[str, Any]]:
    """A run of records for each suite: every size, every type, and UPDATE in between."""
    found = []
    for suite in sr1.SUITES:
        secrets = {"secret": bytes(range(48))}
        half = sr1.Half(suite, secrets, "secret")
        rows: list[dict[str, Any]] = []

        def add(
            kind: int, content: bytes, size: int = 0, half: sr1.Half = half, rows: Any = rows
        ) -> None:
            sequence, secret = half.sequence, half.secret
            record = half.seal(kind, content, size)
            rows.append(
                {
                    "secret": secret.hex(),
                    "sequence": sequence,
                    "type": kind,
                    "content": content.hex(),
                    "least": size,
                    "record": record.hex(),
                }
            )
            if kind == sr1.UPDATE:
                half.update()

        add(sr1.WELCOME, b'{"time":0}', 4096)
        for length in (1, 255, 256, 1023, 1024, 4095):
            add(sr1.DATA, bytes(number % 251 for number in range(length)))
        add(sr1.UPDATE, b"")
        add(sr1.DATA, b"\0" * 255)
        add(sr1.ALERT, b"rekey-due")
        add(sr1.UPDATE, b"")
        add(sr1.DATA, b"x" * 4096)
        add(sr1.CLOSE, b"done")
        found.append({"suite": suite, "records": rows})
    return found


def make_invitations() -> list[dict[str, Any]]:
    """Invitations to hosts of every kind."""
    found = []
    for host, name in (
        ("relay.example.org", "carol"),
        ("192.0.2.7", "d"),
        ("2001:db8::1", "x" * 32),
    ):
        made = sr1.Invitation(
            host, 7443, name, bytes(range(32)), b"\1\2\3\4\5\6", bytes(range(16)), 1893499200
        )
        found.append(
            {
                "uri": made.uri(),
                "host": host,
                "port": made.port,
                "name": name,
                "relay_id": made.relay_id.hex(),
                "token": made.token.hex(),
                "seed": made.seed.hex(),
                "expiry": made.expiry,
                "ed25519_seed": sr1.expand(
                    sr1.extract(bytes(48), made.seed), b"securerelay/1 invite", 32
                ).hex(),
                "ed25519_public": made.public.hex(),
            }
        )
    return found


def make_knocks() -> list[dict[str, str]]:
    """Knocks over the beginning of a first line."""
    found = []
    for relay_id in (bytes(32), bytes(range(32))):
        front = "SR1 HELLO suites=aes256gcm groups=x25519 nonce=AAAA share=x25519:AAAA"
        found.append(
            {
                "relay_id": relay_id.hex(),
                "key": sr1.sha384(b"securerelay/1 knock" + relay_id).hex(),
                "before": front,
                "to": sr1.knock(relay_id, front.encode()).hex(),
            }
        )
    return found


def main() -> None:
    """Write every file."""
    keys = make_keys()
    write("keys", keys)
    recorder = Recorder(keys)
    write("groups", make_groups(recorder.seeds))
    write("records", make_records())
    write("invitations", make_invitations())
    write("knocks", make_knocks())
    hybrid, curve = "x25519mlkem768", "x25519"
    ticket = {"id": "77" * 16, "psk": "88" * 48}
    for group in sr1.GROUPS:
        write(f"handshake-{group}", recorder.session(group, (group,), (group,)))
    for name, vector in {
        "chacha20poly1305": recorder.session(
            "chacha20poly1305", (hybrid,), (hybrid,), "chacha20poly1305"
        ),
        "retry": recorder.session("retry", (hybrid, curve), (curve, hybrid)),
        "resumption": recorder.session("resumption", (hybrid,), (hybrid,), ticket=ticket),
        "retry-resumption": recorder.session(
            "retry-resumption", (hybrid, curve), (curve, hybrid), ticket=ticket
        ),
        "enrolment": recorder.session("enrolment", (hybrid,), (hybrid,), newcomer=True),
    }.items():
        write(f"handshake-{name}", vector)


if __name__ == "__main__":
    main()
