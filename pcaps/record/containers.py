"""From what was captured to the file of the collection: cuts, losses and copies of the capture itself, and formats."""

import gzip
import random
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from capture import HEADER, MICRO, NANO, Record
from packet import lower_ttl, parse

SECOND = 1_000_000_000


class Edit(Protocol):
    """Something that happened to the capture, not to the traffic. Bytes stay whole until the file is written."""

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]: ...


@dataclass(frozen=True)
class OneWay:
    """Only frames of one direction: an asymmetric route, or a tap on one fibre."""

    side: str  # from clients, from servers
    clients: frozenset[str]

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        kept = []
        for record in records:
            packet = parse(record.data[HEADER[link] :])
            if packet is not None and (packet.src in self.clients) == (self.side == "clients"):
                kept.append(record)
        return kept


@dataclass(frozen=True)
class Window:
    """The capture starts late and ends early, in the middle of flows."""

    skip: float
    cut: float

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        first, last = records[0].time_ns + self.skip * SECOND, records[-1].time_ns - self.cut * SECOND
        return [record for record in records if first <= record.time_ns <= last]


@dataclass(frozen=True)
class Missing:
    """A capture that could not keep up: frames are gone from the file, not from the wire."""

    share: float

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        return [record for record in records if rng.random() >= self.share]


@dataclass(frozen=True)
class ClockStep:
    """The clock of the capturing machine is set while it captures."""

    at: float
    by: float

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        when = records[0].time_ns + self.at * SECOND
        return [replace(r, shift_ns=int(self.by * SECOND)) if r.time_ns >= when else r for r in records]


@dataclass(frozen=True)
class Mirror:
    """A mirror of both ports of a router: each packet again a moment later, one hop older or not, or in wrong order."""

    hops: int
    swap: float = 0.0  # share of copies that come before their original

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        doubled = []
        for record in records:
            start = HEADER[link]
            again = lower_ttl(record.data[start:], self.hops) if self.hops else record.data[start:]
            late = rng.randint(40_000, 300_000)
            one = record
            doubled.append(one)
            if again is not None:
                two = replace(record, data=record.data[:start] + again, time_ns=record.time_ns + late)
                if rng.random() < self.swap:
                    doubled[-1], two = replace(two, time_ns=one.time_ns), replace(one, time_ns=two.time_ns)
                doubled.append(two)
        return sorted(doubled, key=lambda r: r.time_ns)


@dataclass(frozen=True)
class Snap:
    """Frames are cut to so many bytes when the file is written; the truth was drawn from whole ones."""

    size: int

    def apply(self, records: list[Record], link: int, rng: random.Random) -> list[Record]:
        return records


def describe(edits: tuple[Edit, ...]) -> list[str]:
    shown = []
    for edit in edits:
        facts = {key: value for key, value in vars(edit).items() if key not in ("clients", "plan")}
        shown.append(f"{type(edit).__name__}({', '.join(f'{k}={v}' for k, v in facts.items())})")
    return shown


def write(stem: Path, link: int, records: list[Record], container: str, snap: int = 0) -> Path:
    """Container: pcap, nsec (nanoseconds), big (big-endian), pcapng; each also with .gz behind it."""
    path = stem.with_name(stem.name + suffix(container))
    base = container.removesuffix(".gz")
    order = ">" if base == "big" else "<"
    magic, unit = (MICRO, 1000) if base in ("pcap", "big") else (NANO, 1)
    parts = [struct.pack(order + "LHHlLLL", magic, 2, 4, 0, 0, snap or 262144, link)]
    for record in records:
        kept = record.data[:snap] if snap else record.data
        seconds, rest = divmod(record.time_ns + record.shift_ns, SECOND)
        parts.append(struct.pack(order + "LLLL", seconds, rest // unit, len(kept), record.length) + kept)
    data = b"".join(parts)
    if base == "pcapng":
        plain = path.with_name(path.name + ".tmp")
        plain.write_bytes(data)
        subprocess.run(["editcap", "-F", "pcapng", str(plain), str(plain) + "ng"], check=True, capture_output=True)
        data = Path(str(plain) + "ng").read_bytes()
        plain.unlink()
        Path(str(plain) + "ng").unlink()
    if container.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)
    path.write_bytes(data)
    return path


def suffix(container: str) -> str:
    return f".{container.replace('nsec', 'pcap').replace('big', 'pcap')}"
