"""
Options of a command line, read by a few lines of our own: argparse, with what it imports, takes longer than a small
capture.
"""

from __future__ import annotations

from tamperscope.console import shown
from tamperscope.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SHOWN = ("help", "version")  # flags that end the reading: nothing else matters


class Grammar:
    """
    What a command takes.

    flags: option to the attribute that it sets to True ("" for an option that is accepted and does nothing).
    values: option to the attribute that gets its value; one that is a list gets one more item.
    most: the numbers among these, with the largest allowed (1 is the smallest); all others are text.
    Words that are no options go to the attribute ``words``; a flag of SHOWN to ``show``.
    """

    __slots__ = ("flags", "most", "values")

    def __init__(self, flags: dict[str, str], values: dict[str, str], most: dict[str, int]) -> None:
        self.flags = flags
        self.values = values
        self.most = most

    def read(self, argv: list[str], options: Any) -> None:
        """Set the attributes of `options`.  Raises UsageError."""
        rest = iter(argv)
        for word in rest:
            if word == "--":
                options.words.extend(rest)
            elif word == "-" or not word.startswith("-"):
                options.words.append(word)
            elif word.startswith("--"):
                name, has_value, value = word.partition("=")
                self._option(options, name, value if has_value else None, rest)
            else:
                self._letters(options, word, rest)
            if options.show:
                return

    def _letters(self, options: Any, word: str, rest: Iterator[str]) -> None:
        """-qv, -c5, -rFILE: flags together, and a value that may follow at once."""
        for at in range(1, len(word)):
            letter = "-" + word[at]
            if letter in self.values:
                self._option(options, letter, word[at + 1 :] or None, rest)
                return
            self._option(options, letter, None, rest)

    def _option(self, options: Any, name: str, value: str | None, rest: Iterator[str]) -> None:
        if name in self.flags:
            if value is not None:
                raise UsageError(f"{name} takes no value, got {shown(value)}")
            key = self.flags[name]
            if key in SHOWN:
                options.show = key
            elif key:
                setattr(options, key, True)
        elif name in self.values:
            value = next(rest, None) if value is None else value
            if value is None:
                raise UsageError(f"{name} needs a value")
            self._set(options, name, value)
        else:
            raise UsageError(f"unknown option {shown(name)}")

    def _set(self, options: Any, name: str, value: str) -> None:
        key = self.values[name]
        if name in self.most:
            setattr(options, key, _number(name, value, self.most[name]))
        elif isinstance(getattr(options, key), list):
            getattr(options, key).append(value)
        else:
            setattr(options, key, value)


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}: {shown(text)} is not a number")
    if len(text) > 18 or not 1 <= int(text) <= most:
        raise UsageError(f"{name}: {shown(text)} is out of range, 1 to {most}")
    return int(text)
