"""What a certificate must be, and each way in which it is refused."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from securerelay.crypto import primitives
from securerelay.errors import CertificateError
from securerelay.identity import certificates
from tests.identity import forging
from tests.identity.forging import DAY, common_names, forge, uris, usage
from tests.keys import NOW, authority, rsa_key, spki

ANY_PURPOSE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
NOT_PSS = "not a certificate in DER with RSA-PSS"
PEER, RELAY = certificates.PURPOSES["peer"], certificates.PURPOSES["relay"]


def check_peer(der: bytes) -> certificates.PeerCertificate:
    return certificates.check_peer(authority().public_key, der)


def purposes(*oids: x509.ObjectIdentifier) -> tuple[x509.ExtendedKeyUsage, bool]:
    return x509.ExtendedKeyUsage(oids), True


def unknown(critical: bool) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), critical


def with_flipped_signature() -> bytes:
    der = bytearray(forge())
    der[-1] ^= 1
    return bytes(der)


# What is wrong, how to make it, and the words that tell the reason.
BAD = {
    "a relay": (lambda: forge(role="relay"), "not that of a peer"),
    "a relay that says peer in its name": (
        lambda: forge(role="relay", alternative=(uris("securerelay:peer/alice"), False)),
        "not that of a peer",
    ),
    "a peer that says relay in its name": (
        lambda: forge(alternative=(uris("securerelay:relay/alice"), False)),
        "securerelay:peer/alice alone",
    ),
    "no purpose": (lambda: forge(drop=["purpose"]), "no ExtendedKeyUsage"),
    "two purposes": (lambda: forge(purpose=purposes(PEER, RELAY)), "not that of a peer"),
    "any purpose": (lambda: forge(purpose=purposes(ANY_PURPOSE)), "not that of a peer"),
    "any purpose besides": (
        lambda: forge(purpose=purposes(PEER, ANY_PURPOSE)),
        "not that of a peer",
    ),
    "a purpose that is not critical": (
        lambda: forge(purpose=(x509.ExtendedKeyUsage([PEER]), False)),
        "ExtendedKeyUsage is not critical",
    ),
    "two common names": (lambda: forge(subject=common_names("alice", "bob")), "2 common names"),
    "the same common name twice": (
        lambda: forge(subject=common_names("alice", "alice")),
        "2 common names",
    ),
    "no common name": (lambda: forge(subject=x509.Name([])), "0 common names"),
    "NUL in the common name": (lambda: forge(subject=common_names("alice\0")), "alice\\x00"),
    "a line feed in the common name": (lambda: forge(subject=common_names("alice\n")), "no name"),
    "capitals in the common name": (lambda: forge(subject=common_names("Alice")), "no name"),
    "a common name that is not text": (
        lambda: forging.sign_again(
            forging.tbs_of(forge(subject=common_names("alice"))).replace(
                b"\x55\x04\x03\x0c\x05alice", b"\x55\x04\x03\x03\x05\0lice"
            )
        ),
        "cannot be read",
    ),
    "no alternative name": (lambda: forge(drop=["alternative"]), "securerelay:peer/alice alone"),
    "another alternative name": (
        lambda: forge(alternative=(uris("securerelay:peer/bob"), False)),
        "securerelay:peer/alice alone",
    ),
    "two alternative names": (
        lambda: forge(alternative=(uris("securerelay:peer/alice", "securerelay:peer/bob"), False)),
        "securerelay:peer/alice alone",
    ),
    "a host name besides": (
        lambda: forge(
            alternative=(
                x509.SubjectAlternativeName(
                    [*uris("securerelay:peer/alice"), x509.DNSName("example.org")]
                ),
                False,
            )
        ),
        "securerelay:peer/alice alone",
    ),
    "an alternative name of another kind": (
        lambda: forge(
            alternative=(
                x509.SubjectAlternativeName([x509.DNSName("securerelay:peer/alice")]),
                False,
            )
        ),
        "securerelay:peer/alice alone",
    ),
    "an authority": (
        lambda: forge(constraints=(x509.BasicConstraints(ca=True, path_length=None), True)),
        "CA:TRUE",
    ),
    "no basic constraints": (lambda: forge(drop=["constraints"]), "no BasicConstraints"),
    "constraints that are not critical": (
        lambda: forge(constraints=(x509.BasicConstraints(ca=False, path_length=None), False)),
        "BasicConstraints is not critical",
    ),
    "no key usage": (lambda: forge(drop=["usage"]), "no KeyUsage"),
    "a key usage that is not critical": (lambda: forge(usage=(usage(), False)), "not critical"),
    "a key that also encrypts": (
        lambda: forge(usage=(usage(key_encipherment=True), True)),
        "not digitalSignature alone",
    ),
    "a key that also certifies": (
        lambda: forge(usage=(usage(key_cert_sign=True), True)),
        "not digitalSignature alone",
    ),
    "a key that does not sign": (
        lambda: forge(usage=(usage(digital_signature=False, key_encipherment=True), True)),
        "not digitalSignature alone",
    ),
    "an unknown critical extension": (
        lambda: forge(more=[unknown(critical=True)]),
        "unknown critical extension 1.2.3.4",
    ),
    "one extension twice": (forging.same_extension_twice, "cannot be read"),
    "an extension that cannot be read": (
        lambda: forge(
            drop=["usage"],
            more=[(x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\x05\0"), True)],
        ),
        "cannot be read",
    ),
    "an alternative name that cannot be read": (
        lambda: forge(
            drop=["alternative"],
            more=[
                (
                    x509.UnrecognizedExtension(
                        x509.SubjectAlternativeName.oid, b"\x30\x04\xa3\x02\x05\0"
                    ),
                    False,
                )
            ],
        ),
        "cannot be read",
    ),
    "X.509 version 1": (forging.version_1, "not X.509 version 3"),
    "a key of 1024 bits": (lambda: forge(key=rsa_key(1024).public_key()), "2048 to 4096 bits"),
    "the exponent 3": (lambda: forge(key=forging.weak_exponent()), "exponent 65537"),
    "an Ed25519 key": (
        lambda: forge(key=ed25519.Ed25519PrivateKey.generate().public_key()),
        "not RSA",
    ),
    "an elliptic curve's key": (
        lambda: forge(key=ec.generate_private_key(ec.SECP256R1()).public_key()),
        "not RSA",
    ),
    "a key of a kind that nobody knows": (
        lambda: forging.sign_again(
            forging.tbs_of(forge()).replace(
                # rsaEncryption becomes another OID of the same arc.
                bytes.fromhex("300d06092a864886f70d0101010500"),
                bytes.fromhex("300d06092a864886f70d01016f0500"),
            )
        ),
        "not RSA",
    ),
    "a life of 31 days": (lambda: forge(days=31), "longer than 30 days"),
    "a life that ends before it begins": (
        lambda: forging.sign_again(
            forging.tbs_of(forge(days=30)).replace(b"300131120000Z", b"300101110000Z")
        ),
        "ends before it begins",
    ),
    "more than 2048 bytes": (
        lambda: forge(
            more=[
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(1500)), False)
            ]
        ),
        "at most 2048",
    ),
    "another issuer": (lambda: forge(issuer=common_names("securerelay-0")), "another issuer"),
    "a foreign authority": (
        lambda: forge(signer=authority(1).key),
        "not signed by our authority",
    ),
    "a signature of its own": (lambda: forge(signer=rsa_key()), "not signed by our authority"),
    "a damaged signature": (with_flipped_signature, "not signed by our authority"),
    "a PKCS #1 signature": (lambda: forge(rsa_padding=padding.PKCS1v15()), NOT_PSS),
    "a PKCS #1 signature that says PSS": (
        lambda: forging.sign_again(forging.tbs_of(forge()), rsa_padding=padding.PKCS1v15()),
        "not signed by our authority",
    ),
    "PSS with SHA-256": (lambda: forge(**forging.odd_pss(hashes.SHA256(), 32)), NOT_PSS),
    "PSS with another salt": (lambda: forge(**forging.odd_pss(hashes.SHA384(), 32)), NOT_PSS),
    "another salt than it says": (
        lambda: forging.sign_again(
            forging.tbs_of(forge()), rsa_padding=padding.PSS(padding.MGF1(hashes.SHA384()), 32)
        ),
        "not signed by our authority",
    ),
    "another algorithm's name outside": (
        lambda: forging.sign_again(
            forging.tbs_of(forge()), bytes.fromhex("300d06092a864886f70d01010c0500")
        ),
        NOT_PSS,
    ),
    "a byte too many": (lambda: forge() + b"\0", NOT_PSS),
    "a byte too few": (lambda: forge()[:-1], NOT_PSS),
    "nothing": (lambda: b"", NOT_PSS),
    "three bytes": (lambda: b"\x30\x82\x00", NOT_PSS),
    "something else, signed": (
        lambda: forging.sign_again(b"\x30\x00" * 200),
        "cannot be read",
    ),
    "version 9": (
        lambda: forging.sign_again(
            forging.tbs_of(forge()).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")
        ),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_certificate_is_refused_with_its_reason(case):
    make, reason = BAD[case]
    with pytest.raises(CertificateError) as caught:
        check_peer(make())
    assert caught.value.code == "auth-failed"
    assert reason in caught.value.detail


def test_a_good_certificate_says_who_it_is_for():
    der = forge()
    peer = check_peer(der)
    assert (peer.name, peer.spki, peer.serial) == ("alice", spki(), 77)
    assert peer.sha256 == primitives.sha256(der)
    assert peer.not_before == NOW
    assert peer.not_after == NOW + 30 * DAY


def test_unknown_extensions_that_are_not_critical_are_allowed():
    assert check_peer(forge(more=[unknown(critical=False)])).name == "alice"


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_keys_of_all_permitted_sizes_are_taken(bits):
    assert check_peer(forge(key=rsa_key(bits).public_key())).spki == spki(bits)


def test_a_relay_may_live_90_days_and_a_peer_30():
    assert check_peer(forge(days=30)).not_after == NOW + 30 * DAY
    relay = certificates.check_relay(authority().spki, forge(role="relay", days=90), now=NOW)
    assert relay.not_after == NOW + 90 * DAY
    with pytest.raises(CertificateError, match="longer than 90 days"):
        certificates.check_relay(authority().spki, forge(role="relay", days=91), now=NOW)


def test_the_dates_of_a_peer_are_told_apart_from_what_is_forged():
    peer = check_peer(forge())
    moment = datetime.timedelta(seconds=1)
    assert not peer.expired(NOW)
    assert not peer.expired(NOW + 30 * DAY)
    assert peer.expired(NOW - moment)
    assert peer.expired(NOW + 30 * DAY + moment)
    assert peer.renew_at == NOW + 20 * DAY


def test_no_bit_of_a_certificate_can_be_changed():
    der = forge()
    for position in range(len(der)):
        changed = bytearray(der)
        changed[position] ^= 1 << position % 8
        with pytest.raises(CertificateError):
            check_peer(bytes(changed))


class TestRelay:
    def check(self, der=None, ca_spki=None, now=NOW, name=None):
        der = forge(role="relay", subject=common_names("alice")) if der is None else der
        return certificates.check_relay(ca_spki or authority().spki, der, now=now, name=name)

    def test_a_relay_is_taken_for_what_it_is(self):
        assert self.check().name == "alice"
        assert self.check(name="alice").spki == spki()

    def test_a_peer_cannot_pose_as_a_relay(self):
        with pytest.raises(CertificateError, match="not that of a relay"):
            self.check(forge())

    def test_a_relay_of_another_name_is_refused(self):
        with pytest.raises(CertificateError, match="called alice, not hub"):
            self.check(name="hub")

    @pytest.mark.parametrize("when", [NOW - DAY, NOW + 31 * DAY])
    def test_a_relay_out_of_date_is_refused(self, when):
        with pytest.raises(CertificateError, match="valid from"):
            self.check(now=when)

    @pytest.mark.parametrize(
        "ca_spki",
        [
            b"",
            primitives.sha256(b"no key"),
            primitives.spki(
                rsa.RSAPublicNumbers(
                    65537, rsa_key(1024).public_key().public_numbers().n
                ).public_key()
            ),
        ],
    )
    def test_an_authority_without_a_strong_key_is_refused(self, ca_spki):
        with pytest.raises(CertificateError, match="authority's key"):
            certificates.check_relay(ca_spki, forge(role="relay"), now=NOW)


class TestEnrolled:
    def check(self, der=None, **changes):
        facts = {"name": "alice", "spki": spki(), "now": NOW, **changes}
        return certificates.check_enrolled(
            authority().spki, forge() if der is None else der, **facts
        )

    def test_our_own_certificate_is_taken(self):
        assert self.check().name == "alice"

    def test_a_certificate_for_another_name_is_refused(self):
        with pytest.raises(CertificateError, match="another name or key"):
            self.check(name="bob")

    def test_a_certificate_for_another_key_is_refused(self):
        with pytest.raises(CertificateError, match="another name or key"):
            self.check(spki=spki(2048, 1))

    def test_a_certificate_out_of_date_is_refused(self):
        with pytest.raises(CertificateError, match="our certificate is valid from"):
            self.check(now=NOW + 31 * DAY)

    def test_an_authority_without_an_rsa_key_is_refused(self):
        with pytest.raises(CertificateError, match="not RSA"):
            certificates.check_enrolled(b"", forge(), name="alice", spki=spki(), now=NOW)
