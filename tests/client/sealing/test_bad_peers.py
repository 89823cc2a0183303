"""An enrolled peer whose client says what no client should, and what it can do to others' clients.

It signs what it likes under its own name; nobody else may lose anything by that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from securerelay.protocol.items import Field, u64
from securerelay.sealing import plaintext
from securerelay.sealing.plaintext import Content, Place
from securerelay.sealing.resend import Resend
from tests.client.sealing.village import Person, Village

ALTERED = "altered or misdirected message in mallory's name"
HIGHEST = (1 << 64) - 1


@pytest.fixture
def town(village: Village) -> tuple[Village, Person, Person]:
    """Bob and mallory, who have talked."""
    bob, mallory = village.settle("bob", "mallory")
    mallory.say("bob", "hello")
    bob.forget()
    return village, bob, mallory


def say(mallory: Person, **changes: Any) -> None:
    """Have mallory sign something else than a client would."""
    write = plaintext.write

    def written(content: Content, *more: Any) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Field, "allows", lambda *_: True)
            return write(replace(content, **changes), *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plaintext, "write", written)
        mallory.say("bob", "changed")


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": HIGHEST},
        {"heads": ((b"h" * 16, HIGHEST),)},
        {"replaces": Place(b"r" * 16, 1, HIGHEST)},
        {"replaces": Place(b"r" * 16, HIGHEST, 1)},
        {"log_head": (HIGHEST, b"r" * 32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_number_that_no_database_keeps_does_not_end_the_receiver(
    town, changes: dict[str, Any]
) -> None:
    _village, bob, mallory = town
    say(mallory, **changes)
    mallory.say("bob", "after")
    assert bob.texts == ["after"]
    assert bob.notices[0] == ALTERED


def test_a_request_for_a_number_that_cannot_be_does_not_end_the_receiver(town) -> None:
    village, bob, mallory = town
    body = Resend(b"s" * 16, 1, 1).body().replace(u64(1), u64(HIGHEST), 1)
    mallory.sealing.tell("bob", Resend.CONTENT_TYPE, body)
    village.run(2)
    mallory.say("bob", "after")
    assert bob.texts == ["after"]
    assert bob.notices == [ALTERED]
