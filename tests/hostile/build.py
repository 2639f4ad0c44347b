"""
Bytes of frames and captures, built in Python and independently of csrc/.

Each function gives the bytes of one layer; what a field lies about is a keyword.  Times are in nanoseconds since the
epoch.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

START_NS = 1_700_000_000 * 10**9
MS = 10**6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT, SERVER, RESOLVER = "10.20.0.7", "93.184.216.34", "9.9.9.9"
MAC = bytes.fromhex("020000000002 020000000001")


class Record(NamedTuple):
    """A frame of a capture; wire: its length on the wire where that is more than what was captured."""

    time_ns: int
    data: bytes
    wire: int | None = None


# ---------------------------------------------------------------- link layers


def ethernet(payload: bytes, kind: int | None = None, tags: Sequence[int] = ()) -> bytes:
    """Ethernet II, with 802.1Q tags of these VLAN ids, outermost first."""
    types = b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags)
    return MAC + types + struct.pack("!H", ethertype(payload) if kind is None else kind) + payload


def ethertype(packet: bytes) -> int:
    return 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800


def sll(payload: bytes) -> bytes:
    """Linux cooked, version 1."""
    return struct.pack("!HHH8sH", 0, 1, 6, MAC[:6], ethertype(payload)) + payload


def sll2(payload: bytes) -> bytes:
    """Linux cooked, version 2."""
    return struct.pack("!HHIHBB8s", ethertype(payload), 0, 2, 1, 0, 6, MAC[:6]) + payload


def loopback(payload: bytes) -> bytes:
    """BSD loopback, address family in little-endian order."""
    return struct.pack("<I", 30 if payload[0] >> 4 == 6 else 2) + payload


def raw(payload: bytes) -> bytes:
    return payload


LINKS = {1: ethernet, 113: sll, 276: sll2, 0: loopback, 108: loopback, 101: raw, 12: raw}

# ---------------------------------------------------------------- network layers


def checksum(data: bytes) -> int:
    """RFC 1071."""
    even = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def ipv4(
    payload: bytes,
    source: str = CLIENT,
    destination: str = SERVER,
    *,
    protocol: int = 6,
    ttl: int = 64,
    ip_id: int = 7,
    fragment: int = 0x4000,
    tos: int = 0,
    options: bytes = b"",
    total: int | None = None,
    header: int | None = None,
) -> bytes:
    words = 5 + len(options) // 4 if header is None else header
    length = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH", 0x40 | words, tos, length, ip_id, fragment, ttl, protocol, 0)
    head += ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(
    payload: bytes,
    source: str = "2001:db8::7",
    destination: str = "2001:db8::1",
    *,
    protocol: int = 6,
    ttl: int = 64,
    extensions: Sequence[tuple[int, bytes]] = (),
    length: int | None = None,
) -> bytes:
    """extensions: (type, bytes from the third of the header on); lengths and next headers are filled in."""
    types = [kind for kind, _ in extensions] + [protocol]
    chain = b"".join(
        struct.pack("!BB", following, 0 if kind == 44 else (len(body) + 2) // 8 - 1) + body
        for (kind, body), following in zip(extensions, types[1:], strict=True)
    )
    size = len(chain) + len(payload) if length is None else length
    ends = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return struct.pack("!IHBB", 6 << 28, size, types[0], ttl) + ends + chain + payload


# ---------------------------------------------------------------- transport layers


def tcp(
    data: bytes = b"",
    *,
    ports: tuple[int, int] = (40000, 443),
    seq: int = 1000,
    ack: int = 0,
    flags: int = ACK,
    window: int = 500,
    options: bytes = b"",
    words: int | None = None,
) -> bytes:
    bits = (5 + len(options) // 4 if words is None else words) << 12 | flags
    return struct.pack("!HHIIHHHH", *ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, bits, window, 0, 0) + options + data


def udp(data: bytes, ports: tuple[int, int] = (40000, 53), length: int | None = None) -> bytes:
    return struct.pack("!HHHH", *ports, 8 + len(data) if length is None else length, 0) + data


def icmp(kind: int, code: int, quoted: bytes) -> bytes:
    """An ICMP error that quotes a packet."""
    return struct.pack("!BBHI", kind, code, 0, 0) + quoted


# ---------------------------------------------------------------- what is said over them


def client_hello(name: str | bytes | None = "a.example", padding: int = 0, ech: bool = False) -> bytes:
    """A ClientHello message (without its record header)."""
    host = name.encode() if isinstance(name, str) else name
    extensions = b""
    if host is not None:
        item = b"\0" + struct.pack("!H", len(host)) + host
        extensions += struct.pack("!HHH", 0, len(item) + 2, len(item)) + item
    if ech:
        extensions += struct.pack("!HH", 0xFE0D, 4) + bytes(4)
    if padding:
        extensions += struct.pack("!HH", 21, padding) + bytes(padding)
    body = b"\3\3" + bytes(range(32)) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    return b"\1" + len(body).to_bytes(3, "big") + body


def tls_records(message: bytes, size: int = 16384, kind: int = 22) -> bytes:
    """A handshake message in records of at most `size` bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(struct.pack("!BHH", kind, 0x0301, len(part)) + part for part in parts)


def handshake(kind: int, body: bytes) -> bytes:
    """A TLS handshake message."""
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def server_hello(version: int = 0x0303, cipher: int = 0xC02F) -> bytes:
    """A ServerHello; from TLS 1.3 on with supported_versions."""
    chosen = struct.pack("!HHH", 43, 2, version) if version > 0x0303 else b"\xff\1\0\1\0"
    fixed = b"\3\3" + bytes(32) + b"\0" + cipher.to_bytes(2, "big") + b"\0"
    return handshake(2, fixed + struct.pack("!H", len(chosen)) + chosen)


def der(tag: int, *parts: bytes) -> bytes:
    """A value in DER."""
    body = b"".join(parts)
    size = len(body).to_bytes(max(1, (len(body).bit_length() + 7) // 8), "big")
    return bytes((tag,)) + (size if len(body) < 128 else bytes((0x80 | len(size),)) + size) + body


def der_name(common: str, organisation: str = "") -> bytes:
    """A Name of organisation and common name."""
    fields = ((10, organisation), (3, common))
    pairs = [der(0x30, der(6, bytes((0x55, 4, kind))), der(0x0C, text.encode())) for kind, text in fields if text]
    return der(0x30, *(der(0x31, pair) for pair in pairs))


def certificate(
    subject: str = "a.example",
    issuer: tuple[str, str] = ("Box CA", "Box"),
    names: Sequence[str] = (),
    years: tuple[int, int] = (24, 25),
) -> bytes:
    """A Certificate message with one certificate that no key belongs to."""
    algorithm = der(0x30, der(6, b"\x2a\x03"))
    times = [der(0x17, f"{year}0120190200Z".encode()) for year in years]
    others = der(0x30, *(der(0x82, name.encode()) for name in names))
    extensions = der(0xA3, der(0x30, der(0x30, der(6, b"\x55\x1d\x11"), der(4, others)))) if names else b""
    owner = der_name(subject), der(0x30, algorithm, der(3, b"\0" + bytes(270)))
    head = der(0xA0, der(2, b"\2")), der(2, b"\5"), algorithm, der_name(*issuer), der(0x30, *times)
    whole = der(0x30, der(0x30, *head, *owner, extensions), algorithm, der(3, b"\0" + bytes(64)))
    one = len(whole).to_bytes(3, "big") + whole
    return handshake(11, len(one).to_bytes(3, "big") + one)


def request(host: str = "a.example", path: str = "/x", head: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nAccept: */*\r\nHost: {host}\r\n{head}\r\n".encode()


def dns_name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label) + b"\0"


def dns(
    name: str = "a.example",
    answers: Iterable[tuple[int, bytes]] = (),
    *,
    ident: int = 0x1234,
    kind: int = 1,
    flags: int | None = None,
    edns: bool = False,
) -> bytes:
    """A DNS message; answers are (type, data), their owner a pointer to the question."""
    records = [b"\xc0\x0c" + struct.pack("!HHIH", of, 1, 60, len(data)) + data for of, data in answers]
    word = (0x8180 if records else 0x0100) if flags is None else flags
    head = struct.pack("!6H", ident, word, 1, len(records), 0, int(edns))
    extra = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0) if edns else b""
    return head + dns_name(name) + struct.pack("!HH", kind, 1) + b"".join(records) + extra


# ---------------------------------------------------------------- conversations


class Segment(NamedTuple):
    """One segment of a conversation; `seq` and `ack` are counted from the ISNs, None: what a stack would send."""

    side: int
    flags: int
    data: bytes = b""
    seq: int | None = None
    ack: int | None = None
    ttl: int | None = None
    ip_id: int = 7
    after_ms: float = 1.0


def conversation(
    segments: Iterable[Segment],
    *,
    isns: tuple[int, int] = (1000, 5000),
    ends: tuple[str, str] = (CLIENT, SERVER),
    ports: tuple[int, int] = (40000, 443),
    start_ns: int = START_NS,
    rtt_ms: float = 40.0,
) -> list[Record]:
    """Ethernet frames of a TCP connection as a capture at the client sees it."""
    following, time_ns, out, side = [0, 0], start_ns, [], 0
    for one in segments:
        time_ns += int((rtt_ms if one.side > side else one.after_ms) * MS)
        side = one.side
        seq = following[side] if one.seq is None else one.seq
        ack = following[1 - side] if one.ack is None else one.ack
        segment = tcp(
            one.data,
            ports=ports if side == 0 else ports[::-1],
            seq=isns[side] + seq,
            ack=isns[1 - side] + ack if one.flags & ACK else 0,
            flags=one.flags,
        )
        ttl = one.ttl or (50 if side else 64)
        out.append(Record(time_ns, ethernet(ipv4(segment, *ends[:: 1 - 2 * side], ttl=ttl, ip_id=one.ip_id))))
        if not one.flags & RST:
            following[side] = max(following[side], seq + len(one.data) + bool(one.flags & (SYN | FIN)))
    return out


HANDSHAKE = [Segment(0, SYN), Segment(1, SYN | ACK), Segment(0, ACK)]


def talk(said: bytes, answer: bytes = b"\x16\3\3\0\4\2\0\0\0", **where: object) -> list[Record]:
    """A connection that goes well: handshake, what the client says, an answer, both FINs."""
    segments = [*HANDSHAKE, Segment(0, PSH | ACK, said), Segment(1, ACK), Segment(1, PSH | ACK, answer)]
    segments += [Segment(0, ACK), Segment(0, FIN | ACK), Segment(1, FIN | ACK), Segment(0, ACK)]
    return conversation(segments, **where)  # type: ignore[arg-type]


ADDRESS = bytes((93, 184, 216, 34))


def question(name: str = "a.example", address: bytes = ADDRESS, start_ns: int = START_NS) -> list[Record]:
    """A DNS question and its answer."""
    asked = ipv4(udp(dns(name)), CLIENT, RESOLVER, protocol=17)
    told = ipv4(udp(dns(name, [(1, address)]), (53, 40000)), RESOLVER, CLIENT, protocol=17, ttl=50, ip_id=4711)
    return [Record(start_ns, ethernet(asked)), Record(start_ns + 30 * MS, ethernet(told))]


# ---------------------------------------------------------------- containers


def pcap(
    records: Iterable[Record],
    *,
    order: str = "<",
    nano: bool = False,
    link: int = 1,
    snap: int = 262144,
    version: tuple[int, int] = (2, 4),
    magic: int | None = None,
) -> bytes:
    scale = 1 if nano else 1000
    number = (0xA1B23C4D if nano else 0xA1B2C3D4) if magic is None else magic
    out = [struct.pack(order + "IHHiIII", number, *version, 0, 0, snap, link)]
    for one in records:
        seconds, ns = divmod(one.time_ns, 10**9)
        wire = len(one.data) if one.wire is None else one.wire
        out += [struct.pack(order + "IIII", seconds, ns // scale, len(one.data), wire), one.data]
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<", length: int | None = None, trailer: int | None = None) -> bytes:
    """A pcapng block; its two lengths can be made to lie."""
    body += bytes(-len(body) % 4)
    total = 12 + len(body) if length is None else length
    end = total if trailer is None else trailer
    return struct.pack(order + "II", kind, total & 0xFFFFFFFF) + body + struct.pack(order + "I", end & 0xFFFFFFFF)


def option(code: int, value: bytes, order: str = "<", length: int | None = None) -> bytes:
    return struct.pack(order + "HH", code, len(value) if length is None else length) + value + bytes(-len(value) % 4)


def section(order: str = "<", version: tuple[int, int] = (1, 0), length: int = -1, bom: int = 0x1A2B3C4D) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", bom, *version, length), order)


def interface(order: str = "<", link: int = 1, snap: int = 262144, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def packet_block(
    data: bytes, ticks: int, order: str = "<", number: int = 0, captured: int | None = None, wire: int | None = None
) -> bytes:
    """An enhanced packet block."""
    size = len(data) if captured is None else captured
    head = (number, ticks >> 32 & 0xFFFFFFFF, ticks & 0xFFFFFFFF, size, size if wire is None else wire)
    return block(6, struct.pack(order + "IIIII", *head) + data, order)


def pcapng(
    records: Iterable[Record], *, order: str = "<", link: int = 1, resolution: int | None = 9, snap: int = 262144
) -> bytes:
    """One section, one interface; resolution as in if_tsresol, None: left out (microseconds)."""
    options = b"" if resolution is None else option(9, bytes((resolution,)), order) + option(0, b"", order)
    code = 6 if resolution is None else resolution
    per_second = 1 << (code & 0x7F) if code & 0x80 else 10**code
    out = [section(order), interface(order, link, snap, options)]
    for one in records:
        ticks = one.time_ns * per_second // 10**9
        out.append(packet_block(one.data, ticks, order, wire=one.wire))
    return b"".join(out)
