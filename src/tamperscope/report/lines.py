"""
Lines of text for a terminal: wrapped between words, coloured word by word, text from packets escaped.

What every report for people is made of, and how it writes frames, times, ends and counts.
"""

from __future__ import annotations

from tamperscope.model import iso_time
from tamperscope.report.escape import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIN_WIDTH, MAX_WIDTH = 40, 110
FRAMES = 8  # frame numbers shown in a list
COLOURS = {"confirmed": "1;31", "likely": "1;33", "insufficient": "1;36", "bold": "1", "dim": "2"}


class Lines:
    """
    Writes lines of at most `width` columns.

    Args:
        write: takes text.
        width: columns; 40 at least.
        colour: whether escape sequences may be used.
        ascii_only: no character beyond ASCII of our own, for terminals that show none.
    """

    def __init__(
        self, write: Callable[[str], None], width: int = 80, colour: bool = False, ascii_only: bool = False
    ) -> None:
        self._write = write
        self._width = max(MIN_WIDTH, min(width, MAX_WIDTH))
        self._colour = colour
        self._ellipsis = "..." if ascii_only else "\u2026"

    def name(self, name: bytes | None) -> str:
        """A name from a packet, safe to print."""
        return visible(name, ellipsis=self._ellipsis)

    def text(self, text: str) -> str:
        """Longer text that may hold such names."""
        return visible(text, limit=1024, ellipsis=self._ellipsis)

    def paint(self, style: str, text: str) -> str:
        """The text in a colour, where there may be one."""
        if not self._colour:
            return text
        # Spaces inside would let a style run over a line's end when it is wrapped: paint word by word.
        return " ".join(f"\x1b[{COLOURS[style]}m{word}\x1b[0m" if word else "" for word in text.split(" "))

    def line(self, text: str = "") -> None:
        """One line as it is."""
        self._write(text + "\n")

    def wrap(self, text: str, first: str = "", rest: str | None = None) -> None:
        """Break between words; what is longer than a line (an address, a name) stays whole, so it can be copied."""
        rest = first if rest is None else rest
        line, used = first, len(first)
        start = True
        for gap, word in _tokens(text):
            size = _width(word)
            if not start and used + gap + size > self._width:
                self.line(line)
                line, used, gap = rest, len(rest), 0
            line += " " * gap + word
            used += gap + size
            start = False
        self.line(line)


def frames(word: str, frames: list[int], total: int) -> str:
    shown = " ".join(str(frame) for frame in frames[:FRAMES])
    more = total - len(frames[:FRAMES])
    return f"{word}{'s' if total > 1 else ''} {shown}" + (f" and {more:,} more" if more > 0 else "")


def confidence(value: float) -> str:
    """Four digits, cut and not rounded: what is not certain must not read 1."""
    return f"{int(value * 10_000) / 10_000:.4f}" if value < 0.9999 else ">0.9999"


def end(host: str, port: int | None) -> str:
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def clock(time_ns: int, one_day: bool) -> str:
    """To the microsecond, as Wireshark shows it; without the date where the capture has but one."""
    text = iso_time(time_ns) or ""
    return f"{text[11:26]}Z" if one_day else f"{text[:26]}Z"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def words(code: str) -> str:
    return code.replace("_", " ")


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """(spaces before, word) of a line; runs of spaces are columns and stay."""
    gap = 0
    for word in text.split(" "):
        if word:
            yield gap, word
            gap = 1
        else:
            gap += 1


def _width(word: str) -> int:
    """Columns of a word: without colour sequences, wide East Asian characters twice."""
    if word.isascii() and "\x1b" not in word:
        return len(word)
    plain = word
    while "\x1b" in plain:
        head, _, tail = plain.partition("\x1b[")
        plain = head + tail.partition("m")[2]
    if plain.isascii():
        return len(plain)
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(char) in "WF" else 1 for char in plain)
