"""Frames by number with their bytes, packets of other libraries out and in."""

from __future__ import annotations

import decimal
import gzip
import pathlib
import random
import struct
import subprocess
import sys
from typing import Any

import pytest

import build
import tamperscope as ts
from corpus import CORPUS, DEMO, PCAPS
from tamperscope import pcapng

FRAMES = build.merged(build.forged_reset(), build.web(port=40_001), build.lookup())
CAPTURE = build.pcap(FRAMES)


def key(frame: ts.Frame) -> tuple[Any, ...]:
    return frame.number, frame.time_ns, frame.data, frame.wire_length, frame.link_type, frame.interface


def written(frames: build.Frames, digits: int = 9, link_types: tuple[int, ...] = (1,)) -> bytes:
    """The frames as pcapng, on all interfaces in turn."""
    out = [pcapng.section("test"), *(pcapng.interface(one, 262_144, digits) for one in link_types)]
    for at, (seconds, data) in enumerate(frames):
        ticks = build.START * 10**digits + round(seconds * 10**digits)
        out.append(pcapng.packet(at % len(link_types), ticks, data, len(data) + 3))
    return b"".join(out)


def test_bytes_are_those_of_the_file() -> None:
    """Every frame of a file as a reader of its own sees it, cut ones too."""
    cut = build.pcap(FRAMES, snap=60)
    at = 24
    for number, frame in enumerate(ts.frames(cut), 1):
        seconds, part, captured, wire = struct.unpack_from("<IIII", cut, at)
        data = cut[at + 16 : at + 16 + captured]
        assert key(frame) == (number, seconds * 10**9 + part * 1000, data, wire, 1, 0)
        at += 16 + captured
    assert at == len(cut) and number == len(FRAMES)


def test_chosen_ones() -> None:
    """In file order whatever the order of asking; those that are not there are left out."""
    found = [frame.number for frame in ts.frames(CAPTURE, [7, 3, 3, 10**9])]
    assert found == [3, 7]
    assert list(ts.frames(CAPTURE, [])) == []
    with pytest.raises(ValueError, match="count from 1"):
        ts.frames(CAPTURE, [0])


def test_reading_ends_behind_the_last() -> None:
    """What follows the last frame wanted is not read: a pipe may stay open, damage is not met."""
    damaged = CAPTURE[: len(CAPTURE) // 2] + bytes(100)
    assert [frame.number for frame in ts.frames(damaged, [2])] == [2]


@pytest.mark.parametrize("folder", ["formats", "links", "malformed", "ip"])
def test_as_tshark_does(folder: str) -> None:
    """Odd containers too: one frame a record, with as many bytes as the record says (both tables agree on them)."""
    captures = sorted((CORPUS / "captures" / folder).glob("*"))
    if not captures:
        pytest.skip("no conformance captures (TAMPERSCOPE_CORPUS says where)")
    for path in captures:
        try:
            with ts.open_capture(path) as capture:
                lengths = [n for batch in capture for n in batch.packets.captured_length.tolist()]
        except ts.CaptureError:
            continue
        assert [len(frame.data) for frame in ts.frames(path)] == lengths, path.name


def test_batches_and_pieces_do_not_matter() -> None:
    """The same bytes whatever the size of batches, and from a compressed file."""
    expected = [key(frame) for frame in ts.frames(CAPTURE)]
    for size in (1, 2, 7):
        with ts.open_capture(gzip.compress(CAPTURE), frames=True, batch_packets=size) as capture:
            assert [key(batch.frame(i)) for batch in capture for i in range(len(batch))] == expected


def test_memory_is_bounded() -> None:
    """A batch holds some megabytes of frames and no more, however many rows it may have."""
    big = [(i / 1000, bytes(12) + b"\x88\xb5" + random.Random(i).randbytes(60_000)) for i in range(400)]
    sizes = []
    with ts.open_capture(build.pcap(big), frames=True, batch_packets=1 << 20) as capture:
        for batch in capture:
            sizes.append(sum(batch.packets.captured_length.tolist()))
            assert batch.frame(len(batch) - 1).data == big[int(batch.packets.frame[-1]) - 1][1]
    assert sum(sizes) == 400 * 60_014 and max(sizes) < (4 << 20) + 32 * 60_014


def test_frames_outlive_the_capture() -> None:
    with ts.open_capture(CAPTURE, frames=True) as capture:
        batches = list(capture)
    assert batches[0].frame(0).data == FRAMES[0][1]
    with ts.open_capture(CAPTURE) as capture:
        (plain,) = capture
    with pytest.raises(ValueError, match="frames=True"):
        plain.frame(0)


def test_flow_of_a_frame() -> None:
    assert {frame.flow for frame in ts.frames(build.pcap(build.web()))} == {1}
    assert [frame.flow for frame in ts.frames(build.pcap([(0, bytes(60))]))] == [None]


@pytest.mark.parametrize("digits", [0, 3, 6, 9])
def test_interfaces(digits: int) -> None:
    with ts.open_capture(written(build.web(), digits, (1, 101))) as capture:
        list(capture)
        assert capture.interfaces == [(1, 262_144, 10**digits), (101, 262_144, 10**digits)]
    with ts.open_capture(build.pcap(FRAMES, snap=500, nanoseconds=True)) as capture:
        list(capture)
        assert capture.interfaces == [(1, 500, 10**9)]


# ---------------------------------------------------------------- out


def test_to_scapy() -> None:
    """Class by link type, time exact, and the same bytes again."""
    scapy = pytest.importorskip("scapy.all")
    for frame in ts.frames(build.pcap(build.lookup(), nanoseconds=True)):
        packet = frame.to_scapy()
        assert isinstance(packet, scapy.Ether) and packet.haslayer(scapy.DNS)
        assert bytes(packet) == bytes(frame) == frame.data
        assert int(packet.time * 10**9) == frame.time_ns and packet.wirelen == frame.wire_length
    six = build.ethernet("2001:db8::1", "2001:db8::2", 59, b"")[14:]
    assert isinstance(ts.Frame(1, None, six, len(six), 101).to_scapy(), scapy.IPv6)
    with pytest.raises(ValueError, match="link type 147"):
        ts.Frame(1, None, b"", 0, 147).to_scapy()


def test_to_dpkt() -> None:
    dpkt = pytest.importorskip("dpkt")
    for frame in ts.frames(build.pcap(build.lookup())):
        packet = frame.to_dpkt()
        assert isinstance(packet, dpkt.ethernet.Ethernet) and 53 in (packet.data.data.sport, packet.data.data.dport)
    for version, address in ((4, "192.0.2.1"), (6, "2001:db8::1")):
        inner = build.ethernet(address, address, 59, b"")[14:]
        assert ts.Frame(1, None, inner, len(inner), 101).to_dpkt().v == version
    with pytest.raises(ValueError, match="link type 147"):
        ts.Frame(1, None, b"", 0, 147).to_dpkt()
    with pytest.raises(dpkt.UnpackError):
        ts.Frame(1, None, b"\x01", 1, 1).to_dpkt()


# ---------------------------------------------------------------- in


def pairs(frames: build.Frames) -> list[tuple[decimal.Decimal, bytes]]:
    return [(decimal.Decimal(build.START) + decimal.Decimal(str(seconds)), data) for seconds, data in frames]


def test_pairs() -> None:
    """(time, bytes) gives what the file gives, with any iterable and kind of bytes."""
    expected = [key(frame) for frame in ts.frames(CAPTURE)]
    for given in (
        pairs(FRAMES),
        iter(pairs(FRAMES)),
        ((time, bytearray(data)) for time, data in pairs(FRAMES)),
        [(float(time), memoryview(data)) for time, data in pairs(FRAMES)],
        [(time, data, 1) for time, data in pairs(FRAMES)],
    ):
        assert [key(frame) for frame in ts.frames(given)] == expected


def test_findings_are_those_of_the_file() -> None:
    """Readers of dpkt and scapy are iterables of packets; numbers of frames and flows stay."""
    dpkt, scapy = pytest.importorskip("dpkt"), pytest.importorskip("scapy.all")
    path = PCAPS / "interference" / "resets-443.pcap"
    expected = [(one.id, one.injected_frames) for one in ts.scan(path)]
    assert expected
    with path.open("rb") as file:
        assert [(one.id, one.injected_frames) for one in ts.scan(dpkt.pcap.Reader(file))] == expected
    with scapy.PcapReader(str(path)) as packets:
        assert [(one.id, one.injected_frames) for one in ts.scan(packets)] == expected
    assert [(one.id, one.injected_frames) for one in ts.scan(scapy.rdpcap(str(path)))] == expected


def test_link_types_of_packets() -> None:
    """From the class of a packet, else the third item, else Ethernet; they may change on the way."""
    dpkt, scapy = pytest.importorskip("dpkt"), pytest.importorskip("scapy.all")
    inner = build.ethernet("192.0.2.1", "192.0.2.2", 59, b"")[14:]
    given = [
        (1, dpkt.ip.IP(inner)), (2, scapy.Ether(bytes(14))), (3, scapy.IP(inner)), (4, inner, 101), (5, bytes(14)),
    ]  # fmt: skip
    assert [frame.link_type for frame in ts.frames(given)] == [101, 1, 228, 101, 1]
    with ts.open_capture(given) as capture:
        (batch,) = capture
        assert batch.packets.ip_version.tolist() == [4, 0, 4, 4, 0]
    with pytest.raises(ValueError, match="no link type of Raw"):
        list(ts.frames([(1, scapy.Raw(b"x"))]))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([b"bytes alone"], TypeError, "packets are"),
        ([1], TypeError, "not int"),
        ({"a": 1}, TypeError, "not str"),
        ([(1, "text")], TypeError, "a frame is bytes, not str"),
        ([(-1, b"")], ValueError, "no time since 1970"),
        ([(float("nan"), b"")], ValueError, "no time"),
        ([(float("inf"), b"")], ValueError, "no time"),
        ([(10**12, b"")], ValueError, "no time since 1970"),
    ],
)
def test_what_is_no_packet(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        list(ts.scan(given))


def test_no_packets() -> None:
    """An iterable without packets is an empty capture, not an error."""
    scan = ts.scan([])
    assert list(scan) == [] and scan.summary.frames == 0 and scan.name == "<packets>"


def test_nothing_foreign_is_imported() -> None:
    """Feeding in and taking bytes out needs neither scapy nor dpkt."""
    code = (
        "import sys, tamperscope as ts\n"
        f"list(ts.scan([(1, bytes(60))])); list(ts.frames({str(DEMO)!r}, [1]))\n"
        "assert not {'scapy', 'dpkt'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_comments_are_cut_between_characters() -> None:
    """A comment is at most 65,535 bytes, and UTF-8 to the end."""
    block = pcapng.packet(0, 0, b"", 0, "\u20ac" * 30_000)
    (length,) = struct.unpack_from("<H", block, 30)
    assert length == 65_535 // 3 * 3 and block[32 : 32 + length].decode() == "\u20ac" * (length // 3)


def test_written_files_are_sound(tmp_path: pathlib.Path) -> None:
    """What is written is read back, bytes, times, lengths and interfaces."""
    path = tmp_path / "w.pcapng"
    path.write_bytes(written(FRAMES, link_types=(1, 1)))
    read = list(ts.frames(path))
    assert [frame.data for frame in read] == [data for _, data in FRAMES]
    assert [frame.interface for frame in read] == [i % 2 for i in range(len(FRAMES))]
    assert all(frame.wire_length == len(frame.data) + 3 for frame in read)
