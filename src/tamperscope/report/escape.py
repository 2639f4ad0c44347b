"""
Text that an adversary may have written, made safe to print.

Names, host headers, file names and whatever else came from a capture can hold terminal escapes, line breaks,
right-to-left marks and invisible letters.  They are escaped here and nowhere else, where they leave the program.
JSON needs no more than its own escapes, as it is written in ASCII (``report.jsonl``).
"""

from __future__ import annotations

from tamperscope.model import MAX_NAME

# Printable by str.isprintable(), yet blank or able to hide or move what stands beside them: fillers of Hangul,
# Khmer and braille, variation selectors, combining marks without a base (a stack of them overwrites other lines).
_HIDDEN = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def visible(text: str | bytes | None, limit: int = MAX_NAME, ellipsis: str = "\u2026") -> str:
    """
    One line of printable text.

    Controls, bidirectional and zero-width characters, line separators, unassigned and private characters become
    ``\\xNN`` or ``\\u{N}``, and so do bytes that are no UTF-8 (in bytes, or as surrogates in a path).  Beyond ``limit``
    characters the text is cut and ends in ``…(+N)``, N being the number of characters left out.

    None, which stands for unknown, gives ``-``.
    """
    if text is None:
        return "-"
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if _harmless(char) else _escaped(char) for char in text)
    if len(text) > limit:
        text = f"{text[:limit]}{ellipsis}(+{len(text) - limit})"
    return text


def quoted(text: str) -> str:
    """A file name in a message: as it is where it is plain, in quotes with escapes where it could mislead."""
    shown = visible(text, limit=1024)
    plain = shown == text and text and not text[0].isspace() and not text[-1].isspace() and "'" not in text
    return shown if plain else f"'{shown}'"


def _harmless(char: str) -> bool:
    if char.isascii():
        return char.isprintable()
    return char.isprintable() and char not in _HIDDEN and not _is_mark(char)


def _is_mark(char: str) -> bool:
    from unicodedata import category  # needed for text beyond ASCII alone

    return category(char)[0] == "M"


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0xA0:  # C0, DEL, C1
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{{{code:x}}}"
