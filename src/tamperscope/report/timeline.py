"""
Plots for the HTML report, as inline SVG: strips over time, and a flow as a ladder of packets.

Widths are percentages and heights pixels, without a viewBox, so that letters keep their size on a telephone.  Nothing
is said by colour alone: a failed share is a height, what was not seen is hatched, a forged packet is dashed and named.
"""

from __future__ import annotations

from html import escape

from tamperscope.report.escape import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tamperscope.answer import Cells, Event, Moment
    from tamperscope.explain import Step
    from tamperscope.report.examples import Example
    from tamperscope.report.zone import Zone

MINUTE = 60 * 10**9
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 40320)  # minutes
BINS, TICKS = 120, 7
LABEL, STRIP, ROW = 17, 24, 56  # pixels: of the label, of the strip, of a row
FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG"))
CLIENT, MIDDLE, SERVER = 18, 57, 96  # per cent

# Patterns and arrow heads, once in a document.
SHARED = (
    '<svg width="0" height="0" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 0V6"/></pattern>'
    + "".join(
        f'<marker id="{css}" class="{css}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="10" markerHeight="10" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
        for css in ("tip", "forgedtip")
    )
    + "</defs></svg>"
)


def text(value: str | bytes | None, limit: int = 2048) -> str:
    """Text of anybody, safe inside HTML, in an attribute too."""
    return escape(visible(value, limit=limit), quote=True)


class Bin:
    """A stretch of a strip: minutes since 1970, votes and failures in it, attempts that were reached late."""

    __slots__ = ("start", "stop", "votes", "failed", "reached", "degraded")

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.votes = self.failed = self.reached = self.degraded = 0

    @property
    def is_seen(self) -> bool:
        return self.votes > 0 or self.reached > 0

    def kind(self) -> str:
        return "unseen" if not self.is_seen else "failed" if self.failed or self.degraded else "ok"


class Scale:
    """
    Minutes to places.

    low, high: nanoseconds since 1970.
    """

    def __init__(self, low: int, high: int) -> None:
        span = max(1, -(-(high - low) // MINUTE))
        self.step = next((step for step in STEPS if span <= step * BINS), STEPS[-1] * -(-span // (STEPS[-1] * BINS)))
        self.low = low // MINUTE // self.step * self.step
        self.high = max(self.low + self.step, -(-high // MINUTE // self.step) * self.step)

    def at(self, minute: float) -> float:
        """Per cent from the left, inside of the plot."""
        return min(100.0, max(0.0, 100 * (minute - self.low) / (self.high - self.low)))

    def ticks(self, offset: int) -> list[int]:
        """Minutes of round local times; `offset` of the zone in minutes."""
        span = self.high - self.low
        step = next((step for step in STEPS if span <= step * TICKS), span)
        first = -(-(self.low + offset) // step) * step - offset
        return list(range(first, self.high, step))


def bins(cells: Cells | None, scale: Scale) -> list[Bin]:
    """The series in stretches; neighbours that are both unseen, or both without a failure, are one."""
    count = (scale.high - scale.low) // scale.step
    parts = [Bin(scale.low + i * scale.step, scale.low + (i + 1) * scale.step) for i in range(count)]
    if cells is not None:
        columns = cells.minute, cells.votes, cells.failed, cells.reached, cells.degraded
        for minute, votes, failed, reached, degraded in zip(*columns, strict=True):
            if scale.low <= minute < scale.high:
                part = parts[(minute - scale.low) // scale.step]
                part.votes += votes
                part.failed += failed
                part.reached += reached
                part.degraded += degraded
    merged: list[Bin] = []
    for part in parts:
        kind = part.kind()
        if merged and kind != "failed" and merged[-1].kind() == kind:
            merged[-1].stop = part.stop
            merged[-1].votes += part.votes
            merged[-1].reached += part.reached
        else:
            merged.append(part)
    return merged


class Row:
    """A line of the plot: what stands above it, its series, and the events that are drawn under it."""

    __slots__ = ("label", "cells", "events")

    def __init__(self, label: str, cells: Cells | None, events: Sequence[Event]) -> None:
        self.label = label
        self.cells = cells
        self.events = events


def strips(rows: Sequence[Row], low: int, high: int, zone: Zone, title: str) -> str:
    """An SVG of all rows over one axis."""
    scale = Scale(low, high)
    height = len(rows) * ROW + 40
    out = [
        f'<svg class="plot" width="100%" height="{height}" role="group" tabindex="0" aria-label="{text(title)}">',
    ]
    bottom = len(rows) * ROW
    for number, tick in enumerate(scale.ticks(zone.offset(low))):
        x = scale.at(tick)
        out.append(f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="{bottom + 4}"/>')
        days = scale.high - scale.low > 2880
        out.extend(_tick(zone, tick, x, bottom, days, " odd" if number % 2 else ""))
    for i, row in enumerate(rows):
        top = i * ROW
        out.append(f'<text class="label" x="0" y="{top + 12}">{text(row.label)}</text>')
        for part in bins(row.cells, scale):
            out.extend(_bar(part, scale, zone, top + LABEL, row.label))
        for event in row.events:
            out.extend(_event(event, scale, zone, top + LABEL + STRIP + 3))
    out.append("</svg>")
    return "".join(out)


def _tick(zone: Zone, tick: int, x: float, bottom: int, days: bool, css: str) -> Iterable[str]:
    anchor = "start" if x < 6 else "end" if x > 94 else "middle"
    at = tick * MINUTE
    yield f'<text class="tick{css}" x="{x:.2f}%" y="{bottom + 18}" text-anchor="{anchor}">{zone.short(at, days)}</text>'
    if not zone.is_utc:
        word = f"{zone.utc_short(at)} UTC"
        yield f'<text class="tick second{css}" x="{x:.2f}%" y="{bottom + 33}" text-anchor="{anchor}">{word}</text>'


def _bar(part: Bin, scale: Scale, zone: Zone, top: int, label: str) -> Iterable[str]:
    x = scale.at(part.start)
    width = scale.at(part.stop) - x
    kind = part.kind()
    place = f'x="{x:.2f}%" width="{width:.2f}%"'
    told = f"<title>{text(label)}, {said(part, zone)}</title>"
    if kind == "unseen":
        yield f'<rect class="b unseen" {place} y="{top}" height="{STRIP}" fill="url(#hatch)">{told}</rect>'
        return
    yield f'<rect class="b seen" {place} y="{top}" height="{STRIP}">{told}</rect>'
    yield f'<rect class="base" {place} y="{top + STRIP - 2}" height="2"/>'
    for share, css in (
        (part.degraded / part.reached if part.reached else 0.0, "late"),
        (part.failed / part.votes if part.votes else 0.0, "fail"),
    ):
        if share > 0:
            tall = max(4, round(STRIP * min(1.0, share)))
            yield f'<rect class="{css}" {place} y="{top + STRIP - tall}" height="{tall}"/>'


def said(part: Bin, zone: Zone) -> str:
    """A stretch in words."""
    when = f"{zone.short(part.start * MINUTE)} to {zone.short(part.stop * MINUTE)}"
    if not part.is_seen:
        return f"{when}: no attempt seen"
    late = f", {part.degraded:,} of {part.reached:,} attempts reached only in part" if part.degraded else ""
    return f"{when}: {part.failed:,} of {part.votes:,} votes failed{late}"


def _event(event: Event, scale: Scale, zone: Zone, top: int) -> Iterable[str]:
    start = scale.at(event.onset.at / MINUTE) if event.onset else 0.0
    stop = scale.at(event.end.at / MINUTE) if event.end else 100.0
    began = zone.short(event.onset.at) if event.onset else "before the capture"
    ended = zone.short(event.end.at) if event.end else "after the capture"
    yield (
        f'<rect class="event" x="{start:.2f}%" width="{max(0.3, stop - start):.2f}%" y="{top + 3}" height="3">'
        f"<title>event: {began} to {ended}</title></rect>"
    )
    for moment in (event.onset, event.end):
        if moment:
            yield from _interval(moment, scale, top)


def _interval(moment: Moment, scale: Scale, top: int) -> Iterable[str]:
    low = scale.at(moment.start / MINUTE) if moment.start is not None else 0.0
    high = scale.at(moment.stop / MINUTE) if moment.stop is not None else 100.0
    at = scale.at(moment.at / MINUTE)
    yield f'<rect class="sure" x="{low:.2f}%" width="{max(0.3, high - low):.2f}%" y="{top + 1}" height="7"/>'
    yield f'<line class="at" x1="{at:.2f}%" x2="{at:.2f}%" y1="{top - STRIP - 3}" y2="{top + 9}"/>'


# ---------------------------------------------------------------- a ladder


def flags(step: Step) -> str:
    """SYN ACK, RST ...; PSH, which tells nothing, only where it is alone."""
    if step.protocol != "tcp":
        return step.protocol.upper()
    names = [name for bit, name in FLAGS if step.flags & bit and (name != "PSH" or step.flags & 0x3F == 0x08)]
    return " ".join(names) or "no flags"


def ladder(one: Example, steps: Sequence[Step], title: str) -> str:
    """An SVG: client left, server right, time downwards; what is forged starts between both."""
    height = 30 + 38 * len(steps) + 8
    out = [
        f'<svg class="ladder" width="100%" height="{height}" role="img" aria-label="{text(title)}">',
    ]
    is_forged = any(step.role in ("forged", "suspect") for step in steps)
    ends = [(CLIENT, "client", "middle"), (SERVER, "server", "end")]
    if is_forged:
        ends.insert(1, (MIDDLE, "on the path", "middle"))
    for x, word, anchor in ends:
        css = "life between" if x == MIDDLE else "life"
        place = 100 if anchor == "end" else x
        out.append(f'<text class="label" x="{place}%" y="13" text-anchor="{anchor}">{word}</text>')
        out.append(f'<line class="{css}" x1="{x}%" x2="{x}%" y1="20" y2="{height - 4}"/>')
    start = next((step.time_ns for step in steps if step.time_ns >= 0), 0)
    for i, step in enumerate(steps):
        out.extend(_arrow(step, 30 + 38 * i, start))
    out.append("</svg>")
    return "".join(out)


def _arrow(step: Step, top: int, start: int) -> Iterable[str]:
    y = top + 22
    yield f'<text class="tick" x="0" y="{y - 4}">{step.frame}</text>'
    if step.time_ns >= 0:
        yield f'<text class="tick second" x="0" y="{y + 9}">{(step.time_ns - start) / 1e9:+.4f} s</text>'
    false = step.role in ("forged", "suspect")
    source = MIDDLE if false else CLIENT if step.to_server else SERVER
    target = SERVER if step.to_server else CLIENT
    if step.to_server is None:
        source, target = MIDDLE, CLIENT
    css, tip = ("wire false", "forgedtip") if false else (f"wire {step.role}", "tip")
    yield f'<line class="{css}" x1="{source}%" x2="{target}%" y1="{y}" y2="{y}" marker-end="url(#{tip})"/>'
    if false:
        yield f'<text class="cross" x="{MIDDLE}%" y="{y + 6}" text-anchor="middle">\u2715</text>'
    size = f" {step.length} B" if step.length else ""
    role = f" {step.role.upper()}" if step.role else ""
    css = "said false" if false else "said"
    yield f'<text class="{css}" x="{CLIENT + 2}%" y="{y - 6}">{text(flags(step))}{size}, TTL {step.ttl}{role}</text>'
