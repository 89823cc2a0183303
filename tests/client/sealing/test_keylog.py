"""The relay's key log: it only grows, everybody sees the same, and nobody else is in our name."""

from __future__ import annotations

import pathlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from securerelay.client.sealing.keylog import load
from securerelay.client.sealing.trust import Trust
from securerelay.crypto import merkle
from securerelay.crypto.primitives import ed25519_public, sha256
from securerelay.errors import LocalError, Refused
from securerelay.identity import keylog
from securerelay.identity.keylog import Kind, Leaf
from securerelay.protocol.lines import decode, encode
from securerelay.sealing import bundle
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.prekeys import Prekey
from securerelay.sealing.verdicts import Rejected
from tests.client.sealing.town import Answer, Member, Town
from tests.keys import authority, rsa_key, spki
from tests.relay.world import RELAY_KEY

SPLIT = "ALARM: the relay shows different key logs to different people"
BAD = "ALARM: the relay's key log does not add up"


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


class Log:
    """A key log that a relay which was taken over writes by itself."""

    def __init__(self, *leaves: Leaf) -> None:
        self.leaves = [leaf.encode() for leaf in leaves]

    def head(self, signer: int = RELAY_KEY, relay_id: bytes | None = None) -> str:
        tree = merkle.Tree(map(merkle.leaf_hash, self.leaves))
        relay_id = authority().relay_id if relay_id is None else relay_id
        key = rsa_key(index=signer)
        return encode(keylog.sign_head(key, relay_id, len(tree), tree.root(), 5))

    def lie(self, method: str) -> Callable[[Member, Answer, Answer], Answer]:
        def answer(who: Member, asked: Answer, said: Answer) -> Answer:
            tree = merkle.Tree(map(merkle.leaf_hash, self.leaves))
            if method == "log.head":
                return {"head": self.head()}
            if method == "log.leaves":
                return {"leaves": [encode(one) for one in self.leaves[asked["from"] :]]}
            small, large = asked["consistency"]
            proof = tree.consistency(small, large) if large <= len(tree) else [bytes(32)]
            return {"hashes": [encode(one) for one in proof]}

        return answer

    def serve(self, town: Town) -> None:
        for method in ("log.head", "log.leaves", "log.proof"):
            town.lies[method] = self.lie(method)


def leaf(name: str, key: bytes = b"k" * 32) -> Leaf:
    return Leaf(Kind.ISSUED, 5, name, key, b"c" * 32)


def true_leaves(one: Member) -> list[Leaf]:
    """What the relay's own log has."""
    answer = one.town.after(one.call("log.leaves", {"from": 0}))
    return [Leaf.read(decode(text)) for text in answer["leaves"]]


def forget(town: Town, one: Member) -> None:
    """Have somebody's profile be one that has not seen the log yet."""
    town.after(one.journal.do(lambda state: state.db.execute("DELETE FROM log") and None))


def alarmed(town: Town, one: Member, verdict: str) -> None:
    with pytest.raises(Rejected, match=f"^{verdict}"):
        town.after(one.log.look())


def test_a_log_that_grows_is_followed_and_only_what_is_new_is_read(town: Town):
    (alice,) = town.settle("alice")
    first = town.after(alice.log.look())
    assert first.read == first.head.size >= 1
    town.settle("bob", "carol")
    town.asked.clear()
    report = town.after(alice.log.look())
    assert report.read == report.head.size > first.head.size
    (asked,) = [asked for _, method, asked in town.asked if method == "log.leaves"]
    assert asked["from"] == first.head.size
    assert alice.words == []


def test_our_own_certificate_is_in_it(town: Town):
    alice, bob = town.settle("alice", "bob")
    report = town.after(bob.log.look())
    assert town.after(bob.log.find_own(report.head)) == 1
    other = town.after(alice.call("key.fetch", {"peers": ["alice"], "size": report.head.size}))
    town.lies["key.fetch"] = lambda who, asked, said: {
        "bundles": {"bob": other["bundles"]["alice"]}
    }
    with pytest.raises(Rejected, match="log-bad: a leaf about another certificate"):
        town.after(bob.log.find_own(report.head))
    entry = {**other["bundles"]["alice"], "leaf": encode(leaf("bob").encode())}
    town.lies["key.fetch"] = lambda who, asked, said: {"bundles": {"bob": entry}}
    with pytest.raises(Rejected, match="log-bad"):
        town.after(bob.log.find_own(report.head))


def test_a_leaf_that_is_not_there_is_no_proof(town: Town):
    (bob,) = town.settle("bob")
    report = town.after(bob.log.look())
    lie = {"proof": [encode(bytes(32))]}
    town.lies["key.fetch"] = lambda who, asked, said: {
        "bundles": {"bob": {**said["bundles"]["bob"], **lie}}
    }
    with pytest.raises(Rejected, match="log-bad: leaf 0 is not in the log"):
        town.after(bob.log.find_own(report.head))


def test_a_second_bob_in_the_log_alarms_the_first_one(town: Town):
    alice, bob = town.settle("alice", "bob")
    for one in (alice, bob):
        town.after(one.log.look())
    Log(*true_leaves(bob), leaf("bob")).serve(town)
    alarmed(town, bob, "foreign-leaf")
    assert bob.words == ["ALARM: the relay issued a certificate for bob that is not yours"]
    town.after(alice.log.look())
    assert alice.words == []
    # It stays an alarm, not one that passes with the next look.
    alarmed(town, bob, "foreign-leaf")


def test_a_log_that_lost_a_leaf_is_another_log(town: Town):
    alice, _ = town.settle("alice", "bob")
    town.after(alice.log.look())
    Log(*true_leaves(alice)[:-1], leaf("mallory"), leaf("dora")).serve(town)
    alarmed(town, alice, "split-log")
    assert alice.words == [SPLIT]


def test_another_log_of_the_same_size_is_another_log(town: Town):
    alice, _ = town.settle("alice", "bob")
    town.after(alice.log.look())
    Log(*true_leaves(alice)[:-1], leaf("mallory")).serve(town)
    alarmed(town, alice, "split-log")
    assert alice.words == [SPLIT]


def test_an_older_head_of_another_log_is_another_log(town: Town):
    alice, _ = town.settle("alice", "bob")
    town.after(alice.log.look())
    Log(leaf("mallory")).serve(town)
    alarmed(town, alice, "split-log")


def test_a_head_with_leaves_that_do_not_make_it_is_another_log(town: Town):
    alice, _ = town.settle("alice", "bob")
    shown = Log(*true_leaves(alice), leaf("mallory"))
    hidden = Log(*true_leaves(alice), leaf("alice"))
    hidden.serve(town)
    town.lies["log.leaves"] = shown.lie("log.leaves")
    alarmed(town, alice, "split-log")


@pytest.mark.parametrize("lie", ["another relay's key", "another relay's id", "no head", "noise"])
def test_a_head_that_our_relay_did_not_sign_is_none(town: Town, lie: str):
    (alice,) = town.settle("alice")
    log = Log(*true_leaves(alice))
    heads = {
        "another relay's key": log.head(signer=3),
        "another relay's id": log.head(relay_id=bytes(32)),
        "no head": None,
        "noise": "bm9pc2U",
    }
    town.lies["log.head"] = lambda who, asked, said: {"head": heads[lie]}
    alarmed(town, alice, "log-bad")
    assert alice.words == [BAD]


def test_an_older_head_is_held_against_the_newer_one_and_does_not_replace_it(town: Town):
    (alice,) = town.settle("alice")
    older = town.after(alice.log.look()).head
    town.settle("bob")
    newer = town.after(alice.log.look()).head
    town.after(alice.log.look(encode(older.raw)))
    assert alice.log.seen == (newer.size, newer.root)
    kept = town.after(alice.journal.do(load, write=False))
    assert (kept.sight, len(kept.read)) == ((newer.size, newer.root), newer.size)
    assert alice.words == []


class TestTwoViews:
    def test_are_proven_and_shown_by_the_first_message_between_them(self, town: Town):
        alice, bob = town.settle("alice", "bob")
        alice.say("bob", "hi")
        town.after(bob.log.look())
        # Alice is shown a log of her own, in which Bob has another key.
        Log(true_leaves(alice)[0], leaf("bob")).serve(town)
        forget(town, alice)
        town.after(alice.log.look())
        assert alice.words == []
        town.lies.clear()
        alice.say("bob", "hello")
        assert bob.texts == ["alice: hi", "alice: hello"]
        assert bob.words == [SPLIT]

    def test_are_shown_though_one_of_them_has_new_keys_meanwhile(self, town: Town):
        alice, bob = town.settle("alice", "bob")
        alice.say("bob", "hi")
        Log(true_leaves(alice)[0], leaf("bob")).serve(town)
        forget(town, alice)
        town.after(alice.log.look())
        town.lies.clear()
        bob.rotate(40)
        town.after(bob.log.look())
        alice.say("bob", "hello")
        assert bob.texts == ["alice: hello"]
        assert bob.words == [SPLIT]

    def test_are_no_two_views_if_one_is_only_older(self, town: Town):
        alice, bob = town.settle("alice", "bob")
        town.after(alice.log.look())
        town.settle("carol")
        town.after(bob.log.look())
        alice.say("bob", "hello")
        bob.say("alice", "hello")
        assert alice.words == bob.words == []
        assert alice.log.seen == bob.log.seen

    def test_are_looked_for_once_at_a_time_however_many_heads_somebody_tells(self, town: Town):
        alice, _ = town.settle("alice", "bob")
        town.after(alice.log.look())
        town.asked.clear()
        for size in range(3, 50):
            alice.log.heard("bob", (size, bytes(32)))
        assert len(town.calls) <= 1
        town.run()
        assert alice.words == [SPLIT] * 2
        assert len(town.asked) <= 4

    def test_are_found_though_the_relay_has_no_proof(self, town: Town):
        alice, bob = town.settle("alice", "bob")
        alice.say("bob", "hi")
        town.after(bob.log.look())
        Log(true_leaves(alice)[0], *map(leaf, ("bob", "carol", "dora"))).serve(town)
        forget(town, alice)
        town.after(alice.log.look())
        town.lies.clear()
        alice.say("bob", "hello")
        assert bob.words == [SPLIT]


def test_a_policy_that_hides_the_leaves_is_told_and_the_head_is_held_to(town: Town):
    alice, _ = town.settle("alice", "bob")
    call = alice.log._call

    def refused(method: str, parameters: Answer) -> Awaitable[Answer]:
        if method == "log.leaves":
            raise Refused("not-permitted", "the policy hides peers from you")
        return call(method, parameters)

    alice.log._call = refused
    report = town.after(alice.log.look())
    assert (report.hidden, report.read) == (True, 0)
    (words,) = alice.words
    assert "could not be checked" in words
    assert alice.log.seen == (report.head.size, report.head.root)


class TestNewContacts:
    """A certificate that is not in the log, where its owner sees it, makes nobody a contact."""

    def second_bob(self, town: Town) -> tuple[str, str]:
        """The keys of a second Bob, and the leaf of his certificate."""
        seed, now = bytes(range(32)), int(town.now() * 1000)
        other = Identity(authority().relay_id, "bob", spki(index=60), ed25519_public(seed))
        der = authority().issue_peer("bob", other.spki, town.world.date()).der
        raw = bundle.build(
            *(rsa_key(index=60), other, der),
            number=now + 1,
            issued=now,
            prekey=Prekey.generate().public,
        )
        made = Leaf(Kind.ISSUED, now, "bob", sha256(other.spki), sha256(der))
        return encode(raw), encode(made.encode())

    def serve(self, town: Town, **changes: object) -> None:
        def lie(who: Member, asked: Answer, said: Answer) -> Answer | None:
            if who.name == "bob" or asked["peers"] != ["bob"]:
                return None
            return {"bundles": {"bob": {**said["bundles"]["bob"], **changes}}}

        town.lies["key.fetch"] = lie

    def refused(self, town: Town, alice: Member) -> None:
        with pytest.raises(Rejected, match=r"^log-bad"):
            alice.say("bob", "secret")
        assert alice.contacts.pin("bob") is None
        assert alice.bodies == []
        assert alice.words == [BAD]

    @pytest.mark.parametrize("looked", [False, True])
    def test_a_contact_in_the_log_is_taken(self, town: Town, looked: bool):
        alice, bob = town.settle("alice", "bob")
        if looked:
            town.after(alice.log.look())
        alice.say("bob", "hello")
        assert bob.texts == ["alice: hello"]
        assert alice.words == []

    def test_one_who_came_after_the_last_look_is_taken_too(self, town: Town):
        (alice,) = town.settle("alice")
        town.after(alice.log.look())
        (bob,) = town.settle("bob")
        alice.say("bob", "hello")
        assert bob.texts == ["alice: hello"]

    def test_a_second_bob_under_the_first_ones_leaf_is_nobody(self, town: Town):
        alice, _ = town.settle("alice", "bob")
        raw, _ = self.second_bob(town)
        self.serve(town, bundle=raw)
        self.refused(town, alice)

    def test_a_second_bob_under_a_leaf_that_is_not_in_the_log_is_nobody(self, town: Town):
        alice, _ = town.settle("alice", "bob")
        raw, made = self.second_bob(town)
        self.serve(town, bundle=raw, leaf=made)
        self.refused(town, alice)

    @pytest.mark.parametrize("missing", ["index", "leaf"])
    def test_a_second_bob_without_a_leaf_is_nobody(self, town: Town, missing: str):
        alice, _ = town.settle("alice", "bob")
        raw, _ = self.second_bob(town)
        self.serve(town, **{"bundle": raw, missing: None})
        self.refused(town, alice)

    @pytest.mark.parametrize("listed", [False, True])
    def test_a_known_bobs_new_key_that_is_not_in_the_log_is_not_offered(
        self, town: Town, listed: bool
    ):
        alice, _ = town.settle("alice", "bob")
        alice.say("bob", "hello")
        before = alice.contacts.pin("bob")
        assert before is not None
        raw, made = self.second_bob(town)
        self.serve(town, bundle=raw, **({"leaf": made} if listed else {}))
        with pytest.raises(Rejected, match=r"^log-bad"):
            town.after(alice.contacts.renew("bob"))
        assert alice.contacts.pin("bob") == before
        assert alice.words == [BAD]
        with Trust(alice.profile) as trust, pytest.raises(LocalError, match="nothing is blocked"):
            trust.accept_new_key("bob")

    def test_a_second_bob_in_the_log_is_seen_by_the_first(self, town: Town):
        alice, bob = town.settle("alice", "bob")
        raw, made = self.second_bob(town)
        log = Log(*true_leaves(alice), Leaf.read(decode(made)))
        log.serve(town)
        tree = merkle.Tree(map(merkle.leaf_hash, log.leaves))
        proof = [encode(one) for one in tree.inclusion(2, 3)]
        self.serve(town, bundle=raw, leaf=made, index=2, proof=proof)
        town.after(alice.contacts.want("bob"))  # at first sight nobody could tell
        alarmed(town, bob, "foreign-leaf")
        assert bob.words == ["ALARM: the relay issued a certificate for bob that is not yours"]
