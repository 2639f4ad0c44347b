"""
Flows that show what a finding rests on: their packets, read from the capture once more, in one pass for all of them.

    chosen = Examples()
    for finding in scan(path):
        chosen.note(finding)
    chosen.read(path)
    chosen.all      # list of Example

Of each mechanism the strongest finding of a capture, so that networks stand side by side.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tamperscope.explain import Step
    from tamperscope.model import Finding

MOST = 8  # examples of all captures
KEPT = 200  # packets of one: the first ones, and telling ones after them
HEAD, AROUND = 6, 1  # packets shown: of the beginning, and around each that tells something
ROWS = 28
RANK = {"confirmed": 2, "likely": 1}
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


class Example:
    """
    One finding with the packets of its flow.

    ``steps``: as in `tamperscope.explain`, without DNS notes; ``facts``: {frame: sentences}; ``left_out``: packets of
    the flow that are not among the steps.
    """

    __slots__ = ("finding", "steps", "facts", "left_out")

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.steps: list[Step] = []
        self.facts: dict[int, list[str]] = {}
        self.left_out = 0
        for fact in (*finding.evidence, *finding.against):
            for frame in fact.frames:
                self.facts.setdefault(frame, []).append(fact.text)


class Examples:
    """Chooses among the findings of one capture after another."""

    def __init__(self) -> None:
        self.all: list[Example] = []
        self._best: dict[str, Finding] = {}

    def note(self, finding: Finding) -> None:
        best = self._best.get(finding.mechanism)
        if best is None or _strength(finding) > _strength(best):
            self._best[finding.mechanism] = finding

    def read(self, source: Any, *, limit: int | None = None, max_flows: int = 1 << 20) -> None:
        """
        Read the packets of those chosen in this capture; arguments as it was scanned, so that numbers are the same.

        Raises OSError, CaptureError where the capture cannot be read again.
        """
        chosen = sorted(self._best.values(), key=_strength, reverse=True)[: max(0, MOST - len(self.all))]
        self._best.clear()
        found = [Example(finding) for finding in chosen]
        if found:
            _read(source, found, limit, max_flows)
            self.all += [one for one in found if one.steps]


def _strength(finding: Finding) -> tuple[int, int, float]:
    return RANK.get(finding.verdict, 0), bool(finding.injected_frames or finding.genuine_frames), (
        finding.confidence or 0.0
    )  # fmt: skip


def _read(source: Any, found: list[Example], limit: int | None, max_flows: int) -> None:
    import numpy as np

    from tamperscope.capture import open_capture

    wanted = np.array(sorted({one.finding.flow for one in found}), np.uint64)
    rows: dict[int, list[Any]] = {int(flow): [] for flow in wanted}
    count = dict.fromkeys(rows, 0)
    telling = {frame for one in found for frame in _roles(one.finding).keys() | one.facts.keys()}
    with open_capture(source, keep_flows=False, limit=limit, max_flows=max_flows) as capture:
        for batch in capture:
            array = batch.packets.array
            for row in array[np.isin(array["flow"], wanted)]:
                flow = int(row["flow"])
                count[flow] += 1
                if len(rows[flow]) < KEPT or (int(row["frame"]) in telling and len(rows[flow]) < 2 * KEPT):
                    rows[flow].append(row.copy())
    for one in found:
        kept = rows[one.finding.flow]
        if one.finding.transaction is not None:  # of many questions over one flow, this one
            own = _roles(one.finding).keys() | one.facts.keys()
            kept = [row for row in kept if int(row["frame"]) in own] or kept
        one.steps = _steps(one.finding, kept)
        one.left_out = count[one.finding.flow] - len(one.steps)


def _steps(finding: Finding, rows: list[Any]) -> list[Step]:
    from tamperscope.explain import Step

    ways = [_to_server(finding, row) for row in rows]
    first = _first(rows, ways)
    roles = _roles(finding)
    steps = [Step(row, way, first) for row, way in zip(rows, ways, strict=True)]
    for step in steps:
        step.role = roles.get(step.frame, "")
    return steps


def _to_server(finding: Finding, row: Any) -> bool | None:
    from tamperscope.flows import address

    ends = address(row["source"].tobytes()), int(row["source_port"])
    if ends == (finding.client, finding.client_port or 0):
        return True
    return False if ends == (finding.server, finding.server_port or 0) else None


def _first(rows: list[Any], ways: list[bool | None]) -> tuple[int, int]:
    """What sequence numbers are relative to: the first of each end, else the first that the other acknowledged."""
    first: dict[bool, int] = {}
    for row, way in zip(rows, ways, strict=True):
        if way is None or int(row["protocol"]) != 6:
            continue
        if not int(row["flags"]) & RST:
            first.setdefault(way, int(row["seq"]))
        if int(row["flags"]) & ACK:
            first.setdefault(not way, int(row["ack"]))
    return first.get(True, 0), first.get(False, 0)


def _roles(finding: Finding) -> dict[int, str]:
    """What each frame is; what is said of fewer frames wins."""
    roles = dict.fromkeys(finding.genuine_frames, "genuine")
    if finding.trigger_frame is not None:
        roles[finding.trigger_frame] = "trigger"
    roles.update(dict.fromkeys(finding.injected_frames, "suspect" if finding.verdict == "insufficient" else "forged"))
    return roles


def shown(one: Example) -> list[Step]:
    """The packets worth a line: those of the beginning, telling ones and their neighbours."""
    chosen = set(range(min(HEAD, len(one.steps))))
    for at, step in enumerate(one.steps):
        if step.role or step.frame in one.facts or (step.protocol == "tcp" and step.flags & (FIN | SYN | RST)):
            chosen.update(range(max(0, at - AROUND), min(len(one.steps), at + AROUND + 1)))
    return [one.steps[at] for at in sorted(chosen)[:ROWS]]
