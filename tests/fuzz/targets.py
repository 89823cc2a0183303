"""What is fuzzed: for each parser one function that takes bytes and lets nothing unexpected out.

A function does what an attacker would: it makes the knock, MAC, signature or tag for the mutated
content, so that the code behind the cryptography is reached.  Only the errors that the parser
promises are caught.
"""

# More than 400 lines: every target next to the others, each with what makes its inputs.

from __future__ import annotations

import functools
import hashlib
import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securerelay import names
from securerelay.crypto import contexts, hpke, primitives
from securerelay.crypto.groups import GROUPS
from securerelay.errors import (
    BadName,
    CertificateError,
    InvitationError,
    RemoteError,
    StorageError,
)
from securerelay.identity import certificates, invitation
from securerelay.identity.invitation import Invitation
from securerelay.protocol import auth, hello, lines, messages
from securerelay.protocol.records import MAX_CONTENT, Opener, Sealer
from securerelay.protocol.responder import _CERTIFICATE_FORM, _ENROLMENT_FORM
from securerelay.relay import methods
from securerelay.relay.methods import fields
from securerelay.sealing import bundle, envelope, plaintext, roomlist, succession
from securerelay.sealing.verdicts import Rejected
from tests.fuzz.mutate import items_of, of_bytes, of_items
from tests.identity import forging
from tests.identity.forging import forge
from tests.protocol.ends import Ends
from tests.sealing import world
from tests.store import samples

CORPUS = Path(__file__).parent / "corpus"
Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        run: takes the mutated bytes; whatever it raises is a finding.
        seeds: what the mutations begin with, besides the corpus.
        count: how many inputs the tests give it.
        mutate: how.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    count: int
    mutate: Mutation = of_bytes


def _cuts(data: bytes) -> list[bytes]:
    """Cut into segments, in a way that depends on the data alone."""
    size = 1 + hashlib.blake2s(data[:64]).digest()[0] % 40
    return [data[at : at + size] for at in range(0, len(data), size)][:200]


# --- lines and HELLO ---


def _lines(data: bytes) -> None:
    splitter = lines.LineSplitter()
    with suppress(RemoteError):
        for segment in _cuts(data):
            splitter.feed(segment)
            assert len(splitter) <= lines.MAX_LINE + len(segment)
            while (line := splitter.next()) is not None:
                assert len(line) < lines.MAX_LINE
                assert line.isascii()
                lines.verb_of(line)
                for read in (hello.read_relay_hello, hello.read_retry, hello.read_error):
                    with suppress(RemoteError):
                        read(line)


KEY = hello.knock_key(bytes(32))


def _hello(data: bytes) -> None:
    front, _, binder = data.partition(b" binder=")
    front = front.partition(b" to=")[0]
    line = front + b" to=" + lines.encode(hello.knock(KEY, front)).encode()
    line += b" binder=" + binder if binder else b""
    splitter = lines.LineSplitter()
    with suppress(RemoteError):
        splitter.feed(line + b"\n")
        whole = splitter.next()
        if whole is None:
            return
        said = hello.read_client_hello(whole, KEY, hello.KnockMemory(), 0.0)
        assert len(said.nonce) == 32
        if said.group in ("x25519", "rsa3072-oaep"):
            GROUPS[said.group].answer(said.share)


def _hellos() -> list[bytes]:
    nonce, share = bytes(32), bytes(range(32))
    front = ("aes256gcm", "chacha20poly1305"), ("x25519", "x25519mlkem768"), nonce
    plain = hello.write_client_hello(KEY, *front, "x25519", share, None)
    ticket = hello.write_client_hello(KEY, *front, "x25519", share, bytes(16))
    rsa = hello.write_client_hello(KEY, *front, "rsa3072-oaep", samples_spki(), None)
    return [plain, hello.add_binder(ticket, bytes(48)), rsa]


def samples_spki() -> bytes:
    return world.alice().identity.spki


# --- AUTH and certificates ---

SECRET = bytes(range(48))


def _auth(data: bytes) -> None:
    size = auth.RESUMED_SIZE if len(data) < auth.RESUMED_SIZE else auth.FULL_SIZE
    plain = data[:size].ljust(size, b"\0")
    key, iv = auth.key_and_iv(SECRET)
    cipher = primitives.aead("aes256gcm", key)
    sealed = primitives.seal(cipher, iv, plain, contexts.CLIENT_AUTH)
    line = b"SR1 AUTH " + lines.encode(sealed).encode()
    for resumed, forms in ((False, (_CERTIFICATE_FORM, _ENROLMENT_FORM)), (True, ((9,),))):
        with suppress(RemoteError):
            values = auth.unseal(
                line,
                "aes256gcm",
                SECRET,
                contexts.CLIENT_AUTH,
                forms,  # type: ignore[arg-type]
                resumed,
            )
            names.is_peer(values[0][6:])
            if len(values) == 3:
                with suppress(CertificateError):
                    certificates.check_peer(forging.authority().public_key, values[0])
            elif len(values) == 5:
                primitives.load_rsa_spki(values[1])


def _auths() -> list[bytes]:
    full = [(7, forge()), (8, bytes(256)), (9, bytes(48))]
    newcomer = [(10, b"token!alice"), (11, samples_spki()), (12, bytes(256)), (13, bytes(64))]
    newcomer.append((9, bytes(48)))
    return [
        b"".join(bytes([kind]) + len(v).to_bytes(4, "big") + v for kind, v in items)
        for items in (full, newcomer, [(9, bytes(48))])
    ]


def _certificate(data: bytes) -> None:
    """The content of a certificate, signed by the authority again."""
    for der in (data, forging.sign_again(data)):
        with suppress(CertificateError):
            found = certificates.check_peer(forging.authority().public_key, der)
            assert names.is_peer(found.name.encode())


def _invitation(data: bytes) -> None:
    """Text before ``#``, then content in base32 or raw, with the checksum that fits."""
    before, _, content = data.partition(b"#")
    text = before.decode("utf-8", "surrogateescape")
    with suppress(InvitationError):
        Invitation.parse(data.decode("utf-8", "surrogateescape"))
    raw = content.ljust(60, b"\0")[:60]
    with suppress(UnicodeEncodeError):
        raw += invitation._checksum(text, raw)
    encoded = invitation.base64.b32encode(raw).decode().lower()  # type: ignore[attr-defined]
    with suppress(InvitationError):
        Invitation.parse(f"{text}#sr1i_{encoded}")


# --- records and messages ---


def _record(sealer: Sealer, kind: int, content: bytes, size: int = 256) -> bytes:
    """A record of any kind, which :meth:`Sealer.seal` would not make."""
    plain = (content[: size - 1] + bytes([kind])).ljust(size, b"\0")
    header = (size + primitives.TAG_SIZE).to_bytes(2, "big")
    nonce = (sealer._iv ^ sealer.sequence).to_bytes(12, "big")
    sealer.sequence += 1
    return header + primitives.seal(sealer._cipher, nonce, plain, header)


def _records(data: bytes) -> None:
    """Each segment a record under the right key, of a kind and size that the data choose."""
    sealer, opener = Sealer("aes256gcm", SECRET), Opener("aes256gcm", SECRET)
    stream = b""
    for segment in _cuts(data)[:4]:
        stream += _record(sealer, segment[0], segment[1:], 256 if len(segment) % 2 else 1024)
    choice = hashlib.blake2s(data).digest()
    if choice[0] < 128 and stream:
        wrong = bytearray(stream)
        wrong[int.from_bytes(choice[1:4], "big") % len(stream)] ^= 1 << choice[4] % 8
        stream = bytes(wrong)
    with suppress(RemoteError):
        for segment in _cuts(stream):
            for kind, content in opener.open_all(segment):
                assert 1 <= kind <= 255
                assert len(content) <= MAX_CONTENT


@functools.cache
def _established() -> list[Ends]:
    return []


def _link(data: bytes) -> None:
    """A session whose client says anything in records that open, until it breaks a rule."""
    pool = _established()
    ends = pool.pop() if pool else Ends.make().run()
    sealer = ends.client.connection._sealer
    assert sealer is not None
    for segment in _cuts(data)[:3]:
        kind, content = segment[0] % 9, segment[1:] if segment[0] % 2 else data[1:MAX_CONTENT]
        size = 256 if len(content) < 256 else 16_384
        ends.relay.connection.receive(_record(sealer, kind, content, size))
        if ends.relay.ends:
            assert ends.relay.ends[0].error is None
            return
        if kind in (2, 3):
            return  # the keys may have moved on
    ends.relay.out.clear()
    pool.append(ends)


class Everything:
    """Takes whatever a decoder reads."""

    def __getattr__(self, name: str) -> Any:
        return lambda *words: None


def _messages(data: bytes) -> None:
    for decoder in (messages.relay_decoder, messages.client_decoder):
        with suppress(RemoteError):
            reader = decoder(Everything(), 4096)  # type: ignore[arg-type]
            for segment in _cuts(data):
                reader.feed(segment)


MESSAGES = [
    messages.stream(b"A" * 22, 0) + messages.send(1, b"bob", None, True, b"hello"),
    messages.send(2, b"@team", 0, False, b"") + messages.ping(b"x") + messages.ack(7),
    messages.listen(0) + messages.call(b"t", b"peer.list", b"{}") + messages.pong(b"y"),
    messages.msg_header(9, b"alice", b"bob", b"A" * 22, 1, 1700000000000, 5) + b"hello",
    messages.ok(3) + messages.no(4, b"unknown") + messages.got(5, b"bob", 17),
    messages.listening(1, 9) + messages.stopped(b"replaced") + messages.event(b"expired", b"{}"),
    messages.reply(b"t", b"ok", b'{"peers":[]}'),
]


def _calls(data: bytes) -> None:
    with suppress(RemoteError, BadName):
        given = methods.parameters(data)
        for key in list(given)[:8]:
            with suppress(RemoteError):
                fields.number(given, key, 1, 1, 5000)
            with suppress(RemoteError):
                names.check_room(fields.text(given, key))
        fields.only(given, "room", "peers")


CALLS = [
    b'{"room": "@team", "join": "open", "post": "members"}',
    b'{"room": "@team", "peers": ["alice", "bob"], "version": 7}',
    b'{"after": "alice", "limit": 100, "online": true}',
    b'{"name": "carol", "expires": 86400}',
    b'{"a": [[[[{"b": [1, 2.5, null, "\\u001b"]}]]]]}',
]

# --- sealing ---


def _envelope(data: bytes) -> None:
    """Items that alice signs and seals for bob, whatever they are."""
    sender, to = world.alice(), world.bob()
    key = hpke.load_public(to.prekey.public)
    header = envelope.seal(world.message(), sender.author, to.fp, to.prekey.id, key)[
        : envelope.DirectHeader.SIZE
    ]
    info = envelope.binding(header, sender.fp, to.fp)
    with suppress(ValueError):  # what no envelope can hold
        signature = sender.author.sign(contexts.E2E_MESSAGE, info + data)
        plain = plaintext._pad(data + b"\x1f" + len(signature).to_bytes(4, "big") + signature)
        sealed = header + hpke.seal(key, info, plain)
        with suppress(Rejected):
            world.opened(sealed)
    with suppress(Rejected):
        world.opened(data)


def _envelope_items() -> list[bytes]:
    full = world.message(skipped=(1, 2), heads=((bytes(16), 3),))
    seeds = []
    for content in (world.message(), full):
        plain = plaintext.write(content, world.alice().author, contexts.E2E_MESSAGE, b"")
        items = [(kind, value) for kind, value in items_of(plain) if kind != 0x1F]
        seeds.append(b"".join(bytes([kind]) + len(v).to_bytes(4, "big") + v for kind, v in items))
    return seeds


def _bundle(data: bytes) -> None:
    """Items that bob's identity signs, whatever they are; and the same unsigned."""
    who = world.bob()
    items = [(kind, value) for kind, value in items_of(data) if kind != 0x1F]
    unsigned = b"".join(bytes([kind]) + len(v).to_bytes(4, "big") + v for kind, v in items)
    signature = primitives.sign_pss(who.key, contexts.E2E_BUNDLE, primitives.sha384(unsigned))
    signed = unsigned + b"\x1f" + len(signature).to_bytes(4, "big") + signature
    for raw in (data, signed):
        with suppress(Rejected):
            bundle.read(raw, "bob", world.CA_SPKI)


def _lists(data: bytes) -> None:
    with suppress(Rejected):
        roomlist.verify(roomlist.parse(data, "@team"), world.know(world.alice(), world.bob()))
    with suppress(Rejected):
        succession.read_all(data, world.RELAY_ID, "bob")


# --- database rows ---

COLUMNS = [
    ("message", ("sender", "stream", "seq", "addressed", "time", "body")),
    ("mail", ("n", "sender")),
    ("peer", ("name", "state", "roles")),
    ("certificate", ("der", "spki", "sha256", "serial", "not_after")),
    ("stream", ("last", "used")),
    ("ticket", ("psk", "nonce", "expiry", "name")),
]


@functools.cache
def _database() -> tuple[Path, dict[str, list[str]]]:
    """A relay's database with a row of everything, and its columns by table."""
    folder = Path(tempfile.mkdtemp(prefix="securerelay-fuzz-"))
    store = samples.on_disk(folder)
    samples.result(store.open())
    for name in ("alice", "bob"):
        samples.enrol(store, name)
    samples.result(store.ticket_put([samples.ticket("alice")]))
    samples.result(store.stream_open("alice", samples.STREAM, 0, samples.NOW))
    samples.result(store.append([samples.message(1, ("bob", (1 << 32) + 1))]))
    samples.result(store.close())
    with closing(sqlite3.connect(folder / "relay.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        columns = {
            table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            for table in tables
            if not table.startswith("sqlite_")
        }
    return folder, columns


def _row(data: bytes) -> None:
    """Overwrite one value of one row, then ask for everything."""
    folder, columns = _database()
    choice = hashlib.blake2s(data).digest()
    table = sorted(columns)[choice[0] % len(columns)]
    column = columns[table][choice[1] % len(columns[table])]
    number = int.from_bytes(data[:8].ljust(8, b"\0"), "big", signed=True)
    text = data.decode("latin-1")[:200]
    value: object = (data, number, text, None, number / 3)[choice[2] % 5]
    here = folder / "copy"
    here.mkdir(exist_ok=True)
    for old in here.iterdir():
        old.unlink()
    (here / "relay.sqlite").write_bytes((folder / "relay.sqlite").read_bytes())
    with closing(sqlite3.connect(here / "relay.sqlite")) as db, suppress(sqlite3.Error):
        db.execute(f"UPDATE {table} SET {column} = ?", (value,))
        db.commit()
    store = samples.on_disk(here)
    try:
        samples.result(store.open())
    except StorageError:
        return
    for ask in (
        lambda: store.lookup("alice"),
        store.peers,
        store.invitations,
        lambda: store.fetch("bob", 0, 10, 1 << 20),
        lambda: store.mailbox_state("bob"),
        lambda: store.stream_open("alice", samples.STREAM, 0, samples.NOW),
        lambda: store.ticket_take(samples.ticket("alice").id_sha256, samples.NOW, lambda _: None),
    ):
        with suppress(StorageError):
            samples.result(ask())
    samples.result(store.close())


TARGETS: dict[str, Target] = {
    "lines": Target(_lines, lambda: [one + b"\n" for one in _hellos()], 40_000),
    "hello": Target(_hello, _hellos, 40_000),
    "auth": Target(_auth, _auths, 20_000, of_items),
    "certificate": Target(_certificate, lambda: [forging.tbs_of(forge()), forge()], 2_000),
    "invitation": Target(
        _invitation,
        lambda: [b"securerelay://relay.example.org:3000/carol#\1" + bytes(range(60))],
        20_000,
    ),
    "records": Target(_records, lambda: [bytes(range(1, 200)), b"\1hello" * 50], 20_000),
    "link": Target(_link, lambda: [*MESSAGES, b"\1\2\3\4\5\6\7", b"\2", b"\3\1"], 1_500),
    "messages": Target(_messages, lambda: MESSAGES, 60_000),
    "calls": Target(_calls, lambda: CALLS, 40_000),
    "envelope": Target(_envelope, _envelope_items, 2_000, of_items),
    "bundle": Target(_bundle, lambda: [world.bob().bundle()], 1_500, of_items),
    "lists": Target(_lists, lambda: [world.raw_list(world.alice(), world.bob())], 10_000, of_items),
    "rows": Target(_row, lambda: [b"alice", bytes(8), b"\xff" * 16, b"active"], 300),
}


def seeds_of(name: str) -> list[bytes]:
    """Return what the mutations of a target begin with: its own seeds and its corpus."""
    folder = CORPUS / name
    kept = sorted(folder.iterdir()) if folder.is_dir() else []
    return TARGETS[name].seeds() + [path.read_bytes() for path in kept]
