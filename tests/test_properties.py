"""
What must hold for any input, drawn by hypothesis: sequence numbers run in a circle, and nothing but the packets decides
the output: not how the bytes are cut, the batch size, the hash key, the container, the time zone of the clock, or which
addresses the ends have.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import pathlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corpus import CASES, DEMO
from hostile import build, drive, samples
from hostile.build import ACK, FIN, HANDSHAKE, PSH, RST, SYN, Record, Segment
from tamperscope import core
from tamperscope.report.jsonl import line
from tamperscope.scan import Scan

WRAP = 1 << 32
FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

KEYS = st.binary(min_size=16, max_size=16)
BATCHES = st.sampled_from([1, 7, 65536])
ISNS = st.one_of(st.integers(WRAP - 700, WRAP - 1), st.integers(0, WRAP - 1))

# Captures that show much in little: each mechanism, resets of all kinds, UDP, several link types and resolutions.
NAMES = (
    "cn-gfw-sni-usersporn-vps", "cn-gfw-quic-doh", "ir-dns-10-10-34-36", "dns-same-answer-twice", "ir-doh-sni-rst",
    "guest-wifi-admin-prohibited", "ee-steam-http-drop", "client-rst-after-alert",
)  # fmt: skip


def cases() -> list[pathlib.Path]:
    return [path for name in NAMES if (path := CASES / f"{name}.pcap").exists()]


# ---------------------------------------------------------------- serial numbers


def test_known_answers() -> None:
    """Cursor, serial-number arithmetic and parsers give the answers written beside them."""
    assert core.selftest() is None


def exchange(isns: tuple[int, int]) -> list[Record]:
    """A hello in three segments, one sent again; a forged reset; the server's data after it; a close."""
    hello = build.tls_records(build.client_hello("wrap.example", padding=900))
    parts = [Segment(0, PSH | ACK, hello[at : at + 400], seq=1 + at) for at in range(0, len(hello), 400)]
    forged = Segment(1, RST | ACK, seq=1, ttl=61, ip_id=4242, after_ms=3.0)
    said = [Segment(1, PSH | ACK, b"\x16\3\3\0\4\2\0\0\0", seq=1), Segment(1, PSH | ACK, b"x" * 600)]
    close = [Segment(0, FIN | ACK), Segment(1, FIN | ACK), Segment(0, ACK)]
    return build.conversation([*HANDSHAKE, *parts, parts[1], forged, *said, *close], isns=isns)


NUMBERS = ("isn", "trigger_seq", "seq", "ack")


def without_numbers(rows: drive.Rows) -> tuple[list[bytes], list[bytes]]:
    """Flows and traces, but for sequence numbers themselves."""
    out: tuple[list[bytes], list[bytes]] = ([], [])
    flows = np.frombuffer(rows.flows, core.dtype("tscope_flow"))
    for name in flows.dtype.names or ():
        if name not in NUMBERS:
            out[0].append(flows[name].tobytes())
    return out


@SOME
@example(isns=(WRAP - 1, WRAP - 1))
@example(isns=(WRAP - 401, WRAP - 2))
@example(isns=(WRAP // 2 - 1, WRAP // 2))
@given(isns=st.tuples(ISNS, ISNS))
def test_sequence_numbers_wrap(isns: tuple[int, int]) -> None:
    """
    Wherever on the circle a connection begins, it is the same connection: name, marks, offsets and finding are those of
    one that begins at a small number, also where the hello or the reset lies across the end of the circle.
    """
    plain, wrapped = (build.pcap(exchange(of)) for of in ((1000, 5000), isns))
    assert without_numbers(drive.rows([plain])) == without_numbers(drive.rows([wrapped]))
    assert [timeless(one) for one in told(plain)] == [timeless(one) for one in told(wrapped)]
    assert [one["mechanism"] for one in told(wrapped)] == ["rst_injection"]


# ---------------------------------------------------------------- how the bytes come


class Pieces:
    """A file object whose reads end at these offsets."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        self._left = iter([piece for piece in drive.pieces(data, cuts) if piece])
        self._piece = b""

    def read(self, size: int) -> bytes:
        if not self._piece:
            self._piece = next(self._left, b"")
        out, self._piece = self._piece[:size], self._piece[size:]
        return out


def told(data: bytes, cuts: list[int] | None = None, **tuning: Any) -> list[dict[str, Any]]:
    """Findings as their JSON."""
    return [json.loads(text) for text in records(data, cuts, **tuning) if '"type":"finding"' in text]


def records(data: bytes, cuts: list[int] | None = None, **tuning: Any) -> list[str]:
    """JSON lines of flows and findings."""
    return [line(one) for one in Scan(Pieces(data, cuts or []), flows=True, **tuning)]


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what says when it was, or in which file."""
    return {key: value for key, value in record.items() if key not in ("id", "time", "time_ns", "end_ns", "capture")}


SMALL = build.pcap(
    sorted(
        [
            *exchange((WRAP - 600, 7)),
            *build.talk(build.request(), b"HTTP/1.1 200 OK\r\n\r\n", ports=(40001, 80)),
            *samples.STREAMS["question"],
            *build.conversation([Segment(0, SYN), Segment(1, RST | ACK)], ports=(40002, 443)),
        ]
    )
)


@functools.cache
def expected(source: bytes | pathlib.Path, **caps: int) -> tuple[drive.Rows, list[str]]:
    data = source if isinstance(source, bytes) else source.read_bytes()
    return drive.rows([data], key=bytes(16), **caps), records(data, key=bytes(16), **caps)


def check(source: bytes | pathlib.Path, data: Any, **caps: int) -> None:
    """Any cut, batch size and key: the rows, and the JSON lines, byte for byte."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=12), label="cuts")
    key, batch = data.draw(KEYS, label="key"), data.draw(BATCHES, label="batch_packets")
    rows, lines = expected(source, **caps)
    assert drive.rows(drive.pieces(content, cuts), key=key, batch_packets=batch, **caps) == rows
    assert records(content, cuts, key=key, batch_packets=batch, **caps) == lines


@SOME
@given(data=st.data())
def test_cuts_batches_and_keys(data: Any) -> None:
    check(SMALL, data)


def test_a_byte_at_a_time() -> None:
    """As a slow pipe gives it."""
    rows, lines = expected(SMALL)
    assert drive.rows([SMALL[n : n + 1] for n in range(len(SMALL))]) == rows
    assert records(SMALL, list(range(len(SMALL)))) == lines


@FEW
@given(data=st.data())
def test_cuts_batches_and_keys_of_the_demonstration(data: Any) -> None:
    check(DEMO, data)


@pytest.mark.parametrize("case", cases(), ids=lambda path: path.stem)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_cuts_batches_and_keys_of_cases(case: pathlib.Path, data: Any) -> None:
    check(case, data)


def flood() -> bytes:
    """More connections open at once than there are pages for traces, some of them marked."""
    forged = [
        Segment(0, PSH | ACK, samples.HELLO),
        Segment(1, RST, seq=1, ttl=61),
        Segment(1, PSH | ACK, b"\x16\3\3\0"),
    ]
    out: list[Record] = []
    for n in range(1800):
        segments = [*HANDSHAKE, *forged] if n % 9 == 0 else HANDSHAKE
        where: dict[str, Any] = {"ports": (10_000 + n, 443), "start_ns": build.START_NS + n * build.MS}
        out += build.conversation(segments, **where)
    return build.pcap(sorted(out))


FLOOD = flood()

CAPS: list[dict[str, int]] = [
    {"max_flows": 5}, {"max_flows": 40, "context_entries": 8}, {"trace_bytes": 1}, {"candidate_bytes": 1},
    {"max_flows": 60, "trace_bytes": 1, "candidate_bytes": 1, "context_entries": 16},
]  # fmt: skip


@pytest.mark.parametrize("caps", CAPS, ids=lambda caps: " ".join(f"{name}={value}" for name, value in caps.items()))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_caps_are_hit_alike(caps: dict[str, int], data: Any) -> None:
    """What is given up where a store is full depends on the packets alone."""
    check(DEMO, data, **caps)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_traces_are_taken_alike(data: Any) -> None:
    """Whose pages are taken where the pool is dry depends on the packets alone."""
    check(FLOOD, data, trace_bytes=1)


def test_caps_are_hit_at_all() -> None:
    """The caps of the test above are tight enough, and each is counted; spilling loses nothing."""
    data = DEMO.read_bytes()
    summaries = []
    for caps in CAPS:
        scan = Scan(data, **caps)
        list(scan)
        summaries.append(scan.summary)
    assert [bool(one.evicted) for one in summaries] == [True, True, False, False, True]
    assert "context_evicted" in summaries[1].limits
    scan = Scan(FLOOD, trace_bytes=1)
    list(scan)
    assert "traces_taken" in scan.summary.limits
    assert drive.rows([data], candidate_bytes=1).candidates == expected(DEMO)[0].candidates


# ---------------------------------------------------------------- containers, clocks, addresses


def frames(data: bytes) -> list[Record]:
    """Records of a pcap, little-endian, micro- or nanoseconds."""
    scale = 1 if data[:4] == b"\x4d\x3c\xb2\xa1" else 1000
    out, at = [], 24
    while at < len(data):
        seconds, fraction, captured, wire = struct.unpack_from("<4I", data, at)
        out.append(Record(seconds * 10**9 + fraction * scale, data[at + 16 : at + 16 + captured], wire))
        at += 16 + captured
    return out


def link_of(data: bytes) -> int:
    return int(struct.unpack_from("<I", data, 20)[0])


def inputs() -> list[pathlib.Path]:
    return [path for path in [DEMO, *cases()] if path.read_bytes()[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")]


@pytest.mark.parametrize("path", inputs(), ids=lambda path: path.stem)
def test_containers(path: pathlib.Path) -> None:
    """The same packets in another container, byte order or unit of time: the same rows and findings."""
    data = path.read_bytes()
    all_frames = frames(data)
    link = link_of(data)
    exact = build.pcap(all_frames, nano=True, link=link)
    rows, lines = drive.rows([exact]), records(exact)
    written = [
        build.pcap(all_frames, nano=True, link=link, order=">"),
        build.pcapng(all_frames, link=link),
        build.pcapng(all_frames, link=link, order=">"),
    ]
    if not any(one.time_ns % 1000 for one in all_frames):
        written += [build.pcap(all_frames, link=link, order=order) for order in "<>"]
        written += [build.pcapng(all_frames, link=link, resolution=of) for of in (6, None)]
    for other in written:
        assert drive.rows([other]) == rows
        assert records(other) == lines


@pytest.mark.parametrize("path", inputs(), ids=lambda path: path.stem)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(shift=st.integers(-(10**18), 2 * 10**18))
def test_clock(path: pathlib.Path, shift: int) -> None:
    """A clock that was wrong by a constant changes times, and nothing else."""
    data = path.read_bytes()
    moved = [Record(one.time_ns + shift, one.data, one.wire) for one in frames(data)]
    there = [timeless(one) for one in told(build.pcapng(moved, link=link_of(data)))]
    assert there == [timeless(one) for one in told(data)]


def renumbered(frame: bytes, mask: int) -> bytes:
    """Ethernet and IPv4: the last 16 bits of all addresses changed, in quotes of ICMP errors too."""
    out = bytearray(frame)
    at = 14
    while bytes(frame[12:14]) == b"\x08\x00" and at + 20 <= len(frame) and frame[at] >> 4 == 4:
        for place in (at + 14, at + 18):
            out[place : place + 2] = (int.from_bytes(frame[place : place + 2], "big") ^ mask).to_bytes(2, "big")
        if frame[at + 9] != 1 or at + 28 > len(frame) or frame[at + 20] not in (3, 4, 5, 11, 12):
            break
        at += (frame[at] & 15) * 4 + 8
    return bytes(out)


ADDRESSES = ("client", "server", "community_id")


@pytest.mark.parametrize(
    "path", [path for path in inputs() if link_of(path.read_bytes()) == 1], ids=lambda path: path.stem
)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(mask=st.integers(1, 0xFFFF))
def test_addresses(path: pathlib.Path, mask: int) -> None:
    """Which addresses the ends have, and which is the greater, changes no finding."""

    def nameless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in one.items() if key not in (*ADDRESSES, "id")} for one in records]

    data = path.read_bytes()
    other = build.pcap(
        [Record(one.time_ns, renumbered(one.data, mask), one.wire) for one in frames(data)], nano=True, link=1
    )
    before, after = told(data), told(other)
    assert nameless(before) == nameless(after)
    for one, two in zip(before, after, strict=True):
        if ":" not in one["client"]:
            assert int(ipaddress.ip_address(one["client"])) ^ int(ipaddress.ip_address(two["client"])) == mask
