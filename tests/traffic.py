"""Flows and DNS questions as the core counts them, for tests that need no packets."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

from tamperscope import core

SECOND = 10**9
MINUTE = 60 * SECOND
START = 1705750200 * SECOND  # 2024-01-20 11:30 UTC


def packed(text: str) -> bytes:
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


class Traffic:
    """Rows in any order; ``batch`` gives them as tables of the core."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.learned: list[tuple[int, str, str, str]] = []
        self.transactions = 0

    def flow(self, at: float, client: str, name: str, outcome: str = "ok", stage: str = "transfer", **more: Any) -> int:
        """A flow that began `at` seconds after START; returns its number."""
        row = {
            "time": START + round(at * SECOND), "client": client, "server": "198.51.100.1", "name": name,
            "outcome": outcome, "stage": stage, "protocol": 6, "port": 443, "facts": (), "rtt_us": 50_000,
            "packets": 20, "retransmissions": 0, "rcode": 0, "transaction": 0, "flow": len(self.rows) + 1,
        }  # fmt: skip
        self.rows.append(row | more)
        return int(self.rows[-1]["flow"])

    def lookup(self, at: float, client: str, name: str, address: str | None = None, **more: Any) -> int:
        """A question, answered with the address; None: no answer.  Returns the number of its flow."""
        self.transactions += 1
        values = {"server": "203.0.113.53", "protocol": 17, "port": 53, "packets": 2, "transaction": self.transactions}
        outcome = more.pop("outcome", "ok" if address else "no_answer")
        if address:
            self.learned.append((START + round(at * SECOND), client, address, name))
        return self.flow(at, client, name, outcome, "dns", **(values | more))

    def batch(self, only: Any = None) -> tuple[Any, Any, bytes]:
        """(tries, learned, text) of all rows, or of those with the indices `only`."""
        rows = [self.rows[i] for i in only] if only is not None else self.rows
        text = b""
        out = np.zeros(len(rows), core.dtype("tscope_try"))
        for at, row in enumerate(rows):
            name = row["name"].encode()
            out[at]["flow"], out[at]["transaction"], out[at]["first_ns"] = row["flow"], row["transaction"], row["time"]
            out[at]["client"] = np.frombuffer(packed(row["client"]), np.uint8)
            out[at]["server"] = np.frombuffer(packed(row["server"]), np.uint8)
            out[at]["facts"] = sum(core.constant("FACT_" + fact) for fact in row["facts"])
            out[at]["rtt_us"], out[at]["packets"] = row["rtt_us"], row["packets"]
            out[at]["retransmissions"], out[at]["rcode"] = row["retransmissions"], row["rcode"]
            out[at]["name_offset"], out[at]["name_length"] = len(text), len(name)
            out[at]["server_port"], out[at]["protocol"] = row["port"], row["protocol"]
            out[at]["outcome"] = core.constant("OUT_" + row["outcome"].upper())
            out[at]["stage"] = core.constant("STAGE_" + row["stage"].upper())
            text += name
        learned = self.learned if only is None else []
        more = np.zeros(len(learned), core.dtype("tscope_learned"))
        for at, (time, client, address, name_) in enumerate(learned):
            more[at]["time_ns"] = time
            more[at]["client"] = np.frombuffer(packed(client), np.uint8)
            more[at]["address"] = np.frombuffer(packed(address), np.uint8)
            more[at]["name_offset"], more[at]["name_length"] = len(text), len(name_)
            text += name_.encode()
        return out, more, text
