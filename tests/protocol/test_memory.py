"""What a connection still knows: whoever steals its memory learns nothing of what is over."""

from __future__ import annotations

import gc
import types
from typing import Any

import pytest

from securerelay.crypto import primitives
from securerelay.crypto.groups import GROUPS
from securerelay.protocol import schedule
from securerelay.protocol.link import Link
from tests.protocol.ends import ClientSide, Ends, RelaySide, client_config, relay_config

_OPAQUE = (type, types.ModuleType, types.FunctionType, types.MethodType, ClientSide, RelaySide)


@pytest.fixture(autouse=True)
def derived(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, str]:
    """Everything that the key schedule derives, by what it is."""
    found: dict[bytes, str] = {}

    def expand_label(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
        value = primitives.expand_label(secret, label, context, length)
        found[value] = label.decode()
        return value

    def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
        value = primitives.hkdf_extract(salt, secret)
        found[value] = "extracted"
        found[secret] = "input"
        return value

    monkeypatch.setattr(schedule, "expand_label", expand_label)
    monkeypatch.setattr(schedule, "hkdf_extract", hkdf_extract)
    return found


def reachable(link: Link) -> list[Any]:
    """Every object that a connection leads to, but for its host."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [link]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, _OPAQUE):
            seen[id(one)] = one
            waiting.extend(gc.get_referents(one))
    return list(seen.values())


def known(link: Link, derived: dict[bytes, str]) -> list[str]:
    """The names of the secrets that a connection still knows."""
    texts = {bytes(one) for one in reachable(link) if isinstance(one, bytes | bytearray)}
    joined = b"\0".join(texts)
    return sorted(
        name
        for secret, name in derived.items()
        if len(secret) >= 16 and name != "session id" and secret in joined
    )


NOW = ["c ap", "exporter", "key", "key", "rekey secret", "s ap"]


def sides(ends: Ends) -> tuple[Link, Link]:
    return ends.relay.connection, ends.client.connection


@pytest.mark.parametrize("group", GROUPS)
def test_a_session_knows_its_own_keys_and_the_root_of_the_next_and_nothing_else(
    group: str, derived: dict[bytes, str]
) -> None:
    ends = Ends.make(relay_config(groups=(group,)), client_config(groups=(group,))).run()
    for link in sides(ends):
        assert known(link, derived) == NOW
        kinds = {type(one).__name__ for one in reachable(link)}
        assert not any("PrivateKey" in kind or "Offer" in kind for kind in kinds)


def test_an_update_forgets_the_key_before_it(derived: dict[bytes, str]) -> None:
    ends = Ends.make().run()
    assert ends.client.connection.update()
    ends.pump()
    for link in sides(ends):
        assert known(link, derived) == [
            "exporter",
            "key",
            "key",
            "rekey secret",
            "s ap",
            "traffic upd",
        ]


def test_a_rekey_forgets_everything_before_it(derived: dict[bytes, str]) -> None:
    ends = Ends.make().run()
    for _ in range(2):
        before = set(derived)
        ends.now += 60
        assert ends.client.connection.rekey()
        ends.pump()
        for link in sides(ends):
            assert known(link, derived) == NOW
            assert known(link, {secret: derived[secret] for secret in before}) == []


def test_a_resumed_session_forgets_its_ticket(derived: dict[bytes, str]) -> None:
    first = Ends.make().run()
    ends = Ends.make(client=client_config(ticket=first.client.ticket))
    ends.relay.tickets = first.relay.tickets
    ends.run()
    assert ends.client.welcomes[0].resumed
    for link in sides(ends):
        assert known(link, derived) == NOW


@pytest.mark.parametrize("when", ["greeted", "signing", "established", "rekeying", "answered"])
def test_a_connection_that_is_over_knows_nothing(when: str, derived: dict[bytes, str]) -> None:
    ends = Ends.make(answers=when != "signing")
    ends.client.connection.start()
    if when != "greeted":
        ends.pump()
    if when in ("rekeying", "answered"):
        assert ends.client.connection.rekey()
    if when == "answered":
        ends.relay.connection.receive(ends.to_relay())
    for link in sides(ends):
        link.lost()
        assert known(link, derived) == []
        kinds = {type(one).__name__ for one in reachable(link)}
        assert not any("PrivateKey" in kind or "Offer" in kind for kind in kinds)
