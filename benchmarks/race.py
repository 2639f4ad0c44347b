"""One race: several tools do the same task on the same capture, in one interleaved batch, after their counts agreed.

Figures are CPU seconds per packet.  A tool too slow for all of a capture runs on its first packets, and is checked
against tamperscope on just these.  As a process, such a tool has its start-up taken out, by the slope between two
lengths; tamperscope never has: its start-up counts against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks import measure, replay
from benchmarks.counts import Counts, compared, differences
from benchmarks.measure import Timed
from benchmarks.workload import Capture, prefix

OURS = "tamperscope"
LEAST_COMPARED = 3  # fields: a comparison of fewer proves nothing


class Tool(NamedTuple):
    """A competitor: candidate gives the timed task for a path, counts what it finds (never timed)."""

    candidate: Callable[[str], Timed]
    counts: Callable[[str], Counts]
    packets: int | None = None  # None: all of the capture
    short: int | None = None  # a second, shorter length: take the slope, which leaves start-up out


@dataclass
class Settings:
    """Sizes of a run: generated packets, packets for scapy, repetitions."""

    packets: int
    scapy_packets: int
    repetitions: int


@dataclass
class Race:
    """Result of one race; samples are CPU seconds per packet, problems are counts that differ."""

    task: str
    capture: Capture
    samples: dict[str, list[float]] = field(default_factory=dict)
    packets: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    agreed: dict[str, list[str]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def ratio(self, tool: str) -> float:
        """CPU per packet of a tool, relative to tamperscope's: medians of one batch."""
        return measure.spread(self.samples[tool]).median / measure.spread(self.samples[OURS]).median

    def show(self, tool: str, benchmark: Any) -> None:
        """Hand one tool's samples to pytest-benchmark, and fail if the counts of the race differ."""
        assert not self.problems, "\n".join(self.problems)
        benchmark.group = f"{self.task}: {self.capture.name}, CPU time per packet"
        benchmark.extra_info.update(
            task=self.task,
            capture=self.capture.name,
            packets=self.packets[tool],
            agreed=self.agreed.get(tool),
            times_ours=round(self.ratio(tool), 2),
        )
        replay.show(benchmark, self.samples[tool])

    def as_dict(self) -> dict[str, Any]:
        """For the stored result."""
        return {
            "task": self.task,
            "capture": self.capture.name,
            "sha256": measure.file_hash(self.capture.path),
            "bytes": self.capture.path.stat().st_size,
            "seed": self.capture.seed,
            "counts": self.counts.as_dict(),
            "problems": self.problems,
            "agreed": self.agreed,
            "tools": {
                tool: {
                    "packets": self.packets[tool],
                    "cpu_seconds_per_packet": samples,
                    "median": measure.spread(samples).median,
                    "times_tamperscope": self.ratio(tool),
                }
                for tool, samples in self.samples.items()
            },
        }


def run(task: str, capture: Capture, tools: Mapping[str, Tool], settings: Settings) -> Race:
    """Check the counts, then time all tools; nothing is timed where counts differ."""
    race = Race(task, capture)
    race.counts = tools[OURS].counts(str(capture.path))
    race.problems += against_truth(race.counts, capture)
    for name, tool in tools.items():
        used = prefix(capture, tool.packets or capture.packets)
        race.packets[name] = used.packets
        if name != OURS:
            _check(race, name, tool, tools[OURS], used)
    if not race.problems:
        _time(race, tools, settings)
    return race


def _check(race: Race, name: str, tool: Tool, ours: Tool, used: Capture) -> None:
    path = str(used.path)
    mine = race.counts if used.path == race.capture.path else ours.counts(path)
    theirs = tool.counts(path)
    race.agreed[name] = compared(mine, theirs)
    race.problems += [f"{race.task}, {used.name}: {line}" for line in differences(mine, theirs, name)]
    if len(race.agreed[name]) < LEAST_COMPARED:
        race.problems.append(f"{race.task}, {used.name}: only {race.agreed[name]} could be compared with {name}")


def _time(race: Race, tools: Mapping[str, Tool], settings: Settings) -> None:
    candidates: dict[str, Timed] = {}
    lengths: dict[str, tuple[int, int]] = {}
    for name, tool in tools.items():
        candidates[name] = tool.candidate(str(prefix(race.capture, race.packets[name]).path))
        short = tool.short if tool.short and tool.short < race.packets[name] else 0
        lengths[name] = race.packets[name], short
        if short:
            candidates[name + " short"] = tool.candidate(str(prefix(race.capture, short).path))
    samples = measure.interleave(candidates, settings.repetitions)
    for name, (long, short) in lengths.items():
        less = samples.get(name + " short") or [0.0] * len(samples[name])
        race.samples[name] = [(a - b) / (long - short) for a, b in zip(samples[name], less, strict=True)]


def against_truth(counts: Counts, capture: Capture) -> list[str]:
    """What tamperscope counts otherwise than the program that made the capture; nothing for recordings."""
    truth = capture.truth
    if truth is None:
        return []
    told = {"frames": truth["packets"], "packets": truth["packets"], "flows": truth["flows"]}
    if truth["profile"] == "web":
        told |= {"sni": truth["kinds"]["tls"], "hosts": truth["kinds"]["http"], "queries": truth["kinds"]["dns"]}
    found = counts.as_dict()
    return [
        f"{capture.name}: {name} is {found[name]}, the generator made {value}"
        for name, value in told.items()
        if found[name] is not None and found[name] != value
    ]


def table(races: list[Race]) -> list[str]:
    """Lines of a readable table of all races."""
    row = "{:<10} {:<34} {:<18} {:>9} {:>30} {:>14}"
    lines = [row.format("task", "capture", "tool", "packets", "ns/packet (min-max)", "x tamperscope")]
    for race in races:
        for tool, samples in race.samples.items():
            middle, least, most = (value * 1e9 for value in measure.spread(samples))
            time = f"{middle:,.0f} ({least:,.0f}-{most:,.0f})"
            ratio = f"{race.ratio(tool):.2f}"
            lines.append(row.format(race.task, race.capture.name[:34], tool, race.packets[tool], time, ratio))
    return lines
