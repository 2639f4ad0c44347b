"""Reading and decoding: every packet's addresses, ports and TCP flags; no flows, no names.

tamperscope gives numpy columns and looks at two of them; dpkt and scapy decode packet by packet and look at the same.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import ours, replay
from benchmarks.measure import cpu_of_call
from benchmarks.race import OURS, Race, Settings, Tool

pytest.importorskip("tamperscope", reason="tamperscope is not installed")
dpkt_flows = pytest.importorskip("benchmarks.peers.dpkt_flows", reason="dpkt is not installed")
scapy_flows = pytest.importorskip("benchmarks.peers.scapy_flows", reason="scapy is not installed")

pytestmark = pytest.mark.benchmark(timer=replay.now)


@pytest.fixture(scope="module")
def reading(run_race: Callable[..., Race], settings: Settings) -> Race:
    """All tools read and decode one capture."""
    return run_race(
        "read",
        {
            OURS: Tool(lambda path: cpu_of_call(lambda: ours.read_columns(path)), ours.counts_of_reading),
            "dpkt": Tool(lambda path: cpu_of_call(lambda: dpkt_flows.decode(path)), dpkt_flows.decode),
            "scapy": Tool(
                lambda path: cpu_of_call(lambda: scapy_flows.decode(path)),
                scapy_flows.decode,
                packets=settings.scapy_packets,
            ),
        },
    )


@pytest.mark.parametrize("tool", [OURS, "dpkt", "scapy"])
def test_read(reading: Race, tool: str, benchmark: object) -> None:
    """CPU time per packet of reading and decoding; frames, IP packets and resets agree."""
    reading.show(tool, benchmark)
