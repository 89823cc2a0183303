"""The relay: the daemon's side of SecureRelay.

:mod:`~securerelay.relay.service` wires it together; :mod:`~securerelay.relay.wire` is the only file
that touches a socket, :mod:`~securerelay.relay.session` is one connected peer and
:mod:`~securerelay.relay.router` decides who gets a message.
"""
