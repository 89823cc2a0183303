"""A room of 300 members, a tenth of them away: everybody gets everything once, and in order."""

from __future__ import annotations

import json
import selectors
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import Credential
from tests.end_to_end.daemon import PATIENCE, running
from tests.end_to_end.people import enrol
from tests.relay.folders import copy_folder

SIZE, AWAY, SENDERS, EACH = 300, 30, 3, 30
ROOM = b"@all-hands"


class Member:
    """Somebody in the room: writes down what comes, each (from, stream, seq) once."""

    def __init__(self, name: str, credential: Credential) -> None:
        self.name = name
        self.credential = credential
        self.got: dict[bytes, list[int]] = defaultdict(list)
        self.twice = 0
        self.settled = self.last = 0
        self.replies: dict[bytes, bytes] = {}
        self.known: set[tuple[bytes, bytes, int]] = set()

    def connect(self, daemon: Daemon, selector: selectors.BaseSelector) -> None:
        self.peer = Peer(daemon.port, daemon.relay_id, self.credential).handshake()
        self.decoder = messages.client_decoder(self)  # type: ignore[arg-type]
        self.peer.send(messages.listen(self.last))
        selector.register(self.peer.socket, selectors.EVENT_READ, self)

    def leave(self, selector: selectors.BaseSelector) -> None:
        """The connection breaks."""
        selector.unregister(self.peer.socket)
        self.peer.close()

    def take(self) -> None:
        before = self.last
        self.decoder.feed(bytes(self.peer.received))
        self.peer.received.clear()
        if self.last > before:
            self.peer.send(messages.ack(self.last))

    def done(self, senders: list[Member]) -> bool:
        return all(
            len(self.got[sender.name.encode()]) >= EACH for sender in senders if sender is not self
        )

    # --- what the relay says ---

    def msg(
        self, n: int, sender: bytes, to: bytes, stream: bytes, seq: int, when: int, body: bytes
    ) -> None:
        assert to == ROOM
        assert body == b"%b %d" % (sender, seq)
        assert n > self.last, "numbers rise"
        self.last = n
        if (sender, stream, seq) in self.known:
            self.twice += 1
            return
        self.known.add((sender, stream, seq))
        self.got[sender].append(seq)

    def ok(self, seq: int) -> None:
        self.settled = seq

    def no(self, seq: int, code: bytes) -> None:
        raise AssertionError(f"{self.name}: {seq} refused: {code!r}")

    def reply(self, tag: bytes, status: bytes, body: bytes) -> None:
        self.replies[tag] = status

    def ping(self, token: bytes) -> None:
        self.peer.send(messages.pong(token))

    def stream(self, stream: bytes, last: int) -> None:
        assert last == 0

    def listen(self, first: int, last: int) -> None:
        pass

    def event(self, kind: bytes, body: bytes) -> None:
        assert kind == b"room"


def test_everybody_in_a_room_of_300_gets_everything_once_and_in_order() -> None:
    deadline = time.monotonic() + 3 * PATIENCE
    with Daemon(2048) as daemon, selectors.DefaultSelector() as selector:

        def turn() -> None:
            assert time.monotonic() < deadline, "not everything comes"
            for key, _ in selector.select(1):
                key.data.peer.receive()
                key.data.take()

        members = [Member(name, credential) for name, credential in daemon.peers(SIZE)]
        here, away, senders = members[:-AWAY], members[-AWAY:], members[:SENDERS]
        for member in here:
            member.connect(daemon, selector)
        owner = members[0]
        everybody = json.dumps({"room": ROOM.decode(), "peers": [one.name for one in members]})
        owner.peer.send(
            messages.call(b"1", b"room.create", json.dumps({"room": ROOM.decode()}).encode())
            + messages.call(b"2", b"room.add", everybody.encode())
        )
        while b"2" not in owner.replies:
            turn()
        assert owner.replies == {b"1": b"ok", b"2": b"ok"}

        for number, sender in enumerate(senders):
            sender.peer.send(messages.stream(b"%d" % number * 22, 0))
        for seq in range(1, EACH + 1):
            for sender in senders:
                body = b"%b %d" % (sender.name.encode(), seq)
                sender.peer.send(messages.send(seq, ROOM, None, False, body))
            if seq == EACH // 2:
                # Some lose their connection on the way, and come back.
                for member in here[SENDERS : SENDERS + 10]:
                    member.leave(selector)
                    member.connect(daemon, selector)
            turn()
        while not all(member.done(senders) for member in here):
            turn()
        while any(sender.settled < EACH for sender in senders):
            turn()

        for member in away:
            member.connect(daemon, selector)
        while not all(member.done(senders) for member in away):
            turn()

        for member in members:
            expected = {
                sender.name.encode(): list(range(1, EACH + 1))
                for sender in senders
                if sender is not member
            }
            assert {name: seqs for name, seqs in member.got.items() if seqs} == expected
        steady = [*here[:SENDERS], *here[SENDERS + 10 :], *away]
        assert sum(member.twice for member in steady) == 0


def test_people_make_a_room_talk_in_it_and_see_who_wrote_where(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text('listen = ["tcp:0:interface=127.0.0.1"]\n')
    made = copy_folder(tmp_path / "made")
    with running(tmp_path, "--config", tmp_path / "relay.toml", like=made) as relay:
        alice, bob = (
            enrol(relay.data, tmp_path, name, "--key-bits", "2048") for name in ("alice", "bob")
        )
        (room,) = alice.must("room", "create", "@team", "bob", "--json").records
        assert (room["owner"], room["count"]) == ("alice", 2)
        assert alice.must("send", "@team", "lunch?").out == "accepted by the relay\n"
        assert bob.must("listen", "--count", "1").out.endswith(" alice in @team: lunch?\n")
        assert bob.must("room", "members", "team").out == "alice (owner)\nbob\n"
        assert bob.run("room", "add", "@team", "bob", "--json").error == "not-permitted"
        assert bob.must("room", "leave", "@team").status == 0
        assert bob.run("send", "@team", "hello?").status == 5
