"""Flows, names and resets of a capture with scapy, without reassembly beyond the first bytes.

    python benchmarks/peers/scapy_flows.py FILE [PACKETS]

prints one line of JSON: frames, packets, flows, rsts, names with their digests.  scapy dissects link, network and
transport layers and DNS; its TLS layer stays unloaded, since with it every packet costs half as much again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

# Loaded for what they register: how link types and DNS are dissected.
import scapy.layers.dns
import scapy.layers.inet
import scapy.layers.inet6
import scapy.layers.l2
from scapy.utils import PcapReader

from benchmarks.counts import Counts, plain_name
from benchmarks.peers.names import NEED_MORE, NO_NAME, Sender, find_name

IP, TCP, UDP, DNS = scapy.layers.inet.IP, scapy.layers.inet.TCP, scapy.layers.inet.UDP, scapy.layers.dns.DNS
IPv6, FragmentHeader = scapy.layers.inet6.IPv6, scapy.layers.inet6.IPv6ExtHdrFragment
RST, SYN = 4, 2


def ip_packets(path: str, limit: int | None, counts: Counts) -> Iterator[Any]:
    """Dissected IP packets; counts.frames and counts.packets are kept on the way."""
    counts.frames = counts.packets = 0
    with PcapReader(path) as reader:
        for frame in islice(reader, limit):
            counts.frames += 1
            packet = frame.getlayer(IP) or frame.getlayer(IPv6)
            if packet is not None:
                counts.packets += 1
                yield packet


def transport(packet: Any, kind: type) -> Any:
    """The packet's own TCP or UDP header: not that of a packet quoted in an ICMP error."""
    layer = packet.payload
    while layer and not isinstance(layer, kind):
        if not layer.name.startswith("IPv6 Extension Header"):
            return None
        layer = layer.payload
    return layer or None


def payload_of(segment: Any) -> bytes:
    """Bytes behind the transport header, without Ethernet's padding."""
    below = segment.payload
    return bytes(below) if below and below.name != "Padding" else b""


def decode(path: str, limit: int | None = None) -> Counts:
    """Read and dissect every packet; count frames, packets and resets."""
    counts, rsts = Counts(), 0
    for packet in ip_packets(path, limit, counts):
        segment = transport(packet, TCP)
        if segment is not None and int(segment.flags) & RST:
            rsts += 1
    counts.rsts = rsts
    return counts


class Table:
    """Flows by 5-tuple with their names."""

    def __init__(self) -> None:
        self.senders: dict[tuple[str, int, str, int, int], Sender] = {}
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
        flags = int(segment.flags)
        if flags & SYN and sender.next_seq < 0:
            sender.next_seq = (segment.seq + 1) & 0xFFFFFFFF
        payload = b"" if flags & RST else payload_of(segment)
        if payload and sender.add(segment.seq + (1 if flags & SYN else 0), payload):
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
        message = segment.payload
        if isinstance(message, DNS) and not message.qr and message.qd:
            sender.done = True
            self.names["queries"][plain_name(message.qd[0].qname)] += 1


def is_fragment(packet: Any) -> bool:
    """A piece of an IP packet: its ports, if any, are not trusted."""
    if isinstance(packet, IP):
        return bool(int(packet.flags) & 1 or packet.frag)
    return isinstance(packet.payload, FragmentHeader)


def flows(path: str, limit: int | None = None) -> Counts:
    """The whole task: flows, names, resets."""
    counts, table, rsts = Counts(), Table(), 0
    for packet in ip_packets(path, limit, counts):
        if is_fragment(packet):
            continue
        segment = transport(packet, TCP)
        if segment is not None:
            if int(segment.flags) & RST:
                rsts += 1
            table.tcp(packet, segment)
            continue
        segment = transport(packet, UDP)
        if segment is not None:
            table.udp(packet, segment)
    counts.flows = len(table.senders) // 2
    counts.rsts = rsts
    counts.sni, counts.hosts, counts.queries = table.names["sni"], table.names["hosts"], table.names["queries"]
    return counts


if __name__ == "__main__":
    print(flows(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None).as_json())
