"""Every link and tunnel: the innermost packet is found, the tunnel named, and a cut frame claims nothing."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import build
from hostile import drive
from tamperscope import core
from tamperscope.capture import open_capture
from tamperscope.scan import scan

A, B, OUTER_A, OUTER_B = "192.0.2.1", "198.51.100.7", "10.1.0.1", "10.2.0.2"
IP4 = build.udp(A, 4000, B, 5000, b"hello")[14:]
IP6 = build.udp("2001:db8::1", 4000, "2001:db8::2", 5000, b"hello")[14:]
TEREDO = build.udp("2001::1", 4000, "2001:db8::2", 5000, b"hello")[14:]
FRAME = bytes(12) + b"\x08\x00" + IP4
MACS = bytes(12)


def around(protocol: int, payload: bytes) -> bytes:
    """An outer IPv4 frame."""
    return build.ethernet(OUTER_A, OUTER_B, protocol, payload)


def udp(port: int, payload: bytes, source: int = 40_000) -> bytes:
    return build.udp(OUTER_A, source, OUTER_B, port, payload)


def ether(kind: int, payload: bytes) -> bytes:
    return MACS + kind.to_bytes(2, "big") + payload


def radiotap(flags: int, rest: bytes) -> bytes:
    """With a time stamp, so that the flags lie behind padding, and an antenna word of presence more."""
    return struct.pack("<BBHII", 0, 0, 25, 0x80000003, 0) + bytes(4) + bytes(8) + bytes([flags]) + rest


def wlan(subtype: int = 0, flags: int = 1, more: bytes = b"", rest: bytes = b"") -> bytes:
    return bytes([0x08 | subtype << 4, flags]) + bytes(22) + more + (rest or SNAP)


SNAP = b"\xaa\xaa\x03\0\0\0\x08\0" + IP4
GTP = b"\x30\xff" + len(IP4).to_bytes(2, "big") + bytes(4)
EXTENSIONS = b"\0\0\0\x85" + b"\1\0\0\x20" + b"\2" + bytes(7)
LINKS: dict[str, tuple[int, bytes, str]] = {
    # name: link type, frame, tunnel
    "LLC with SNAP": (1, MACS + (len(SNAP)).to_bytes(2, "big") + SNAP, "none"),
    "LLC with 802.1H": (1, MACS + b"\0\x50" + b"\xaa\xaa\x03\0\0\xf8\x08\0" + IP4, "none"),
    "LLC, IP itself": (1, MACS + b"\0\x50\x06\x06\x03" + IP4, "none"),
    "three VLAN tags": (1, ether(0x88A8, b"\0\x07\x81\0\0\x08\x91\0\0\x09\x08\0" + IP4), "none"),
    "VN-Tag": (1, ether(0x8926, bytes(4) + b"\x08\0" + IP4), "none"),
    "E-Tag": (1, ether(0x893F, bytes(6) + b"\x08\0" + IP4), "none"),
    "802.1ah": (1, ether(0x88E7, bytes(4) + FRAME), "none"),
    "MPLS": (1, ether(0x8847, b"\0\x01\0\x40\0\x02\x01\x40" + IP4), "mpls"),
    "MPLS, pseudowire": (1, ether(0x8847, b"\0\x02\x01\x40" + bytes(4) + FRAME), "mpls"),
    "MPLS, frame": (1, ether(0x8847, b"\0\x02\x01\x40" + b"\x82" + FRAME[1:]), "mpls"),
    "PPPoE": (1, ether(0x8864, b"\x11\0\0\x01" + (len(IP4) + 2).to_bytes(2, "big") + b"\0\x21" + IP4), "pppoe"),
    "PPPoE, IPv6": (1, ether(0x8864, b"\x11\0\0\x01\1\0\0\x57" + IP6), "pppoe"),
    "PPP": (9, b"\xff\x03\0\x21" + IP4, "none"),
    "PPP, one byte": (9, b"\x21" + IP4, "none"),
    "PPP in HDLC": (50, b"\xff\x03\0\x21" + IP4, "none"),
    "Cisco's in HDLC": (50, b"\x0f\0\x08\0" + IP4, "none"),
    "PPPoE alone": (51, b"\x11\0\0\x01\1\0\0\x21" + IP4, "pppoe"),
    "C_HDLC": (104, b"\x8f\0\x08\0" + IP4, "none"),
    "Frame Relay": (107, b"\x08\x01\x03\xcc" + IP4, "none"),
    "Frame Relay, SNAP": (107, b"\x08\x01\x03\0\x80\0\0\0\x08\0" + IP4, "none"),
    "Frame Relay, Cisco": (107, b"\x08\x01\x08\0" + IP4, "none"),
    "802.11": (105, wlan(), "none"),
    "802.11 QoS, four addresses": (105, wlan(8, 3, bytes(8)), "none"),
    "802.11 QoS, HT control": (105, wlan(8, 0x81, bytes(6)), "none"),
    "802.11 aggregate": (105, wlan(8, 1, b"\x80\0" + bytes(14)), "none"),
    "radiotap": (127, radiotap(0, wlan()), "none"),
    "radiotap, padded": (127, radiotap(0x20, wlan(8, 1, b"\0\0\0\0")), "none"),
    "PPI": (192, struct.pack("<BBHI", 0, 0, 12, 105) + bytes(4) + wlan(), "none"),
    "AVS": (163, struct.pack(">II", 0x80211001, 64) + bytes(56) + wlan(), "none"),
    "Prism": (119, struct.pack("<II", 0x44, 144) + bytes(136) + wlan(), "none"),
    "NFLOG": (239, b"\2\0\0\0\5\0\1\0" + bytes(4) + struct.pack("<HH", len(IP4) + 4, 9) + IP4, "none"),
    "NFLOG, big": (239, b"\2\0\0\0" + struct.pack(">HH", len(IP4) + 4, 9) + IP4, "none"),
    "PFLOG": (117, b"\x3d\2" + bytes(62) + IP4, "none"),
    "PKTAP": (258, struct.pack("<III", 24, 1, 1) + bytes(12) + FRAME, "none"),
    "IPoIB": (242, bytes(40) + b"\x08\0\0\0" + IP4, "none"),
    "Broadcom tag": (281, MACS + bytes(4) + b"\x08\0" + IP4, "none"),
    "PPP with direction": (204, b"\x01\xff\x03\0\x21" + IP4, "none"),
}  # fmt: skip
TUNNELS: dict[str, tuple[int, bytes, str]] = {
    "GRE": (1, around(47, b"\0\0\x08\0" + IP4), "gre"),
    "GRE, all options": (1, around(47, b"\xb0\0\x08\0" + bytes(12) + IP4), "gre"),
    "GRE, frames": (1, around(47, b"\0\0\x65\x58" + FRAME), "gre"),
    "PPTP": (1, around(47, b"\x30\x81\x88\x0b" + bytes(12) + b"\xff\x03\0\x21" + IP4), "gre"),
    "ERSPAN I": (1, around(47, b"\0\0\x88\xbe" + FRAME), "erspan"),
    "ERSPAN II": (1, around(47, b"\x10\0\x88\xbe" + bytes(4) + b"\x10" + bytes(7) + FRAME), "erspan"),
    "ERSPAN III": (1, around(47, b"\x10\0\x22\xeb" + bytes(4) + b"\x20" + bytes(11) + FRAME), "erspan"),
    "ERSPAN III, platform": (1, around(47, b"\x10\0\x22\xeb" + bytes(15) + b"\1" + bytes(8) + FRAME), "erspan"),
    "IP in IP": (1, around(4, IP4), "ip_in_ip"),
    "6in4": (1, around(41, IP6), "6in4"),
    "4in6": (1, build.ethernet("2001:db8::8", "2001:db8::9", 4, IP4), "ip_in_ip"),
    "MPLS in IP": (1, around(137, b"\0\x02\x01\x40" + IP4), "mpls"),
    "VXLAN": (1, udp(4789, b"\x08" + bytes(7) + FRAME), "vxlan"),
    "VXLAN, generic": (1, udp(4790, b"\x0c\0\0\1" + bytes(4) + IP4), "vxlan"),
    "GENEVE": (1, udp(6081, b"\x02\0\x65\x58" + bytes(12) + FRAME), "geneve"),
    "GTP-U": (1, udp(2152, GTP + IP4), "gtp_u"),
    "GTP-U, extensions": (1, udp(2152, b"\x34" + GTP[1:] + EXTENSIONS + IP4), "gtp_u"),
    "Teredo": (1, udp(3544, IP6), "teredo"),
    "Teredo, all in front": (1, udp(3544, b"\0\1\2\1" + bytes(12) + b"\0\0" + bytes(6) + IP6), "teredo"),
    "Teredo, any port": (1, udp(40_001, TEREDO), "teredo"),
    "L2TP": (1, udp(1701, b"\x4a\x02\0\0" + bytes(4) + bytes(4) + b"\0\2\0\0" + b"\xff\x03\0\x21" + IP4), "l2tp"),
    "MPLS in UDP": (1, udp(6635, b"\0\x02\x01\x40" + IP4), "mpls"),
}  # fmt: skip
ALL = LINKS | TUNNELS


def rows(frame: bytes, link: int = 1) -> Any:
    with open_capture(build.pcap([(0, frame)], link)) as capture:
        return next(iter(capture)).packets


def tunnel(row: Any) -> str:
    return core.enum_words("tscope_tunnel")[int(row.tunnel[0])]


@pytest.mark.parametrize("name", ALL)
def test_innermost_packet_is_the_packet(name: str) -> None:
    """Its ports, payload and tunnel; the outer IP header leaves only that it was there."""
    link, frame, kind = ALL[name]
    row = rows(frame, link)
    assert (int(row.source_port[0]), int(row.destination_port[0]), int(row.payload_length[0])) == (4000, 5000, 5), name
    assert row.flow[0] == 1 and tunnel(row) == kind
    assert int(row.outer_ip[0]) == (name in TUNNELS)
    assert not row.anomalies[0]


@pytest.mark.parametrize("name", ALL)
def test_every_prefix_is_read_without_harm(name: str) -> None:
    """A frame cut anywhere has the inner packet, the one around it, or none: never ports from elsewhere."""
    link, frame, _ = ALL[name]
    whole = (4000, 5000)
    outer = set(struct.unpack_from(">HH", frame, 34)) if name in TUNNELS else set()
    with open_capture(build.pcap([(0, frame[:end]) for end in range(len(frame))], link)) as capture:
        packets = next(iter(capture)).packets
    assert len(packets) == len(frame)
    for source, destination, flow in zip(packets.source_port, packets.destination_port, packets.flow, strict=True):
        ports = int(source), int(destination)
        assert not flow or ports == whole or set(ports) == outer, (name, ports)


@pytest.mark.parametrize("name", TUNNELS)
def test_flow_keeps_the_tunnel(name: str) -> None:
    _, frame, kind = TUNNELS[name]
    with open_capture(build.pcap([(0, frame)])) as capture:
        assert tunnel(capture.flows) == kind
    (record,) = scan(build.pcap([(0, frame)]), flows=True)
    assert record.tunnel == kind


def test_outer_packet_stands_where_the_tunnel_holds_none() -> None:
    """ARP in VXLAN, a GTP echo, an encrypted or unknown payload: the UDP packet is the packet."""
    for payload, port in ((b"\x08" + bytes(7) + ether(0x0806, bytes(28)), 4789), (b"\x32\1\0\4" + bytes(8), 2152)):
        row = rows(udp(port, payload))
        assert row.destination_port[0] == port and row.flow[0] == 1
        assert tunnel(row) == "none" and row.outer_ip[0] == 0 and row.payload_length[0] == len(payload)


def test_what_looks_like_a_tunnel_and_is_none() -> None:
    """GRE with source routing, of version 2, VXLAN without its flag, protected 802.11: the outer packet at most."""
    for payload in (b"\x40\0\x08\0" + IP4, b"\0\2\x08\0" + IP4):
        row = rows(around(47, payload))
        assert row.flow[0] == 0 and row.protocol[0] == 47 and row.ip_version[0] == 4
    assert rows(udp(4789, bytes(8) + FRAME)).destination_port[0] == 4789
    assert rows(wlan(0, 0x41), 105).ip_version[0] == 0
    assert rows(wlan(4, 1), 105).ip_version[0] == 0


def test_ipv4_address_stands_mapped() -> None:
    row = rows(TUNNELS["GTP-U, extensions"][1])
    assert row.source[0].tobytes()[12:] == ipaddress.ip_address(A).packed


@pytest.mark.parametrize("depth", [1, 3, 4, 30, 3000])
def test_nesting_ends(depth: int) -> None:
    """Four IP headers are followed; of more the fourth is the packet, and the row says so."""
    packet = IP4
    for _ in range(depth):
        packet = build.ethernet(OUTER_A, OUTER_B, 4, packet)[14:] if len(packet) < 60_000 else packet
    row = rows(ether(0x0800, packet))
    deep = bool(int(row.anomalies[0]) & core.constant("AN_DEPTH"))
    assert deep == (depth > 3)
    assert int(row.outer_ip[0]) == min(depth, 3) and (row.flow[0] == 1) == (depth <= 3)


def test_tags_end() -> None:
    """So do tags, and a label stack of a whole frame is one step."""
    for frame in (ether(0x8100, b"\0\1\x81\0" * 15_000), ether(0x8847, bytes(60_000)), ether(0x8864, bytes(60_000))):
        assert rows(frame).flow[0] == 0
    deep = rows(ether(0x8100, b"\0\1\x81\0" * 30 + b"\0\1\x08\0" + IP4))
    assert int(deep.anomalies[0]) & core.constant("AN_DEPTH")


def test_outer_vlan_is_kept() -> None:
    """The outermost tag of all."""
    row = rows(
        ether(0x8100, b"\0\x2a\x08\0" + udp(4789, b"\x08" + bytes(7) + ether(0x8100, b"\0\x07\x08\0" + IP4))[14:])
    )
    assert row.vlan[0] == 42 and tunnel(row) == "vxlan"


def test_length_beyond_the_frame_adds_nothing() -> None:
    """An IP length that not even the whole frame has is an oddity, and no bytes of a flow."""
    frame = bytearray(build.udp(A, 4000, B, 5000, b"hello"))
    frame[16:18] = (9000).to_bytes(2, "big")
    row = rows(bytes(frame))
    assert row.payload_length[0] == 5 and int(row.anomalies[0]) & core.constant("AN_IP_HEADER")


# ---------------------------------------------------------------- the short way and the long one

LINK_FIELDS = ("link_type", "captured_length", "wire_length")


def without_link(packets: bytes) -> list[bytes]:
    """Columns of the packets table, but for what follows from the link header."""
    table = np.frombuffer(packets, core.dtype("tscope_packet"))
    return [table[name].tobytes() for name in table.dtype.names or () if name not in LINK_FIELDS]


def both_ways(frames: list[bytes]) -> None:
    """
    Ethernet frames of ordinary packets are decoded in one go (csrc/plain.c), raw IP by one layer after the other: the
    packets must not differ.
    """
    ethernet = build.pcap([(i / 100, frame) for i, frame in enumerate(frames)])
    raw = build.pcap([(i / 100, frame[14:]) for i, frame in enumerate(frames)], link_type=101)
    one, other = drive.rows([ethernet]), drive.rows([raw])
    assert without_link(one.packets) == without_link(other.packets)
    assert one.flows == other.flows
    assert one.candidates == other.candidates


def altered(frame: bytes, at: int, value: int) -> bytes:
    """Of the first byte only the header's length: raw IP has nothing else to say its version."""
    value = frame[14] & 0xF0 | value & 0x0F if at == 14 else value
    return frame[:at] + bytes([value]) + frame[at + 1 :]


ORDINARY = [
    build.tcp(A, 4000, B, 443, "S", 1),
    build.tcp(A, 4000, B, 443, "PA", 2, 9, b"hello"),
    build.tcp("2001:db8::1", 4000, "2001:db8::2", 443, "PA", 2, 9, b"hello"),
    build.udp(A, 4000, B, 5000, b"hello"),
    build.udp("2001:db8::1", 4000, "2001:db8::2", 5000, b"hello"),
]


@given(st.sampled_from(ORDINARY), st.integers(14, 80), st.integers(0, 255), st.integers(1, 90))
def test_short_way_gives_what_the_long_one_does(frame: bytes, at: int, value: int, cut: int) -> None:
    """One byte altered behind the addresses of the link, and the frame cut anywhere behind its header."""
    frame = altered(frame, at, value) if at < len(frame) else frame
    both_ways([*ORDINARY, frame, frame[: 14 + cut], *ORDINARY])


def test_every_byte_and_cut_both_ways() -> None:
    for frame in ORDINARY:
        both_ways([altered(frame, at, frame[at] ^ 0x41) for at in range(14, len(frame))])
        both_ways([frame[:end] + bytes(3) for end in range(15, len(frame))])
        both_ways([frame[:end] for end in range(15, len(frame))])
