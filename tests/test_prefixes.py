"""
Every parser on every prefix of its samples, and on every sample with one byte changed.

What is required of it: it ends, it stays inside its bytes (`make sanitize` runs these tests under ASan and UBSan), it
accuses nobody, and it says what is missing, where, and how much of it was there.
"""

from __future__ import annotations

import pathlib
import struct
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from corpus import CORPUS
from hostile import build, drive, samples
from hostile.build import Record
from reference import packets
from tamperscope import core, weigh
from tamperscope.errors import CaptureError
from tamperscope.model import Notice

CONTAINERS: dict[str, Callable[[list[Record]], bytes]] = {
    "pcap": build.pcap,
    "pcap, nanoseconds": lambda records: build.pcap(records, nano=True),
    "pcap, big-endian": lambda records: build.pcap(records, order=">"),
    "pcap, big-endian, nanoseconds": lambda records: build.pcap(records, order=">", nano=True),
    "pcapng": build.pcapng,
    "pcapng, big-endian": lambda records: build.pcapng(records, order=">"),
    "pcapng, binary resolution": lambda records: build.pcapng(records, resolution=0x80 | 20),
}
FLIPS = (0x01, 0xFF)
SPOTS = 120  # places of a long capture at which it is cut or changed: a scan with findings takes some milliseconds
MOST = 120  # bytes of a frame's beginning, and some of its end: between them lies payload that nothing parses


@pytest.fixture(autouse=True, scope="module")
def weights_at_hand() -> Iterator[None]:
    """The weights are read once: thousands of scans would read them again and again."""
    loaded = weigh.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weigh, "load", lambda: loaded)
        yield


def boundaries(container: str, records: list[Record]) -> dict[int, int]:
    """Length of the file after so many records -> that number of records."""
    make = CONTAINERS[container]
    return {len(make(records[:n])): n for n in range(len(records) + 1)}


@pytest.mark.parametrize("container", CONTAINERS)
def test_prefixes_of_a_file(container: str) -> None:
    """A file that ends early gives the frames before its end, and a notice with offset, need and have."""
    records = samples.STREAMS["hello"][:4]
    whole, ends = CONTAINERS[container](records), boundaries(container, records)
    header, first = (28, min(ends)) if container.startswith("pcapng") else (24, 24)
    for length in range(len(whole) + 1):
        cut = whole[:length]
        if length < first and length != header:
            with pytest.raises(CaptureError) as refused:
                drive.scan(cut)
            code = "truncated_record" if length > header else "truncated_header" if length else "empty"
            assert refused.value.code == code
            if length:
                assert refused.value.offset is not None and refused.value.need is not None
                assert refused.value.offset + (refused.value.have or 0) == length
                assert refused.value.need > (refused.value.have or 0)
            continue
        outcome = drive.scan(cut)
        frames = max(n for end, n in ends.items() if end <= length or n == 0)
        assert outcome.summary.frames == frames
        assert not outcome.findings
        complete = length in ends or length == header
        assert [one.code for one in outcome.notices] == ([] if complete else ["truncated_record"])
        for notice in outcome.notices:
            check_cut(notice, length, frames)


def check_cut(notice: Notice, length: int, frames: int) -> None:
    """A notice of a cut names the place, what was needed there and what there was of it."""
    assert notice.level == "error" and notice.offset is not None and notice.need is not None
    assert notice.offset + (notice.have or 0) == length
    assert notice.need > (notice.have or 0)
    assert notice.frame == (frames or None)


@pytest.mark.parametrize("container", CONTAINERS)
def test_flipped_bytes_of_a_file(container: str) -> None:
    """One wrong byte anywhere in a file: no crash, no accusation, and no frame out of nothing."""
    whole = CONTAINERS[container](samples.STREAMS["hello"][:4])
    for outcome in flipped(whole):
        assert not outcome.accused
        assert outcome.summary.frames <= 8


def places(frame: bytes) -> list[int]:
    """Offsets at which a frame is cut or changed."""
    everywhere = range(len(frame) + 1)
    return [*everywhere[:MOST], *everywhere[max(len(frame) - 20, MOST) :]]


def spots(first: int, end: int) -> list[int]:
    """All places, or about `SPOTS` of them that no length of a header or record is in step with."""
    step = max(1, (end - first) // SPOTS) | 1
    return sorted({*range(first, end, step), *range(first, min(first + 60, end)), *range(max(first, end - 20), end)})


def flipped(whole: bytes) -> list[drive.Outcome]:
    out = []
    for at in spots(0, len(whole)):
        changed = bytearray(whole)
        changed[at] ^= FLIPS[at % len(FLIPS)]
        try:
            out.append(drive.scan(changed))
        except CaptureError as error:
            assert error.text and error.code != "out_of_memory"
    return out


@pytest.mark.parametrize("sample", samples.FRAMES)
@pytest.mark.parametrize("snapped", [True, False], ids=["cut by the capture", "short on the wire"])
def test_prefixes_of_a_frame(sample: str, snapped: bool) -> None:
    """A frame of which only the beginning is there is a frame all the same, and no evidence."""
    link, frame = samples.FRAMES[sample]
    wire = len(frame) if snapped else None
    for length in places(frame):
        outcome = drive.scan(build.pcap([Record(build.START_NS, frame[:length], wire)], link=link))
        assert outcome.summary.frames == 1
        assert not outcome.accused
        assert not outcome.notices
        assert (outcome.error is not None) == (link == 147)


@pytest.mark.parametrize("sample", samples.FRAMES)
def test_flipped_bytes_of_a_frame(sample: str) -> None:
    """A frame with one wrong byte is a frame, and no evidence."""
    link, frame = samples.FRAMES[sample]
    for at in places(frame)[:-1]:
        changed = bytearray(frame)
        changed[at] ^= FLIPS[at % len(FLIPS)]
        outcome = drive.scan(build.pcap([Record(build.START_NS, bytes(changed))], link=link))
        assert outcome.summary.frames == 1 and not outcome.accused


@pytest.mark.parametrize("stream", samples.STREAMS)
def test_name_is_found(stream: str) -> None:
    """However a hello, a request or a question is cut into segments and records, its name is found."""
    outcome = drive.scan(build.pcap(samples.STREAMS[stream]))
    assert [one.name for one in outcome.flows] == [samples.NAMES[stream]]
    assert not outcome.findings


@pytest.mark.parametrize("stream", samples.STREAMS)
def test_prefixes_of_a_connection(stream: str) -> None:
    """A capture that stops in the middle of a connection accuses nobody, and claims no name but the right one."""
    records = samples.STREAMS[stream]
    whole = build.pcap(records)
    for length in spots(24, len(whole)):
        outcome = drive.scan(whole[:length])
        assert not outcome.accused
        assert all(one.name in (None, samples.NAMES[stream]) for one in outcome.flows)


@pytest.mark.parametrize("stream", samples.STREAMS)
def test_cut_by_the_snap_length(stream: str) -> None:
    """Whatever the snap length, what was not captured is no evidence."""
    records = samples.STREAMS[stream]
    for snap in spots(1, 1 + max(len(one.data) for one in records)):
        cut = [Record(one.time_ns, one.data[:snap], len(one.data)) for one in records]
        outcome = drive.scan(build.pcap(cut, snap=snap))
        assert outcome.summary.frames == len(records)
        assert not outcome.accused
        assert all(one.name in (None, samples.NAMES[stream]) for one in outcome.flows)


@pytest.mark.parametrize("stream", samples.STREAMS)
def test_flipped_bytes_of_a_connection(stream: str) -> None:
    """A connection with one wrong byte in it: no crash and no hang."""
    records = samples.STREAMS[stream]
    for index, one in enumerate(records):
        for at in spots(14, min(len(one.data), 160))[index % 2 :: 2]:
            changed = bytearray(one.data)
            changed[at] ^= (0x01, 0x10, 0x80, 0xFF)[at % 4]
            others = [*records[:index], Record(one.time_ns, bytes(changed)), *records[index + 1 :]]
            assert drive.scan(build.pcap(others)).summary.frames == len(records)


def recorded() -> list[pathlib.Path]:
    """Captures of the corpus, but for those that hold nothing that its own reader knows."""
    files = sorted(path for path in (CORPUS / "captures").rglob("*") if path.parent.name not in ("captures", "oracle"))
    return [path for path in files if path.suffix in (".pcap", ".pcapng", ".cap") and "oracle" not in path.parts]


@pytest.mark.skipif(not recorded(), reason="no captures of other projects (TAMPERSCOPE_CORPUS says where)")
def test_prefixes_of_recorded_frames() -> None:
    """The first frames of every capture of the corpus, each cut at every length, and with one byte changed."""
    tried = 0
    for path in recorded():
        for link, frame in islice(frames_of(path), 3):
            frame = frame[:200]
            cut = [Record(build.START_NS + n, frame[:n]) for n in range(len(frame))]
            changed = [Record(build.START_NS + n, changed_at(frame, n)) for n in range(len(frame))]
            for records in (cut, changed):
                rows = drive.rows([build.pcap(records, link=link)])
                assert len(rows.packets) == len(records) * core.dtype("tscope_packet").itemsize
                tried += len(records)
    assert tried > 50_000


def frames_of(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    try:
        for _, _, _, link, data in packets.frames(path):
            yield link, data
    except (struct.error, IndexError, ZeroDivisionError):
        return  # damaged on purpose: what the reference reader could read of it is enough


def changed_at(frame: bytes, at: int) -> bytes:
    out = bytearray(frame)
    out[at] ^= (0xFF, 0x01, 0x80, 0x10)[at % 4]
    return bytes(out)
