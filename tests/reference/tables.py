"""Small flows and DNS transactions, written as packets, and read by the reference core: for the rules' tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import flows, names
from reference.layout import FLOW, FLOW_CONTEXT, MESSAGE, TRACE, TRANSACTION, TRANSACTION_CONTEXT, enumeration
from tamperscope.fingerprint import Candidates, Transactions

MS = 1_000_000
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
START = {0: 1000, 1: 5000}
BODY = bytes.fromhex("160301002f0100002b0303") + bytes(32) + bytes.fromhex("00 0002 1301 0100 0000")
Packet = dict[str, Any]


def packet(side: int, flags: str, **fields: Any) -> Packet:
    """One TCP packet; `ms`: time since the one before, `data`: payload; seq and ack absolute, None: next."""
    p: Packet = {
        "side": side,
        "ms": 40 if side else 1,
        "data": b"",
        "seq": None,
        "ack": None,
        "ttl": 50 if side else 64,
    }
    p |= {"window": 500, "ip_id": 0, "ip_flags": 2, "tos": 0, "options": b"", "copy": False, "extra": 0}
    return {**p, "flags": sum(FLAGS[letter] for letter in flags), **fields}


def CLIENT(flags: str, **fields: Any) -> Packet:
    return packet(0, flags, **fields)


def SERVER(flags: str, **fields: Any) -> Packet:
    return packet(1, flags, **fields)


def opened(*more: Packet) -> list[Packet]:
    """A handshake of 80 ms and a hello, then the packets given."""
    return [CLIENT("S", ms=0), SERVER("SA", ms=80), CLIENT("A"), CLIENT("PA", data=BODY, ip_id=7), *more]


def flow(
    packets: list[Packet],
    name: str = "",
    context: dict[str, int] | None = None,
    marks: tuple[str, ...] = (),
    **fields: Any,
) -> Packet:
    """A flow to be put into tables; marks are added to those that the core sets."""
    return {"packets": packets, "name": name, "context": context or {}, "marks": marks, "fields": fields}


def tables(*specs: Packet) -> Candidates:
    """Candidates of the flows given, frames counted on from 1."""
    rows, traces, text, contexts, frame = [], [], bytearray(), [], 0
    for number, spec in enumerate(specs, 1):
        row, trace, frame = _run(number, spec, frame)
        row["trace_offset"], row["trace_count"] = len(traces), len(trace)
        row["name_offset"], row["name_length"] = len(text), len(spec["name"])
        text += spec["name"].encode()
        traces += trace
        rows.append(row)
        context = np.zeros((), FLOW_CONTEXT)
        for key, value in {"server_min_rtt_ns": -1, **spec["context"]}.items():
            context[key] = value
        contexts.append(context)
    return Candidates(np.array(rows, FLOW), np.array(traces, TRACE), np.array(contexts, FLOW_CONTEXT), bytes(text))


def _run(number: int, spec: Packet, frame: int) -> tuple[Any, list[Any], int]:
    following, seen, time_ns, packets = dict(START), {0: 0, 1: 0}, 0, []
    for p in spec["packets"]:
        frame, time_ns, side = frame + 1, time_ns + int(p["ms"] * MS), p["side"]
        length = len(p["data"]) + p["extra"]
        seq = following[side] if p["seq"] is None else p["seq"]
        ack = (seen[side] if p["ack"] is None else p["ack"]) if p["flags"] & 16 else p["ack"] or 0
        packets.append(
            {**p, "frame": frame, "time_ns": time_ns, "seq": seq, "ack": ack, "length": length, "payload": p["data"]}
        )
        packets[-1].update(
            protocol=6,
            ip_version=4,
            interface=0,
            source=bytes(15) + bytes([side]),
            destination=bytes(15) + bytes([1 - side]),
        )
        packets[-1].update(sport=443 if side else 40000, dport=40000 if side else 443)
        if not p["flags"] & 4:
            following[side] = max(following[side], seq + length + bool(p["flags"] & 3))
            seen[1 - side] = following[side]
    made = flows.Flow(number, packets[0])
    made.packets = packets
    made.final = (5, frame, time_ns)
    row, trace = made.finish()
    for mark in spec["marks"]:
        row["marks"] |= enumeration("MARK_")[mark]
    for key, value in spec["fields"].items():
        row[key] = value
    return row, trace, frame


# ---------------------------------------------------------------- DNS


def transaction(
    messages: list[Packet], context: dict[str, Any] | None = None, server: str = "9.9.9.9", **fields: Any
) -> Packet:
    """A transaction to be put into DNS tables."""
    return {"messages": messages, "context": context or {}, "server": server, "fields": fields}


def QUERY(**fields: Any) -> Packet:
    return {"is_answer": 0, "ttl": 64, "ip_id": 1, "ms": 0, "flags": 0x0100, "addresses": [], **fields}


def ANSWER(*addresses: str, **fields: Any) -> Packet:
    return {"is_answer": 1, "ttl": 55, "ip_id": 0, "ms": 30, "flags": 0x8180, "addresses": list(addresses), **fields}


def _address(text: str) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + bytes(map(int, text.split(".")))


def questions(*specs: Packet) -> Transactions:
    """Transactions of the messages given, frames counted on from 1."""
    rows, messages, contexts, frame = [], [], [], 0
    for number, spec in enumerate(specs, 1):
        row, context = np.zeros((), TRANSACTION), np.zeros((), TRANSACTION_CONTEXT)
        row["number"], row["message_offset"], row["message_count"] = number, len(messages), len(spec["messages"])
        row["server"], row["type"] = np.frombuffer(_address(spec["server"]), "u1"), 1
        row["queries"], row["answers"] = (sum(m["is_answer"] == kind for m in spec["messages"]) for kind in (0, 1))
        row["query_ns"] = 1 if row["queries"] else -1
        for key, value in spec["fields"].items():
            row[key] = value
        time_ns = 1
        for spec_message in spec["messages"]:
            frame, time_ns = frame + 1, time_ns + int(spec_message["ms"] * MS)
            messages.append(_message(spec_message, frame, time_ns))
        for key, value in {"min_rtt_ns": -1, **spec["context"]}.items():
            context[key] = value
        rows.append(row)
        contexts.append(context)
    return Transactions(
        np.array(rows, TRANSACTION), np.array(messages, MESSAGE), np.array(contexts, TRANSACTION_CONTEXT), b""
    )


def _message(spec: Packet, frame: int, time_ns: int) -> Any:
    m = np.zeros((), MESSAGE)
    m["frame"], m["time_ns"], m["n_addresses"] = frame, time_ns, len(spec["addresses"])
    raw = sorted(map(_address, spec["addresses"]))
    m["addresses_digest"] = m["records_digest"] = names.digest(b"".join(raw), 8)
    m["address_kind"] = names.address_kind(_address(spec["addresses"][0])) if raw else 0
    m["first_type"] = 1 if raw else 0
    for key in spec.keys() - {"addresses", "ms"}:
        m[key] = spec[key]
    return m
