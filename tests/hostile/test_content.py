"""Lines of the right form with something wrong inside: shares, proofs, certificates, tickets."""

# More than 400 lines: every kind of wrong content, each next to its neighbours.

from __future__ import annotations

import datetime
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests import keys
from tests.hostile import independent as sr1
from tests.hostile.siege import HalfWay, Siege, err, told

CONFIGURATION = """
[handshake]
groups = ["x25519mlkem768", "x25519", "ffdhe3072", "rsa3072-oaep"]
"""

FAILED = err("auth-failed")


def c1(
    siege: Siege, group: str, share: bytes, *, groups: str | None = None, more: str = ""
) -> bytes:
    """A first line with any share and a good knock."""
    front = (
        f"SR1 HELLO suites=aes256gcm groups={groups or group} nonce={sr1.b64(os.urandom(32))}"
        f" share={group}:{sr1.b64(share)}{more}"
    ).encode()
    return front + f" to={sr1.b64(sr1.knock(siege.relay_id, front))}\n".encode()


# --- shares ---

P = 2**255 - 19
LOW_ORDER = [
    number.to_bytes(32, "little")
    for number in (
        0,
        1,
        P - 1,
        P,
        P + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        1 << 255,
        (1 << 255) | 1,
        (1 << 255) | (P - 1),
    )
]
"""Points whose product with any private key is nothing (RFC 7748 section 6.1), canonical or not."""


@pytest.mark.parametrize("point", LOW_ORDER, ids=range(len(LOW_ORDER)))
def test_a_point_of_low_order_is_a_bad_share(siege: Siege, point: bytes) -> None:
    kem = sr1.Ephemeral("x25519mlkem768").share[:1184]
    assert siege.say(c1(siege, "x25519", point)) == err("bad-share")
    assert siege.say(c1(siege, "x25519mlkem768", kem + point)) == err("bad-share")


@pytest.mark.parametrize("group", sr1.GROUPS)
def test_a_share_of_another_length_is_a_bad_share(siege: Siege, group: str) -> None:
    share = sr1.Ephemeral(group).share
    for other in (share[:-1], share + b"\0", b"\0" + share, share[:1], share * 2, share[1:]):
        if len(other) < 2900:  # else the line is too long
            assert siege.say(c1(siege, group, other)) == err("bad-share")


def with_coefficient(value: int, at: int) -> bytes:
    """An encapsulation key in which one coefficient, of 12 bits, has this value."""
    share = bytearray(sr1.Ephemeral("x25519mlkem768").share)
    start, odd = divmod(at * 3, 2)
    pair = int.from_bytes(share[start : start + 2], "little")
    pair = (pair & 0x000F | value << 4) if odd else (pair & 0xF000 | value)
    share[start : start + 2] = pair.to_bytes(2, "little")
    return bytes(share)


@pytest.mark.parametrize("at", [0, 1, 255, 256, 766, 767])
def test_a_coefficient_that_is_not_reduced_is_a_bad_share(siege: Siege, at: int) -> None:
    """FIPS 203 section 7.2 asks for this check; 3,328 is the largest that there is."""
    for value in (3329, 3330, 4095):
        assert siege.say(c1(siege, "x25519mlkem768", with_coefficient(value, at))) == err(
            "bad-share"
        )
    honest = siege.say(c1(siege, "x25519mlkem768", with_coefficient(3328, at)), lines=2)
    assert honest.startswith(b"SR1 HELLO ")


@pytest.mark.parametrize(
    "y", [0, 1, sr1.FFDHE3072_P - 1, sr1.FFDHE3072_P, sr1.FFDHE3072_P + 1, 2**3072 - 1]
)
def test_a_diffie_hellman_value_out_of_range_is_a_bad_share(siege: Siege, y: int) -> None:
    assert siege.say(c1(siege, "ffdhe3072", y.to_bytes(384, "big"))) == err("bad-share")


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width, "big") + content


def integer(number: int) -> bytes:
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


RSA_OID = bytes.fromhex("300d06092a864886f70d0101010500")
PSS_OID = bytes.fromhex("300b06092a864886f70d01010a")


def rsa_spki(n: int, e: int, oid: bytes = RSA_OID) -> bytes:
    """SubjectPublicKeyInfo of any two numbers."""
    return der(0x30, oid + der(3, b"\0" + der(0x30, integer(n) + integer(e))))


def wrong_rsa() -> dict[str, bytes]:
    good = keys.rsa_key(3072).public_key().public_numbers()
    n, right = good.n, rsa_spki(good.n, 65537)
    assert right == keys.spki(3072)
    point = serialization.PublicFormat.SubjectPublicKeyInfo
    encoding = serialization.Encoding.DER
    return {
        "2048 bits": keys.spki(2048),
        "3071 bits": rsa_spki(n >> 1 | 1, 65537),
        "3073 bits": rsa_spki(n << 1 | 1, 65537),
        "8192 bits": rsa_spki(n << 5120 | 1, 65537),
        "e = 1": rsa_spki(n, 1),
        "e = 3": rsa_spki(n, 3),
        "e = 65539": rsa_spki(n, 65539),
        "e even": rsa_spki(n, 65536),
        "e negative": rsa_spki(n, -65537),
        "e huge": rsa_spki(n, n - 2),
        "n even": rsa_spki(n - 1, 65537),
        "n negative": rsa_spki(-n, 65537),
        "n nothing": rsa_spki(0, 65537),
        "RSASSA-PSS key": rsa_spki(n, 65537, PSS_OID),
        "a byte behind": right + b"\0",
        "cut": right[:-1],
        "BER length": b"\x30\x84\x00\x00" + right[2:],
        "PKCS 1": der(0x30, integer(n) + integer(65537)),
        "Ed25519": ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(encoding, point),
        "P-256": ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(encoding, point),
        "nothing": b"",
        "zeros": bytes(422),
        "deep": b"\x30\x80" * 200,
    }


@pytest.mark.parametrize("what", wrong_rsa())
def test_a_weak_or_malformed_rsa_key_is_a_bad_share(siege: Siege, what: str) -> None:
    share = wrong_rsa()[what]
    code = {"nothing": "bad-line"}.get(what, "bad-share")
    assert siege.say(c1(siege, "rsa3072-oaep", share)) == err(code)


def test_a_group_that_is_not_offered_or_not_known_is_told(siege: Siege) -> None:
    share = sr1.Ephemeral("x25519").share
    assert siege.say(c1(siege, "x25519", share, groups="x25519mlkem768")) == err("bad-share")
    assert siege.say(c1(siege, "x448", share)) == err("no-common-group")
    assert siege.say(c1(siege, "x448", share, groups="x448,p521")) == err("no-common-group")
    line = c1(siege, "x25519", share).partition(b" to=")[0].replace(b"aes256gcm", b"des-cbc")
    line += b" to=" + sr1.b64(sr1.knock(siege.relay_id, line)).encode() + b"\n"
    assert siege.say(line) == err("no-common-suite")


@pytest.mark.parametrize("group", sr1.GROUPS)
def test_a_share_of_one_byte_again_and_again_is_bad_or_a_share(siege: Siege, group: str) -> None:
    """All zeros and all ones are never one of these groups' but for X25519, which takes ones."""
    size = len(sr1.Ephemeral(group).share)
    for byte in (0x00, 0x01, 0x7F, 0x80, 0xFF):
        said = siege.say(c1(siege, group, bytes([byte]) * size), lines=1)
        if said != err("bad-share"):
            assert said.startswith(b"SR1 HELLO ")
            assert byte not in (0x00, *(() if group == "x25519" else (0xFF,)))
            assert group != "rsa3072-oaep"


def test_every_wrong_pair_of_group_and_suite_is_told_in_one_order(siege: Siege) -> None:
    """First the form, then the suites, then the groups, then the share."""
    shares = {group: sr1.Ephemeral(group).share for group in sr1.GROUPS} | {"x448": bytes(56)}
    for group, share in shares.items():
        for listed in shares:
            for suite in ("aes256gcm", "chacha20poly1305", "des-cbc", "AES256GCM"):
                front = c1(siege, group, share, groups=listed).partition(b" to=")[0]
                front = front.replace(b"aes256gcm", suite.encode(), 1)
                knock = sr1.b64(sr1.knock(siege.relay_id, front)).encode()
                said = siege.say(front + b" to=" + knock + b"\n", lines=1)
                if suite.isupper():
                    assert said == err("bad-line")
                elif suite == "des-cbc":
                    assert said == err("no-common-suite")
                elif listed == "x448":
                    assert said == err("no-common-group")
                elif group != listed:
                    assert said == err("bad-share")
                else:
                    assert said.startswith(f"SR1 HELLO suite={suite} ".encode())


@pytest.mark.parametrize("group", sr1.GROUPS)
def test_every_group_still_works(siege: Siege, group: str) -> None:
    siege.enter(siege.canary, groups=(group,)).close()


# --- proofs ---

Change = Callable[[sr1.Items, HalfWay], sr1.Items]


def altered(which: int, where: int) -> Change:
    """The item number `which` with a bit flipped at `where`."""

    def change(items: sr1.Items, half: HalfWay) -> sr1.Items:
        kind, value = items[which]
        wrong = bytearray(value)
        wrong[where] ^= 1
        return [*items[:which], (kind, bytes(wrong)), *items[which + 1 :]]

    return change


def resigned(sign: Callable[[bytes, bytes], bytes]) -> Change:
    """CSIG by another way of signing, CFIN over it as it should be."""

    def change(items: sr1.Items, half: HalfWay) -> sr1.Items:
        before = half.core.items[:-2]
        digest = sr1.transcript(before)
        before = [*before, (0x08, sign(sr1.PEER_VERIFY, digest))]
        cfin = sr1.finished(half.core.secrets["c_hs"], sr1.transcript(before))
        return [items[0], before[-1], (0x09, cfin)]

    return change


@functools.cache
def alice() -> rsa.RSAPrivateKey:
    return keys.rsa_key(2048, 1)


def pss(context: bytes, digest: bytes, hash_: hashes.HashAlgorithm, salt: int) -> bytes:
    scheme = padding.PSS(padding.MGF1(hash_), salt)
    return alice().sign(sr1.framed(context, digest), scheme, hash_)


PROOFS: dict[str, Change] = {
    "certificate altered": altered(0, 900),
    "signature altered": altered(1, 0),
    "signature altered at its end": altered(1, -1),
    "CFIN altered": altered(2, 0),
    "CFIN altered at its end": altered(2, -1),
    "CFIN cut": lambda items, half: [*items[:2], (0x09, items[2][1][:-1])],
    "CFIN of nothing": lambda items, half: [*items[:2], (0x09, b"")],
    "CFIN of the relay": lambda items, half: [*items[:2], (0x09, dict(half.core.items)[0x06])],
    "no CFIN": lambda items, half: items[:2],
    "no signature": lambda items, half: [items[0], items[2]],
    "no certificate": lambda items, half: items[1:],
    "CFIN alone": lambda items, half: items[2:],
    "nothing": lambda items, half: [],
    "another order": lambda items, half: [items[1], items[0], items[2]],
    "an item twice": lambda items, half: [*items, items[2]],
    "an item more": lambda items, half: [*items, (0x0E, b"")],
    "an unknown item": lambda items, half: [(0x7F, b"x"), *items],
    "the relay's items": lambda items, half: half.core.items[2:6],
    "the relay's certificate": lambda items, half: [(7, dict(half.core.items)[4]), *items[1:]],
    "an invitation too": lambda items, half: [(0x0A, b"token!canary"), *items],
    "another's key": resigned(sr1.signer(keys.rsa_key(2048, 7))),
    "the relay's context": resigned(lambda c, d: sr1.signer(alice())(sr1.RELAY_VERIFY, d)),
    "another context": resigned(lambda c, d: sr1.signer(alice())(sr1.POSSESSION, d)),
    "another transcript": resigned(lambda c, d: sr1.signer(alice())(c, sr1.sha384(d))),
    "SHA-256": resigned(lambda c, d: pss(c, d, hashes.SHA256(), 32)),
    "a salt of 32 bytes": resigned(lambda c, d: pss(c, d, hashes.SHA384(), 32)),
    "no salt": resigned(lambda c, d: pss(c, d, hashes.SHA384(), 0)),
    "PKCS 1 v1.5": resigned(
        lambda c, d: alice().sign(sr1.framed(c, d), padding.PKCS1v15(), hashes.SHA384())
    ),
    "the relay's signature": lambda items, half: resigned(lambda c, d: dict(half.core.items)[0x05])(
        items, half
    ),
    "a signature of zeros": resigned(lambda c, d: bytes(256)),
    "a signature as large as the modulus": resigned(
        lambda c, d: alice().public_key().public_numbers().n.to_bytes(256, "big")
    ),
    "a short signature": resigned(lambda c, d: sr1.signer(alice())(c, d)[:-1]),
    "a long signature": resigned(lambda c, d: b"\0" + sr1.signer(alice())(c, d)),
}


@pytest.mark.parametrize("what", PROOFS)
def test_every_wrong_proof_gets_the_same_answer(siege: Siege, what: str) -> None:
    half = HalfWay(siege, siege.canary.credential)
    assert half.end(half.seal(PROOFS[what](half.core.items[-3:], half))) == FAILED


PLAINTEXTS: dict[str, Callable[[bytes], bytes]] = {
    "a byte of padding": lambda plain: plain[:-1] + b"\1",
    "a byte right behind the items": lambda plain: (
        plain.rstrip(b"\0") + b"\0\1".ljust(len(plain) - len(plain.rstrip(b"\0")), b"\0")
    ),
    "shorter": lambda plain: plain[:-1],
    "of a resumption": lambda plain: plain[:256],
    "empty": lambda plain: b"",
    "zeros": lambda plain: bytes(len(plain)),
    "noise": lambda plain: os.urandom(len(plain)),
    "a length beyond the end": lambda plain: plain[:1] + b"\xff" * 4 + plain[5:],
    "a length of nothing": lambda plain: plain[:1] + bytes(4) + plain[5:],
    "a length one more": lambda plain: (
        plain[:1] + (int.from_bytes(plain[1:5], "big") + 1).to_bytes(4, "big") + plain[5:]
    ),
    "no room for padding": lambda plain: plain.rstrip(b"\0").ljust(len(plain), b"\7"),
}


@pytest.mark.parametrize("what", PLAINTEXTS)
def test_every_wrong_plaintext_gets_the_same_answer(siege: Siege, what: str) -> None:
    half = HalfWay(siege, siege.canary.credential)
    plain = sr1.auth_plaintext(half.core.items[-3:], sr1.FULL)
    assert half.end(half.seal_plain(PLAINTEXTS[what](plain))) == FAILED


def test_a_proof_that_does_not_open_gets_the_same_answer(siege: Siege) -> None:
    for at in range(9, 4126, 457):
        half = HalfWay(siege, siege.canary.credential)
        wrong = bytearray(half.c2)
        wrong[at] = ord("A") if wrong[at] != ord("A") else ord("B")
        assert half.end(bytes(wrong)) == FAILED


# --- certificates ---


def leaf(
    siege: Siege,
    *,
    signer: rsa.RSAPrivateKey | None = None,
    public: Any = None,
    names: tuple[Any, ...] = (x509.NameAttribute(NameOID.COMMON_NAME, "canary"),),
    leave_out: type[x509.ExtensionType] | None = None,
    uncritical: type[x509.ExtensionType] | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] | None = None,
    hash_: Any = None,
    scheme: Any = sr1.PSS,
) -> bytes:
    """A certificate that differs in one thing from a good one of the canary's."""
    authority = siege.authority()
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("securerelay:peer/canary")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority.name)]))
        .public_key(alice().public_key() if public is None else public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.timezone.utc))
        .not_valid_after(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=29))
    )
    for extension, critical in extensions or (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([sr1.USAGE["peer"]]), True),
        (san, False),
    ):
        if type(extension) is not leave_out:
            critical = critical and type(extension) is not uncritical
            builder = builder.add_extension(extension, critical)
    made = builder.sign(signer or authority.key, hash_ or hashes.SHA384(), rsa_padding=scheme)
    return made.public_bytes(serialization.Encoding.DER)


def issued(**changes: Any) -> Callable[[Siege], bytes]:
    """A certificate of the relay's own authority, as :meth:`independent.Authority.issue` errs."""
    given = {"role": "peer", "name": "canary", "days": 29, **changes}
    return lambda siege: siege.authority().issue(public=alice().public_key(), **given)


def cn(value: str, **options: Any) -> x509.NameAttribute[Any]:
    return x509.NameAttribute(NameOID.COMMON_NAME, value, _validate=False, **options)


def named(name: str) -> Callable[[Siege], bytes]:
    """A certificate for a name, its SAN alike."""
    uri = f"securerelay:peer/{name}"
    return lambda siege: siege.authority().issue(
        "peer", "canary", alice().public_key(), days=29, names=[name], uris=[uri]
    )


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
WRONG: dict[str, Callable[[Siege], bytes]] = {
    "a relay's": issued(role="relay"),
    "both roles": issued(usages=[sr1.USAGE["peer"], sr1.USAGE["relay"]]),
    "a relay's role, a peer's name": issued(usages=[sr1.USAGE["relay"]]),
    "any role": issued(usages=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    "a TLS client's": issued(usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),
    "an authority's": issued(is_ca=True),
    "two common names": issued(names=["canary", "admin"]),
    "no common name": issued(names=[]),
    "another name in the SAN": issued(uris=["securerelay:peer/admin"]),
    "a relay's SAN": issued(uris=["securerelay:relay/canary"]),
    "two SANs": issued(uris=["securerelay:peer/canary", "securerelay:peer/admin"]),
    "a SAN in capitals": issued(uris=["SECURERELAY:peer/canary"]),
    "an unknown critical extension": issued(extra=[(UNKNOWN, True)]),
    "too long a life": issued(days=31),
    "too many bytes": issued(extra=[(x509.UnrecognizedExtension(UNKNOWN.oid, bytes(1500)), False)]),
    "NUL in its name": named("canary\0"),
    "a line end in its name": named("canary\n"),
    "capitals in its name": named("Canary"),
    "a space in its name": named("canary "),
    "a long name": named("c" * 33),
    "a room's name": named("@canary"),
    "a dot at the end": named("canary."),
    "an umlaut": lambda siege: leaf(siege, names=(cn("cänary"),)),
    "another authority's": lambda siege: leaf(siege, signer=keys.rsa_key(2048, 8)),
    "its own": lambda siege: leaf(siege, signer=alice()),
    "signed by the relay's key": lambda siege: leaf(siege, signer=keys.rsa_key(2048, 3072)),
    "PKCS 1 v1.5": lambda siege: leaf(siege, scheme=padding.PKCS1v15()),
    "SHA-256": lambda siege: leaf(
        siege, hash_=hashes.SHA256(), scheme=padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    ),
    "a short salt": lambda siege: leaf(
        siege, scheme=padding.PSS(padding.MGF1(hashes.SHA384()), 32)
    ),
    "no basic constraints": lambda siege: leaf(siege, leave_out=x509.BasicConstraints),
    "no key usage": lambda siege: leaf(siege, leave_out=x509.KeyUsage),
    "no extended key usage": lambda siege: leaf(siege, leave_out=x509.ExtendedKeyUsage),
    "no SAN": lambda siege: leaf(siege, leave_out=x509.SubjectAlternativeName),
    "uncritical constraints": lambda siege: leaf(siege, uncritical=x509.BasicConstraints),
    "uncritical key usage": lambda siege: leaf(siege, uncritical=x509.KeyUsage),
    "uncritical role": lambda siege: leaf(siege, uncritical=x509.ExtendedKeyUsage),
    "an RSA key of 1024 bits": lambda siege: leaf(siege, public=keys.rsa_key(1024).public_key()),
    "an elliptic curve": lambda siege: leaf(
        siege, public=ec.generate_private_key(ec.SECP256R1()).public_key()
    ),
    "an Ed25519 key": lambda siege: leaf(
        siege, public=ed25519.Ed25519PrivateKey.generate().public_key()
    ),
    "a byte behind": lambda siege: leaf(siege) + b"\0",
    "cut": lambda siege: leaf(siege)[:-1],
    "nothing": lambda siege: b"",
    "noise": lambda siege: os.urandom(900),
    "deep": lambda siege: b"\x30\x80" * 1000,
}


@pytest.mark.parametrize("what", WRONG)
def test_every_wrong_certificate_gets_the_same_answer(siege: Siege, what: str) -> None:
    shown = sr1.Credential(WRONG[what](siege), sr1.signer(alice()))
    assert HalfWay(siege, shown).end(b"SR1 AUTH AAAA\n") == FAILED
    half = HalfWay(siege, shown)
    assert half.end(half.c2) == FAILED


def refusal(siege: Siege, shown: sr1.Credential) -> tuple[str, int]:
    """The code of the ALERT for a certificate, and the bytes that it took."""
    half = HalfWay(siege, shown)
    said = half.end(half.c2)
    session = sr1.Session("client", half.core.suite, half.core.secrets)
    kind, content = session.into.open(said[2:])
    assert kind == sr1.ALERT
    return content.decode(), len(said)


def test_who_proved_its_key_is_told_under_its_keys_why_not(siege: Siege) -> None:
    """A refusal after the proof is encrypted, and as long as a welcome."""
    now, authority = time.time(), siege.authority()
    siege.enrol("gone")
    siege.daemon.admin("revoke", name="gone")

    def shown(name: str, start: float, key: int = 1) -> sr1.Credential:
        key_ = keys.rsa_key(2048, key)
        der_ = authority.issue("peer", name, key_.public_key(), start, 10)
        return sr1.Credential(der_, sr1.signer(key_))

    assert refusal(siege, shown("canary", now - 11 * 86400)) == ("expired", 4114)
    assert refusal(siege, shown("gone", now - 60)) == ("revoked", 4114)
    assert refusal(siege, shown("nobody", now - 60)) == ("revoked", 4114)
    assert refusal(siege, shown("canary", now - 60, 9)) == ("revoked", 4114)  # another's key


def test_a_certificate_of_tomorrow_opens_nothing_today(siege: Siege) -> None:
    start = time.time() + 3 * 86400
    der_ = siege.authority().issue("peer", "canary", alice().public_key(), start, 10)
    code, size = refusal(siege, sr1.Credential(der_, sr1.signer(alice())))
    assert code == "expired"
    assert size == 4114


# --- tickets ---


def tickets(siege: Siege, peer: str = "") -> tuple[sr1.Ticket, ...]:
    client = siege.client(siege.canary.credential)
    found = client.handshake().tickets
    client.close()
    return found


def resumes(siege: Siege, ticket: sr1.Ticket) -> bool:
    client = siege.client(siege.canary.credential)
    client.resume(ticket)
    client.close()
    assert client.core is not None
    return client.core.resumed


def test_a_ticket_used_many_times_at_once_serves_once(siege: Siege) -> None:
    ticket, _ = tickets(siege)
    clients = [
        sr1.ClientHandshake(siege.relay_id, siege.canary.credential, ticket=ticket)
        for _ in range(8)
    ]
    lines = [client.hello() for client in clients]
    barrier = threading.Barrier(len(clients))
    said: list[bytes] = []

    def use(line: bytes) -> None:
        barrier.wait()
        said.append(siege.say(line, lines=2))

    threads = [threading.Thread(target=use, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one.startswith(b"SR1 HELLO ") for one in said)
    assert sorted(b" resumed=yes\n" in one for one in said) == [False] * 7 + [True]
    assert not resumes(siege, ticket)


def test_a_wrong_binder_fails_and_uses_nothing_up(siege: Siege) -> None:
    ticket, _ = tickets(siege)

    def line() -> bytes:
        core = sr1.ClientHandshake(siege.relay_id, siege.canary.credential, ticket=ticket)
        return core.hello()

    one, two = line(), line()
    binder = two.rpartition(b" binder=")[2]
    spliced = one.rpartition(b"=")[0] + b"=" + binder
    assert siege.say(spliced, lines=1) == FAILED
    for at in (-2, -30, -64):
        wrong = bytearray(line())
        wrong[at - 1] = ord("A") if wrong[at - 1] != ord("A") else ord("B")
        assert siege.say(bytes(wrong), lines=1) in (FAILED, err("bad-line"))
    zeros = line().rpartition(b"=")[0] + b"=" + b"A" * 64 + b"\n"
    assert siege.say(zeros, lines=1) == FAILED
    assert resumes(siege, ticket)


def test_a_ticket_alone_or_a_binder_alone_is_a_bad_line(siege: Siege) -> None:
    share = sr1.Ephemeral("x25519").share
    alone = c1(siege, "x25519", share, more=" ticket=" + "A" * 22)
    assert siege.say(alone) == err("bad-line")
    binder = c1(siege, "x25519", share)[:-1] + b" binder=" + b"A" * 64 + b"\n"
    assert siege.say(binder) == err("bad-line")


def test_a_ticket_nobody_knows_leads_to_a_full_handshake_without_a_word(siege: Siege) -> None:
    known, _ = tickets(siege)
    assert not resumes(siege, sr1.Ticket(bytes(16), bytes(48), known.expiry, b""))
    another = sr1.Ticket(known.id[::-1], known.psk, known.expiry, known.relay_certificate)
    assert not resumes(siege, another)
    assert resumes(siege, known)


def test_a_ticket_serves_under_another_suite_and_in_another_group(siege: Siege) -> None:
    """It is a secret and no more: what protects the session is agreed upon anew."""
    one, other = tickets(siege)
    for ticket, suites, groups in (
        (one, ("chacha20poly1305",), ("x25519mlkem768",)),
        (other, ("aes256gcm",), ("x25519",)),
    ):
        client = siege.client(siege.canary.credential, suites=suites, groups=groups)
        client.resume(ticket)
        assert client.core is not None
        assert client.core.resumed
        assert (client.core.suite, client.core.group) == (suites[0], groups[0])
        client.close()


def test_a_ticket_with_another_secret_fails(siege: Siege) -> None:
    ticket, _ = tickets(siege)
    stolen = sr1.Ticket(ticket.id, os.urandom(48), ticket.expiry, ticket.relay_certificate)
    core = sr1.ClientHandshake(siege.relay_id, siege.canary.credential, ticket=stolen)
    assert siege.say(core.hello(), lines=1) == FAILED


def test_a_resumption_with_a_wrong_finish_fails_and_the_ticket_is_gone(siege: Siege) -> None:
    ticket, _ = tickets(siege)
    half = HalfWay(siege, siege.canary.credential, ticket=ticket)
    assert half.core.resumed
    wrong = sr1.seal_auth(half.core.suite, half.core.secrets, "c", [(9, bytes(48))], sr1.SHORT)
    assert half.end(wrong) == FAILED
    assert not resumes(siege, ticket)


def test_a_resumption_is_no_way_round_the_certificate(siege: Siege) -> None:
    """A full proof where a short one belongs, and an invitation there."""
    ticket, other = tickets(siege)
    half = HalfWay(siege, siege.canary.credential, ticket=ticket)
    full = [(7, siege.canary.credential.certificate), (8, bytes(256)), (9, bytes(48))]
    assert half.end(half.seal(full)) == FAILED
    half = HalfWay(siege, siege.canary.credential, ticket=other)
    short = sr1.seal_auth(
        half.core.suite, half.core.secrets, "c", [(0x0A, b"token!"), (9, bytes(48))], sr1.SHORT
    )
    assert half.end(short) == FAILED


def test_tickets_die_with_their_peer_and_with_a_rekey(siege: Siege) -> None:
    gone = siege.enrol("leaver")
    client = siege.client(gone.credential)
    ticket, _ = client.handshake().tickets
    siege.daemon.admin("revoke", name="leaver")
    assert told(client.receive) == ("alert", "revoked")
    again = siege.client(gone.credential)
    assert told(lambda: again.resume(ticket)) == ("alert", "revoked")
    assert again.core is not None
    assert not again.core.resumed

    client = siege.client(siege.canary.credential)
    old, _ = client.handshake().tickets
    new, _ = client.rekey().tickets
    client.close()
    assert not resumes(siege, old)
    assert resumes(siege, new)
