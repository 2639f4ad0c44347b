"""Injectors of DNS answers and a dropper of questions, one family for each published behaviour (catalogue ids)."""

import ipaddress
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from boxes import DOWN, UP, Box, Inject, Log
from packet import UDP, Packet, Question, ip_packet, question, udp_body

# Addresses that forged answers were seen with (catalogue, section 7); none of them is a host of the laboratory.
POOL4 = ("8.7.198.45", "37.61.54.158", "46.82.174.68", "59.24.3.173", "78.16.49.15", "93.46.8.89", "159.106.121.75",
         "203.98.7.65", "31.13.94.7", "104.244.43.52", "162.125.7.1", "199.59.148.9", "69.171.227.37")  # fmt: skip
POOL6 = ("2a03:2880:f10c:283:face:b00c:0:25de", "2a03:2880:f111:83:face:b00c:0:25de",
         "2a03:2880:f130:83:face:b00c:0:25de")  # fmt: skip
A, AAAA = 1, 28


@dataclass
class Answer:
    addresses: list[str]
    ttl: int  # of the record
    flags: int = 0x8180
    ip_ttl: int = 64
    ip_id: int = 0
    df: bool = False
    rcode: int = 0
    tail: bytes = b""
    wait: float = 0.0


def message(asked: Question, answer: Answer) -> bytes:
    """The answer as injectors write it: the question copied, no EDNS."""
    records = b""
    for address in answer.addresses:
        data = ipaddress.ip_address(address).packed
        records += struct.pack("!HHHLH", 0xC00C, A if len(data) == 4 else AAAA, 1, answer.ttl, len(data)) + data
    head = struct.pack("!HHHHHH", asked.ident, answer.flags | answer.rcode, 1, len(answer.addresses), 0, 0)
    return head + asked.wire + records + answer.tail


Family = Callable[[Packet, Question, random.Random, "Poisoner"], list[Answer]]


def pool(asked: Question, rng: random.Random) -> list[str]:
    if asked.kind == A:
        return [rng.choice(POOL4)]
    packed = ipaddress.ip_address(rng.choice(POOL4)).packed
    teredo = str(ipaddress.IPv6Address(b"\x20\x01" + bytes(10) + packed))  # dns-aaaa-teredo
    return [rng.choice((teredo, rng.choice(POOL6)))]


def injector_1(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-inj1: DF 0, IP TTL counts up from packet to packet, AA 1, record TTL 60."""
    box.counters["inj1"] = box.counters.get("inj1", rng.randint(60, 150)) + 1
    return [
        Answer(pool(asked, rng), 60, 0x8580, box.counters["inj1"], rng.randint(1, 65535), wait=rng.uniform(0, 0.002))
    ]


def injector_2(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-inj2: DF 1, IP TTL random, AA 0."""
    return [Answer(pool(asked, rng), rng.randint(60, 300), 0x8180, rng.randint(60, 220), rng.randint(1, 65535), True,
                   wait=rng.uniform(0, 0.002))]  # fmt: skip


def injector_3(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-inj3: DF 0, IP ID 0, IP TTL mirrored from the query, AA 0; answers walk a cycle (dns-cycle)."""
    box.counters["inj3"] = box.counters.get("inj3", rng.randrange(len(POOL4))) + 1
    answer = [POOL4[box.counters["inj3"] % len(POOL4)]] if asked.kind == A else pool(asked, rng)
    return [Answer(answer, rng.randint(60, 300), 0x8180, p.ttl, 0, wait=rng.uniform(0, 0.002))]


def triple(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-triple: all three within 0.2 ms."""
    made = [*injector_1(p, asked, rng, box), *injector_2(p, asked, rng, box), *injector_3(p, asked, rng, box)]
    for n, answer in enumerate(made):
        answer.wait = made[0].wait + n * rng.uniform(0.00003, 0.00009)
    return made


def trailing(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-wallbleed: injector 3 with bytes of foreign memory behind the answer."""
    made = injector_3(p, asked, rng, box)
    made[0].tail = rng.randbytes(rng.randint(8, 125))
    return made


def loopback(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-tm: 127.0.0.1, record TTL 300, IP ID 30000, initial TTL 128."""
    return [Answer(["127.0.0.1" if asked.kind == A else "::1"], 300, 0x8180, 128, 30000, wait=rng.uniform(0, 0.003))]


def national(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-ir, dns-ir-mirror: an address of private space, TTL mirrored."""
    address = rng.choice(("10.10.34.34", "10.10.34.35", "10.10.34.36")) if asked.kind == A else "d0::11"
    return [Answer([address], rng.randint(30, 300), 0x8580, p.ttl, rng.randint(1, 65535), wait=rng.uniform(0, 0.003))]


def denied(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-pk-nx: NXDOMAIN for a name that exists."""
    return [Answer([], 0, 0x8180, 64, rng.randint(1, 65535), rcode=3, wait=rng.uniform(0, 0.003))]


def page_host(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """dns-pk-ip: the address of a page host; one for all names (dns-many1)."""
    return [Answer(["203.82.48.83"] if asked.kind == A else [], 3600, 0x8580, 255, rng.randint(1, 65535), True,
                   wait=rng.uniform(0, 0.003))]  # fmt: skip


def copied(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """ir-copy: TTL and IP ID of the query."""
    return [Answer(pool(asked, rng), 120, 0x8180, p.ttl, p.ip_id or 0, bool(p.df), wait=rng.uniform(0, 0.002))]


def late(p: Packet, asked: Question, rng: random.Random, box: "Poisoner") -> list[Answer]:
    """A slow injector: loses the race, the forged answer comes after the true one."""
    made = injector_2(p, asked, rng, box)
    made[0].wait = rng.uniform(0.15, 0.3)
    return made


@dataclass
class Poisoner(Box):
    """On the path, or in it (`replaces`): then the question goes no further and only the forged answer comes."""

    log: Log
    rng: random.Random
    listed: Mapping[str, Family]
    replaces: bool = False
    active: bool = False
    name: str = "poisoner"
    counters: dict[str, int] = field(default_factory=dict)

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if not self.active or packet.proto != UDP or direction != UP or packet.dport != 53:
            return True
        asked = question(packet.payload)
        if asked is None or asked.name.lower() not in self.listed or asked.kind not in (A, AAAA):
            return True
        family = self.listed[asked.name.lower()]
        flow = packet.key(True)
        self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=asked.name, family=family.__name__)
        for answer in family(packet, asked, self.rng, self):
            body = udp_body(53, packet.sport, message(asked, answer))
            raw = ip_packet(packet.dst, packet.src, UDP, body, answer.ip_ttl, answer.ip_id, answer.df)
            self.log.packet(now + answer.wait, self.name, "inject", flow, raw, DOWN, addresses=answer.addresses)
            inject(raw, DOWN, answer.wait)
        if self.replaces:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
        return not self.replaces
