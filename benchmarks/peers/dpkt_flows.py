"""Flows, names and resets of a capture with dpkt: a plain good script, no reassembly beyond the first bytes.

    python benchmarks/peers/dpkt_flows.py FILE [PACKETS]

prints one line of JSON: frames, packets, flows, rsts, names with their digests.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import dpkt

from benchmarks.counts import Counts, plain_name
from benchmarks.peers.names import NEED_MORE, NO_NAME, Sender, find_name, question

RST, SYN = dpkt.tcp.TH_RST, dpkt.tcp.TH_SYN
IP, IP6, TCP, UDP = dpkt.ip.IP, dpkt.ip6.IP6, dpkt.tcp.TCP, dpkt.udp.UDP
NAME_ERRORS = (dpkt.dpkt.UnpackError, UnicodeDecodeError, IndexError)
FRAGMENT_HEADER = dpkt.ip.IP_PROTO_FRAGMENT


def _raw_ip(raw: bytes) -> Any:
    return IP(raw) if raw[0] >> 4 == 4 else IP6(raw)


LAYERS: dict[int, Callable[[bytes], Any]] = {
    dpkt.pcap.DLT_EN10MB: lambda raw: dpkt.ethernet.Ethernet(raw).data,
    dpkt.pcap.DLT_LINUX_SLL: lambda raw: dpkt.sll.SLL(raw).data,
    276: lambda raw: dpkt.sll2.SLL2(raw).data,
    dpkt.pcap.DLT_NULL: lambda raw: dpkt.loopback.Loopback(raw).data,
    12: _raw_ip,
    101: _raw_ip,
    228: IP,
    229: IP6,
}


def ip_packets(file: BinaryIO, limit: int | None, counts: Counts) -> Iterator[Any]:
    """Decoded IP packets; counts.frames and counts.packets are kept on the way."""
    reader = dpkt.pcap.UniversalReader(file)
    layer = LAYERS[reader.datalink()]
    counts.frames = counts.packets = 0
    for _, raw in islice(reader, limit):
        counts.frames += 1
        try:
            packet = layer(raw)
        except (dpkt.dpkt.UnpackError, IndexError):
            continue
        if isinstance(packet, (IP, IP6)):
            counts.packets += 1
            yield packet


def decode(path: str, limit: int | None = None) -> Counts:
    """Read and decode every packet; count frames, packets and resets."""
    counts = Counts(rsts=0)
    rsts = 0
    with Path(path).open("rb") as file:
        for packet in ip_packets(file, limit, counts):
            segment = packet.data
            if type(segment) is TCP and segment.flags & RST:
                rsts += 1
    counts.rsts = rsts
    return counts


def dns_question(message: bytes) -> str | None:
    """Name that a DNS query asks for; by hand where dpkt stumbles over an option further back in the message."""
    try:
        parsed = dpkt.dns.DNS(message)
    except NAME_ERRORS:
        return question(message)
    return str(parsed.qd[0].name) if parsed.qr == dpkt.dns.DNS_Q and parsed.qd else None


class Table:
    """Flows by 5-tuple with their names."""

    def __init__(self) -> None:
        self.senders: dict[tuple[bytes, int, bytes, int, int], Sender] = {}
        self.names: dict[str, Counter[str]] = {"sni": Counter(), "hosts": Counter(), "queries": Counter()}

    def sender(self, packet: Any, segment: Any, protocol: int) -> Sender:
        """The sending end's state; both ends are made at the first packet."""
        key = (packet.src, segment.sport, packet.dst, segment.dport, protocol)
        sender = self.senders.get(key)
        if sender is None:
            sender = self.senders[key] = Sender()
            self.senders[packet.dst, segment.dport, packet.src, segment.sport, protocol] = Sender()
        return sender

    def tcp(self, packet: Any, segment: Any) -> None:
        """Account a segment, and look for a name as long as none is known."""
        sender = self.sender(packet, segment, 6)
        if sender.done:
            return
        syn = segment.flags & SYN
        if syn and sender.next_seq < 0:
            sender.next_seq = (segment.seq + 1) & 0xFFFFFFFF
        if segment.data and not segment.flags & RST and sender.add(segment.seq + (1 if syn else 0), segment.data):
            self.look(sender, segment)

    def look(self, sender: Sender, segment: Any) -> None:
        """Look into a TCP sender's first bytes."""
        found = find_name(sender.data, 53 in (segment.sport, segment.dport))
        if found == NEED_MORE:
            return
        sender.done, sender.data, sender.later = True, b"", None
        if found != NO_NAME:
            self.names[found[0]][plain_name(found[1], found[0] == "hosts")] += 1

    def udp(self, packet: Any, segment: Any) -> None:
        """Account a datagram; the first question of a DNS flow is its name."""
        sender = self.sender(packet, segment, 17)
        if sender.done or 53 not in (segment.sport, segment.dport):
            return
        name = dns_question(bytes(segment.data))
        if name is not None:
            sender.done = True
            self.names["queries"][plain_name(name)] += 1


def is_fragment(packet: Any) -> bool:
    """A piece of an IP packet: its ports, if any, are not trusted."""
    if type(packet) is IP:
        return bool(packet.mf or packet.offset)
    return FRAGMENT_HEADER in packet.extension_hdrs and packet.extension_hdrs[FRAGMENT_HEADER] is not None


def flows(path: str, limit: int | None = None) -> Counts:
    """The whole task: flows, names, resets."""
    counts, table, rsts = Counts(), Table(), 0
    with Path(path).open("rb") as file:
        for packet in ip_packets(file, limit, counts):
            segment = packet.data
            kind = type(segment)
            if (kind is not TCP and kind is not UDP) or is_fragment(packet):
                continue
            if kind is UDP:
                table.udp(packet, segment)
                continue
            if segment.flags & RST:
                rsts += 1
            table.tcp(packet, segment)
    counts.flows = len(table.senders) // 2
    counts.rsts = rsts
    counts.sni, counts.hosts, counts.queries = table.names["sni"], table.names["hosts"], table.names["queries"]
    return counts


if __name__ == "__main__":
    print(flows(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None).as_json())
