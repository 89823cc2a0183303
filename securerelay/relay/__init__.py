"""The relay: the daemon's side of SecureRelay.

:mod:`~securerelay.relay.service` wires it together. Only :mod:`~securerelay.relay.door`, where
strangers arrive, and :mod:`~securerelay.relay.wire` touch sockets;
:mod:`~securerelay.relay.session` is one connected peer and :mod:`~securerelay.relay.router` decides
who gets a message.
"""
