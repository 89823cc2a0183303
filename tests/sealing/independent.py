"""Sealing written a second time from its description, with nothing of SecureRelay.

It makes the test vectors, so that the package is held against what it did not write itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
E2E = b"securerelay/1 e2e "
MONTH = 30 * 24 * 3600 * 1000


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def items(values: dict[int, bytes]) -> bytes:
    return b"".join(
        bytes([kind]) + len(value).to_bytes(4, "big") + value for kind, value in values.items()
    )


def split(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        size = int.from_bytes(data[1:5], "big")
        found[data[0]], data = data[5 : 5 + size], data[5 + size :]
    return found


def framed(context: bytes, content: bytes) -> bytes:
    return b"\x20" * 64 + E2E + context + b"\0" + hashlib.sha384(content).digest()


@dataclass
class Person:
    """Somebody with all private keys."""

    relay_id: bytes
    name: str
    identity: rsa.RSAPrivateKey
    seed: bytes
    prekey: bytes
    certificate: bytes

    @property
    def spki(self) -> bytes:
        return self.identity.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def key(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def message_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def fp(self) -> bytes:
        values = {1: self.relay_id, 2: self.name.encode(), 3: self.spki, 4: self.message_key}
        return hashlib.sha256(E2E + b"fingerprint\0" + items(values)).digest()

    @property
    def _prekey(self) -> hpke.MLKEM768X25519PrivateKey:
        return hpke.MLKEM768X25519PrivateKey(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(self.prekey[:64]),
            x25519.X25519PrivateKey.from_private_bytes(self.prekey[64:]),
        )

    @property
    def prekey_public(self) -> bytes:
        ek = mlkem.MLKEM768PrivateKey.from_seed_bytes(self.prekey[:64]).public_key()
        point = x25519.X25519PrivateKey.from_private_bytes(self.prekey[64:]).public_key()
        return ek.public_bytes_raw() + point.public_bytes_raw()

    @property
    def prekey_id(self) -> bytes:
        return hashlib.sha256(self.prekey_public).digest()[:8]

    def sign(self, context: bytes, content: bytes) -> bytes:
        return self.key.sign(framed(context, content))

    def sign_as_identity(self, context: bytes, content: bytes) -> bytes:
        return sign_rsa(self.identity, context, content)

    def bundle(self, number: int, issued: int, successions: bytes = b"") -> bytes:
        values = {
            0x01: b"\1",
            0x02: self.relay_id,
            0x03: self.name.encode(),
            0x04: self.certificate,
            0x05: self.message_key,
            0x06: u64(number),
            0x07: u64(issued),
            0x08: u64(issued + MONTH),
            0x09: self.prekey_public,
            0x0A: b"\1\2",
        }
        if successions:
            values[0x0B] = successions
        body = items(values)
        return body + items({0x1F: self.sign_as_identity(b"bundle", body)})

    def succession(self, new_fp: bytes, time: int) -> bytes:
        body = items({1: self.spki, 2: self.message_key, 3: new_fp, 4: u64(time)})
        return body + items({5: self.sign_as_identity(b"succession", body)})

    def header_to(self, other: Person) -> bytes:
        return b"SRE1\1" + self.fp[:8] + other.prekey_id

    def open(self, info: bytes, envelope: bytes) -> bytes:
        return SUITE.decrypt(envelope[21:], self._prekey, info=info)

    def seal_to(self, other: Person, content: dict[int, bytes]) -> dict[str, bytes]:
        header = self.header_to(other)
        info = E2E + b"seal\0" + items({1: header, 2: self.fp, 3: other.fp})
        plain = self.plaintext(b"message", info, content)
        sealed = SUITE.encrypt(plain, other._prekey.public_key(), info=info)
        return {"info": info, "plaintext": plain, "envelope": header + sealed}

    def plaintext(self, context: bytes, info: bytes, content: dict[int, bytes]) -> bytes:
        body = items(content)
        body += items({0x1F: self.sign(context, info + body)})
        return body + items({0: bytes(padme(len(body) + 5) - len(body) - 5)})

    def seal_room(
        self, room: dict[str, Any], secret: bytes, salt: bytes, content: dict[int, bytes]
    ) -> dict[str, bytes]:
        header = b"SRE1\2" + self.fp[:8] + key_id(secret) + u64(room["version"]) + salt
        info = E2E + b"room\0"
        info += items({1: header, 2: self.fp, 3: room["room_id"], 4: room["list_hash"]})
        derived = hkdf(secret, salt, info, 44)
        plain = self.plaintext(b"room message", info, content)
        sealed = AESGCM(derived[:32]).encrypt(derived[32:], plain, info)
        return {"info": info, "plaintext": plain, "message": header + sealed}

    def grant(self, room_id: bytes, number: int, admins: Sequence[Person]) -> bytes:
        fps = b"".join(sorted(one.fp for one in admins))
        body = items({1: room_id, 2: u64(number), 3: fps})
        return body + items({0x1F: self.sign(b"grant", body)})

    def room_list(
        self,
        name: str,
        room_id: bytes,
        version: int,
        time: int,
        owner: Person,
        grant: bytes,
        members: Sequence[Person],
    ) -> bytes:
        entries = b"".join(
            one.fp + bytes([len(one.name)]) + one.name.encode()
            for one in sorted(members, key=lambda one: one.name)
        )
        body = items(
            {
                1: name.encode(),
                2: room_id,
                3: u64(version),
                4: u64(time),
                5: owner.fp,
                6: grant,
                7: entries,
                8: self.fp,
            }
        )
        return body + items({0x1F: self.sign(b"list", body)})


def sign_rsa(key: rsa.RSAPrivateKey, context: bytes, content: bytes) -> bytes:
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    return key.sign(framed(context, content), pss, hashes.SHA384())


def padme(size: int) -> int:
    if size < 256:
        return 256
    exponent = math.floor(math.log2(size))
    zeros = exponent - (math.floor(math.log2(exponent)) + 1)
    return -(-size >> zeros) << zeros


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    prk = hmac.digest(salt or bytes(32), secret, "sha256")
    result = block = b""
    while len(result) < size:
        block = hmac.digest(prk, block + info + bytes([len(result) // 32 + 1]), "sha256")
        result += block
    return result[:size]


def key_id(secret: bytes) -> bytes:
    return hkdf(secret, b"", E2E + b"room key id", 16)


def safety_number(one: bytes, other: bytes) -> str:
    digest = hashlib.sha512(E2E + b"safety number\0" + min(one, other) + max(one, other)).digest()
    groups = [int.from_bytes(digest[at : at + 5], "big") % 100_000 for at in range(0, 60, 5)]
    return " ".join(f"{group:05d}" for group in groups)


def qr(own: bytes, other: bytes) -> str:
    return "securerelay:verify/1#" + base64.urlsafe_b64encode(own + other).decode().rstrip("=")


def leaf(kind: int, time: int, who: Person) -> bytes:
    hashed = hashlib.sha256(who.spki).digest(), hashlib.sha256(who.certificate).digest()
    return items({1: bytes([kind]), 2: u64(time), 3: who.name.encode(), 4: hashed[0], 5: hashed[1]})


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = half_of(len(leaves))
    return hashlib.sha256(b"\1" + tree_hash(leaves[:half]) + tree_hash(leaves[half:])).digest()


def half_of(size: int) -> int:
    half = 1
    while 2 * half < size:
        half *= 2
    return half


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 9162."""
    if len(leaves) == 1:
        return []
    half = half_of(len(leaves))
    if index < half:
        return [*path(index, leaves[:half]), tree_hash(leaves[half:])]
    return [*path(index - half, leaves[half:]), tree_hash(leaves[:half])]


def proof(first: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162."""
    if first == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    half = half_of(len(leaves))
    if first <= half:
        return [*proof(first, leaves[:half], whole), tree_hash(leaves[half:])]
    return [*proof(first - half, leaves[half:], False), tree_hash(leaves[:half])]


def head(key: rsa.RSAPrivateKey, relay_id: bytes, leaves: Sequence[bytes], time: int) -> bytes:
    body = items({1: relay_id, 2: u64(len(leaves)), 3: tree_hash(leaves), 4: u64(time)})
    return body + items({0x1F: sign_rsa(key, b"log head", body)})
