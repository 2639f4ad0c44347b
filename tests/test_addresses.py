"""Blocked addresses and dropped QUIC: each rule, its look-alikes, and that scans and floods cost nothing."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from corpus import PCAPS
from hostile.build import ACK, MS, PSH, RST, START_NS, SYN, Record, ethernet, icmp, ipv4, pcap, tcp
from tamperscope import scan

SERVER, OTHER, ROUTER = "192.0.2.44", "198.51.100.5", "203.0.113.1"
ME, YOU, THEM = "10.0.0.7", "10.0.0.8", "10.0.0.9"


class Net:
    """Packets of a small network, in the order of their times."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.port = 40000

    def put(self, ms: float, packet: bytes) -> None:
        self.records.append(Record(START_NS + int(ms * MS), ethernet(packet)))

    def syn(self, ms: float, client: str, server: str, port: int, to: int = 443) -> bytes:
        packet = ipv4(tcp(ports=(port, to), flags=SYN, seq=1000), client, server)
        self.put(ms, packet)
        return packet

    def connect(self, ms: float, client: str = ME, server: str = SERVER, to: int = 443, rtt: float = 80) -> None:
        """A connection that is accepted and gets an answer."""
        self.port += 1
        there, back = (self.port, to), (to, self.port)
        self.syn(ms, client, server, self.port, to)
        self.put(ms + rtt, ipv4(tcp(ports=back, flags=SYN | ACK, seq=5000, ack=1001), server, client, ttl=50))
        self.put(ms + rtt + 1, ipv4(tcp(ports=there, seq=1001, ack=5001), client, server))
        self.put(ms + rtt + 2, ipv4(tcp(b"hello", ports=there, flags=PSH | ACK, seq=1001, ack=5001), client, server))
        self.put(
            ms + 2 * rtt, ipv4(tcp(b"hi", ports=back, flags=PSH | ACK, seq=5001, ack=1006), server, client, ttl=50)
        )

    def ignored(self, ms: float, client: str = ME, server: str = SERVER, to: int = 443, syns: int = 4) -> None:
        """SYNs into silence."""
        self.port += 1
        for n in range(syns):
            self.syn(ms + 1000 * (2**n - 1), client, server, self.port, to)

    def prohibited(self, ms: float, server: str = SERVER, by: str = ROUTER, kind: tuple[int, int] = (3, 13)) -> None:
        """A SYN, and what a router says to it."""
        self.port += 1
        syn = self.syn(ms, ME, server, self.port)
        self.put(ms + 20, ipv4(icmp(*kind, syn[:28]), by, ME, protocol=1, ttl=59))

    def reset(self, ms: float, after: float, ttl: int, to: int = 443, server: str = SERVER) -> None:
        """A SYN, and a reset to it."""
        self.port += 1
        self.syn(ms, ME, server, self.port, to)
        answer = tcp(ports=(to, self.port), flags=RST | ACK, seq=0, ack=1001)
        self.put(ms + after, ipv4(answer, server, ME, ttl=ttl))

    def findings(self) -> list[Any]:
        """Findings of ip_block, as (verdict, ids of the evidence)."""
        data = pcap(sorted(self.records, key=lambda record: record.time_ns))
        return [(f.verdict, {e.id for e in [*f.evidence, *f.against]}) for f in scan(data) if f.mechanism == "ip_block"]


def black_hole(net: Net) -> None:
    """Two clients are ignored, a third is accepted all the time, and both reach other servers."""
    for n in range(6):
        net.connect(n * 3000, THEM)
        net.connect(n * 3000 + 100, ME, OTHER)
        net.connect(n * 3000 + 200, YOU, OTHER)
    net.ignored(2000, ME)
    net.ignored(2500, YOU)


def test_syns_that_vanish_are_likely_where_others_are_accepted() -> None:
    """Two clients are ignored while a third is not."""
    net = Net()
    black_hole(net)
    found = net.findings()
    assert [verdict for verdict, _ in found] == ["likely", "likely"]
    assert all({"syn_ignored", "server_accepts_others", "others_ignored_too"} <= ids for _, ids in found)


def test_a_router_that_prohibits_is_named() -> None:
    """Other servers are reached on that port; the error's frame is the forged one."""
    net = Net()
    net.connect(0, ME, OTHER)
    net.prohibited(1000)
    net.connect(3000, ME, OTHER)
    data = pcap(net.records)
    [found] = [f for f in scan(data) if f.mechanism == "ip_block"]
    assert found.verdict == "confirmed" and found.injected_frames == [7]


def test_a_reset_from_nearby_is_likely() -> None:
    """In 10 ms, where the server is 80 ms away, with another TTL; the port is open elsewhere."""
    net = Net()
    net.connect(0, ME, SERVER, to=80)
    net.connect(500, ME, OTHER)
    net.reset(1000, 10, ttl=60)
    [(verdict, ids)] = net.findings()
    assert verdict == "likely" and "syn_reset_nearby" in ids


def banned(net: Net) -> None:
    black_hole(net)
    net.records = [r for r in net.records if YOU_BYTES not in r.data[26:34]]


YOU_BYTES = bytes(map(int, YOU.split(".")))


def dead_host(net: Net) -> None:
    net.connect(0, THEM)
    net.ignored(2000, ME)
    net.ignored(2500, YOU)
    net.connect(9000, ME, OTHER)


def reboot(net: Net) -> None:
    for n in (0, 500, 30_000, 31_000):
        net.connect(n, THEM)
        net.connect(n, ME, OTHER)
    net.ignored(2000, ME)
    net.ignored(2500, YOU)


def overload(net: Net) -> None:
    black_hole(net)
    net.connect(30_000, ME)
    net.connect(30_000, YOU)


def broken_uplink(net: Net) -> None:
    for n in range(5):
        net.ignored(n * 500, ME, f"198.51.100.{n + 10}")
        net.connect(n * 3000, THEM, f"198.51.100.{n + 10}")


def captive(net: Net) -> None:
    for n in range(6):
        net.prohibited(n * 500, f"198.51.100.{n + 10}")
    net.connect(9000, ME, OTHER)


def owner_border(net: Net) -> None:
    net.connect(0, ME, OTHER)
    net.prohibited(1000, by="192.0.2.1")


def own_port_rule(net: Net) -> None:
    net.connect(0, ME, SERVER, to=80)
    net.reset(1000, 10, ttl=60, to=8443)


def closed_port(net: Net) -> None:
    net.connect(0, ME, SERVER, to=80)
    net.connect(100, ME, OTHER)
    net.reset(1000, 80, ttl=50)
    net.reset(2000, 79, ttl=240)


def filtered_port(net: Net) -> None:
    net.connect(0, ME, SERVER, to=80)
    net.connect(100, ME, OTHER, to=22)
    net.ignored(1000, to=22)
    net.connect(9000, ME, SERVER, to=80)


def no_route(net: Net) -> None:
    net.connect(0, ME, OTHER)
    net.prohibited(1000, kind=(3, 1))
    net.connect(3000, ME, OTHER)


def host_says_so(net: Net) -> None:
    net.connect(0, ME, OTHER)
    net.prohibited(1000, by=SERVER, kind=(3, 10))


def one_direction(net: Net) -> None:
    black_hole(net)
    net.records = [r for r in net.records if r.data[26] == 10]


LOOK_ALIKES = [
    banned, dead_host, reboot, overload, broken_uplink, captive, owner_border, own_port_rule, closed_port,
    filtered_port, no_route, host_says_so, one_direction,
]  # fmt: skip


@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_look_alikes_accuse_nobody(look_alike: Any) -> None:
    """Never more than `insufficient`; where nothing is odd, nothing."""
    net = Net()
    look_alike(net)
    found = net.findings()
    assert all(verdict == "insufficient" for verdict, _ in found)
    if look_alike in (closed_port, filtered_port, no_route, host_says_so, one_direction, broken_uplink):
        assert found == []


def test_scans_and_floods_make_no_candidates() -> None:
    """Of thousands of SYNs into silence, repeated or not, none waits for Python where nobody is accepted."""
    net = Net()
    net.connect(0, ME, OTHER)
    for n in range(6000):
        net.port = 20_000 + n
        net.ignored(n, ME, f"172.16.{n // 250}.{n % 250}", to=n % 1000 + 1, syns=3 if n % 2 else 1)
    run = scan(pcap(sorted(net.records, key=lambda record: record.time_ns)))
    assert list(run) == [] and run.summary is not None and run.summary.candidates == 0


# ---------------------------------------------------------------- QUIC, in the recordings


def told(name: str) -> tuple[list[Any], dict[str, Any]]:
    """Findings of quic_drop, and the truth."""
    truth = json.loads((PCAPS / f"{name}.json").read_text())
    path = PCAPS / name.rpartition("/")[0] / truth["file"]
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [f for f in scan(data) if f.mechanism == "quic_drop"], truth


def test_quic_is_found_by_name() -> None:
    """Names that die, some after their first flight, beside names of the same server that live."""
    found, truth = told("interference/quic-by-name")
    names = {flow["name"] for flow in truth["flows"]}
    assert sum(f.verdict == "likely" for f in found) >= 8
    assert {f.name.decode() for f in found if f.name} <= names
    assert any(e.id == "answered_then_silent" for f in found for e in f.evidence)


@pytest.mark.parametrize("name", ["innocent/udp-closed", "innocent/quic-off", "interference/quic-by-version"])
def test_quic_that_fails_as_a_whole_accuses_nobody(name: str) -> None:
    """A port that is closed for all, a server without QUIC, and one whose QUIC ends for all names."""
    found, _ = told(name)
    assert all(f.verdict == "insufficient" for f in found)
    if name == "innocent/quic-off":
        assert found == []
    if name == "innocent/udp-closed":
        assert found and all("quic_of_other_servers" in f.missing for f in found)
