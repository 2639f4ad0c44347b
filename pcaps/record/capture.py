"""Recording with tcpdump, and reading what it wrote."""

import re
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from net import Lab
from packet import TCP, UDP, Packet, digest, parse

ETHERNET, RAW, COOKED, COOKED2 = 1, 101, 113, 276
HEADER = {ETHERNET: 14, RAW: 0, COOKED: 16, COOKED2: 20}  # bytes before the IP packet
MICRO, NANO = 0xA1B2C3D4, 0xA1B23C4D


class Recorder:
    """One tcpdump on one device. Slots of 2 KiB in a ring of 16 MiB: the default ring loses bursts unseen."""

    def __init__(self, lab: Lab, namespace: str, device: str, path: Path, nano: bool = False) -> None:
        self.lab = lab
        self.path = path
        self.errors = lab.folder / f"tcpdump.{namespace}.err"
        command = ["tcpdump", "-Z", "root", "-i", device, "-n", "-U", "--immediate-mode", "-B", "16384", "-s", "2048"]
        if nano:
            command.append("--time-stamp-precision=nano")
        self.process = lab.start(namespace, [*command, "-w", str(path)], f"tcpdump.{namespace}")
        for _ in range(200):  # traffic before the file has its header would be missing
            if path.exists() and path.stat().st_size >= 24:
                return
            time.sleep(0.05)
        raise RuntimeError(f"tcpdump did not start: {self.errors.read_text()}")

    def stop(self) -> int:
        """Ends the capture, returns the packets the kernel dropped."""
        self.lab.stop(self.process, signal.SIGINT)
        said = re.search(r"(\d+) packets? dropped by kernel", self.errors.read_text())
        if said is None:
            raise RuntimeError(f"tcpdump did not report its drops: {self.errors.read_text()}")
        return int(said[1])


@dataclass(slots=True)
class Frame:
    number: int
    time: float
    packet: Packet
    digest: str


@dataclass(slots=True)
class Record:
    """A frame as bytes; `number` counts from 1 in the file that it was read from."""

    number: int
    time_ns: int
    data: bytes
    length: int  # on the wire
    shift_ns: int = 0  # by which the capturing clock was wrong


def records(path: Path) -> tuple[int, list[Record]]:
    """Link type and frames of a little-endian pcap file."""
    data = path.read_bytes()
    magic, _, _, _, _, _, link = struct.unpack_from("<LHHlLLL", data)
    if magic not in (MICRO, NANO) or link not in HEADER:
        raise ValueError(f"{path}: not a little-endian file of a link type that this laboratory records")
    found: list[Record] = []
    at, unit = 24, 1000 if magic == MICRO else 1
    while at < len(data):
        seconds, fraction, kept, length = struct.unpack_from("<LLLL", data, at)
        when = seconds * 1_000_000_000 + fraction * unit
        found.append(Record(len(found) + 1, when, data[at + 16 : at + 16 + kept], length))
        at += 16 + kept
    return link, found


def frames(path: Path) -> Iterator[Frame]:
    """TCP and UDP frames of a capture that Recorder made, numbered as Wireshark numbers them."""
    data = path.read_bytes()
    magic, _, _, _, _, _, link = struct.unpack_from("<LHHlLLL", data)
    if magic != 0xA1B2C3D4 or link != ETHERNET:
        raise ValueError(f"{path}: not the little-endian Ethernet file that this laboratory records")
    at, number = 24, 0
    while at < len(data):
        seconds, micros, kept, length = struct.unpack_from("<LLLL", data, at)
        if kept != length:
            raise ValueError(f"{path}: frame {number + 1} is cut ({kept} of {length} bytes)")
        number += 1
        packet = parse(data[at + 16 + 14 : at + 16 + kept])
        at += 16 + kept
        if packet is not None and packet.proto in (TCP, UDP):
            yield Frame(number, seconds + micros / 1e6, packet, digest(packet.raw))


def tool_version(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0].strip()
