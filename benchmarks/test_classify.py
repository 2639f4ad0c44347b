"""Classification: every packet to its flow, with the names of TLS, HTTP and DNS and the resets.

Two rows of tamperscope: `core`, which only counts, and the default, whose flows are numpy columns and names bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import ours, replay
from benchmarks.core_run import run_core
from benchmarks.measure import cpu_of_call
from benchmarks.race import OURS, Race, Settings, Tool

pytest.importorskip("tamperscope", reason="tamperscope is not installed")
dpkt_flows = pytest.importorskip("benchmarks.peers.dpkt_flows", reason="dpkt is not installed")
scapy_flows = pytest.importorskip("benchmarks.peers.scapy_flows", reason="scapy is not installed")

CORE = "tamperscope core"
pytestmark = pytest.mark.benchmark(timer=replay.now)


@pytest.fixture(scope="module")
def classifying(run_race: Callable[..., Race], settings: Settings) -> Race:
    """All tools find the flows, names and resets of one capture."""
    return run_race(
        "classify",
        {
            OURS: Tool(lambda path: cpu_of_call(lambda: ours.flow_table(path)), ours.counts_of_flows),
            CORE: Tool(lambda path: cpu_of_call(lambda: run_core(path)), ours.counts_of_core),
            "dpkt": Tool(lambda path: cpu_of_call(lambda: dpkt_flows.flows(path)), dpkt_flows.flows),
            "scapy": Tool(
                lambda path: cpu_of_call(lambda: scapy_flows.flows(path)),
                scapy_flows.flows,
                packets=settings.scapy_packets,
            ),
        },
    )


@pytest.mark.parametrize("tool", [OURS, CORE, "dpkt", "scapy"])
def test_classify(classifying: Race, tool: str, benchmark: object) -> None:
    """CPU time per packet of classification; flows, every name and the resets agree."""
    classifying.show(tool, benchmark)
