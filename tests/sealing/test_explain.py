"""The structure of an envelope can be shown without opening it."""

from __future__ import annotations

import pytest

from securerelay.errors import RemoteError
from securerelay.sealing import roommessage
from securerelay.sealing.explain import explain
from tests.sealing.world import alice, bob, message, room, room_key, sealed

SEALED_ROOM = roommessage.seal(
    message(to="@team"), alice().author, room_key(room(alice(), bob())), b"s" * 32
)


@pytest.mark.parametrize("body", [sealed(), SEALED_ROOM])
def test_the_parts_cover_an_envelope_without_gaps(body: bytes) -> None:
    offset = 0
    for part in explain(body):
        assert part.offset == offset
        offset += part.size
        if part.value and part.name not in ("magic", "suite", "list version"):
            assert bytes.fromhex(part.value) == body[part.offset : offset]
    assert offset == len(body)


def test_whose_it_is_and_which_keys_open_it_are_named() -> None:
    direct = {part.name: part.value for part in explain(sealed())}
    assert direct["magic"] == "SRE1"
    assert direct["sender id"] == alice().identity.sender_id.hex()
    assert direct["prekey id"] == bob().prekey.id.hex()
    group = {part.name: part.value for part in explain(SEALED_ROOM)}
    assert group["key id"] == room_key(room(alice(), bob())).id.hex()
    assert (group["suite"], group["list version"]) == ("2", "1")


def test_every_part_has_its_name_and_a_note() -> None:
    begins, ends = ["magic", "suite", "sender id"], ["ciphertext", "tag"]
    direct = ["prekey id", "ML-KEM ciphertext", "X25519 share"]
    group = ["key id", "list version", "salt"]
    for body, own in ((sealed(), direct), (SEALED_ROOM, group)):
        assert [part.name for part in explain(body)] == begins + own + ends
        assert all(part.note for part in explain(body))


def test_what_is_not_sealed_has_no_structure() -> None:
    with pytest.raises(RemoteError, match="unsealed"):
        explain(b"hello")
