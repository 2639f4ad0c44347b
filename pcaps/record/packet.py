"""IP, TCP, UDP, the head of TLS and DNS: what the boxes and the truth need to read and write, and no more."""

import hashlib
import ipaddress
import struct
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58

# (protocol, client address, client port, server address, server port)
FlowKey = tuple[str, str, int, str, int]


@dataclass(slots=True)
class Packet:
    """One IPv4 or IPv6 packet; extension headers and fragments do not occur here. ICMP has ports 0 and no payload."""

    raw: bytes
    src: str
    dst: str
    ttl: int
    ip_id: int | None
    df: bool | None
    proto: int
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes

    @property
    def end(self) -> int:
        """Sequence number after this segment."""
        return (self.seq + len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)) & 0xFFFFFFFF

    def key(self, from_client: bool) -> FlowKey:
        name = {TCP: "tcp", UDP: "udp"}.get(self.proto, "icmp")
        if from_client:
            return name, self.src, self.sport, self.dst, self.dport
        return name, self.dst, self.dport, self.src, self.sport


def parse(raw: bytes) -> Packet | None:
    """The packet, or None when it is none that this laboratory carries."""
    if len(raw) >= 28 and raw[0] >> 4 == 4:
        header = (raw[0] & 15) * 4
        raw = raw[: int.from_bytes(raw[2:4], "big")]  # Ethernet pads short frames
        ip_id, df, ttl, proto = int.from_bytes(raw[4:6], "big"), bool(raw[6] & 0x40), raw[8], raw[9]
        src, dst = raw[12:16], raw[16:20]
    elif len(raw) >= 48 and raw[0] >> 4 == 6:
        header = 40
        raw = raw[: 40 + int.from_bytes(raw[4:6], "big")]
        ip_id, df, ttl, proto = None, None, raw[7], raw[6]
        src, dst = raw[8:24], raw[24:40]
    else:
        return None
    if proto in (ICMP, ICMP6):
        return Packet(raw, text(src), text(dst), ttl, ip_id, df, proto, 0, 0, 0, 0, 0, 0, b"")
    if proto not in (TCP, UDP):
        return None
    sport, dport = struct.unpack_from("!HH", raw, header)
    seq = ack = flags = window = 0
    payload = raw[header + 8 :]
    if proto == TCP:
        seq, ack, offset, flags, window = struct.unpack_from("!LLBBH", raw, header + 4)
        payload = raw[header + (offset >> 4) * 4 :]
    return Packet(
        raw, text(src), text(dst), ttl, ip_id, df, proto, sport, dport, seq, ack, flags & 0x1F, window, payload
    )


def quoted(packet: Packet) -> Packet | None:
    """The packet that an ICMP error complains about."""
    header = (packet.raw[0] & 15) * 4 if packet.proto == ICMP else 40
    if packet.proto not in (ICMP, ICMP6) or packet.raw[header] not in ((3, 11) if packet.proto == ICMP else (1, 2, 3)):
        return None
    try:
        inner = parse(packet.raw[header + 8 :])
    except struct.error:
        return None
    return inner if inner is not None and inner.proto in (TCP, UDP) else None


def text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def lower_ttl(raw: bytes, hops: int) -> bytes | None:
    """The packet after so many routers, or None where its TTL ran out on the way."""
    packet = bytearray(raw)
    at = 8 if packet[0] >> 4 == 4 else 7
    if packet[at] <= hops:
        return None
    packet[at] -= hops
    if at == 8:
        packet[10:12] = b"\0\0"
        packet[10:12] = checksum(bytes(packet[: (packet[0] & 15) * 4])).to_bytes(2, "big")
    return bytes(packet)


def digest(raw: bytes) -> str:
    """A name for the packet that does not change on its way: TTL and IPv4 header checksum count as zero."""
    packet = bytearray(raw)
    if packet[0] >> 4 == 4:
        packet[8] = packet[10] = packet[11] = 0
    else:
        packet[7] = 0
    return hashlib.blake2b(packet, digest_size=12).hexdigest()


def ip_packet(src: str, dst: str, proto: int, body: bytes, ttl: int, ip_id: int = 0, df: bool = False) -> bytes:
    """An IP packet around a TCP or UDP body whose checksum field (zero so far) is filled in."""
    a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    at = 16 if proto == TCP else 6
    if a.version == 4:
        pseudo = a.packed + b.packed + struct.pack("!BBH", 0, proto, len(body))
    else:
        pseudo = a.packed + b.packed + struct.pack("!LxxxB", len(body), proto)
    value = checksum(pseudo + body)
    if proto == UDP:
        value = value or 0xFFFF  # zero would mean "none"
    body = body[:at] + value.to_bytes(2, "big") + body[at + 2 :]
    if a.version == 6:
        return struct.pack("!LHBB", 6 << 28, len(body), proto, ttl) + a.packed + b.packed + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ip_id, 0x4000 if df else 0, ttl, proto, 0)
    header += a.packed + b.packed
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


def tcp_body(sport: int, dport: int, seq: int, ack: int, flags: int, window: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHLLBBHHH", sport, dport, seq, ack, 5 << 4, flags, window, 0, 0) + payload


def udp_body(sport: int, dport: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def server_name(stream: bytes) -> str | None:
    """The server name of the ClientHello at the start of a stream; None when it is no hello or not yet there."""
    hello = b""
    while len(stream) > 5 and stream[0] == 22:  # a hello may span records
        length = int.from_bytes(stream[3:5], "big")
        hello += stream[5 : 5 + length]
        stream = stream[5 + length :]
    try:
        if hello[0] != 1:
            return None
        at = 4 + 2 + 32
        at += 1 + hello[at]
        at += 2 + int.from_bytes(hello[at : at + 2], "big")
        at += 1 + hello[at]
        at += 2
        while True:
            kind, length = struct.unpack_from("!HH", hello, at)
            if kind == 0:
                size = int.from_bytes(hello[at + 7 : at + 9], "big")
                name = hello[at + 9 : at + 9 + size]
                return name.decode("ascii") if size and len(name) == size else None
            at += 4 + length
    except (IndexError, struct.error):
        return None


@dataclass(slots=True)
class Question:
    ident: int
    name: str
    kind: int
    wire: bytes  # the question section as it was sent
    answers: int


def question(payload: bytes) -> Question | None:
    """Header and question of a DNS message."""
    try:
        ident, _flags, count, answers = struct.unpack_from("!HHHH", payload)
        labels, at = [], 12
        while payload[at]:
            labels.append(payload[at + 1 : at + 1 + payload[at]].decode("ascii"))
            at += 1 + payload[at]
        kind = int.from_bytes(payload[at + 1 : at + 3], "big")
    except (IndexError, struct.error, UnicodeDecodeError):
        return None
    return Question(ident, ".".join(labels), kind, payload[12 : at + 5], answers) if count == 1 else None


def forged_answer(asked: Question, address: str, ttl: int, flags: int) -> bytes:
    """One answer record for the question; EDNS of the query is left out, as injectors do."""
    data = ipaddress.ip_address(address).packed
    record = struct.pack("!HHHLH", 0xC00C, asked.kind, 1, ttl, len(data)) + data
    return struct.pack("!HHHHHH", asked.ident, flags, 1, 1, 0, 0) + asked.wire + record
