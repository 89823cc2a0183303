"""Load on a real relay that is killed again and again, and a judge over what its peers saw.

By hand: ``python -m tests.end_to_end.load --cycles 2000``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from securerelay.identity.invitation import Invitation
from tests import keys
from tests.end_to_end import history
from tests.end_to_end.crowd import Newcomer, Peer, Scene
from tests.end_to_end.daemon import PATIENCE
from tests.end_to_end.nursery import Nursery
from tests.relay.folders import copy_folder

CONFIGURATION = """
data = "{folder}/data"
listen = ["tcp:{port}:interface=127.0.0.1"]

[limits]  # all peers come from one address here
unauthenticated_per_source = 512
handshake_cpu_percent = 100
mailbox_messages = 1000000

[peer]
messages_per_second = {rate}
calls_per_second = 1000

[policy]  # they send what nobody sealed
require_sealed = false
"""

CHECKPOINT = "mid-checkpoint"
"""A failpoint of ours: the first write to the database file itself."""

NAMES = ("ann", "ben", "cat", "dan", "eve", "fay")


class Load:
    """A relay, six peers, and those who come and go.

    Args:
        folder: for everything; empty.
        seed: of the random choices.
        rate: messages a second that each peer may send; a low one has some refused for now.
    """

    def __init__(self, folder: Path, seed: int, rate: int = 2000) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        copy_folder(folder / "data")
        self.configuration = folder / "relay.toml"
        self.configuration.write_text(
            CONFIGURATION.format(folder=folder, port=self.port, rate=rate)
        )
        histories = folder / "histories"
        histories.mkdir()
        self.scene = Scene(self.port, histories, seed)
        self.record = history.Recorder(histories, "admin")
        self.nursery = Nursery()
        self.relay = 0
        self.peers: list[Peer] = []
        self.newcomers: list[Newcomer] = []
        self.victims: list[Peer] = []
        self.guests = 0
        self.cycles = 0

    # --- the relay ---

    def start(self, failpoint: str = "") -> None:
        """Start the relay; it serves a moment later."""
        named = "" if failpoint == CHECKPOINT else failpoint
        self.relay = self.nursery.start(
            self.folder, "--config", self.configuration, failpoint=named
        )
        if failpoint == CHECKPOINT:
            self.nursery.kill_when_written(self.relay, self.folder / "data" / "relay.sqlite")

    def admin(self, verb: str, **arguments: Any) -> dict[str, Any] | None:
        """Ask the administrator's socket; None if there is no answer."""
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(PATIENCE)
            connection.connect(str(self.folder / "data" / "admin.sock"))
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile("rb").readline())
            return answer
        return None

    # --- who comes and goes ---

    def invite(self, name: str) -> Newcomer | None:
        """Invite somebody, who comes when he can; None if the relay does not answer."""
        answer = self.admin("invite", name=name)
        if answer is None or not answer["ok"]:
            return None
        newcomer = Newcomer(self.scene, Invitation.parse(answer["uri"]), keys.rsa_key(2048))
        self.newcomers.append(newcomer)
        return newcomer

    def settle(self) -> None:
        """Enrol the six, with a relay that nobody kills yet."""
        self.start()
        deadline = time.monotonic() + PATIENCE
        found: dict[str, Newcomer] = {}
        while len(found) < len(NAMES) or not all(one.done for one in found.values()):
            assert time.monotonic() < deadline, "the peers do not get their certificates"
            for name in NAMES:
                if name not in found and (newcomer := self.invite(name)) is not None:
                    found[name] = newcomer
            self._turn()
        for number, (name, newcomer) in enumerate(found.items()):
            assert newcomer.credential is not None, f"{name} is refused"
            # Two always listen, two now and then, and two only when all is over.
            attendance = (1.0, 1.0, 0.5, 0.5, 0.0, 0.0)[number]
            self.peers.append(
                Peer(self.scene, name, newcomer.credential, NAMES, attendance=attendance)
            )
        self.nursery.kill(self.relay)

    def _come_and_go(self, enrol: bool, revoke: bool) -> None:
        """Have one guest more enrol, or one less be here, perhaps or certainly."""
        active = [victim for victim in self.victims if not victim.barred]
        if enrol or (len(active) < 6 and self.random.random() < 0.5):
            self.guests += 1
            self.invite(f"guest{self.guests}-{self.random.randrange(1000)}")
        for newcomer in self.newcomers:
            if newcomer.done and newcomer.credential is not None and newcomer.name not in NAMES:
                name = newcomer.invitation.name
                if name not in NAMES and all(victim.name != name for victim in self.victims):
                    self.victims.append(Peer(self.scene, name, newcomer.credential))
        if active and (revoke or self.random.random() < 0.5):
            name = self.random.choice(active).name
            answer = self.admin("revoke", name=name)
            if answer is not None and answer["ok"]:
                self.record("revoked", name=name)

    # --- the run ---

    def _turn(self) -> None:
        self.scene.turn(0.002)
        for newcomer in self.newcomers:
            newcomer.step()
        for peer in self.peers + self.victims:
            peer.step()

    def cycle(
        self,
        failpoint: str = "",
        seconds: float = 0.2,
        *,
        gently: bool = False,
        reload: bool = False,
    ) -> bool:
        """Start the relay, load it, and kill it.

        Args:
            failpoint: where it dies, ``name:count``, or :data:`CHECKPOINT`; empty for anywhere.
            seconds: from its first session until it is killed, or how long a failpoint may take.
            gently: it is asked to end, not killed.
            reload: it is told to read its configuration again, over and over.

        Returns:
            True if it died at the failpoint.
        """
        self.cycles += 1
        delivered = sum(peer.delivered for peer in self.peers)
        self.start(failpoint)
        end = deadline = time.monotonic() + PATIENCE
        served = died = False
        while time.monotonic() < end and not died:
            self._turn()
            if not served and any(peer.in_session for peer in self.peers):
                served = True
                end = time.monotonic() + seconds
                self._come_and_go("enrolment" in failpoint, "revocation" in failpoint)
            if reload and served and self.random.random() < 0.2:
                os.kill(self.relay, signal.SIGHUP)
            if failpoint or not served:
                died = self.nursery.ended(self.relay) is not None
        assert served or (died and failpoint), "the relay does not serve"
        assert time.monotonic() < deadline, "the relay does not serve"
        if gently and not died:
            assert self.nursery.stop(self.relay, self._turn) in (0, -15)
            assert "relay.cut" not in self.log.rpartition("relay.ready")[2], "somebody did not end"
        else:
            self.nursery.kill(self.relay)
        self.progress = sum(peer.delivered for peer in self.peers) - delivered
        return died

    def finish(self) -> list[history.Violation]:
        """Send nothing more, deliver everything, end the relay in order, and judge."""
        self.scene.over = True
        for peer in self.peers + self.victims:
            peer.hang_up()
        self.start()
        deadline = time.monotonic() + PATIENCE * 2
        waiting: list[Any] = [*self.peers, *self.victims, *self.newcomers]
        while not all(one.done for one in waiting):
            assert time.monotonic() < deadline, self._stuck()
            self._turn()
        assert self.nursery.stop(self.relay, self._turn) in (0, -15)
        for one in waiting:
            one.hang_up()
            one.record.close()
        self.record.close()
        assert "Traceback" not in self.log, self.log[-20_000:]
        return history.check(self.histories)

    def _stuck(self) -> str:
        return "\n".join(
            f"{peer.name} waits: {peer!r}" for peer in self.peers + self.victims if not peer.done
        )

    @property
    def histories(self) -> dict[str, list[history.Event]]:
        """What the clients wrote down."""
        return history.read(self.scene.folder)

    @property
    def log(self) -> str:
        """What the relays said, one after the other."""
        return (self.folder / "relay.log").read_text()

    def close(self) -> None:
        """End whatever still runs."""
        self.nursery.close()
        self.scene.selector.close()


def main() -> None:
    """Kill a relay under load, as often as asked for, and say what that broke."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.end_to_end.load", description=main.__doc__
    )
    parser.add_argument("--cycles", type=int, default=2000, help="how often it is killed")
    parser.add_argument("--seconds", type=float, default=0.5, help="at most, between two kills")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--failpoint", default="", help="where, name:count; anywhere by default")
    parser.add_argument("--rate", type=int, default=2000, help="messages a second of each peer")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="securerelay-load-"))
    print(f"seed {chosen.seed}, {folder}", flush=True)
    load = Load(folder, chosen.seed, chosen.rate)
    begun = time.monotonic()
    found = None
    try:
        load.settle()
        for number in range(1, chosen.cycles + 1):
            load.cycle(chosen.failpoint, load.random.uniform(0, chosen.seconds))
            if number % 50 == 0 or number == chosen.cycles:
                print(
                    f"{number} kills, {sum(peer.delivered for peer in load.peers)} messages "
                    f"delivered, {time.monotonic() - begun:.0f} s",
                    flush=True,
                )
        found = load.finish()
        print(json.dumps(history.summary(load.histories)))
        print(history.tell(found) or "nothing lost, nothing twice, nothing out of order")
    finally:
        load.close()
        if found == [] and not chosen.keep:
            shutil.rmtree(folder)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
