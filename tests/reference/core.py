"""From a capture to the tables of csrc/tamperscope.h, naively: unbounded, and slow on purpose."""

from __future__ import annotations

import pathlib
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from reference import names, packets
from reference.flows import FACT, FINAL, MARK, RST, SECOND, STAGE, WHAT, Flow, Packet
from reference.layout import FLOW, FLOW_CONTEXT, MESSAGE, TRACE, TRANSACTION, TRANSACTION_CONTEXT
from reference.transactions import Transactions, transaction_context


class Tables(NamedTuple):
    """The tables of one capture; every flow and transaction is in them, candidate or not."""

    flows: np.ndarray[Any, Any]
    trace: np.ndarray[Any, Any]
    flow_context: np.ndarray[Any, Any]
    transactions: np.ndarray[Any, Any]
    messages: np.ndarray[Any, Any]
    transaction_context: np.ndarray[Any, Any]
    text: bytes


def scan(path: str | pathlib.Path) -> Tables:
    """All tables of a capture."""
    table = FlowTable()
    for frame, time_ns, interface, link, data in packets.frames(path):
        p = packets.decode(link, data)
        if p:
            p.update(frame=frame, time_ns=time_ns, interface=interface)
            table.add(p)
    return table.end()


class FlowTable:
    """Live flows by their ends, finished ones in `done`."""

    def __init__(self) -> None:
        self.live: dict[Any, Flow] = {}
        self.done: list[Flow] = []
        self.flows = 0
        self.last: Packet | None = None
        self.learned: dict[Any, int] = defaultdict(int)
        self.transactions = Transactions()

    def add(self, p: Packet) -> None:
        """One packet: expire what is due, find its flow, append."""
        self.last = p
        for key in [k for k, f in self.live.items() if f.deadline() < p["time_ns"]]:
            closed = self.live[key].is_closed()
            self._finish(key, FINAL["CLOSED"] if closed else FINAL["IDLE"], p)
        q = p.get("quoted", p)
        ends = ((q["source"], q["sport"]), (q["destination"], q["dport"]))
        key = (q["protocol"], *sorted(ends))
        if "quoted" in p:
            if key in self.live:
                p["side"] = 1 - int(ends[0] != key[1])
                self.live[key].packets.append(
                    {**p, "length": 0, "payload": b"", "protocol": q["protocol"], "flags": 0, "error": p["flags"]}
                )
            return
        p["side"] = int(ends[0] != key[1])
        if key in self.live and self.live[key].is_reused_by(p):
            self._finish(key, FINAL["REUSED"], p)
        if key in self.live:
            p["copy"] = self._is_copy(self.live[key], p)
            self.live[key].packets.append(p)
        else:
            self.flows += 1
            p["copy"] = False
            self.live[key] = Flow(self.flows, p)
        if p["protocol"] == 17 and 53 in (p["sport"], p["dport"]):
            self.transactions.add(self.live[key], p)

    def _is_copy(self, flow: Flow, p: Packet) -> bool:
        alike = ("side", "ip_id", "seq", "ack", "flags", "window", "length", "payload", "options")
        for q in reversed(flow.packets[-64:]):
            if p["time_ns"] - q["time_ns"] > SECOND // 10:
                return False
            near = p["time_ns"] - q["time_ns"] <= 2 * 10**6
            if "quoted" not in q and all(p[k] == q[k] for k in alike) and (p["ip_id"] or near):
                habit = (q["interface"], p["interface"], p["ttl"] - q["ttl"])
                if not p["flags"] & RST:
                    self.learned[habit] += 1
                    return True
                return self.learned[habit] >= 3
        return False

    def _finish(self, key: Any, by: int, at: Packet) -> None:
        flow = self.live.pop(key)
        flow.final = (by, at["frame"], at["time_ns"])
        self.done.append(flow)

    def end(self) -> Tables:
        """Live flows become final; rows, contexts and text."""
        for key in list(self.live):
            assert self.last is not None
            self._finish(key, FINAL["END"], self.last)
        self.done.sort(key=lambda flow: flow.number)
        finished = [flow.finish() for flow in self.done]
        text = bytearray()
        rows = np.array([row for row, _ in finished], FLOW) if finished else np.zeros(0, FLOW)
        traces = [t for _, trace in finished for t in trace]
        at = 0
        for row, flow, (_, trace) in zip(rows, self.done, finished, strict=True):
            row["trace_offset"], row["trace_count"], at = at, len(trace), at + len(trace)
            row["name_offset"] = len(text)
            text += flow.name.encode("latin-1", "replace")
        trace_table = np.array(traces, TRACE) if traces else np.zeros(0, TRACE)
        asked, messages = self.transactions.tables(self.done, text)
        return Tables(
            rows,
            trace_table,
            flow_context(rows, trace_table, [flow.name for flow in self.done]),
            np.array(asked, TRANSACTION) if asked else np.zeros(0, TRANSACTION),
            np.array(messages, MESSAGE) if messages else np.zeros(0, MESSAGE),
            transaction_context(self.transactions.all) if asked else np.zeros(0, TRANSACTION_CONTEXT),
            bytes(text),
        )


def flow_context(rows: Any, trace: Any, flow_names: list[str]) -> Any:
    """tscope_flow_context of every flow.

    A flow has reached its server where payload came after the trigger; it is silent where it had a trigger, no payload
    and no reset of the server, for 3 s at least; it was reset where a reset of the server came instead of payload.
    Near: begun within 120 s.  A reset answers no trigger where none was sent before it, or where the server had sent a
    FIN.
    """
    out = np.zeros(len(rows), FLOW_CONTEXT)
    stalled = rows["marks"] & MARK["STALLED"] != 0
    reached = (rows["answer_ns"] >= 0) & ~stalled
    had = rows["trigger_frame"] > 0
    was_reset = had & ~reached & (rows["resets"][:, 1] > 0)
    short = (rows["final_by"] == FINAL["END"]) & (rows["final_ns"] - rows["trigger_ns"] < 3 * SECOND)
    once = (rows["protocol"] == 17) & (rows["facts"] & FACT["TRIGGER_REPEATED"] == 0)
    silent = (had & ~reached & ~was_reset & ~short & ~once & (rows["facts"] & 512 == 0)) | stalled
    heard = [_was_heard(r, trace) for r in rows]
    connected = rows["facts"] & (FACT["SYN"] | FACT["SYN_ACK"]) == FACT["SYN"] | FACT["SYN_ACK"]
    prohibited = ~connected & (rows["marks"] & MARK["PROHIBITED"] != 0)
    ignored = ~connected & ~prohibited & (rows["marks"] & MARK["SYN_UNANSWERED"] != 0) & (rows["packets"][:, 0] > 1)
    quic = [j for j in range(len(rows)) if rows[j]["protocol"] == 17]
    odd = rows["marks"] & sum(MARK["RST_" + n] for n in ("UNLIKE", "TOO_EARLY", "FLAGS", "IP_ID")) != 0
    odd |= rows["marks"] & MARK["SENDS_AFTER_RST"] != 0
    server = [(bytes(r["server"]), int(r["server_port"]), int(r["protocol"])) for r in rows]
    client = [bytes(r["client"]) for r in rows]
    idle = [_resets_without_trigger(r, trace) for r in rows]
    for i in range(len(rows)):
        c = out[i]
        others = [j for j in range(len(rows)) if j != i]
        near = [j for j in others if abs(int(rows[j]["first_ns"]) - int(rows[i]["first_ns"])) <= 120 * SECOND]
        same = [j for j in others if server[j] == server[i]]
        rtts = [int(rows[j]["rtt_server_ns"]) for j in same if rows[j]["rtt_server_ns"] > 0]
        c["server_min_rtt_ns"] = min(rtts, default=-1)
        c["server_flows"], c["server_reached"], c["server_reset"] = len(same), sum(reached[same]), sum(was_reset[same])
        groups = {
            "near_server": [j for j in near if server[j] == server[i]],
            "near_name": [
                j for j in near if server[j] == server[i] and flow_names[i] and flow_names[j] == flow_names[i]
            ],
            "near_pair": [j for j in near if server[j] == server[i] and client[j] == client[i]],
            "near_client": [j for j in near if client[j] == client[i]],
            "name": [j for j in others if flow_names[i] and flow_names[j] == flow_names[i]],
        }
        for group, members in groups.items():
            c[group + "_reached"], c[group + "_silent"] = sum(reached[members]), sum(silent[members])
            if group != "near_client":
                c[group + "_reset"] = sum(was_reset[members])
            if group in ("near_server", "near_name"):
                c[group + "_disturbed"] = sum((odd & (reached | silent) | was_reset)[members])
        for group in ("near_server", "near_pair", "near_client"):
            members = groups[group]
            c[group + "_last_ns"] = max((rows[j]["answer_ns"] for j in members if reached[j]), default=-1)
            c[group + "_connected_ns"] = max((rows[j]["first_ns"] for j in members if connected[j]), default=-1)
            c[group + "_connected"], c[group + "_ignored"] = sum(connected[members]), sum(ignored[members])
        for group in ("near_server", "near_pair"):
            c[group + "_large"] = sum(reached[j] and rows[j]["bytes"][1] >= 32768 for j in groups[group])
        c["server_connected_during"] = ignored[i] and any(
            connected[j] and rows[i]["first_ns"] < rows[j]["first_ns"] < rows[i]["last_ns"]
            for j in groups["near_server"]
        )
        c["near_pair_heard"] = sum(heard[j] and silent[j] for j in groups["near_pair"])
        c["near_client_prohibited"] = sum(prohibited[groups["near_client"]])
        c["near_port_connected"] = sum(
            connected[j] and server[j][1] == server[i][1] and server[j] != server[i] for j in near
        )
        c["near_other_reached"] = sum(
            reached[j] and client[j] == client[i] and server[j][:2] == server[i][:2] and server[j] != server[i]
            for j in near
        )
        mine = [j for j in near if j in quic and client[j] == client[i]]
        c["near_quic_reached"], c["near_quic_silent"] = sum(reached[mine]), sum(silent[mine])
        others_quic = [j for j in quic if j != i]
        c["quic_reached"], c["quic_silent"] = sum(reached[others_quic]), sum(silent[others_quic])
        plain = [j for j in others if not int(rows[j]["marks"]) & ~(MARK["STALLED"] | MARK["ISSUER_PRIVATE"])]
        hosts = [j for j in plain if server[j][0] == server[i][0] and connected[j]]
        host_rtts = [int(rows[j]["rtt_server_ns"]) for j in hosts if rows[j]["rtt_server_ns"] > 0]
        c["host_min_rtt_ns"] = min(host_rtts, default=-1)
        c["host_ttl_min"] = min((rows[j]["ttl_min"][1] for j in hosts), default=0)
        c["host_ttl_max"] = max((rows[j]["ttl_max"][1] for j in hosts), default=0)
        ttls = [int(t) for j in same for t in (rows[j]["ttl_min"][1], rows[j]["ttl_max"][1]) if t]
        c["server_ttl_min"], c["server_ttl_max"] = (min(ttls), max(ttls)) if ttls else (0, 0)
        ttls = list(dict.fromkeys(t for j in same for t in idle[j]))[:4]
        c["server_rst_ttl"][: len(ttls)] = ttls
    return out


def _was_heard(row: Any, trace: Any) -> bool:
    """The server's last packet came after the trigger and acknowledges."""
    rows = trace[row["trace_offset"] : row["trace_offset"] + row["trace_count"]]
    mine = [t for t in rows if t["from_server"] and not t["what"] & (WHAT["ICMP"] | WHAT["DUPLICATE"])]
    last = mine[-1] if mine and row["trigger_frame"] else None
    return last is not None and last["frame"] > row["trigger_frame"] and last["flags"] & 22 == 16


def _resets_without_trigger(row: Any, trace: Any) -> list[int]:
    doubts = MARK["SENDS_AFTER_RST"] | MARK["RST_FLAGS"] | MARK["RST_IP_ID"] | MARK["RST_TOO_EARLY"]
    opened = row["marks"] & MARK["RST_ON_SYN"] and row["facts"] & FACT["SYN_ACK"]
    if row["marks"] & doubts or opened or row["facts"] & FACT["ONE_WAY"]:
        return []
    rows = trace[row["trace_offset"] : row["trace_offset"] + row["trace_count"]]
    found, fin = [], False
    for t in rows:
        tcp = not t["what"] & 0x110
        if (
            tcp
            and t["from_server"]
            and t["flags"] & 4
            and (fin or not row["trigger_frame"] or t["frame"] < row["trigger_frame"])
        ):
            found.append(int(t["ttl"]))
        fin |= bool(tcp and t["from_server"] and t["flags"] & 1)
    return found


__all__ = ["STAGE", "Tables", "names", "scan"]
