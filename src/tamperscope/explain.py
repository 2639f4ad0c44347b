"""
Everything that is known about one flow: its packets, what was weighed, and why something is reported or nothing.

    told = explain("evening.pcap", flow=17)         or frame=1204: the flow of that frame
    for step in told.steps: ...                     its packets
    for opinion in told.opinions: ...               prior, facts with weights, sum, of every mechanism that looked

The capture is read whole, since what other flows did is evidence; by frame it is read twice.
"""

from __future__ import annotations

import numpy as np

from tamperscope import core, flows, notices, weigh
from tamperscope.errors import NotThereError
from tamperscope.judge import LIMITS, Judge
from tamperscope.marks import FLOW_MARKS, TRANSACTION_MARKS
from tamperscope.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tamperscope.model import Finding, FlowRecord, Notice

    Array = np.ndarray[Any, Any]

MOST = 2000  # packets kept from the start of a flow, and as many with SYN, FIN or RST after these
LAST = 200  # and from its end
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
ICMP = (1, 58)
TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
RCODES = {0: "no error", 1: "format error", 2: "server failure", 3: "no such name", 4: "not implemented", 5: "refused"}


class Step:
    """
    One packet of the flow.

    to_server: True, False, or None where neither end sent it (ICMP errors).  seq, ack: relative to the first numbers
    seen, None where they mean nothing.  role: forged, suspect (forged, if the finding that is ``insufficient`` is
    right), genuine, trigger, or "".  note: what a DNS message or an ICMP error says.
    """

    __slots__ = (
        "ack", "flags", "frame", "ip_id", "length", "note", "protocol", "role", "seq", "time_ns", "to_server", "ttl",
        "window",
    )  # fmt: skip

    def __init__(self, row: Any, to_server: bool | None, first: tuple[int, int]) -> None:
        self.frame = int(row["frame"])
        self.time_ns = int(row["time_ns"])
        self.protocol = flows.PROTOCOLS.get(int(row["protocol"]), "other")
        self.to_server = to_server
        self.flags = int(row["flags"])
        self.length = int(row["payload_length"])
        self.window = int(row["window"])
        self.ttl = int(row["ttl"])
        self.ip_id: int | None = None if int(row["ip_id"]) == 0xFFFFFFFF else int(row["ip_id"])
        self.seq: int | None = None
        self.ack: int | None = None
        self.role = self.note = ""
        if self.protocol == "tcp" and to_server is not None:
            own, other = first if to_server else first[::-1]
            self.seq = _signed(int(row["seq"]) - own)
            self.ack = _signed(int(row["ack"]) - other) if self.flags & ACK else None
        elif int(row["protocol"]) in ICMP:
            kind, code = divmod(int(row["source_port"]), 256)
            self.note = f"ICMP {kind}/{code} from {flows.address(row['source'].tobytes())}"


class Unit:
    """What was judged: the flow itself (transaction None), or one DNS transaction of it."""

    __slots__ = ("finding", "name", "opinions", "transaction")

    def __init__(self, transaction: int | None, name: bytes | None) -> None:
        self.transaction = transaction
        self.name = name
        self.opinions: list[weigh.Opinion] = []
        self.finding: Finding | None = None


class Explanation:
    """
    One flow explained.

    flow: its record; steps: its packets in file order, without `left_out` from the middle of a long flow; units: what
    was judged, in order; not_looked: (mechanism, why it did not look at this flow); limits: codes, as in findings;
    asked_frame: the frame by which the flow was asked for.
    """

    def __init__(self, flow: FlowRecord, asked_frame: int | None) -> None:
        self.flow = flow
        self.asked_frame = asked_frame
        self.steps: list[Step] = []
        self.left_out = 0
        self.units: list[Unit] = []
        self.not_looked: list[tuple[str, str]] = []
        self.limits: list[str] = []
        self.notices: list[Notice] = []

    @property
    def opinions(self) -> list[weigh.Opinion]:
        """Of all units, in their order."""
        return [opinion for unit in self.units for opinion in unit.opinions]

    @property
    def findings(self) -> list[Finding]:
        """What a scan reports about this flow."""
        return [unit.finding for unit in self.units if unit.finding]


def explain(source: Any, *, flow: int | None = None, frame: int | None = None, max_flows: int = 1 << 20) -> Explanation:
    """
    Explain one flow of a capture, by its number or by one of its frames.

    Args:
        source: as for `tamperscope.scan`; for `frame` one that can be read twice (a path, bytes, a seekable file).
        flow, frame: numbers from 1; one of them.
    Raises:
        NotThereError: the capture has no such flow or frame, or the frame belongs to no flow.
        CaptureError, OSError: nothing of the capture can be read.  ValueError: not one of flow and frame.
    """
    if (flow is None) == (frame is None):
        raise ValueError("give a flow or a frame")
    if frame is not None:
        start = source.tell() if hasattr(source, "tell") else None
        flow = _flow_of(source, frame)
        if start is not None:
            source.seek(start)
    assert flow is not None
    return _Reading(source, flow, frame, max_flows).explanation()


def _flow_of(source: Any, frame: int) -> int:
    """The flow of a frame."""
    from tamperscope.capture import open_capture

    count = 0
    with open_capture(source, keep_flows=False, limit=frame) as capture:
        for batch in capture:
            count = int(batch.packets.frame[-1])
            if count == frame:
                row = batch.packets.array[-1]
                if int(row["flow"]):
                    return int(row["flow"])
                words = ", ".join(_plain(word) for word in flows.bits("tscope_anomaly", int(row["anomalies"])))
                raise NotThereError(f"frame {frame} belongs to no flow" + (f" ({words})" if words else ""))
    raise NotThereError(f"there is no frame {frame}; the capture has {count}")


def _plain(word: str) -> str:
    return word.replace("_", " ")


class _Packets:
    """The packets of one flow as they pass by, in bounded memory."""

    def __init__(self, flow: int) -> None:
        self._flow = flow
        self._parts: list[Array] = []
        self._last: list[Array] = []
        self._kept = self._telling = self.count = 0

    def take(self, rows: Array) -> None:
        rows = rows[rows["flow"] == self._flow]
        if not len(rows):
            return
        self.count += len(rows)
        room = max(0, MOST - self._kept)
        first, rest = rows[:room], rows[room:]
        telling = rest[(rest["flags"] & (FIN | SYN | RST) != 0) & (rest["protocol"] == 6)][
            : max(0, MOST - self._telling)
        ]
        self._kept += len(first)
        self._telling += len(telling)
        self._parts += [first, telling]
        if len(rest):
            self._last.append(rest[-LAST:])
            while sum(map(len, self._last[1:])) >= LAST:
                del self._last[0]

    def rows(self) -> Array:
        last = np.concatenate(self._last)[-LAST:] if self._last else None
        rows = np.concatenate([*self._parts, *([last] if last is not None else [])])
        order = np.unique(rows["frame"], return_index=True)[1]
        chosen: Array = rows[order]
        return chosen


class _Reading:
    """One pass over the capture."""

    def __init__(self, source: Any, flow: int, frame: int | None, max_flows: int) -> None:
        self._flow = flow
        self._frame = frame
        self._source = Source(source)
        self._core = core.Core(
            core.PACKETS | core.FLOWS | core.CANDIDATES,
            flow_marks=FLOW_MARKS, transaction_marks=TRANSACTION_MARKS, max_flows=max_flows,
        )  # fmt: skip
        self._packets = _Packets(flow)
        self._record: FlowRecord | None = None
        self._row: Any = None
        self._notes: dict[int, str] = {}  # frame of a DNS message: what it says
        self._questions: dict[int | None, set[int]] = {}  # transaction: its frames

    def explanation(self) -> Explanation:
        try:
            self._read()
        finally:
            self._source.close()
        summary = self._core.summary()
        if self._record is None:
            raise NotThereError(f"there is no flow {self._flow}; the capture has {int(summary.flows)}")
        told = Explanation(self._record, self._frame)
        told.notices = [
            *self._source.notices,
            *(notices.notice(one, self._source.name) for one in self._core.notices()),
        ]
        told.limits = [word for name, word in LIMITS.items() if int(self._row["facts"]) & core.constant(name)]
        self._judged(told, flows.vantage(summary.vantage))
        self._steps(told)
        return told

    def _read(self) -> None:
        votes = flows.Votes()
        code = core.OK
        while code in (core.OK, core.FULL):
            code = self._source.step(self._core)
            self._take(votes)
        self._core.end()
        notices.refuse(self._core, self._source.name, self._source.notices)
        self._take(votes)

    def _take(self, votes: flows.Votes) -> None:
        while batch := self._core.take(core.PACKETS):
            self._packets.take(batch.table("packets", "tscope_packet", "n_packets"))
        while batch := self._core.take(core.FLOWS):
            rows = batch.table("flows", "tscope_flow", "n_flows")
            if self._record is None and len(at := np.flatnonzero(rows["number"] == self._flow)):
                row = rows[int(at[0])]
                self._record = flows.record(row, batch.text, self._source.name, votes.add(row))
                self._row = row.copy()

    # ------------------------------------------------------------ judgement

    def _judged(self, told: Explanation, vantage: str) -> None:
        told.flow.vantage = vantage  # of the whole capture, as findings have it
        judge = Judge(None, self._source.name, vantage)
        asked: dict[tuple[str, int | None], Unit] = {}
        looked: set[str] = set()
        while batch := self._core.take(core.CANDIDATES):
            if not self._concerns(batch):
                continue
            judged = judge.judgements(batch)
            self._dns_notes(batch)
            for judgement, index in self._of_flow(judged):
                unit = judgement.columns.units[index]
                transaction = int(unit["number"]) if judgement.columns.unit == "transaction" else None
                key = judgement.columns.unit, transaction
                asked.setdefault(key, Unit(transaction, judgement.columns.name(index)))
                asked[key].opinions.append(judgement.opinion(index))
                looked.add(judgement.mechanism)
            for finding in judge.resolved(judged):
                if finding.flow == self._flow:
                    unit_kind = "flow" if finding.transaction is None else "transaction"
                    asked[unit_kind, finding.transaction].finding = finding
        told.units = [asked[key] for key in sorted(asked, key=lambda key: (key[0], key[1] or 0))]
        if self._frame is not None:  # of many questions in one flow, the one that was asked for
            told.units = [unit for unit in told.units if self._frame in self._questions.get(unit.transaction, ())] or (
                told.units
            )
        told.not_looked = [
            (one.mechanism, self._why_not(one)) for one in judge.fingerprinters if one.mechanism not in looked
        ]

    def _concerns(self, batch: core.Batch) -> bool:
        own = batch.table("flows", "tscope_flow", "n_flows")["number"] == self._flow
        asked = batch.table("transactions", "tscope_transaction", "n_transactions")["flow"] == self._flow
        return bool(own.any() or asked.any())

    def _of_flow(self, judged: list[weigh.Judgement]) -> Iterator[tuple[weigh.Judgement, int]]:
        for judgement in judged:
            field = "number" if judgement.columns.unit == "flow" else "flow"
            for index in np.flatnonzero(judgement.columns.units[field] == self._flow).tolist():
                yield judgement, index

    def _why_not(self, fingerprinter: Any) -> str:
        """Why a mechanism did not look at the flow."""
        if fingerprinter.unit == "transaction":
            if self._row["server_port"] != 53 and self._row["client_port"] != 53:
                return "DNS questions alone are looked at"
            return "no question of this flow has an answer of the kind that is looked at"
        if not int(self._row["marks"]) & fingerprinter.marks:
            return "the flow shows none of " + ", ".join(
                map(_plain, flows.bits("tscope_flow_mark", fingerprinter.marks))
            )
        asks = (type(fingerprinter).pick.__doc__ or "").strip().split("\n")[0].rstrip(".")
        return "a mark of it is there, but not all that it asks for" + (f" ({asks})" if asks else "")

    # ------------------------------------------------------------ packets

    def _dns_notes(self, batch: core.Batch) -> None:
        """What the DNS messages of the flow's transactions say, by frame."""
        for asked in batch.table("transactions", "tscope_transaction", "n_transactions"):
            if int(asked["flow"]) != self._flow:
                continue
            start = int(asked["message_offset"])
            rows = batch.table("messages", "tscope_message", "n_messages")[start : start + int(asked["message_count"])]
            self._questions[int(asked["number"])] = set(rows["frame"].tolist())
            kind = TYPES.get(int(asked["type"]), f"type {int(asked['type'])}")
            for row in rows:
                self._notes[int(row["frame"])] = _answer(row) if row["is_answer"] else f"query {kind}"

    def _steps(self, told: Explanation) -> None:
        rows = self._packets.rows()
        client, server = self._row["client"], self._row["server"]
        ports = int(self._row["client_port"]), int(self._row["server_port"])
        told.left_out = self._packets.count - len(rows)
        to_server = [_direction(row, client, server, ports) for row in rows]
        first = self._first_numbers(rows, to_server)
        told.steps = [Step(row, way, first) for row, way in zip(rows, to_server, strict=True)]
        roles = _roles(told, int(self._row["trigger_frame"]))
        for step in told.steps:
            step.role = roles.get(step.frame, "")
            step.note = self._notes.get(step.frame, step.note)

    def _first_numbers(self, rows: Array, to_server: list[bool | None]) -> tuple[int, int]:
        """What sequence numbers are relative to: the SYN's, else the first seen, else the first acknowledged."""
        first: list[int | None] = [None, None]
        for end in (0, 1):
            if int(self._row["flags"][end]) & SYN:
                first[end] = int(self._row["isn"][end])
        for row, way in zip(rows, to_server, strict=True):
            if way is not None and int(row["protocol"]) == 6:
                own, other = (0, 1) if way else (1, 0)
                if first[own] is None and not int(row["flags"]) & RST:
                    first[own] = int(row["seq"])
                if first[other] is None and int(row["flags"]) & ACK:
                    first[other] = int(row["ack"])
        return first[0] or 0, first[1] or 0


def _answer(row: Any) -> str:
    rcode = int(row["rcode"])
    addresses = [flows.address(row["addresses"][i].tobytes()) for i in range(min(4, int(row["n_addresses"])))]
    more = int(row["n_addresses"]) - len(addresses)
    said = RCODES.get(rcode, f"rcode {rcode}") if rcode or not addresses else " ".join(addresses)
    said += f" and {more} more" if more > 0 else ""
    return f"answer {said}" + (f", to live {int(row['record_ttl'])} s" if addresses else "")


def _direction(row: Any, client: Array, server: Array, ports: tuple[int, int]) -> bool | None:
    if int(row["protocol"]) in ICMP:
        return None
    ends = int(row["source_port"]), int(row["destination_port"])
    if (row["source"] == client).all() and (row["destination"] == server).all() and ends == ports:
        return True
    return False if (row["source"] == server).all() and (row["destination"] == client).all() else None


def _roles(told: Explanation, trigger: int) -> dict[int, str]:
    """What each frame is, by the findings; what is said of fewer frames wins."""
    roles = {trigger: "trigger"} if trigger else {}
    for finding in told.findings:
        roles.update((frame, "genuine") for frame in finding.genuine_frames)
        if finding.trigger_frame:
            roles[finding.trigger_frame] = "trigger"
        word = "suspect" if finding.verdict == "insufficient" else "forged"
        roles.update((frame, word) for frame in finding.injected_frames)
    return roles


def _signed(difference: int) -> int:
    """A difference of sequence numbers, which wrap at 32 bits."""
    return (difference + (1 << 31)) % (1 << 32) - (1 << 31)
