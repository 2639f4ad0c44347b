"""What is read and found in bytes, for tests."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

import numpy as np

from tamperscope import core
from tamperscope.errors import LinkTypeError
from tamperscope.model import Finding, FlowRecord, Notice, Summary
from tamperscope.report import jsonl
from tamperscope.scan import Scan

DNS = core.constant("DNS")
EVERYTHING = {"flow_marks": 0xFFFFFFFF, "transaction_marks": 0xFFFFFFFF}


class Outcome(NamedTuple):
    findings: list[Finding]
    flows: list[FlowRecord]
    notices: list[Notice]
    summary: Summary
    error: LinkTypeError | None

    @property
    def accused(self) -> list[Finding]:
        return [one for one in self.findings if one.verdict != "insufficient"]


def scan(data: bytes, **options: Any) -> Outcome:
    """All records of a scan; CaptureError where nothing can be read."""
    opened = Scan(bytearray(data), flows=True, **options)
    records: list[Finding | FlowRecord] = []
    error = None
    try:
        records.extend(opened)
    except LinkTypeError as raised:
        error = raised
    found = [one for one in records if isinstance(one, Finding)]
    flows = [one for one in records if isinstance(one, FlowRecord)]
    return Outcome(found, flows, opened.notices, opened.summary, error)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes in pieces, cut at these offsets."""
    edges = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


class Rows(NamedTuple):
    """Everything that the core says, as bytes: equal bytes mean equal output."""

    packets: bytes
    flows: bytes
    answers: bytes
    names: list[bytes]
    messages: list[bytes]
    candidates: bytes
    notices: list[tuple[int, ...]]
    code: int


def rows(parts: list[bytes], **options: Any) -> Rows:
    """The core's tables of an input that comes in parts, all of it a candidate."""
    one = core.Core(core.PACKETS | core.FLOWS | core.CANDIDATES | DNS, **{**EVERYTHING, **options})
    packets: list[bytes] = []
    flows: list[bytes] = []
    answers: list[bytes] = []
    names: list[bytes] = []
    messages: list[bytes] = []
    code = core.OK
    for part in parts:
        rest = memoryview(part)
        while code in (core.OK, core.FULL):
            code, used = one.feed(rest)
            rest = rest[used:]
            if code == core.FULL:
                _take(one, packets, flows, answers, names, messages)
            elif not rest:
                break
        if code not in (core.OK, core.FULL):
            break
    while code == core.FULL:
        _take(one, packets, flows, answers, names, messages)
        code, _ = one.feed(b"")
    one.end()
    _take(one, packets, flows, answers, names, messages)
    candidates = b"".join(_candidates(one))
    # An offset says where the reader stood, which for a jump of the clock depends on the cut.
    told = [(raw.code, raw.frame, raw.need, raw.have) for raw in one.notices()]
    return Rows(b"".join(packets), b"".join(flows), b"".join(answers), names, messages, candidates, told, code)


def plain(table: Any) -> Any:
    """A copy that can be changed, with zeroes between the fields, which are no output."""
    out = np.zeros(len(table), table.dtype)
    for name in table.dtype.names:
        out[name] = table[name]
    return out


def _take(
    one: core.Core,
    packets: list[bytes],
    flows: list[bytes],
    answers: list[bytes],
    names: list[bytes],
    messages: list[bytes],
) -> None:
    while batch := one.take(core.PACKETS):
        packets.append(plain(batch.table("packets", "tscope_packet", "n_packets")).tobytes())
    while batch := one.take(core.FLOWS):
        table, text = plain(batch.table("flows", "tscope_flow", "n_flows")), batch.text
        names += [text[a : a + n] for a, n in zip(table["name_offset"], table["name_length"], strict=True)]
        table["name_offset"] = 0
        said = plain(batch.table("answers", "tscope_answer", "n_flows"))
        flows.append(table.tobytes())
        answers += [b"".join((_words(batch, answer), answer.tobytes())) for answer in said]
    messages += _messages(one)


def _messages(one: core.Core) -> list[bytes]:
    """Rows of the dns table, each with its name and its records."""
    out = []
    while batch := one.take(DNS):
        table, records = (
            plain(batch.table("dns", "tscope_dns", "n_dns")),
            plain(batch.table("records", "tscope_record", "n_records")),
        )
        for row in table:
            told = records[int(row["record_offset"]) :][: int(row["record_count"])].copy()
            out += [batch.text[int(r["text_offset"]) :][: int(r["text_length"])] for r in told]
            out.append(batch.text[int(row["name_offset"]) :][: int(row["name_length"])])
            told["text_offset"] = row["name_offset"] = row["record_offset"] = 0
            out += [told.tobytes(), row.tobytes()]
    return out


def _words(batch: core.Batch, answer: Any) -> bytes:
    """The words of an answer, whose place is then forgotten."""
    start = int(answer["text_offset"])
    answer["text_offset"] = 0
    return batch.text[start : start + int(answer["word_length"].sum())]


def _candidates(one: core.Core) -> list[bytes]:
    """Rows of all candidates, each flow with its name, context and trace."""
    out = []
    while batch := one.take(core.CANDIDATES):
        flows = plain(batch.table("flows", "tscope_flow", "n_flows"))
        context = plain(batch.table("flow_context", "tscope_flow_context", "n_flows"))
        trace = plain(batch.table("trace", "tscope_trace", "n_trace"))
        answers = plain(batch.table("answers", "tscope_answer", "n_flows"))
        told = plain(batch.table("answer_context", "tscope_answer_context", "n_flows"))
        for row, about, answer, others in zip(flows, context, answers, told, strict=True):
            start, count = int(row["trace_offset"]), int(row["trace_count"])
            name = batch.text[int(row["name_offset"]) :][: int(row["name_length"])]
            row["trace_offset"] = row["name_offset"] = 0
            out += [row.tobytes(), about.tobytes(), trace[start : start + count].tobytes(), name]
            out += [_words(batch, answer), answer.tobytes(), others.tobytes()]
        asked = plain(batch.table("transactions", "tscope_transaction", "n_transactions"))
        context = plain(batch.table("transaction_context", "tscope_transaction_context", "n_transactions"))
        messages = plain(batch.table("messages", "tscope_message", "n_messages"))
        for row, about in zip(asked, context, strict=True):
            start, count = int(row["message_offset"]), int(row["message_count"])
            name = batch.text[int(row["name_offset"]) :][: int(row["name_length"])]
            row["message_offset"] = row["name_offset"] = 0
            out += [row.tobytes(), about.tobytes(), messages[start : start + count].tobytes(), name]
    return out


def lines(outcome: Outcome) -> list[str]:
    """JSON lines of the findings."""
    return [jsonl.line(one) for one in outcome.findings]


def judged(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(outcome)]
