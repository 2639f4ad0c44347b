"""The benchmark's own checks can fail: a tool that finds less is never timed, and a missed level is said.

No tamperscope and no corpus needed: the captures are made here, the tools are pretended.
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import levels, measure, race, ratio
from benchmarks.counts import Counts, differences, plain_name
from benchmarks.peers.names import NEED_MORE, NO_NAME, Sender, find_name, question
from benchmarks.race import OURS, Settings, Tool
from benchmarks.workload import Capture, count_records, prefix

SETTINGS = Settings(packets=3, scapy_packets=2, repetitions=2)
FULL = Counts(frames=3, packets=3, flows=1, rsts=0, sni=Counter({"a.example": 1}))


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Capture:
    """A pcap of three records without sense."""
    monkeypatch.setenv("TAMPERSCOPE_BENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "three.pcap"
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(header + b"".join(struct.pack("<IIII", 1, 0, n, n) + bytes(n) for n in (60, 61, 62)))
    return Capture("three", path, 3)


def pretended(counts: Counts, seconds: float) -> Tool:
    """A tool that always finds the same and always takes as long."""
    return Tool(lambda path: lambda: seconds, lambda path: counts)


def test_equal_counts_are_timed(capture: Capture) -> None:
    """Tools that agree are timed, and the ratio is that of the medians per packet."""
    result = race.run("read", capture, {OURS: pretended(FULL, 0.3), "peer": pretended(FULL, 6.0)}, SETTINGS)
    assert result.problems == []
    assert result.ratio("peer") == pytest.approx(20)
    assert result.samples[OURS] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(
    "other",
    [
        Counts(frames=3, packets=3, flows=2, rsts=0, sni=Counter({"a.example": 1})),
        Counts(frames=3, packets=3, flows=1, rsts=1, sni=Counter({"a.example": 1})),
        Counts(frames=3, packets=3, flows=1, rsts=0, sni=Counter({"b.example": 1})),
        Counts(frames=3),
    ],
    ids=["flows", "rsts", "name", "too little told"],
)
def test_other_counts_are_never_timed(capture: Capture, other: Counts) -> None:
    """A tool that finds something else, or tells too little to compare, ends the race before any timing."""
    result = race.run("read", capture, {OURS: pretended(FULL, 1), "peer": pretended(other, 1)}, SETTINGS)
    assert result.problems
    assert result.samples == {}


def test_difference_names_what_is_missing() -> None:
    """A difference in names says which names, not only how many."""
    (line,) = differences(FULL, Counts(sni=Counter()), "peer")
    assert "a.example" in line


def test_generator_truth_is_held(capture: Capture) -> None:
    """Counts other than the generator's are a problem even if all tools agree."""
    made = Capture("made", capture.path, 3, 1, {"packets": 3, "flows": 5, "profile": "small", "kinds": {}})
    assert race.against_truth(FULL, made) == ["made: flows is 1, the generator made 5"]


def test_prefix_keeps_whole_records(capture: Capture) -> None:
    """The first records of a capture are those records, and nothing of the next."""
    first = prefix(capture, 2)
    assert count_records(first.path) == first.packets == 2
    assert capture.path.read_bytes().startswith(first.path.read_bytes())


def test_first_repetition_is_dropped() -> None:
    """Every candidate runs once more than it is counted; the first run is the dropped one."""
    runs = iter(range(100))
    samples = measure.interleave({"only": lambda: float(next(runs))}, 3)
    assert samples == {"only": [1.0, 2.0, 3.0]}


def test_failing_command_is_no_time() -> None:
    """A command that fails raises instead of looking fast."""
    with pytest.raises(measure.CommandError, match="exit status 1"):
        measure.run_command(["false"])


def test_levels_and_gate() -> None:
    """Levels are judged in the direction of the figure; the gate names what misses the first."""
    assert levels.LEVELS["scan.web.dpkt"].reached(56) == "goal"
    assert levels.LEVELS["core.web.cat"].reached(2.6) == "missed"
    assert len(ratio.missed({"core.web.cat": 2.6, "scan.web.dpkt": 24, "start.scan": 1})) == 2


def test_baseline_allows_noise_only() -> None:
    """Instructions may grow by 3 %, times by 25 %, against a stored run."""
    before = {"core.web.instructions": 300.0, "core.web.cat": 2.0, "scan.web.dpkt": 50.0}
    assert ratio.worse_than(before, {"core.web.instructions": 308, "core.web.cat": 2.4, "scan.web.dpkt": 41}) == []
    worse = ratio.worse_than(before, {"core.web.instructions": 310, "core.web.cat": 2.6, "scan.web.dpkt": 39})
    assert len(worse) == 3


def test_names_of_the_peers() -> None:
    """Segments out of order are put in order, and a name is found as soon as its message is complete."""
    request = b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n"
    sender = Sender()
    sender.next_seq = 0xFFFFFFFA
    assert not sender.add(4, request[10:])
    assert sender.add(0xFFFFFFFA, request[:10])
    assert sender.data == request
    assert find_name(request[:20], dns=False) == NEED_MORE
    assert find_name(request, dns=False) == ("hosts", "a.example:8080")
    assert find_name(b"SSH-2.0-x\r\n", dns=False) == NO_NAME
    assert plain_name("A.Example.:8080", with_port=True) == "a.example"
    assert question(bytes(4) + b"\0\1" + bytes(6) + b"\1a\7example\0\0\1\0\1") == "a.example"
