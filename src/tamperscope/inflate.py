"""
Compressed captures, piece by piece: gzip, zstd, xz, lz4, told by their magic.

``pieces`` is a generator of decompressed bytes, about a MiB each at most, so that a bomb streams.  What is wrong with
the data ends it with `Damaged`, after everything that could be had before the damage.  `Ahead` runs a generator in a
thread of its own, a few pieces ahead of the reader: decompression and the core both let go of the interpreter's lock.
"""

from __future__ import annotations

from tamperscope.errors import CaptureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

PIECE = 1 << 20  # most bytes of a piece, but for zstd's and lz4's blocks
SLICE = 4096  # fed at once to a decompressor that drops its output when it meets an error
AHEAD = 4  # pieces that wait for the reader at most
XZ_MEMORY = 192 << 20  # a stream whose dictionary needs more is refused; xz -9 needs 65 MiB
ZSTD_WINDOW = 1 << 27  # the zstd program's own limit
PADDING = b"\0"  # of tapes and block devices, and between xz streams

GZIP, ZSTD, XZ, LZ4 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18"
SKIPPABLE = b"\x2a\x4d\x18"  # behind 0x50 to 0x5f: frames of zstd that hold no data; pzstd begins with one


def compression(start: bytes) -> str:
    """The usual ending of a file that starts so; "" where it is not compressed."""
    if start.startswith(GZIP):
        return ".gz"
    if start.startswith(ZSTD) or (start[:1] and start[0] >> 4 == 5 and start[1:4] == SKIPPABLE):
        return ".zst"
    if start.startswith(XZ[:4]):
        return ".xz"
    return ".lz4" if start.startswith(LZ4) else ""


class Damaged(Exception):
    """The data cannot be decompressed further; ``offset`` of the compressed bytes."""

    def __init__(self, how: str, offset: int) -> None:
        super().__init__(how)
        self.how = how
        self.offset = offset


class Raw:
    """Compressed bytes as they come, and how many of them were used."""

    def __init__(self, more: Callable[[], bytes | memoryview]) -> None:
        self._more = more
        self.held = b""
        self.used = 0

    def fill(self, count: int = 1) -> bool:
        """Hold at least so many bytes; False where the input ends before."""
        while len(self.held) < count:
            more = bytes(self._more())
            if not more:
                return False
            self.held = self.held + more if self.held else more
        return True

    def take(self, count: int) -> bytes:
        """At most so many of the bytes that are held."""
        part, self.held = self.held[:count], self.held[count:]
        self.used += len(part)
        return part

    def give_back(self, rest: bytes) -> None:
        """Bytes that were taken but belong to what follows."""
        self.held = rest + self.held
        self.used -= len(rest)

    def skip_padding(self) -> None:
        while self.fill() and self.held[:1] == PADDING:
            self.take(len(self.held) - len(self.held.lstrip(PADDING)))


def pieces(kind: str, more: Callable[[], bytes | memoryview], path: str, trailing: list[bytes]) -> Iterator[bytes]:
    """
    Decompressed bytes.

    Args:
        kind: as `compression` says.
        more: gives the next compressed bytes, b"" at the end.
        path: for errors.
        trailing: gets the first bytes of what follows the end and is no further member.
    Raises:
        CaptureError where the library is missing, before anything is read; Damaged.
    """
    member, magic = MEMBERS[kind](path)
    raw = Raw(more)
    return _joined(_members(raw, member, magic, trailing))


def _joined(small: Iterator[bytes]) -> Iterator[bytes]:
    """The same in pieces that are worth handing on."""
    held: list[bytes] = []
    size = 0
    try:
        for part in small:
            held.append(part)
            size += len(part)
            if size >= PIECE // 2:
                yield b"".join(held)
                held, size = [], 0
    except Exception:
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)


def _members(
    raw: Raw, member: Callable[[Raw], Iterator[bytes]], magic: Callable[[bytes], bool], trailing: list[bytes]
) -> Iterator[bytes]:
    while True:
        yield from member(raw)
        raw.skip_padding()
        raw.fill(4)
        if not magic(raw.held):
            if raw.held:
                trailing.append(raw.held[:2])
            return


# ---------------------------------------------------------------- gzip


def _gzip(_path: str) -> tuple[Callable[[Raw], Iterator[bytes]], Callable[[bytes], bool]]:
    return _gzip_member, lambda start: start.startswith(GZIP)


def _gzip_member(raw: Raw) -> Iterator[bytes]:
    import zlib

    inflate = zlib.decompressobj(31)
    while not inflate.eof:
        data = inflate.unconsumed_tail
        if not data:
            if not raw.fill():
                raise Damaged("ends early", raw.used)
            data = raw.take(len(raw.held))
        before = inflate.copy()
        try:
            piece = inflate.decompress(data, PIECE)
        except zlib.error as error:
            piece, good = _until_error(before, data)
            if piece:
                yield piece
            raise Damaged(f"is damaged ({error})", raw.used - len(data) + good) from None
        if piece:
            yield piece
    raw.give_back(inflate.unused_data)


def _until_error(inflate: Any, data: bytes) -> tuple[bytes, int]:
    """What comes out of damaged data before its damage, which zlib drops, and the number of bytes that it came from."""
    import zlib

    out = []
    for at in range(len(data)):
        try:
            out.append(inflate.decompress(data[at : at + 1]))
        except zlib.error:
            return b"".join(out), at
    return b"".join(out), len(data)


# ---------------------------------------------------------------- xz, lz4


def _xz(_path: str) -> tuple[Callable[[Raw], Iterator[bytes]], Callable[[bytes], bool]]:
    import lzma

    def new() -> Any:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    return lambda raw: _sliced(raw, new, lzma.LZMAError), lambda start: start.startswith(XZ[:4])


def _lz4(path: str) -> tuple[Callable[[Raw], Iterator[bytes]], Callable[[bytes], bool]]:
    try:
        from lz4 import frame
    except ImportError:
        raise _missing("lz4", path) from None
    return lambda raw: _sliced(raw, frame.LZ4FrameDecompressor, RuntimeError), lambda start: start.startswith(LZ4)


def _sliced(raw: Raw, new: Callable[[], Any], error: type[Exception]) -> Iterator[bytes]:
    """One stream of a decompressor that bounds its output itself."""
    decompressor = new()
    while not decompressor.eof:
        data = b""
        if decompressor.needs_input:
            if not raw.fill():
                raise Damaged("ends early", raw.used)
            data = raw.take(SLICE)
        try:
            piece = decompressor.decompress(data, PIECE)
        except error as what:
            raise Damaged(f"is damaged ({what})", raw.used - len(data)) from None
        if piece:
            yield piece
    raw.give_back(decompressor.unused_data or b"")


# ---------------------------------------------------------------- zstd


def _zstd(path: str) -> tuple[Callable[[Raw], Iterator[bytes]], Callable[[bytes], bool]]:
    try:
        import zstandard
    except ImportError:
        raise _missing("zstd", path) from None
    context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    return lambda raw: _zstd_frame(raw, context, zstandard.ZstdError), lambda start: compression(start) == ".zst"


def _zstd_frame(raw: Raw, context: Any, error: type[Exception]) -> Iterator[bytes]:
    """One frame (RFC 8878), fed block by block: each gives 128 KiB at most, and the library bounds nothing else."""
    if not raw.fill(8):
        raise Damaged("ends early", raw.used + len(raw.held))
    if raw.held[1:4] == SKIPPABLE:
        yield from _skip(raw, 8 + int.from_bytes(raw.held[4:8], "little"))
        return
    decompressor = context.decompressobj()
    for data in _zstd_parts(raw):
        try:
            piece = decompressor.decompress(data)
        except error as what:
            raise Damaged(f"is damaged ({what})", raw.used - len(data)) from None
        if piece:
            yield piece
    if not decompressor.eof:
        raise Damaged("is damaged (its last block does not end its frame)", raw.used)


def _zstd_parts(raw: Raw) -> Iterator[bytes]:
    """The header of a frame, then each of its blocks, the last one with the checksum."""
    flags = raw.held[4]
    single, checksum = flags >> 5 & 1, 4 * (flags >> 2 & 1)
    size_of_size = (1 if single else 0, 2, 4, 8)[flags >> 6]
    yield _whole(raw, 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + size_of_size)
    last = 0
    while not last:
        if not raw.fill(3):
            raise Damaged("ends early", raw.used + len(raw.held))
        block = int.from_bytes(raw.held[:3], "little")
        last, kind = block & 1, block >> 1 & 3
        yield _whole(raw, 3 + (1 if kind == 1 else block >> 3) + (checksum if last else 0))


def _whole(raw: Raw, count: int) -> bytes:
    if not raw.fill(count):
        raise Damaged("ends early", raw.used + len(raw.held))
    return raw.take(count)


def _skip(raw: Raw, count: int) -> Iterator[bytes]:
    """Step over bytes without holding them."""
    while count:
        if not raw.fill():
            raise Damaged("ends early", raw.used)
        count -= len(raw.take(count))
    yield from ()


MEMBERS = {".gz": _gzip, ".zst": _zstd, ".xz": _xz, ".lz4": _lz4}


def _missing(extra: str, path: str) -> CaptureError:
    """A decompressor that is not part of Python is not there."""
    text = f"{extra} data: the library for it is not installed; install tamperscope[{extra}], or decompress it first"
    return CaptureError(text, code="missing_library", path=path)


# ---------------------------------------------------------------- ahead of the reader


class Ahead:
    """
    The pieces of a generator, made in a thread of its own.

    An exception of the generator comes out of ``next`` in its turn.  ``stop`` ends the thread; True where it did end
    (one that waits for a pipe cannot be ended, and still holds it).
    """

    def __init__(self, made: Iterator[bytes]) -> None:
        import queue
        import threading

        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(AHEAD)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, args=(made,), name="tamperscope-inflate", daemon=True)
        self._thread.start()

    def _run(self, made: Iterator[bytes]) -> None:
        last: bytes | BaseException = b""
        try:
            for piece in made:
                self._queue.put(piece)
                if self._stopped:
                    return
        except BaseException as error:  # the reader's to handle, whatever it is
            last = error
        self._queue.put(last)

    def next(self) -> bytes:
        """The next piece, b"" at the end."""
        piece = self._queue.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def stop(self) -> bool:
        self._stopped = True
        for _ in range(20):
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)
            if not self._thread.is_alive():
                return True
        return False
