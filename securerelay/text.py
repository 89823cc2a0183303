"""Text from other machines, made safe to show: no escape sequence reaches a terminal or a log."""

from __future__ import annotations

import unicodedata

_PLAIN = frozenset(chr(code) for code in range(0x20, 0x7F)) - {"\\"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str | bytes, limit: int | None = None) -> str:
    r"""Show any text without letting it act.

    Control characters (C0 and C1), invisible and bidirectional format characters, line and
    paragraph separators, lone surrogates, unassigned and private characters come out as backslash
    escapes, and so does the backslash itself, so that what is shown can be told from what was sent.

    Args:
        text: what came; bytes are read as UTF-8, and bytes that are none come out as ``\xNN``.
        limit: how many characters of the input to show at most; what is cut is marked with an
            ellipsis.

    Returns:
        One line of visible characters.
    """
    if isinstance(text, bytes):
        whole = len(text)
        if limit is not None:
            text = text[: limit * 4]
        decoded = text.decode("utf-8", "surrogateescape")
        cut = limit is not None and (len(decoded) > limit or len(text) < whole)
    else:
        decoded = text
        cut = limit is not None and len(text) > limit
    decoded = decoded[:limit]
    if decoded.isascii() and decoded.isprintable() and "\\" not in decoded:  # most often
        return decoded + "…" if cut else decoded
    shown = []
    for character in decoded:
        if character in _PLAIN:
            shown.append(character)
        elif "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif unicodedata.category(character) in _HIDDEN:
            shown.append(_escape(character))
        else:
            shown.append(character if character != "\\" else "\\\\")
    return "".join(shown) + ("…" if cut else "")
