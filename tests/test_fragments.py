"""Fragments: the datagram stands at the frame that completes it, whatever their order; holes and overlaps do not."""

from __future__ import annotations

import itertools
import random
import struct
from typing import Any

import pytest

import build
from tamperscope import core
from tamperscope.capture import open_capture

A, B = "192.0.2.1", "198.51.100.7"
PAYLOAD = random.Random(3).randbytes(2000)
IP4 = build.udp(A, 4000, B, 5000, PAYLOAD)[14:]
IP6 = build.udp("2001:db8::1", 4000, "2001:db8::2", 5000, PAYLOAD)[14:]
FRAGMENT, CONFLICT = core.constant("AN_IP_FRAGMENT"), core.constant("AN_FRAGMENT_CONFLICT")


def part4(data: bytes, offset: int, more: bool, ip_id: int = 7, packet: bytes = IP4) -> bytes:
    """A frame with bytes of an IPv4 datagram."""
    head = packet[:2] + struct.pack(">HHH", 20 + len(data), ip_id, more << 13 | offset // 8) + packet[8:20]
    return bytes(12) + b"\x08\0" + head + data


def part6(data: bytes, offset: int, more: bool, ip_id: int = 7, packet: bytes = IP6) -> bytes:
    head = packet[:4] + struct.pack(">HB", 8 + len(data), 44) + packet[7:40]
    return bytes(12) + b"\x86\xdd" + head + struct.pack(">BBHI", packet[6], 0, offset | more, ip_id) + data


def split(version: int, *cuts: int, ip_id: int = 7) -> list[bytes]:
    """Frames of the datagram, cut there."""
    body, part = (IP4[20:], part4) if version == 4 else (IP6[40:], part6)
    edges = [0, *cuts, len(body)]
    return [part(body[a:b], a, b < len(body), ip_id) for a, b in itertools.pairwise(edges)]


def rows(frames: list[bytes], gap: float = 0.001, snap: int = 262_144) -> Any:
    with open_capture(build.pcap([(i * gap, frame) for i, frame in enumerate(frames)], snap=snap)) as capture:
        return next(iter(capture)).packets


def complete(packets: Any) -> list[int]:
    """Frames at which a datagram of the whole length stands."""
    return [
        int(f)
        for f, n, flow in zip(packets.frame, packets.payload_length, packets.flow, strict=True)
        if flow and n == 2000
    ]


def summary(frames: list[bytes], gap: float = 0.001) -> Any:
    scan = core.Core(core.FLOWS)
    scan.feed(build.pcap([(i * gap, frame) for i, frame in enumerate(frames)]))
    scan.end()
    return scan.summary()


@pytest.mark.parametrize("version", [4, 6])
def test_any_order(version: int) -> None:
    """Whichever fragment comes last, the datagram is there, once."""
    for order in itertools.permutations(split(version, 8, 800, 1208)):
        packets = rows(list(order))
        assert complete(packets) == [4] and list(packets.flow) == [0, 0, 0, 1]
        assert (packets.source_port[3], packets.destination_port[3]) == (4000, 5000)
        assert all(int(a) == FRAGMENT for a in packets.anomalies)


@pytest.mark.parametrize("version", [4, 6])
def test_a_hole_is_never_filled(version: int) -> None:
    """Each fragment in turn is missing: no transport header is claimed, not even the first one's."""
    parts = split(version, 8, 800, 1208)
    for missing in range(4):
        packets = rows(parts[:missing] + parts[missing + 1 :])
        assert not packets.flow.any() and not packets.source_port.any()


@pytest.mark.parametrize("version", [4, 6])
def test_exact_copies_are_ignored(version: int) -> None:
    parts = split(version, 800)
    packets = rows([parts[0], parts[0], parts[1]])
    assert complete(packets) == [3] and not any(int(a) & CONFLICT for a in packets.anomalies)


def test_ipv4_keeps_what_came_first() -> None:
    """Other ports for a place that is filled: a conflict, and the first ones stand (in both orders)."""
    first, last = split(4, 800)
    forged = part4(struct.pack(">HH", 1, 2) + IP4[24:820], 0, True)
    for frames, port in (([first, forged, last], 4000), ([forged, first, last], 1)):
        packets = rows(frames)
        assert packets.source_port[2] == port and complete(packets) == [3]
        assert [bool(int(a) & CONFLICT) for a in packets.anomalies] == [False, True, True]


def test_ipv6_gives_up_what_overlaps() -> None:
    """RFC 5722: the whole datagram goes, the fragments that follow too."""
    first, last = split(6, 800)
    overlapping = part6(IP6[40 + 792 : 40 + 900], 792, True)
    packets = rows([first, overlapping, last, first, last])
    assert complete(packets) == [] and int(packets.anomalies[1]) & CONFLICT


def test_other_datagrams_are_apart() -> None:
    """Identification, protocol, addresses, VLAN tell them apart."""
    first, last = split(4, 800)
    for other in (
        split(4, 800, ip_id=8)[1],
        last[:23] + b"\x06" + last[24:],
        last[:29] + b"\x09" + last[30:],
        last[:12] + b"\x81\0\0\5" + last[12:],
    ):
        assert complete(rows([first, other])) == []
    assert complete(rows([first, split(4, 800, ip_id=8)[0], last, split(4, 800, ip_id=8)[1]])) == [3, 4]


def test_impossible_fragments() -> None:
    """Of odd length, past the end that is known, past 64 KiB, two ends: not taken, and said so."""
    first, last = split(4, 800)
    odd = part4(IP4[20:813], 0, True)
    beyond = part4(bytes(800), 2400, True)
    huge = part4(bytes(1400), 65_528 - 8, False)
    early = part4(bytes(8), 800, False)
    for frames, conflict, done in (
        ([odd, last], 1, []), ([last, beyond, first], 2, [3]), ([huge, first, last], 1, [3]),
        ([last, early, first], 2, [3]),
    ):  # fmt: skip
        packets = rows(frames)
        assert complete(packets) == done and int(packets.anomalies[conflict - 1]) & CONFLICT


def test_time_out() -> None:
    """30 s of packet time after the first of them."""
    parts = split(4, 800)
    assert complete(rows(parts, 29)) == [2] and complete(rows(parts, 31)) == []


def test_cut_fragments_complete_nothing() -> None:
    """By the snap length: a first fragment still shows its ports, and the UDP length of the datagram."""
    packets = rows(split(4, 800), snap=100)
    assert list(packets.flow) == [1, 0] and packets.source_port[0] == 4000 and packets.payload_length[0] == 2000
    assert not int(packets.anomalies[0]) & core.constant("AN_UDP_LENGTH")


def test_fragmented_tunnel() -> None:
    """A packet in GTP-U whose outer datagram came in fragments, itself a fragment of another."""
    inner = [part4(IP4[20:820], 0, True)[14:], part4(IP4[820:], 800, False)[14:]]
    frames = []
    for number, packet in enumerate(inner):
        outer = build.udp(
            "10.1.0.1", 2152, "10.2.0.2", 2152, b"\x30\xff" + len(packet).to_bytes(2, "big") + bytes(4) + packet
        )[14:]
        frames += [part4(outer[20:420], 0, True, number, outer), part4(outer[420:], 400, False, number, outer)]
    packets = rows(frames)
    assert complete(packets) == [4] and packets.source_port[3] == 4000 and packets.outer_ip[3] == 1
    assert list(packets.flow) == [0, 0, 0, 1]


def test_names_in_fragments_are_found() -> None:
    """A DNS question over two fragments is a transaction."""
    query = build.udp(A, 4000, B, 53, bytes.fromhex("123401000001000000000000") + b"\1a\7example\0\0\1\0\1")[14:]
    frames = [part4(query[20:36], 0, True, 1, query), part4(query[36:], 16, False, 1, query)]
    assert summary(frames).transactions == 1


@pytest.mark.parametrize("version", [4, 6])
def test_flood_is_bounded(version: int) -> None:
    """Twenty thousand datagrams that never end: the oldest go, and are counted."""
    part = part4 if version == 4 else part6
    frames = [part(bytes(800), 0, True, ip_id=i % 65536 if version == 4 else i) for i in range(20_000)]
    found = summary(frames, 0.0001)
    assert found.datagrams_incomplete == 20_000 and found.datagrams_complete == 0 and found.flows == 0
    good = summary(split(version, 800))
    assert (good.datagrams_complete, good.datagrams_incomplete) == (1, 0)


def test_large_datagrams_are_bounded_in_bytes() -> None:
    """Fragments near the end of 64 KiB claim a buffer each: 16 MiB of them are held, the latest."""
    flood = [part4(bytes(8), 65_000, True, ip_id=i) for i in range(2_000)]

    def rest(ip_id: int) -> list[bytes]:
        return [part4(bytes(65_000), 0, True, ip_id), part4(bytes(8), 65_008, False, ip_id)]

    found = summary(flood + rest(1_999) + rest(1_850) + rest(1_700), 0.0001)
    assert found.datagrams_complete == 2
