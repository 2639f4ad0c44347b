"""
Packets that a program holds already, fed in as if they stood in a file.

    ts.scan([(1700000000.25, frame), ...])
    ts.open_capture(dpkt.pcap.Reader(file))
    ts.open_capture(scapy.sniff(count=100))

They become a pcapng stream of nanoseconds that the core reads like any other; neither scapy nor dpkt is imported.
"""

from __future__ import annotations

import sys

from tamperscope import pcapng

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ETHERNET, RAW_IP = 1, 101
DPKT = {"dpkt.ethernet": ETHERNET, "dpkt.ip": RAW_IP, "dpkt.ip6": RAW_IP, "dpkt.sll": 113, "dpkt.sll2": 276}
FORMS = "(seconds, bytes), (seconds, bytes, link type) or a scapy packet"


class PacketStream:
    """
    A binary file object over packets, for `tamperscope.source.Source`.

    Args:
        packets: an iterable of (seconds since 1970, frame), of (seconds, frame, LINKTYPE_ number), or of scapy
            packets, which know their time.  Seconds are int, Decimal or Fraction, exact to the nanosecond, or float,
            which carries microseconds.  A frame is bytes or has ``__bytes__``, as dpkt's and scapy's packets have.
            Without a link type: that of the packet's class, of the iterable's ``datalink()``, else Ethernet.
    Raises (while read):
        TypeError: an item is none of these.  ValueError: a time that is negative or no number, scapy's class of a
        packet has no link type.
    """

    name = "<packets>"

    def __init__(self, packets: Iterable[Any]) -> None:
        datalink = getattr(packets, "datalink", None)
        self._link_type = int(datalink()) if callable(datalink) else ETHERNET
        self._packets = iter(packets)
        self._interfaces: dict[int, int] = {}
        self._started = False

    def read(self, size: int = 1 << 18) -> bytes:
        """About `size` bytes more; b"" at the end."""
        parts, length = [], 0
        if not self._started:
            self._started = True
            parts.append(pcapng.section("tamperscope") + pcapng.interface(self._link_type))
            self._interfaces[self._link_type] = 0
        for item in self._packets:
            parts.append(self._blocks(item))
            length += len(parts[-1])
            if length >= size:
                break
        return b"".join(parts)

    def _blocks(self, item: Any) -> bytes:
        time, frame, link_type, wire_length = self._taken_apart(item)
        if not hasattr(frame, "__bytes__") and not isinstance(frame, (bytes, bytearray, memoryview)):
            raise TypeError(f"a frame is bytes, not {type(frame).__name__}")
        data, head = bytes(frame), b""
        if link_type not in self._interfaces:
            self._interfaces[link_type] = len(self._interfaces)
            head = pcapng.interface(link_type)
        return head + pcapng.packet(self._interfaces[link_type], _ns(time), data, max(wire_length, len(data)))

    def _taken_apart(self, item: Any) -> tuple[Any, Any, int, int]:
        if isinstance(item, (tuple, list)) and len(item) in (2, 3):
            frame = item[1]
            link_type = item[2] if len(item) == 3 else self._link_type_of(frame)
            return item[0], frame, link_type, 0
        if hasattr(item, "time") and hasattr(item, "__bytes__"):
            return item.time, item, self._link_type_of(item), getattr(item, "wirelen", None) or 0
        raise TypeError(f"packets are {FORMS}, not {type(item).__name__}")

    def _link_type_of(self, frame: Any) -> int:
        module = type(frame).__module__
        if not module.startswith("scapy."):
            return DPKT.get(module, self._link_type)
        number = sys.modules["scapy.config"].conf.l2types.layer2num.get(type(frame))
        if number is None:
            raise ValueError(f"scapy knows no link type of {type(frame).__name__}; give (seconds, bytes, link type)")
        return int(number)


def _ns(seconds: Any) -> int:
    if isinstance(seconds, float):  # of microseconds, as a double holds no more of times of today
        if seconds != seconds or seconds - seconds != 0:
            raise ValueError(f"no time: {seconds!r}")
        ns = round(seconds * 1_000_000) * 1000
    else:
        ns = int(seconds * 1_000_000_000)
    if not 0 <= ns < 1 << 63:
        raise ValueError(f"no time since 1970: {seconds!r}")
    return ns
