"""A bundle is taken if all in it belongs together, and is never replaced by less."""

from __future__ import annotations

from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import encode_item, encode_items, u64
from securerelay.sealing import bundle
from securerelay.sealing.fingerprint import sign_as_identity
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.keys import NOW, authority
from tests.sealing.world import CA_SPKI, DAY, MS, RELAY_ID, Person, alice, bob, refused


def items_of(raw: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position < len(raw):
        size = int.from_bytes(raw[position + 1 : position + 5], "big")
        found[raw[position]] = raw[position + 5 : position + 5 + size]
        position += 5 + size
    return found


def forged(who: Person | None = None, /, **changes: Any) -> bytes:
    """Return bob's bundle with other items (``x09=...``), which its owner signed all the same."""
    who = who or bob()
    values = items_of(who.bundle())
    for name, value in changes.items():
        values[int(name[1:], 16)] = value
    del values[0x1F]
    unsigned = encode_items(sorted(values.items()))
    signature = sign_as_identity(who.key, contexts.E2E_BUNDLE, unsigned)
    values[0x1F] = signature
    return encode_items(sorted(values.items()))


def read(raw: bytes, name: str = "bob", ca_spki: bytes = CA_SPKI) -> bundle.Bundle:
    return bundle.read(raw, name, ca_spki)


def bad(raw: bytes, why: str, name: str = "bob", ca_spki: bytes = CA_SPKI) -> None:
    with pytest.raises(Rejected) as caught:
        read(raw, name, ca_spki)
    assert caught.value.verdict is Verdict.BUNDLE_BAD
    assert why in caught.value.detail


def test_a_bundle_has_its_items_in_order() -> None:
    values = items_of(bob().bundle())
    who = bob()
    assert list(values) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x1F]
    assert values == {
        0x01: b"\1",
        0x02: RELAY_ID,
        0x03: b"bob",
        0x04: who.certificate,
        0x05: who.identity.message_key,
        0x06: u64(MS),
        0x07: u64(MS),
        0x08: u64(MS + 30 * DAY),
        0x09: who.prekey.public,
        0x0A: b"\1\2",
        0x1F: values[0x1F],
    }


def test_what_was_built_is_read() -> None:
    raw = bob().bundle(number=MS + 5)
    one = read(raw)
    assert (one.identity, one.number, one.issued) == (bob().identity, MS + 5, MS)
    assert (one.prekey_id, one.raw, one.successions) == (bob().prekey.id, raw, ())
    assert read(forged(bob())).identity == bob().identity


def test_numbers_rise_though_the_clock_goes_back() -> None:
    assert bundle.next_number(0, MS) == MS
    assert bundle.next_number(MS, MS - 5) == MS + 1


def test_an_item_of_a_later_version_is_read_over_if_its_owner_signed_it() -> None:
    assert read(forged(x80=b"new")).number == MS
    bad(bob().bundle() + encode_item(0x80, b"new"), "signature")


def test_a_bundle_of_another_version_is_refused() -> None:
    bad(forged(x01=b"\2"), "of another version")


def test_a_bundle_of_another_relay_is_refused() -> None:
    bad(forged(x02=b"r" * 32), "of another relay")


def test_a_bundle_of_another_authority_is_refused() -> None:
    other = authority(1)
    bad(forged(x02=other.relay_id), "signed by our authority", ca_spki=other.spki)


def test_an_authority_that_has_no_rsa_key_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="authority's key"):
        read(forged(x02=primitives.sha256(b"junk")), ca_spki=b"junk")


def test_a_bundle_of_somebody_else_is_refused() -> None:
    bad(alice().bundle(), "of somebody else")


def test_somebody_elses_certificate_is_refused() -> None:
    bad(forged(x04=alice().certificate), "somebody else's certificate")


def test_a_relays_certificate_is_refused() -> None:
    relay = authority().issue_relay("bob", bob().identity.spki, NOW)
    bad(forged(x04=relay.der), "extended key usage")


@pytest.mark.parametrize("issued", [MS - 2 * DAY, MS + 31 * DAY, 2**63 - 1 - 30 * DAY])
def test_a_bundle_issued_outside_its_certificates_life_is_refused(issued: int) -> None:
    bad(bob().bundle(issued=issued), "outside its certificate's life")


def test_a_bundle_stays_readable_after_its_certificate_and_itself_expired() -> None:
    assert read(bob().bundle(issued=MS)).expires == MS + 30 * DAY


@pytest.mark.parametrize("life", [0, 29 * DAY, 31 * DAY])
def test_a_bundle_lives_thirty_days(life: int) -> None:
    bad(forged(x08=u64(MS + life)), "another life")


def test_a_bundle_without_a_suite_that_we_know_is_refused() -> None:
    bad(forged(x0A=b"\7\2"), "without a suite")
    assert read(forged(x0A=b"\1\2\7"))


@pytest.mark.parametrize("key", [b"\xff" * 1216, bob().prekey.public[:1184] + bytes(32)])
def test_a_prekey_that_is_none_is_refused(key: bytes) -> None:
    bad(forged(x09=key), "prekey")


@pytest.mark.parametrize("kind", [*range(1, 11), 0x1F])
def test_a_bundle_that_lacks_an_item_or_has_it_in_another_length_is_refused(kind: int) -> None:
    values = items_of(bob().bundle())
    value = values.pop(kind)
    bad(encode_items(sorted(values.items())), "is missing")
    if kind in (2, 5, 6, 7, 8, 9):
        bad(forged(**{f"x{kind:02X}": value + b"\0"}), f"item {kind:02x} of")


def test_a_bundle_signed_by_another_key_is_refused() -> None:
    raw = bob().bundle()
    unsigned = raw[: raw.rindex(b"\x1f\0\0\1\0")]
    for key, context in ((alice().key, contexts.E2E_BUNDLE), (bob().key, contexts.E2E_SUCCESSION)):
        bad(unsigned + encode_item(0x1F, sign_as_identity(key, context, unsigned)), "signature")


def test_a_huge_bundle_is_refused_unread() -> None:
    bad(bob().bundle() + encode_item(0x80, bytes(20_000)), "bytes")


def current(
    served: bundle.Bundle, stored: bundle.Bundle | None = None, heard: int = 0, now: int = MS
) -> None:
    bundle.check_current(served, bob().fp, stored, heard, now)


def test_the_first_a_newer_and_the_same_bundle_are_sealed_with() -> None:
    old, new = bob().served(), bob().served(number=MS + 1)
    current(old)
    current(new, old)
    current(old, old)


def test_a_bundle_of_another_fingerprint_is_not_sealed_with() -> None:
    with refused(Verdict.KEY_CHANGED):
        bundle.check_current(bob().served(), alice().fp, None, 0, MS)


def test_an_expired_bundle_is_not_sealed_with() -> None:
    current(bob().served(), now=MS + 30 * DAY - 1)
    with refused(Verdict.PEER_AWAY):
        current(bob().served(), now=MS + 30 * DAY)


def test_a_lower_number_is_refused() -> None:
    with refused(Verdict.BUNDLE_ROLLBACK):
        current(bob().served(), bob().served(number=MS + 1))


def test_two_bundles_with_one_number_are_refused() -> None:
    with refused(Verdict.BUNDLE_CONFLICT):
        current(bob().served(issued=MS + 1), bob().served())


def test_a_lower_number_than_its_owner_told_is_not_sealed_with() -> None:
    one = bob().served()
    current(one, one, heard=MS)
    with refused(Verdict.BUNDLE_WITHHELD):
        current(one, one, heard=MS + 1)
