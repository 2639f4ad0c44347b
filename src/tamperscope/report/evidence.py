"""
The flows of interest as a pcapng file: every packet of theirs, and a comment on each that tells something.

    evidence = Evidence(file)
    for finding in scan(path):
        evidence.note(finding)
    evidence.write(path, "evening.pcap")

The bytes are those of the capture, in its order, with its interfaces, link types and clock resolutions (finer ones than
a nanosecond, and binary ones, become nanoseconds).  A comment gives the frame's number in the capture, what it is, and
the facts that it shows; Wireshark finds them by the filter ``frame.comment``.
"""

from __future__ import annotations

from tamperscope import pcapng
from tamperscope.capture import open_capture
from tamperscope.model import name_text
from tamperscope.report.lines import confidence, end, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from tamperscope.capture import Batch, Capture
    from tamperscope.model import Finding

    class Writable(Protocol):
        def write(self, data: bytes, /) -> Any: ...


MOST_COMMENTS = 200_000  # frames with a comment; the packets of further findings are written without


class Evidence:
    """
    Collects findings of one capture after another, and writes their flows.

    file: takes bytes; it is not closed.  flows, frames, comments: how many were written so far; left_out: frames that
    would have a comment, but for the bound on memory.
    """

    def __init__(self, file: Writable) -> None:
        self._file = file
        self._flows: set[int] = set()
        self._comments: dict[int, list[str]] = {}
        self.flows = self.frames = self.comments = self.left_out = 0

    def note(self, finding: Finding) -> None:
        """Take up a finding of the capture that will be written next."""
        self._flows.add(finding.flow)
        said: dict[int, list[str]] = {}
        if finding.trigger_frame is not None:
            said[finding.trigger_frame] = ["trigger"]
        for frame in finding.genuine_frames:
            said[frame] = ["genuine"]
        word = "suspect" if finding.verdict == "insufficient" else "forged"
        for frame in finding.injected_frames:
            said[frame] = [word]
        for sign, facts in (("+", finding.evidence), ("-", finding.against)):
            for fact in facts:
                text = f"{sign} {fact.text} ({fact.id})"
                for frame in fact.frames:
                    said.setdefault(frame, ["context"]).append(text)
        about = _about(finding)
        for frame, (role, *facts_of_frame) in said.items():
            if len(self._comments) >= MOST_COMMENTS and frame not in self._comments:
                self.left_out += 1
                continue
            self._comments.setdefault(frame, []).append("\n".join((f"{role}: {about}", *facts_of_frame)))

    def write(self, source: Any, name: str, *, limit: int | None = None, max_flows: int = 1 << 20) -> None:
        """
        Write the flows of the findings that were noted since the last call, as a section of their own.

        Args:
            source, limit, max_flows: as they were scanned, so that flows have the same numbers.
            name: of the capture, for the comments.
        Raises:
            OSError where the file takes no more; CaptureError, OSError where the capture cannot be read again.
        """
        from tamperscope import __version__

        shown = name_text(name.encode("utf-8", "surrogateescape"))[0] or ""
        self._file.write(pcapng.section(f"tamperscope {__version__}", f"flows with findings, from {shown}"))
        interfaces: list[int] = []
        with open_capture(source, keep_flows=False, frames=True, limit=limit, max_flows=max_flows) as capture:
            for batch in capture:
                self._interfaces(capture, interfaces)
                if self._flows:
                    self._batch(batch, interfaces, shown)
            self._interfaces(capture, interfaces)  # of a capture without frames
        self.flows += len(self._flows)
        self._flows.clear()
        self._comments.clear()

    def _interfaces(self, capture: Capture, digits: list[int]) -> None:
        """Describe those that the capture has described since; digits of their clocks go to the list."""
        for link_type, snap_length, ticks in capture.interfaces[len(digits) :]:
            text = str(ticks)
            is_power_of_ten = text.strip("0") == "1" and len(text) <= 10
            digits.append(len(text) - 1 if is_power_of_ten else 9)
            self._file.write(pcapng.interface(link_type, snap_length, digits[-1]))

    def _batch(self, batch: Batch, digits: list[int], capture: str) -> None:
        import numpy as np

        wanted = np.fromiter(self._flows, np.uint64, len(self._flows))
        chosen = np.isin(batch.packets.flow, wanted)
        first, last = int(batch.packets.frame[0]), int(batch.packets.frame[-1])
        own = [frame - first for frame in self._comments if first <= frame <= last]
        chosen[own] = True  # fragments, which belong to no flow
        for index in np.flatnonzero(chosen).tolist():
            frame = batch.frame(index)
            said = self._comments.get(frame.number)
            comment = "\n".join((f"frame {frame.number} of {capture}", *said)) if said else None
            ticks = (frame.time_ns or 0) // 10 ** (9 - digits[frame.interface])
            self._file.write(pcapng.packet(frame.interface, ticks, frame.data, frame.wire_length, comment))
            self.frames += 1
            self.comments += comment is not None


def _about(finding: Finding) -> str:
    sure = f" {confidence(finding.confidence)}" if finding.confidence is not None else ""
    where = f"flow {finding.flow}" if finding.transaction is None else f"question {finding.transaction}"
    ends = f"{end(finding.client, finding.client_port)} -> {end(finding.server, finding.server_port)}"
    name = f" {name_text(finding.name)[0]}" if finding.name is not None else ""
    return f"{finding.mechanism} {words(finding.verdict)}{sure}, {where} {ends}{name}, finding {finding.id}"
