"""One frame of a capture with its bytes, and what other libraries make of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# LINKTYPE_ numbers to dpkt's classes; RAW ones hold an IP packet of either version.
_DPKT = {
    0: "loopback.Loopback", 1: "ethernet.Ethernet", 9: "ppp.PPP", 105: "ieee80211.IEEE80211", 108: "loopback.Loopback",
    113: "sll.SLL", 127: "radiotap.Radiotap", 276: "sll2.SLL2",
}  # fmt: skip
_RAW = frozenset((12, 14, 101, 228, 229))


class Frame:
    """
    A frame as it was captured.

    number: from 1, as Wireshark counts; time_ns: int nanoseconds since 1970 UTC, None where the record has none;
    data: bytes captured; wire_length: bytes on the wire; link_type: LINKTYPE_ number; interface: from 0 over the whole
    file; flow: number of its flow, None without one.
    """

    __slots__ = ("data", "flow", "interface", "link_type", "number", "time_ns", "wire_length")

    def __init__(
        self,
        number: int,
        time_ns: int | None,
        data: bytes,
        wire_length: int,
        link_type: int,
        interface: int = 0,
        flow: int | None = None,
    ) -> None:
        self.number = number
        self.time_ns = time_ns
        self.data = data
        self.wire_length = wire_length
        self.link_type = link_type
        self.interface = interface
        self.flow = flow

    def __bytes__(self) -> bytes:
        return self.data

    def __repr__(self) -> str:
        return f"Frame({self.number}, {len(self.data)} of {self.wire_length} bytes, link type {self.link_type})"

    def to_scapy(self) -> Any:
        """
        A scapy packet, with its time.

        Raises ImportError without scapy (GPL-2.0-only; the extra ``tamperscope[scapy]``), ValueError for a link type
        that it does not know.
        """
        import scapy.layers.all  # type: ignore[import-untyped,unused-ignore]  # noqa: F401 - it registers link types
        from scapy.config import conf  # type: ignore[import-untyped,unused-ignore]
        from scapy.utils import EDecimal  # type: ignore[import-untyped,unused-ignore]

        layer = conf.l2types.num2layer.get(12 if self.link_type in _RAW else self.link_type)
        if layer is None:
            raise ValueError(f"scapy has no class for link type {self.link_type}")
        packet = layer(self.data)
        if self.time_ns is not None:
            packet.time = EDecimal(self.time_ns) / 1_000_000_000
        packet.wirelen = self.wire_length
        return packet

    def to_dpkt(self) -> Any:
        """
        A dpkt packet.

        Raises ImportError without dpkt (the extra ``tamperscope[dpkt]``), ValueError for a link type that it does not
        know, and what dpkt raises for bytes that it cannot read (``dpkt.UnpackError`` and others).
        """
        import dpkt  # type: ignore[import-untyped,unused-ignore]

        if self.link_type in _RAW:
            path = "ip6.IP6" if self.data[:1] and self.data[0] >> 4 == 6 else "ip.IP"
        elif self.link_type in _DPKT:
            path = _DPKT[self.link_type]
        else:
            raise ValueError(f"dpkt has no class for link type {self.link_type}")
        module, _, name = path.partition(".")
        return getattr(getattr(dpkt, module), name)(self.data)
