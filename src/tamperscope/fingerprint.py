"""
What a fingerprinter is, and the columns that it works on.

A fingerprinter looks at *candidates* only: flows or DNS transactions that carry one of the marks it asks for.  It gets
all of them at once, as numpy columns, and hands back *observations*: facts with their frames, no judgement.  What a
fact weighs stands in ``data/weights.toml``; ``tamperscope.weigh`` does the sum.

    class ManyResets(Fingerprinter):
        mechanism = "rst_injection"
        marks = MARK_RST_REPEATED

        def examine(self, c):
            resets = c.is_reset & (c.trace["from_server"] == 1)
            return [c.observe("my_many_resets", c.count(resets) >= 5, frames=resets, role=INJECTED)]

Fields and units of every table are those of ``csrc/tamperscope.h``: times in nanoseconds (int64; -1 unknown), frames
from 1 (uint64; 0 none), addresses as 16 bytes, index 0 of a pair the client, 1 the server.
"""

from __future__ import annotations

import numpy as np

from tamperscope.core import dtype

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")
    Array = np.ndarray[Any, Any]

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
UNKNOWN_OFFSET = -(2**31)

# The same numbers as in csrc/tamperscope.h; a test holds them to it.
MARK_RST_UNLIKE = 1 << 0
MARK_SENDS_AFTER_RST = 1 << 1
MARK_RST_REPEATED = 1 << 2
MARK_RST_TOO_EARLY = 1 << 3
MARK_RST_SEQUENCE = 1 << 4
MARK_RST_AFTER_TRIGGER = 1 << 5
MARK_UNANSWERED = 1 << 6
MARK_TRIGGER_UNACKED = 1 << 7
MARK_RST_FLAGS = 1 << 12
MARK_RST_IP_ID = 1 << 13
MARK_STALLED = 1 << 14
MARK_PROHIBITED = 1 << 15
MARK_ANSWER_UNLIKE = 1 << 16
MARK_ANSWER_TOO_EARLY = 1 << 17
MARK_ANSWER_CONFLICT = 1 << 18
MARK_ANSWER_FIN = 1 << 19
MARK_ANSWER_PAGE = 1 << 20
MARK_ANSWER_PLAIN = 1 << 21
MARK_ISSUER_PRIVATE = 1 << 22
MARK_REFUSED = 1 << 23
MARK_ANSWERED_TWICE = 1 << 0
MARK_ANSWERS_DIFFER = 1 << 1
MARK_SPECIAL_ADDRESS = 1 << 3
MARK_WRONG_TYPE = 1 << 4
MARK_IP_ID_COPIED = 1 << 7
MARK_TOO_FAST = 1 << 8
MARK_ANSWER_TTL = 1 << 9
MARK_IGNORED = 1 << 10
FACT_SYN = 1 << 0
FACT_SYN_ACK = 1 << 1
FACT_CUT_BY_END = 1 << 3
FACT_TRACE_TAKEN = 1 << 4
FACT_NAME_INCOMPLETE = 1 << 7
FACT_ONE_WAY = 1 << 9
FACT_TRIGGER_REPEATED = 1 << 12
FACT_QUIC_VERSIONS = 1 << 17
WHAT_TRIGGER = 1 << 0
WHAT_RETRANSMISSION = 1 << 1
WHAT_AHEAD = 1 << 2
WHAT_KEEP_ALIVE = 1 << 3
WHAT_REFERENCE = 1 << 4
WHAT_DUPLICATE = 1 << 7
WHAT_ICMP = 1 << 8
WHAT_BY_END = 1 << 9
WHAT_BY_NEIGHBOUR = 1 << 10
TRIGGER_TLS_HELLO, TRIGGER_HTTP_REQUEST, TRIGGER_QUIC_INITIAL, TRIGGER_DATA = 1, 2, 3, 4
ANSWER_HTTP, ANSWER_HTML, ANSWER_TLS, ANSWER_TLS_ALERT, ANSWER_OTHER = 1, 2, 3, 4, 5
ANSWER_CERTIFICATE = 1 << 0
ANSWER_SELF_SIGNED = 1 << 1
ANSWER_PUBLIC = 1 << 2
ANSWER_FOR_NAME = 1 << 3
ANSWER_ELSEWHERE = 1 << 4
ANSWER_CUT = 1 << 5
WORD_LOCATION, WORD_SERVER, WORD_TITLE, WORD_PAGE = 0, 1, 2, 3  # of HTTP and HTML
WORD_ISSUER, WORD_ISSUER_ORGANISATION, WORD_SUBJECT, WORD_SUBJECT_ORGANISATION = 0, 1, 2, 3  # of TLS
STAGE_DNS, STAGE_SYN, STAGE_HANDSHAKE, STAGE_AFTER_NAME, STAGE_AFTER_REQUEST, STAGE_TRANSFER = 1, 2, 3, 4, 5, 6
MSG_CUT = 1 << 1
MSG_DUPLICATE = 1 << 5
MSG_EDNS = 1 << 4
ADDR_GLOBAL, ADDR_PRIVATE, ADDR_LOOPBACK, ADDR_UNSPECIFIED, ADDR_DOCUMENTATION = 1, 2, 3, 4, 9

INJECTED, GENUINE, TRIGGER, CONTEXT = "injected", "genuine", "trigger", "context"


class Observation:
    """
    One kind of fact, for all candidates in which it was seen.

    id: a word; ``data/weights.toml`` has its weight, group and sentence.
    rows: int64, shape (k,): indices into the candidates, ascending, each at most once.
    offsets: int64, shape (k + 1,); frames: uint64: ``frames[offsets[i]:offsets[i + 1]]`` show the fact in ``rows[i]``.
    role: what these frames are: "injected", "genuine", "trigger" or "context".
    values: {name: shape (k,)}: numbers for the sentence.
    """

    __slots__ = ("frames", "id", "offsets", "role", "rows", "values")

    def __init__(
        self,
        id: str,
        rows: Array,
        offsets: Array,
        frames: Array,
        role: str = CONTEXT,
        values: dict[str, Array] | None = None,
    ) -> None:
        self.id = id
        self.rows = rows
        self.offsets = offsets
        self.frames = frames
        self.role = role
        self.values = values or {}

    def frames_of(self, index: int) -> list[int]:
        """Frames of ``rows[index]``, ascending."""
        return sorted(self.frames[self.offsets[index] : self.offsets[index + 1]].tolist())

    def __repr__(self) -> str:
        return f"Observation({self.id!r}, rows={self.rows.tolist()}, role={self.role!r})"


class Ragged:
    """Rows that belong to n owners: row i belongs to owner ``owner[i]`` (int64, ascending)."""

    def __init__(self, counts: Array) -> None:
        self.n = len(counts)
        self.offsets: Array = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self.owner: Array = np.repeat(np.arange(self.n), counts)
        self._filled = np.flatnonzero(counts)

    def _reduce(self, function: np.ufunc, values: Array, empty: Any) -> Array:
        out = np.full(self.n, empty, values.dtype)
        if len(self._filled):
            # Owners without rows are left out: reduceat would give them the next owner's first row.
            out[self._filled] = function.reduceat(values, self.offsets[self._filled])
        return out

    def count(self, mask: Array) -> Array:
        """Rows in the mask, per owner: int64, shape (n,)."""
        return self._reduce(np.add, mask.astype(np.int64), 0)

    def any(self, mask: Array) -> Array:
        """Is a row of the owner in the mask: bool, shape (n,)."""
        return self.count(mask) > 0

    def first(self, mask: Array) -> Array:
        """Index of the owner's first row in the mask, -1 where there is none: int64, shape (n,)."""
        at = self._reduce(np.minimum, np.where(mask, np.arange(len(mask)), len(mask)), len(mask))
        return np.where(at == len(mask), -1, at)

    def last(self, mask: Array) -> Array:
        """Index of the owner's last row in the mask, -1 where there is none: int64, shape (n,)."""
        return self._reduce(np.maximum, np.where(mask, np.arange(len(mask)), -1), -1)

    def smallest(self, values: Array, mask: Array, empty: int) -> Array:
        """Smallest value (int64) over the owner's rows in the mask, `empty` where there is none."""
        at = self._reduce(
            np.minimum, np.where(mask, values.astype(np.int64), np.iinfo(np.int64).max), np.iinfo(np.int64).max
        )
        return np.where(self.any(mask), at, empty)

    def largest(self, values: Array, mask: Array, empty: int) -> Array:
        """Largest value (int64) over the owner's rows in the mask, `empty` where there is none."""
        return np.where(self.any(mask), -self.smallest(-values.astype(np.int64), mask, 0), empty)

    def before(self, mask: Array) -> Array:
        """Rows of the mask that come before each row within its owner: int64, shape (rows,)."""
        running = np.concatenate(([0], np.cumsum(mask, dtype=np.int64)))[:-1]
        starts = np.append(running, running[-1:])[self.offsets[:-1]] if len(mask) else np.zeros(self.n, np.int64)
        out: Array = running - starts[self.owner]
        return out

    def latest(self, mask: Array) -> Array:
        """Index of the owner's latest row in the mask before each row, -1 where there is none: int64, shape (rows,)."""
        marked = np.where(mask, np.arange(len(mask)), -1)
        running = np.concatenate(([-1], np.maximum.accumulate(marked)))[:-1] if len(mask) else marked
        return np.where(running >= self.offsets[:-1][self.owner], running, -1)

    def spread(self, values: Array) -> Array:
        """A value per owner, repeated for each of its rows."""
        return values[self.owner]


class Columns(Ragged):
    """What `Candidates` and `Transactions` share: units in rows, their packets or messages in a flat table."""

    unit = ""

    def __init__(self, units: Array, rows: Array, offsets: Array, counts: Array, context: Array, text: bytes) -> None:
        super().__init__(counts.astype(np.int64))
        self.units = units
        # Where the units are a selection, their rows do not follow one another in the batch.
        at = np.repeat(offsets.astype(np.int64) - self.offsets[:-1], counts.astype(np.int64)) + np.arange(
            len(self.owner)
        )
        self.rows: Array = rows if len(at) == len(rows) and (at == np.arange(len(at))).all() else rows[at]
        self.context = context
        self.text = text
        self.original = np.arange(self.n)
        self._made: dict[Any, Any] = {}

    def __len__(self) -> int:
        return self.n

    def once(self, make: Callable[[Any], T]) -> T:
        """``make(self)``, made at the first call: what several hooks of a fingerprinter start from."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    def forget(self) -> None:
        """The hooks are through: let go what `once` made of these columns."""
        self._made.clear()

    def select(self, mask: Array) -> Any:
        """The candidates in the mask (bool, shape (n,)); ``original`` keeps their indices in these columns."""
        picked = self.units[mask].copy()
        counts = np.diff(self.offsets)[mask]
        chosen = type(self)._of(picked, self.rows, self.offsets[:-1][mask], counts, self.context[mask], self.text)
        chosen.original = self.original[mask]
        return chosen

    @classmethod
    def _of(cls, units: Array, rows: Array, offsets: Array, counts: Array, context: Array, text: bytes) -> Any:
        new = cls.__new__(cls)
        Columns.__init__(new, units, rows, offsets, counts, context, text)
        new._ready()
        return new

    def _ready(self) -> None:
        """Set what subclasses derive from the rows."""

    def name(self, index: int) -> bytes | None:
        """Server name, host or question of one candidate, as it was in the packets; None without one."""
        start, length = int(self.units["name_offset"][index]), int(self.units["name_length"][index])
        return self.text[start : start + length] if length else None

    def observe(
        self,
        id: str,
        units: Array,
        frames: Array | None = None,
        role: str = CONTEXT,
        values: dict[str, Array] | None = None,
    ) -> Observation:
        """
        An observation of the candidates in `units` (bool, shape (n,)).

        frames: bool over the packets or messages; those of other candidates are left out.
        values: {name: shape (n,)}; a numeric value per candidate, for the sentence.
        """
        index = np.flatnonzero(units)
        chosen = (frames & self.spread(units)) if frames is not None else np.zeros(len(self.owner), np.bool_)
        offsets = np.concatenate(([0], np.cumsum(self.count(chosen)[index])))
        return Observation(
            id, index, offsets, self.rows["frame"][chosen], role, {k: v[index] for k, v in (values or {}).items()}
        )


class Candidates(Columns):
    """
    Candidate flows.

    flow: rows of ``tscope_flow``, shape (n,); trace: rows of ``tscope_trace``, all flows' one after another;
    ``trace[offsets[i]:offsets[i + 1]]`` are those of flow i, ``owner`` says to which flow a row belongs;
    context: rows of ``tscope_flow_context``, shape (n,); answer, answer_context: rows of ``tscope_answer`` and
    ``tscope_answer_context``, shape (n,): what the server said first, and what others were told.
    Bool columns over the trace: is_packet (no copy of another frame, no ICMP error, no REFERENCE row), is_reset,
    is_plain (a packet that is no reset), is_icmp (an ICMP error that quotes the flow), from_server.
    """

    unit = "flow"

    def __init__(
        self,
        flow: Array,
        trace: Array,
        context: Array,
        text: bytes,
        answer: Array | None = None,
        answer_context: Array | None = None,
    ) -> None:
        super().__init__(flow, trace, flow["trace_offset"], flow["trace_count"], context, text)
        self.answer: Array = np.zeros(self.n, dtype("tscope_answer")) if answer is None else answer
        self.answer_context: Array = (
            np.zeros(self.n, dtype("tscope_answer_context")) if answer_context is None else answer_context
        )
        self._ready()

    def select(self, mask: Array) -> Any:
        """As in `Columns`."""
        chosen = super().select(mask)
        chosen.answer, chosen.answer_context = self.answer[mask], self.answer_context[mask]
        return chosen

    def word(self, index: int, which: int) -> bytes:
        """A word of one candidate's answer: `WORD_LOCATION` ...; empty without it."""
        lengths = self.answer["word_length"][index].tolist()
        start = int(self.answer["text_offset"][index]) + sum(lengths[:which])
        return self.text[start : start + lengths[which]]

    def _ready(self) -> None:
        self.flow, self.trace = self.units, self.rows
        what, flags = self.trace["what"], self.trace["flags"]
        self.is_packet: Array = what & (WHAT_DUPLICATE | WHAT_ICMP | WHAT_REFERENCE) == 0
        self.is_reset: Array = self.is_packet & (flags & RST != 0)
        self.is_plain: Array = self.is_packet & (flags & RST == 0)
        self.is_icmp: Array = what & (WHAT_DUPLICATE | WHAT_ICMP) == WHAT_ICMP
        self.from_server: Array = self.trace["from_server"] == 1

    def __iter__(self) -> Iterator[Candidate]:
        for index in range(self.n):
            yield Candidate(self, index)


class Candidate:
    """One candidate flow, for those who experiment: ``flow`` and ``context`` are rows, ``trace`` is an array of
    rows."""

    __slots__ = ("context", "flow", "index", "name", "trace")

    def __init__(self, columns: Candidates, index: int) -> None:
        self.index = index
        self.flow = columns.flow[index]
        self.trace = columns.trace[columns.offsets[index] : columns.offsets[index + 1]]
        self.context = columns.context[index]
        self.name = columns.name(index)


class Transactions(Columns):
    """
    Candidate DNS transactions.

    transaction: rows of ``tscope_transaction``, shape (n,); message: rows of ``tscope_message``, all transactions' one
    after another, with ``offsets`` and ``owner`` as in `Candidates`; context: rows of ``tscope_transaction_context``.
    Bool columns over the messages: is_answer, is_query (copies of other frames are neither).
    """

    unit = "transaction"

    def __init__(self, transaction: Array, message: Array, context: Array, text: bytes) -> None:
        super().__init__(
            transaction, message, transaction["message_offset"], transaction["message_count"], context, text
        )
        self._ready()

    def _ready(self) -> None:
        self.transaction, self.message = self.units, self.rows
        own = self.message["what"] & MSG_DUPLICATE == 0
        self.is_answer: Array = own & (self.message["is_answer"] == 1)
        self.is_query: Array = own & (self.message["is_answer"] == 0)


class Fingerprinter:
    """
    Base of all fingerprinters: give `mechanism`, `unit`, `marks`, and one or both hooks.

    mechanism: one of the ten ids.  unit: "flow" or "transaction".  marks: a candidate has at least one of these.
    weights: what observations of its own weigh, where ``data/weights.toml`` does not say: dicts with the keys of its
    ``[[observation]]`` entries (id, weight, group, text, reason; proof, class ...).
    """

    mechanism = ""
    unit = "flow"
    marks = 0
    weights: tuple[dict[str, Any], ...] = ()

    def pick(self, columns: Any) -> Array:
        """Which of the marked candidates to look at: bool, shape (n,).  Gets `Candidates` or `Transactions`."""
        chosen: Array = columns.units["marks"] & np.uint32(self.marks) != 0
        return chosen

    def stage(self, columns: Any) -> Array:
        """enum tscope_stage at which the interference would have acted, for the prior: uint8, shape (n,)."""
        if self.unit == "transaction":
            return np.full(len(columns), STAGE_DNS, np.uint8)
        stages: Array = columns.units["stage"]
        return stages

    def examine(self, candidates: Any) -> list[Observation]:
        """Observations of the candidates by themselves: their own packets."""
        return []

    def compare(self, candidates: Any, context: Array) -> list[Observation]:
        """Observations that need what the rest of the capture shows: `context` is parallel to the candidates."""
        return []


def unlike(columns: Ragged, values: Array, subject: Array, reference: Array, key: Array | None = None) -> Array:
    """
    Rows of `subject` whose value none of their owner's rows in `reference` has: bool, shape (rows,).

    key: further column that must be equal (the sender); values and key below 2**16.  Rows whose owner has no row of
    that key in `reference` are never unlike: without a baseline there is no difference.
    """
    side = key.astype(np.int64) if key is not None else np.zeros(len(values), np.int64)
    whose = columns.owner * 65536 + side
    code = whose * 65536 + values.astype(np.int64)
    known = np.isin(whose, whose[reference])
    return subject & known & ~np.isin(code, code[reference])
