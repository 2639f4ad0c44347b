"""
Where bytes come from: a path, standard input, bytes, a binary file object, any of them compressed (`inflate`); packets
that a program holds already (`iterables`).

A plain file or pipe is read by the core itself.  Files are read, never mapped: one that another program truncates
would kill the reader.
"""

from __future__ import annotations

import os

from tamperscope import core
from tamperscope.errors import CaptureError
from tamperscope.model import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    class Readable(Protocol):
        def read(self, size: int, /) -> Any: ...

    from tamperscope.inflate import Ahead

CHUNK = 256 * 1024
ALONE = 4  # pieces that are decompressed before a thread is started for it: small captures need none
FOLDER = 0o040000
MAGIC = (
    b"\x1f",
    b"\x28",
    b"\xfd",
    b"\x04",
    *(bytes((0x50 + i,)) for i in range(16)),
)  # first byte of what `inflate` knows
KINDS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz", ".lz4": "lz4"}


class Source:
    """
    An input, opened.

    Args:
        source: path as str, bytes or PathLike; "-" for standard input; the capture's bytes as bytes, bytearray or
            memoryview (bytes with a NUL are data: every capture has one, no path can); a binary file object, which is
            read from where it stands and not closed; an iterable of packets (`tamperscope.iterables`).
    Raises:
        CaptureError, OSError: it cannot be opened.  TypeError: it is none of these.
    """

    def __init__(self, source: Any) -> None:
        self.notices: list[Notice] = []
        self.compression = ""
        self._descriptor = -1
        self._own = False
        self._file: Readable | None = None
        self._data: memoryview | None = None
        self._pieces: Iterator[bytes] | None = None  # decompressed bytes
        self._ahead: Ahead | None = None  # the same from a thread, later
        self._taken = 0  # pieces
        self._trailing: list[bytes] = []
        self._first = b""
        self._ended = False
        self.closed = False
        self._pending: bytes | memoryview = b""
        self.name = self._open(source)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _open(self, source: Any) -> str:
        if isinstance(source, (memoryview, bytearray)) or (isinstance(source, bytes) and 0 in source):
            self._data = memoryview(source).cast("B")
            return "<bytes>"
        if hasattr(source, "read"):
            self._file = source
            name = getattr(source, "name", None)
            return os.fsdecode(name) if isinstance(name, (str, bytes)) else "<file>"
        if hasattr(source, "__iter__") and not isinstance(source, (str, bytes)) and not hasattr(source, "__fspath__"):
            from tamperscope.iterables import PacketStream

            self._file = PacketStream(source)
            return PacketStream.name
        if source == "-":
            self._descriptor = 0
            return "-"
        path = os.fsdecode(os.fspath(source))
        if "\0" in path:
            raise CaptureError("a path cannot contain a NUL", code="path", path=path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._own = True
        if os.fstat(self._descriptor).st_mode & 0o170000 == FOLDER:
            self.close()
            raise IsADirectoryError(21, os.strerror(21), path)
        return path

    def _more(self) -> bytes | memoryview:
        """The next raw bytes, b"" at the end."""
        if self._data is not None:
            part, self._data = self._data[:CHUNK], self._data[CHUNK:]
            return part
        if self._file is not None:
            return _binary(self._file.read(CHUNK))
        return os.read(self._descriptor, CHUNK)

    def _start(self) -> None:
        """Read enough to tell a compression by its magic."""
        start = bytes(self._more())
        while len(start) < 4:
            more = bytes(self._more())
            if not more:
                break
            start += more
        if start[:1] not in MAGIC:
            self._pending = start
            return
        from tamperscope import inflate

        self.compression = inflate.compression(start)
        if self.compression:
            self._first = start
            self._pieces = inflate.pieces(self.compression, self._compressed, self.name, self._trailing)
        else:
            self._pending = start

    def _compressed(self) -> bytes | memoryview:
        """The next compressed bytes: first those by which they were told."""
        first, self._first = self._first, b""
        return first or self._more()

    def step(self, scan: core.Core) -> int:
        """Move some bytes on into the core.  Its code: OK, FULL (take tables, call again), END, or negative."""
        if self.closed:
            return core.END
        if self._pending:
            code, used = scan.feed(self._pending)
            self._pending = self._pending[used:]
            return code
        if self._pieces is not None:
            return self._step_inflated(scan)
        if self._descriptor >= 0:
            return scan.read(self._descriptor)
        self._pending = self._more()
        return core.OK if self._pending else _end(scan)

    # ------------------------------------------------------------ compressed

    def _step_inflated(self, scan: core.Core) -> int:
        if self._ended:
            return _end(scan)
        from tamperscope.inflate import Damaged

        try:
            self._pending = self._next_piece()
        except Damaged as damage:
            self._note_damage(damage.how, damage.offset)
        self._ended = not self._pending
        if self._ended and self._trailing:
            start = self._trailing[0].hex(" ")
            text = f"what follows the end of the compressed data is ignored (it starts with {start})"
            self.notices.append(Notice("warning", "trailing_data", text, capture=self.name))
        return core.OK

    def _next_piece(self) -> bytes:
        assert self._pieces is not None
        if self._ahead is None and self._taken == ALONE:
            from tamperscope.inflate import Ahead

            self._ahead = Ahead(self._pieces)
        if self._ahead is not None:
            return self._ahead.next()
        self._taken += 1
        return next(self._pieces, b"")

    def _note_damage(self, how: str, offset: int) -> None:
        kind = KINDS[self.compression]
        text = f"{kind} data {how} at compressed offset {offset}; what came before it was analysed"
        self.notices.append(Notice("error", "compression", text, capture=self.name, offset=offset))

    def close(self) -> None:
        """Close what was opened here; nothing more is read."""
        self.closed = True
        if self._ahead is not None and not self._ahead.stop():
            return  # its thread waits in read(): to close under it would let it read another file
        if self._own and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._own = False


def _end(scan: core.Core) -> int:
    """No more bytes: END once the core has used up what it holds (tables may have to be taken first)."""
    code, _ = scan.feed(b"")
    return int(code or core.END)


def _binary(data: Any) -> bytes | memoryview:
    """What a file object's `read` gave, or why that cannot be used."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data if isinstance(data, bytes) else memoryview(data).cast("B")
    if data is None:
        raise BlockingIOError(11, "the file object has no bytes for now; give one that waits for them")
    raise TypeError(f"the file object reads {type(data).__name__}; one opened in binary mode is needed")
