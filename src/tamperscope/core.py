"""
The only module that sees the C core (``tamperscope._core``): codes, tables, batches.

What the tables hold, with units, stands in ``csrc/tamperscope.h``; dtypes are derived from it, constants are taken from
it.  numpy is imported when a table is asked for, and not before: many captures need none.
"""

from __future__ import annotations

import os

from tamperscope._core import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np

OK, FULL, END = int(lib.TSCOPE_OK), int(lib.TSCOPE_FULL), int(lib.TSCOPE_END)
PACKETS, FLOWS, CANDIDATES = int(lib.TSCOPE_PACKETS), int(lib.TSCOPE_FLOWS), int(lib.TSCOPE_CANDIDATES)
FRAMES, TRIES = int(lib.TSCOPE_FRAMES), int(lib.TSCOPE_TRIES)
CONTAINERS = (None, "pcap", "pcapng")
READ_AT_ONCE = 64 << 20  # bytes between two looks at signals


class Core:
    """
    One scan of the C core.

    Args:
        emit: PACKETS, FLOWS, CANDIDATES, TRIES, or-ed.
        flow_marks, transaction_marks: what makes a flow or a DNS transaction a candidate.
        options: further fields of ``struct tscope_options``; 0 is a default.
        key: 16 bytes that decide the places in hash tables, and nothing else; random where None.
    Raises:
        MemoryError; ValueError for an option out of range.
    """

    def __init__(
        self, emit: int, *, flow_marks: int = 0, transaction_marks: int = 0, key: bytes | None = None, **options: int
    ) -> None:
        wanted = ffi.new(
            "struct tscope_options *",
            {"emit": emit, "flow_marks": flow_marks, "transaction_marks": transaction_marks, **options},
        )
        if key is not None and len(key) != 16:
            raise ValueError("the key of the hash has 16 bytes")
        wanted.key = os.urandom(16) if key is None else key
        handle = ffi.new("struct tscope_scan **")
        check(lib.tscope_new(wanted, handle))
        self._scan = ffi.gc(handle[0], lib.tscope_free)
        self._used = ffi.new("size_t *")

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[int, int]:
        """Process bytes: (code, bytes taken).  Fewer than given with FULL (take tables, feed the rest) and END."""
        view = ffi.from_buffer(data)
        code = lib.tscope_feed(self._scan, ffi.cast("uint8_t *", view), len(view), self._used)
        return int(code), int(self._used[0])

    def read(self, descriptor: int, most: int = READ_AT_ONCE) -> int:
        """Read a descriptor until it ends, tables wait (FULL) or about `most` bytes are done (OK)."""
        return int(lib.tscope_read(self._scan, descriptor, most))

    def end(self) -> int:
        """The input ended: all flows become final, candidates are ready."""
        return int(lib.tscope_end(self._scan))

    def take(self, kind: int) -> Batch | None:
        """A batch of one kind of table; None where nothing waits.  Raises MemoryError, OSError."""
        batch = ffi.new("struct tscope_batch **")
        check(lib.tscope_take(self._scan, kind, batch))
        return Batch(batch[0]) if batch[0] else None

    def summary(self) -> Any:
        """``struct tscope_summary`` of what was read so far."""
        summary = ffi.new("struct tscope_summary *")
        lib.tscope_summarize(self._scan, summary)
        return summary

    def notices(self, start: int = 0) -> list[Any]:
        """``struct tscope_notice`` from number `start` on; at most 64 are kept of a scan."""
        out: list[Any] = []
        while True:
            notice = ffi.new("struct tscope_notice *")
            if lib.tscope_notice(self._scan, start + len(out), notice) != OK:
                return out
            out.append(notice)

    def interfaces(self) -> list[tuple[int, int, int]]:
        """(link type, snap length, ticks per second) of each, in the order in which the capture describes them."""
        link_type, snap_length, ticks = ffi.new("uint32_t *"), ffi.new("uint32_t *"), ffi.new("uint64_t *")
        out: list[tuple[int, int, int]] = []
        while lib.tscope_interface(self._scan, len(out), link_type, snap_length, ticks) == OK:
            out.append((int(link_type[0]), int(snap_length[0]), int(ticks[0])))
        return out

    def link_types(self) -> list[int]:
        """Link type of each interface, in the order in which the capture describes them."""
        return [link_type for link_type, _, _ in self.interfaces()]

    def close(self) -> None:
        """Free everything; batches that were taken stay.  Any call after it raises ValueError."""
        if "_scan" in self.__dict__:
            ffi.release(self._scan)
            del self._scan

    def __getattr__(self, name: str) -> Any:
        if name == "_scan":  # a pointer into freed memory must not reach C
            raise ValueError("the scan is closed")
        raise AttributeError(name)


class Batch:
    """Tables that left a scan together.  It owns their memory; arrays over it keep it alive."""

    def __init__(self, handle: Any) -> None:
        self.handle = ffi.gc(handle, lib.tscope_batch_free)

    def table(self, field: str, struct: str, count: str) -> np.ndarray[Any, Any]:
        """A table as a structured array without a copy, shape (n,), read-only; dtype as in the header."""
        pointer, n = getattr(self.handle, field), int(getattr(self.handle, count))
        return array_over(self, pointer, n * ffi.sizeof(f"struct {struct}")).view(dtype(struct))

    @property
    def frames(self) -> memoryview:
        """Captured bytes of the frames of a packets batch that has them, one after another; good while the batch is."""
        return (
            memoryview(ffi.buffer(self.handle.frames, self.handle.n_frames))
            if self.handle.n_frames
            else memoryview(b"")
        )

    def failed(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """(client, server, name) of each row of ``tries`` that failed, without numpy: of most batches there are few."""
        handle = self.handle
        for i in range(int(handle.n_failed)):
            row = handle.tries[handle.failed[i]]
            name = handle.text + row.name_offset
            length = int(row.name_length)
            yield bytes(row.client), bytes(row.server), bytes(ffi.buffer(name, length)) if length else b""

    def learned(self) -> Iterator[tuple[bytes, bytes]]:
        """(address, name) of each row of ``learned``, without numpy."""
        handle = self.handle
        if not handle.n_learned:
            return
        text = self.text
        for i in range(int(handle.n_learned)):
            row = handle.learned[i]
            start = row.name_offset
            yield bytes(row.address), text[start : start + row.name_length]

    @property
    def text(self) -> bytes:
        """Names of this batch, one after another (a copy)."""
        return bytes(ffi.buffer(self.handle.text, self.handle.n_text)) if self.handle.n_text else b""


class _Memory:
    """Gives numpy the address; an array keeps its `_Memory` as base, and so the batch."""

    def __init__(self, owner: Batch, address: int, size: int) -> None:
        self.owner = owner
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1", "data": (address, True)}


def array_over(owner: Batch, pointer: Any, size: int) -> np.ndarray[Any, Any]:
    """uint8 array, shape (size,), over memory that `owner` keeps."""
    import numpy as np

    if size == 0:
        return np.zeros(0, np.uint8)
    return np.asarray(_Memory(owner, int(ffi.cast("uintptr_t", pointer)), size))


_DTYPES: dict[str, np.dtype[Any]] = {}
_NUMBERS = {
    "uint8_t": "u1", "uint16_t": "u2", "uint32_t": "u4", "uint64_t": "u8",
    "int8_t": "i1", "int16_t": "i2", "int32_t": "i4", "int64_t": "i8",
}  # fmt: skip


def dtype(struct: str) -> np.dtype[Any]:
    """The dtype of a row, from the header's own declaration: names, offsets and size."""
    import numpy as np

    if struct not in _DTYPES:
        fields = ffi.typeof(f"struct {struct}").fields
        _DTYPES[struct] = np.dtype(
            {
                "names": [name for name, _ in fields],
                "formats": [_format(field.type) for _, field in fields],
                "offsets": [field.offset for _, field in fields],
                "itemsize": ffi.sizeof(f"struct {struct}"),
            }
        )
    return _DTYPES[struct]


def _format(ctype: Any) -> Any:
    shape = []
    while ctype.kind == "array":
        shape.append(ctype.length)
        ctype = ctype.item
    if ctype.cname == "char":
        return f"S{shape[0]}"
    return (_NUMBERS[ctype.cname], tuple(shape)) if shape else _NUMBERS[ctype.cname]


def check(code: int) -> None:
    """Raise what a failed call of the core stands for."""
    if code >= 0:
        return
    if code == lib.TSCOPE_E_MEMORY:
        raise MemoryError("the capture core ran out of memory")
    if code == lib.TSCOPE_E_OPTION:
        raise ValueError("an option of the scan is out of range")
    raise OSError(f"the capture core failed: {code_name(code)}")


def code_name(code: int) -> str:
    """The stable word for a code."""
    return str(ffi.string(lib.tscope_code_name(code)).decode())


def enum_words(enum: str) -> dict[int, str]:
    """Value to word of one enumeration of the header: of ``tscope_outcome``, TSCOPE_OUT_RESET is "reset"."""
    # By enumeration and not by prefix: marks of flows and of transactions have the same prefix, and the same bits.
    return {value: name.split("_", 2)[-1].lower() for name, value in ffi.typeof(f"enum {enum}").relements.items()}


def constant(name: str) -> int:
    """A constant of the header by its name without TSCOPE_."""
    return int(getattr(lib, "TSCOPE_" + name))


def selftest() -> str | None:
    """Run the core's own tables of known answers: None, or the name of the unit that failed."""
    failed = lib.tscope_selftest()
    return str(ffi.string(failed).decode()) if failed else None
