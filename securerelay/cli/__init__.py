"""The command ``securerelay``: one file a verb, text for people and JSON for programs.

Nothing here knows the protocol: verbs speak to a relay through :mod:`securerelay.client`, and to
the relay on this machine through its administration socket.  A verb's module is imported when the
verb is used, and Twisted and ``cryptography`` only inside the function that needs them, so
``securerelay --help`` answers at once.
"""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command and leave with its exit status."""
    try:
        from securerelay.cli import entry
    except KeyboardInterrupt:  # a slow machine takes its time to get this far
        sys.exit(130)
    entry.main()
