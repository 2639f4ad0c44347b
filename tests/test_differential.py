"""
Decoded fields of every packet, against dpkt and against scapy, over the captures of other projects.

Both decode the same bytes independently.  What they cannot decode, or decode into something else by design, is skipped
by a reason; what is compared, skipped and differs is counted, and the counts are held to the tables below, so that
nothing can fall out of the comparison unseen.  Each difference in DIFFERENCES was looked at with tshark.
"""

from __future__ import annotations

import ipaddress
import logging
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tamperscope as ts
from corpus import CORPUS
from tamperscope import core

dpkt = pytest.importorskip("dpkt")
logging.getLogger("scapy").setLevel(logging.ERROR)

CAPTURES = CORPUS / "captures"
pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="no captures of other projects (TAMPERSCOPE_CORPUS)")

Fields = dict[str, Any]
NOTHING = "no IP packet by its account"
SWAPPED = "tshark: version 2.1 has the two lengths the other way round; the other does not know that"
SIMPLE = "tshark: a snap length of 0 is no limit for simple packet blocks; the other gives no bytes"

CUT = ("LINK_CUT", "IP_CUT", "IP_HEADER", "IP_VERSION", "IP6_EXTENSION", "TRANSPORT_CUT", "TCP_HEADER", "UDP_LENGTH")
ODD = sum(core.constant("AN_" + name) for name in (*CUT, "DEPTH"))
FIELDS = (
    "ip_version", "source", "destination", "ttl", "ip_id", "protocol", "vlan", "source_port", "destination_port", "seq",
    "ack", "flags", "window", "payload_length",
)  # fmt: skip


class Skipped(Exception):
    """A packet, or the rest of a file, that is not compared, and why."""


class Tally:
    """What was compared, skipped and different."""

    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.different: Counter[tuple[str, str]] = Counter()
        self.where: list[str] = []

    def compare(self, path: str, frame: int, ours: Fields, theirs: Fields) -> None:
        for field, value in theirs.items():
            self.compared[field] += 1
            if ours[field] != value:
                self.different[path, field] += 1
                self.where.append(f"{path} frame {frame} {field}: {ours[field]!r}, the other {value!r}")


def ours(row: Any) -> Fields:
    """One row of a batch as plain values; what its protocol has not is left out."""
    out = {field: int(row[field]) for field in FIELDS if field not in ("source", "destination")}
    out |= {"source": short(row["source"].tobytes()), "destination": short(row["destination"].tobytes())}
    return out | {field: int(row[field]) for field in ("captured_length", "wire_length", "time_ns")}


def short(address: bytes) -> bytes:
    return address[12:] if address[:12] == bytes(10) + b"\xff\xff" else address


def rows_of(path: pathlib.Path) -> np.ndarray[Any, Any]:
    """All packets of a capture."""
    with ts.open_capture(path, keep_flows=False) as capture:
        parts = [batch.packets.array for batch in capture]
    return np.concatenate(parts) if parts else np.zeros(0, core.dtype("tscope_packet"))


def captures() -> Iterator[pathlib.Path]:
    for path in sorted(CAPTURES.rglob("*")):
        if path.is_file() and path.parent != CAPTURES and not {"oracle", "extra"} & set(path.parts):
            yield path


def compare(reader: Callable[[pathlib.Path], Iterator[Fields]], decoder: Callable[[int, bytes], Fields]) -> Tally:
    """Every capture: its records by `reader`, its packets by `decoder` (link type, bytes)."""
    tally = Tally()
    for path in captures():
        name = str(path.relative_to(CAPTURES))
        try:
            rows = rows_of(path)
        except ts.CaptureError:
            tally.skipped["file: not read by tamperscope"] += 1
            continue
        records = list(records_of(reader, path, tally))
        if len(records) != len(rows):
            tally.skipped["file: another number of frames"] += 1
            tally.where.append(f"{name}: {len(rows)} frames, the other {len(records)}")
            continue
        for row, record in zip(rows, records, strict=True):
            data = record.pop("data")
            mine = ours(row)
            tally.compare(name, int(row["frame"]), mine, record)
            try:
                packet(tally, name, row, mine, decoder, data)
            except Skipped as why:
                tally.skipped[f"packet: {why}"] += 1
    return tally


def records_of(reader: Callable[..., Iterator[Fields]], path: pathlib.Path, tally: Tally) -> Iterator[Fields]:
    try:
        yield from reader(path)
    except Exception:  # whatever the other reader raises at what it cannot read
        tally.skipped["file: the other stopped reading it"] += 1


def packet(tally: Tally, name: str, row: Any, mine: Fields, decoder: Callable[..., Fields], data: bytes) -> None:
    if row["anomalies"] & ODD:
        raise Skipped("cut or malformed")
    if row["anomalies"] & core.constant("AN_IP_FRAGMENT"):
        raise Skipped("a fragment")
    try:
        theirs = decoder(int(row["link_type"]), data)
    except Skipped:
        raise
    except Exception as error:  # as above
        raise Skipped(f"the other raised {type(error).__name__}") from error
    if theirs.pop("fragment", False):
        raise Skipped("a fragment")
    if theirs.pop("outer_ip") != row["outer_ip"]:
        raise Skipped("tunnels followed to another depth")
    tally.compare(name, int(row["frame"]), mine, theirs)


# ---------------------------------------------------------------- dpkt


def dpkt_records(path: pathlib.Path) -> Iterator[Fields]:
    with path.open("rb") as file:
        for _, data in dpkt.pcap.UniversalReader(file):
            yield {"data": data, "captured_length": len(data)}


def dpkt_link(link: int) -> Any:
    import dpkt.sll2

    known = {0: dpkt.loopback.Loopback, 1: dpkt.ethernet.Ethernet, 113: dpkt.sll.SLL, 276: dpkt.sll2.SLL2}
    known |= {108: dpkt.loopback.Loopback, 101: raw_ip, 12: raw_ip, 14: raw_ip, 228: raw_ip, 229: raw_ip}
    if link not in known:
        raise Skipped("link type not decoded by the other")
    return known[link]


def raw_ip(data: bytes) -> Any:
    return dpkt.ip6.IP6(data) if data[:1] and data[0] >> 4 == 6 else dpkt.ip.IP(data)


def dpkt_packet(link: int, data: bytes) -> Fields:
    layer, ips, vlan = dpkt_link(link)(data), [], 0xFFFF
    while isinstance(layer, dpkt.Packet):
        if getattr(layer, "vlan_tags", None) and not ips:
            vlan = layer.vlan_tags[0].id
        if isinstance(layer, (dpkt.ip.IP, dpkt.ip6.IP6)):
            ips.append(layer)
        if isinstance(layer, (dpkt.icmp.ICMP, dpkt.icmp6.ICMP6)):
            break
        layer = layer.data
    if not ips:
        raise Skipped(NOTHING)
    inner = dpkt_ipv6 if isinstance(ips[-1], dpkt.ip6.IP6) else dpkt_ipv4
    return {"vlan": vlan, "outer_ip": len(ips) - 1} | inner(ips[-1])


def dpkt_ipv4(ip: Any) -> Fields:
    out = {"ip_version": 4, "source": ip.src, "destination": ip.dst, "ttl": ip.ttl, "ip_id": ip.id, "protocol": ip.p}
    if ip.mf or ip.offset:
        return out | {"fragment": True}
    return out | dpkt_transport(ip.data, ip.len - ip.hl * 4 if ip.len else None)


def dpkt_ipv6(ip: Any) -> Fields:
    out = {"ip_version": 6, "source": ip.src, "destination": ip.dst, "ttl": ip.hlim, "ip_id": 0xFFFFFFFF}
    headers = ip.all_extension_headers
    if any(isinstance(one, dpkt.ip6.IP6FragmentHeader) and (one.frag_off or one.m_flag) for one in headers):
        return out | {"fragment": True}
    last = headers[-1].nxt if headers else ip.nxt
    rest = ip.plen - sum(one.length for one in headers) if ip.plen else None
    return out | {"protocol": last} | dpkt_transport(ip.data, rest)


def dpkt_transport(layer: Any, length: int | None) -> Fields:
    """`length`: of header and payload, None where the IP header does not say it."""
    if isinstance(layer, dpkt.tcp.TCP):
        out = {"source_port": layer.sport, "destination_port": layer.dport, "seq": layer.seq, "ack": layer.ack}
        out |= {"flags": layer.flags | (layer._off_flags & 0xE00), "window": layer.win}
        return out | ({"payload_length": length - layer.off * 4} if length is not None else {})
    if isinstance(layer, dpkt.udp.UDP):
        out = {"source_port": layer.sport, "destination_port": layer.dport}
        return out | ({"payload_length": layer.ulen - 8} if layer.ulen else {})
    if isinstance(layer, (dpkt.icmp.ICMP, dpkt.icmp6.ICMP6)):
        return {"source_port": layer.type << 8 | layer.code}
    return {}


# ---------------------------------------------------------------- scapy


def scapy_records(path: pathlib.Path) -> Iterator[Fields]:
    from scapy.utils import RawPcapReader

    with RawPcapReader(str(path)) as reader:
        for data, about in reader:
            yield {"data": data, "captured_length": len(data), "wire_length": about.wirelen} | scapy_time(reader, about)


def scapy_time(reader: Any, about: Any) -> Fields:
    """Exact where the resolution is a power of ten."""
    if hasattr(about, "sec"):
        return {"time_ns": about.sec * 10**9 + about.usec * (1 if reader.nano else 1000)}
    if about.tshigh is None or 10**9 % about.tsresol:
        return {}
    return {"time_ns": (about.tshigh << 32 | about.tslow) * (10**9 // about.tsresol)}


def scapy_packet(link: int, data: bytes) -> Fields:
    from scapy.config import conf
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Dot1Q

    if link not in conf.l2types.num2layer:
        raise Skipped("link type not decoded by the other")
    layer, ips, vlan = conf.l2types[link](data), [], 0xFFFF
    while layer:
        if isinstance(layer, Dot1Q) and vlan == 0xFFFF and not ips:
            vlan = layer.vlan
        if layer.name in ("IP in ICMP", "IPv6 in ICMPv6"):
            break
        if isinstance(layer, (IP, IPv6)):
            ips.append(layer)
        layer = layer.payload
    if not ips:
        raise Skipped(NOTHING)
    inner = scapy_ipv4 if isinstance(ips[-1], IP) else scapy_ipv6
    return {"vlan": vlan, "outer_ip": len(ips) - 1} | inner(ips[-1])


def scapy_ipv4(ip: Any) -> Fields:
    out = {"ip_version": 4, "source": packed(ip.src), "destination": packed(ip.dst), "ttl": ip.ttl, "ip_id": ip.id}
    out["protocol"] = ip.proto
    if ip.flags.MF or ip.frag:
        return out | {"fragment": True}
    return out | scapy_transport(ip.payload, ip.len - ip.ihl * 4 if ip.len else None)


def scapy_ipv6(ip: Any) -> Fields:
    from scapy.layers.inet6 import IPv6ExtHdrFragment, _IPv6ExtHdr

    out = {"ip_version": 6, "source": packed(ip.src), "destination": packed(ip.dst), "ttl": ip.hlim}
    out["ip_id"] = 0xFFFFFFFF
    layer, following, length = ip.payload, ip.nh, ip.plen
    while isinstance(layer, _IPv6ExtHdr):
        if isinstance(layer, IPv6ExtHdrFragment):
            if layer.m or layer.offset:
                return out | {"fragment": True}
            length -= 8
        else:
            length -= (layer.len + 1) * 8
        layer, following = layer.payload, layer.nh
    return out | {"protocol": following} | scapy_transport(layer, length if ip.plen else None)


def scapy_transport(layer: Any, length: int | None) -> Fields:
    from scapy.layers.inet import ICMP, TCP, UDP
    from scapy.layers.inet6 import _ICMPv6

    if isinstance(layer, TCP):
        out = {"source_port": layer.sport, "destination_port": layer.dport, "seq": layer.seq, "ack": layer.ack}
        out |= {"flags": int(layer.flags) | layer.reserved << 9, "window": layer.window}
        return out | ({"payload_length": length - layer.dataofs * 4} if length is not None else {})
    if isinstance(layer, UDP):
        out = {"source_port": layer.sport, "destination_port": layer.dport}
        return out | ({"payload_length": layer.len - 8} if layer.len else {})
    if isinstance(layer, (ICMP, _ICMPv6)):
        return {"source_port": layer.type << 8 | layer.code}
    return {}


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


# ---------------------------------------------------------------- what is to come out

VERSIONS = {"dpkt": "1.9.8", "scapy": "2.8.0"}  # of the counts below: another version may decode more

COMPARED: dict[str, dict[str, int]] = {
    "dpkt": {
        "captured_length": 9289,
        "vlan": 8491,
        "ip_version": 8491,
        "source": 8491,
        "destination": 8491,
        "ttl": 8491,
        "ip_id": 8491,
        "protocol": 8491,
        "source_port": 8483,
        "destination_port": 7808,
        "payload_length": 7807,
        "seq": 6318,
        "ack": 6318,
        "flags": 6318,
        "window": 6318,
    },
    "scapy": {
        "captured_length": 9855,
        "wire_length": 9855,
        "time_ns": 9833,
        "vlan": 9178,
        "ip_version": 9178,
        "source": 9178,
        "destination": 9178,
        "ttl": 9178,
        "ip_id": 9178,
        "protocol": 9178,
        "source_port": 9168,
        "destination_port": 8469,
        "payload_length": 8468,
        "seq": 6828,
        "ack": 6828,
        "flags": 6828,
        "window": 6828,
    },
}

SKIPPED: dict[str, dict[str, int]] = {
    "dpkt": {
        "packet: a fragment": 156,
        "packet: no IP packet by its account": 111,
        "file: another number of frames": 16,
        "file: the other stopped reading it": 4,
        "file: not read by tamperscope": 3,
        "packet: cut or malformed": 161,
        "packet: link type not decoded by the other": 272,
        "packet: tunnels followed to another depth": 98,
    },
    "scapy": {
        "packet: a fragment": 157,
        "packet: the other raised AttributeError": 5,
        "packet: no IP packet by its account": 161,
        "file: another number of frames": 3,
        "file: the other stopped reading it": 1,
        "file: not read by tamperscope": 3,
        "packet: link type not decoded by the other": 109,
        "packet: cut or malformed": 161,
        "packet: tunnels followed to another depth": 84,
    },
}

# (capture, field) -> how many, and who is right by tshark's account of the same frames.
DIFFERENCES: dict[str, dict[tuple[str, str], tuple[int, str]]] = {
    "dpkt": {
        ("links/vlan-qinqinq.pcap", "vlan"): (14, "tshark: tags 30, 20, 10 from outside; dpkt lists them from inside"),
        ("malformed/fuzz-2021-10-13.pcap", "captured_length"): (1, SWAPPED),
    },
    "scapy": {
        **{
            (f"formats/{name}.pcapng", "captured_length"): (count, SIMPLE)
            for name, count in (
                ("be-test010", 4), ("be-test202", 2), ("le-test010", 4), ("le-test016", 2), ("le-test018", 2),
                ("le-test100", 2), ("le-test202", 2),
            )
        },
        ("malformed/fuzz-2021-10-13.pcap", "captured_length"): (1, SWAPPED),
        ("malformed/fuzz-2021-10-13.pcap", "wire_length"): (1, SWAPPED),
        ("tunnels/bigtcp-ipv6-hbh.pcap", "captured_length"): (1, "tshark: 80094; scapy reads 65535 bytes at most"),
    },
}  # fmt: skip


@pytest.mark.parametrize("other", ["dpkt", "scapy"])
def test_decoded_fields(other: str) -> None:
    """Every field of every packet that the other library decodes too is the same, but for the differences reviewed."""
    module = pytest.importorskip(other)
    if other == "dpkt":
        tally = compare(dpkt_records, dpkt_packet)
    else:
        pytest.importorskip("scapy.layers.all")
        tally = compare(scapy_records, scapy_packet)
    assert tally.different == {key: count for key, (count, _) in DIFFERENCES[other].items()}, "\n".join(tally.where)
    if module.__version__ == VERSIONS[other]:
        assert (dict(tally.compared), dict(tally.skipped)) == (COMPARED[other], SKIPPED[other])
    else:
        assert all(tally.compared[field] >= 0.95 * count for field, count in COMPARED[other].items())
