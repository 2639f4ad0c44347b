"""What the stages hand on: findings, flow records, notices, the summary.

Plain classes with slots: attributes are the keys of the JSON objects (``schema/*.json``), in their order.  Dataclasses
would cost a plain scan more time to import than a small capture takes to judge.  Unknown is None, never 0.
Names are the bytes that came from packets; ``to_dict`` turns them into printable ASCII.
"""

# Slots stand in the order of the JSON keys.
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1
MAX_NAME = 255

_NS = 1_000_000_000
_DAY = 86_400
_EPOCH = 719_468  # days from 0000-03-01 to 1970-01-01: years that start in March have their leap day last


def iso_time(time_ns: int | None) -> str | None:
    """UTC time with nine digits and Z; None stays None.  Integer arithmetic, since a float loses nanoseconds."""
    if time_ns is None:
        return None
    seconds, nanoseconds = divmod(time_ns, _NS)
    days, second = divmod(seconds, _DAY)
    era, day = divmod(days + _EPOCH, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    hour, second = divmod(second, 3600)
    minute, second = divmod(second, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{nanoseconds:09d}Z"


def name_text(name: bytes | None) -> tuple[str | None, bool]:
    """
    A name from a packet as printable ASCII, and whether that lost anything.

    Other bytes become ``\\u{N}`` where they are UTF-8 and ``\\xNN`` where they are not; beyond 255 characters it is
    cut, ending in ``...(+N)`` with the number of characters left out.
    """
    if name is None:
        return None, False
    if len(name) <= MAX_NAME and name.isascii():
        text = name.decode("ascii")
        if text.isprintable():
            return text, False
    text = "".join(_plain(char) for char in name.decode("utf-8", "surrogateescape"))
    if len(text) > MAX_NAME:
        text = f"{text[:MAX_NAME]}...(+{len(text) - MAX_NAME})"
    return text, True


def _plain(char: str) -> str:
    code = ord(char)
    if 0x20 <= code < 0x7F:
        return char
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{{{code:x}}}"


class Evidence:
    """One fact: ``id`` and ``group`` are words, ``weight`` is log10 of the likelihood ratio, ``frames`` at most 32."""

    __slots__ = ("id", "group", "weight", "frames", "text")

    def __init__(self, id: str, group: str, weight: float, frames: list[int], text: str) -> None:
        self.id = id
        self.group = group
        self.weight = weight
        self.frames = frames
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema."""
        return {"id": self.id, "group": self.group, "weight": self.weight, "frames": self.frames, "text": self.text}

    def __repr__(self) -> str:
        return f"Evidence({self.id!r}, {self.weight:+.1f}, frames={self.frames})"


class Finding:
    """
    A judgement on one flow or DNS transaction.

    ``name`` is bytes or None; ``time_ns`` int64 nanoseconds since 1970 UTC, ``time`` the same as text; ``rtt_ms`` in
    milliseconds; ``confidence`` is None where the verdict is ``insufficient``.  ``throttle`` and ``injector`` are dicts
    in the form of the schema, or None.
    """

    __slots__ = (
        "id", "capture", "flow", "transaction", "mechanism", "verdict", "confidence", "proof", "time_ns", "proto",
        "client", "client_port", "server", "server_port", "community_id", "name", "name_from", "name_is_outer",
        "trigger_frame", "injected_frames", "injected_total", "genuine_frames", "elsewhere", "rtt_ms", "vantage",
        "sequence", "throttle", "injector", "also", "evidence", "against", "missing", "limits",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        capture: str,
        flow: int,
        mechanism: str,
        verdict: str,
        confidence: float | None,
        proof: str | None,
        time_ns: int | None,
        proto: str,
        client: str,
        client_port: int | None,
        server: str,
        server_port: int | None,
        transaction: int | None = None,
        community_id: str | None = None,
        name: bytes | None = None,
        name_from: str | None = None,
        name_is_outer: bool | None = None,
        trigger_frame: int | None = None,
        injected_frames: list[int] | None = None,
        injected_total: int | None = None,
        genuine_frames: list[int] | None = None,
        elsewhere: list[dict[str, Any]] | None = None,
        rtt_ms: float | None = None,
        vantage: str = "unknown",
        sequence: str | None = None,
        throttle: dict[str, Any] | None = None,
        injector: dict[str, Any] | None = None,
        also: list[str] | None = None,
        evidence: list[Evidence] | None = None,
        against: list[Evidence] | None = None,
        missing: list[str] | None = None,
        limits: list[str] | None = None,
    ) -> None:
        self.id = id
        self.capture = capture
        self.flow = flow
        self.transaction = transaction
        self.mechanism = mechanism
        self.verdict = verdict
        self.confidence = confidence
        self.proof = proof
        self.time_ns = time_ns
        self.proto = proto
        self.client = client
        self.client_port = client_port
        self.server = server
        self.server_port = server_port
        self.community_id = community_id
        self.name = name
        self.name_from = name_from
        self.name_is_outer = name_is_outer
        self.trigger_frame = trigger_frame
        self.injected_frames = injected_frames or []
        self.injected_total = len(self.injected_frames) if injected_total is None else injected_total
        self.genuine_frames = genuine_frames or []
        self.elsewhere = elsewhere or []
        self.rtt_ms = rtt_ms
        self.vantage = vantage
        self.sequence = sequence
        self.throttle = throttle
        self.injector = injector
        self.also = also or []
        self.evidence = evidence or []
        self.against = against or []
        self.missing = missing or []
        self.limits = limits or []

    @property
    def time(self) -> str | None:
        """``time_ns`` as UTC text."""
        return iso_time(self.time_ns)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema; ``name`` as printable ASCII."""
        record: dict[str, Any] = {"type": "finding", "schema": SCHEMA}
        for key in self.__slots__:
            if key == "time_ns":
                record["time"] = self.time
            record[key] = getattr(self, key)
            if key == "name":
                _put_name(record, self.name)
        record["evidence"] = [fact.to_dict() for fact in self.evidence]
        record["against"] = [fact.to_dict() for fact in self.against]
        return record

    def __repr__(self) -> str:
        return f"Finding({self.mechanism!r}, {self.verdict!r}, flow={self.flow}, name={self.name!r})"


class FlowRecord:
    """
    One flow, final.

    ``name`` is bytes or None; times are int64 nanoseconds since 1970 UTC; ``bytes_*`` count payload above TCP or UDP;
    ``rtt_ms`` in milliseconds.  Enumerations are those of ``schema/flow.json``.
    """

    __slots__ = (
        "capture", "flow", "time_ns", "end_ns", "first_frame", "last_frame", "proto", "client", "client_port", "server",
        "server_port", "client_by", "community_id", "vlan", "tunnel", "packets_to_server", "packets_to_client",
        "bytes_to_server", "bytes_to_client", "conn_state", "history", "name", "name_from", "name_is_outer", "outcome",
        "stage", "sequence", "rtt_ms", "vantage", "final_by", "marks", "anomalies",
    )  # fmt: skip

    def __init__(
        self,
        capture: str,
        flow: int,
        time_ns: int | None,
        end_ns: int | None,
        first_frame: int,
        last_frame: int,
        proto: str,
        client: str,
        client_port: int | None,
        server: str,
        server_port: int | None,
        client_by: str,
        community_id: str | None = None,
        vlan: int | None = None,
        tunnel: str | None = None,
        packets_to_server: int = 0,
        packets_to_client: int = 0,
        bytes_to_server: int = 0,
        bytes_to_client: int = 0,
        conn_state: str | None = None,
        history: str | None = None,
        name: bytes | None = None,
        name_from: str | None = None,
        name_is_outer: bool | None = None,
        outcome: str = "unknown",
        stage: str | None = None,
        sequence: str | None = None,
        rtt_ms: float | None = None,
        vantage: str = "unknown",
        final_by: str = "cut_by_end",
        marks: tuple[str, ...] = (),
        anomalies: tuple[str, ...] = (),
    ) -> None:
        self.capture = capture
        self.flow = flow
        self.time_ns = time_ns
        self.end_ns = end_ns
        self.first_frame = first_frame
        self.last_frame = last_frame
        self.proto = proto
        self.client = client
        self.client_port = client_port
        self.server = server
        self.server_port = server_port
        self.client_by = client_by
        self.community_id = community_id
        self.vlan = vlan
        self.tunnel = tunnel
        self.packets_to_server = packets_to_server
        self.packets_to_client = packets_to_client
        self.bytes_to_server = bytes_to_server
        self.bytes_to_client = bytes_to_client
        self.conn_state = conn_state
        self.history = history
        self.name = name
        self.name_from = name_from
        self.name_is_outer = name_is_outer
        self.outcome = outcome
        self.stage = stage
        self.sequence = sequence
        self.rtt_ms = rtt_ms
        self.vantage = vantage
        self.final_by = final_by
        self.marks = marks
        self.anomalies = anomalies

    @property
    def time(self) -> str | None:
        """``time_ns`` as UTC text."""
        return iso_time(self.time_ns)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema; ``name`` as printable ASCII."""
        record: dict[str, Any] = {"type": "flow", "schema": SCHEMA}
        for key in self.__slots__:
            if key == "time_ns":
                record["time"] = self.time
            record[key] = getattr(self, key)
            if key == "name":
                _put_name(record, self.name)
        record["marks"] = list(self.marks)
        record["anomalies"] = list(self.anomalies)
        return record

    def __repr__(self) -> str:
        ends = f"{self.proto} {self.client} {self.server}"
        return f"FlowRecord({self.flow}, {ends}, {self.outcome!r}, name={self.name!r})"


class Notice:
    """
    Something that a reader of the results must know about an input.

    ``level``: ``error`` (read only in part or not at all), ``warning``, ``info``.  ``text`` is a sentence without the
    file's name; ``offset``, ``frame``, ``need``, ``have`` as in ``CaptureError``.
    """

    __slots__ = ("capture", "level", "code", "offset", "frame", "need", "have", "text")

    def __init__(
        self,
        level: str,
        code: str,
        text: str,
        *,
        capture: str | None = None,
        offset: int | None = None,
        frame: int | None = None,
        need: int | None = None,
        have: int | None = None,
    ) -> None:
        self.capture = capture
        self.level = level
        self.code = code
        self.offset = offset
        self.frame = frame
        self.need = need
        self.have = have
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema."""
        record: dict[str, Any] = {"type": "notice", "schema": SCHEMA}
        record.update((key, getattr(self, key)) for key in self.__slots__)
        return record

    def __repr__(self) -> str:
        return f"Notice({self.level!r}, {self.code!r}, {self.text!r})"


class Summary:
    """
    What was looked at, what was found, what could not be judged, for one capture.

    ``findings``: {mechanism: {verdict: number}}; ``not_judged``: {reason: flows}; ``anomalies``: {name: packets};
    ``limits``: codes; ``bytes``: as captured.
    """

    __slots__ = (
        "capture", "sha256", "format", "frames", "packets", "bytes", "first_ns", "last_ns", "flows", "transactions",
        "candidates", "findings", "not_judged", "anomalies", "evicted", "limits", "version", "rules",
    )  # fmt: skip

    def __init__(
        self,
        capture: str,
        *,
        version: str,
        rules: str,
        sha256: str | None = None,
        format: str | None = None,
        frames: int = 0,
        packets: int = 0,
        bytes: int = 0,
        first_ns: int | None = None,
        last_ns: int | None = None,
        flows: int = 0,
        transactions: int = 0,
        candidates: int = 0,
        findings: dict[str, dict[str, int]] | None = None,
        not_judged: dict[str, int] | None = None,
        anomalies: dict[str, int] | None = None,
        evicted: int = 0,
        limits: list[str] | None = None,
    ) -> None:
        self.capture = capture
        self.sha256 = sha256
        self.format = format
        self.frames = frames
        self.packets = packets
        self.bytes = bytes
        self.first_ns = first_ns
        self.last_ns = last_ns
        self.flows = flows
        self.transactions = transactions
        self.candidates = candidates
        self.findings = findings if findings is not None else {}
        self.not_judged = not_judged if not_judged is not None else {}
        self.anomalies = anomalies if anomalies is not None else {}
        self.evicted = evicted
        self.limits = limits if limits is not None else []
        self.version = version
        self.rules = rules

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema."""
        record: dict[str, Any] = {"type": "summary", "schema": SCHEMA}
        record.update((key, getattr(self, key)) for key in self.__slots__)
        return record

    def __repr__(self) -> str:
        return f"Summary({self.capture!r}, frames={self.frames}, flows={self.flows}, findings={self.findings})"


def _put_name(record: dict[str, Any], name: bytes | None) -> None:
    """Set the name, and ``lossy`` only where something was lost: the key says so by being there."""
    record["name"], lossy = name_text(name)
    if lossy:
        record["lossy"] = True
