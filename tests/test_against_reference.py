"""
The C core against the naive reference core, over the labelled cases and the beginning of the demonstration.

The reference keeps every packet and computes each definition from the whole list; the core does one bounded pass.  All
marks are wanted, so that each flow with any of them, and its trace, is compared.  Where the core is bounded, or says by
its header that it knows less, the field or the flow is excepted below by name; what else differs was looked at in the
packets and stands in DIFFERENCES, so that a difference more, or less, fails.
"""

from __future__ import annotations

import pathlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from corpus import CASES, DEMO, needs_cases
from hostile import build, drive
from hostile.build import ACK, FIN, HANDSHAKE, PSH, SYN, Record, Segment
from reference import core as reference
from reference.layout import enumeration
from tamperscope import core

FACT = enumeration("FACT_")
BEGINNING = 1200  # frames of the demonstration: the reference looks at all flows for each packet

# Fields that are not compared, and why.
EXCEPTED = {
    "flow": {
        "name_offset": "a place in another text", "trace_offset": "a place in another table",
        "trace_count": "the flows table has no trace; candidates' traces are compared by themselves",
        "history": "the reference has none",
        "anomalies": "the reference keeps none",
        "final_frame": "the core looks at a timer when its bucket is due, up to five minutes after a close",
        "final_ns": "as final_frame",
    },
    "trace": {"payload_digest": "another digest", "options_digest": "another digest"},
    "transaction": {
        "name_offset": "a place in another text", "message_offset": "a place in another table",
        "final_by": "the reference does not settle", "final_frame": "as final_by", "facts": "as final_by",
        "final_ns": "as final_by",
    },
    "message": {"records_digest": "another digest", "addresses_digest": "another digest"},
}  # fmt: skip

# Of the contexts only what has one meaning in both: the core counts stretches of 120 s where the reference looks 120 s
# to each side, leaves marked flows out of a server's baseline, and keeps the latest eight answers of a name.
FLOW_CONTEXT = ("server_flows", "server_reached", "server_reset", "name_reached", "name_silent", "name_reset")
TRANSACTION_CONTEXT = ("answered", "unanswered", "conflicting", "ttl_mode", "ttl_mode_count", "ttl_count", "special")

# Marks of answers: the reference does not read what servers say (tests/test_answers.py).
ANSWERS = sum(bit for word, bit in enumeration("MARK_").items() if word.startswith(("ANSWER_", "ISSUER_")))

# Facts that say what a bounded core had to let go.
BOUNDED = FACT["TRACE_TAKEN"] | FACT["TRACE_FULL"] | FACT["TRACE_RELEASED"] | FACT["COPIES"]
UNSEEN = FACT["UNSEEN_CLIENT"] | FACT["UNSEEN_SERVER"]


class Tables(NamedTuple):
    """All flows, and the tables of all candidates."""

    flows: np.ndarray[Any, Any]
    candidates: list[core.Batch]


def tables(data: bytes) -> Tables:
    """The core's account of a capture."""
    one = core.Core(core.FLOWS | core.CANDIDATES, **drive.EVERYTHING)
    assert one.feed(data)[1] == len(data)
    one.end()
    flows, candidates = [np.zeros(0, core.dtype("tscope_flow"))], []
    while batch := one.take(core.FLOWS):
        flows.append(batch.table("flows", "tscope_flow", "n_flows"))
    while batch := one.take(core.CANDIDATES):
        candidates.append(batch)
    return Tables(np.concatenate(flows), candidates)


def is_excepted(row: Any) -> bool:
    """Flows that the reference cannot follow: copies are learned otherwise, fragments it does not put together."""
    return bool(row["facts"] & FACT["COPIES"] or row["anomalies"] & core.constant("AN_IP_FRAGMENT"))


def comparable(row: Any) -> dict[str, Any]:
    """A flow's fields as both define them."""
    out = {name: row[name].tolist() for name in row.dtype.names if name not in EXCEPTED["flow"]}
    facts = out["facts"] & ~BOUNDED
    if not facts & FACT["HANDSHAKE"]:  # without a beginning there is no telling what was before
        out["missing"], facts = None, facts & ~UNSEEN
    if not out["trigger"]:
        out["trigger_seq"] = out["trigger_length"] = None
    return out | {"facts": facts, "marks": out["marks"] & ~ANSWERS}


class Tally:
    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.different: Counter[tuple[str, str]] = Counter()
        self.where: list[str] = []

    def compare(self, table: str, where: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        self.compared[table] += 1
        for field, value in theirs.items():
            if ours[field] != value:
                self.different[where.split()[0], f"{table}.{field}"] += 1
                self.where.append(f"{where} {table}.{field}: {ours[field]!r}, by the reference {value!r}")


def fields(table: str, row: Any) -> dict[str, Any]:
    return {name: row[name].tolist() for name in row.dtype.names if name not in EXCEPTED[table]}


def compare(path: pathlib.Path, data: bytes, tally: Tally) -> None:
    ours, theirs = tables(data), reference.scan(path)
    wanted = {int(row["first_frame"]): row for row in theirs.flows}
    assert len(wanted) == len(ours.flows)
    for row in ours.flows:
        if is_excepted(row):
            tally.compared["excepted flows"] += 1
            continue
        there = wanted[int(row["first_frame"])]
        tally.compare("flow", f"{path.stem} flow {row['number']}", comparable(row), comparable(there))
    for batch in ours.candidates:
        compare_traces(path.stem, batch, theirs, tally)
        compare_questions(path.stem, batch, theirs, tally)


def compare_traces(name: str, batch: core.Batch, theirs: reference.Tables, tally: Tally) -> None:
    flows = batch.table("flows", "tscope_flow", "n_flows")
    trace = batch.table("trace", "tscope_trace", "n_trace")
    context = batch.table("flow_context", "tscope_flow_context", "n_flows")
    index = {int(row["first_frame"]): n for n, row in enumerate(theirs.flows)}
    for row, about in zip(flows, context, strict=True):
        if is_excepted(row) or row["facts"] & FACT["TRACE_RELEASED"]:
            tally.compared["excepted traces"] += 1
            continue
        other = theirs.flows[index[int(row["first_frame"])]]
        mine, his = (rows_of(t, r) for t, r in ((trace, row), (theirs.trace, other)))
        where = f"{name} flow {row['number']}"
        tally.compare("rows", where, {"frames": mine["frame"].tolist()}, {"frames": his["frame"].tolist()})
        for one, two in zip(mine, his, strict=False):
            tally.compare("trace", f"{name} frame {one['frame']}", fields("trace", one), fields("trace", two))
        if row["protocol"] == 6:
            other_about = theirs.flow_context[index[int(row["first_frame"])]]
            pair = [{field: int(of[field]) for field in FLOW_CONTEXT} for of in (about, other_about)]
            tally.compare("flow_context", where, *pair)


def rows_of(trace: Any, row: Any) -> Any:
    return trace[int(row["trace_offset"]) :][: int(row["trace_count"])]


def compare_questions(name: str, batch: core.Batch, theirs: reference.Tables, tally: Tally) -> None:
    asked = batch.table("transactions", "tscope_transaction", "n_transactions")
    messages = batch.table("messages", "tscope_message", "n_messages")
    context = batch.table("transaction_context", "tscope_transaction_context", "n_transactions")
    index = {int(row["first_frame"]): n for n, row in enumerate(theirs.transactions)}
    for row, about in zip(asked, context, strict=True):
        at = index[int(row["first_frame"])]
        other, where = theirs.transactions[at], f"{name} question {row['number']}"
        tally.compare("transaction", where, fields("transaction", row), fields("transaction", other))
        mine, his = (said(t, r) for t, r in ((messages, row), (theirs.messages, other)))
        for one, two in zip(mine, his, strict=True):
            tally.compare("message", f"{name} frame {one['frame']}", fields("message", one), fields("message", two))
        pair = [
            {field: int(of[field]) for field in TRANSACTION_CONTEXT} for of in (about, theirs.transaction_context[at])
        ]
        tally.compare("transaction_context", where, *pair)


def said(messages: Any, row: Any) -> Any:
    return messages[int(row["message_offset"]) :][: int(row["message_count"])]


# (capture, table.field) -> how many, and who is right.
HOLE = (
    "the reference: a FIN that is not in the capture is missing; the core, which counts bytes and keeps no holes, "
    "takes the SYN+ACK that comes again for what filled it"
)
DIFFERENCES = {
    ("lab-dns-one-answer", "transaction.marks"): (
        2, "the core knows only transactions that are settled for its fastest answer, the reference all before"
    ),
    ("rst-ack-to-syn-then-synack", "flow.marks"): (
        1, "the reference: the reset has the SYN's IP ID (0xe5de) too; the core marks RST_ON_SYN and looks no further"
    ),
    ("xx-stateful-fw-ft-http", "flow.facts"): (17, HOLE),
    ("xx-stateful-fw-ft-http", "flow.missing"): (17, HOLE),
    ("xx-two-resets-https", "flow.marks"): (
        7, "the reference: TTL 239 after a reset of TTL 47; the core keeps the range of packets that are no resets"
    ),
}  # fmt: skip

# Rows of each table that were compared, so that none can fall out of it unseen.
CASES_COMPARED = {
    "flow": 810, "rows": 590, "trace": 3366, "flow_context": 586, "excepted traces": 6, "excepted flows": 5,
    "transaction": 53, "message": 114, "transaction_context": 53,
}  # fmt: skip


@needs_cases
def test_cases() -> None:
    """Flows, traces, questions and messages of every case, field by field."""
    tally = Tally()
    for path in sorted(CASES.glob("*.pcap*")):
        compare(path, path.read_bytes(), tally)
    assert tally.different == {key: count for key, (count, _) in DIFFERENCES.items()}, "\n".join(tally.where)
    assert tally.compared == CASES_COMPARED


def test_beginning_of_the_demonstration(tmp_path: pathlib.Path) -> None:
    """The same, of a capture that is always there."""
    path = tmp_path / "demo.pcap"
    path.write_bytes(beginning(DEMO.read_bytes(), BEGINNING))
    tally = Tally()
    compare(path, path.read_bytes(), tally)
    assert not tally.different, "\n".join(tally.where)
    assert tally.compared["flow"] > 100 and tally.compared["trace"] > 30


def beginning(data: bytes, frames: int) -> bytes:
    at = 24
    for _ in range(frames):
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
    return data[:at]


# ---------------------------------------------------------------- what such comparisons have found


def both(tmp_path: pathlib.Path, records: list[Record]) -> tuple[Any, Any]:
    """The first flow, by the core and by the reference, which must agree."""
    path = tmp_path / "one.pcap"
    path.write_bytes(build.pcap(records))
    tally = Tally()
    compare(path, path.read_bytes(), tally)
    assert not tally.different, "\n".join(tally.where)
    return tables(path.read_bytes()).flows[0], reference.scan(path).flows[0]


HELLO = build.tls_records(build.client_hello())


def test_a_fin_is_no_part_of_the_trigger(tmp_path: pathlib.Path) -> None:
    """A hello sent again after the client's FIN is as long as before, and acknowledged by a server that has it."""
    again = Segment(0, PSH | ACK, HELLO, seq=1, ip_id=8, after_ms=300.0)
    segments = [*HANDSHAKE, Segment(0, PSH | ACK, HELLO), Segment(0, FIN | ACK), again]
    segments.append(Segment(1, ACK, ack=1 + len(HELLO)))
    row, _ = both(tmp_path, build.conversation(segments))
    assert row["trigger_length"] == row["trigger_acked"] == len(HELLO)
    assert not row["marks"] & enumeration("MARK_")["TRIGGER_UNACKED"]


def test_a_flow_closed_long_before_the_end_is_not_cut_by_it(tmp_path: pathlib.Path) -> None:
    """Whether or not its timer had a look at it before the capture ended."""
    close = [Segment(0, FIN | ACK), Segment(1, FIN | ACK), Segment(0, ACK)]
    later = build.conversation([Segment(0, SYN)], ports=(40001, 443), start_ns=build.START_NS + 45 * 10**9)
    row, other = both(tmp_path, [*build.conversation([*HANDSHAKE, *close]), *later])
    assert row["final_by"] == other["final_by"] == core.constant("FINAL_CLOSED")
    assert not row["facts"] & FACT["CUT_BY_END"]


def test_the_client_s_rtt_ends_at_its_first_ack(tmp_path: pathlib.Path) -> None:
    """Also where the capture begins with the SYN+ACK."""
    segments = [*HANDSHAKE[1:], Segment(0, PSH | ACK, HELLO, after_ms=70)]
    row, other = both(tmp_path, build.conversation(segments))
    assert row["rtt_client_ns"] == other["rtt_client_ns"] == build.MS


def test_a_payload_that_was_cut_is_a_fact(tmp_path: pathlib.Path) -> None:
    """What the snap length took must be told from what was never sent."""
    records = [Record(one.time_ns, one.data[:60], len(one.data)) for one in build.talk(HELLO)]
    row, _ = both(tmp_path, records)
    assert row["facts"] & FACT["SNAP_CUT"]
