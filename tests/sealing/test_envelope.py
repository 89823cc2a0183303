"""An envelope opens for its recipient, as its sender's, in its place, and never otherwise."""

from __future__ import annotations

import pytest

from securerelay.crypto import contexts, hpke
from securerelay.protocol.items import encode_items
from securerelay.protocol.sealed import DirectHeader
from securerelay.sealing import envelope, plaintext
from securerelay.sealing.verdicts import Verdict
from tests.sealing.world import (
    STREAM,
    Person,
    alice,
    bob,
    carol,
    delivery,
    mallory,
    message,
    opened,
    refused,
    sealed,
)


def test_what_alice_seals_bob_opens() -> None:
    assert opened(sealed()) == message()


def test_it_is_a_header_then_what_hpke_made_of_the_signed_plaintext() -> None:
    body = sealed()
    header = b"SRE1\1" + alice().fp[:8] + bob().prekey.id
    assert body.startswith(header)
    info = b"securerelay/1 e2e seal\0" + encode_items([(1, header), (2, alice().fp), (3, bob().fp)])
    plain = hpke.unseal(bob().prekey.key, info, body[21:])
    assert plain is not None
    assert plain == plaintext.write(message(), alice().author, contexts.E2E_MESSAGE, info)
    assert len(body) == 21 + 1136 + len(plain)


def test_the_same_message_sealed_twice_has_no_ciphertext_in_common() -> None:
    assert sealed()[21:] != sealed()[21:]


@pytest.mark.parametrize("body", [b"", b"hello", sealed()[:1000], b"SRE1\2" + bytes(2000)])
def test_what_is_no_envelope_is_refused(body: bytes) -> None:
    with refused(Verdict.ALTERED):
        opened(body)


def test_a_sender_id_that_nobody_pinned_has_is_not_checked_yet() -> None:
    with refused(Verdict.UNCHECKED):
        opened(sealed(), pinned=(carol(),))


def test_a_prekey_that_is_gone_is_told_apart_from_an_altered_message() -> None:
    body = sealed()
    with refused(Verdict.UNKNOWN_PREKEY):
        envelope.unseal(
            body, delivery(), bob().identity, lambda _: alice().identity, lambda _: None
        )


def test_only_the_prekey_that_is_named_is_tried() -> None:
    asked = []
    body = sealed()
    other = body[:13] + carol().prekey.id + body[21:]
    prekeys = {bob().prekey.id: bob().prekey.key, carol().prekey.id: carol().prekey.key}

    def find(prekey_id: bytes) -> hpke.PrivateKey | None:
        asked.append(prekey_id)
        return prekeys.get(prekey_id)

    with refused(Verdict.ALTERED):
        envelope.unseal(other, delivery(), bob().identity, lambda _: alice().identity, find)
    assert asked == [carol().prekey.id]


def forged_by(who: Person) -> bytes:
    """Return what somebody writes with alice's fingerprint everywhere, but no key of hers."""
    header = DirectHeader(alice().identity.sender_id, bob().prekey.id).encode()
    info = envelope.binding(header, alice().fp, bob().fp)
    plain = plaintext.write(message(), who.author, contexts.E2E_MESSAGE, info)
    return header + hpke.seal(hpke.load_public(bob().prekey.public), info, plain)


def test_a_signature_by_another_key_than_the_pinned_one_is_refused() -> None:
    assert opened(forged_by(alice())) == message()
    with refused(Verdict.ALTERED):
        opened(forged_by(mallory()))


@pytest.mark.parametrize("changes", [{"stream": bytes(16)}, {"seq": 8}, {"to": "carol"}])
def test_a_message_that_the_relay_names_otherwise_is_refused(changes: dict[str, object]) -> None:
    with refused(Verdict.MISDIRECTED):
        opened(sealed(), delivery(**changes))


def test_a_message_signed_for_another_recipient_or_room_is_refused() -> None:
    for to in ("carol", "@team"):
        with refused(Verdict.MISDIRECTED):
            opened(sealed(message(to=to)), delivery(to=to))


def test_a_pin_of_another_name_does_not_speak_for_the_sender() -> None:
    with refused(Verdict.MISDIRECTED):
        opened(sealed(), delivery(sender="carol"))


def test_everything_is_verified_before_anything_is_compared() -> None:
    body = bytearray(sealed())
    body[-1] ^= 1
    with refused(Verdict.ALTERED):
        opened(bytes(body), delivery(seq=8, stream=STREAM[::-1]))
