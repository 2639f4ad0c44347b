"""
Where bytes come from: a path, standard input, bytes, a binary file object; gzip of any of them.

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
    from typing import Any, BinaryIO

CHUNK = 256 * 1024
INFLATED = 1 << 20  # bytes that are inflated at once: a bomb streams
FOLDER = 0o040000


class Source:
    """
    An input, opened.

    Args:
        source: path as str, bytes or PathLike; "-" for standard input; the capture's bytes as bytes, bytearray or
            memoryview (bytes with a NUL are data: every capture has one, no path can); a binary file object, which is
            read from where it stands and not closed.
    Raises:
        CaptureError, OSError: it cannot be opened.  TypeError: it is none of these.
    """

    def __init__(self, source: Any) -> None:
        self.notices: list[Notice] = []
        self.compression = ""
        self._descriptor = -1
        self._own = False
        self._file: BinaryIO | None = None
        self._data: memoryview | None = None
        self._inflate: Any = None
        self._raw = b""  # compressed bytes that wait
        self._compressed = 0  # compressed bytes read
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
        if start.startswith(b"\x1f\x8b"):
            self.compression = ".gz"
            self._raw = start
            self._compressed = len(start)
            self._new_member()
        else:
            self._pending = start

    def _new_member(self) -> None:
        import zlib

        self._inflate = zlib.decompressobj(31)

    def step(self, scan: core.Core) -> int:
        """Move some bytes on into the core.  Its code: OK, FULL (take tables, call again), END, or negative."""
        if self.closed:
            return core.END
        if self._pending:
            code, used = scan.feed(self._pending)
            self._pending = self._pending[used:]
            return code
        if self._inflate is not None:
            return self._step_inflated(scan)
        if self._descriptor >= 0:
            return scan.read(self._descriptor)
        self._pending = self._more()
        return core.OK if self._pending else _end(scan)

    # ------------------------------------------------------------ gzip

    def _step_inflated(self, scan: core.Core) -> int:
        if self._ended:
            return _end(scan)
        import zlib

        raw = self._inflate.unconsumed_tail or self._raw or self._next_raw()
        self._raw = b""
        if not raw:
            self._damaged("ends early")
            return core.OK
        before = self._inflate.copy()
        try:
            self._pending = self._inflate.decompress(raw, INFLATED)
        except zlib.error as error:
            self._pending, used = _until_error(before, raw)
            self._compressed += used - len(raw)
            self._damaged(f"is damaged ({error})")
            return core.OK
        if self._inflate.eof:
            self._end_member()
        return core.OK

    def _next_raw(self) -> bytes:
        raw = bytes(self._more())
        self._compressed += len(raw)
        return raw

    def _end_member(self) -> None:
        rest = self._inflate.unused_data.lstrip(b"\0")  # padding of tapes and block devices
        while len(rest) < 2 and (more := self._next_raw()):  # a pipe may give a byte at a time
            rest = (rest + more).lstrip(b"\0")
        if rest.startswith(b"\x1f\x8b"):
            self._new_member()
            self._raw = rest
            return
        self._ended = True
        if rest:
            text = f"what follows the end of the compressed data is ignored (it starts with {rest[:2].hex(' ')})"
            self.notices.append(Notice("warning", "trailing_data", text, capture=self.name))

    def _damaged(self, how: str) -> None:
        self._ended = True
        text = f"gzip data {how} at compressed offset {self._compressed}; what came before it was analysed"
        self.notices.append(Notice("error", "compression", text, capture=self.name, offset=self._compressed))

    def close(self) -> None:
        """Close what was opened here; nothing more is read."""
        self.closed = True
        if self._own and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._own = False


def _end(scan: core.Core) -> int:
    """No more bytes: END once the core has used up what it holds (tables may have to be taken first)."""
    code, _ = scan.feed(b"")
    return int(code or core.END)


def _until_error(inflate: Any, raw: bytes) -> tuple[bytes, int]:
    """What comes out of damaged data before its damage, which zlib drops, and the number of bytes that it came from."""
    import zlib

    out = []
    for at in range(len(raw)):
        try:
            out.append(inflate.decompress(raw[at : at + 1]))
        except zlib.error:
            return b"".join(out), at
    return b"".join(out), len(raw)


def _binary(data: Any) -> bytes | memoryview:
    """What a file object's `read` gave, or why that cannot be used."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data if isinstance(data, bytes) else memoryview(data).cast("B")
    if data is None:
        raise BlockingIOError(11, "the file object has no bytes for now; give one that waits for them")
    raise TypeError(f"the file object reads {type(data).__name__}; one opened in binary mode is needed")
