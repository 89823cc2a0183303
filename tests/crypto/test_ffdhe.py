"""The finite field of RFC 7919, and the shares that do not belong to it."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from securerelay.crypto import ffdhe
from securerelay.errors import RemoteError


def test_the_prime_is_the_one_that_rfc_7919_derives_from_e() -> None:
    bits = 3200  # of fixed point, some more than the prime has
    e, term, divisor = 0, 1 << bits, 1
    while term:
        e += term
        term //= divisor
        divisor += 1
    assert (e >> (bits - 20)) == int(2.718281828459045 * (1 << 20))
    middle = (e >> (bits - 2942)) + 2625351
    assert (1 << 3072) - (1 << 3008) + (middle << 64) - 1 == ffdhe.PRIME


def fixed(private: int) -> ffdhe.FfdheOffer:
    """An offer with a chosen private number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cryptography.hazmat.primitives.asymmetric import dh

        public = dh.DHPublicNumbers(pow(2, private, ffdhe.PRIME), ffdhe._NUMBERS)
        return ffdhe.FfdheOffer(dh.DHPrivateNumbers(private, public).private_key())


def share(number: int) -> bytes:
    return number.to_bytes(384, "big")


def test_shares_and_secrets_keep_their_leading_zeros() -> None:
    mine = fixed(3)
    assert mine.share == share(8)
    assert mine.complete(share(4)) == share(64)


@pytest.mark.parametrize(
    "number",
    [0, 1, ffdhe.PRIME - 1, ffdhe.PRIME, ffdhe.PRIME + 2, (1 << 3072) - 1],
    ids=["0", "1", "p-1", "p", "p+2", "2^3072-1"],
)
def test_a_number_outside_the_group_is_bad(number: int) -> None:
    with pytest.raises(RemoteError, match="from 2 to p-2"):
        ffdhe.answer(share(number))
    with pytest.raises(RemoteError, match="from 2 to p-2"):
        fixed(5).complete(share(number))


@pytest.mark.parametrize("number", [2, 3, ffdhe.PRIME - 2], ids=["2", "3", "p-2"])
def test_the_numbers_at_the_edges_are_good(number: int) -> None:
    own, secret = ffdhe.answer(share(number))
    assert len(own) == len(secret) == 384


def test_a_padded_share_of_another_length_is_bad() -> None:
    for wrong in (b"\x02", b"\0" + share(4), share(4)[1:]):
        with pytest.raises(RemoteError, match=r"^bad-share"):
            ffdhe.answer(wrong)


def test_a_share_that_only_the_library_refuses_is_bad() -> None:
    class Refusing:
        def exchange(self, public: object) -> bytes:
            raise ValueError("no")

    offer = fixed(5)
    offer._private = Refusing()  # type: ignore[assignment]
    with pytest.raises(RemoteError) as caught:
        offer.complete(share(4))
    assert caught.value.code == "bad-share"


def test_who_leaves_the_group_off_never_loads_it_and_who_uses_it_sees_no_warning() -> None:
    program = (
        "import sys\n"
        "import securerelay.protocol.connection\n"
        "assert 'securerelay.crypto.ffdhe' not in sys.modules\n"
        "from securerelay.crypto.groups import GROUPS\n"
        "GROUPS['ffdhe3072'].answer(GROUPS['ffdhe3072'].offer().share)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
