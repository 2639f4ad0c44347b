"""Frames of a pcap or pcapng file, and the packets in them, as plain dicts."""

from __future__ import annotations

import gzip
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

Packet = dict[str, Any]
MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}


def frames(path: str | pathlib.Path) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(frame, time_ns, interface, link type, bytes) of each record; a file that ends inside a record just ends."""
    data = pathlib.Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(data)
    elif data[:4] in MAGICS:
        yield from _pcap(data)


def _pcap(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    order, scale = MAGICS[data[:4]]
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at, frame = 24, 0
    while at + 16 <= len(data):
        seconds, fraction, captured, _ = struct.unpack_from(order + "4I", data, at)
        if at + 16 + captured > len(data):
            return
        frame += 1
        yield frame, seconds * 10**9 + fraction * scale, 0, link, data[at + 16 : at + 16 + captured]
        at += 16 + captured


def _pcapng(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    at, frame, order = 0, 0, "<"
    interfaces: list[tuple[int, int, int]] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < 12 or at + length > len(data):
            return
        body = data[at + 8 : at + length - 4]
        if kind == 1:
            interfaces.append(_interface(body, order))
        elif kind in (3, 6):
            frame += 1
            number, high, low, captured = (
                (0, 0, 0, len(body) - 4) if kind == 3 else struct.unpack_from(order + "4I", body)
            )
            link, ticks, base = interfaces[number]
            start = 4 if kind == 3 else 20
            time_ns = (high << 32 | low) * 10**9 // ticks + base * 10**9
            yield frame, time_ns, number, link, body[start : start + captured]
        at += length


def _interface(body: bytes, order: str) -> tuple[int, int, int]:
    link, ticks, base, at = struct.unpack_from(order + "H", body)[0], 10**6, 0, 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == 9 and value:
            ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        if code == 14 and length == 8:
            base = struct.unpack(order + "q", value)[0]
        at += 4 + (length + 3) // 4 * 4
    return link, ticks, base


def decode(link: int, data: bytes) -> Packet | None:
    """The innermost TCP, UDP or ICMP packet of a frame; None where there is none that can be trusted."""
    at, kind = _link(link, data)
    if kind in (0x0800, 0x86DD) and at < len(data):
        return _ip(data, at)
    return None


def _link(link: int, data: bytes) -> tuple[int, int]:
    if link == 1 and len(data) >= 14:
        return _vlan(data, 12)
    if link == 113 and len(data) >= 16:
        return _vlan(data, 14)
    if link == 276 and len(data) >= 20:
        return 20, int.from_bytes(data[0:2], "big")
    if link in (0, 108) and len(data) >= 4:
        family = min(int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
        return 4, 0x0800 if family == 2 else 0x86DD
    if link in (12, 14, 101, 228, 229) and data:
        return 0, 0x0800 if data[0] >> 4 == 4 else 0x86DD
    return len(data), 0


def _vlan(data: bytes, at: int) -> tuple[int, int]:
    kind = int.from_bytes(data[at : at + 2], "big")
    while kind in (0x8100, 0x88A8, 0x9100):
        at += 4
        kind = int.from_bytes(data[at : at + 2], "big")
    return at + 2, kind


def _ip(data: bytes, at: int) -> Packet | None:
    version = data[at] >> 4
    p: Packet = {"ip_version": version}
    if version == 4 and len(data) - at >= 20:
        length, p["ip_id"], fragment = struct.unpack_from("!HHH", data, at + 2)
        p.update(tos=data[at + 1], ip_flags=fragment >> 13, ttl=data[at + 8], protocol=data[at + 9])
        p["source"], p["destination"] = (b"\0" * 10 + b"\xff\xff" + data[at + n : at + n + 4] for n in (12, 16))
        start = at + (data[at] & 15) * 4
        # Offloading leaves a length of 0 in outgoing packets.
        end = at + length if length else len(data)
        # MF is bit 0 of the three flag bits; the header numbers them 1 = MF, 2 = DF, 4 = reserved.
        if fragment & 0x1FFF or p["ip_flags"] & 1:
            return None
    elif version == 6 and len(data) - at >= 40:
        length, p["protocol"], p["ttl"] = struct.unpack_from("!HBB", data, at + 4)
        p.update(tos=int.from_bytes(data[at : at + 2], "big") >> 4 & 255, ip_flags=0, ip_id=0)
        p["source"], p["destination"] = data[at + 8 : at + 24], data[at + 24 : at + 40]
        start, end = at + 40, at + 40 + length
        while p["protocol"] in (0, 43, 60) and start + 8 <= len(data):
            p["protocol"], start = data[start], start + 8 + data[start + 1] * 8
    else:
        return None
    return _transport(p, data, start, end)


def _transport(p: Packet, data: bytes, at: int, end: int) -> Packet | None:
    if p["protocol"] == 6 and at + 20 <= len(data):
        p["sport"], p["dport"], p["seq"], p["ack"], bits, p["window"] = struct.unpack_from("!HHIIHH", data, at)
        p["flags"], header = bits & 0xFFF, (bits >> 12) * 4
        p["options"] = data[at + 20 : at + header]
        at += max(header, 20)
    elif p["protocol"] == 17 and at + 8 <= len(data):
        p["sport"], p["dport"], length = struct.unpack_from("!HHH", data, at)
        p.update(seq=0, ack=0, window=0, flags=0, options=b"")
        end, at = min(end, at + length) if length >= 8 else end, at + 8
    elif p["protocol"] in (1, 58) and at + 8 <= len(data):
        return _icmp(p, data, at)
    else:
        return None
    p["length"], p["payload"] = max(end - at, 0), data[at : max(end, at)]
    return p


def _icmp(p: Packet, data: bytes, at: int) -> Packet | None:
    """An ICMP error: `quoted` is the quoted packet with as much of its transport header as is there."""
    kind, code = data[at], data[at + 1]
    if kind not in ((3, 4, 5, 11, 12) if p["protocol"] == 1 else (1, 2, 3, 4)):
        return None
    inner, start = {}, at + 8
    if data[start : start + 1] and data[start] >> 4 == 4 and len(data) >= start + 28:
        head = start + (data[start] & 15) * 4
        inner = {"protocol": data[start + 9], "ip_id": int.from_bytes(data[start + 4 : start + 6], "big")}
        inner["source"], inner["destination"] = (
            b"\0" * 10 + b"\xff\xff" + data[start + n : start + n + 4] for n in (12, 16)
        )
    elif len(data) >= start + 48:
        head = start + 40
        inner = {
            "protocol": data[start + 6],
            "ip_id": 0,
            "source": data[start + 8 : start + 24],
            "destination": data[start + 24 : start + 40],
        }
    if not inner or inner["protocol"] not in (6, 17) or len(data) < head + 8:
        return None
    inner["sport"], inner["dport"], inner["seq"] = struct.unpack_from("!HHI", data, head)
    p.update(quoted=inner, flags=kind << 8 | code)
    return p
