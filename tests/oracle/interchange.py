"""
A capture as the interchange JSON that the corpus' compare.py takes: what the library says, in the oracle's words.

    python tests/oracle/interchange.py CAPTURE > OUT.json

Categories that the tables cannot say (certificates, most of all) are left out: compare.py calls them "not reported".
"""

from __future__ import annotations

import collections
import ipaddress
import json
import sys
from typing import Any

import tamperscope as ts
from tamperscope import core
from tamperscope.errors import CaptureError
from tamperscope.flows import address
from tamperscope.source import Source

FRAGMENT = core.constant("AN_IP_FRAGMENT")
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
NO_ID = 0xFFFFFFFF


class Account:
    """Sums over the packets of one capture."""

    def __init__(self) -> None:
        self.out: dict[str, Any] = {"refused": None, "packets": 0, "first_ns": None, "last_ns": None}
        self.out.update(min_ns=None, max_ns=None, rst=[], icmp_errors=[])
        self.flags: collections.Counter[str] = collections.Counter()
        self.fragments = {4: 0, 6: 0}
        self.flows: dict[int, list[Any]] = {}

    def take(self, rows: Any) -> None:
        """A batch of packets."""
        self._times(rows)
        names = rows.dtype.names
        for values in rows.tolist():
            row = dict(zip(names, values, strict=True))
            if row["anomalies"] & FRAGMENT:
                self.fragments[row["ip_version"]] += 1
            row["source"], row["destination"] = address(bytes(row["source"])), address(bytes(row["destination"]))
            if row["protocol"] in (ICMP, ICMP6):
                self._icmp(row)
            elif row["flow"]:
                self._transport(row)

    def _times(self, rows: Any) -> None:
        out, times = self.out, rows["time_ns"][rows["time_ns"] != -1]
        out["packets"] += len(rows)
        if len(times):
            out["first_ns"] = int(times[0]) if out["first_ns"] is None else out["first_ns"]
            out["last_ns"] = int(times[-1])
            out["min_ns"] = min(int(times.min()), out["min_ns"] or int(times.min()))
            out["max_ns"] = max(int(times.max()), out["max_ns"] or 0)

    def _icmp(self, row: dict[str, Any]) -> None:
        kind, code = row["source_port"] >> 8, row["source_port"] & 255
        v6 = row["protocol"] == ICMP6
        if kind in ((1, 2, 3, 4) if v6 else (3, 4, 5, 11, 12)):
            ends = row["source"], row["destination"]
            self.out["icmp_errors"].append([row["frame"], *ends, 6 if v6 else 4, kind, code])

    def _transport(self, row: dict[str, Any]) -> None:
        a, b = (row["source"], row["source_port"]), (row["destination"], row["destination_port"])
        sums = self.flows.setdefault(row["flow"], [*a, *b, 0, 0, 0, 0, row["frame"], 0, row["protocol"]])
        at = 4 if tuple(sums[:2]) == a else 6
        sums[at] += 1
        sums[at + 1] += row["payload_length"]
        sums[9] = row["frame"]
        if row["protocol"] != TCP:
            return
        self.flags[f"0x{row['flags']:03x}"] += 1
        if row["flags"] & ts.RST:
            ip_id = None if row["ip_id"] == NO_ID else row["ip_id"]
            tail = [f"0x{row['flags']:03x}", row["seq"], row["ack"], row["ttl"], ip_id, row["payload_length"]]
            self.out["rst"].append([row["frame"], *a, *b, *tail])

    def result(self, capture: Any) -> dict[str, Any]:
        """The whole account, once all packets were taken."""
        out = self.out
        out["format"], out["linktypes"] = capture.format, capture.link_types
        out["tcp"] = [flow[:10] for flow in self.flows.values() if flow[10] == TCP]
        out["udp"] = [flow[:10] for flow in self.flows.values() if flow[10] == UDP]
        out["tcp_flags"] = dict(sorted(self.flags.items()))
        out["ipv4_fragments"], out["ipv6_fragments"] = self.fragments[4], self.fragments[6]
        return out


EDNS, NO_QUESTION = core.constant("MSG_EDNS"), core.constant("MSG_NO_QUESTION")
A, AAAA, TXT = 1, 28, 16
NAMED = (2, 5, 6, 12, 15, 33, 39)  # types of which the name in the data is told


def rdata(kind: int, text: bytes) -> str | None:
    """A record's data as tshark prints it; None for types that the library does not tell."""
    if kind in (A, AAAA) and text:
        return str(ipaddress.ip_address(text))
    if kind == TXT:
        return text.decode("latin-1")
    return (text.decode("latin-1") or ".") if kind in NAMED else None


def lookups(path: str) -> dict[str, Any]:
    """dns_queries and dns_answers."""
    out: dict[str, Any] = {"dns_queries": [], "dns_answers": []}
    one, source = core.Core(core.constant("DNS")), Source(path)
    code = core.OK
    while code in (core.OK, core.FULL):
        code = source.step(one)
        while batch := one.take(core.constant("DNS")):
            _lookups(batch, out)
    source.close()
    return out


def _lookups(batch: core.Batch, out: dict[str, Any]) -> None:
    text, records = batch.text, batch.table("records", "tscope_record", "n_records")
    for m in batch.table("dns", "tscope_dns", "n_dns"):
        frame, flags, kind = int(m["frame"]), int(m["flags"]), int(m["type"])
        asked = not m["what"] & NO_QUESTION
        name = text[int(m["name_offset"]) :][: int(m["name_length"])].decode("latin-1").replace("\\", "") or "."
        ends = [address(bytes(m["source"])), int(m["source_port"]), address(bytes(m["destination"]))]
        row = [frame, frame, *ends, int(m["destination_port"]), int(m["id"])]
        over = "tcp" if m["protocol"] == TCP else "udp"
        if not flags & 0x8000:
            out["dns_queries"].append([*row, name, kind, over, int(bool(m["what"] & EDNS))])
            continue
        told = records[int(m["record_offset"]) :][: int(m["record_count"])]
        data = [[int(r["type"]), rdata(int(r["type"]), _words(text, r)), int(r["ttl"])] for r in told]
        question = [name, kind] if asked else [None, None]
        out["dns_answers"].append([*row, flags & 15, int(bool(flags & 0x0200)), *question, data, over])


def _words(text: bytes, record: Any) -> bytes:
    return text[int(record["text_offset"]) :][: int(record["text_length"])]


def account(path: str) -> dict[str, Any]:
    """The interchange object of one capture."""
    sums = Account()
    with ts.open_capture(path) as capture:
        try:
            for batch in capture:
                sums.take(batch.packets.array)
        except CaptureError as error:
            return {"refused": str(error)}
        return sums.result(capture) | lookups(path)


if __name__ == "__main__":
    json.dump(account(sys.argv[1]), sys.stdout, indent=1)
