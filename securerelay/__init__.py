"""SecureRelay: a message relay with its own encrypted, mutually authenticated protocol.

``securerelay.client`` connects a Twisted program to a relay, ``securerelay.channel`` joins two
programs without one, and ``twistd -n securerelay`` runs the relay itself.
"""

__version__ = "0.1.0"
