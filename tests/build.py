"""Small captures made by hand: packets with true checksums, conversations that keep count of their bytes."""

from __future__ import annotations

import ipaddress
import struct

Frames = list[tuple[float, bytes]]  # seconds since START, Ethernet frame

START = 1_705_759_331  # 2024-01-20T14:02:11Z
CLIENT, SERVER = "192.0.2.1", "198.51.100.7"
BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}


def pcap(frames: Frames, link_type: int = 1, nanoseconds: bool = False, order: str = "<", snap: int = 262_144) -> bytes:
    """A capture file of frames in this order."""
    unit = 10**9 if nanoseconds else 10**6
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, snap, link_type)]
    for seconds, frame in frames:
        whole, part = divmod(START * unit + round(seconds * unit), unit)
        kept = frame[:snap]
        out.append(struct.pack(order + "IIII", whole, part, len(kept), len(frame)) + kept)
    return b"".join(out)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data)) if len(data) % 2 == 0 else 0
    if len(data) % 2:
        return checksum(data + b"\0")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source: str, destination: str, protocol: int, segment: bytes, ttl: int = 64, ip_id: int = 1) -> bytes:
    """Frame with an IP packet, of the version that the addresses have."""
    if ":" in source:
        ends = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
        header = struct.pack(">IHBB", 6 << 28, len(segment), protocol, ttl) + ends
        return bytes(12) + b"\x86\xdd" + header + segment
    ends = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), ip_id & 0xFFFF, 0x4000, ttl, protocol, 0) + ends
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    return bytes(12) + b"\x08\x00" + header + segment


def _summed(source: str, destination: str, protocol: int, segment: bytes, at: int) -> bytes:
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    total = checksum(ends + struct.pack(">HH", protocol, len(segment)) + segment) or 0xFFFF
    return segment[:at] + struct.pack(">H", total) + segment[at + 2 :]


def udp(source: str, sport: int, destination: str, dport: int, payload: bytes, ttl: int = 64, ip_id: int = 1) -> bytes:
    segment = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    return ethernet(source, destination, 17, _summed(source, destination, 17, segment, 6), ttl, ip_id)


def tcp(
    source: str, sport: int, destination: str, dport: int, flags: str, seq: int, ack: int = 0, payload: bytes = b"",
    ttl: int = 64, ip_id: int = 1, window: int = 64240,
) -> bytes:  # fmt: skip
    bits = sum(BITS[letter] for letter in flags)
    segment = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 0x50, bits, window, 0, 0) + payload
    return ethernet(source, destination, 6, _summed(source, destination, 6, segment, 16), ttl, ip_id)


class Talk:
    """
    One TCP connection, a packet every 10 ms; ``frames`` grows.

    Sequence numbers follow from what was sent; an end that was never heard acknowledges nothing of it.
    """

    def __init__(
        self, client: str = CLIENT, port: int = 40_000, server: str = SERVER, to: int = 80, start: float = 0
    ) -> None:
        self.frames: Frames = []
        self.now = start
        self._ends = (client, port, server, to), (server, to, client, port)
        self._next = [1_000, 9_000_000]

    def client(self, flags: str, payload: bytes = b"", **header: int) -> Talk:
        return self._send(0, flags, payload, header)

    def server(self, flags: str, payload: bytes = b"", **header: int) -> Talk:
        return self._send(1, flags, payload, header)

    def wait(self, seconds: float) -> Talk:
        self.now += seconds
        return self

    def _send(self, who: int, flags: str, payload: bytes, header: dict[str, int]) -> Talk:
        ack = self._next[1 - who] if "A" in flags else 0
        frame = tcp(*self._ends[who], flags, self._next[who], ack, payload, **{"ttl": (64, 52)[who], **header})
        self.frames.append((self.now, frame))
        self._next[who] += len(payload) + ("S" in flags) + ("F" in flags)
        self.now += 0.01
        return self


REQUEST = b"GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def opened(**ends: object) -> Talk:
    """A connection after its handshake."""
    return Talk(**ends).client("S").server("SA").client("A")  # type: ignore[arg-type]


def web(**ends: object) -> Frames:
    """A handshake, a request with its answer, both FINs."""
    talk = opened(**ends).client("PA", REQUEST).server("PA", ANSWER).client("A")
    return talk.client("FA").server("FA").client("A").frames


def forged_reset(**ends: object) -> Frames:
    """A reset in the server's name comes from nearer by after the request; the server's answer follows."""
    talk = opened(**ends).client("PA", REQUEST)
    return talk.server("RA", ttl=61, ip_id=777, window=8192).server("PA", ANSWER).client("A").server("FA").frames


def question(name: str, id: int, answer: str | None = None) -> bytes:
    """A DNS query for the A record of a name, or the answer to it."""
    asked = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    if answer is None:
        return struct.pack(">HHHHHH", id, 0x0100, 1, 0, 0, 0) + asked
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + ipaddress.IPv4Address(answer).packed
    return struct.pack(">HHHHHH", id, 0x8180, 1, 1, 0, 0) + asked + record


def lookup(name: str = "plain.example", port: int = 50_000, start: float = 0, resolver: str = "9.9.9.9") -> Frames:
    """A question and its answer."""
    return [
        (start, udp(CLIENT, port, resolver, 53, question(name, port & 0xFFFF), ip_id=port)),
        (start + 0.02, udp(resolver, 53, CLIENT, port, question(name, port & 0xFFFF, "93.184.216.34"), 55, port + 7)),
    ]


def merged(*parts: Frames) -> Frames:
    """Several conversations in the order of time."""
    return sorted((frame for part in parts for frame in part), key=lambda frame: frame[0])
