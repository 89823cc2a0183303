"""What a relay in the wrong hands tries on real clients, and what their users see of it."""

# More than 400 lines: one look tells every attack of the relay's that is tried.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from securerelay.client import Sent
from securerelay.crypto import hpke, primitives
from securerelay.errors import Refused
from securerelay.protocol import lines
from securerelay.protocol.sealed import DirectHeader
from securerelay.sealing import bundle, envelope, succession
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.prekeys import Prekey
from tests.client.relay import date
from tests.client.sealing.village import Answer, Person, Post, Village
from tests.keys import rsa_key

ALTERED = "altered or misdirected message in alice's name"
STAYS = "; the message stays in the outbox"


@pytest.fixture
def friends(village: Village) -> tuple[Village, Person, Person]:
    """Alice and bob, who have talked."""
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    bob.say("alice", "hello")
    assert (alice.texts, bob.texts) == (["hello"], ["hello"])
    alice.forget()
    bob.forget()
    return village, alice, bob


def second(village: Village, name: str, number: int, successions: Sequence[bytes] = ()) -> bytes:
    """Return the bundle of somebody the relay made up."""
    key, relay = rsa_key(index=90), village.relay
    spki = primitives.spki(key.public_key())
    der = relay.authority.issue_peer(name, spki, date(relay.now())).der
    seed = b"e" * 32
    identity = Identity(relay.authority.relay_id, name, spki, primitives.ed25519_public(seed))
    return bundle.build(
        *(key, Author(identity, seed).identity, der),
        number=number,
        issued=int(relay.now() * 1000),
        prekey=Prekey.generate().public,
        successions=successions,
    )


def serve(village: Village, raw: bytes | None) -> None:
    """Have the relay serve other keys of bob to alice; None for the true ones."""

    def entry(asker: str, name: str, true: Answer) -> Answer:
        lie = raw is not None and (asker, name) == ("alice", "bob")
        return {**true, "bundle": lines.encode(raw or b"")} if lie else true

    village.relay.serve = entry


def refusal(told: object) -> str:
    assert isinstance(told, Refused), told
    return str(told)


class TestKeys:
    def test_a_substituted_bundle_blocks_sending_until_the_user_decides(self, friends):
        village, alice, bob = friends
        serve(village, second(village, "bob", 2**62))
        village.pass_(3700)
        assert refusal(alice.say("bob", "secret")) == "key-changed: bob's key changed" + STAYS
        assert "bob's key changed" in alice.notices
        assert village.relay.carried[-1].sender == b"bob"
        assert alice.states()[-1] == "queued"
        serve(village, None)
        village.pass_(120)
        assert bob.texts == ["secret"]

    def test_what_had_its_place_already_is_taken_back_when_the_key_changes(self, friends):
        village, alice, bob = friends
        village.relay.verdict = lambda seq, to: b"rate"
        sending = alice.client.send("bob", b"secret", timeout=None)
        village.run(1)
        serve(village, second(village, "bob", 2**62))
        village.clock.advance(3700)
        village.relay.verdict = lambda seq, to: None
        told = []
        sending.addErrback(lambda failure: told.append(refusal(failure.value)))
        village.pass_(60)
        assert told == ["key-changed: bob's key changed" + STAYS]
        assert bob.texts == []
        serve(village, None)
        village.pass_(120)
        assert (bob.texts, bob.notices) == (["secret"], [])

    def test_an_older_bundle_is_not_sealed_with(self, friends):
        village, alice, _bob = friends
        old = village.relay.bundles["bob"][-1]
        village.pass_(3700)
        assert isinstance(alice.say("bob", "new keys"), Sent)
        assert village.relay.bundles["bob"][-1] != old
        serve(village, old)
        village.pass_(3700)
        assert refusal(alice.say("bob", "x")) == (
            "bundle-rollback: the relay serves old keys of bob" + STAYS
        )

    def test_a_bundle_that_its_owner_has_replaced_is_not_sealed_with(self, friends):
        village, alice, bob = friends
        serve(village, village.relay.bundles["bob"][-1])
        village.pass_(3700)
        bob.say("alice", "I have new keys")
        assert alice.texts == ["I have new keys"]
        assert refusal(alice.say("bob", "x")) == (
            "bundle-withheld: the relay serves old keys of bob" + STAYS
        )

    def test_two_bundles_with_one_number_are_noticed(self, friends):
        village, alice, bob = friends
        true = bundle.read(village.relay.bundles["bob"][-1], "bob", village.relay.authority.spki)
        other = bundle.build(
            *(bob.profile.key(), true.identity, true.certificate),
            number=true.number,
            issued=true.issued,
            prekey=Prekey.generate().public,
        )
        serve(village, other)
        village.clock.advance(3500)
        village.relay.bundles["bob"] = [other]
        village.clock.advance(200)
        assert "bundle-conflict" in refusal(alice.say("bob", "x"))

    def test_a_bundle_with_a_prekey_of_the_relays_own_is_not_sealed_with(self, friends):
        village, alice, _bob = friends
        true = village.relay.bundles["bob"][-1]
        prekey = bundle.read(true, "bob", village.relay.authority.spki).prekey
        serve(village, true.replace(prekey, Prekey.generate().public))
        village.pass_(3700)
        assert refusal(alice.say("bob", "x")) == (
            "bundle-bad: the relay serves no valid keys of bob" + STAYS
        )

    def test_what_was_written_for_a_key_goes_to_its_successor_under_another_number(self, friends):
        village, alice, bob = friends
        village.relay.verdict = lambda seq, to: b"rate"
        alice.client.post("bob", b"secret")
        village.run(1)
        old = bob.sealing.own.identity
        raw = second(village, "bob", 2**62)
        new = bundle.read(raw, "bob", village.relay.authority.spki).identity
        step = succession.build(bob.profile.key(), old, new.fp, int(village.relay.now() * 1000))
        serve(village, raw := second(village, "bob", 2**62, successions=[step]))
        prekey = bundle.read(raw, "bob", village.relay.authority.spki).prekey_id
        village.clock.advance(3700)
        village.relay.verdict = lambda seq, to: None
        village.pass_(60)
        assert "bob's key changed, signed by the old one" in alice.notices
        sent = [post for post in village.relay.carried if post.sender == b"alice"][-1]
        assert sent.body[13:21] == prekey
        before = [said[2] for said in village.relay.said if said[:2] == ("send", sent.seq - 1)]
        assert b"nobody" in before, "its number goes to nobody"
        assert alice.states() == ["accepted", "accepted"]

    def test_who_has_not_been_here_for_a_month_is_away(self, village):
        alice, bob = village.settle("alice", "bob")
        bob.stop()
        raw = village.relay.bundles["bob"][-1]
        village.relay.bundles["bob"] = [raw]
        village.clock.advance(31 * 86_400)
        told = refusal(alice.say("bob", "x"))
        assert told.startswith("peer-away: bob away since 20")
        assert told.endswith(STAYS)


class TestMessages:
    def carry(self, village: Village, becomes) -> None:
        """Have the relay do something to what alice sends bob."""

        def carried(post: Post) -> list[Post]:
            return becomes(post) if (post.sender, post.to) == (b"alice", b"bob") else [post]

        village.relay.carry = carried

    @pytest.mark.parametrize(
        "changes",
        [{"stream": b"A" * 22}, {"seq": 7}, {"sender": b"carol"}],
        ids=["stream", "seq", "sender"],
    )
    def test_a_moved_message_is_not_shown(self, friends, changes):
        village, alice, bob = friends
        village.settle("carol")
        bob.say("carol", "hello")
        self.carry(village, lambda post: [replace(post, **changes)])
        alice.say("bob", "secret")
        assert bob.texts == []
        name = changes.get("sender", b"alice").decode()
        words = "from carol, not yet checked" if name == "carol" else ALTERED
        assert bob.notices == [words]

    def test_an_altered_message_is_not_shown(self, friends):
        village, alice, bob = friends
        self.carry(
            village, lambda post: [replace(post, body=post.body[:-1] + bytes([post.body[-1] ^ 1]))]
        )
        alice.say("bob", "secret")
        assert (bob.texts, bob.notices) == ([], [ALTERED])

    def test_junk_in_a_messages_place_keeps_nobody_from_the_message(self, friends):
        village, alice, bob = friends
        self.carry(village, lambda post: [replace(post, body=post.body[:-1] + b"\0"), post])
        alice.say("bob", "secret")
        assert (bob.texts, bob.notices) == (["secret"], [ALTERED])

    def test_a_message_for_somebody_else_is_not_shown(self, friends):
        village, alice, _bob = friends
        (carol,) = village.settle("carol")
        carol.say("alice", "hello")
        prekey = next(iter(carol.sealing.own._prekeys))
        self.carry(
            village,
            lambda post: [
                replace(post, to=b"carol"),
                replace(post, to=b"carol", body=post.body[:13] + prekey + post.body[21:]),
            ],
        )
        alice.say("bob", "secret")
        assert carol.texts == []
        assert carol.notices == ["1 message from alice cannot be opened yet", ALTERED]

    def test_a_forwarded_message_is_not_taken_for_one_to_whom_it_was_forwarded(self, friends):
        """Bob opens what alice wrote to him, and seals her signed words anew for carol."""
        village, alice, bob = friends
        (carol,) = village.settle("carol")
        carol.say("alice", "hello")
        mine, own = bob.sealing.own.identity, carol.sealing.own
        sender = alice.sealing.own.identity

        def forwarded(post: Post) -> list[Post]:
            header = DirectHeader(sender.sender_id, post.body[13:21])
            key = bob.sealing.own.prekey(header.prekey_id)
            assert key is not None
            info = envelope.binding(post.body[:21], sender.fp, mine.fp)
            plain = hpke.unseal(key, info, post.body[21:])
            assert plain is not None
            prekey = next(iter(own._prekeys.values()))
            head = DirectHeader(sender.sender_id, prekey.id).encode()
            anew = envelope.binding(head, sender.fp, own.identity.fp)
            body = head + hpke.seal(hpke.load_public(prekey.public), anew, plain)
            return [post, replace(post, to=b"carol", body=body)]

        self.carry(village, forwarded)
        alice.say("bob", "I owe you a hundred")
        assert bob.texts == ["I owe you a hundred"]
        assert (carol.texts, carol.notices) == ([], [ALTERED])

    def test_an_envelope_sent_on_under_ones_own_name_is_not_shown(self, friends):
        village, alice, bob = friends
        (carol,) = village.settle("carol")
        bob.say("carol", "hello")
        carol.forget()
        alice.say("bob", "secret")
        stolen = village.relay.carried[-1].body
        bob.client.send("carol", stolen, plain=True)
        village.run(2)
        assert (carol.texts, carol.notices) == ([], ["from bob, not yet checked"])

    def test_an_unsealed_message_is_not_shown_as_a_peers(self, friends):
        village, alice, bob = friends
        self.carry(village, lambda post: [replace(post, body=b"send me your password")])
        alice.say("bob", "hello")
        assert (bob.texts, bob.notices) == ([], ["unsealed message in alice's name"])

    def test_a_repeated_message_is_shown_once(self, friends):
        village, alice, bob = friends
        self.carry(village, lambda post: [post, post])
        alice.say("bob", "pay a hundred")
        bob.restart()
        village.relay.put(village.relay.carried[-1])
        village.run(2)
        assert (bob.texts, bob.notices) == (["pay a hundred"], [])

    def test_a_repeated_message_under_another_number_is_not_shown(self, friends):
        village, alice, bob = friends
        self.carry(village, lambda post: [post, replace(post, seq=post.seq + 1)])
        alice.say("bob", "pay a hundred")
        assert (bob.texts, bob.notices) == (["pay a hundred"], [ALTERED])

    def test_a_dropped_message_is_missed_at_the_next_and_may_come_late(self, friends):
        village, alice, bob = friends
        dropped: list[Post] = []
        self.carry(village, lambda post: dropped.append(post) or [])
        alice.say("bob", "one")
        alice.say("bob", "two")
        self.carry(village, lambda post: [post])
        assert bob.notices == []
        alice.say("bob", "three")
        assert bob.texts == ["three"]
        assert bob.notices == ["2 messages from alice missing (expired or withheld)"]
        bob.restart()
        bob.forget()
        for post in dropped:
            village.relay.put(post)
        village.run(2)
        assert bob.texts == ["one", "two"]
        assert bob.notices == ["a late message from alice"] * 2

    def test_a_dropped_end_of_a_stream_is_missed_at_the_next_message_in_another(self, friends):
        village, alice, bob = friends
        self.carry(village, lambda post: [])
        alice.say("bob", "one")
        alice.say("bob", "two")
        self.carry(village, lambda post: [post])
        alice.restart()
        alice.say("bob", "three")
        assert bob.texts == ["three"]
        assert bob.notices == ["2 messages from alice missing (expired or withheld)"]

    def test_a_stream_that_is_dropped_from_beginning_to_end_is_missed_at_the_next(self, friends):
        village, alice, bob = friends
        self.carry(village, lambda post: [])
        alice.restart()
        alice.say("bob", "one")
        alice.restart()
        self.carry(village, lambda post: [post])
        alice.say("bob", "two")
        assert bob.texts == ["two"]
        assert bob.notices == ["1 message from alice missing (expired or withheld)"]

    def test_a_message_that_was_refused_and_delivered_all_the_same_is_shown_once(self, friends):
        village, alice, bob = friends
        refused: list[int] = []

        def verdict(seq: int, to: bytes) -> bytes | None:
            if refused:
                return None
            refused.append(seq)
            return b"new-stream"

        village.relay.verdict = verdict
        old = alice.client._session.outbox.stream
        alice.client.post("bob", b"pay a hundred")
        village.run(1)
        send = next(said for said in village.relay.said if said[0] == "send" and said[1] in refused)
        village.run(5)
        assert bob.texts == ["pay a hundred"]
        assert alice.client._session.outbox.stream != old
        _, seq, to, _, _, body = send
        village.relay.put(Post(b"alice", to, old, seq, body))
        village.run(2)
        assert (bob.texts, bob.notices) == (["pay a hundred"], [])

    def test_it_is_shown_once_in_the_other_order_too(self, friends):
        village, alice, bob = friends
        bob.stop()
        refused: list[int] = []

        def verdict(seq: int, to: bytes) -> bytes | None:
            if refused:
                return None
            refused.append(seq)
            return b"new-stream"

        village.relay.verdict = verdict
        old = alice.client._session.outbox.stream
        alice.client.post("bob", b"pay a hundred")
        village.run(6)
        send = next(said for said in village.relay.said if said[0] == "send" and said[1] in refused)
        box = village.relay.mailboxes[b"bob"]
        (anew,) = box.posts.values()
        box.posts.clear()
        village.relay.put(Post(b"alice", b"bob", old, send[1], send[5]))
        village.relay.put(anew)
        bob.start()
        alice.say("bob", "and on")
        assert (bob.texts, bob.notices) == (["pay a hundred", "and on"], [])

    def test_what_the_relay_refused_for_good_is_not_missed(self, friends):
        village, alice, bob = friends
        village.relay.verdict = lambda seq, to: b"mailbox-full"
        assert refusal(alice.say("bob", "one")).startswith("mailbox-full")
        village.relay.verdict = lambda seq, to: None
        alice.say("bob", "two")
        assert (bob.texts, bob.notices) == (["two"], [])


def test_a_restored_profile_is_noticed_and_publishes_new_keys(village: Village):
    (bob,) = village.settle("bob")
    bob.stop()
    state = bob.profile.path / "state.sqlite"
    kept = state.read_bytes()
    village.clock.advance(3600)
    bob.start()
    bob.stop()
    before = len(village.relay.bundles["bob"])
    for path in bob.profile.path.glob("state.sqlite*"):
        path.unlink()
    state.write_bytes(kept)
    state.chmod(0o600)
    bob.client = bob.new_client()
    bob.start()
    assert any("restored or copied" in words for words in bob.notices)
    assert len(village.relay.bundles["bob"]) == before + 1
