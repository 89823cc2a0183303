"""Invitations: exact to the byte, and forgiving of nothing but space around them."""

from __future__ import annotations

import base64
import hashlib
import string

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from securerelay.errors import BadName, InvitationError
from securerelay.identity.invitation import Invitation, format_address, parse_address
from securerelay.names import is_peer

BASE32 = string.ascii_lowercase + "234567"
INVITATION = Invitation(
    relay_id=bytes(range(32)),
    token=b"\x01token",
    seed=b"\x02" * 16,
    expiry=1_900_000_000,
    host="relay.example",
    port=3000,
    name="alice",
)
CONTENT = (
    b"\x01" + bytes(range(32)) + b"\x01token" + b"\x02" * 16 + (1_900_000_000).to_bytes(5, "big")
)


def written(
    before: str = "securerelay://relay.example:3000/alice", content: bytes = CONTENT
) -> str:
    """Write an invitation by hand, with the checksum it should have."""
    checksum = hashlib.sha384(b"securerelay/1 invitation checksum" + before.encode() + content)
    return f"{before}#sr1i_" + base64.b32encode(content + checksum.digest()[:5]).decode().lower()


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True),
)
INVITATIONS = st.builds(
    Invitation,
    relay_id=st.binary(min_size=32, max_size=32),
    token=st.binary(min_size=6, max_size=6),
    seed=st.binary(min_size=16, max_size=16),
    expiry=st.integers(0, 2**40 - 1),
    host=HOSTS,
    port=st.integers(1, 65535),
    name=st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,30}[a-z0-9])?", fullmatch=True).filter(
        lambda name: is_peer(name.encode())
    ),
)


def test_an_invitation_is_written_as_the_protocol_says():
    assert INVITATION.uri() == written()
    assert len(INVITATION.uri().partition("#sr1i_")[2]) == 104


@given(INVITATIONS)
def test_every_invitation_is_read_as_it_was_written(invitation):
    assert Invitation.parse(invitation.uri()) == invitation


@given(st.text())
def test_no_text_does_worse_than_being_refused(text):
    with pytest.raises(InvitationError):
        Invitation.parse(text)


@given(st.text(BASE32, min_size=104, max_size=104), st.text(max_size=40))
def test_no_text_in_the_shape_of_one_does_worse_than_being_refused(encoded, before):
    with pytest.raises(InvitationError):
        Invitation.parse(f"securerelay://{before}#sr1i_{encoded}")


def test_space_around_an_invitation_is_ignored():
    assert Invitation.parse(f" \t{INVITATION.uri()}\r\n") == INVITATION


def test_every_bit_of_an_invitation_counts():
    before, _, encoded = INVITATION.uri().partition("#sr1i_")
    for position, character in enumerate(encoded):
        value = BASE32.index(character)
        for bit in range(5):
            changed = encoded[:position] + BASE32[value ^ (1 << bit)] + encoded[position + 1 :]
            with pytest.raises(InvitationError, match="typing error"):
                Invitation.parse(f"{before}#sr1i_{changed}")


def test_every_character_before_the_code_counts():
    before, _, encoded = INVITATION.uri().partition("#")
    for position in range(len(before)):
        for other in "xX0/:":
            if before[position] != other:
                changed = before[:position] + other + before[position + 1 :]
                with pytest.raises(InvitationError):
                    Invitation.parse(f"{changed}#{encoded}")


def test_two_characters_exchanged_are_a_typing_error():
    uri = INVITATION.uri()
    at = next(n for n in range(-100, -1) if uri[n] != uri[n + 1])
    changed = uri[:at] + uri[at + 1] + uri[at] + uri[len(uri) + at + 2 :]
    with pytest.raises(InvitationError, match="checksum"):
        Invitation.parse(changed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not an invitation"),
        ("https://relay.example/alice", "not an invitation"),
        ("securerelay://relay.example:3000/alice", "not an invitation"),
        (INVITATION.uri().upper(), "not an invitation"),
        (INVITATION.uri()[:-1], "not complete: 104 characters follow sr1i_, here are 103"),
        (INVITATION.uri() + "a", "here are 105"),
        (INVITATION.uri()[:-1] + "1", "only a-z and 2-7"),
        (INVITATION.uri()[:-1] + "A", "only a-z and 2-7"),
        (INVITATION.uri()[:-1] + "=", "only a-z and 2-7"),
        (INVITATION.uri()[:-1] + "\u0131", "only a-z and 2-7"),
        (written(content=b"\x02" + CONTENT[1:]), "another version"),
        (written("securerelay://relay.example:3000/Alice"), "that is no name"),
        (written("securerelay://relay.example:3000/"), "that is no name"),
        (written("securerelay://relay.example:3000"), "that is no name"),
        (written("securerelay://relay.example:3000/alice/x"), "that is no name"),
        (written("securerelay://relay.example/alice"), "HOST:PORT"),
        (written("securerelay://relay.example:0/alice"), "HOST:PORT"),
        (written("securerelay://relay.example:03000/alice"), "HOST:PORT"),
        (written("securerelay://relay.example:65536/alice"), "65535"),
        (written("securerelay://::1:3000/alice"), "HOST:PORT"),
        (written("securerelay://[::g]:3000/alice"), "HOST:PORT"),
        (written("securerelay://[::1::]:3000/alice"), "no IPv6 address"),
        (written("securerelay://[fe80::1%eth0]:3000/alice"), "HOST:PORT"),
        (written("securerelay://a b:3000/alice"), "neither a host name"),
        (written("securerelay://-x:3000/alice"), "neither a host name"),
        (written("securerelay://user@host:3000/alice"), "HOST:PORT"),
    ],
)
def test_a_wrong_invitation_is_refused_in_one_clear_sentence(text, reason):
    with pytest.raises(InvitationError) as caught:
        Invitation.parse(text)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_an_ipv6_address_stands_in_brackets():
    invitation = Invitation.create(bytes(32), "2001:db8::1", 3000, "bob", 5)
    assert invitation.uri().startswith("securerelay://[2001:db8::1]:3000/bob#sr1i_")
    assert Invitation.parse(invitation.uri()).host == "2001:db8::1"


def test_two_invitations_have_nothing_secret_in_common():
    one, other = (Invitation.create(bytes(32), "h", 1, "bob", 5) for _ in range(2))
    assert one.token != other.token
    assert one.seed != other.seed
    assert one.public_key != other.public_key


def test_the_signing_key_comes_from_the_seed_by_hkdf():
    hkdf = HKDF(hashes.SHA384(), 32, salt=bytes(48), info=b"securerelay/1 invite")
    seed = hkdf.derive(INVITATION.seed)
    assert INVITATION.signing_seed == seed
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert INVITATION.public_key == public.public_bytes_raw()


def test_an_invitation_is_over_when_its_time_has_come():
    INVITATION.require_current(1_899_999_999.9)
    with pytest.raises(InvitationError, match="has expired"):
        INVITATION.require_current(1_900_000_000)


def test_an_invitation_shows_neither_token_nor_seed():
    shown = repr(INVITATION)
    assert "token" not in shown
    assert "seed" not in shown


@pytest.mark.parametrize(
    "changes",
    [
        {"relay_id": bytes(31)},
        {"token": bytes(5)},
        {"seed": bytes(17)},
        {"expiry": -1},
        {"expiry": 2**40},
        {"host": "a:b"},
        {"host": "[::1]"},
        {"host": "-"},
        {"host": "1::2::3"},
        {"host": ""},
        {"port": 0},
        {"port": 65536},
    ],
)
def test_an_invitation_that_could_not_be_read_again_is_not_made(changes):
    facts = {name: getattr(INVITATION, name) for name in Invitation.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"fixed size|HOST:PORT|host is|'\[::1\]'|a port"):
        Invitation(**{**facts, **changes})


def test_an_invitation_for_a_bad_name_is_not_made():
    with pytest.raises(BadName):
        Invitation.create(bytes(32), "h", 1, "Bob", 5)


@given(HOSTS, st.integers(1, 65535))
def test_every_address_is_read_as_it_was_written(host, port):
    assert parse_address(format_address(host, port)) == (host, port)
