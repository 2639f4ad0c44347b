"""The middle of the network: one process between two TUN devices that delays, loses, ages and tampers.

    client side TUN - [element] - [element] - ... - server side TUN

A packet crosses the elements one after the other, from index 0 up when it comes from the clients and down when it
comes from the servers. An element is a line (delay, jitter, hops) or a box (see boxes.py). Each box thus has its own
place in delay and in hops, and what it injects crosses only the elements on that side of it.
"""

import contextlib
import heapq
import os
import random
import select
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from boxes import DOWN, UP, Box, Inject, Log
from net import open_tun
from packet import lower_ttl, parse


@dataclass
class Line:
    """A stretch of the path. The order of packets is kept: jitter alone must not reorder them."""

    delay: float
    hops: int
    jitter: float
    extra: float = 0.0  # a standing queue, set while the recording runs
    ordered: bool = True
    last: dict[int, float] = field(default_factory=dict)

    def due(self, now: float, direction: int, rng: random.Random) -> float:
        wait = self.delay + self.extra * (direction == DOWN) + abs(rng.gauss(0, self.jitter))
        if not self.ordered:
            return now + wait
        self.last[direction] = max(self.last.get(direction, 0.0), now + wait)
        return self.last[direction]


@dataclass
class Sites:
    """The last stretch, a line of its own for each server site."""

    lines: dict[str, Line]  # by server address


class Middle:
    def __init__(self, elements: list[Line | Sites | Box], rng: random.Random, log: Log) -> None:
        self.elements = elements
        self.rng = rng
        self.log = log
        self.queue: list[tuple[float, int, int, int, bytes]] = []
        self.count = 0
        self.tuns: dict[int, int] = {}

    def put(self, due: float, index: int, direction: int, raw: bytes) -> None:
        self.count += 1
        heapq.heappush(self.queue, (due, self.count, index, direction, raw))

    def step(self, now: float, index: int, direction: int, raw: bytes) -> None:
        """Takes a packet from element to element until one of them holds it, or it leaves."""
        while 0 <= index < len(self.elements):
            element = self.elements[index]
            packet = parse(raw)
            if packet is None:
                return
            if isinstance(element, Box):
                if not element.handle(packet, direction, now, self.injector(now, index)):
                    return
                index += direction
                continue
            server = packet.dst if direction == UP else packet.src
            line = element.lines.get(server) if isinstance(element, Sites) else element
            if line is None:  # multicast and link-local noise of the kernels' IPv6
                return
            aged = lower_ttl(raw, line.hops)
            if aged is None:
                self.log.packet(now, "line", "expire", packet.key(direction == UP), raw, direction)
                return
            self.put(line.due(now, direction, self.rng), index + direction, direction, aged)
            return
        with contextlib.suppress(OSError):
            os.write(self.tuns[direction], raw)

    def injector(self, now: float, index: int) -> Inject:
        def inject(raw: bytes, direction: int, wait: float) -> None:
            self.put(now + wait, index + direction, direction, raw)

        return inject

    def loop(self, control: Connection) -> None:
        sources = {self.tuns[UP]: DOWN, self.tuns[DOWN]: UP}  # what is read on the server side goes down
        while True:
            now = time.time()
            while self.queue and self.queue[0][0] <= now:
                _, _, index, direction, raw = heapq.heappop(self.queue)
                self.step(time.time(), index, direction, raw)
            wait = max(0.0, self.queue[0][0] - time.time()) if self.queue else 0.5
            ready, _, _ = select.select([*sources, control.fileno()], [], [], wait)
            for source in ready:
                if source == control.fileno():
                    if not self.command(control):
                        return
                    continue
                direction = sources[source]
                first = 0 if direction == UP else len(self.elements) - 1
                for _ in range(64):
                    try:
                        raw = os.read(source, 65536)
                    except BlockingIOError:
                        break
                    self.step(time.time(), first, direction, raw)

    def command(self, control: Connection) -> bool:
        try:
            name, *arguments = control.recv()
        except EOFError:
            return False
        if name == "stop":
            return False
        if name == "rules":
            for element in self.elements:
                if isinstance(element, Box) and arguments[1:] in ([], [element.name]):
                    element.active = arguments[0]
        elif name == "queue":
            server, extra = arguments
            for element in self.elements:
                if isinstance(element, Sites):
                    for line in [element.lines[server]] if server else element.lines.values():
                        line.extra = extra
        elif name == "outage":
            server, seconds = arguments
            for element in self.elements:
                if isinstance(element, Box):
                    element.outage(server, seconds)
        self.log.write(time.time(), "middle", name, arguments=arguments)
        return True


def serve(
    client_side: str,
    server_side: str,
    elements: list[Line | Sites | Box],
    seed: int,
    log: Log,
    control: Connection,
    devices: tuple[str, str] = ("core0", "core0"),
) -> None:
    """Body of the process: opens the devices, says so, and works until told to stop."""
    middle = Middle(elements, random.Random(seed), log)
    middle.tuns = {DOWN: open_tun(client_side, devices[0]), UP: open_tun(server_side, devices[1])}
    control.send("ready")
    try:
        middle.loop(control)
    finally:
        log.close()
