"""``python -m securerelay`` is the command ``securerelay``."""

from __future__ import annotations

from securerelay.cli import main

if __name__ == "__main__":
    main()
