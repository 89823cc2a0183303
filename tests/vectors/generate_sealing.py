"""Makes the vectors of sealing anew: ``python -m tests.vectors.generate_sealing``.

They come from the independent implementation in ``tests/sealing``; only certificates are issued by
the package.  HPKE, RSA-PSS and RSA keys take no randomness from outside; their results are recorded
and differ each time.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import pathlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.identity.authority import Authority
from tests.sealing import independent as e2e
from tests.sealing.independent import Person, items, u64

FOLDER = pathlib.Path(__file__).parent
NOW = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone.utc)
MS = int(NOW.timestamp()) * 1000
PADDED = (1, 255, 256, 257, 300, 4097, 10**5, 10**6)
STREAM, OLD_STREAM, ROOM_ID = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))


def write(file: str, content: object) -> None:
    def name(key: int | str) -> str:
        return key if isinstance(key, str) else f"{key:02x}"

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, dict):
            return {name(key): plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    text = json.dumps(plain(content), indent=1, ensure_ascii=True)
    (FOLDER / f"sealing-{file}.json").write_text(text + "\n", encoding="ascii")


def pkcs8(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_person(authority: Authority, name: str, number: int) -> Person:
    key = rsa.generate_private_key(65537, 2048)
    seed, prekey = bytes((number,)) * 32, bytes(range(number, number + 96))
    person = Person(authority.relay_id, name, key, seed, prekey, b"")
    person.certificate = authority.issue_peer(name, person.spki, NOW).der
    return person


def content_of(
    to: str, seq: int, index: int, content_type: str, body: bytes, **more: bytes
) -> dict[int, bytes]:
    values = {
        0x10: STREAM,
        0x11: u64(seq),
        0x12: to.encode(),
        0x13: u64(index),
        0x14: u64(MS + seq),
        0x15: u64(MS),
        0x16: content_type.encode(),
        0x17: body,
    }
    return values | {int(name[1:], 16): value for name, value in sorted(more.items())}


def people_of(authority: Authority) -> tuple[dict[str, Person], dict[str, Any]]:
    people = {
        name: make_person(authority, name.split("-")[0], number)
        for number, name in enumerate(("alice", "bob", "carol", "bob-later"), 1)
    }
    alice, bob, later = people["alice"], people["bob"], people["bob-later"]
    described = {
        name: {
            "name": one.name,
            "identity": pkcs8(one.identity),
            "certificate": one.certificate,
            "message_seed": one.seed,
            "message_key": one.message_key,
            "prekey_private": one.prekey,
            "prekey": one.prekey_public,
            "prekey_id": one.prekey_id,
            "fp": one.fp,
            "bundle": one.bundle(MS, MS + 1000),
        }
        for name, one in people.items()
    }
    succession = bob.succession(later.fp, MS)
    described["bob-later"]["succession"] = succession
    described["bob-later"]["bundle"] = later.bundle(MS + 5, MS + 1000, succession)
    return people, {
        "now": MS,
        "relay_id": authority.relay_id,
        "ca_spki": authority.spki,
        "people": described,
        "safety_number": e2e.safety_number(alice.fp, bob.fp),
        "qr_of_bob_for_alice": e2e.qr(bob.fp, alice.fp),
    }


def envelopes(alice: Person, bob: Person) -> dict[str, Any]:
    vendor = "application/vnd.securerelay."
    cases = {
        "plain": content_of("bob", 1, 1, "text/plain", b"hello"),
        "empty live": content_of("bob", 2, 0, "text/plain", b""),
        "everything": content_of(
            "bob",
            9,
            4,
            "application/octet-stream",
            bytes(range(256)) * 5,
            x18=u64(2) + u64(3),
            x19=OLD_STREAM + u64(17),
            x1A=OLD_STREAM + u64(20) + u64(16),
            x1B=u64(3) + b"\x7f" * 32,
        ),
        "of a later version": content_of("bob", 10, 5, "text/plain", b"hello", x80=b"new"),
        "resend": content_of(
            "bob", 11, 6, vendor + "resend", items({1: OLD_STREAM, 2: u64(5), 3: u64(MS)})
        ),
        "key request": content_of(
            "bob", 12, 7, vendor + "key-request", items({1: ROOM_ID, 2: b"k" * 16})
        ),
        "read": content_of("bob", 13, 8, vendor + "read", items({1: OLD_STREAM, 2: u64(3)})),
    }
    return {
        "padding": [(size, e2e.padme(size)) for size in PADDED],
        "envelopes": [
            {"case": name, "items": content, **seal(alice, bob, content)}
            for name, content in cases.items()
        ],
    }


def seal(sender: Person, to: Person, content: dict[int, bytes]) -> dict[str, bytes]:
    late = {kind: value for kind, value in content.items() if kind >= 0x80}
    if not late:
        return sender.seal_to(to, content)
    # The signature stands among the items in the order of types, and covers those after it too.
    header = sender.header_to(to)
    info = e2e.E2E + b"seal\0" + items({1: header, 2: sender.fp, 3: to.fp})
    early = {kind: value for kind, value in content.items() if kind < 0x80}
    signature = sender.sign(b"message", info + items(early) + items(late))
    body = items(early) + items({0x1F: signature}) + items(late)
    plain = body + items({0: bytes(e2e.padme(len(body) + 5) - len(body) - 5)})
    ek = to._prekey.public_key()
    sealed = header + e2e.SUITE.encrypt(plain, ek, info=info)
    return {"info": info, "plaintext": plain, "envelope": sealed}


def rooms(alice: Person, bob: Person, carol: Person) -> dict[str, Any]:
    grant = alice.grant(ROOM_ID, 1, [bob])
    raw = bob.room_list("@team", ROOM_ID, 2, MS, alice, grant, [alice, bob, carol])
    room = {
        "name": "@team",
        "room_id": ROOM_ID,
        "version": 2,
        "grant": grant,
        "list": raw,
        "list_hash": hashlib.sha384(raw).digest(),
    }
    secret, salt = b"\x11" * 32, b"\x22" * 32
    values = {1: ROOM_ID, 2: u64(2), 3: room["list_hash"], 4: secret}
    content = content_of("@team", 3, 1, "text/plain", b"hello, all")
    return {
        **room,
        "key": secret,
        "key_id": e2e.key_id(secret),
        "key_body": items(values),
        "salt": salt,
        "items": content,
        **carol.seal_room(room, secret, salt, content),
    }


def log(relay_id: bytes, people: list[Person]) -> dict[str, Any]:
    leaves = [e2e.leaf(1 + number % 3, MS + number, people[number % 3]) for number in range(9)]
    key = rsa.generate_private_key(65537, 2048)
    sizes = range(len(leaves) + 1)
    return {
        "relay_private": pkcs8(key),
        "leaves": leaves,
        "roots": [e2e.tree_hash(leaves[:size]) for size in sizes],
        "inclusion": {
            f"{index} of {size}": e2e.path(index, leaves[:size])
            for size in sizes
            for index in range(size)
        },
        "consistency": {
            f"{first} to {second}": e2e.proof(first, leaves[:second])
            for second in sizes
            for first in range(1, second + 1)
        },
        "head": e2e.head(key, relay_id, leaves, MS),
    }


def main() -> None:
    """Write all files."""
    ca = rsa.generate_private_key(65537, 2048)
    authority = Authority.from_key(ca, NOW)
    people, described = people_of(authority)
    alice, bob, carol = (people[name] for name in ("alice", "bob", "carol"))
    write("people", described)
    write("envelopes", envelopes(alice, bob))
    write("rooms", rooms(alice, bob, carol))
    write("log", log(authority.relay_id, [alice, bob, carol]))


if __name__ == "__main__":
    main()
