"""The whole scan as a process: `pcap-scan --json FILE` against scripts that find flows, names and resets only.

The scripts do less: they judge nothing.  tamperscope and dpkt are timed as whole processes on the whole capture; scapy
runs on its first packets with its start-up taken out, which would be most of its time there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import measure, ours, replay
from benchmarks.race import OURS, Race, Settings, Tool

pytest.importorskip("tamperscope", reason="tamperscope is not installed")
dpkt_flows = pytest.importorskip("benchmarks.peers.dpkt_flows", reason="dpkt is not installed")
scapy_flows = pytest.importorskip("benchmarks.peers.scapy_flows", reason="scapy is not installed")

PEERS = Path(__file__).with_name("peers")
pytestmark = pytest.mark.benchmark(timer=replay.now)


def script(name: str) -> Callable[[str], measure.Timed]:
    """A peer as a process."""
    return lambda path: measure.cpu_of_command([sys.executable, str(PEERS / name), path])


@pytest.fixture(scope="module")
def scanning(run_race: Callable[..., Race], settings: Settings) -> Race:
    """All tools go through one capture as processes of their own."""
    return run_race(
        "scan",
        {
            OURS: Tool(lambda path: measure.cpu_of_command(ours.scan_command(path)), ours.counts_of_command),
            "dpkt": Tool(script("dpkt_flows.py"), dpkt_flows.flows),
            "scapy": Tool(
                script("scapy_flows.py"),
                scapy_flows.flows,
                packets=settings.scapy_packets,
                short=settings.scapy_packets // 5,
            ),
        },
    )


@pytest.mark.parametrize("tool", [OURS, "dpkt", "scapy"])
def test_scan(scanning: Race, tool: str, benchmark: object) -> None:
    """CPU time per packet of the whole process; frames, packets, flows and every name agree."""
    scanning.show(tool, benchmark)
