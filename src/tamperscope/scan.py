"""
The pipeline: a capture's bytes to findings.

    source -> core (frames, packets, flows, candidates) -> fingerprinters (observations) -> weigh (findings)

numpy, the fingerprinters and the weights are imported when there is a candidate, and not before.
"""

from __future__ import annotations

from itertools import islice

from tamperscope import core, flows, notices
from tamperscope.errors import CaptureError
from tamperscope.flows import Votes
from tamperscope.marks import FLOW_MARKS, TRANSACTION_MARKS
from tamperscope.model import Finding, FlowRecord, Notice, Summary
from tamperscope.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from tamperscope.fingerprint import Fingerprinter


def scan(
    source: Any,
    *,
    fingerprinters: Sequence[Fingerprinter] | None = None,
    max_flows: int = 1 << 20,
    flows: bool = False,
    limit: int | None = None,
    counted: Callable[[core.Batch], None] | None = None,
) -> Scan:
    """
    Scan a capture: an iterator over findings, and over flow records where `flows` is asked for.

    Args:
        source: path, "-", bytes of a capture, or a binary file object; see `tamperscope.source.Source`.
        fingerprinters: instances; default: all that tamperscope has.
        max_flows: live flows held at once; more are evicted, unmarked and oldest first.
        flows: also give a FlowRecord for each flow, as it becomes final.
        limit: stop after so many frames.
        counted: takes batches of small rows, one of each flow and DNS question; see `tamperscope.watch`.
    Raises:
        CaptureError: nothing of it can be read (not a capture, empty, cut in its header); OSError.
        ValueError, TypeError: wrong arguments.
    """
    return Scan(source, fingerprinters=fingerprinters, max_flows=max_flows, flows=flows, limit=limit, counted=counted)


class Scan:
    """
    A scan under way.  Findings come when the capture has been seen whole: what other flows did is evidence.

    ``notices`` fills as the scan proceeds; ``summary`` is of what was read so far.  Damage on the way is a notice, not
    an exception, but for LinkTypeError at the end where no frame could be decoded.  An exception that comes out of the
    iteration (an interrupt, an error of a file object) ends it; `rest` judges what was read until then.  The input is
    closed at the end; where a scan may be left early, use ``with``.
    """

    def __init__(
        self,
        source: Any,
        *,
        fingerprinters: Sequence[Fingerprinter] | None = None,
        max_flows: int = 1 << 20,
        flows: bool = False,
        limit: int | None = None,
        counted: Callable[[core.Batch], None] | None = None,
        **tuning: Any,
    ) -> None:
        if max_flows < 1 or (limit is not None and limit < 1):
            raise ValueError("max_flows and limit must be at least 1")
        self._fingerprinters = fingerprinters
        self._flows = flows
        self._counted = counted
        self._votes = Votes()
        self._found: dict[str, dict[str, int]] = {}
        self._told = 0
        self._notices: list[Notice] = []
        self._error: CaptureError | None = None
        self._judging: core.Batch | None = None  # being judged, and how many of its findings were given
        self._given = 0
        flow_marks, transaction_marks = self._marks()
        self._core = core.Core(
            core.CANDIDATES | (core.FLOWS if flows else 0) | (core.TRIES if counted else 0),
            flow_marks=flow_marks, transaction_marks=transaction_marks, max_flows=max_flows, max_frames=limit or 0,
            **tuning,
        )  # fmt: skip
        self._code = core.OK
        self._source = Source(source)
        self.name = self._source.name
        try:
            self._start()
        except BaseException:
            self._source.close()
            raise
        self._records = self._run()

    def _marks(self) -> tuple[int, int]:
        if self._fingerprinters is None:
            return FLOW_MARKS, TRANSACTION_MARKS
        marks = {"flow": 0, "transaction": 0}
        for one in self._fingerprinters:
            marks[one.unit] |= one.marks
        return marks["flow"], marks["transaction"]

    def _start(self) -> None:
        """The first bytes say whether this is a capture at all."""
        while self._code == core.OK and not self._core.summary().n_interfaces:
            self._code = self._source.step(self._core)
        if self._code == core.END:
            self._core.end()
        notices.refuse(self._core, self.name, self._source.notices)

    # ------------------------------------------------------------ records

    def __iter__(self) -> Iterator[Finding | FlowRecord]:
        return self

    def __next__(self) -> Finding | FlowRecord:
        return next(self._records)

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> Iterator[Finding | FlowRecord]:
        while self._code in (core.OK, core.FULL):
            yield from self._flow_records()
            self._count()
            self._code = self._source.step(self._core)
        yield from self.rest()
        self._error = notices.undecoded(self._core, self.name)
        if self._error:
            raise self._error

    def rest(self) -> Iterator[Finding | FlowRecord]:
        """
        Records of what was read and not given yet, without reading on.

        After an exception has ended the iteration: the flow records that wait, and the findings.  Those of a batch that
        was being judged come once.
        """
        self._notices.extend(self._new_notices())
        self._core.end()
        if self._code in (core.OK, core.FULL):  # the input did not end, so nothing of it is cut off
            self._code = core.END
            self._notices.extend(one for one in self._new_notices() if one.code not in notices.AT_THE_END)
        self._source.close()
        yield from self._flow_records()
        self._count()
        yield from self._findings()

    def _flow_records(self) -> Iterator[FlowRecord]:
        while self._flows and (batch := self._core.take(core.FLOWS)):
            yield from flows.records(batch, self.name, self._votes)

    def _count(self) -> None:
        while self._counted and (batch := self._core.take(core.TRIES)):
            self._counted(batch)

    def _findings(self) -> Iterator[Finding]:
        self._judging = self._judging or self._core.take(core.CANDIDATES)
        if not self._judging:
            return
        from tamperscope.judge import Judge

        judge = Judge(self._fingerprinters, self.name, flows.vantage(self._core.summary().vantage))
        while self._judging:
            for finding in islice(judge.findings(self._judging), self._given, None):
                counts = self._found.setdefault(finding.mechanism, {})
                counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
                self._given += 1
                yield finding
            self._given = 0
            self._judging = self._core.take(core.CANDIDATES)

    # ------------------------------------------------------------ what else there is to say

    @property
    def notices(self) -> list[Notice]:
        """All so far: the input's, then the core's; without the one that was raised as an exception."""
        self._notices.extend(self._new_notices())
        raised = self._error.code if self._error else None
        return [*self._source.notices, *(one for one in self._notices if one.code != raised)]

    def _new_notices(self) -> list[Notice]:
        raw = self._core.notices(self._told)
        self._told += len(raw)
        return [notices.notice(one, self.name) for one in raw]

    @property
    def failed(self) -> int:
        """Of the flows and DNS questions that were counted, those that failed before any payload came."""
        return int(self._core.summary().failed)

    @property
    def summary(self) -> Summary:
        """Counts of what was read and found so far."""
        from tamperscope import __version__
        from tamperscope.catalogue import rules_id

        raw = self._core.summary()
        container = core.CONTAINERS[raw.container]
        known = raw.first_ns >= 0
        return Summary(
            self.name,
            version=__version__,
            rules=rules_id(),
            format=container + self._source.compression if container else None,
            frames=int(raw.frames),
            packets=int(raw.packets),
            bytes=int(raw.captured_bytes),
            first_ns=int(raw.first_ns) if known else None,
            last_ns=int(raw.last_ns) if known else None,
            flows=int(raw.flows),
            transactions=int(raw.transactions),
            candidates=int(raw.candidates),
            findings=self._found,
            not_judged={"one_direction_or_cut": int(raw.not_judged)} if raw.not_judged else {},
            anomalies=_anomalies(raw),
            evicted=int(raw.evicted_flows),
            limits=_limits(raw),
        )

    def close(self) -> None:
        """Close the input; the iteration ends.  Summary and notices stay."""
        self._records = iter(())
        self._source.close()


def _anomalies(raw: Any) -> dict[str, int]:
    counts = {name: int(raw.anomaly_count[bit.bit_length() - 1]) for bit, name in flows.words("tscope_anomaly").items()}
    return {name: count for name, count in counts.items() if count}


def _limits(raw: Any) -> list[str]:
    hit = {
        "flows_evicted": raw.evicted_flows, "transactions_evicted": raw.evicted_transactions,
        "context_evicted": raw.evicted_context, "traces_taken": raw.traces_taken, "names_dropped": raw.names_dropped,
    }  # fmt: skip
    return [name for name, count in hit.items() if count]
