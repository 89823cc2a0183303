"""Who is here, and who wants to know: the event ``presence`` (SR1 section 5).

A peer is here while at least one of its sessions is, and it *listens* while one of them receives.
A session is gone the moment its connection is, and a connection that says nothing to two PINGs is
cut, so nobody is shown who left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securerelay.protocol import messages
from securerelay.protocol.link import encode_json
from securerelay.relay.config import Policy

if TYPE_CHECKING:
    from securerelay.relay.peer import Peer
    from securerelay.relay.session import Session


class Presence:
    """Tells watchers who comes and goes.

    Args:
        policy: who may see whom.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._watchers: dict[Session, None] = {}

    def watch(self, session: Session) -> None:
        """Tell a session from now on, until it is gone."""
        self._watchers[session] = None

    def left(self, session: Session) -> None:
        """A session is gone."""
        self._watchers.pop(session, None)

    def changed(self, peer: Peer, time: int) -> None:
        """Tell everyone who may know that a peer came, went, or began or ceased to listen.

        Args:
            peer: who.
            time: when, Unix ms.
        """
        if not self._watchers:
            return
        event = messages.event(b"presence", encode_json({**state_of(peer), "time": time}))
        for session in self._watchers:
            if self.policy.may_see(session.peer.text, peer.text):
                session.write(event)


def state_of(peer: Peer) -> dict[str, str | bool]:
    """Describe a peer in use: its name, whether it is here and whether it listens."""
    mailbox = peer.mailbox
    listening = mailbox is not None and mailbox.listener is not None
    return {"peer": peer.text, "online": bool(peer.sessions), "listening": listening}
