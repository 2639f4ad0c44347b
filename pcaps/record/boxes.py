"""Boxes on the path: injectors, droppers, losses. Each writes down what it did to which packet.

The log is the only source of the truth about interference (truth.py). A line names a packet by its digest, which
does not change with the TTL, so that the packet can be found again in every capture of the same recording.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packet import (
    ACK,
    RST,
    SYN,
    TCP,
    UDP,
    FlowKey,
    Packet,
    digest,
    forged_answer,
    ip_packet,
    question,
    server_name,
    tcp_body,
    udp_body,
)

UP, DOWN = 1, -1  # towards the servers, towards the clients
HELLO_LIMIT = 8192

Inject = Callable[[bytes, int, float], None]


class Log:
    """JSON lines."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")

    def write(self, now: float, box: str, action: str, **facts: Any) -> None:
        self.file.write(json.dumps({"time": now, "box": box, "action": action, **facts}) + "\n")

    def packet(
        self, now: float, box: str, action: str, flow: FlowKey, raw: bytes, direction: int, **facts: Any
    ) -> None:
        ttl = raw[8] if raw[0] >> 4 == 4 else raw[7]
        toward = "server" if direction == UP else "client"
        self.write(now, box, action, flow=list(flow), digest=digest(raw), ttl=ttl, toward=toward, **facts)

    def close(self) -> None:
        self.file.close()


class Box:
    """Sees each packet at its place; returns whether it goes on."""

    name = "box"

    def __init__(self, log: Log, rng: random.Random) -> None:
        self.log = log
        self.rng = rng
        self.active = False

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        raise NotImplementedError

    def outage(self, server: str, seconds: float) -> None:
        """Only a box that stands for a broken line cares."""


class Only(Box):
    """Another box, for the flows of some clients only; `label` is what switches it."""

    def __init__(self, box: Box, clients: set[str], label: str) -> None:
        super().__init__(box.log, box.rng)
        self.box = box
        self.clients = clients
        self.name = label

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        self.box.active = self.active
        client = packet.src if direction == UP else packet.dst
        return client not in self.clients or self.box.handle(packet, direction, now, inject)


class Fault(Box):
    """No interference: a line that fails, for all names; of servers, or of everybody who stands behind `Only`."""

    name = "fault"

    def __init__(self, log: Log, rng: random.Random, servers: set[str] | None, share: float) -> None:
        super().__init__(log, rng)
        self.servers = servers
        self.share = share

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        server = packet.dst if direction == UP else packet.src
        hit = self.active and (self.servers is None or server in self.servers) and self.rng.random() < self.share
        if hit:
            self.log.packet(now, self.name, "outage", packet.key(direction == UP), packet.raw, direction)
        return not hit


class Heads:
    """Puts the start of each client's stream together, because a browser's hello spans two segments."""

    def __init__(self) -> None:
        self.flows: dict[FlowKey, tuple[int, dict[int, bytes]]] = {}

    def name(self, flow: FlowKey, packet: Packet) -> str | None:
        """The server name, once the stream so far shows it."""
        if packet.flags & SYN:
            self.flows[flow] = ((packet.seq + 1) & 0xFFFFFFFF, {})
            return None
        if flow not in self.flows or not packet.payload:
            return None
        start, parts = self.flows[flow]
        at = (packet.seq - start) & 0xFFFFFFFF
        if at > HELLO_LIMIT:
            return None
        parts[at] = packet.payload
        stream = b""
        while len(stream) in parts:
            stream += parts[len(stream)]
        return server_name(stream)

    def any_name(self, flow: FlowKey, packet: Packet) -> str | None:
        """Likewise, or the Host of a request."""
        return self.name(flow, packet) or host_name(packet.payload)


def host_name(payload: bytes) -> str | None:
    if payload[:4] not in (b"GET ", b"POST", b"HEAD"):
        return None
    found = re.search(rb"\r\nHost: *([^\r:]+)", payload, re.IGNORECASE)
    return found[1].decode("ascii", "replace") if found else None


@dataclass(frozen=True)
class ResetFamily:
    """How one make of injector builds its resets. Each published trait has its entry in the signature catalogue."""

    id: str
    copies: int
    flags: int
    df: bool
    ip_id: tuple[int, int] | None  # range; None: copied from the trigger
    ttl: tuple[int, int] | None  # range at the injector; None: copied from the trigger
    window: tuple[int, int]
    wait_client: tuple[float, float]
    wait_server: tuple[float, float]
    gap: float = 0.00015


RESET_FAMILIES = {
    family.id: family
    for family in (
        ResetFamily(
            "triple", copies=3, flags=RST | ACK, df=True, ip_id=(0x00A3, 0xFE5F), ttl=(60, 220), window=(80, 5000),
            wait_client=(0.001, 0.003), wait_server=(0.002, 0.008),
        ),
        ResetFamily(
            "bare", copies=1, flags=RST, df=False, ip_id=(0, 0), ttl=(62, 118), window=(0, 0),
            wait_client=(0.0004, 0.002), wait_server=(0.003, 0.012),
        ),
        ResetFamily(
            "narrow", copies=1, flags=RST | ACK, df=False, ip_id=(0x9916, 0x9933), ttl=(251, 251), window=(0, 0),
            wait_client=(0.001, 0.006), wait_server=(0.001, 0.006),
        ),
        ResetFamily(
            "echo", copies=1, flags=RST, df=False, ip_id=None, ttl=None, window=(0, 0),
            wait_client=(0.0003, 0.001), wait_server=(0.004, 0.015),
        ),
    )
}  # fmt: skip


class ResetInjector(Box):
    """On the path, not in it: copies of the packets go by, forged resets go to both ends."""

    name = "reset_injector"

    def __init__(self, log: Log, rng: random.Random, listed: dict[str, str]) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.heads = Heads()
        self.fired: set[FlowKey] = set()

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP or direction != UP:
            return True
        flow = packet.key(True)
        name = self.heads.name(flow, packet)
        if not self.active or name not in self.listed or flow in self.fired:
            return True
        self.fired.add(flow)
        family = RESET_FAMILIES[self.listed[name]]
        self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=name, family=family.id)
        for toward, wait in ((DOWN, family.wait_client), (UP, family.wait_server)):
            raw = self.build(family, packet, toward)
            start = self.rng.uniform(*wait)
            for copy in range(family.copies):
                after = start + copy * family.gap
                self.log.packet(now + after, self.name, "inject", flow, raw, toward, family=family.id)
                inject(raw, toward, after)
        return True

    def build(self, family: ResetFamily, trigger: Packet, toward: int) -> bytes:
        ip_id = trigger.ip_id or 0 if family.ip_id is None else self.rng.randint(*family.ip_id)
        ttl = trigger.ttl if family.ttl is None else self.rng.randint(*family.ttl)
        window = self.rng.randint(*family.window)
        ends = (trigger.src, trigger.dst, trigger.sport, trigger.dport, trigger.end, trigger.ack)
        if toward == DOWN:
            ends = (trigger.dst, trigger.src, trigger.dport, trigger.sport, trigger.ack, trigger.end)
        src, dst, sport, dport, seq, ack = ends
        body = tcp_body(sport, dport, seq, ack if family.flags & ACK else 0, family.flags, window)
        return ip_packet(src, dst, TCP, body, ttl, ip_id, family.df)


DROP_MODES = ("hello", "upward", "silence")


class Dropper(Box):
    """In the path: from the segment that completes a listed name on, packets of that flow do not pass.

    hello    only data towards the server; its bare ACKs and FIN pass
    upward   all packets towards the server
    silence  all packets of the flow, both ways
    """

    name = "dropper"

    def __init__(self, log: Log, rng: random.Random, listed: dict[str, str]) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.heads = Heads()
        self.modes: dict[FlowKey, str] = {}

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP:
            return True
        flow = packet.key(direction == UP)
        if direction == UP and flow not in self.modes:
            name = self.heads.name(flow, packet)
            if self.active and name in self.listed:
                self.modes[flow] = self.listed[name]
                facts = {"name": name, "mode": self.listed[name], "end": packet.end, "seq": packet.seq}
                self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, **facts)
        mode = self.modes.get(flow)
        if mode is None:
            return True
        hit = mode == "silence" or (direction == UP and (mode == "upward" or bool(packet.payload)))
        if hit:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
        return not hit


@dataclass(frozen=True)
class ForgerFamily:
    id: str
    df: bool
    ip_id: tuple[int, int] | None  # None: copied from the query
    ttl: tuple[int, int] | None  # range at the injector; None: copied from the query
    flags: int
    record_ttl: tuple[int, int]
    v4: tuple[str, ...]
    v6: tuple[str, ...]


FORGER_FAMILIES = {
    family.id: family
    for family in (
        ForgerFamily("random", True, (1, 65535), (60, 220), 0x8180, (60, 300),
                     ("203.0.113.201", "203.0.113.217", "203.0.113.230"), ("2001:db8:bad::1", "2001:db8:bad::7f")),
        ForgerFamily("mirror", False, (0, 0), None, 0x8180, (60, 60),
                     ("203.0.113.240", "203.0.113.243"), ("2001:db8:bad::f0",)),
        ForgerFamily("fixed", False, (30000, 30000), (128, 128), 0x8580, (300, 300), ("127.0.0.1",), ("::1",)),
    )
}  # fmt: skip


class DnsForger(Box):
    """On the path: answers listed questions before the resolver can; the question goes on."""

    name = "dns_forger"

    def __init__(self, log: Log, rng: random.Random, listed: dict[str, str]) -> None:
        super().__init__(log, rng)
        self.listed = listed

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if not self.active or packet.proto != UDP or direction != UP or packet.dport != 53:
            return True
        asked = question(packet.payload)
        if asked is None or asked.name.lower() not in self.listed or asked.kind not in (1, 28):
            return True
        flow = packet.key(True)
        family = FORGER_FAMILIES[self.listed[asked.name.lower()]]
        self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=asked.name, family=family.id)
        address = self.rng.choice(family.v4 if asked.kind == 1 else family.v6)
        answer = forged_answer(asked, address, self.rng.randint(*family.record_ttl), family.flags)
        ip_id = packet.ip_id or 0 if family.ip_id is None else self.rng.randint(*family.ip_id)
        ttl = packet.ttl if family.ttl is None else self.rng.randint(*family.ttl)
        body = udp_body(packet.dport, packet.sport, answer)
        raw = ip_packet(packet.dst, packet.src, UDP, body, ttl, ip_id, family.df)
        wait = self.rng.uniform(0.0005, 0.004)
        self.log.packet(now + wait, self.name, "inject", flow, raw, DOWN, family=family.id, address=address)
        inject(raw, DOWN, wait)
        return True


class BadLine(Box):
    """No interference: a line that loses packets by a coin, and one that can be out for a while."""

    name = "bad_line"

    def __init__(self, log: Log, rng: random.Random, loss: dict[str, float]) -> None:
        super().__init__(log, rng)
        self.loss = loss
        self.armed: dict[str, float] = {}
        self.out: dict[str, float] = {}
        self.answered: set[FlowKey] = set()

    def outage(self, server: str, seconds: float) -> None:
        self.armed[server] = seconds

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        server = packet.dst if direction == UP else packet.src
        flow = packet.key(direction == UP)
        if direction == DOWN and packet.payload:
            self.answered.add(flow)
        # What a client says before the server has said anything is its hello, also the hello's second segment.
        hello = direction == UP and bool(packet.payload) and flow not in self.answered
        facts = {"payload": len(packet.payload), "hello": hello}
        if packet.payload and server in self.armed:  # the line fails under the next data, handshakes are done by then
            self.out[server] = now + self.armed.pop(server)
        if now < self.out.get(server, 0.0):
            self.log.packet(now, self.name, "outage", flow, packet.raw, direction, **facts)
            return False
        if server in self.loss and self.rng.random() < self.loss[server]:
            self.log.packet(now, self.name, "lose", flow, packet.raw, direction, **facts)
            return False
        return True
