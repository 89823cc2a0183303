"""A backup of a relay under load, and a relay that goes on from it: nothing happens twice."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from securerelay.protocol import messages
from tests.end_to_end.daemon import PATIENCE
from tests.end_to_end.people import Person
from tests.end_to_end.relays import Relay, relay_of
from tests.end_to_end.speaker import Speaker

STREAM, OTHER = b"s" * 22, b"o" * 22
BATCH = 50


class Load:
    """Somebody who sends to others without a pause, until told to stop."""

    def __init__(self, relay: Relay) -> None:
        self.sent = 0
        self._over = threading.Event()
        self._relay = relay
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        ann = self._relay.join("ann")
        ann.say(messages.stream(STREAM, 0))
        while not self._over.is_set():
            first, last = self.sent + 1, self.sent + BATCH
            ann.say(
                *(messages.send(n, b"ben", None, False, b"%d" % n) for n in range(first, last + 1))
            )
            ann.wait("ok", last)
            self.sent = last
        ann.close()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE)


def drain(ben: Speaker) -> list[tuple[int, bytes]]:
    """Fetch and acknowledge all there is; tell numbers and bodies."""
    got: list[tuple[int, bytes]] = []
    ben.say(messages.listen(0))
    _, last = ben.wait("listen")
    while True:
        heard, ben.heard = ben.heard, []
        fresh = [(said[1], said[7]) for said in heard if said[0] == "msg"]
        if fresh:
            got += fresh
            ben.say(messages.ack(got[-1][0]))
        if got and got[-1][0] >= last:
            return got
        ben.receive()


@pytest.fixture
def admin(tmp_path: Path) -> Person:
    return Person(tmp_path / "admin")


def test_a_backup_under_load_is_restored_and_nothing_of_it_happens_twice(
    tmp_path: Path, admin: Person
) -> None:
    with relay_of(tmp_path, "ann", "ben", "cat") as relay:
        ben = relay.join("ben")
        ticket = ben.greeting.tickets[0]  # type: ignore[union-attr]
        ben.close()
        relay.admin("invite", name="dan")
        load = Load(relay)
        relay.wait(lambda: load.sent >= 1000, "there is load")
        answered = load.sent
        for name in ("first", "second"):
            admin.must("backup", str(tmp_path / name), "--data", relay.data)
        assert admin.run("backup", str(tmp_path / "first"), "--data", relay.data).status == 1
        upto = load.sent
        relay.wait(lambda: load.sent >= upto + 1000, "there is load")
        load.stop()
        ben = relay.join("ben")
        ben.say(messages.listen(0))
        _, highest = ben.wait("listen")
        ben.close()
        relay.admin("revoke", name="cat")
        assert "stop it first" in admin.run("fsck", "--data", relay.data).err
        assert relay.stop() in (0, -15)
        assert admin.must("fsck", "--data", relay.data, "--json").records[0]["sound"]

        # The disk is lost; the key files were kept elsewhere.
        kept = tmp_path / "kept"
        shutil.copytree(
            relay.data,
            kept,
            ignore=lambda _, names: {name for name in names if not name.endswith((".key", ".crt"))},
        )
        shutil.rmtree(relay.data)
        shutil.copytree(kept, relay.data)
        (restored,) = admin.must(
            "restore", str(tmp_path / "first"), "--data", relay.data, "--json"
        ).records
        assert restored["peers"] == 3
        relay.start()

        states = {row["name"]: row["state"] for row in relay.admin("invitations")["invitations"]}
        assert states["dan"] == "withdrawn"
        assert {row["state"] for row in relay.admin("issued")["issued"]} == {"active"}
        ben = relay.join("ben", ticket)
        assert ben.greeting is not None
        assert not ben.greeting.resumed, "tickets do not come back"
        ann = relay.join("ann")
        ann.say(messages.stream(OTHER, 0), messages.send(1, b"ben", None, False, b"new"))
        ann.wait("ok", 1)
        got = drain(ben)
        assert got[-1][1] == b"new"
        assert got[-1][0] > highest, "no number is given again"
        old = [int(body) for _, body in got[:-1]]
        assert old == list(range(1, len(old) + 1))
        assert len(old) >= answered, "what was answered before the backup is in it"
        ann.close()
        ben.close()
