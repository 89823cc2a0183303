"""What is made for one purpose never serves for another."""

from __future__ import annotations

from itertools import permutations

from securerelay.crypto import contexts

ALL = {
    name: value
    for name, value in vars(contexts).items()
    if name.isupper() and isinstance(value, bytes)
}


def test_no_signing_context_is_a_prefix_of_another() -> None:
    for one, other in permutations(contexts.SIGNING, 2):
        assert not other.startswith(one)


def test_every_signing_context_is_listed() -> None:
    ends = ("_VERIFY", "_REKEY", "_POSSESSION", "ENROL_INVITATION")
    others = {"E2E_FINGERPRINT", "E2E_SAFETY_NUMBER", "E2E_ROOM_KEY_ID", "E2E_SEAL", "E2E_ROOM"}
    signing = {
        name
        for name in ALL
        if name.endswith(ends) or (name.startswith("E2E_") and name not in others)
    }
    assert {ALL[name] for name in signing} == set(contexts.SIGNING)


def test_no_two_constants_are_the_same() -> None:
    assert len(set(ALL.values())) == len(ALL)


def test_every_label_fits_the_length_that_goes_before_it() -> None:
    assert all(len(contexts.LABEL_PREFIX + value) < 256 for value in ALL.values())


def test_contexts_have_no_zero_byte_which_ends_them() -> None:
    assert not any(b"\0" in value for value in ALL.values())
