"""Codes for cameras, drawn with segno, which is an extra."""

from __future__ import annotations

import sys

from securerelay.cli.exits import Failure


class Codes:
    """Draws codes on the terminal.

    Raises:
        Failure: ``missing`` if segno is not installed.
    """

    def __init__(self) -> None:
        try:
            import segno
        except ImportError:
            raise Failure("missing", "--qr needs segno: pip install 'securerelay[qr]'") from None
        self._segno = segno

    def show(self, text: str) -> None:
        """Draw a code on standard output."""
        self._segno.make(text).terminal(sys.stdout, compact=True)
