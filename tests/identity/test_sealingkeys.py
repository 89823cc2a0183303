"""A profile's sealing keys: made once, and useless without the peer's key."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securerelay.errors import ProfileError
from securerelay.identity import keyfile, sealingkeys, ticketfile
from securerelay.identity.profile import SEALING, Profile
from securerelay.identity.sealingkeys import SealingKeys
from tests.identity.test_profile import enrol
from tests.keys import rsa_key


def test_they_are_made_at_first_use_and_stay(tmp_path):
    made = enrol(tmp_path / "p")
    keys = made.sealing_keys()
    assert len(keys.seed) == len(keys.data_key) == 32
    assert keys.seed != keys.data_key
    again = Profile.open(tmp_path / "p")
    again.key()
    assert again.sealing_keys() == keys


def test_nothing_of_them_is_readable_in_the_file_or_in_a_log(tmp_path):
    made = enrol(tmp_path / "p")
    keys = made.sealing_keys()
    path = tmp_path / "p" / SEALING
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.seed not in path.read_bytes()
    assert keys.data_key not in path.read_bytes()
    assert repr(keys) == "SealingKeys()"


@pytest.mark.parametrize(
    ("sealed", "purpose"),
    [
        (lambda: sealingkeys.seal(SealingKeys(b"s" * 32, b"d" * 32), rsa_key()), b"sealing keys"),
        (lambda: ticketfile.seal([], rsa_key()), b"tickets"),
    ],
)
def test_each_file_is_sealed_under_a_key_of_its_own(sealed, purpose):
    data, info = sealed(), b"securerelay/1 profile " + purpose
    secret = hmac.digest(bytes(48), keyfile.to_der(rsa_key()), "sha384")
    key = hmac.digest(secret, info + b"\1", "sha384")[:32]
    content = AESGCM(key).decrypt(data[:12], data[12:], info)
    assert content in (b"s" * 32 + b"d" * 32, b"[]")


def test_another_key_or_a_damaged_file_gives_none(tmp_path):
    keys = SealingKeys.generate()
    data = sealingkeys.seal(keys, rsa_key())
    assert sealingkeys.unseal(data, rsa_key()) == keys
    for content, index in ((data, 1), (data[:-1], 0), (b"", 0)):
        with pytest.raises(ValueError, match=r"sealed with another key|12 bytes"):
            sealingkeys.unseal(content, rsa_key(index=index))
    made = enrol(tmp_path / "p")
    made.sealing_keys()
    (tmp_path / "p" / SEALING).write_bytes(b"x" * 92)
    with pytest.raises(ProfileError, match="restore a backup"):
        made.sealing_keys()
