"""Connections written packet by packet, as a capture at the client sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

from hostile import build, drive
from hostile.build import ACK, FIN, PSH, RST, SYN, Record
from tamperscope.model import Finding

TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")
SYN_OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")
FLAGS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, "A": ACK}
RTT = 80


class Packet(NamedTuple):
    """One packet; ms: since the one before; seq: from its sender's ISN, None: what comes next."""

    side: int
    flags: str
    data: bytes = b""
    ms: float = 1
    ttl: int = 0
    seq: int | None = None
    options: bytes | None = None
    ip_id: int = 7


def client(flags: str, data: bytes = b"", **fields: Any) -> Packet:
    return Packet(0, flags, data, **fields)


def server(flags: str, data: bytes = b"", **fields: Any) -> Packet:
    return Packet(1, flags, data, **{"ms": RTT, **fields})


def forged(flags: str, data: bytes = b"", **fields: Any) -> Packet:
    """In the server's name, from a box nearby."""
    return Packet(1, flags, data, **{"ms": 5, "ttl": 60, "options": b"", "ip_id": 99, **fields})


def connection(
    *packets: Packet, number: int = 0, address: str = build.SERVER, source: str = build.CLIENT, port: int = 80
) -> list[Record]:
    """A handshake, then these packets; a second after connection `number` - 1 began."""
    opening = [client("S", options=SYN_OPTIONS), server("SA", options=SYN_OPTIONS), client("A")]
    following, out, now = [0, 0], [], build.START_NS + number * 10**9
    for one in [*opening, *packets]:
        now += int(one.ms * build.MS)
        side, isns = one.side, (1000 + number, 5000)
        flags = sum(FLAGS[letter] for letter in one.flags)
        seq = following[side] if one.seq is None else one.seq
        ports = (40000 + number, port)
        segment = build.tcp(
            one.data,
            ports=ports if side == 0 else ports[::-1],
            seq=isns[side] + seq,
            ack=isns[1 - side] + following[1 - side] if flags & ACK else 0,
            flags=flags,
            options=TIMESTAMPS if one.options is None else one.options,
        )
        ends = (source, address)[:: 1 - 2 * side]
        packet = build.ipv4(segment, *ends, ttl=one.ttl or (50 if side else 64), ip_id=one.ip_id)
        out.append(Record(now, build.ethernet(packet)))
        if not flags & RST and one.options != b"":  # forged packets move nobody's numbers
            following[side] = max(following[side], seq + len(one.data) + bool(flags & (SYN | FIN)))
    return out


def found(*connections: list[Record]) -> list[Finding]:
    """Findings of a capture with these connections."""
    records = sorted((record for one in connections for record in one), key=lambda record: record.time_ns)
    return drive.scan(build.pcap(records)).findings


def ids(finding: Finding) -> set[str]:
    return {fact.id for fact in [*finding.evidence, *finding.against]}
