"""Boxes that slow flows down by name, one for each published behaviour (catalogue ids)."""

import random

from boxes import UP, Box, Heads, Inject, Log
from packet import TCP, FlowKey, Packet


class Throttler(Box):
    """After a listed hello: a token bucket in each direction.

    police  what exceeds the rate is dropped (thr-ru21: 130 to 150 kbit/s both ways; thr-ru22: 650 bytes/s)
    shape   what exceeds the rate waits in a queue (thr-shaper)
    handshake  from the hello on a share of the packets is lost (thr-hsloss, thr-tls)
    """

    name = "throttler"

    def __init__(
        self, log: Log, rng: random.Random, listed: set[str], how: str, rate: float, burst: float, share: float = 0.3
    ) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.how = how
        self.rate = rate  # bytes per second
        self.burst = burst
        self.share = share
        self.heads = Heads()
        self.buckets: dict[tuple[FlowKey, int], tuple[float, float]] = {}  # tokens or line free at, when
        self.hit: set[FlowKey] = set()

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP:
            return True
        flow = packet.key(direction == UP)
        if direction == UP and flow not in self.hit:
            name = self.heads.any_name(flow, packet)
            if not self.active or name not in self.listed:
                return True
            self.hit.add(flow)
            self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=name, family=self.how)
            return True
        if flow not in self.hit:
            return True
        size = len(packet.raw)
        if self.how == "handshake":
            passes = not packet.payload or self.rng.random() >= self.share
        elif self.how == "police":
            tokens, when = self.buckets.get((flow, direction), (self.burst, now))
            tokens = min(self.burst, tokens + (now - when) * self.rate)
            passes = tokens >= size
            self.buckets[flow, direction] = (tokens - size if passes else tokens, now)
        else:
            free, _ = self.buckets.get((flow, direction), (now - self.burst / self.rate, now))
            free = max(free, now - self.burst / self.rate) + size / self.rate
            if free - now < 1.5:  # the queue holds a second and a half
                self.buckets[flow, direction] = (free, now)
                inject(packet.raw, direction, max(0.0, free - now))
                return False
            passes = False
        if not passes:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
        return passes
