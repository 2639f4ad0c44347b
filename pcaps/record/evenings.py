"""Three evenings on which four platforms were interfered with, and three on which something merely broke.

Six hours are recorded in two and a half minutes: attempts (lookup, page, retries) follow each other as on the evening,
but closer. In the files each attempt stands at its time of the evening and keeps its true times inside. What is known
of the real evenings is their dates, platforms and hours; clients, networks and methods here are the laboratory's.
"""

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import box_dns
from box_dns import Poisoner
from box_drops import NameDropper, null_route, upward
from box_rates import Throttler
from boxes import Box, Fault, Log, Only
from capture import HEADER, Record
from packet import parse
from scenario import RESOLVERS, WEB, Rule, Scenario, scenario

PKT = datetime.timezone(datetime.timedelta(hours=5))
FIRST, LAST = 17.5, 23.5  # hours of the evening
REAL = 150.0  # seconds that they take in the laboratory
STRETCH = (LAST - FIRST) * 3600 / REAL
NETWORKS = {"a": "c1", "b": "c2", "c": "c3"}
PEOPLE, ATTEMPTS = 12, 10  # clients of a network; attempts of each in an evening
TARGETS = {"x.com": "s1", "www.facebook.com": "s2", "www.instagram.com": "s2", "www.youtube.com": "s3"}
NAMES = {
    "s1": ["x.com", "news.example", "radio.example.net"],
    "s2": ["www.facebook.com", "www.instagram.com", "mail.example.org", "wiki.example"],
    "s3": ["www.youtube.com", "www.google.com", "maps.example.net"],
}
FAULTS = {
    "upstream": "upstream_fault",
    "resolver": "resolver_fault",
    "platform": "platform_fault",
}


@dataclass(frozen=True)
class Evening:
    """One network's frames, each attempt moved to its time of the evening, frames cut to `size` bytes."""

    network: str
    date: str
    size: int
    plan: Scenario

    def __repr__(self) -> str:
        return f"Evening({self.network})"

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        start = datetime.datetime.fromisoformat(self.date).replace(tzinfo=PKT).timestamp() + FIRST * 3600
        shifts: dict[tuple[str, int], int] = {}
        for job in self.plan.jobs:
            if job["worker"] == NETWORKS[self.network]:
                there = start + job["planned"] * STRETCH
                for part in job["flows"]:
                    shifts[part["client"], part["source_port"]] = int((there - job["at"]) * 1e9)
        moved = []
        for record in records:
            packet = parse(record.data[HEADER[link] :])
            ends = [] if packet is None else [(packet.src, packet.sport), (packet.dst, packet.dport)]
            shift = next((shifts[end] for end in ends if end in shifts), None)
            if shift is not None:
                moved.append(replace(record, shift_ns=shift))
        return sorted(moved, key=lambda r: r.time_ns + r.shift_ns)


def lab_time(hour: float) -> float:
    return (hour - FIRST) * 3600 / STRETCH


def crowd(s: Scenario, purpose: str) -> dict[str, list[str]]:
    """The same people with the same habits every evening; returns their addresses by network."""
    s.names = {server: list(names) for server, names in NAMES.items()}
    s.bulk = 12_000
    s.loss = 0.003
    s.more = dict.fromkeys(WEB, "ssl_protocols TLSv1.2;")
    people = {net: [f"192.0.2.{32 * n + 32 + i}" for i in range(PEOPLE)] for n, net in enumerate(NETWORKS)}
    s.aliases = {NETWORKS[net]: addresses for net, addresses in people.items()}
    others = [(name, server) for server, names in NAMES.items() for name in names if name not in TARGETS]
    for net, addresses in people.items():
        worker = NETWORKS[net]
        resolver = RESOLVERS["r2" if net == "b" else "r1"][0]
        for address in addresses:
            ports = s.rng.sample(range(20000, 60000), ATTEMPTS * 6)
            for at in s.spread(0.5, REAL, ATTEMPTS):
                name, server = s.rng.choice((*TARGETS.items(), *others[: len(TARGETS) + 2]))
                pairs = [(ports.pop(), ports.pop()) for _ in range(3)]
                job = s.job(at, "visit", server, 443, name, purpose, who=worker, six=False, limit=4.0)
                job |= {"client": address, "ports": pairs, "resolver": resolver, "planned": at, "path": "/bulk.bin",
                        "patience": 1.2, "again": s.rng.uniform(0.8, 2.0),
                        "options": ["--http1.1", "--tls-max", "1.2", "--interface", address]}  # fmt: skip
                parts = []
                for asking, loading in pairs:
                    ask = {"kind": "dig", "source_port": asking, "server": resolver, "port": 53}
                    parts += [job | ask, job | {"kind": "curl", "source_port": loading}]
                job["flows"] = parts
                s.jobs[job["id"]] = job
    return people


def tell(s: Scenario, date: str, cause: str, networks: dict[str, dict[str, object]]) -> None:
    s.story = {
        "date": date, "time_zone": "PKT (UTC+5)", "from": "17:30", "to": "23:30", "cause": cause,
        "targets": list(TARGETS), "networks": networks, "stretch": STRETCH,
        "resolvers": {net: RESOLVERS["r2" if net == "b" else "r1"][0] for net in NETWORKS},
    }  # fmt: skip
    for net in NETWORKS:
        s.file(f"-network-{net}", "client", "pcap.gz", Evening(net, date, 300, s))


def clock(hour: float) -> str:
    return f"{int(hour):02d}:{round(hour % 1 * 60):02d}"


def toggle(s: Scenario, side: str, label: str, on: float, off: float) -> None:
    s.commands.append((lab_time(on), side, ("rules", True, label)))
    s.commands.append((lab_time(off), side, ("rules", False, label)))


def interfered(s: Scenario, date: str, forge: box_dns.Family, law: Callable[..., bool]) -> None:
    people = crowd(s, "visit")
    rng = s.rng
    covered = {net: set(rng.sample(addresses, rng.choice((10, 11)))) for net, addresses in people.items()}
    names = set(TARGETS)

    def poisoner(log: Log, random_: random.Random) -> Box:
        return Only(Poisoner(log, random_, dict.fromkeys(names, forge)), covered["a"], "a")

    def dropper(log: Log, random_: random.Random) -> Box:
        return Only(NameDropper(log, random_, dict.fromkeys(names, law)), covered["b"], "b")

    def throttler(log: Log, random_: random.Random) -> Box:
        return Only(Throttler(log, random_, names, "police", 5_000, 3_500), covered["c"], "c")

    s.near.append(poisoner)
    s.far += [dropper, throttler]
    networks: dict[str, dict[str, object]] = {}
    for net, mechanism, side, port in (
        ("a", "dns_forgery", "near", 53), ("b", "sni_drop", "far", 443), ("c", "throttling", "far", 443),
    ):  # fmt: skip
        on, off = 19 + rng.uniform(-2, 3) / 60, 22 + rng.uniform(-5, 5) / 60
        toggle(s, side, net, on, off)
        networks[net] = {"mechanism": mechanism, "from": clock(on), "to": clock(off), "clients": sorted(covered[net])}
        servers = set(RESOLVERS["r1"]) if port == 53 else {a for pair in WEB.values() for a in pair}
        s.rules.append(Rule(mechanism, f"box of network {net}", names, servers=servers, clients=covered[net],
                            ports={port}))  # fmt: skip
    tell(s, date, "targeted_interference", networks)


@scenario("evening-2024-01-20", "evenings", "dns_forgery")
def january_20(s: Scenario) -> None:
    """20 January 2024 as the story has it: from about 19:00 to 22:00 PKT X, Facebook, Instagram and YouTube get forged
    DNS answers on network a (127.0.0.1, dns-pk-lo), dropped hellos on network b (sni-classic), and 40 kbit/s on network
    c (thr-pk); other names of the same servers are untouched."""
    interfered(s, "2024-01-20", box_dns.loopback, upward)


@scenario("evening-2024-01-07", "evenings", "dns_forgery")
def january_7(s: Scenario) -> None:
    """7 January 2024: as on 20 January, with NXDOMAIN on network a (dns-pk-nx)."""
    interfered(s, "2024-01-07", box_dns.denied, null_route)


@scenario("evening-2023-12-17", "evenings", "dns_forgery")
def december_17(s: Scenario) -> None:
    """17 December 2023: as on 20 January, with other hours on each network."""
    interfered(s, "2023-12-17", box_dns.loopback, null_route)


def broken(s: Scenario, date: str, kind: str, hit: dict[str, set[str] | None], share: float) -> None:
    """`hit`: networks, and which servers fail for them (None: all)."""
    people = crowd(s, FAULTS[kind])
    networks: dict[str, dict[str, object]] = {}
    on, off = 19 + s.rng.uniform(-2, 3) / 60, 22 + s.rng.uniform(-5, 5) / 60
    for net, servers in hit.items():

        def fault(log: Log, rng: random.Random, net: str = net, servers: set[str] | None = servers) -> Box:
            return Only(Fault(log, rng, servers, share), set(people[net]), net)

        s.far.append(fault)
        toggle(s, "far", net, on, off)
        networks[net] = {"fault": kind, "from": clock(on), "to": clock(off), "lost_share": share}
    tell(s, date, {"upstream": "transport_fault", "resolver": "resolver_fault", "platform": "platform_outage"}[kind],
         networks)  # fmt: skip


@scenario("twin-dead-link", "evenings", "innocent")
def dead_link(s: Scenario) -> None:
    """The twin of 20 January with a dead upstream link: from about 19:00 to 22:00 networks a and b are rerouted over a
    line 80 ms longer that loses 45 % of all packets, whatever the name (la-cable); the same people, targets and
    retries."""
    broken(s, "2024-02-03", "upstream", {"a": None, "b": None}, 0.45)
    s.commands.append((lab_time(19), "far", ("queue", "", 0.08)))
    s.commands.append((lab_time(22), "far", ("queue", "", 0.0)))


@scenario("twin-resolver", "evenings", "innocent")
def resolver(s: Scenario) -> None:
    """The twin of 20 January with a resolver that fails from about 19:00 to 22:00: that of networks a and c loses
    nine in ten packets, for all names (la-dnsdown); network b has another."""
    both = set(RESOLVERS["r1"])
    broken(s, "2024-02-04", "resolver", {"a": both, "c": both}, 0.9)


@scenario("twin-platform", "evenings", "innocent")
def platform(s: Scenario) -> None:
    """The twin of 20 January with a platform's own outage: from about 19:00 to 22:00 one server site cannot be reached
    from any network, for all names there (la-outage)."""
    there = set(WEB["s2"])
    broken(s, "2024-02-05", "platform", {"a": there, "b": there, "c": there}, 1.0)
