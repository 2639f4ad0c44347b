"""The core as a citizen of a Python process: types from its header, memory, the GIL, misuse, failing allocations."""

from __future__ import annotations

import gc
import os
import pathlib
import resource
import shutil
import subprocess
import threading
import time
from typing import Any

import numpy as np
import pytest
from tamperscope._core import ffi, lib

import tamperscope as ts
from corpus import DEMO, ROOT
from hostile import build, drive, samples
from hostile.build import ACK, HANDSHAKE, PSH, RST, Record, Segment
from tamperscope import core

TABLES = (
    "packet", "flow", "flow_context", "answer", "answer_context", "trace", "transaction", "transaction_context",
    "message", "dns", "record", "notice", "summary",
)  # fmt: skip
DATA = DEMO.read_bytes()


# ---------------------------------------------------------------- types


@pytest.mark.parametrize("table", TABLES)
def test_dtype_is_the_compiler_s_layout(table: str) -> None:
    """A row's dtype has the size, the fields and the offsets that the C compiler gave its struct, in its order."""
    struct, dtype = f"struct tscope_{table}", core.dtype(f"tscope_{table}")
    assert dtype.itemsize == ffi.sizeof(struct)
    fields = ffi.typeof(struct).fields
    assert list(dtype.names or ()) == [name for name, _ in fields]
    for name, _ in fields:
        here, offset = (dtype.fields or {})[name][:2]
        assert offset == ffi.offsetof(struct, name)
        assert here.itemsize == ffi.sizeof(ffi.typeof(struct).fields[[n for n, _ in fields].index(name)][1].type)


def test_a_row_means_the_same_in_c_and_numpy() -> None:
    """Each field of a table, read through numpy, is what C has in that field."""
    scan = fed(core.FLOWS)
    batch = scan.take(core.FLOWS)
    assert batch
    table = batch.table("flows", "tscope_flow", "n_flows")
    for index in (0, len(table) - 1):
        for name in table.dtype.names or ():
            assert np.array_equal(table[name][index], in_c(getattr(batch.handle.flows[index], name))), name


def in_c(value: Any) -> Any:
    if not isinstance(value, ffi.CData):
        return value
    return ffi.string(value) if ffi.typeof(value).item.cname == "char" else list(value)


def test_self_test() -> None:
    """The known answers of each unit hold in this build."""
    assert core.selftest() is None


def fed(emit: int, data: bytes = DATA, **options: Any) -> core.Core:
    """A scan that has read everything and waits."""
    scan = core.Core(emit, **{"batch_packets": 1 << 20, **drive.EVERYTHING, **options})
    assert scan.feed(data) == (core.OK, len(data))
    assert scan.end() == core.OK
    return scan


# ---------------------------------------------------------------- memory


def test_arrays_outlive_batch_and_scan() -> None:
    """A column keeps its batch, and nothing else: it reads the same after everything around it was dropped."""
    scan = fed(core.PACKETS | core.FLOWS)
    batch = scan.take(core.PACKETS)
    assert batch
    column = batch.table("packets", "tscope_packet", "n_packets")["frame"]
    kept = column.copy()
    scan.close()
    del scan, batch
    gc.collect()
    others = [fed(core.PACKETS) for _ in range(3)]  # what might reuse the memory
    assert np.array_equal(column, kept) and len(others) == 3


def test_columns_are_views_and_read_only() -> None:
    batch = fed(core.PACKETS).take(core.PACKETS)
    assert batch
    table = batch.table("packets", "tscope_packet", "n_packets")
    address = int(ffi.cast("uintptr_t", batch.handle.packets))
    assert table.__array_interface__["data"] == (address, True)
    with pytest.raises(ValueError, match="read-only"):
        table["frame"][0] = 1


def test_a_batch_is_freed_with_its_last_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before, and not later."""
    freed: list[int] = []
    batch = fed(core.PACKETS).take(core.PACKETS)
    assert batch
    handle = ffi.gc(batch.handle, lambda _: freed.append(1))
    batch.handle = handle
    column = batch.table("packets", "tscope_packet", "n_packets")["ttl"][:3]
    del batch, handle
    gc.collect()
    assert not freed and len(column) == 3
    del column
    gc.collect()
    assert freed == [1]


def resident() -> int:
    """Bytes of memory that this process has in use now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not pathlib.Path("/proc/self/fd").is_dir(), reason="no /proc here")
def test_opening_and_closing_leaks_nothing() -> None:
    """200 scans and captures, half of them left in the middle: no file more, and no memory to speak of."""

    def once(leave: bool) -> None:
        with ts.open_capture(DEMO) as capture:
            for batch in capture:
                assert len(batch.packets.frame)
                if leave:
                    break
        with ts.scan(DEMO, limit=300) as scan:
            for _ in scan:
                if leave:
                    break

    for n in range(20):
        once(bool(n % 2))
    gc.collect()
    files, memory = len(os.listdir("/proc/self/fd")), resident()
    for n in range(200):
        once(bool(n % 2))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    sanitized = "libasan" in pathlib.Path("/proc/self/maps").read_text()  # keeps what was freed, to catch its use
    assert sanitized or resident() - memory < 8 << 20


# ---------------------------------------------------------------- threads


def test_two_scans_at_once_give_what_each_gives_alone() -> None:
    """Scans share nothing: on two threads each gives what it gives alone."""
    alone = [drive.rows([DATA]), drive.rows([build.pcap(samples.STREAMS["hello"])])]
    inputs = [DATA, build.pcap(samples.STREAMS["hello"])]
    results: dict[int, list[drive.Rows]] = {0: [], 1: []}

    def work(which: int) -> None:
        for _ in range(3):
            results[which].append(drive.rows([inputs[which]]))

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: [alone[0]] * 3, 1: [alone[1]] * 3}


def test_the_gil_is_free_while_the_core_waits(tmp_path: pathlib.Path) -> None:
    """While one thread is inside the core, waiting for a pipe, another one runs Python."""
    reading, writing = os.pipe()
    scan, codes = core.Core(core.PACKETS), []
    thread = threading.Thread(target=lambda: codes.append(scan.read(reading)))
    thread.start()
    counted, until = 0, time.monotonic() + 0.1
    while time.monotonic() < until:
        counted += 1
    assert counted > 100 and not codes  # this line is only reached where the other thread does not hold the lock
    os.write(writing, DATA[:24])
    os.close(writing)
    thread.join(10)
    os.close(reading)
    assert codes == [core.END]


# ---------------------------------------------------------------- misuse


def test_a_capture_is_read_once() -> None:
    with ts.open_capture(DEMO) as capture:
        assert sum(map(len, capture)) > 0
        with pytest.raises(ValueError, match="read once"):
            next(iter(capture))
        with pytest.raises(ValueError, match="read once"):
            list(capture)


def test_nothing_comes_after_close() -> None:
    """Neither packets nor records; what was taken before stays."""
    capture = ts.open_capture(DEMO, batch_packets=100)
    batches = iter(capture)
    first = next(batches)
    capture.close()
    assert list(batches) in ([], [first]) or len(first) == 100
    assert first.packets.frame[0] == 1
    scan = ts.scan(DEMO)
    scan.close()
    assert list(scan) == []
    assert scan.summary.frames >= 0


def test_a_closed_core_refuses() -> None:
    """After close every call raises: none reaches freed memory."""
    scan = core.Core(core.PACKETS)
    scan.feed(DATA[:1000])
    scan.close()
    for call in (
        lambda: scan.feed(DATA), lambda: scan.end(), lambda: scan.take(core.PACKETS), lambda: scan.summary(),
        lambda: scan.notices(), lambda: scan.read(0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="closed"):
            call()
    scan.close()


def test_fed_after_its_end_or_failure() -> None:
    """More bytes after the end, or after damage, change nothing and crash nothing."""
    scan = fed(core.PACKETS, DATA[:10_000])
    frames = scan.summary().frames
    scan.feed(DATA[10_000:20_000])
    scan.end()
    assert scan.summary().frames >= frames
    broken = core.Core(core.PACKETS)
    code, _ = broken.feed(b"no capture at all, by any means")
    assert code == lib.TSCOPE_E_NOT_CAPTURE
    assert broken.feed(DATA)[0] == code and broken.summary().frames == 0


@pytest.mark.parametrize(
    "options",
    [
        {"max_flows": 1 << 40}, {"context_entries": 1 << 40}, {"batch_packets": 1 << 31}, {"max_flows": -1},
        {"no_such_option": 1}, {"max_flows": "many"}, {"key": b"short"}, {"max_flows": 1 << 70},
    ],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any]) -> None:
    """Named in Python, before any memory is asked for."""
    with pytest.raises((ValueError, OverflowError, TypeError, KeyError)):
        core.Core(core.PACKETS, **options)


# ---------------------------------------------------------------- allocations that fail


def thirty_frames() -> bytes:
    """Something for each store: a forged reset, a hello over three segments, questions, fragments, an ICMP error."""
    hello = samples.HELLO
    reset = [Segment(0, PSH | ACK, hello), Segment(1, RST, seq=1, ttl=61), Segment(1, ACK), Segment(1, ACK, b"x" * 60)]
    forged = build.conversation([*HANDSHAKE, *reset], ports=(40001, 443))
    whole = build.udp(build.dns("long.example") + bytes(60), (40002, 53))
    ends: dict[str, Any] = {"source": build.CLIENT, "destination": build.RESOLVER, "protocol": 17, "ip_id": 99}
    fragments = [build.ipv4(whole[:40], fragment=0x2000, **ends), build.ipv4(whole[40:], fragment=5, **ends)]
    error = build.ipv4(build.icmp(3, 13, samples.SEGMENT[:40]), protocol=1)
    records = [*samples.STREAMS["hello from behind"], *forged, *samples.STREAMS["question"]]
    records += [Record(build.START_NS + 10**9, build.ethernet(one)) for one in (*fragments, error)]
    records += build.talk(build.request(), b"HTTP/1.1 200 OK\r\n\r\n", ports=(40003, 80))
    return build.pcap(sorted(records))


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_every_allocation_fails_once(tmp_path: pathlib.Path) -> None:
    """
    Whichever allocation fails, the run ends in good order: a code of its own, nothing lost or used after it was freed
    (AddressSanitizer and its leak check watch), and what was read until then is counted.
    """
    program, capture = tmp_path / "faults", tmp_path / "thirty.pcap"
    capture.write_bytes(thirty_frames())
    sources = [str(path) for path in sorted((ROOT / "csrc").glob("*.c"))]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-DTSCOPE_FAULTS", "-O0", "-g", "-fsanitize=address,undefined"]
    flags += ["-fno-sanitize-recover=undefined", "-I", str(ROOT / "csrc")]
    driver = str(ROOT / "tests" / "hostile" / "faults.c")
    subprocess.run(["gcc", *flags, "-o", program, driver, *sources], check=True)
    environment = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "ASAN_OPTIONS")}
    runs = 400
    ran = subprocess.run([program, capture, str(runs)], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    results = [tuple(map(int, line.split())) for line in ran.stdout.splitlines()]
    assert len(results) == runs
    whole = results[-1]
    assert whole[0] == lib.TSCOPE_OK and whole[1] >= 30
    assert results[-100:] == [whole] * 100, "more allocations than runs"
    failed = [one for one in results if one[0] != lib.TSCOPE_OK]
    assert {code for code, _, _ in failed} == {lib.TSCOPE_E_MEMORY} and len(failed) >= 20
    assert all(frames <= whole[1] and rows <= whole[2] for _, frames, rows in results)
