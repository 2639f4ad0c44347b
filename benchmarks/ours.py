"""tamperscope doing the tasks of the benchmarks, and what it counted, in the form that is compared with the peers.

Each task is what a user would write.  Turning results into Counts costs more than the task and is never timed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.core_run import run_core
from benchmarks.counts import Counts, plain_name

TCP, UDP = 6, 17
NAME_KIND = {1: "sni", 2: "hosts", 3: "queries"}  # enum tscope_name_from
NAME_KIND_OF_TEXT = {"tls_sni": "sni", "http_host": "hosts", "dns_query": "queries"}
NAME_INCOMPLETE = 1 << 7  # enum tscope_flow_fact: the end of the hello or request was not seen
CORE_RUN = Path(__file__).with_name("core_run.py")


def pcap_scan() -> str:
    """The command as installed beside this interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("pcap-scan")
    return str(beside) if beside.is_file() else shutil.which("pcap-scan") or "pcap-scan"


# ---------------------------------------------------------------- tasks that are timed


def read_columns(path: str) -> tuple[int, int]:
    """Read and decode every packet, look at two columns; (IP packets, TCP packets with RST)."""
    import tamperscope as ts

    packets = rsts = 0
    with ts.open_capture(path) as capture:
        for batch in capture:
            rows = batch.packets
            packets += int((rows.ip_version != 0).sum())
            rsts += int(((rows.flags & ts.RST) != 0).sum())
    return packets, rsts


def flow_table(path: str) -> tuple[Any, list[bytes]]:
    """Classify into flows, as numpy columns, and take the names of those that have one as bytes."""
    import tamperscope as ts

    with ts.open_capture(path) as capture:
        flows = capture.flows
    return flows, [flows.name(index) or b"" for index in flows.name_length.nonzero()[0].tolist()]


def scan_command(path: str) -> list[str]:
    """The whole scan as a process, output in JSON Lines."""
    return [pcap_scan(), "--json", path]


def core_command(path: str) -> list[str]:
    """The core alone as a process of this interpreter."""
    return [sys.executable, str(CORE_RUN), path]


# ---------------------------------------------------------------- what was counted


def counts_of_reading(path: str) -> Counts:
    """What read_columns() tells, with the frames of the core's summary."""
    packets, rsts = read_columns(path)
    return Counts(frames=int(run_core(path).frames), packets=packets, rsts=rsts)


def counts_of_flows(path: str) -> Counts:
    """Flows, names and resets of the flow table: TCP and UDP; a name whose hello was cut off does not count.

    Raises PortReuseError where two flows share a 5-tuple: the peers count such flows as one.
    """
    flows, names = flow_table(path)
    summary = run_core(path)
    rows = flows.array[(flows.protocol == TCP) | (flows.protocol == UDP)]
    counts = Counts(
        frames=int(summary.frames), packets=int(summary.packets), flows=len(rows), rsts=int(rows["resets"].sum())
    )
    _set_names(counts, flows, names)
    tuples = {_five_tuple(row) for row in rows}
    if len(tuples) != len(rows):
        raise PortReuseError(f"{len(rows) - len(tuples)} of {len(rows)} flows reuse the ports of an earlier one")
    return counts


def counts_of_core(path: str) -> Counts:
    """What run_core() tells; its flows are of all protocols, so those of neither TCP nor UDP are taken off."""
    summary, (flows, _) = run_core(path), flow_table(path)
    others = int(((flows.protocol != TCP) & (flows.protocol != UDP)).sum())
    return Counts(frames=int(summary.frames), packets=int(summary.packets), flows=int(summary.flows) - others)


class PortReuseError(Exception):
    """A capture that cannot be compared: what is two flows to one tool is one to another."""


def _five_tuple(row: Any) -> tuple[object, ...]:
    ends = sorted([(bytes(row["client"]), int(row["client_port"])), (bytes(row["server"]), int(row["server_port"]))])
    return (int(row["protocol"]), *ends)


def _set_names(counts: Counts, flows: Any, names: list[bytes]) -> None:
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in NAME_KIND.values()}
    named = flows.array[flows.name_length != 0]
    for kind_number, facts, name in zip(named["name_from"].tolist(), named["facts"].tolist(), names, strict=True):
        kind = NAME_KIND.get(kind_number)
        if kind and not facts & NAME_INCOMPLETE:
            by_kind[kind][plain_name(name, kind == "hosts")] += 1
    counts.sni, counts.hosts, counts.queries = by_kind["sni"], by_kind["hosts"], by_kind["queries"]


def counts_of_command(path: str) -> Counts:
    """What `pcap-scan --json --flows` says: frames, packets, flows, names; it has no number of resets."""
    done = subprocess.run([pcap_scan(), "--json", "--flows", path], stdout=subprocess.PIPE, check=True)
    return counts_of_records(json.loads(line) for line in done.stdout.splitlines())


def counts_of_records(records: Any) -> Counts:
    """Counts of pcap-scan's records."""
    counts = Counts(flows=0, findings=0, sni=Counter(), hosts=Counter(), queries=Counter())
    for record in records:
        if record["type"] == "summary":
            counts.frames, counts.packets = record["frames"], record["packets"]
        elif record["type"] == "finding":
            counts.findings = (counts.findings or 0) + 1
        elif record["type"] == "flow" and record["proto"] in ("tcp", "udp"):
            counts.flows = (counts.flows or 0) + 1
            kind = NAME_KIND_OF_TEXT.get(record["name_from"])
            if kind and record["name"] is not None:
                getattr(counts, kind)[plain_name(record["name"], kind == "hosts")] += 1
    return counts
