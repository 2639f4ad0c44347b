"""Injectors of resets, one function for each published behaviour; ids are those of the signature catalogue.

On the path, not in it: the packets that they react to go on. Written from what was published about each make, so
that the header fields of one family hang together as described and everything else is drawn anew.
"""

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from boxes import DOWN, UP, Box, Heads, Inject, Log
from packet import ACK, FIN, PSH, RST, SYN, TCP, FlowKey, Packet, ip_packet

NONCE = 0x100  # the ninth flag bit, once the ECN nonce


@dataclass
class Forged:
    """One packet towards one end; seq and ack are those that continue the flow, plus the steps."""

    toward: int
    flags: int = RST
    ttl: int = 64
    ip_id: int = 0
    df: bool = False
    window: int = 0
    step: int = 0
    ack_step: int = 0
    seq: int | None = None
    ack: int | None = None
    payload: bytes = b""
    reserved: int = 0
    wait: float = 0.0
    options: bytes = b""


def build(trigger: Packet, direction: int, forged: Forged) -> bytes:
    """The bytes on the wire. The trigger's sender is where it came from; the packet may go to either end."""
    back = forged.toward != direction  # to the trigger's own sender
    if back:
        src, dst, sport, dport = trigger.dst, trigger.src, trigger.dport, trigger.sport
        seq, ack = trigger.ack, trigger.end
    else:
        src, dst, sport, dport = trigger.src, trigger.dst, trigger.sport, trigger.dport
        seq, ack = trigger.end, trigger.ack
    seq = (seq + forged.step) & 0xFFFFFFFF if forged.seq is None else forged.seq
    ack = (ack + forged.ack_step) & 0xFFFFFFFF if forged.ack is None else forged.ack
    if not forged.flags & ACK and forged.ack is None:
        ack = 0
    offset = (5 + len(forged.options) // 4) << 4 | forged.reserved | (1 if forged.flags & NONCE else 0)
    head = struct.pack("!HHLLBBHHH", sport, dport, seq, ack, offset, forged.flags & 0xFF, forged.window, 0, 0)
    body = head + forged.options + forged.payload
    return ip_packet(src, dst, TCP, body, forged.ttl, forged.ip_id, forged.df)


Family = Callable[[Packet, random.Random, "ResetBox"], list[Forged]]


def both(make: Callable[[int], list[Forged]]) -> list[Forged]:
    return [*make(DOWN), *make(UP)]


def type_1(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-t1: one bare RST, DF 0, IP ID 0."""
    return both(lambda to: [Forged(to, RST, rng.randint(62, 125), 0, wait=rng.uniform(0.0005, 0.004))])


def type_2(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-t2 with gfw-winttl: three identical RST+ACK, DF 1, one IP ID; window less TTL is constant."""

    def triple(to: int) -> list[Forged]:
        ttl, ip_id, wait = rng.randint(60, 240), rng.randint(0x00A3, 0xFE5F), rng.uniform(0.001, 0.006)
        return [Forged(to, RST | ACK, ttl, ip_id, True, ttl + 1375, wait=wait + n * 0.00015) for n in range(3)]

    return both(triple)


def type_3(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-t3: one RST+ACK, DF 0, IP ID in a narrow band, TTL fixed."""
    return both(lambda to: [Forged(to, RST | ACK, 251, rng.randint(0x9916, 0x9933), wait=rng.uniform(0.001, 0.006))])


def stepped(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-2006, gfw-seq1460: three bare RSTs at base, +1460, +4380, both ends."""

    def series(to: int) -> list[Forged]:
        ttl, ip_id, wait = rng.randint(50, 60), rng.randint(1, 65000), rng.uniform(0.001, 0.005)
        steps = (0, 1460, 4380)
        return [Forged(to, RST, ttl, ip_id + n, step=s, wait=wait + n * 0.0002) for n, s in enumerate(steps)]

    return both(series)


def four(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-4rst: four resets with varying seq, IP IDs in sequence for each of two TTLs."""
    wait = rng.uniform(0.001, 0.004)
    made = []
    for n, (ttl, step) in enumerate(((101, 0), (101, 1460), (58, 0), (58, 2920))):
        box.counters[ttl] = (box.counters.get(ttl, rng.randint(100, 60000)) + 1) & 0xFFFF
        made.append(Forged(DOWN, RST | ACK, ttl, box.counters[ttl], step=step, wait=wait + n * 0.0003))
    return made


def nonce(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-rae: RST+ACK with the ECN nonce bit."""
    make = lambda to: [Forged(to, RST | ACK | NONCE, 110, rng.randint(1, 65535), wait=rng.uniform(0.001, 0.004))]  # noqa: E731
    return both(make)


def identity_64(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-ipid64: IP ID always 64."""
    return both(lambda to: [Forged(to, RST, 118, 64, wait=rng.uniform(0.001, 0.004))])


def identity_26(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-ipid26: IP ID of the trigger less 26."""
    return [Forged(DOWN, RST, 90, ((p.ip_id or 0) - 26) & 0xFFFF, wait=rng.uniform(0.001, 0.004))]


def ten_bytes(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """henan: one RST+ACK with ten bytes of payload to the client, only for TCP headers of 20 bytes."""
    if len(p.raw) - len(p.payload) - (20 if p.raw[0] >> 4 == 4 else 40) != 20:
        return []
    return [
        Forged(DOWN, RST | ACK, 64, 1, payload=bytes((1, 2, 3, 4, 5, 6, 7, 8, 9, 0)), wait=rng.uniform(0.0023, 0.005))
    ]


def zeros(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """tj-22: RST+ACK with 22 zero bytes."""
    return [Forged(DOWN, RST | ACK, 120, rng.randint(1, 65535), payload=bytes(22), wait=rng.uniform(0.001, 0.005))]


def fixed_30000(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """tm-rst: bare RST, IP ID 30000, initial TTL 128, window 0."""
    return [Forged(DOWN, RST, 128, 30000, wait=rng.uniform(0.001, 0.005))]


def copied_identity(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """bn-ipid, rst-ipidcopy: IP ID of the trigger."""
    return [Forged(DOWN, RST, 64, p.ip_id or 0, wait=rng.uniform(0.0005, 0.003))]


def reserved_bits(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """rst-resbits: all reserved bits set, window 65535, IP ID copied."""
    return [Forged(DOWN, RST, 64, p.ip_id or 0, window=65535, reserved=0x0F, wait=rng.uniform(0.001, 0.004))]


def illegal(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """rst-illegalflags: RST+PSH+ACK or FIN+RST+PSH."""
    flags = rng.choice((RST | PSH | ACK, FIN | RST | PSH))
    return [Forged(DOWN, flags, 128, rng.randint(1, 65535), wait=rng.uniform(0.001, 0.004))]


def echo(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """rst-wincopy, rst-ttlmirror: window and TTL of the trigger sent back."""
    return [Forged(DOWN, RST | ACK, p.ttl, rng.randint(1, 65535), window=p.window, wait=rng.uniform(0.0005, 0.002))]


def sandvine(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """Sandvine 2009: two resets to each end, the second 12503 above the first, IP IDs +4 and +1 of the trigger's."""

    def two(to: int) -> list[Forged]:
        base = p.ip_id or 0
        wait = rng.uniform(0.001, 0.004)
        return [
            Forged(to, RST | ACK, 128, (base + 4) & 0xFFFF, wait=wait),
            Forged(to, RST | ACK, 128, (base + 1) & 0xFFFF, step=12503, wait=wait + 0.0002),
        ]

    return both(two)


def swapped(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """rst-idswap: the IP ID counts in the wrong byte order, +0x0100 from packet to packet."""
    box.counters[0] = (box.counters.get(0, rng.randint(0, 255) << 8 | 0x4E) + 0x0100) & 0xFFFF
    return [Forged(DOWN, RST, 244, box.counters[0], wait=rng.uniform(0.001, 0.005))]


def zero_first(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """by-zero: the first with seq 0 and ack 0, a valid one after it."""
    wait = rng.uniform(0.001, 0.004)
    return [
        Forged(DOWN, RST, 64, rng.randint(1, 65535), seq=0, ack=0, wait=wait),
        Forged(DOWN, RST, 64, rng.randint(1, 65535), wait=wait + 0.0002),
    ]


def constant_13330(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """sv-chain, PacketLogic: IP ID 13330 in every packet, to both ends."""
    return both(lambda to: [Forged(to, RST | ACK, 64, 13330, wait=rng.uniform(0.0005, 0.003))])


def single(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """ir-sni: a single RST+ACK, TTL copied from the trigger (as its makers' DNS injector does)."""
    return [Forged(DOWN, RST | ACK, p.ttl, rng.randint(1, 65535), wait=rng.uniform(0.001, 0.004))]


def five(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """ir-5rst: five resets to the server, three in sequence, two at +30; nothing to the client."""
    ip_id, wait = rng.randint(1, 60000), rng.uniform(0.001, 0.004)
    steps = (0, 0, 0, 30, 30)
    return [Forged(UP, RST, 64, ip_id + n, step=s, wait=wait + n * 0.0001) for n, s in enumerate(steps)]


def windows_443(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-443: SYN and SYN+ACK on port 443 draw three RST+ACK each, windows stepping by one, TTLs rising."""
    window = 1980 if not p.flags & ACK else 3293
    ttl, wait = rng.randint(80, 110), rng.uniform(0.001, 0.003)
    first = p.flags & SYN and not p.flags & ACK
    made = []
    for n in range(3):
        made.append(Forged(DOWN, RST | ACK, ttl + n, rng.randint(1, 65535), window=window + n,
                           seq=0 if first else None, wait=wait + n * 0.0002))  # fmt: skip
    return made


def two_kinds(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """rst-2kinds: several makes fire at one flow."""
    return [*type_1(p, rng, box), *type_2(p, rng, box)]


def fin_before(p: Packet, rng: random.Random, box: "ResetBox") -> list[Forged]:
    """gfw-fin: a FIN+ACK before the triple."""
    triple = [f for f in type_2(p, rng, box) if f.toward == DOWN]
    first = Forged(DOWN, FIN | ACK, triple[0].ttl, triple[0].ip_id, True, triple[0].window)
    first.wait = triple[0].wait - 0.0003
    return [first, *triple]


class ResetBox(Box):
    """Names (of TLS hellos or HTTP requests) to families; a name may have several, one is drawn for each flow."""

    name = "reset_box"

    def __init__(
        self, log: Log, rng: random.Random, listed: Mapping[str, Sequence[Family]], residual: float = 0.0
    ) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.residual = residual
        self.heads = Heads()
        self.fired: set[FlowKey] = set()
        self.counters: dict[int, int] = {}
        self.until: dict[tuple[str, str, int], tuple[float, Family]] = {}

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP or direction != UP:
            return True
        flow = packet.key(True)
        name = self.heads.any_name(flow, packet)
        if not self.active or flow in self.fired:
            return True
        triple = (packet.src, packet.dst, packet.dport)
        end, family = self.until.get(triple, (0.0, type_1))
        if name is not None and name in self.listed:
            family = self.rng.choice(self.listed[name])
            if self.residual:
                self.until[triple] = (now + self.residual, family)
        elif not (now < end and packet.payload):  # residual: any data on the 3-tuple, whatever the name
            return True
        self.fire(flow, packet, direction, now, family, inject, name)
        return True

    def fire(self, flow: FlowKey, packet: Packet, direction: int, now: float, family: Family, inject: Inject,
             name: str | None) -> None:  # fmt: skip
        made = family(packet, self.rng, self)
        if not made:
            return
        self.fired.add(flow)
        self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, name=name, family=family.__name__)
        for forged in made:
            raw = build(packet, direction, forged)
            self.log.packet(now + forged.wait, self.name, "inject", flow, raw, forged.toward, family=family.__name__)
            inject(raw, forged.toward, forged.wait)


class HandshakeBox(ResetBox):
    """Reacts to SYN and SYN+ACK of port 443, whatever the name."""

    name = "handshake_box"

    def __init__(self, log: Log, rng: random.Random, servers: set[str]) -> None:
        super().__init__(log, rng, {})
        self.servers = servers

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        server, port = (packet.dst, packet.dport) if direction == UP else (packet.src, packet.sport)
        if self.active and packet.proto == TCP and packet.flags & SYN and port == 443 and server in self.servers:
            self.fire(packet.key(direction == UP), packet, direction, now, windows_443, inject, None)
        return True


class Rewriter(Box):
    """ru-sni1: in the path. After a listed hello, packets of the server become RST+ACK: flags changed, payload cut."""

    name = "rewriter"

    def __init__(self, log: Log, rng: random.Random, listed: set[str]) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.heads = Heads()
        self.marked: set[FlowKey] = set()

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP:
            return True
        flow = packet.key(direction == UP)
        if direction == UP:
            if self.heads.any_name(flow, packet) in self.listed and self.active and flow not in self.marked:
                self.marked.add(flow)
                self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, family="rewrite")
            return True
        if flow not in self.marked:
            return True
        head = struct.pack("!HHLLBBHHH", packet.sport, packet.dport, packet.seq, packet.ack, 5 << 4, RST | ACK,
                           packet.window, 0, 0)  # fmt: skip
        raw = ip_packet(packet.src, packet.dst, TCP, head, packet.ttl, packet.ip_id or 0, bool(packet.df))
        self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
        self.log.packet(now, self.name, "inject", flow, raw, DOWN, family="rewrite")
        inject(raw, DOWN, 0.0)
        return False


class Copier(Box):
    """Copies everything: TTL, IP ID law, DF and window are the server's own, and it waits until the answer is due.

    In the path: the hello is swallowed, so no late answer tells. No frame of a flow can be told; only that all flows
    of one name end like this while other names of the same server do not.
    """

    name = "copier"

    def __init__(self, log: Log, rng: random.Random, listed: set[str]) -> None:
        super().__init__(log, rng)
        self.listed = listed
        self.heads = Heads()
        self.asked: dict[FlowKey, float] = {}
        self.seen: dict[FlowKey, tuple[Packet, float]] = {}  # SYN+ACK and the far side's round trip
        self.hit: set[FlowKey] = set()

    def handle(self, packet: Packet, direction: int, now: float, inject: Inject) -> bool:
        if packet.proto != TCP:
            return True
        flow = packet.key(direction == UP)
        if packet.flags & SYN:
            if direction == UP:
                self.asked[flow] = now
            elif flow in self.asked:
                self.seen[flow] = (packet, now - self.asked[flow])
        name = self.heads.any_name(flow, packet) if direction == UP else None
        if self.active and name in self.listed and flow not in self.hit and flow in self.seen:
            self.hit.add(flow)
            model, trip = self.seen[flow]
            self.log.packet(now, self.name, "trigger", flow, packet.raw, direction, family="copies_everything")
            # A Linux server that resets by itself: RST+ACK, DF, IP ID 0, the window of its buffer.
            forged = Forged(DOWN, RST | ACK, model.ttl, 0, True, 64, wait=trip + 0.0008 + self.rng.uniform(0, 0.001))
            raw = build(packet, direction, forged)
            self.log.packet(now + forged.wait, self.name, "inject", flow, raw, DOWN, family="copies_everything")
            inject(raw, DOWN, forged.wait)
        if flow in self.hit:
            self.log.packet(now, self.name, "swallow", flow, packet.raw, direction)
            return False
        return True
