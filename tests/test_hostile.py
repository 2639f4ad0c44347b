"""
Hostile captures, through the command as people run it: the exit status that each must have, and no accusation.

Outcomes: E nothing could be read (3); P read in part, damage named (4); O everything read (0); B any of these, soon.
A third field is the number of frames that must have been read.  Names begin with their family: ph, pr, ts (pcap), ng
(pcapng), gz, ip, tc, dn, tl, ht (packets), fn (file names), sp (special files).
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import socket
import struct
import zlib
from typing import Any, NamedTuple

import pytest

from hostile import build, samples
from hostile.build import ACK, FIN, MS, PSH, RST, START_NS, SYN, Record, Segment
from tamperscope import cli


class Case(NamedTuple):
    data: bytes
    outcome: str
    frames: int | None = None
    mechanism: str | None = None  # what must be found: nothing else may be accused


STATUS = {"E": {3}, "P": {4}, "O": {0}, "B": {0, 3, 4}}
TALK = samples.STREAMS["hello"]  # 10 frames
FIVE, FIRST = build.pcap(TALK[:5]), build.pcap(TALK[:1])
WHOLE = build.pcap(TALK)
SECTION, INTERFACE = build.section(), build.interface()
EPB = build.packet_block(TALK[0].data, START_NS // 1000)
NG = build.pcapng(TALK, resolution=None)
NG5 = build.pcapng(TALK[:5], resolution=None)


def header(**fields: Any) -> bytes:
    return build.pcap(TALK, **fields)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def u32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


CASES: dict[str, Case] = {}


def add(name: str, data: bytes, outcome: str, frames: int | None = None, mechanism: str | None = None) -> None:
    assert name not in CASES
    CASES[name] = Case(data, outcome, frames, mechanism)


# ---------------------------------------------------------------- ph, pr: pcap

for n in (0, 1, 3, 4, 12, 20, 23):
    add(f"ph-cut{n:02}", WHOLE[:n], "E")
add("ph-only", WHOLE[:24], "O", 0)
for n, magic in {"zero": 0, "ff": 0xFFFFFFFF, "swapped": 0xB2A1D4C3, "navtel": 0xA1B2C3D5, "near": 0xA1B2C3D3}.items():
    add(f"ph-magic-{n}", header(magic=magic), "E")
add("ph-magic-snoop", b"snoop\0\0\0" + bytes(40), "E")
add("ph-magic-kuznetzov", header(magic=0xA1B2CD34), "B")
for version in ((1, 0), (3, 0), (543, 0), (0, 0), (65535, 65535)):
    add(f"ph-ver-{version[0]}.{version[1]}", header(version=version), "E")
add("ph-ver-2.5", header(version=(2, 5)), "O", 10)
for snap in (0, 1, 96, 2**31 - 1, 2**32 - 1, 2**31):
    add(f"ph-snap-{snap}", header(snap=snap), "O", 10)
add("ph-tz", patched(WHOLE, 8, struct.pack("<iI", -(2**31), 0)), "O", 10)
add("ph-sigfigs", patched(WHOLE, 12, u32(2**32 - 1)), "O", 10)
add("ph-link-fcs", header(link=1 | 0x24000000), "O", 10)
for link in (147, 65535, 0x0FFFFFFF):
    add(f"ph-link-{link}", header(link=link), "E", 10)
for n in (1, 4, 8, 15):
    add(f"pr-hdrcut{n}", FIVE + WHOLE[len(FIVE) : len(FIVE) + n], "P", 5)
for n in (0, 1, 13, 30):
    add(f"pr-datacut{n}", FIVE + WHOLE[len(FIVE) : len(FIVE) + 16 + n], "P", 5)
add("pr-datacut-1", WHOLE[:-1], "P", 9)
add("pr-first-hdrcut", WHOLE[:30], "P", 0)
for n in (2**32 - 1, 2**31 - 1, 2**31, 2**28, 262145):
    add(f"pr-caplen-{n:x}", FIVE + u32(1) * 2 + u32(n) * 2 + bytes(100), "P", 5)
add("pr-caplen-rest+1", FIVE + u32(1) * 2 + u32(101) * 2 + bytes(100), "P", 5)
add(
    "pr-caplen-262144",
    build.pcap([*TALK[:5], Record(START_NS, TALK[0].data + bytes(262144 - len(TALK[0].data)))]),
    "O",
    6,
)
add("pr-caplen0", build.pcap([Record(START_NS, b"")] * 50), "O", 50)
for n, wire in {"lt-cap": 10, "0": 0, "max": 2**32 - 1}.items():
    add(f"pr-orig-{n}", build.pcap([Record(one.time_ns, one.data, wire) for one in TALK]), "O", 10)
add("pr-zerotail", WHOLE + bytes(65536), "O", 10 + 4096)
add("pr-fftail", WHOLE + b"\xff" * 4096, "P", 10)
add("pr-cat", WHOLE + WHOLE, "P", 10)
add("pr-cat-be", WHOLE + header(order=">"), "P", 10)
for n in (1, 13, 14, 20, 33, 34, 40, 53, 54):
    add(f"pr-snap{n:02}", build.pcap([Record(one.time_ns, one.data[:n], len(one.data)) for one in TALK]), "O", 10)

# ---------------------------------------------------------------- ts: times


def at_times(*seconds: float) -> bytes:
    return build.pcap([Record(int(when * 10**9), one.data) for when, one in zip(seconds, TALK * 9, strict=False)])


add("ts-zero", at_times(*[0] * 10), "O", 10)
add("ts-max", at_times(*[2**32 - 1] * 10), "O", 10)
add("ts-jump", at_times(*[0, 2**32 - 1] * 10), "O", 20)
add("ts-back", at_times(*range(400000, 364000, -3600)), "O", 10)
add("ts-century-gap", at_times(*range(5), *range(3_200_000_000, 3_200_000_030)), "O", 35)
add("ts-neg1", at_times(*range(2**31, 2**31 + 10)), "O", 10)
for n in (10**6, 2**32 - 1):
    add(f"ts-usec-{n}", patched(WHOLE, 28, u32(n)), "O", 10)

# ---------------------------------------------------------------- ng: pcapng

for n in (4, 8, 12, 20, 27):
    add(f"ng-cut{n:02}", NG[:n], "E")
add("ng-shb-only", SECTION, "O", 0)
add("ng-idb-only", SECTION + INTERFACE, "O", 0)
for n in (1, 8, 12, 28, 31, 60):
    add(f"ng-epbcut{n}", NG5 + NG[len(NG5) :][:n], "P", 5)
for n in (0, 1, 8, 11, 2**32 - 1, 2**24 + 4):
    add(f"ng-len-{n:x}", NG5 + build.block(6, bytes(60), length=n), "P", 5)
for n in (12, 28):
    add(f"ng-len-{n}", NG5 + build.block(6, bytes(n - 12), length=n) + EPB, "P", 6)
add("ng-trailer", NG5 + build.block(6, bytes(60), trailer=4) + EPB, "P", 5)
add("ng-trailer-first", build.block(0x0A0D0D0A, bytes(16), trailer=4), "E")
for n, bom in {"zero": 0, "swapped": 0x2B1A4D3C, "ff": 0xFFFFFFFF}.items():
    add(f"ng-bom-{n}", build.section(bom=bom) + NG[28:], "E")
add("ng-ver-2.0", build.section(version=(2, 0)) + NG[28:], "E")
add("ng-ver-0.0", build.section(version=(0, 0)) + NG[28:], "E")
add("ng-ver-1.2", build.section(version=(1, 2)) + NG[28:], "O", 10)
for n in (len(NG) - 28, 1, 0, -2, 2**63 - 1, -(2**63)):
    add(f"ng-seclen-{n}", build.section(length=n) + NG[28:], "O", 10)
add("ng-shb-len-big", build.block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), length=1 << 28), "E")
add("ng-noidb", SECTION + EPB * 3, "E")  # nothing of it could be read: no frame has a link type
add("ng-ifc-range", NG5 + build.packet_block(TALK[0].data, 1, number=7) + EPB, "P", 6)
add("ng-ifc-max", NG5 + build.packet_block(TALK[0].data, 1, number=2**32 - 1) + EPB, "P", 6)
for n in (len(TALK[0].data) + 60, 2**32 - 1, 2**31):
    add(f"ng-caplen-{n:x}", NG5 + build.packet_block(TALK[0].data, 1, captured=n) + EPB, "P", 6)
add("ng-spb", SECTION + INTERFACE + build.block(3, u32(len(TALK[0].data)) + TALK[0].data) * 4, "O", 4)
add("ng-spb-lie", SECTION + INTERFACE + build.block(3, u32(2**31) + TALK[0].data), "B")
OLD = struct.pack("<HHIIII", 0, 0, 0, 0, len(TALK[0].data), len(TALK[0].data)) + TALK[0].data
add("ng-pb-old", SECTION + INTERFACE + build.block(2, OLD), "O", 1)
for kind in (0, 4, 5, 7, 9, 10, 0xBAD, 0x40000BAD, 0x80000001, 0xFFFFFFFF):
    add(f"ng-type-{kind:x}", NG5 + build.block(kind, b"\xff" * 36) + EPB, "O", 6)
for n in (1, 7):
    add(f"ng-tail{n}", NG + b"\xff" * n, "P", 10)
for n, options in {
    "lenover": struct.pack("<HH", 1, 60) + b"xx",
    "lenmax": struct.pack("<HH", 1, 65535),
    "noend": build.option(1, b"comment"),
    "zero": build.option(1, b"") * 3,
    "after-end": build.option(0, b"") + build.option(1, b"x"),
    "10k": build.option(1, b"c") * 10000,
    "64k": build.option(1, b"c" * 65535),
}.items():
    add(f"ng-opt-{n}", SECTION + build.interface(options=options) + EPB * 3, "O", 3)
for n in (0, 6, 9, 19, 128, 128 + 63):
    add(f"ng-tsresol-{n}", build.pcapng(TALK[:1]), "O", 1) if n == 9 else add(
        f"ng-tsresol-{n}", SECTION + build.interface(options=build.option(9, bytes((n,)))) + EPB * 2, "O", 2
    )
for n in (20, 127, 128 + 64, 255):  # refused by name
    add(f"ng-tsresol-{n}", SECTION + build.interface(options=build.option(9, bytes((n,)))) + EPB * 2, "E")
for n in (0, 4, 9):
    add(f"ng-tsresol-size{n}", SECTION + build.interface(options=build.option(9, bytes(n))) + EPB, "O", 1)
for n in (10**9, -(10**9), 2**33, -(2**33)):
    options = build.option(14, struct.pack("<q", n))
    add(f"ng-tsoffset-{n}", SECTION + build.interface(options=options) + EPB * 2, "O", 2)
for n in (2**63 - 1, -(2**63)):
    options = build.option(14, struct.pack("<q", n))
    add(f"ng-tsoffset-{n}", SECTION + build.interface(options=options) + EPB * 2, "B")
for n in (2**64 - 1, 2**63, 0):
    add(f"ng-ts-{n:x}", SECTION + INTERFACE + build.packet_block(TALK[0].data, n) + EPB, "O", 2)
add("ng-idb-snap", SECTION + build.interface(snap=1) + EPB, "O", 1)
RAW = build.packet_block(TALK[0].data[14:], START_NS // 1000, number=1)
add("ng-idb-mix", SECTION + INTERFACE + build.interface(link=101) + EPB + RAW, "O", 2)
add("ng-idb-late", SECTION + INTERFACE + EPB + build.interface(link=101) + RAW, "O", 2)
add("ng-idb-20k", SECTION + INTERFACE * 20000 + EPB, "O", 1)
add("ng-sections-200", (SECTION + INTERFACE + EPB) * 200, "O", 200)
add("ng-sections-orders", NG + build.pcapng(TALK, order=">"), "O", 20)
add("ng-sec-stale", NG5 + SECTION + EPB, "P", 5)
add("ng-pcap-inside", NG5 + WHOLE, "P", 5)

# ---------------------------------------------------------------- fz: what is no capture

for n, start in {
    "empty": b"", "nul": bytes(100), "elf": b"\x7fELF\2\1\1" + bytes(60), "png": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "pdf": b"%PDF-1.7\n", "zip": b"PK\3\4" + bytes(30), "xml": b"<?xml version='1.0'?>", "json": b'{"a": 1}',
    "pickle": b"\x80\4\x95" + bytes(20), "text": b"no capture\n" * 9, "bz2": b"BZh91AY&SY" + bytes(20),
}.items():  # fmt: skip
    add(f"fz-{n}", start, "E")
add("fz-randbody", WHOLE[:24] + bytes(n * 167 % 251 for n in range(5000)), "B")

# ---------------------------------------------------------------- gz

PACKED = gzip.compress(WHOLE, mtime=0)
for n in (2, 9, 12, len(PACKED) // 2, len(PACKED) - 9, len(PACKED) - 1):
    add(f"gz-cut{n}", PACKED[:n], "B" if n < 100 else "P")
add("gz-crc", patched(PACKED, len(PACKED) - 8, b"\0\0\0\1"), "P", 10)
add("gz-isize", patched(PACKED, len(PACKED) - 4, b"\0\0\0\1"), "P", 10)
add("gz-members", gzip.compress(WHOLE[:77]) + gzip.compress(WHOLE[77:]), "O", 10)
add("gz-trail", PACKED + b"junk", "B", 10)
add("gz-zeros", PACKED + bytes(512), "O", 10)
add("gz-extra", patched(PACKED, 3, b"\4")[:10] + b"\3\0abc" + PACKED[10:], "O", 10)
add("gz-extra-lie", patched(PACKED, 3, b"\4")[:10] + b"\xff\xff" + PACKED[10:], "E")
add("gz-gz", gzip.compress(PACKED), "E")
add("gz-bomb-notcap", gzip.compress(bytes(16 << 20)), "E")
add("gz-bomb-rec", gzip.compress(WHOLE + bytes(16 << 20)), "B")

# ---------------------------------------------------------------- ip, tc: packets


def eth(*packets: bytes) -> bytes:
    return build.pcap([Record(START_NS + n * MS, build.ethernet(one)) for n, one in enumerate(packets)])


DATA = build.tcp(samples.HELLO, flags=PSH | ACK)
add("ip-ihl", eth(*(build.ipv4(DATA, header=n) for n in range(16))), "O", 16)
add("ip-ver", eth(*(bytes((n << 4 | 5,)) + build.ipv4(DATA)[1:] for n in range(16))), "O", 16)
add("ip-tlen", eth(*(build.ipv4(DATA, total=n) for n in (0, 1, 19, 20, 21, 39, 40, 65535))), "O", 8)
add("ip-tso", eth(build.ipv4(build.tcp(bytes(60000)), total=0)), "O", 1)
PADDED = build.ipv4(build.tcp(flags=ACK)) + b"HTTP/1.1 403 Forbidden\r\n\r\nblocked"
add("ip-pad", build.pcap([*TALK[:4], Record(TALK[4].time_ns, build.ethernet(PADDED))]), "O", 5)
add("ip-opts", eth(*(build.ipv4(DATA, options=bytes((7, n, 0, 0)) * 5) for n in (0, 1, 3, 255))), "O", 4)
add("ip-land", eth(build.ipv4(build.tcp(ports=(80, 80), flags=SYN), build.CLIENT, build.CLIENT)), "O", 1)
ADDRESSES = ("0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1")
add("ip-odd-addresses", eth(*(build.ipv4(DATA, one, other) for one in ADDRESSES for other in ADDRESSES)), "O", 16)
add("ip-ttl0", eth(build.ipv4(DATA, ttl=0)), "O", 1)
add("ip-proto", eth(*(build.ipv4(bytes(40), protocol=n) for n in range(256))), "O", 256)
kinds = [build.ethernet(build.ipv4(DATA), kind=n * 257) for n in range(256)]
add("ip-ethertype", build.pcap([Record(START_NS, one) for one in kinds]), "O", 256)
quotes = [build.ipv4(build.icmp(3, 13, samples.SEGMENT[:n]), protocol=1) for n in range(60)]
add("ip-icmp", eth(*quotes), "O", 60)
nest = samples.SEGMENT
for _ in range(30):
    nest = build.ipv4(build.icmp(3, 1, nest), protocol=1)
add("ip-icmp-nest", eth(nest), "O", 1)
forged = build.ipv4(build.icmp(3, 13, samples.SEGMENT[:28]), build.SERVER, build.CLIENT, protocol=1)
add("ip-icmp-forged", build.pcap(sorted([*TALK, Record(TALK[5].time_ns + 1, build.ethernet(forged))])), "O", 11)
add("ip6-plen", eth(*(build.ipv6(DATA, length=n) for n in (0, 1, 19, 20, 65535))), "O", 5)
chains = [build.ipv6(DATA, extensions=[(0, bytes(6))] * n) for n in (1, 15, 16, 17, 180)]
add("ip6-ext", eth(*chains), "O", 5)
add("ip6-frag-chain", eth(build.ipv6(DATA, extensions=[(44, bytes(6))] * 40)), "O", 1)
add("ip6-nonext", eth(build.ipv6(DATA, protocol=59)), "O", 1)
add("ip6-mapped", eth(build.ipv6(DATA, "::ffff:10.0.0.1", "::ffff:10.0.0.2")), "O", 1)

SYN_ = [Segment(0, SYN), Segment(1, SYN | ACK), Segment(0, ACK)]
HELLO = Segment(0, PSH | ACK, samples.HELLO)
GENUINE = [Segment(1, ACK, after_ms=40.0), Segment(1, PSH | ACK, b"\x16\3\3\0\4\2\0\0\0" + bytes(80))]


def tcp_case(segments: list[Segment], **where: Any) -> bytes:
    return build.pcap(build.conversation(segments, **where))


add("tc-doff", eth(*(build.ipv4(build.tcp(bytes(50), words=n)) for n in range(16))), "O", 16)
add("tc-flags", eth(*(build.ipv4(build.tcp(flags=n)) for n in range(0, 4096, 17))), "O", 241)
lists = [bytes((n, m, 0, 0)) for n in (2, 3, 8, 30) for m in (0, 1, 2, 3, 4, 10, 255)]
add("tc-opts", eth(*(build.ipv4(build.tcp(options=one)) for one in lists)), "O", 28)
add("tc-optzero40", eth(build.ipv4(build.tcp(options=bytes((8, 0)) * 20))), "O", 1)
FORGED = Segment(1, RST | ACK, seq=1, ttl=61, ip_id=999)
add("tc-wrap", tcp_case([*SYN_, HELLO, FORGED, *GENUINE], isns=(2**32 - 20, 2**32 - 1)), "O", 7, "rst_injection")
storm = [FORGED._replace(ip_id=n & 0xFFFF) for n in range(5000)]
add("tc-rst-storm", tcp_case([*SYN_, HELLO, *storm, *GENUINE]), "O", 5006, "rst_injection")
markup = FORGED._replace(data=b"<script>alert(1)</script>\x1b]0;x\7")
add("tc-rst-data", tcp_case([*SYN_, HELLO, markup, *GENUINE]), "O", 7, "rst_injection")
add("tc-rstfirst", tcp_case([Segment(1, RST), *SYN_, HELLO, *GENUINE]), "O", 7)
add("tc-dup", build.pcap(sorted([*TALK, *(one._replace(time_ns=one.time_ns + 5000) for one in TALK)])), "O", 20)
for n, side in enumerate(("client", "server")):
    one_way = [one for one in TALK if (one.data[26:30] == bytes((10, 20, 0, 7))) == (n == 0)]
    add(f"tc-oneway-{side}", build.pcap(one_way), "O", len(one_way))
add("tc-midstream", build.pcap(TALK[3:]), "O", 7)
add("tc-simopen", tcp_case([Segment(0, SYN), Segment(1, SYN), Segment(0, SYN | ACK), Segment(1, SYN | ACK)]), "O", 4)
again = build.talk(samples.HELLO, isns=(77_000, 99_000), start_ns=START_NS + 10**9)
add("tc-reuse", build.pcap([*TALK, *again]), "O", 20)
add(
    "tc-keepalive",
    tcp_case([*SYN_, HELLO, *GENUINE, *[Segment(0, ACK, seq=len(samples.HELLO), after_ms=9e3)] * 9]),
    "O",
    15,
)
whole = samples.HELLO
pieces = [Segment(0, PSH | ACK, whole[n : n + 1], seq=1 + n) for n in range(len(whole))]
add("rs-1byte", tcp_case([*SYN_, *pieces, *GENUINE]), "O", 5 + len(whole))
add("rs-rev", tcp_case([*SYN_, *pieces[::-1], *GENUINE]), "O", 5 + len(whole))
decoy = Segment(0, PSH | ACK, bytes(len(whole)), seq=1, ttl=3)
add("rs-ttl-decoy", tcp_case([*SYN_, decoy, HELLO._replace(seq=1, ip_id=8, after_ms=200.0), *GENUINE]), "O", 7)
add("rs-far", tcp_case([*SYN_, *[Segment(0, ACK, bytes(9), seq=1 + n * 70_000) for n in range(200)]]), "O", 203)
add("rs-synpay", tcp_case([Segment(0, SYN, samples.HELLO), *SYN_[1:], *GENUINE]), "O", 5)
add("rs-finpay", tcp_case([*SYN_, Segment(0, PSH | ACK | FIN, samples.HELLO), *GENUINE]), "O", 6)

# ---------------------------------------------------------------- dn, tl, ht: names


def dns_case(*messages: bytes, ports: tuple[int, int] = (40000, 53)) -> bytes:
    asked = [(build.udp(one, ports), (build.CLIENT, build.RESOLVER)) for one in messages]
    packets = [build.ipv4(one, *ends, protocol=17, ip_id=n + 1) for n, (one, ends) in enumerate(asked)]
    return eth(*packets)


NAME = build.dns()[:12]
for n, bad in {
    "self": b"\xc0\x0c", "loop2": b"\xc0\x0e\xc0\x0c", "loop-label": b"\1a\xc0\x0c", "fwd": b"\xc0\x20" + bytes(20),
    "out": b"\xff\xff", "hdr": b"\xc0\0", "label": b"\x7f" + b"a" * 127 + b"\0", "unterm": b"\5abc",
    "long": b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 8 + b"\0", "short": b"",
}.items():  # fmt: skip
    add(f"dn-{n}", dns_case(NAME + bad + b"\0\1\0\1"), "O", 1)
chain = b"\1a\0" + b"".join(struct.pack("!H", 0xC000 | (12 if n == 0 else 13 + 2 * n)) for n in range(4000))
records = b"".join(struct.pack("!HHHIH", 0xC000 | 8000, 1, 1, 60, 4) + bytes(4) for _ in range(3000))
add("dn-quad", dns_case(struct.pack("!6H", 1, 0x8180, 0, 3000, 0, 0) + chain + records), "O", 1)
add("dn-counts", dns_case(struct.pack("!6H", 1, 0x8180, *[65535] * 4) + bytes(200)), "O", 1)
for n, (kind, body) in {
    "rdlen": (1, bytes(3)),
    "aaaa": (28, bytes(15)),
    "txt": (16, b"\xffx"),
    "soa": (6, b"\0"),
}.items():
    add(f"dn-{n}", dns_case(build.dns(answers=[(kind, body)])), "O", 1)
add("dn-zeroudp", dns_case(b""), "O", 1)
add("dn-flags", dns_case(*(build.dns(flags=n << 8) for n in range(256))), "O", 256)
ask, told = build.question()
add("dn-unasked", build.pcap([told]), "O", 1)
add(
    "dn-rr",
    build.pcap(
        [
            *build.question(address=b"\x5d\xb8\xd8\x22"),
            *build.question(address=b"\x5d\xb8\xd8\x23", start_ns=START_NS + 10**9),
        ]
    ),
    "O",
    4,
)
add(
    "dn-twice",
    build.pcap([ask, ask._replace(time_ns=ask.time_ns + 5 * MS), told, told._replace(time_ns=told.time_ns + 5 * MS)]),
    "O",
    4,
)

HELLO_BYTES = build.client_hello()
for n in ("reclen", "hslen", "sidlen", "cslen", "extlen"):
    at = {"reclen": 3, "hslen": 6, "sidlen": 43, "cslen": 44, "extlen": 50}[n]
    for value in (0, 1, 0x7F, 0xFF):
        broken = bytearray(samples.HELLO)
        broken[at] = value
        add(f"tl-{n}-{value}", tcp_case([*SYN_, HELLO._replace(data=bytes(broken)), *GENUINE]), "O", 6)
for n, message in {
    "sni-max": build.client_hello("a" * 60000), "nosni": build.client_hello(None), "ech": build.client_hello(ech=True),
    "sni-empty": build.client_hello(""), "sni-bytes": build.client_hello(b"\xff\0\x1b[31m\r\n"),
}.items():  # fmt: skip
    parts = build.tls_records(message)
    said = [Segment(0, PSH | ACK, parts[at : at + 1400]) for at in range(0, len(parts), 1400)]
    add(f"tl-{n}", tcp_case([*SYN_, *said, *GENUINE]), "O", 5 + len(said))
for n, parts in {
    "frag-rec": build.tls_records(HELLO_BYTES, 1), "frag0": b"\x16\3\1\0\0" * 200 + samples.HELLO,
    "2hello": samples.HELLO * 2,
}.items():  # fmt: skip
    add(f"tl-{n}", tcp_case([*SYN_, HELLO._replace(data=parts), *GENUINE]), "O", 6)

ANSWER = [Segment(1, PSH | ACK, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Segment(0, ACK)]
for n, text in {
    "host": b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    "abs": b"GET http://a.example/ HTTP/1.1\r\n\r\n", "lf": b"GET / HTTP/1.1\nHost: a.example\n\n",
    "nohost": b"GET / HTTP/1.0\r\n\r\n", "bare": b"GET ", "blank": b"\r\n\r\n",
    "pipe": build.request() * 20, "line": b"GET /" + b"a" * 20000, "noend": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000,
    "fold": b"GET / HTTP/1.1\r\nA: b\r\n" + b" c\r\n" * 4000, "cookie": build.request(head="Cookie: SECRET-CANARY\r\n"),
}.items():  # fmt: skip
    said = [Segment(0, PSH | ACK, text[at : at + 1400]) for at in range(0, len(text), 1400)]
    add(f"ht-{n}", tcp_case([*SYN_, *said, *ANSWER], ports=(40000, 80)), "O", 5 + len(said))

# ---------------------------------------------------------------- the test


@pytest.mark.parametrize("name", CASES)
def test_outcome(name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status, the count of frames, a word about the damage, no accusation but the true one, no secret."""
    case, path = CASES[name], tmp_path / "case.pcap"
    path.write_bytes(case.data)
    status = cli.main(["--json", "--flows", str(path)])
    out, error = capsys.readouterr()
    records = [json.loads(text) for text in out.splitlines()]
    assert status in STATUS[case.outcome], error
    assert "Traceback" not in error and "error in the program" not in error
    assert (case.outcome in "EP") <= (str(path) in error and "\x1b" not in error)
    accused = [one for one in records if one["type"] == "finding" and one["verdict"] != "insufficient"]
    assert {one["mechanism"] for one in accused} == ({case.mechanism} if case.mechanism else set())
    if case.frames is not None:
        assert [one["frames"] for one in records if one["type"] == "summary"] == [case.frames]
    assert "CANARY" not in out + error and not any(ord(sign) < 32 for sign in out.replace("\n", ""))
    if case.outcome == "P":
        told = [one for one in records if one["type"] == "notice" and one["level"] == "error"]
        assert told and all(one["text"] and one["offset"] is not None for one in told)


def test_a_storm_is_one_finding(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """5,000 forged resets do not hide the data after them: one finding, its lists bounded, the count beside them."""
    path = tmp_path / "storm.pcap"
    path.write_bytes(CASES["tc-rst-storm"].data)
    cli.main(["--json", str(path)])
    found = [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if one["type"] == "finding"]
    assert len(found) == 1 and len(found[0]["injected_frames"]) <= 4096
    assert found[0]["injected_total"] >= len(found[0]["injected_frames"]) > 1000
    assert all(len(one["frames"]) <= 32 for one in found[0]["evidence"])
    assert "trace_full" in found[0]["limits"]  # so that the total is known to be of what was kept


@pytest.mark.parametrize("case", ["tc-wrap", "rs-1byte", "rs-rev", "tl-frag-rec", "tl-frag0"])
def test_name_in_spite_of_it(case: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However the hello lies in the stream, its name is found."""
    path = tmp_path / "case.pcap"
    path.write_bytes(CASES[case].data)
    cli.main(["--json", "--flows", str(path)])
    flows = [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if one["type"] == "flow"]
    assert [one["name"] for one in flows] == ["a.example"]


# ---------------------------------------------------------------- fn: names of files

FILES = [
    "-rf", "--help", "a b.pcap", "new\nline.pcap", "\x1b]0;own\x07.pcap", "$(touch CANARY).pcap", "`id`.pcap", "%n",
    "'quote\".pcap", "\u202egnp.pcap", "*", "?.pcap", ";ls", "\\x.pcap", "é.pcap", "a" * 250, "\udcff\udcfe.pcap", "#x",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES, ids=range(len(FILES)))
def test_file_names(name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Any name opens, after -- also one like an option; where it is shown it is escaped, and no shell sees it."""
    folder = os.fsencode(tmp_path)
    before = pathlib.Path.cwd()
    os.chdir(folder)
    try:
        with open(os.fsencode(name), "wb") as file:
            file.write(WHOLE)
        assert cli.main(["--", name]) == 0
        assert cli.main(["--json", "--", name]) == 0
        pathlib.Path("gone").mkdir()
        assert cli.main(["--", f"gone/{name}"]) == 3
        assert not pathlib.Path("CANARY").exists()
    finally:
        os.chdir(before)
    out, error = capsys.readouterr()
    assert error.count("\n") == 1 and error.replace("\n", "").isprintable()
    assert out.replace("\n", "").isprintable()


# ---------------------------------------------------------------- sp: special files


def test_special_files(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no file to read is refused with the system's word for it, and nothing hangs."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("no capture")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("dangling", "loop", "missing", "socket", "folder"):
            assert cli.main([str(tmp_path / name)]) == 3, name
            error = capsys.readouterr().err
            assert error.startswith("pcap-scan: ") and name in error and error.count("\n") == 1
    for device in ("/dev/zero", "/dev/null", "/proc/self/mem"):
        if pathlib.Path(device).exists():
            assert cli.main([device]) == 3, device


def test_folder_with_one_bad_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign files are stepped over, a damaged capture is named, the others are read."""
    (tmp_path / "a.pcap").write_bytes(WHOLE)
    (tmp_path / "b.pcap").write_bytes(b"nonsense")
    (tmp_path / "c.txt").write_text("not a capture")
    (tmp_path / "d").write_bytes(NG)
    assert cli.main(["--json", str(tmp_path)]) == 4
    out, error = capsys.readouterr()
    records = [json.loads(text) for text in out.splitlines()]
    assert [one["frames"] for one in records if one["type"] == "summary"] == [10, 10]
    assert "b.pcap" in error and "c.txt" not in error


def test_sparse_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hole of 16 MiB behind a capture is a million empty records of 1970: read, and no evidence of anything."""
    path = tmp_path / "sparse.pcap"
    path.write_bytes(WHOLE)
    with path.open("r+b") as file:
        file.truncate(16 << 20)
    assert cli.main(["--json", str(path)]) in (0, 4)
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert not [one for one in records if one["type"] == "finding"]


def test_compression_is_told_from_its_first_bytes() -> None:
    """The samples above are what they claim to be."""
    assert zlib.decompress(PACKED, 31) == WHOLE
