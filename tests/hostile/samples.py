"""One small sample for each parser: single frames by link type, and connections whose names lie across segments."""

from __future__ import annotations

import struct

from hostile import build
from hostile.build import ACK, HANDSHAKE, PSH, Record, Segment

TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")
SYN_OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")
ROUTING, HOP_BY_HOP, DESTINATION, FRAGMENT, AUTHENTICATION = 43, 0, 60, 44, 51


def _quoted(packet: bytes) -> bytes:
    """As much of a packet as RFC 792 wants quoted, and a little more."""
    return packet[:40]


def _answer(*answers: tuple[int, bytes], **fields: object) -> bytes:
    message = build.dns("a.example", answers, edns=True, **fields)  # type: ignore[arg-type]
    packet = build.udp(message, (53, 40000))
    return build.ethernet(build.ipv4(packet, build.RESOLVER, build.CLIENT, protocol=17, ttl=50))


def _query(message: bytes) -> bytes:
    return build.ethernet(build.ipv4(build.udp(message), build.CLIENT, build.RESOLVER, protocol=17))


HELLO = build.tls_records(build.client_hello())
SEGMENT = build.ipv4(build.tcp(HELLO, options=TIMESTAMPS, flags=PSH | ACK))
SEGMENT6 = build.ipv6(build.tcp(HELLO, flags=PSH | ACK))
EXTENSIONS = ((HOP_BY_HOP, bytes(6)), (ROUTING, bytes(6)), (FRAGMENT, bytes(6)), (DESTINATION, bytes(14)))
POINTERS = b"".join(b"\xc0" + bytes((12 + 2 * n,)) for n in range(20))

# name -> (link type, frame)
FRAMES: dict[str, tuple[int, bytes]] = {
    "ethernet": (1, build.ethernet(SEGMENT)),
    "vlan": (1, build.ethernet(SEGMENT, tags=(5,))),
    "qinq": (1, build.ethernet(SEGMENT, tags=(5, 6, 7))),
    "tags without end": (1, build.ethernet(SEGMENT, tags=range(30))),
    "arp": (1, build.ethernet(bytes(28), 0x0806)),
    "llc": (1, build.ethernet(bytes(40), 38)),
    "cooked": (113, build.sll(SEGMENT)),
    "cooked v2": (276, build.sll2(SEGMENT)),
    "null": (0, build.loopback(SEGMENT)),
    "loop": (108, build.loopback(SEGMENT6)),
    "raw": (101, SEGMENT),
    "raw, IPv6": (101, SEGMENT6),
    "unknown link": (147, SEGMENT),
    "IPv4 options": (101, build.ipv4(build.tcp(), options=bytes.fromhex("0101020307aabb00"))),
    "IPv4 fragment": (101, build.ipv4(build.tcp(HELLO), fragment=0x2000)),
    "IPv4 total length 0": (101, build.ipv4(build.tcp(HELLO), total=0)),
    "IPv4 in IPv4": (101, build.ipv4(SEGMENT, protocol=4)),
    "IPv6 extensions": (101, build.ipv6(build.tcp(HELLO), extensions=EXTENSIONS)),
    "IPv6 many extensions": (101, build.ipv6(build.tcp(), extensions=[(HOP_BY_HOP, bytes(6))] * 20)),
    "IPv6 authentication": (101, build.ipv6(build.tcp(), extensions=[(AUTHENTICATION, bytes(22))])),
    "TCP options": (101, build.ipv4(build.tcp(options=SYN_OPTIONS, flags=2))),
    "TCP options of length 0": (101, build.ipv4(build.tcp(options=bytes.fromhex("0101020005b40303")))),
    "UDP": (101, build.ipv4(build.udp(b"x" * 20, (40000, 9999)), protocol=17)),
    "QUIC": (101, build.ipv4(build.udp(b"\xc3\0\0\0\1" + bytes(1195), (40000, 443)), protocol=17)),
    "ICMP": (101, build.ipv4(build.icmp(3, 13, _quoted(SEGMENT)), protocol=1)),
    "ICMP, UDP quoted": (
        101,
        build.ipv4(build.icmp(3, 3, build.ipv4(build.udp(build.dns()), protocol=17)[:28]), protocol=1),
    ),
    "ICMP in ICMP": (
        101,
        build.ipv4(build.icmp(3, 1, build.ipv4(build.icmp(11, 0, SEGMENT[:28]), protocol=1)), protocol=1),
    ),
    "ICMPv6": (101, build.ipv6(build.icmp(1, 1, SEGMENT6[:60]), protocol=58)),
    "request": (101, build.ipv4(build.tcp(build.request(), ports=(40000, 80)))),
    "DNS query": (1, _query(build.dns(edns=True))),
    "DNS answer": (1, _answer((5, b"\1b\xc0\x0e"), (1, bytes((192, 0, 2, 1))), (28, bytes(15) + b"\1"))),
    "DNS answer without end": (1, _answer((1, b"\1\2"), (16, b"\xff" + b"x" * 20))),
    "DNS pointer to itself": (1, _query(build.dns()[:12] + b"\xc0\x0c\0\1\0\1")),
    "DNS pointers in a circle": (1, _query(build.dns()[:12] + b"\xc0\x0e\xc0\x0c\0\1\0\1")),
    "DNS pointers in a chain": (1, _query(build.dns()[:12] + b"\0" + POINTERS + b"\0\1\0\1")),
    "DNS counts that lie": (1, _query(struct.pack("!6H", 1, 0x8180, 65535, 65535, 65535, 65535) + b"\0" * 60)),
}


def _said(*parts: bytes, port: int = 443, order: tuple[int, ...] | None = None) -> list[Record]:
    """A connection in which the client says these parts in segments of their own, sent in this order."""
    places, at = [], 1
    for part in parts:
        places.append(at)
        at += len(part)
    sent = [Segment(0, PSH | ACK, parts[n], seq=places[n]) for n in order or range(len(parts))]
    answer = b"\x16\3\3\0\4\2\0\0\0" if port == 443 else b"HTTP/1.1 200 OK\r\n\r\n"
    segments = [*HANDSHAKE, *sent, Segment(1, PSH | ACK, answer), Segment(0, ACK)]
    return build.conversation(segments, ports=(40000, port))


def _told(*parts: bytes, said: bytes, port: int = 443, order: tuple[int, ...] | None = None) -> list[Record]:
    """A connection in which the server says these parts in segments of their own, sent in this order."""
    places = [1 + sum(map(len, parts[:n])) for n in range(len(parts))]
    sent = [Segment(1, PSH | ACK, parts[n], seq=places[n]) for n in order or range(len(parts))]
    return build.conversation([*HANDSHAKE, Segment(0, PSH | ACK, said), *sent, Segment(0, ACK)], ports=(40000, port))


FLIGHT = build.tls_records(build.server_hello() + build.certificate(names=("a.example",)), size=300)
PAGE = b"HTTP/1.1 302 Found\r\nServer: x\r\nLocation: http://192.0.2.9/deny?u=a.example\r\n\r\n<html><title>No</title>"

LONG = build.tls_records(build.client_hello("long.example", padding=40))
TINY = build.tls_records(build.client_hello("b.example"), size=1)
ASKED = build.request("c.example", head="Cookie: d\r\n")

# name -> records of a capture
STREAMS: dict[str, list[Record]] = {
    "hello": build.talk(HELLO),
    "hello in three segments": _said(LONG[:40], LONG[40:90], LONG[90:]),
    "hello from behind": _said(LONG[:40], LONG[40:90], LONG[90:], order=(2, 1, 0)),
    "hello in one-byte records": _said(TINY[:250], TINY[250:]),
    "request in two segments": _said(ASKED[:30], ASKED[30:], port=80),
    "question": build.question(),
    "certificate": _told(FLIGHT, said=HELLO),
    "certificate from behind": _told(FLIGHT[:60], FLIGHT[60:90], FLIGHT[90:], said=HELLO, order=(2, 1, 0)),
    "alert": _told(b"\x15\3\3\0\2\2\x28", said=HELLO),
    "page in two segments": _told(PAGE[:40], PAGE[40:], said=build.request("c.example"), port=80),
    "page without a head": _told(b"<html><title>No</title></html>", said=build.request("c.example"), port=80),
}
NAMES = {
    "hello": b"a.example",
    "hello in three segments": b"long.example",
    "hello from behind": b"long.example",
    "hello in one-byte records": b"b.example",
    "request in two segments": b"c.example",
    "question": b"a.example",
    "certificate": b"a.example",
    "certificate from behind": b"a.example",
    "alert": b"a.example",
    "page in two segments": b"c.example",
    "page without a head": b"c.example",
}
