"""The levels that tamperscope is held to: ratios, because seconds do not travel from machine to machine.

Each figure has three levels.  The first is the gate; goal and moonshot say where the limits of the machine are.  The
levels belong to generated captures of two million packets (web: 815 bytes a packet, small: 64) on one thread.
"""

from __future__ import annotations

from typing import NamedTuple

PACKETS = 2_000_000  # length of the captures that the levels belong to


class Level(NamedTuple):
    """A figure in words, its unit, and its three levels."""

    figure: str
    unit: str
    first: float
    goal: float
    moonshot: float
    more_is_better: bool = False

    def reached(self, value: float) -> str:
        """The best level that a value reaches: moonshot, goal, first, or missed; judged at two decimals."""
        for name, level in (("moonshot", self.moonshot), ("goal", self.goal), ("first", self.first)):
            if self.within(value, level):
                return name
        return "missed"

    def within(self, value: float, level: float) -> bool:
        """Whether a value is as good as a level."""
        return round(value, 2) >= level if self.more_is_better else round(value, 2) <= level


LEVELS = {
    "core.web.cat": Level("core, web: CPU / cat", "x", 2.5, 1.6, 1.1),
    "core.small.cat": Level("core, small: CPU / cat", "x", 16, 9, 5),
    "core.web.instructions": Level("core, web: instructions a packet", "", 900, 500, 330),
    "core.small.instructions": Level("core, small: instructions a packet", "", 900, 500, 330),
    "core.flows": Level("core: ns/packet, many flows at once / few", "x", 4, 2.3, 1.6),
    "scan.web.cat": Level("scan, web: CPU / cat", "x", 5, 2.3, 1.4),
    "scan.web.dpkt": Level("scan, web: times faster than dpkt", "x", 25, 55, 85, more_is_better=True),
    "scan.censored": Level("scan, 5 % of flows hit / web", "x", 1.3, 1.15, 1.05),
    "scan.half": Level("scan, half of the flows hit / web", "x", 3, 2.5, 2),
    "start.scan": Level("scan of 1,000 packets: CPU / python -c pass", "x", 4, 2.2, 1.3),
    "start.dpkt": Level("scan of 1,000 packets: CPU / dpkt script", "x", 1, 0.5, 0.25),
    "start.import": Level("import tamperscope: CPU / python -c pass", "x", 2.5, 1.4, 1.15),
    "start.further": Level("200 files in one run: CPU a further file", "ms", 3, 1, 0.3),
    "memory.growth": Level("peak RSS, 8 times the packets, same flows", "x", 1.10, 1.02, 1.00),
    "memory.web": Level("peak RSS, scan, web", "MB", 80, 40, 28),
    "memory.flows": Level("peak RSS, scan, 1 M flows of 4 packets", "MB", 400, 200, 128),
    "growth.packets": Level("scan: CPU, 8 times the packets", "x", 9, 8.3, 8.05),
    "forms.pcapng": Level("core, web: pcapng / classic pcap", "x", 1.35, 1.12, 1.03),
    "forms.pipe": Level("scan, web: standard input pipe / file", "x", 1.4, 1.15, 1.05),
    "forms.gz": Level("scan, web: .gz / gzip -dc", "x", 1.3, 1.05, 0.65),
    "forms.snap": Level("core, web: snap length 96 / full", "x", 0.9, 0.6, 0.45),
}
