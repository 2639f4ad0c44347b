"""Containers in all their variants, and compressed in each way, whole and damaged: the same packets."""

from __future__ import annotations

import builtins
import gzip
import lzma
import random
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import lz4.frame
import pytest
import zstandard

import build
from tamperscope import core, inflate
from tamperscope.capture import open_capture
from tamperscope.errors import CaptureError
from tamperscope.scan import scan

FRAMES = [build.udp("192.0.2.1", 4000 + i, "198.51.100.7", 53, bytes(i)) for i in range(5)]
NO_TIME = core.constant("AN_NO_TIME")


def classic(order: str = "<", magic: int = 0xA1B2C3D4, minor: int = 4, more: bytes = b"", turn: bool = False) -> bytes:
    """The frames, 1 s and 7 units apart; ``more`` stands at the end of each record header."""
    out = [struct.pack(order + "IHHiIII", magic, 2, minor, 0, 0, 65_535, 1)]
    for i, frame in enumerate(FRAMES):
        lengths = (len(frame), len(frame) + 9)
        out.append(struct.pack(order + "IIII", i, 7, *(lengths[::-1] if turn else lengths)) + more + frame)
    return b"".join(out)


def ports(data: bytes) -> list[int]:
    with open_capture(data) as capture:
        return [int(port) for batch in capture for port in batch.packets.source_port]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "unit", "more"),
    [(0xA1B2C3D4, 1000, b""), (0xA1B23C4D, 1, b""), (0xA1B2CD34, 1000, bytes(8))],
    ids=["micro", "nano", "Kuznetzov"],
)
def test_pcap(order: str, magic: int, unit: int, more: bytes) -> None:
    """Every magic in both byte orders."""
    with open_capture(classic(order, magic, more=more)) as capture:
        packets = next(iter(capture)).packets
    assert list(packets.source_port) == [4000, 4001, 4002, 4003, 4004]
    assert list(packets.time_ns) == [i * 10**9 + 7 * unit for i in range(5)]
    assert list(packets.wire_length - packets.captured_length) == [9] * 5


@pytest.mark.parametrize(("minor", "turn"), [(0, True), (2, True), (3, True), (3, False), (4, False)])
def test_old_pcap_has_its_lengths_turned(minor: int, turn: bool) -> None:
    """Up to 2.2 always, in 2.3 where the first one is the larger."""
    assert ports(classic(minor=minor, turn=turn)) == [4000, 4001, 4002, 4003, 4004]


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order: str = "<", options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", 1, 0, 0) + options, order)


def enhanced(frame: bytes, ticks: int, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def times(data: bytes) -> list[int]:
    with open_capture(data) as capture:
        return [int(time) for batch in capture for time in batch.packets.time_ns]


def test_sections_of_both_orders() -> None:
    """Interfaces are numbered anew in each section of the file, and on over all of it in the rows."""
    data = b"".join(
        section(order) + interface(order) + enhanced(FRAMES[i], i + 1, order=order) for i, order in enumerate("<><")
    )
    with open_capture(data) as capture:
        packets = next(iter(capture)).packets
        assert capture.format == "pcapng" and capture.link_types == [1, 1, 1]
    assert list(packets.interface) == [0, 1, 2] and list(packets.source_port) == [4000, 4001, 4002]
    assert list(packets.time_ns) == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("resolution", "ticks", "ns"),
    [(6, 5, 5000), (9, 5, 5), (3, 5, 5_000_000), (0, 5, 5 * 10**9), (12, 5000, 5), (0x8A, 512, 500_000_000),
     (0x80, 5, 5 * 10**9)],
)  # fmt: skip
def test_resolution_and_offset(resolution: int, ticks: int, ns: int) -> None:
    """if_tsresol in both bases, if_tsoffset in seconds, either way."""
    for offset in (0, 1_700_000_000, -3):
        options = option(9, bytes([resolution])) + option(14, struct.pack("<q", offset)) + option(0, b"")
        data = section() + interface(options=options) + enhanced(FRAMES[0], ticks)
        assert times(data) == [ns + offset * 10**9]


@pytest.mark.parametrize("resolution", [0, 6, 9, 0x80])
@pytest.mark.parametrize("offset", [0, 9_223_372_036, -9_223_372_036])
def test_times_past_what_can_be_held(resolution: int, offset: int) -> None:
    """The largest count of ticks, shifted either way: a time that can still be compared and added to."""
    options = option(9, bytes([resolution])) + option(14, struct.pack("<q", offset)) + option(0, b"")
    data = section() + interface(options=options) + enhanced(FRAMES[0], 0) + enhanced(FRAMES[1], 2**64 - 2)
    assert all(-(2**62) <= time < 2**62 for time in times(data))


def test_packets_of_every_kind_of_block() -> None:
    """The obsolete packet block counts its interface in 16 bits; a simple one has no time."""
    obsolete = struct.pack("<HHIIII", 0, 3, 0, 5, len(FRAMES[0]), 99) + FRAMES[0]
    simple = struct.pack("<I", len(FRAMES[1])) + FRAMES[1]
    data = section() + interface() + block(2, obsolete) + block(3, simple) + enhanced(FRAMES[2], 9)
    with open_capture(data) as capture:
        packets = next(iter(capture)).packets
        assert capture.notices == []
    assert list(packets.time_ns) == [5000, -1, 9000] and list(packets.source_port) == [4000, 4001, 4002]
    assert [bool(int(a) & NO_TIME) for a in packets.anomalies] == [False, True, False]
    summary = scan(data).summary
    assert summary.frames == 0 or summary.first_ns != -1


@pytest.mark.parametrize("kind", [4, 5, 7, 9, 10, 0xBAD, 0x40000BAD, 0x80000001], ids=hex)
def test_other_blocks_are_stepped_over(kind: int) -> None:
    """Names, statistics, journals, secrets, custom and unknown ones, of any length."""
    for size in (0, 4, 70_000):
        data = section() + interface() + block(kind, bytes(size)) + enhanced(FRAMES[0], 1)
        assert times(data) == [1000]


def test_block_that_leaves_out_its_padding() -> None:
    """A length that is no multiple of four, as old writers have it: the block is padded all the same."""
    body = struct.pack("<IIIII", 0, 0, 1, 43, 43) + FRAMES[1]
    size = struct.pack("<I", 12 + len(body))
    data = section() + interface() + b"\6\0\0\0" + size + body + b"\0" + size + enhanced(FRAMES[2], 2)
    assert len(FRAMES[1]) == 43 and times(data) == [1000, 2000]


# ------------------------------------------------------------ compressed

NOISE = random.Random(5)
DATA = build.pcap(
    [(i * 0.01, build.udp("192.0.2.1", 4000, "198.51.100.7", 5000, NOISE.randbytes(1400))) for i in range(4000)]
)
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".zst": lambda data: zstandard.ZstdCompressor(1, write_checksum=True).compress(data),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".lz4": lambda data: lz4.frame.compress(data, content_checksum=True),
}
KINDS = sorted(PACK)


def read(data: Any) -> Any:
    taken = scan(data)
    for _ in taken:
        pass
    return taken


class Trickle:
    """A file object that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size, self.at = data, size, 0

    def read(self, count: int) -> bytes:
        part = self.data[self.at : self.at + min(count, self.size)]
        self.at += len(part)
        return part


@pytest.mark.parametrize("kind", KINDS)
def test_compressed(kind: str) -> None:
    """Whole, in members that follow one another with padding between, and trickling in."""
    packed = PACK[kind]
    small = classic()
    for data in (packed(DATA), packed(DATA[:100_001]) + packed(DATA[100_001:]), Trickle(packed(DATA), 99_991)):
        taken = read(data)
        assert taken.summary.frames == 4000 and taken.notices == [] and taken.summary.format == "pcap" + kind
    taken = read(Trickle(packed(small[:40]) + bytes(8) + packed(small[40:]), 1))
    assert taken.summary.frames == 5 and taken.notices == []


@pytest.mark.parametrize("kind", KINDS)
def test_cut_stream(kind: str) -> None:
    """All that came before the cut is analysed, and one error has the compressed offset."""
    packed = PACK[kind](DATA)
    for keep in (len(packed) // 2, len(packed) - 5):
        taken = read(packed[:keep])
        error = taken.notices[0]
        assert error.code == "compression" and f"ends early at compressed offset {keep}" in error.text
        assert error.offset == keep and taken.summary.frames > 4000 * keep // len(packed) - 800


@pytest.mark.parametrize("kind", [".lz4", ".xz", ".zst"])
def test_damaged_stream(kind: str) -> None:
    """Bytes spoiled in the middle: what came before, and an error near them or at the check that finds them."""
    packed = bytearray(PACK[kind](DATA))
    middle = len(packed) // 2
    packed[middle : middle + 64] = bytes(64)
    taken = read(bytes(packed))
    codes = [notice.code for notice in taken.notices]
    assert "compression" in codes and taken.summary.frames > 0
    (error,) = [notice for notice in taken.notices if notice.code == "compression"]
    assert error.offset is not None and middle - (5 << 20) < error.offset <= len(packed)


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_is_told(kind: str) -> None:
    taken = read(PACK[kind](DATA) + b"tail of another kind")
    assert [notice.code for notice in taken.notices] == ["trailing_data"] and taken.summary.frames == 4000


def test_zstd_frames_without_data() -> None:
    """Skippable frames, as pzstd writes them first, and anywhere."""
    skippable = b"\x50\x2a\x4d\x18" + (70_000).to_bytes(4, "little") + bytes(70_000)
    taken = read(skippable + PACK[".zst"](DATA) + skippable)
    assert taken.summary.frames == 4000 and taken.notices == []


def test_zstd_window_is_bounded() -> None:
    """A window of a GiB is refused by name, not allocated."""
    header = b"\x28\xb5\x2f\xfd" + b"\0" + bytes([(30 - 10) << 3]) + (8 << 3 | 1).to_bytes(3, "little") + bytes(8)
    with pytest.raises(CaptureError, match="zstd data is damaged"):
        read(header)


PEAK = """
import re, sys
from tamperscope.scan import scan
taken = scan(sys.argv[1])
list(taken)
print(taken.summary.frames, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_bomb_streams(kind: str, tmp_path: Any) -> None:
    """Four hundred megabytes of zeros in packets: bounded memory in each format."""
    records = build.pcap([(0, build.udp("192.0.2.1", 1, "198.51.100.7", 2, bytes(60_000)))] * 64)[24:]
    path = tmp_path / f"bomb.pcap{kind}"
    path.write_bytes(PACK[kind](build.pcap([]) + records * 100))
    run = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, check=True, text=True)
    frames, kilobytes = map(int, run.stdout.split())
    assert frames == 6400 and kilobytes < 120_000, kilobytes


@pytest.mark.parametrize(("kind", "library"), [(".zst", "zstandard"), (".lz4", "lz4")])
def test_missing_library_names_the_extra(kind: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == library:
            raise ImportError(name)
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    extra = {".zst": "zstd", ".lz4": "lz4"}[kind]
    with pytest.raises(CaptureError, match=re.escape(f"install tamperscope[{extra}]")) as refused:
        scan(PACK[kind](DATA))
    assert refused.value.code == "missing_library"


def test_error_of_a_file_object_comes_out() -> None:
    """Also where it happens in the thread that decompresses."""

    class Breaks(Trickle):
        def read(self, count: int) -> bytes:
            if self.at > len(self.data) - 100_000:
                raise OSError(5, "broken")
            return super().read(count)

    big = build.pcap([(0, build.udp("192.0.2.1", 1, "198.51.100.7", 2, NOISE.randbytes(1400)))] * 8000)
    with pytest.raises(OSError, match="broken"):
        read(Breaks(PACK[".gz"](big), 65_536))


def test_thread_ends_when_reading_stops() -> None:
    """A scan that is left early leaves no thread behind."""
    before = threading.active_count()
    big = PACK[".zst"](build.pcap([(0, FRAMES[0] + NOISE.randbytes(1400))] * 20_000))
    for _ in range(3):
        with open_capture(big, batch_packets=512) as capture:
            for number, _ in enumerate(capture):
                if number == 30:
                    break
        with scan(big, limit=15_000) as taken:
            list(taken)
    assert threading.active_count() == before


def test_compression_is_told_by_its_magic() -> None:
    assert [inflate.compression(PACK[kind](DATA)[:6]) for kind in KINDS] == KINDS
    assert inflate.compression(DATA[:6]) == inflate.compression(b"") == inflate.compression(b"PK\3\4") == ""
