"""Exceptions.  Imports nothing, so that every module can raise them.

The network being odd is never an exception (it is an anomaly bit, counted); these say that something could not go on.
"""

from __future__ import annotations


class TamperscopeError(Exception):
    """Base of every error that tamperscope raises on purpose."""


class CaptureError(TamperscopeError):
    """
    A capture cannot be read, at all or from some point on.

    Args:
        text: what is wrong, where, what was expected and found, the consequence; without the file's name.
        code: the same as a stable word, such as ``not_a_capture``.
        path: file as the caller named it, None for bytes and file objects.
        offset: byte offset in the capture (in the compressed file where that is what broke).
        frame: number of the frame, from 1.
        need, have: what was expected and what was there; bytes unless the text says otherwise.
    """

    def __init__(
        self,
        text: str,
        *,
        code: str = "unreadable",
        path: str | None = None,
        offset: int | None = None,
        frame: int | None = None,
        need: int | None = None,
        have: int | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.path = path
        self.offset = offset
        self.frame = frame
        self.need = need
        self.have = have

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path is not None else self.text


class NotThereError(TamperscopeError, LookupError):
    """A flow or frame that was asked for by its number is not in the capture."""


class LinkTypeError(CaptureError):
    """
    All frames are of a link type that is not decoded.

    ``link_type`` is its number in the tcpdump.org registry, as is ``have``; ``need`` is how many frames there are.
    """

    def __init__(
        self,
        text: str,
        *,
        link_type: int,
        path: str | None = None,
        offset: int | None = None,
        frames: int | None = None,
    ) -> None:
        super().__init__(text, code="unknown_link_type", path=path, offset=offset, need=frames, have=link_type)
        self.link_type = link_type


class CatalogueError(TamperscopeError):
    """A data file that breaks the catalogue's rules, which keep claims checkable."""

    def __init__(self, text: str, *, path: str | None = None, entry: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.path = path
        self.entry = entry

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.path, self.entry) if part)
        return f"{where}: {self.text}" if where else self.text


class UsageError(TamperscopeError):
    """Wrong arguments; the text names the argument."""
