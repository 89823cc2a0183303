"""Every verdict has its words, and the table of them is whole."""

from __future__ import annotations

import pytest

from securerelay.sealing.verdicts import Rejected, Then, Verdict, require

VALUES = {"peer": "bob", "room": "@team", "since": "Monday", "version": 8}


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_words_and_says_what_follows(verdict: Verdict) -> None:
    assert "{" not in verdict.words(**VALUES)
    assert isinstance(verdict.then, Then)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.ALTERED, "altered or misdirected message in bob's name"),
        (Verdict.MISDIRECTED, "altered or misdirected message in bob's name"),
        (Verdict.UNKNOWN_PREKEY, "1 message from bob cannot be opened yet"),
        (Verdict.UNREADABLE, "1 message from bob cannot be opened any more"),
        (Verdict.BUNDLE_WITHHELD, "the relay serves old keys of bob"),
        (Verdict.PEER_AWAY, "bob away since Monday"),
        (Verdict.KEY_CHANGED, "bob's key changed"),
        (Verdict.UNCHECKED, "from bob, not yet checked"),
        (Verdict.REMOVED_MEMBER, "message of a removed member"),
        (Verdict.OLD_LIST, "sent to the members of version 8"),
    ],
)
def test_people_are_told_in_these_words(verdict: Verdict, words: str) -> None:
    assert verdict.words(**VALUES) == words


def test_several_messages_are_many() -> None:
    words = Verdict.MISSING.words(peer="bob", count=2)
    assert words == "2 messages from bob missing (expired or withheld)"


def test_a_refusal_carries_its_verdict_and_keeps_its_detail_for_the_log() -> None:
    with pytest.raises(Rejected) as caught:
        require(False, Verdict.PEER_AWAY, "expired at 5")
    assert (caught.value.code, caught.value.detail) == ("peer-away", "expired at 5")
    require(True, Verdict.PEER_AWAY, "")
