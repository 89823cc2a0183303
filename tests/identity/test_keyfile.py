"""Key files: wrapped ones open with their passphrase alone, and never ask too much of us."""

from __future__ import annotations

import base64
import stat
import struct

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given, settings
from hypothesis import strategies as st

from securerelay.errors import KeyFileError, LocalError, WrongPassphrase
from securerelay.identity import container, keyfile
from securerelay.identity.container import Cost
from tests.keys import rsa_key

CHEAP = Cost(memory=64, passes=1, lanes=1)
HEADER = struct.Struct(">4sBIBB16s12s")


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(container, "DEFAULT_COST", CHEAP)


def armour(raw: bytes) -> bytes:
    return (
        b"-----BEGIN SECURERELAY WRAPPED KEY-----\n"
        + base64.b64encode(raw)
        + b"\n-----END SECURERELAY WRAPPED KEY-----\n"
    )


def bare(data: bytes) -> bytes:
    return base64.b64decode(b"".join(data.splitlines()[1:-1]))


@settings(max_examples=25)
@given(st.binary(max_size=300), st.binary(min_size=1, max_size=40))
def test_a_secret_comes_out_as_it_went_in(secret, passphrase):
    assert container.unwrap(container.wrap(secret, passphrase, CHEAP), passphrase) == secret


def test_a_wrapped_secret_has_the_documented_form():
    raw = bare(container.wrap(b"secret", b"pass", CHEAP))
    magic, version, memory, passes, lanes, salt, nonce = HEADER.unpack(raw[: HEADER.size])
    assert (magic, version, memory, passes, lanes) == (b"SRKC", 1, 64, 1, 1)
    kdf = Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=64)
    sealed = raw[HEADER.size :]
    assert AESGCM(kdf.derive(b"pass")).decrypt(nonce, sealed, raw[: HEADER.size]) == b"secret"


def test_a_try_costs_64_mib_and_three_passes_unless_said():
    raw = bare(container.wrap(b"secret", b"pass"))
    assert HEADER.unpack(raw[: HEADER.size])[2:5] == (64 * 1024, 3, 4)


def test_the_same_secret_never_looks_the_same():
    assert container.wrap(b"s", b"p", CHEAP) != container.wrap(b"s", b"p", CHEAP)


def test_no_byte_of_a_wrapped_secret_can_be_changed():
    raw = bare(container.wrap(b"secret", b"pass", Cost(memory=64, passes=1, lanes=1)))
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        with pytest.raises(KeyFileError):
            container.unwrap(armour(bytes(changed)), b"pass")


@pytest.mark.parametrize(
    ("memory", "passes", "lanes"),
    [
        (100 * 1024 * 1024, 3, 4),
        (256 * 1024 + 1, 3, 4),
        (64 * 1024, 0, 4),
        (64 * 1024, 9, 4),
        (64 * 1024, 255, 4),
        (64 * 1024, 3, 0),
        (64 * 1024, 3, 5),
        (0, 3, 1),
        (31, 3, 4),
    ],
)
def test_a_hostile_file_cannot_ask_for_more_memory_or_time_than_allowed(
    monkeypatch, memory, passes, lanes
):
    def never(**asked):
        raise AssertionError(f"asked for {asked}")

    monkeypatch.setattr(container, "Argon2id", never)
    header = HEADER.pack(b"SRKC", 1, memory, passes, lanes, bytes(16), bytes(12))
    with pytest.raises(KeyFileError, match="more memory or time than allowed"):
        container.unwrap(armour(header + bytes(32)), b"pass")
    with pytest.raises(ValueError, match="bounded"):
        container.wrap(b"secret", b"pass", Cost(memory, passes, lanes))


def test_a_file_may_ask_for_as_much_as_is_allowed():
    assert all(cost.bearable() for cost in (Cost(256 * 1024, 8, 4), Cost(32, 1, 4), Cost(8, 1, 1)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (armour(b"short"), "cut short"),
        (armour(HEADER.pack(b"XXXX", 1, 64, 1, 1, bytes(16), bytes(12)) + bytes(16)), "version"),
        (armour(HEADER.pack(b"SRKC", 2, 64, 1, 1, bytes(16), bytes(12)) + bytes(16)), "version"),
        (armour(b"x" * 60).replace(b"eHh4", b"e*h4"), "not base64"),
        (armour(b"x" * 60)[:-10], "first or last line"),
        (b"nothing", "first or last line"),
        (b"", "first or last line"),
    ],
)
def test_a_damaged_container_is_told(data, reason):
    with pytest.raises(KeyFileError, match=reason):
        container.unwrap(data, b"pass")


def test_an_empty_passphrase_protects_nothing_and_is_refused():
    with pytest.raises(ValueError, match="not empty"):
        container.wrap(b"secret", b"")


@pytest.mark.usefixtures("cheap")
class TestKeys:
    def test_a_plain_key_is_read_again_and_private(self, tmp_path):
        keyfile.save_key(tmp_path / "key", rsa_key())
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
        assert not keyfile.is_protected(tmp_path / "key")
        for passphrase in (None, b"not needed"):
            loaded = keyfile.load_key(tmp_path / "key", passphrase)
            assert loaded.private_numbers() == rsa_key().private_numbers()

    def test_a_wrapped_key_opens_with_its_passphrase_alone(self, tmp_path):
        path = tmp_path / "key"
        keyfile.save_key(path, rsa_key(), b"right")
        assert keyfile.is_protected(path)
        assert keyfile.load_key(path, b"right").private_numbers() == rsa_key().private_numbers()
        with pytest.raises(WrongPassphrase, match=r"key: the passphrase is wrong"):
            keyfile.load_key(path, b"wrong")
        with pytest.raises(WrongPassphrase, match="none was given"):
            keyfile.load_key(path)

    def test_a_key_is_not_replaced_unless_allowed(self, tmp_path):
        keyfile.save_key(tmp_path / "key", rsa_key())
        for passphrase in (None, b"x"):
            with pytest.raises(LocalError, match="exists already"):
                keyfile.save_key(tmp_path / "key", rsa_key(), passphrase, replace=False)
            keyfile.save_key(tmp_path / "key", rsa_key(2048, 1), passphrase)
            loaded = keyfile.load_key(tmp_path / "key", passphrase)
            assert loaded.private_numbers() == rsa_key(2048, 1).private_numbers()

    @pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
    def test_keys_of_other_programs_are_read(self, tmp_path, form):
        path = tmp_path / "key"
        form = getattr(serialization.PrivateFormat, form)
        for protection in (
            serialization.NoEncryption(),
            serialization.BestAvailableEncryption(b"right"),
        ):
            data = rsa_key().private_bytes(serialization.Encoding.PEM, form, protection)
            path.write_bytes(data)
            path.chmod(0o600)
            assert keyfile.load_key(path, b"right").private_numbers() == rsa_key().private_numbers()
        with pytest.raises(WrongPassphrase, match="passphrase is wrong"):
            keyfile.load_key(path, b"wrong")
        with pytest.raises(WrongPassphrase, match="none was given"):
            keyfile.load_key(path)

    @pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\n"])
    def test_what_is_no_key_is_told(self, tmp_path, data):
        (tmp_path / "key").write_bytes(data)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(KeyFileError, match="this is no private key"):
            keyfile.load_key(tmp_path / "key")

    def test_weak_keys_and_keys_of_other_kinds_are_refused(self, tmp_path):
        path = tmp_path / "key"
        keyfile.save_key(path, rsa_key(1024))
        with pytest.raises(KeyFileError, match="no RSA key of 2048 to 4096 bits"):
            keyfile.load_key(path)
        data = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(data)
        with pytest.raises(KeyFileError, match="no RSA key of 2048 to 4096 bits"):
            keyfile.load_key(path)

    @pytest.mark.parametrize(
        ("how", "passphrase", "told"),
        [
            ({"ours": True}, None, "does not work"),
            ({"ours": True}, b"right", "does not work"),
            ({}, None, "no private key"),
            ({}, b"right", "passphrase is wrong, or the file is damaged"),
        ],
    )
    def test_a_key_that_does_not_work_is_refused(self, tmp_path, how, passphrase, told):
        parts = rsa_key().private_numbers()
        damaged = rsa.RSAPrivateNumbers(
            parts.p,
            parts.q,
            parts.d ^ 4,
            parts.dmp1 ^ 4,
            parts.dmq1,
            parts.iqmp,
            parts.public_numbers,
        )
        key = damaged.private_key(unsafe_skip_rsa_key_validation=True)
        keyfile.save_key(tmp_path / "key", key, passphrase)
        with pytest.raises(KeyFileError, match=told):
            keyfile.load_key(tmp_path / "key", passphrase, **how)

    def test_a_key_that_cannot_even_sign_is_refused(self, tmp_path):
        modulus = rsa_key().public_key().public_numbers().n
        right, even = (number.to_bytes(256, "big") for number in (modulus, modulus - 1))
        damaged = serialization.load_der_private_key(
            keyfile.to_der(rsa_key()).replace(right, even),
            None,
            unsafe_skip_rsa_key_validation=True,
        )
        keyfile.save_key(tmp_path / "key", damaged)
        with pytest.raises(KeyFileError, match="does not work"):
            keyfile.load_key(tmp_path / "key", ours=True)

    def test_a_key_of_ours_is_read_as_any_other(self, tmp_path):
        for passphrase in (None, b"right"):
            keyfile.save_key(tmp_path / "key", rsa_key(), passphrase)
            key = keyfile.load_key(tmp_path / "key", passphrase, ours=True)
            assert key.private_numbers() == rsa_key().private_numbers()

    def test_a_container_that_holds_no_key_is_told(self, tmp_path):
        path = tmp_path / "key"
        path.write_bytes(container.wrap(b"no key", b"right", CHEAP))
        path.chmod(0o600)
        with pytest.raises(KeyFileError, match="key: "):
            keyfile.load_key(path, b"right")

    def test_a_key_that_others_can_read_is_refused(self, tmp_path):
        keyfile.save_key(tmp_path / "key", rsa_key())
        (tmp_path / "key").chmod(0o644)
        with pytest.raises(LocalError, match="chmod 600"):
            keyfile.load_key(tmp_path / "key")

    def test_keys_of_odd_sizes_are_not_made(self):
        assert keyfile.generate_key(2048).key_size == 2048
        for bits in (1024, 2047, 2560, 8192):
            with pytest.raises(KeyFileError, match="2048, 3072 or 4096"):
                keyfile.generate_key(bits)
