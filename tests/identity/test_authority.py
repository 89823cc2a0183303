"""What an authority signs: certificates that our own strict reader and other programs take."""

from __future__ import annotations

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from securerelay.crypto import primitives
from securerelay.errors import BadName, CertificateError, LocalError
from securerelay.identity import certificates, pem
from securerelay.identity.authority import Authority
from tests.identity.forging import DAY
from tests.keys import NOW, authority, rsa_key, spki

HOUR = datetime.timedelta(hours=1)


def test_the_authority_is_called_after_its_key():
    ours = authority()
    certificate = x509.load_der_x509_certificate(ours.certificate)
    name = f"securerelay-{primitives.sha256(ours.spki).hex()[:16]}"
    assert certificate.subject.rfc4514_string() == f"CN={name}"
    assert certificate.issuer == certificate.subject
    assert ours.relay_id == primitives.sha256(ours.spki)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert repr(ours) == f"<Authority {ours.relay_id.hex()}>"


def test_an_authority_may_sign_certificates_and_nothing_else():
    made = Authority.from_key(rsa_key(2048, 100), NOW)
    found = x509.load_der_x509_certificate(made.certificate).extensions
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(made.public_key)
    assert [(one.value, one.critical) for one in found] == [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (usage, True),
        (identifier, False),
    ]


def test_a_new_authority_has_a_key_of_its_own():
    made = Authority.create(NOW, bits=2048)
    assert made.relay_id != authority().relay_id
    assert made.key.key_size == 2048


def test_an_authority_takes_no_certificate_of_another():
    for certificate in (authority(1).certificate, b"junk"):
        with pytest.raises(LocalError, match="does not belong to its key"):
            Authority(authority().key, certificate)


def test_a_peer_gets_thirty_days_from_an_hour_ago():
    issued = authority().issue_peer("alice", spki(), NOW)
    peer = certificates.check_peer(authority().public_key, issued.der)
    assert (peer.name, peer.spki) == ("alice", spki())
    assert (peer.serial, peer.sha256) == (issued.serial, issued.sha256)
    assert (peer.not_before, peer.not_after) == (NOW - HOUR, NOW - HOUR + 30 * DAY)
    assert (issued.not_before, issued.not_after) == (peer.not_before, peer.not_after)
    assert pem.read(issued.pem) == issued.der
    extensions = x509.load_der_x509_certificate(issued.der).extensions
    assert not extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_a_relay_gets_ninety_days():
    issued = authority().issue_relay("hub", spki(), NOW)
    relay = certificates.check_relay(authority().spki, issued.der, now=NOW, name="hub")
    assert relay.not_after - relay.not_before == 90 * DAY


def test_the_longest_name_and_the_largest_key_fit_into_a_certificate():
    issued = authority().issue_peer("a" * 32, spki(4096), NOW)
    assert len(issued.der) <= certificates.MAX_SIZE
    assert certificates.check_peer(authority().public_key, issued.der).name == "a" * 32


def test_no_two_certificates_have_the_same_serial_number():
    one, other = (authority().issue_peer("alice", spki(), NOW) for _ in range(2))
    assert one.serial != other.serial


@pytest.mark.parametrize("name", ["", "Alice", "a\0", "a b", "-a", "a" * 33])
def test_nothing_is_signed_for_a_bad_name(name):
    with pytest.raises(BadName):
        authority().issue_peer(name, spki(), NOW)


@pytest.mark.parametrize("key", [b"", b"junk", spki()[:-1], spki() + b"\0", spki(1024)])
def test_nothing_is_signed_for_a_bad_key(key):
    with pytest.raises(CertificateError, match="not RSA of 2048 to 4096 bits"):
        authority().issue_peer("alice", key, NOW)


class TestTls:
    def test_other_programs_take_the_certificate_for_each_of_its_hosts(self):
        hosts = ["relay.example", "xn--bcher-kva.example", "localhost", "192.0.2.1", "2001:db8::1"]
        issued = authority().issue_tls(spki(), hosts, NOW)
        leaf = x509.load_der_x509_certificate(issued.der)
        store = Store([x509.load_der_x509_certificate(authority().certificate)])
        for subject in (x509.DNSName("relay.example"), x509.IPAddress(ipaddress.ip_address("::1"))):
            verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(subject)
            if subject == x509.DNSName("relay.example"):
                assert verifier.verify(leaf, [])[0] == leaf
            else:
                with pytest.raises(x509.verification.VerificationError):
                    verifier.verify(leaf, [])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == hosts[:3]
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == hosts[3:]

    def test_it_is_for_tls_servers_alone_and_never_a_relay_or_a_peer(self):
        issued = authority().issue_tls(spki(), ["relay"], NOW)
        extensions = x509.load_der_x509_certificate(issued.der).extensions
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
        assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
        critical = [type(one.value) for one in extensions if one.critical]
        assert critical == [x509.BasicConstraints, x509.KeyUsage]
        for role in ("relay", "peer"):
            with pytest.raises(CertificateError):
                certificates.check(authority().public_key, issued.der, role)

    @pytest.mark.parametrize(
        "host",
        [
            *("", "*", "*.example", "a..b", ".a", "a.", "-a.b", "a-.b", "A.b", "a b", "a_b.c"),
            *("1.2.3", "1.2.3.4.5", "256.1.1.1", "0x7f.1", "a:b:c", "[::1]", "a/b", "a\0", "é.x"),
            *("a" * 64, "a." * 127 + "ab", "fe80::1%eth0 "),
        ],
    )
    def test_what_is_neither_a_plain_host_name_nor_an_address_is_refused(self, host):
        with pytest.raises(LocalError, match="neither a host name in lower case nor an IP"):
            authority().issue_tls(spki(), [host], NOW)

    def test_a_certificate_for_no_host_is_refused(self):
        with pytest.raises(LocalError, match="at least one"):
            authority().issue_tls(spki(), [], NOW)

    def test_a_weak_key_is_refused(self):
        with pytest.raises(CertificateError):
            authority().issue_tls(spki(1024), ["a"], NOW)


def test_pem_without_a_certificate_is_refused():
    with pytest.raises(LocalError, match="no certificate"):
        pem.read(b"-----BEGIN NOTHING-----")


def test_the_shared_keys_differ_by_their_index():
    assert rsa_key() is rsa_key()
    assert rsa_key(2048, 1) is not rsa_key()
