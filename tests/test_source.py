"""Every way in which bytes come, whole and damaged, gives the same records and a plain word about the damage."""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import resource
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import build
from tamperscope.errors import CaptureError
from tamperscope.model import Finding
from tamperscope.report.jsonl import line
from tamperscope.scan import Scan, scan

TALKS = [build.web(port=40_000 + i, start=i * 0.5) for i in range(8)]
DATA = build.pcap(build.merged(build.forged_reset(port=39_999), *TALKS, build.lookup(start=2)))
FRAMES = sum(map(len, TALKS)) + len(build.forged_reset()) + 2
HALF = len(DATA) // 2


def lines(source: Any, name: str | None = None, **options: Any) -> list[str]:
    """All records as JSON, the summary last, with the source's name taken out."""
    taken = scan(source, flows=True, **options)
    assert name is None or taken.name == name
    out = [line(record) for record in taken]
    assert taken.notices == []
    summary = taken.summary
    summary.format = (summary.format or "").removesuffix(".gz")
    return [text.replace(line_name(taken), '"capture":""') for text in [*out, line(summary)]]


def line_name(taken: Scan) -> str:
    return line(taken.summary).split(",", 3)[2]


WANTED = lines(memoryview(DATA))


def read(source: Any) -> Scan:
    """A scan, run to its end."""
    taken = scan(source)
    for _ in taken:
        pass
    return taken


class Drops(io.RawIOBase):
    """A file that gives at most `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(self._size)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "of one evening.pcap"
    file.write_bytes(DATA)
    return file


def test_the_sample_is_worth_comparing() -> None:
    """It has flow records and a finding in it."""
    assert sum('"type":"flow"' in text for text in WANTED) == 10
    assert [record.mechanism for record in scan(bytearray(DATA)) if isinstance(record, Finding)] == ["rst_injection"]


# -- forms


def test_paths(path: pathlib.Path) -> None:
    """str, bytes and PathLike; the name is the one that was given."""
    for source in (str(path), os.fsencode(path), path):
        assert lines(source, str(path)) == WANTED


def test_path_that_is_no_utf8(tmp_path: pathlib.Path) -> None:
    file = os.fsencode(tmp_path) + b"/\xff\xfe.pcap"
    with open(file, "wb") as out:
        out.write(DATA)
    assert lines(file, os.fsdecode(file)) == WANTED


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes(kind: Callable[[bytes], Any]) -> None:
    """bytes with a NUL are a capture, since no path has one and every capture does."""
    assert lines(kind(DATA)) == WANTED


def test_memoryview_of_wider_items() -> None:
    view = memoryview(DATA + bytes(-len(DATA) % 4)).cast("I")
    assert read(view).summary.frames == FRAMES


def test_file_object_is_read_from_where_it_stands_and_stays_open(path: pathlib.Path) -> None:
    with path.open("rb") as file:
        assert lines(file, str(path)) == WANTED
        assert not file.closed
    mixed = io.BytesIO(b"mail header" + DATA)
    mixed.seek(11)
    assert lines(mixed, "<file>") == WANTED


@pytest.mark.parametrize("size", [1, 7, 24, 4096])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_of_any_size(size: int, packed: bool) -> None:
    assert lines(Drops(gzip.compress(DATA) if packed else DATA, size)) == WANTED


@pytest.mark.parametrize("packed", [False, True])
def test_pipe_of_single_bytes(packed: bool, tmp_path: pathlib.Path) -> None:
    """A FIFO, by path, whose other end writes a byte at a time."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def write() -> None:
        with open(fifo, "wb", buffering=0) as out:
            data = gzip.compress(DATA) if packed else DATA
            for at in range(len(data)):
                out.write(data[at : at + 1])

    writer = threading.Thread(target=write)
    writer.start()
    assert lines(str(fifo)) == WANTED
    writer.join()


def test_standard_input() -> None:
    """ "-" is file number 0."""
    code = "import sys; from tamperscope.scan import scan; s = scan('-'); list(s); print(s.name, s.summary.frames)"
    run = subprocess.run([sys.executable, "-c", code], input=DATA, capture_output=True, check=True)
    assert run.stdout.split() == [b"-", str(FRAMES).encode()]


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("/nowhere/at.all", FileNotFoundError, "at.all"),
        ("/", IsADirectoryError, "directory"),
        ("a\0b", CaptureError, "NUL"),
        (io.StringIO("text"), TypeError, "reads str; one opened in binary mode"),
        (17.5, TypeError, "float"),
        (None, TypeError, "NoneType"),
    ],
)
def test_refused_sources(source: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        scan(source)


def test_file_object_without_bytes_for_now() -> None:
    """A file that does not wait is no empty file."""

    class Later(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return None  # type: ignore[return-value]

    with pytest.raises(BlockingIOError, match="no bytes for now"):
        scan(Later())


def test_nothing_stays_open(path: pathlib.Path) -> None:
    """Neither a scan that ended, nor one that was refused or closed early, keeps its file."""
    (path.parent / "bad").write_bytes(b"not a capture at all")
    before = len(os.listdir("/proc/self/fd"))
    done, early = scan(path), scan(path)
    list(done)
    early.close()
    with scan(path), pytest.raises(CaptureError) as refused:
        scan(path.parent / "bad")
    with pytest.raises(OSError):
        scan("/proc/self/mem")  # opens, and gives an error at its first byte
    assert len(os.listdir("/proc/self/fd")) == before
    assert refused.value.path == str(path.parent / "bad")


# -- gzip


def test_gzip_members_follow_each_other() -> None:
    """Several members are one capture, wherever it was cut; zeros after them are padding."""
    for cut in (1, 24, HALF, len(DATA) - 1):
        assert lines(gzip.compress(DATA[:cut]) + gzip.compress(DATA[cut:])) == WANTED
    many = b"".join(gzip.compress(DATA[at : at + 100]) for at in range(0, len(DATA), 100))
    for source in (many + bytes(600_000), Drops(many + bytes(10), 1)):
        assert lines(source) == WANTED
    assert lines(gzip.compress(DATA[:HALF]) + bytes(300_000) + gzip.compress(DATA[HALF:])) == WANTED


def test_gzip_is_named_in_the_format() -> None:
    assert read(gzip.compress(DATA)).summary.format == "pcap.gz"


STORED = gzip.compress(DATA, 0)
SPOILED = {
    "cut in the data": (
        STORED[:-60],
        "error",
        "compression",
        f"ends early at compressed offset {len(STORED) - 60}",
    ),
    "cut in the trailer": (STORED[:-6], "error", "compression", "ends early"),
    "wrong sum": (
        STORED[:-8] + bytes(8),
        "error",
        "compression",
        "is damaged (Error -3 while decompressing",
    ),
    "tail": (
        STORED + b"tail",
        "warning",
        "trailing_data",
        "is ignored (it starts with 74 61)",
    ),
    "half a magic": (STORED + b"\0\0\x1f", "warning", "trailing_data", "is ignored (it starts with 1f)"),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_damaged_gzip(how: str, piece: int) -> None:
    """What came before the damage is analysed, and the first notice says where it is."""
    data, level, code, said = SPOILED[how]
    taken = read(Drops(data, piece))
    notice = taken.notices[0]
    assert (notice.level, notice.code) == (level, code) and said in notice.text
    assert taken.summary.frames >= FRAMES - 1


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_damage_in_the_middle(piece: int) -> None:
    """All that stands before it is analysed, though zlib gives nothing of the piece in which it fails."""
    middle = STORED.index(build.ANSWER, len(STORED) // 2)
    crafted = bytearray(gzip.compress(DATA[: middle - 15], 0)[:-8])  # a stored block that ends the data ...
    crafted[10] = 0  # ... no more: another follows, of a kind that does not exist
    taken = read(Drops(bytes(crafted) + b"\xff" * 500, piece))
    assert taken.notices[0].code == "compression" and "invalid block type" in taken.notices[0].text
    whole = read(DATA[: middle - 15])
    assert 0 < taken.summary.frames == whole.summary.frames


@pytest.mark.parametrize("keep", [2, 3, 9, 12])
def test_gzip_cut_before_any_frame(keep: int) -> None:
    """The cut is what is reported, not the emptiness that follows from it."""
    with pytest.raises(CaptureError, match="gzip data ends early") as refused:
        scan(io.BytesIO(gzip.compress(DATA, mtime=0)[:keep]))
    assert refused.value.code == "compression"


def test_gzip_in_gzip_is_named() -> None:
    with pytest.raises(CaptureError, match=r"1f 8b 08 .. \(gzip in gzip\)"):
        scan(gzip.compress(gzip.compress(DATA)))


# VmHWM and not ru_maxrss: the latter begins with what the process that started this one had.
BOMB = """
import re, sys
from tamperscope.scan import scan
taken = scan(sys.argv[1])
list(taken)
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(taken.summary.frames, taken.summary.bytes, peak)
"""


def test_bomb_streams(tmp_path: pathlib.Path) -> None:
    """Half a gigabyte of packets in half a megabyte: read in bounded memory, whatever it inflates to."""
    frame = build.udp("192.0.2.1", 5000, "198.51.100.7", 5001, bytes(60_000))
    records = build.pcap([(0, frame)] * 16)[24:]
    with gzip.open(tmp_path / "bomb.pcap.gz", "wb", compresslevel=1) as file:
        file.write(build.pcap([]))
        for _ in range(500):
            file.write(records)
    assert (tmp_path / "bomb.pcap.gz").stat().st_size < 4_000_000
    run = subprocess.run([sys.executable, "-c", BOMB, tmp_path / "bomb.pcap.gz"], capture_output=True, check=True)
    frames, size, kilobytes = map(int, run.stdout.split())
    assert frames == 8_000 and size > 480_000_000
    assert kilobytes < 60_000, kilobytes


def test_bomb_of_no_capture_ends_at_once() -> None:
    """Zeros are no capture: refused after the first piece, not after a gigabyte."""
    maker = zlib.compressobj(9, wbits=31)
    packed = b"".join(maker.compress(bytes(1 << 20)) for _ in range(256)) + maker.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(CaptureError, match="not a capture: starts with 00 00 00 00"):
        scan(packed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 0.5


# -- containers damaged


def pcapng(*blocks: tuple[int, bytes]) -> Iterator[bytes]:
    for kind, body in blocks:
        body += bytes(-len(body) % 4)
        size = (12 + len(body)).to_bytes(4, "little")
        yield kind.to_bytes(4, "little") + size + body + size


SECTION = (0x0A0D0D0A, b"\x4d\x3c\x2b\x1a\x01\0\0\0" + b"\xff" * 8)
INTERFACE = (1, b"\1\0\0\0\0\0\4\0")


NOTHING = {
    "empty": (b"", "empty", "empty file"),
    "a byte": (b"\xd4", "truncated_header", "the file ends inside its header"),
    "half a header": (DATA[:20], "truncated_header", "the file ends inside its header: 24 bytes needed, 20 there"),
    "program": (
        b"\x7fELF" + bytes(100),
        "not_a_capture",
        r"not a capture: starts with 7f 45 4c 46 \(ELF\); pcap",
    ),
    "snoop": (b"snoop\0\0\0" + bytes(100), "not_a_capture", r"73 6e 6f 6f \(snoop\)"),
    "version": (DATA[:4] + b"\1\0\4\0" + DATA[8:], "unknown_version", r"version 1\.4 at offset 4; 2\.x is read"),
    "half a section": (b"".join(pcapng(SECTION))[:20], "truncated_header", "the file ends inside its header"),
}


@pytest.mark.parametrize("what", NOTHING)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_nothing_to_read_is_an_error(what: str, piece: int) -> None:
    """An input that gives nothing raises at once, and the same however it is cut."""
    data, code, said = NOTHING[what]
    with pytest.raises(CaptureError, match=said) as refused:
        scan(Drops(data, piece))
    assert refused.value.code == code and refused.value.path == "<file>"


ON_THE_WAY = {
    "cut": (DATA[:-1], "truncated_record", FRAMES - 1, "needs"),
    "length": (DATA + b"\xff" * 16, "record_length", FRAMES, f"at offset {len(DATA)} claims 4294967295 bytes"),
}


@pytest.mark.parametrize("what", ON_THE_WAY)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_damage_on_the_way_is_a_notice(what: str, piece: int) -> None:
    """The good part is reported, and one notice says what, where and after how many frames."""
    data, code, frame, said = ON_THE_WAY[what]
    taken = read(Drops(data, piece))
    (notice,) = taken.notices
    assert (notice.level, notice.code, notice.frame) == ("error", code, frame)
    assert said in notice.text and notice.text.endswith(f"; {frame} frames analysed")
    assert taken.summary.frames == frame and sum(sum(v.values()) for v in taken.summary.findings.values()) == 1


def test_joined_files() -> None:
    """cat joins no captures: the header of the second is named."""
    taken = read(DATA + DATA)
    assert [one.code for one in taken.notices] == ["second_file_header"] and taken.summary.frames == FRAMES


def test_interface_that_was_not_described() -> None:
    """The block is skipped and named; the section goes on."""
    packet = (9).to_bytes(4, "little") + bytes(8) + (4).to_bytes(4, "little") * 2 + b"abcd"
    taken = read(b"".join(pcapng(SECTION, INTERFACE, (6, packet))))
    assert [one.text for one in taken.notices] == [
        "packet block at offset 48 names interface 9, section has 1; block skipped"
    ]
