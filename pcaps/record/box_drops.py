"""Boxes in the path that let packets vanish, one for each published behaviour (catalogue ids)."""

import random
from collections.abc import Callable, Mapping

from box_resets import Forged, build
from boxes import DOWN, UP, Box, Heads, Inject, Log
from packet import ACK, TCP, UDP, FlowKey, Packet
from quic_initial import initial_name

# What a box does with the packets after the trigger: count since the trigger, seconds, direction, packet -> drop?
Law = Callable[[int, float, int, Packet], bool]


def after_some(count: int, seconds: float, direction: int, packet: Packet) -> bool:
    """sni-ru2: five to eight further packets pass, then both directions are dead."""
    return count > 6


def answers_only(count: int, seconds: float, direction: int, packet: Packet) -> bool:
    """sni-ir-srvh, sni-ackedsilence: the hello arrives, the server's data does not come back; its bare ACKs do."""
    return direction == DOWN and bool(packet.payload)


def null_route(count: int, seconds: float, direction: int, packet: Packet) -> bool:
    """sni-ir-4t, sni-bothdead, sni-ru4: all packets of the 4-tuple, the hello included."""
    return True


def upward(count: int, seconds: float, direction: int, packet: Packet) -> bool:
    """sni-esni-cn, http-bdin: all packets of the client from the trigger on."""
    return direction == UP


class NameDropper(Box):
    """From the packet that completes a listed name on (TLS or HTTP). `residual` seconds also the 3-tuple."""

    name = "name_dropper"

    def __init__(self, log: Log, rng: random.Random, listed: Mapping[str, Law], residual: float = 0.0) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.residual = residual
        self.heads = Heads()
        self.hit: dict[FlowKey, tuple[float, Law, list[int]]] = {}
        self.until: dict[tuple[str, str, int], tuple[float, Law]] = {}

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP:
            return True
        flow = packet.key(direction == UP)
        if direction == UP and flow not in self.hit:
            name = self.heads.any_name(flow, packet)
            triple = (packet.src, packet.dst, packet.dport)
            end, law = self.until.get(triple, (0.0, null_route))
            if self.active and (name in self.listed or now < end):
                law = self.listed.get(name or "", law)
                self.hit[flow] = (now, law, [0])
                if name in self.listed and self.residual:
                    self.until[triple] = (now + self.residual, law)
                self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=name, family=law.__name__)
        if flow not in self.hit:
            return True
        since, law, count = self.hit[flow]
        drop = law(count[0], now - since, direction, packet)
        count[0] += 1
        if drop:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
        return not drop


class QuicDropper(Box):
    """quic-gfw: after an Initial with a listed name all UDP of client, server and port is dropped, after a moment.

    quic-ru-v1 (`by_version`): UDP to port 443 of 1001 bytes and more whose version is 1, whatever the name.
    """

    name = "quic_dropper"

    def __init__(
        self, log: Log, rng: random.Random, listed: set[str], delay: float = 0.0, residual: float = 180.0,
        by_version: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(log, rng)
        self.listed = listed
        self.delay = delay
        self.residual = residual
        self.by_version = by_version
        self.blocked: dict[tuple[str, ...], tuple[float, float]] = {}

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != UDP:
            return True
        flow = packet.key(direction == UP)
        if flow[4] != 443:
            return True
        key = (flow[1], flow[3]) if not self.by_version else tuple(map(str, flow))
        begin, end = self.blocked.get(key, (0.0, 0.0))
        if self.active and direction == UP and not begin < now < end:
            if self.by_version:
                hit = len(packet.payload) >= 1001 and packet.payload[1:5] == b"\0\0\0\1"
            else:
                hit = initial_name(packet.payload) in self.listed
            if hit:
                wait = self.delay and self.rng.uniform(0.5, 1.5) * self.delay
                begin, end = self.blocked[key] = (now + wait, now + wait + self.residual)
                self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, family="quic")
        if begin <= now < end:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
            return False
        return True


class SynAckDropper(Box):
    """ip-synack-in: of listed addresses only the SYN+ACK that comes back is lost."""

    name = "synack_dropper"

    def __init__(self, log: Log, rng: random.Random, servers: set[str]) -> None:
        super().__init__(log, rng)
        self.servers = servers

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        lost = direction == DOWN and packet.proto == TCP and packet.flags & 0x12 == 0x12 and packet.src in self.servers
        if not self.active or not lost:
            return True
        self.log.packet(now, self.name, "swallow", packet.key(False), packet.raw, direction)
        return False


class Silence(Box):
    """ir-zeropsh: after a listed hello an empty PSH+ACK "of the server" with the hello's IP ID; no answer comes."""

    name = "silence"

    def __init__(self, log: Log, rng: random.Random, listed: set[str]) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.heads = Heads()
        self.hit: set[FlowKey] = set()

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP:
            return True
        flow = packet.key(direction == UP)
        if direction == UP and self.active and flow not in self.hit:
            if self.heads.any_name(flow, packet) not in self.listed:
                return True
            self.hit.add(flow)
            self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, family="empty_push")
            raw = build(packet, direction, Forged(DOWN, 0x08 | ACK, 128, packet.ip_id or 0, window=packet.window))
            self.log.packet(now + 0.001, self.name, "inject", flow, raw, DOWN)
            inject(raw, DOWN, 0.001)
            return True
        if flow in self.hit and direction == DOWN and packet.payload:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
            return False
        return True


class BigPackets(Box):
    """No interference: a line that loses all packets over a size and sends no word about it (la-pmtud)."""

    name = "big_packets"

    def __init__(self, log: Log, rng: random.Random, servers: set[str], size: int) -> None:
        super().__init__(log, rng)
        self.servers = servers
        self.size = size

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if direction == UP or packet.src not in self.servers or len(packet.raw) <= self.size:
            return True
        self.log.packet(now, self.name, "outage", packet.key(False), packet.raw, direction)
        return False
