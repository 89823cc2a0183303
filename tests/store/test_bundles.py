"""What peers published to be sealed with: the same in every store."""

from __future__ import annotations

import pytest

from securerelay.errors import Refused
from securerelay.store.interface import Store
from securerelay.store.rows import Published
from tests.store.samples import NOW, certificate, enrol, result


def put(store: Store, number: int, bundle: bytes = b"bundle", of: int = 1) -> None:
    result(store.publish("alice", number, bundle, certificate("alice", of).sha256))


def refusal(store: Store, number: int, of: int = 1) -> str:
    with pytest.raises(Refused) as error:
        put(store, number, b"refused", of)
    return error.value.code


def found(store: Store) -> Published:
    return result(store.published(["alice"]))["alice"]


def test_the_last_bundle_is_served_with_the_leaf_of_its_certificate(store: Store):
    enrol(store, "bob")
    enrol(store, "alice")
    put(store, 7, b"first")
    put(store, 8, b"second")
    one = found(store)
    assert (one.state, one.number, one.bundle) == ("active", 8, b"second")
    assert one.leaf == result(store.key_log(1, 1))[0]


def test_who_published_nothing_is_told_apart_from_who_does_not_exist(store: Store):
    enrol(store, "alice")
    assert result(store.published(["alice", "nobody"])) == {"alice": Published("alice", "active")}
    assert result(store.published([])) == {}


@pytest.mark.parametrize("number", [0, 6, 7])
def test_a_number_that_does_not_rise_is_refused(store: Store, number: int):
    enrol(store, "alice")
    put(store, 7)
    assert refusal(store, number) == "stale"
    assert (found(store).number, found(store).bundle) == (7, b"bundle")


def test_the_highest_number_is_kept_whole(store: Store):
    enrol(store, "alice")
    put(store, (1 << 63) - 1)
    assert found(store).number == (1 << 63) - 1


def test_a_bundle_with_another_certificate_than_the_current_one_is_refused(store: Store):
    enrol(store, "alice")
    assert refusal(store, 7, of=2) == "old-certificate"
    put(store, 7)
    result(store.renew(certificate("alice", 2)))
    assert refusal(store, 8) == "old-certificate"
    # The bundle of before is served with the leaf of before.
    assert found(store).leaf == result(store.key_log(0, 1))[0]
    put(store, 8, of=2)
    assert found(store).leaf == result(store.key_log(1, 1))[0]


def test_a_peer_that_ended_publishes_no_more_and_what_it_published_stays(store: Store):
    enrol(store, "alice")
    put(store, 7)
    result(store.revoke("alice", NOW))
    assert refusal(store, 8) == "revoked"
    one = found(store)
    assert (one.state, one.number, one.bundle) == ("revoked", 7, b"bundle")
    assert one.leaf is not None
    assert one.leaf.kind == "issued"
    with pytest.raises(Refused, match="unknown"):
        result(store.publish("nobody", 1, b"", b""))


def test_bundles_outlive_a_restart(store: Store):
    enrol(store, "alice")
    put(store, 7)
    result(store.close())
    result(store.open())
    assert found(store).number == 7
    assert refusal(store, 7) == "stale"
