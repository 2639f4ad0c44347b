"""The answer for people: a sentence for each assessment, what speaks for and against it, and a strip over time."""

from __future__ import annotations

from tamperscope.report.escape import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tamperscope.answer import Answer, Assessment, Cells

SHOWN = 4  # facts for, and as many against
ROWS = 12  # strips
UNSEEN = " "


def lines(answer: Answer, width: int = 80, ascii_only: bool = False) -> Iterator[str]:
    """Lines without breaks at their ends, at most `width` columns where words allow."""
    for i, one in enumerate(answer.assessments):
        if i:
            yield ""
        yield from _assessment(one, width)
        yield from _strips(answer, one, width, ascii_only)


def _assessment(one: Assessment, width: int) -> Iterator[str]:
    yield from _wrap(_plain(one.statement), width, "")
    texts = {feature.id: _plain(feature.text) for feature in one.features}
    for sign, ids in (("+", one.for_), ("-", one.against)):
        for ident in ids[:SHOWN]:
            yield from _wrap(f"{sign} {texts[ident]}", width, "  ", "    ")
    if one.changes:
        yield from _wrap(f"Would change it: {'; '.join(one.changes[:3])}.", width, "  ", "    ")


def _strips(answer: Answer, one: Assessment, width: int, ascii_only: bool) -> Iterator[str]:
    """A row for each target and network: how many votes failed over time; blank where none was cast."""
    if one.targets == ["*"]:
        return
    spans = [(event.onset, event.end) for event in answer.events if event.id in one.events]
    networks = {network.name: network for network in answer.networks}
    times = [(networks[name].first_ns, networks[name].last_ns) for name in one.networks]
    low = min((first for first, _ in times if first is not None), default=None)
    high = max((last for _, last in times if last is not None), default=None)
    if low is None or high is None or not spans:
        return
    around = [at for onset, end in spans for at in (onset.at if onset else None, end.at if end else None) if at]
    if around:  # of many days, the one of the event
        low, high = max(low, min(around) - 4 * 3600 * 10**9), min(high, max(around) + 4 * 3600 * 10**9)
    rows = [c for c in answer.cells if c.point == "attempt" and c.network in one.networks and c.target in one.targets]
    head = max((len(f"{row.target}  {row.network}") for row in rows[:ROWS]), default=0)
    columns = max(12, min(60, width - head - 6))
    for row in rows[:ROWS]:
        label = _plain(f"{row.target}  {row.network}")
        yield f"  {label:<{head}}  {_strip(row, low, high, columns, ascii_only)}".rstrip()
    if len(rows) > ROWS:
        yield f"  and {len(rows) - ROWS} more"


def _strip(row: Cells, low: int, high: int, columns: int, ascii_only: bool) -> str:
    levels = ".-=#" if ascii_only else "\u00b7\u2582\u2585\u2588"
    votes, failed = [0] * columns, [0] * columns
    step = max(1, (high - low) // columns + 1)
    for minute, n, k in zip(row.minute, row.votes, row.failed, strict=True):
        at = (minute * 60 * 10**9 - low) // step
        if 0 <= at < columns:
            votes[at] += n
            failed[at] += k
    return "".join(
        UNSEEN if not n else levels[0] if not k else levels[1 + (3 * k > n) + (3 * k > 2 * n)]
        for n, k in zip(votes, failed, strict=True)
    )


def _plain(text: str) -> str:
    return visible(text, limit=2048)


def _wrap(text: str, width: int, first: str, rest: str | None = None) -> Iterator[str]:
    rest = first if rest is None else rest
    line = first
    fresh = True
    for word in text.split():
        if not fresh and len(line) + 1 + len(word) > width:
            yield line
            line, fresh = rest, True
        line += word if fresh else " " + word
        fresh = False
    yield line
