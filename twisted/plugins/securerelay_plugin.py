"""Tells ``twistd`` and ``twist`` that there is a ``securerelay`` to run.

Twisted imports this file whenever it lists its commands, so it imports nothing of the relay's.
"""

from twisted.application.service import ServiceMaker

securerelay = ServiceMaker(
    "SecureRelay",
    "securerelay.tap",
    "A message relay with mutual authentication and its own encrypted protocol",
    "securerelay",
)
