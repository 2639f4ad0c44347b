"""
A capture as tables: ``open_capture`` gives batches of packets and the table of flows, as numpy columns without copies.

    with ts.open_capture("evening.pcap") as capture:
        for batch in capture:
            resets = batch.packets.flags & ts.RST != 0
            print(batch.packets.frame[resets])
        print(len(capture.flows), capture.flows.packets.sum())

Fields, dtypes and units of the tables are those of ``struct tscope_packet`` and ``struct tscope_flow`` in
``csrc/tamperscope.h``: times in nanoseconds since the epoch (int64; -1 unknown), frames from 1, addresses as 16 bytes
with IPv4 mapped, index 0 of a pair the client, 1 the server.
"""

from __future__ import annotations

from tamperscope import core, notices
from tamperscope.flows import address
from tamperscope.frame import Frame
from tamperscope.model import Notice
from tamperscope.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    import numpy as np


class Table:
    """
    Rows of one kind; ``table.field`` is a column: a view, shape (n,) or (n, k), read-only.

    ``array`` is the structured array behind it, shape (n,).
    """

    __slots__ = ("array", "_text")

    def __init__(self, array: np.ndarray[Any, Any], text: bytes = b"") -> None:
        self.array = array
        self._text = text

    def __len__(self) -> int:
        return len(self.array)

    def __getattr__(self, field: str) -> np.ndarray[Any, Any]:
        if field in ("array", "_text") or field.startswith("__"):  # not there yet: a copy under way asks
            raise AttributeError(field)
        try:
            return self.array[field]
        except ValueError:
            raise AttributeError(f"no column {field!r}; there are {', '.join(self.array.dtype.names or ())}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(self.array.dtype.names or ())]

    def name(self, index: int) -> bytes | None:
        """Server name, host or question of a flow, as it was in the packets but in lower case; None without one."""
        start, length = int(self.array["name_offset"][index]), int(self.array["name_length"][index])
        return self._text[start : start + length] if length else None

    def address(self, field: str, index: int) -> str:
        """An address column's value as text."""
        return address(self.array[field][index].tobytes())

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.array.dtype.names or ())})"


class Batch:
    """Some thousand packets in file order: ``packets`` is their table."""

    __slots__ = ("_memory", "_starts", "packets")

    def __init__(self, packets: Table, memory: core.Batch | None = None) -> None:
        self.packets = packets
        self._memory = memory
        self._starts: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.packets)

    def frame(self, index: int) -> Frame:
        """
        The frame of a row, with a copy of its bytes.

        Raises ValueError where the capture was opened without ``frames=True``, IndexError.
        """
        import numpy as np

        if self._memory is None:
            raise ValueError("opened without frames=True")
        if self._starts is None:
            self._starts = np.cumsum(self.packets.captured_length, dtype=np.int64) - self.packets.captured_length
        row = self.packets.array[index]
        start, time_ns = int(self._starts[index]), int(row["time_ns"])
        return Frame(
            int(row["frame"]),
            time_ns if time_ns >= 0 else None,
            bytes(self._memory.frames[start : start + int(row["captured_length"])]),
            int(row["wire_length"]),
            int(row["link_type"]),
            int(row["interface"]),
            int(row["flow"]) or None,
        )


class Capture:
    """
    An open capture; see `open_capture`.  Iterating gives `Batch` after `Batch`, once.

    ``notices``: what was wrong with the input so far.
    """

    def __init__(
        self, source: Any, *, batch_packets: int, max_flows: int, limit: int | None, keep_flows: bool, frames: bool
    ) -> None:
        self._source = Source(source)
        self._settings: dict[str, Any] = {
            "batch_packets": batch_packets,
            "max_flows": max_flows,
            "max_frames": limit or 0,
        }
        self._keep_flows = keep_flows
        self._frames = frames
        self._core: core.Core | None = None
        self._batches: list[core.Batch] = []
        self._ended = False
        self._flows: Table | None = None

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        yield from self._run(core.PACKETS | (core.FRAMES if self._frames else 0))

    def _run(self, packets: int) -> Iterator[Batch]:
        if self._core is not None:
            raise ValueError("a capture is read once; open it again")
        scan = self._core = core.Core(packets | (core.FLOWS if self._keep_flows else 0), **self._settings)
        code = core.OK
        while code in (core.OK, core.FULL):
            code = self._source.step(scan)
            yield from self._packets(scan, code == core.FULL)
        if self._source.closed:
            return
        scan.end()
        notices.refuse(scan, self._source.name, self._source.notices)
        yield from self._packets(scan, True)
        self._ended = True

    def _packets(self, scan: core.Core, take: bool) -> Iterator[Batch]:
        while take and (batch := scan.take(core.PACKETS)):
            rows = Table(batch.table("packets", "tscope_packet", "n_packets"))
            yield Batch(rows, batch if self._frames else None)
        while batch := scan.take(core.FLOWS):
            self._batches.append(batch)

    @property
    def flows(self) -> Table:
        """
        All flows, in the order in which they became final: rows of ``struct tscope_flow``, shape (n,).

        Reads the capture to its end first where that has not been done.  Raises ValueError where it was opened with
        keep_flows=False, or is only half iterated.
        """
        if not self._keep_flows:
            raise ValueError("opened with keep_flows=False")
        if self._core is None:
            for _ in self._run(0):
                pass
        if not self._ended:
            raise ValueError("iterate to the end first, or ask for flows without iterating")
        if self._flows is None:
            self._flows = _joined(self._batches)
            self._batches = []
        return self._flows

    @property
    def notices(self) -> list[Notice]:
        """What was wrong with the input so far."""
        found = self._core.notices() if self._core else []
        return [*self._source.notices, *(notices.notice(raw, self._source.name) for raw in found)]

    @property
    def format(self) -> str | None:
        """ "pcap" or "pcapng", as far as the file was read; None before that."""
        return core.CONTAINERS[self._core.summary().container] if self._core else None

    @property
    def link_types(self) -> list[int]:
        """LINKTYPE_ number of each interface that was described so far; pcapng numbers them on over its sections."""
        return self._core.link_types() if self._core else []

    @property
    def interfaces(self) -> list[tuple[int, int, int]]:
        """(LINKTYPE_ number, snap length, clock ticks per second) of each, as far as they were described."""
        return self._core.interfaces() if self._core else []

    def close(self) -> None:
        """Close what was opened here.  Batches and tables stay valid: they own their rows."""
        self._source.close()


def _joined(batches: list[core.Batch]) -> Table:
    """One table; where there is a single batch, over its memory without a copy."""
    import numpy as np

    parts = [batch.table("flows", "tscope_flow", "n_flows") for batch in batches]
    if len(parts) == 1:
        return Table(parts[0], batches[0].text)
    rows = np.concatenate(parts) if parts else np.zeros(0, core.dtype("tscope_flow"))
    text, start, at = [], 0, 0
    for batch, part in zip(batches, parts, strict=True):
        rows["name_offset"][at : at + len(part)] += np.uint32(start)
        text.append(batch.text)
        start += len(text[-1])
        at += len(part)
    return Table(rows, b"".join(text))


def open_capture(
    source: Any,
    *,
    batch_packets: int = 16384,
    max_flows: int = 1 << 20,
    limit: int | None = None,
    keep_flows: bool = True,
    frames: bool = False,
) -> Capture:
    """
    Open a capture for reading as tables.

    Args:
        source: path, "-", bytes of a capture, or a binary file object, of pcap or pcapng, plain or compressed; or an
            iterable of (seconds, bytes) or of scapy packets; see `tamperscope.source.Source`.
        batch_packets: most rows of a batch.  16,384 to 65,536 are fastest: their columns stay in the cache.
        max_flows: live flows held at once.
        limit: stop after so many frames.
        keep_flows: collect finished flows for `Capture.flows`; costs some 350 bytes a flow.
        frames: batches hold the captured bytes, too: `Batch.frame`.
    Raises:
        OSError here; CaptureError while reading, where nothing of it can be read.
    """
    if batch_packets < 1 or max_flows < 1 or (limit is not None and limit < 1):
        raise ValueError("batch_packets, max_flows and limit must be at least 1")
    return Capture(
        source, batch_packets=batch_packets, max_flows=max_flows, limit=limit, keep_flows=keep_flows, frames=frames
    )


def frames(source: Any, numbers: Iterable[int] | None = None) -> Iterator[Frame]:
    """
    Frames of a capture with their bytes, in file order, in one pass and bounded memory.

    Args:
        source: as for `open_capture`.
        numbers: those wanted, from 1, in any order; reading ends behind the last of them.  Default: all.
    Raises:
        ValueError for a number below 1; else as `open_capture`, when iteration starts.
    """
    wanted = None if numbers is None else sorted(set(numbers))
    if wanted is not None and wanted and wanted[0] < 1:
        raise ValueError(f"frames count from 1, got {wanted[0]}")
    return _frames(source, wanted)


def _frames(source: Any, wanted: list[int] | None) -> Iterator[Frame]:
    import numpy as np

    if wanted is not None and not wanted:
        return
    with open_capture(source, keep_flows=False, frames=True, limit=wanted[-1] if wanted else None) as capture:
        for batch in capture:
            rows = (
                range(len(batch)) if wanted is None else np.flatnonzero(np.isin(batch.packets.frame, wanted)).tolist()
            )
            for index in rows:
                yield batch.frame(index)
