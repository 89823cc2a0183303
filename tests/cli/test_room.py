"""Rooms on the command line, against a relay that answers what a test tells it to."""

from __future__ import annotations

from collections.abc import Callable
from json import loads
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from securerelay.cli import profiles
from securerelay.cli.listen import receive
from securerelay.cli.messages import say_message, tell_missed, tell_notices
from securerelay.cli.output import Output
from securerelay.client import Message
from securerelay.client.calls import Event, Events
from securerelay.errors import Refused, RemoteError
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.cli.conftest import FakeRelay, Run
from tests.cli.people import Office, Peer, Record

TEAM = {
    "room": "@team",
    "owner": "alice",
    "version": 3,
    "join": "invitation",
    "post": "members",
    "count": 2,
    "listed": 0,
}
SEALED = {**TEAM, "listed": 4}
LOOK = ("members", {"limit": 1})


class Signing:
    """Changes rooms whose members are signed."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def create(self, room: str, *said: Any) -> Deferred[dict[str, Any]]:
        return self.asked.call("create", {"room": room, "said": said})

    def add(self, room: str, peers: tuple[str, ...]) -> Deferred[dict[str, Any]]:
        return self.asked.call("add", {"room": room, "peers": peers})

    def remove(self, room: str, peers: tuple[str, ...]) -> Deferred[dict[str, Any]]:
        return self.asked.call("remove", {"room": room, "peers": peers})

    def appoint(self, room: str, peers: tuple[str, ...]) -> Deferred[dict[str, Any]]:
        return self.asked.call("appoint", {"room": room, "peers": peers})

    def dismiss(self, room: str, peers: tuple[str, ...]) -> Deferred[dict[str, Any]]:
        return self.asked.call("dismiss", {"room": room, "peers": peers})


class Asked:
    """A client that keeps what it is asked, and answers in turn."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[dict[str, Any] | RemoteError] = []
        self.sent: list[tuple[str, bytes, str]] = []
        self.sealing = SimpleNamespace(rooms=SimpleNamespace(owner=Signing(self), lists=self))
        self.known = {"@team"}

    async def current(self, room: str) -> Any:
        members = {"alice": b"a", "bob": b"b", "carol": b"c"}
        return SimpleNamespace(members=members, grant=SimpleNamespace(admins=(b"b", b"x")))

    async def forget(self, room: str) -> bool:
        known = room in self.known
        self.known.discard(room)
        return known

    def send(self, to: str, body: bytes, *, content_type: str) -> Deferred[None]:
        self.sent.append((to, body, content_type))
        return succeed(None)

    def call(self, method: str, parameters: dict[str, Any]) -> Deferred[dict[str, Any]]:
        self.calls.append((method, parameters))
        answer = self.answers.pop(0) if self.answers else TEAM
        return fail(answer) if isinstance(answer, RemoteError) else succeed(answer)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()

    def connected(access: object, work: Callable[..., Any], **options: Any) -> None:
        answers: list[Any] = []
        Deferred.fromCoroutine(work(None, asked)).addBoth(answers.append)
        if answers[0] is not None:
            answers[0].raiseException()

    monkeypatch.setattr(profiles.Access, "run", connected)
    return asked


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (("create", "@team", "--plain"), [("create", {"join": "invitation", "post": "members"})]),
        (
            ("create", "team", "bob", "--join", "open", "--post", "owner", "--plain"),
            [("create", {"join": "open", "post": "owner"}), ("add", {"peers": ["bob"]})],
        ),
        (("add", "@team", "bob", "carol"), [LOOK, ("add", {"peers": ["bob", "carol"]})]),
        (
            ("remove", "@team", "bob", "--if-version", "3"),
            [LOOK, ("remove", {"peers": ["bob"], "version": 3})],
        ),
        (("change", "@team", "--owner", "bob"), [("change", {"owner": "bob"})]),
        (("change", "@team", "--join", "open"), [("change", {"join": "open"})]),
        (("join", "@team"), [("join", {})]),
        (("leave", "@team"), [("leave", {})]),
        (("show", "@team"), [("members", {"limit": 1})]),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_each_command_asks_its_method_and_says_how_the_room_is(
    run: Run, client: Asked, words: tuple[str, ...], calls: list[tuple[str, dict[str, Any]]]
):
    ran = run("room", *words, "--json")
    assert client.calls == [
        (f"room.{method}", {"room": "@team", **parameters}) for method, parameters in calls
    ]
    assert (ran.status, ran.records) == (0, [TEAM])


def test_people_read_a_line(run: Run, client: Asked):
    assert run("room", "show", "team").out == (
        "@team: 2 members, owner alice, join: invitation, post: members, version 3, plain\n"
    )
    client.answers = [{**TEAM, "count": 1}]
    assert run("room", "show", "team").out.startswith("@team: 1 member, owner alice")
    client.answers = [SEALED]
    assert run("room", "show", "team").out.endswith("version 3, sealed for list 4\n")


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (
            ("create", "team", "bob", "--post", "owner"),
            ("create", {"room": "@team", "said": (("bob",), "invitation", "owner")}),
        ),
        (("add", "team", "bob"), ("add", {"room": "@team", "peers": ("bob",)})),
        (
            ("remove", "team", "bob", "--if-version", "3"),
            ("remove", {"room": "@team", "peers": ("bob",)}),
        ),
        (
            ("admin", "team", "add", "bob", "carol"),
            ("appoint", {"room": "@team", "peers": ("bob", "carol")}),
        ),
        (
            ("admin", "team", "remove", "bob", "--if-version", "3"),
            ("dismiss", {"room": "@team", "peers": ("bob",)}),
        ),
    ],
    ids=["create", "add", "remove", "admin add", "admin remove"],
)
def test_the_members_of_a_room_are_signed_unless_it_is_plain(
    run: Run, client: Asked, words: tuple[str, ...], call: tuple[str, dict[str, Any]]
):
    client.answers = [SEALED] * 2
    ran = run("room", *words, "--json")
    assert (ran.status, ran.records) == (0, [SEALED])
    assert client.calls[-1] == call


def test_a_sealed_room_of_another_version_is_left_as_it_is(run: Run, client: Asked):
    client.answers = [SEALED]
    ran = run("room", "add", "team", "bob", "--if-version", "2", "--json")
    assert (ran.status, ran.error["error"]) == (1, "room-changed")
    assert len(client.calls) == 1


def test_the_owner_of_a_sealed_room_is_asked_to_let_one_in(run: Run, client: Asked):
    client.answers = [Refused("signed", "the owner signs"), SEALED]
    assert run("room", "join", "team").out == "alice has been asked to let you into @team\n"
    assert client.sent == [("alice", b"@team", "application/vnd.securerelay.join")]
    client.answers = [Refused("unknown", "there is no room")]
    assert run("room", "join", "team").status == 5
    assert len(client.sent) == 1


def test_what_is_known_of_a_room_can_be_forgotten(run: Run, client: Asked):
    assert run("room", "forget", "team", "--json").records == [{"room": "@team", "forgotten": True}]
    assert run("room", "forget", "team").status == 5


def test_a_list_that_may_not_be_used_is_told_with_what_to_do(run: Run, client: Asked):
    client.answers = [SEALED, Rejected(Verdict.LIST_ROLLBACK, "version 1 after 2")]
    ran = run("room", "add", "team", "bob")
    assert ran.status == 9
    assert ran.err == (
        "securerelay: the relay serves an old list of members of @team; "
        "if that stays so, tell the room's owner\n"
    )


def test_a_deleted_room_is_said_to_be(run: Run, client: Asked):
    client.answers = [{}]
    assert run("room", "delete", "@team", "--json").records == [{"room": "@team", "deleted": True}]


def test_long_lists_of_rooms_and_members_come_whole(run: Run, client: Asked):
    other = {**TEAM, "room": "@zoo", "member": False}
    client.answers = [
        {"rooms": [{**TEAM, "member": True}], "more": True},
        {"rooms": [other], "more": False},
    ]
    ran = run("room", "list", "--json")
    assert ran.records == [{**TEAM, "member": True}, other]
    assert [parameters for _, parameters in client.calls] == [{"after": ""}, {"after": "@team"}]
    client.answers = [
        {**TEAM, "members": ["alice"], "more": True},
        {**TEAM, "members": ["bob"], "more": False},
    ]
    assert run("room", "members", "@team").out == "alice (owner)\nbob\n"
    assert client.calls[-1][1] == {"room": "@team", "after": "alice"}


def test_members_of_a_sealed_room_are_listed_with_its_admins(run: Run, client: Asked):
    client.answers = [{**SEALED, "members": ["alice", "bob", "carol"], "more": False}]
    assert run("room", "members", "team").out == "alice (owner)\nbob (admin)\ncarol\n"
    client.answers = [{**SEALED, "members": ["bob"], "more": False}]
    ran = run("room", "members", "team", "--json")
    assert ran.records == [{"name": "bob", "owner": False, "admin": True}]


def test_a_plain_room_has_no_admins(run: Run, client: Asked):
    ran = run("room", "admin", "team", "add", "bob")
    assert (ran.status, len(client.calls)) == (1, 1)
    assert ran.err == "securerelay: @team is plain: it has no signed list, nor admins\n"


def test_a_refusal_is_told_in_the_words_of_the_relay_but_harmless(run: Run, client: Asked):
    client.answers = [Refused("not-permitted", "@team is not \x1b[31myours")]
    ran = run("room", "add", "@team", "bob")
    assert (ran.status, ran.err) == (1, "securerelay: @team is not \\x1b[31myours\n")
    client.answers = [Refused("unknown", "there is no room @team for you")]
    assert run("room", "join", "@team", "--json").status == 5
    client.answers = [Refused("too-many", "the room is full")]
    assert run("room", "join", "@team").status == 8


def test_the_administrator_gives_a_room_away(run: Run, relay: FakeRelay):
    relay.answers["give"] = {"room": "@team", "owner": "bob", "version": 4, "listed": 0}
    ran = run("room", "give", "team", "bob")
    assert (ran.out, ran.err) == ("@team now is bob's\n", "")
    assert relay.requests == [{"verb": "give", "room": "@team", "owner": "bob"}]


def test_a_sealed_room_that_is_given_away_is_said_to_be_of_little_use(run: Run, relay: FakeRelay):
    relay.answers["give"] = {"room": "@team", "owner": "bob", "version": 4, "listed": 7}
    ran = run("room", "give", "team", "bob")
    assert (ran.status, ran.out) == (0, "@team now is bob's\n")
    assert ran.err.endswith("nobody can sign another: bob can delete @team, and make it anew\n")


@pytest.mark.parametrize("words", [("show", "@Team"), ("add", "@team", "Bob"), ("add", "@team")])
def test_what_is_no_name_is_not_asked_for(run: Run, client: Asked, words: tuple[str, ...]):
    assert run("room", *words).status == 2
    assert client.calls == []


def test_a_message_from_a_room_shows_the_room():
    out, office = Record(), Office()
    bob = Peer(office, "bob")

    async def take(message: Message) -> None:
        say_message(out, message, "{who}: {body}")

    Deferred.fromCoroutine(receive(bob, take, office.clock.seconds, 2, None))  # type: ignore[arg-type]
    bob.get("alice", b"hi")
    bob.inbox.received(2, b"alice", b"@team", b"s" * 22, 2, 0, b"hi all")
    assert out.lines == ["alice: hi", "alice in @team (not sealed): hi all"]
    office.close()


@pytest.mark.parametrize("json", [False, True])
def test_what_is_found_out_about_keys_is_remarked(json: bool, capsys: pytest.CaptureFixture[str]):
    class Listening:
        def events(self, *kinds: str) -> Events:
            self.seen = Events(frozenset(kinds), lambda _: None)
            return self.seen

    client = Listening()
    telling = tell_notices(client, Output(json))  # type: ignore[arg-type]
    data = {"verdict": "altered", "words": "altered \x1b message", "peer": "bob"}
    client.seen.put(Event("notice", data))
    said = capsys.readouterr()
    assert said.out == ""
    if json:
        assert loads(said.err) == {"event": "notice", **data}
    else:
        assert said.err == "altered \\x1b message\n"
    telling.cancel()


def test_who_does_not_get_a_message_to_a_room_is_told():
    class Listening:
        def events(self, *kinds: str) -> Events:
            self.seen = Events(frozenset(kinds), lambda _: None)
            return self.seen

    client, out = Listening(), Record()
    telling = tell_missed(client, out)  # type: ignore[arg-type]
    client.seen.put(Event("missed", {"seq": 7, "peer": "bob", "time": 0}))
    client.seen.put(Event("receipt", {"seq": 7, "peer": "carol", "time": 0}))
    telling.cancel()
    assert out.notes == ["bob does not get message 7: the mailbox is full"]
