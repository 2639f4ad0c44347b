"""A scan made of given records, for tests of what stands above it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from tamperscope.model import Finding, FlowRecord, Notice, Summary


class FakeScan:
    """The contract of ``tamperscope.scan.Scan``: an iterator of records, with notices and a summary after them."""

    def __init__(self, capture: str, records: Any = (), notices: Any = (), **counts: Any) -> None:
        self.notices: list[Notice] = list(notices)
        values: dict[str, Any] = {
            "version": "0.1",
            "rules": "0badcafe",
            "format": "pcap",
            "frames": 10,
            "packets": 9,
            "bytes": 1000,
            "flows": 3,
            "candidates": 1,
            "first_ns": 1705759331000000000,
            "last_ns": 1705759391000000000,
        }
        values.update(counts)
        self.summary = Summary(capture, **values)
        self.closed = False
        self.late: list[Finding | FlowRecord] = []
        self._records = iter(records)

    def __iter__(self) -> Iterator[Finding | FlowRecord]:
        return self

    def __next__(self) -> Finding | FlowRecord:
        record: Finding | FlowRecord = next(self._records)
        if isinstance(record, Finding):
            verdicts = self.summary.findings.setdefault(record.mechanism, {})
            verdicts[record.verdict] = verdicts.get(record.verdict, 0) + 1
        return record

    def rest(self) -> Iterator[Finding | FlowRecord]:
        """What an interrupted scan can still say of what was read."""
        self._records = iter(self.late)
        return self

    def close(self) -> None:
        self.closed = True


def install(scan: Callable[..., FakeScan]) -> None:
    """Put ``scan`` in the place of tamperscope.scan.scan, for a process of its own."""
    module = types.ModuleType("tamperscope.scan")
    module.scan = scan  # type: ignore[attr-defined]
    sys.modules["tamperscope.scan"] = module
