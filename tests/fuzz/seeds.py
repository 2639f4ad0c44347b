"""Inputs to start from: captures cut into what each target takes, and some messages written out here."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

LARGEST = 6000
PCAP_MAGICS = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">"}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
KNOWN_LINKS = [1, 0, 108, 12, 14, 101, 228, 229, 113, 276]


# ---------------------------------------------------------------- captures


def frames_of_pcap(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    link = struct.unpack(order + "I", data[20:24])[0] & 0x0FFFFFFF
    at = 24
    while at + 16 <= len(data):
        captured = struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        yield link, data[at + 16 : at + 16 + captured]
        at += 16 + captured


def frames_of_pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    order, links, at = "<", [], 0
    while at + 12 <= len(data):
        if data[at : at + 4] == PCAPNG_MAGIC:
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        kind, total = struct.unpack(order + "II", data[at : at + 8])
        if total < 12:
            return
        if kind == 1:
            links.append(struct.unpack(order + "H", data[at + 8 : at + 10])[0])
        if kind == 6 and at + 28 <= len(data):
            interface, captured = (struct.unpack(order + "I", data[at + n : at + n + 4])[0] for n in (8, 20))
            if interface < len(links):
                yield links[interface], data[at + 28 : at + 28 + captured]
        at += total


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    if data[:4] in PCAP_MAGICS and len(data) >= 24:
        yield from frames_of_pcap(data, PCAP_MAGICS[data[:4]])
    elif data[:4] == PCAPNG_MAGIC:
        yield from frames_of_pcapng(data)


def ip_of(link: int, frame: bytes) -> bytes:
    skip = {1: 14, 0: 4, 108: 4, 113: 16, 276: 20, 101: 0, 12: 0, 228: 0, 229: 0}.get(link)
    if skip is None:
        return b""
    if link == 1 and frame[12:14] in (b"\x81\x00", b"\x88\xa8"):
        skip += 4
    packet = frame[skip:]
    return packet if packet[:1] and packet[0] >> 4 in (4, 6) else b""


def transport_of(packet: bytes) -> tuple[int, bytes, bytes]:
    """Protocol, header and payload; 0 where they are not plain."""
    if packet[:1] and packet[0] >> 4 == 4 and len(packet) >= 20:
        protocol, rest = packet[9], packet[(packet[0] & 15) * 4 : struct.unpack(">H", packet[2:4])[0]]
    elif len(packet) >= 40:
        protocol, rest = packet[6], packet[40:]
    else:
        return 0, b"", b""
    if protocol == 6 and len(rest) >= 20:
        n = (rest[12] >> 4) * 4
        return 6, rest[:n], rest[n:]
    if protocol == 17 and len(rest) >= 8:
        return 17, rest[:8], rest[8:]
    return protocol, b"", rest


# ---------------------------------------------------------------- messages written out here


def vector(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def client_hello(name: bytes, *more: tuple[int, bytes]) -> bytes:
    """Handshake bytes of a hello with this server name."""
    entries = [(0, vector(b"\0" + vector(name, 2), 2)), *more] if name else list(more)
    extensions = b"".join(struct.pack(">H", kind) + vector(data, 2) for kind, data in entries)
    body = b"\3\3" + bytes(32) + vector(b"", 1) + vector(b"\x13\1", 2) + vector(b"\0", 1) + vector(extensions, 2)
    return b"\1" + vector(body, 3)


def record(handshake: bytes, each: int = 16384) -> bytes:
    parts = [handshake[at : at + each] for at in range(0, len(handshake), each)]
    return b"".join(b"\x16\3\1" + vector(part, 2) for part in parts)


HELLOS = [
    client_hello(b"a.example"),
    client_hello(b"b.example", (16, vector(vector(b"h2", 1), 2)), (0xFE0D, bytes(40)), (43, b"\2\3\4")),
    client_hello(b"", (0xFFCE, bytes(8))),
]
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\n\r\n",
    b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nhost:\t[2001:db8::1]:443 \r\n\r\n",
    b"OPTIONS * HTTP/1.0\nX: y\n\n",
]


def dns_name(*labels: bytes) -> bytes:
    return b"".join(vector(label, 1) for label in labels) + b"\0"


def dns_records(kinds: list[tuple[int, bytes]], tail: bytes = b"") -> bytes:
    answers = b"".join(b"\xc0\x0c" + struct.pack(">HHI", kind, 1, 60) + vector(data, 2) for kind, data in kinds)
    counts = struct.pack(">HHHH", 1, len(kinds), 0, 1 if tail else 0)
    question = dns_name(b"A", b"b.c\\", b"example") + struct.pack(">HH", kinds[0][0], 1)
    return b"\x12\x34\x81\x80" + counts + question + answers + tail


EDNS = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
DNS = [
    dns_records([(1, b"\x0a\0\0\1")]),
    dns_records([(5, b"\3www\xc0\x0c"), (1, b"\xc0\0\2\1"), (1, b"\x08\x08\x08\x08")], EDNS),
    dns_records([(28, bytes.fromhex("20010db8000000000000000000000001"))]),
    dns_records([(2, b"\xc0\x0c"), (12, b"\xc0\x0c"), (39, b"\1x\xc0\x0c"), (16, b"\5words")]),
]
SPECIAL = ["00000000", "7f000001", "ac100001", "a9fe0001", "64400001", "c6336401", "c6120001", "e0000001", "f0000001"]
SPECIAL6 = ["00" * 16, "00" * 15 + "01", *(start + "00" * 14 for start in ("fe80", "fc00", "ff02", "2600"))]
DNS += [dns_records([(1, bytes.fromhex(address))]) for address in SPECIAL]
DNS += [dns_records([(28, bytes.fromhex(address))]) for address in SPECIAL6]


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    total = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + total + body + total


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def pcapng(frame: bytes, order: str) -> bytes:
    """A section with interfaces of several resolutions, and a packet in each kind of block."""
    out = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    for resolution in (b"\6", b"\x09", b"\x0c", b"\x8a", b"\xbf"):
        options = option(9, resolution, order) + option(14, struct.pack(order + "q", 3600), order)
        options += option(0, b"", order)
        out += block(1, struct.pack(order + "HHI", 101, 0, 65535) + options, order)
    for interface in range(5):
        head = struct.pack(order + "IIIII", interface, 0x5000, 7, len(frame), len(frame))
        out += block(6, head + frame + bytes(-len(frame) % 4), order)
    out += block(2, struct.pack(order + "HHIIII", 0, 0, 0x5000, 8, len(frame), len(frame)) + frame, order)
    out += block(3, struct.pack(order + "I", len(frame)) + frame, order)
    return out + block(5, bytes(20), order) + block(0x0BAD, struct.pack(order + "I", 1), order)


def fragments(version: int) -> bytes:
    """The packets of f_ip: a datagram in three parts, the last one first."""
    message = struct.pack(">HHHH", 4000, 53, 8 + len(DNS[0]), 0) + DNS[0] + bytes(-len(DNS[0]) % 8)
    out = b""
    for offset, more in ((32, 0), (0, 1), (16, 1)):
        part = message[offset : offset + 16] if more else message[offset:]
        if version == 4:
            packet = struct.pack(">BBHHHBBH", 0x45, 1, 0, 0, more << 13 | offset // 8, 64, 17, 0) + bytes(8)
        else:
            packet = b"\x80\1" + bytes(38) + struct.pack(">BBHI", 17, 0, offset | more, 0)
        out += struct.pack(">H", 0x8000 | len(packet + part)) + packet + part
    return out


def ip4(protocol: int, payload: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    return head + b"\x0a\0\0\1\x0a\0\0\2" + payload


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", 40000, port, 8 + len(payload), 0) + payload


def tunnels() -> Iterator[bytes]:
    """Ethernet frames with a packet in each kind of tunnel."""
    inner = ip4(17, udp(53, DNS[0]))
    frame = bytes(12) + b"\x08\0" + inner
    six = b"\x60\0\0\0" + struct.pack(">HBB", len(inner) - 20, 17, 64) + bytes(32) + inner[20:]
    packets = [
        ip4(4, inner),
        ip4(41, six),
        ip4(47, b"\0\0\x08\0" + inner),
        ip4(47, b"\xb0\0\x65\x58" + bytes(12) + frame),
        ip4(47, b"\x10\0\x88\xbe" + bytes(4) + bytes(8) + frame),
        ip4(47, b"\x20\1\x88\x0b" + bytes(4) + b"\xff\3\0\x21" + inner),
        ip4(17, udp(4789, b"\x08" + bytes(7) + frame)),
        ip4(17, udp(6081, b"\0\0\x65\x58" + bytes(4) + frame)),
        ip4(17, udp(2152, b"\x30\xff" + struct.pack(">HI", len(inner), 1) + inner)),
        ip4(17, udp(3544, six)),
        ip4(17, udp(1701, b"\0\2" + bytes(4) + b"\xff\3\0\x21" + inner)),
        ip4(51, b"\4\4" + bytes(22) + inner),
    ]
    yield from (bytes(12) + b"\x08\0" + packet for packet in packets)
    yield bytes(12) + b"\x88\x47\0\0\0\x40\0\0\1\x40" + inner
    yield bytes(12) + b"\x88\x64\x11\0\0\1" + struct.pack(">H", len(inner) + 2) + b"\0\x21" + inner
    yield bytes(12) + struct.pack(">H", len(inner) + 8) + b"\xaa\xaa\3\0\0\0\x08\0" + inner
    yield bytes(12) + b"\x88\xe7" + bytes(4) + frame


# ---------------------------------------------------------------- one target's inputs


def prefixed_frames(captures: list[bytes]) -> Iterator[tuple[int, bytes]]:
    for data in captures:
        for n, (link, frame) in enumerate(frames(data)):
            if n >= 8:
                break
            yield link, frame


def of_containers(target: str, captures: list[bytes]) -> Iterator[bytes]:
    packet = bytes.fromhex("4500001c000000004011000000000000000000000035003500080000")
    made = [pcapng(packet, "<"), pcapng(packet, ">"), pcapng(packet, "<") + pcapng(packet, ">")]
    for data in captures + made:
        is_pcap = data[:4] in PCAP_MAGICS
        if target == "f_feed":
            yield bytes(8) + data[:LARGEST]
            yield b"\1\2\3\2\0\7\0\x40" + data[:4096]
        elif is_pcap == (target == "f_pcap") and (is_pcap or data[:4] == PCAPNG_MAGIC):
            yield b"\1\0" + data[:2000]


def of_frames(target: str, captures: list[bytes]) -> Iterator[bytes]:
    for link, frame in prefixed_frames(captures):
        packet = ip_of(link, frame)
        protocol, header, payload = transport_of(packet)
        if target == "f_link":
            number = KNOWN_LINKS.index(link) if link in KNOWN_LINKS else link
            yield struct.pack(">HB", number & 0xFFFF, 0) + frame[:1000]
        elif target == "f_ip" and packet:
            part = packet[:1000]
            yield b"\0" + struct.pack(">H", len(part)) + part
        elif target == "f_tls" and protocol == 6 and payload[:2] == b"\x16\3":
            yield b"\0" + payload
        elif target == "f_http" and protocol == 6 and b" HTTP/1" in payload[:2000]:
            yield b"\x1f" + payload[:1000]
        elif target == "f_answer" and protocol == 6 and payload.startswith((b"HTTP/", b"<html", b"\x16\3", b"\x15\3")):
            yield b"\0" + payload[:2000]
        elif target == "f_dns" and protocol == 17 and b"\x00\x35" in (header[:2], header[2:4]):
            yield b"\xff\xff\1" + payload


def of_messages(target: str) -> Iterator[bytes]:
    if target == "f_tls":
        for hello in HELLOS:
            yield from (b"\0" + record(hello), b"\0" + record(hello, 20), b"\5" + hello)
    elif target == "f_http":
        for request in REQUESTS:
            yield from (b"\0" + request, b"\x20" + request)
    elif target == "f_answer":
        for hello in HELLOS:
            yield b"\5" + hello
        yield from (b"\0<html><title>No</title>", b"\0HTTP/1.1 302 Found\r\nLocation: http://a.example/\r\n\r\n<html>")
    elif target == "f_quic":
        for hello in HELLOS:
            crypto = b"\6\0" + struct.pack(">H", 0x4000 | len(hello[:900])) + hello[:900]
            for bits in (0x20, 0x21, 0x22, 0x60):
                yield b"\0\0\0" + bytes((bits, 1, 0)) + struct.pack(">H", len(crypto)) + crypto
    elif target == "f_dns":
        for message in DNS:
            yield from (b"\xff\xff\1" + message, b"\0\x20\x18" + message)
    elif target == "f_dns_tcp":
        stream = b"".join(struct.pack(">H", len(message)) + message for message in DNS if len(message) > 11)
        yield from (b"\0\x07\0\x21" + stream, b"\x01\0\x03\xff" + stream * 40, b"\x02\x01\0\0\x40\x01" + bytes(17000))
    elif target == "f_ip":
        yield from (b"\0" + fragments(4), b"\1" + fragments(6), b"\2" + fragments(4) + fragments(4))
    elif target == "f_link":
        yield from (struct.pack(">HB", 0, 0) + frame for frame in tunnels())
    elif target == "f_tcp":
        for hello in HELLOS:
            stream, kind = record(hello), 0
            yield bytes([1, 7, kind]) + struct.pack(">H", len(stream)) + stream + b"\3\0\0\x28\0\0\x20\xff\0\0\x30\xff"
        for request in REQUESTS:
            yield bytes([1, 7, 0]) + struct.pack(">H", len(request)) + request + b"\0\0\0\xff\6\0\0\1\x20\x08\1"


def of_target(target: str, captures: list[bytes]) -> Iterator[bytes]:
    yield b""
    yield from of_messages(target)
    if target in ("f_feed", "f_pcap", "f_pcapng"):
        yield from of_containers(target, captures)
    else:
        yield from of_frames(target, captures)


def write(into: Path, folders: list[Path], targets: list[str]) -> None:
    """into/<target>/<digest> for each input; captures are what lies in the folders and begins like one."""
    captures = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= 4 << 20:
                data = path.read_bytes()
                if data[:4] in PCAP_MAGICS or data[:4] == PCAPNG_MAGIC:
                    captures.append(data)
    for target in targets:
        (into / target).mkdir(parents=True, exist_ok=True)
        for data in of_target(target, captures):
            (into / target / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)
