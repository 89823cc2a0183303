"""Sealing reproduces the vectors that an implementation of its own made."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from securerelay.crypto import hpke, merkle, primitives
from securerelay.identity import keylog
from securerelay.identity.keylog import Leaf
from securerelay.sealing import (
    bundle,
    envelope,
    fingerprint,
    pins,
    plaintext,
    roomkey,
    roomlist,
    roommessage,
)
from securerelay.sealing.envelope import Delivery
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.plaintext import Content, Place
from securerelay.sealing.resend import KeyRequest, Read, Resend
from securerelay.sealing.verdicts import Verdict

FOLDER = pathlib.Path(__file__).parent.parent / "vectors"
HEX = bytes.fromhex


@functools.cache
def load(name: str) -> Any:
    return json.loads((FOLDER / f"sealing-{name}.json").read_text("ascii"))


PEOPLE = load("people")
ENVELOPES = load("envelopes")["envelopes"]


@functools.cache
def identity_of(who: str) -> Identity:
    one = PEOPLE["people"][who]
    key = serialization.load_der_private_key(HEX(one["identity"]), None)
    spki = primitives.spki(key.public_key())  # type: ignore[arg-type]
    return Identity(HEX(PEOPLE["relay_id"]), one["name"], spki, HEX(one["message_key"]))


def author_of(who: str) -> Author:
    return Author(identity_of(who), HEX(PEOPLE["people"][who]["message_seed"]))


def bundle_of(who: str) -> bundle.Bundle:
    one = PEOPLE["people"][who]
    return bundle.read(HEX(one["bundle"]), one["name"], HEX(PEOPLE["ca_spki"]))


def number(value: str) -> int:
    return int(value, 16)


def content_of(items: dict[str, str]) -> Content:
    values = {int(kind, 16): value for kind, value in items.items()}
    heads = values.get(0x19, "")
    place, head = values.get(0x1A), values.get(0x1B)
    skipped = values.get(0x18, "")
    return Content(
        HEX(values[0x10]),
        number(values[0x11]),
        HEX(values[0x12]).decode(),
        number(values[0x13]),
        number(values[0x14]),
        number(values[0x15]),
        HEX(values[0x16]).decode(),
        HEX(values[0x17]),
        tuple(number(skipped[at : at + 16]) for at in range(0, len(skipped), 16)),
        tuple(
            (HEX(heads[at : at + 32]), number(heads[at + 32 : at + 48]))
            for at in range(0, len(heads), 48)
        ),
        place and Place(HEX(place[:32]), number(place[32:48]), number(place[48:])),  # type: ignore[arg-type]
        head and (number(head[:16]), HEX(head[16:])),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("who", PEOPLE["people"])
def test_fingerprints_prekeys_and_bundles_are_those_of_the_vectors(who: str) -> None:
    one = PEOPLE["people"][who]
    assert identity_of(who).fp == HEX(one["fp"])
    assert hpke.load_private(HEX(one["prekey_private"]))[1] == HEX(one["prekey"])
    read = bundle_of(who)
    assert read.identity == identity_of(who)
    assert (read.prekey_id, read.prekey) == (HEX(one["prekey_id"]), HEX(one["prekey"]))


def test_people_compare_the_number_and_code_of_the_vectors() -> None:
    alice, bob = identity_of("alice").fp, identity_of("bob").fp
    assert fingerprint.safety_number(alice, bob) == PEOPLE["safety_number"]
    assert fingerprint.qr_matches(PEOPLE["qr_of_bob_for_alice"], alice, bob)


def test_the_succession_of_the_vectors_is_followed() -> None:
    pin, verdict = pins.meet(
        pins.first_sight(bundle_of("bob")), bundle_of("bob-later"), (), PEOPLE["now"]
    )
    assert verdict is Verdict.KEY_FOLLOWED
    assert pin.fp == identity_of("bob-later").fp


def test_lengths_are_padded_as_in_the_vectors() -> None:
    for size, padded in load("envelopes")["padding"]:
        assert plaintext.padded_size(size) == padded


@pytest.mark.parametrize("vector", ENVELOPES, ids=[one["case"] for one in ENVELOPES])
def test_envelopes_open_to_what_the_vectors_say(vector: Any) -> None:
    content = content_of(vector["items"])
    prekey, _ = hpke.load_private(HEX(PEOPLE["people"]["bob"]["prekey_private"]))
    opened = envelope.unseal(
        HEX(vector["envelope"]),
        Delivery("alice", "bob", content.stream, content.seq),
        identity_of("bob"),
        {identity_of("alice").sender_id: identity_of("alice")}.get,
        {HEX(PEOPLE["people"]["bob"]["prekey_id"]): prekey}.get,
    )
    assert opened.content == content
    if vector["case"] != "of a later version":
        info = HEX(vector["info"])
        made = plaintext.write(content, author_of("alice"), b"securerelay/1 e2e message", info)
        assert made == HEX(vector["plaintext"])


def test_what_clients_ask_each_other_is_that_of_the_vectors() -> None:
    bodies = {one["case"]: content_of(one["items"]) for one in ENVELOPES}
    for case, kind in (("resend", Resend), ("key request", KeyRequest), ("read", Read)):
        content = bodies[case]
        assert content.content_type == kind.CONTENT_TYPE
        assert kind.read(content.body).body() == content.body


def test_the_room_of_the_vectors_is_reproduced() -> None:
    vector = load("rooms")
    people = {identity_of(who).fp: identity_of(who) for who in ("alice", "bob", "carol")}
    members = roomlist.parse(HEX(vector["list"]), "@team")
    roomlist.verify(members, people.get)
    assert members.hash == HEX(vector["list_hash"])
    carol = author_of("carol")
    body = HEX(vector["key_body"])
    key = roomkey.take(body, carol.identity, identity_of("alice"), {members.hash: members}.get)
    assert (key.id, key.secret, key.body()) == (HEX(vector["key_id"]), HEX(vector["key"]), body)
    content = content_of(vector["items"])
    message = HEX(vector["message"])
    assert roommessage.seal(content, carol, key, HEX(vector["salt"])) == message
    opened = roommessage.unseal(
        message,
        Delivery("carol", "@team", content.stream, content.seq),
        {carol.identity.sender_id: carol.identity}.get,
        {key.id: key}.get,
    )
    assert opened.content == content


def test_the_log_of_the_vectors_is_reproduced() -> None:
    vector = load("log")
    leaves = [HEX(leaf) for leaf in vector["leaves"]]
    hashes = [Leaf.read(leaf).hash() for leaf in leaves]
    tree = merkle.Tree(hashes)
    roots = [HEX(root) for root in vector["roots"]]
    assert [tree.root(size) for size in range(len(roots))] == roots
    for name, proof in vector["inclusion"].items():
        index, size = map(int, name.split(" of "))
        assert tree.inclusion(index, size) == [HEX(one) for one in proof]
        assert merkle.verify_inclusion(
            hashes[index], index, size, [HEX(one) for one in proof], roots[size]
        )
    for name, proof in vector["consistency"].items():
        first, second = map(int, name.split(" to "))
        assert tree.consistency(first, second) == [HEX(one) for one in proof]
    head = keylog.read_head(HEX(vector["head"]))
    key = serialization.load_der_private_key(HEX(vector["relay_private"]), None)
    assert head.signed_by(key.public_key())  # type: ignore[arg-type]
    assert (head.size, head.root) == (len(leaves), roots[-1])
    assert head.relay_id == HEX(PEOPLE["relay_id"])
