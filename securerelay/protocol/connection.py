"""A connection from its first byte to its last: handshake, then records (SR1 sections 3 to 6).

Bytes go in through ``receive``; everything that comes out goes through the host: bytes to write,
questions that only a relay's store or key can answer, the content of DATA records, and once, at the
end, how it ended.  No I/O happens here.
"""

from __future__ import annotations

from securerelay.protocol.client_end import ClientConnection, ClientHost, Welcome
from securerelay.protocol.initiator import (
    AnswerError,
    ClientConfig,
    ClientTicket,
    Credential,
    Enrolment,
    RelayIdentity,
)
from securerelay.protocol.link import End
from securerelay.protocol.relay_end import RelayConnection, RelayHost
from securerelay.protocol.steps import (
    Authenticated,
    EnrolmentRequest,
    NewTicket,
    PeerIdentity,
    RelayConfig,
    Resumption,
)

__all__ = [
    "AnswerError",
    "Authenticated",
    "ClientConfig",
    "ClientConnection",
    "ClientHost",
    "ClientTicket",
    "Credential",
    "End",
    "Enrolment",
    "EnrolmentRequest",
    "NewTicket",
    "PeerIdentity",
    "RelayConfig",
    "RelayConnection",
    "RelayHost",
    "RelayIdentity",
    "Resumption",
    "Welcome",
]
