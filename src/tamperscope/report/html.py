"""
The report: one HTML file for a newsroom, a regulator and an engineer, whole without network and without scripts.

    text = page(answer, examples, inputs, zone=Zone("Asia/Karachi"))

What comes from packets, file names or tables passes through `timeline.text`.  A Content-Security-Policy inside the page
admits our own style and script by their hashes and nothing else.  Client addresses are left out: the page is made to be
passed on, and the JSON records have them.  Same input, same bytes: no time of making, no path of a machine.
"""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import sha256

from tamperscope.report.examples import shown
from tamperscope.report.table import statement
from tamperscope.report.timeline import SHARED, Row, Scale, bins, flags, ladder, said, strips, text
from tamperscope.report.zone import Zone
from tamperscope.wording import CAUSES, count, listed, plain, score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tamperscope.answer import Answer, Assessment, Event, Moment, Network, Tally
    from tamperscope.model import Finding, Notice
    from tamperscope.report.examples import Example
    from tamperscope.report.manifest import File

HOUR = 3600 * 10**9
AROUND = 2 * HOUR  # shown before and after an event
FULL = 12  # assessments in full; the rest is one table
SERIES = 40  # strips in a plot
LISTED = 100  # findings in the table
SHORT = {
    "targeted_interference": "targeted", "platform_outage": "platform", "transport_fault": "line",
    "resolver_fault": "resolver", "blanket_shutdown": "everything", "local_artefact": "local",
}  # fmt: skip
CONTROLS = {
    "same_server": "same servers, other names", "same_operator": "other services of the operators",
    "foreign": "names on other servers", "domestic": "domestic names", "same_hour": "the same hour on other days",
}  # fmt: skip
SCOPES = {
    "site": "the sites of these captures", "network": "one network", "several_networks": "several networks",
    "place": "the networks of a place",
}  # fmt: skip
VANTAGES = {
    "client": "beside the clients", "server": "beside the servers", "middle": "on the way", "unknown": "not known",
}  # fmt: skip
LADDER = (
    ("What happened to connections?", "Answered above, by counts and frames."),
    ("On the path, or at the ends?", "Answered for flows that are confirmed: there, frames contradict the ends."),
    ("Inside which network?", "Only as a number of hops, where forged frames show one (table of mechanisms)."),
    ("Who operates the equipment?", "Not answered: packets do not say."),
    ("Who ordered it, and why?", "Not answered: packets do not say."),
)
HOLDS = (
    "<p>What is said holds for the clients, networks and minutes captured. A failure without a frame that proves its "
    "cause is counted, and not called interference by itself. A stretch in which nothing was seen says nothing.</p>"
)
METHOD = (
    "<p>Each flow and DNS question is read from the packets and judged by itself and against others; each fact has a "
    "weight, with its reason and sources in <code>pcap-scan signatures</code>. Attempts become votes, one for each "
    "client, target and minute; a change of their share of failures in time becomes an event; events that overlap are "
    "weighed against six explanations. A score is a judgement that starts from equal odds, not a measured frequency. "
    "Intervals hold the true time with a probability of 95% under that model.</p>"
)
CHECKED = (
    "<p class=dim>The manifest beside this file has the same hashes; <code>pcap-scan verify</code> checks them. The "
    "same inputs, options and version give the same bytes.</p></section>"
)
STATED = ("collected by", "place", "method of collection", "who set the clock", "consent of those observed")
KEY = (
    ("fail", "height: share of votes that failed"),
    ("ok", "line: seen, none failed"),
    ("late", "dashed outline: share reached only in part"),
    ("unseen", "hatched: no attempt seen, nothing known"),
    ("event", "bar below: event; pale ends: 95% intervals of onset and end"),
)


def page(
    answer: Answer,
    examples: Sequence[Example] = (),
    inputs: Sequence[File] = (),
    data: Sequence[File] = (),
    notices: Sequence[Notice] = (),
    options: Mapping[str, object] | None = None,
    zone: Zone | None = None,
) -> str:
    """
    The whole document.

    examples: flows to show as ladders; inputs, data: files with their hashes; notices: what was wrong with the inputs.
    """
    return "".join(_Page(answer, examples, inputs, data, notices, options or {}, zone or Zone()).parts())


def _own(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read().strip()


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def base(path: str) -> str:
    """A path without its folders, which are nobody's business."""
    return path.rpartition("/")[2] or path


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", numbers: Sequence[int] = ()) -> str:
    """Rows of cells; a cell that begins with "<td" stands as it is, all others are HTML of their own."""
    out = ['<div class="scroll" tabindex="0"><table>']
    if caption:
        out.append(f"<caption>{caption}</caption>")
    out.append("<thead><tr>")
    for i, word in enumerate(head):
        out.append(f'<th scope="col"{" class=n" if i in numbers else ""}>{word}</th>')
    out.append("</tr></thead><tbody>")
    for row in rows:
        out.append("<tr>")
        for i, cell in enumerate(row):
            if cell.startswith("<td"):
                out.append(cell)
            elif i == 0:
                out.append(f'<th scope="row">{cell}</th>')
            else:
                out.append(f"<td{' class=n' if i in numbers else ''}>{cell}</td>")
        out.append("</tr>")
    out.append("</tbody></table></div>")
    return "".join(out)


class _Page:
    def __init__(
        self,
        answer: Answer,
        examples: Sequence[Example],
        inputs: Sequence[File],
        data: Sequence[File],
        notices: Sequence[Notice],
        options: Mapping[str, object],
        zone: Zone,
    ) -> None:
        self.answer = answer
        self.examples = examples
        self.inputs = inputs
        self.data = data
        self.notices = notices
        self.options = options
        self.zone = zone
        self.titles = {one.id: one.title for one in answer.targets} | {"*": "everything"}
        self.series = {(one.network, one.target): one for one in answer.cells if one.point == "attempt"}
        self.events = {one.id: one for one in answer.events}

    def parts(self) -> Iterator[str]:
        style, script = _own("report.css"), _own("report.js")
        policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
        policy += "; form-action 'none'"
        yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
        yield f"<title>{text(self.answer.statements[0], limit=120)}</title><style>{style}</style></head>\n<body>"
        yield SHARED
        yield "<main>"
        yield from self._head()
        yield from self._saw()
        yield from self._where()
        yield from self._how()
        yield from self._examples()
        yield from self._limits()
        yield from self._custody()
        yield f"</main><script>{script}</script></body></html>\n"

    # ------------------------------------------------------------ the answer

    def _head(self) -> Iterator[str]:
        answer, zone = self.answer, self.zone
        yield "<header><h1>What these packet captures show</h1>"
        for sentence in answer.statements[:FULL]:
            yield f'<p class="answer">{text(sentence)}</p>'
        if not zone.is_utc and answer.first_ns is not None:
            yield (
                "<p class=dim>The sentence has times in UTC; all below are in "
                f"{text(self._zone_words(answer.first_ns))}.</p>"
            )
        if len(answer.statements) > FULL:
            yield f"<p>And {len(answer.statements) - FULL} more, in the table of events below.</p>"
        if not self._anything():
            yield "<p>That is no proof of the contrary: see what could not be judged, under Limits.</p>"
        numbers = {
            "from": zone.full(answer.first_ns), "to": zone.full(answer.last_ns),
            "captures": f"{len(answer.summaries):,}", "networks": f"{len(answer.networks):,}",
            "flows": f"{sum(one.flows for one in answer.summaries):,}",
            "DNS questions": f"{sum(one.transactions for one in answer.summaries):,}",
            "interference confirmed / likely": f"{self._count('confirmed'):,} / {self._count('likely'):,}",
        }  # fmt: skip
        yield '<dl class="numbers">'
        for word, value in numbers.items():
            yield f"<div><dt>{word}</dt><dd>{text(value)}</dd></div>"
        yield "</dl><nav aria-label=Contents>"
        for ident, word in (
            ("saw", "Over time"), ("where", "Where"), ("how", "How"), ("frames", "Frames"), ("limits", "Limits"),
            ("custody", "Method and files"),
        ):  # fmt: skip
            yield f'<a href="#{ident}">{word}</a>'
        yield "</nav></header>"

    def _anything(self) -> bool:
        return bool(self.answer.assessments or self._count("confirmed") or self._count("likely"))

    def _count(self, verdict: str) -> int:
        return sum(group.counts.get(verdict, 0) for group in self.answer.groups)

    # ------------------------------------------------------------ over time

    def _saw(self) -> Iterator[str]:
        yield '<section id="saw"><h2>Over time</h2>'
        for number, one in enumerate(self.answer.assessments[:FULL], 1):
            yield from self._assessment(one, number)
        if not self.answer.assessments:
            yield from self._overview()
        if self.answer.events:
            yield from self._event_table()
        yield "</section>"

    def _assessment(self, one: Assessment, number: int) -> Iterator[str]:
        title = f"{number}. {listed([self._title(target) for target in one.targets])}"
        yield f"<article><h3>{text(title)}</h3>"
        numbers = {
            "onset": self._moment(one.onset, "before the captures"), "end": self._moment(one.end, "after the captures"),
            "votes failed": f"{one.failed:,} of {one.votes:,}", "clients": f"{one.clients:,}",
            "best explanation": CAUSES.get(one.cause, one.cause), "scope": SCOPES.get(one.scope or "", "not told"),
        }  # fmt: skip
        yield '<dl class="numbers">'
        for word, value in numbers.items():
            yield f"<div><dt>{word}</dt><dd>{text(value)}</dd></div>"
        yield "</dl>"
        mine = [self.events[ident] for ident in one.events if ident in self.events]
        low, high = self._window(mine)
        yield from self._figure(self._rows(one, mine), low, high, f"Votes over time: {title}")
        yield from self._fault(one)
        yield "</article>"

    def _window(self, events: Sequence[Event]) -> tuple[int, int]:
        """What is shown: the events and some time around them, inside of the captures."""
        low, high = self.answer.first_ns or 0, self.answer.last_ns or 0
        onsets, ends = [one.onset for one in events], [one.end for one in events]
        begin = min((one.start if one.start is not None else one.at for one in onsets if one), default=None)
        finish = max((one.stop if one.stop is not None else one.at for one in ends if one), default=None)
        if begin is not None and None not in onsets:
            low = max(low, begin - AROUND)
        if finish is not None and None not in ends:
            high = min(high, finish + AROUND)
        return low, max(high, low + 60 * 10**9)

    def _rows(self, one: Assessment, events: Sequence[Event]) -> list[Row]:
        """Targets on the networks of the events, then on others, then what is there to compare."""
        networks = [*one.networks, *(net.name for net in self.answer.networks if net.name not in one.networks)]
        targets = [target for target in one.targets if target != "*"]
        rows = []
        for target in targets:
            for network in networks:
                own = [event for event in events if event.target == target and event.network == network]
                if own or (network, target) in self.series:
                    rows.append(self._row(network, target, own))
        for target in ("other", "domestic"):
            for network in networks:
                own = [event for event in events if event.target == "*" and event.network == network]
                if (network, target) in self.series:
                    rows.append(self._row(network, target, own, "to compare: "))
        return rows

    def _row(self, network: str, target: str, events: Sequence[Event], prefix: str = "") -> Row:
        return Row(f"{prefix}{self._title(target)} \u00b7 {base(network)}", self.series.get((network, target)), events)

    def _overview(self) -> Iterator[str]:
        rows = [self._row(network, target, ()) for network, target in self._ordered()]
        if not rows or self.answer.first_ns is None or self.answer.last_ns is None:
            yield "<p>Nothing was counted over time: no connection or DNS question was seen.</p>"
            return
        low, high = self._window(())
        yield from self._figure(rows, low, high, "Votes over time, all targets and networks")

    def _ordered(self) -> list[tuple[str, str]]:
        """(network, target) of all series, those with the most failures first, other names last."""
        return sorted(
            self.series,
            key=lambda key: (key[1] in ("other", "domestic"), -sum(self.series[key].failed), key[1], key[0]),
        )

    def _figure(self, rows: Sequence[Row], low: int, high: int, title: str) -> Iterator[str]:
        if not rows:
            return
        shown_rows = rows[:SERIES]
        yield "<figure><ul class=key>"
        for css, words in KEY:
            yield f"<li>{_swatch(css)}{words}</li>"
        yield f'</ul><div class="scroll">{strips(shown_rows, low, high, self.zone, title)}</div>'
        more = f" {len(rows) - SERIES} more series are in the JSON records." if len(rows) > SERIES else ""
        step = Scale(low, high).step
        yield (
            f"<figcaption>{text(title)}. Times in {text(self._zone_words(low))}; a stretch is {_span(step)}. A vote is "
            f"one client's attempts at one target in one minute; it failed if all of them did.{more}</figcaption>"
        )
        yield "<details><summary>The same as a table</summary>"
        yield table(("series", "failures, and what was not seen"), self._told(shown_rows, low, high))
        yield "</details></figure>"

    def _told(self, rows: Sequence[Row], low: int, high: int) -> Iterator[tuple[str, str]]:
        scale = Scale(low, high)
        for row in rows:
            yield text(row.label), "<br>".join(said(part, self.zone) for part in bins(row.cells, scale))

    def _zone_words(self, at: int) -> str:
        return self.zone.words(at) if self.zone.is_utc else f"{self.zone.name}, {self.zone.words(at)}"

    def _moment(self, one: Moment | None, without: str) -> str:
        if one is None:
            return without
        zone = self.zone
        low = zone.short(one.start) if one.start is not None else "before the capture"
        high = zone.short(one.stop) if one.stop is not None else "after the capture"
        return f"{zone.full(one.at)[:16]} {zone.words(one.at)} ({low} to {high})"

    # ------------------------------------------------------------ why

    def _fault(self, one: Assessment) -> Iterator[str]:
        yield "<h4>Could it be a fault? What speaks for and against each explanation</h4>"
        ranked = list(one.scores)
        told = {feature.id: feature.text for feature in one.features}
        for word, ids in (("For", one.for_), ("Against", one.against)):
            facts = [told[ident] for ident in ids if ident in told]
            if facts and ranked:
                yield f"<p>{word} {CAUSES[ranked[0]]}: {text('; '.join(facts))}.</p>"
        rows = [
            (text(feature.text), *(_shift(feature.shift.get(cause)) for cause in ranked))
            for feature in one.features
            if feature.shift
        ]
        names = [f"{SHORT.get(cause, cause)}<br>{score(one.scores[cause])}" for cause in ranked]
        yield table(
            ("fact", *names), rows,
            "Columns: explanations with their scores, best first. Cells: how far a fact shifts the log odds of an "
            "explanation (natural logarithm); + speaks for it, \u2212 against it, \u00b7 neither.",
            range(1, len(ranked) + 1),
        )  # fmt: skip
        words = "; ".join(f"{SHORT.get(cause, cause)}: {CAUSES[cause]}" for cause in ranked)
        yield f"<p class=dim>Explanations: {words}.</p>"
        unused = [feature.text for feature in one.features if not feature.shift]
        if unused:
            yield f"<p>Looked at, and without weight here: {text('; '.join(unused))}.</p>"
        if one.controls:
            yield table(
                ("traffic to compare", "failed in the event", "failed outside"),
                ((CONTROLS.get(kind, kind), *_tallies(tally)) for kind, tally in one.controls.items()),
            )
        if one.gates:
            yield "<p>What targeted interference needs:</p><ul>"
            for gate in one.gates:
                css, word = {True: ("yes", "met"), False: ("no", "not met")}.get(gate["passed"], ("open", "not known"))
                yield f'<li class="{css}">{word}: {text(gate["text"])}</li>'
            yield "</ul>"
        if one.changes:
            yield f"<p>What would change the verdict: {text('; '.join(one.changes))}.</p>"
        if one.recurrence:
            yield f"<p>Seen on other days, too: {text(listed(one.recurrence))}.</p>"

    def _event_table(self) -> Iterator[str]:
        rows = [
            (
                text(self._title(one.target)), text(base(one.network)),
                text(self._moment(one.onset, "before the capture")), text(self._moment(one.end, "after the capture")),
                text(self._seen(one)), f"{one.failed:,} of {one.votes:,}",
                f"{one.failed_before:,} of {one.votes_before:,}", f"{one.failed_clients:,} of {one.clients:,}",
                text(", ".join(f"{plain(way)} {n:,}" for way, n in one.mechanisms.items()) or "none recognised"),
            )
            for one in self.answer.events
        ]  # fmt: skip
        yield "<h3>All events</h3>"
        yield table(
            (
                "target", "network", "onset (95%)", "end (95%)", "bracket", "votes failed", "outside",
                "clients that failed", "attempts by mechanism",
            ),
            rows,
        )  # fmt: skip

    def _seen(self, one: Event) -> str:
        words = {
            "last_ok_before": "last fine", "first_failed": "first failed", "last_failed": "last failed",
            "first_ok_after": "fine again",
        }  # fmt: skip
        times = ((words.get(key, key), at) for key, at in one.seen.items() if at is not None)
        return ", ".join(f"{word} {self.zone.short(at)}" for word, at in times)

    # ------------------------------------------------------------ where

    def _where(self) -> Iterator[str]:
        yield '<section id="where"><h2>Where</h2>'
        networks = self.answer.networks
        targets = [one for one in self.answer.targets if one.id != "other"]
        targets += [one for one in self.answer.targets if one.id == "other"]
        if self.series:
            floor = int(self.answer.thresholds.get("floor_votes", 9))
            yield table(
                ("target", *(text(base(net.name)) for net in networks)),
                (
                    (text(one.title), *(self._cell(net.name, one.id, floor) for net in networks))
                    for one in targets
                    if any((net.name, one.id) in self.series for net in networks)
                ),
                "Votes that failed, over the whole capture and inside of events. "
                f"Fewer than {floor} votes are too few to tell.",
            )
        else:
            yield "<p>No target was seen.</p>"
        yield table(
            ("network", "named by", "clients", "captured", "from", "to", "minutes with traffic", "without any"),
            (
                (
                    text(base(net.name)), text(net.by), f"{net.clients:,}",
                    VANTAGES.get(net.vantage, text(net.vantage)), text(self.zone.full(net.first_ns)),
                    text(self.zone.full(net.last_ns)), f"{net.minutes:,}", text(self._gaps(net)),
                )
                for net in networks
            ),
            "Networks observed. Nothing is said about any other network, nor about a country.",
        )  # fmt: skip
        yield "</section>"

    def _gaps(self, network: Network) -> str:
        gaps = [f"{self.zone.short(low)} to {self.zone.short(high)}" for low, high in network.gaps[:12]]
        return ", ".join(gaps) + (f" and {len(network.gaps) - 12} more" if len(network.gaps) > 12 else "") or "none"

    def _cell(self, network: str, target: str, floor: int) -> str:
        cells = self.series.get((network, target))
        votes, failed = (sum(cells.votes), sum(cells.failed)) if cells else (0, 0)
        if cells is None or not votes:
            return "<td class=none>not seen</td>"
        own = [one for one in self.answer.events if one.network == network and one.target == target]
        whole = f"{failed:,} of {votes:,} failed"
        if own:
            inside = f"{sum(one.failed for one in own):,} of {sum(one.votes for one in own):,} in the event"
            clients = f"{max(one.failed_clients for one in own):,} clients"
            return f"<td class=struck>event: {inside}<br>{whole}<br>{clients}</td>"
        return f"<td class=few>{whole}: too few</td>" if votes < floor else f"<td>no event: {whole}</td>"

    def _title(self, target: str) -> str:
        return self.titles.get(target, target)

    # ------------------------------------------------------------ how

    def _how(self) -> Iterator[str]:
        yield '<section id="how"><h2>How: mechanisms and what is known of injectors</h2>'
        groups = self.answer.groups
        if not groups:
            yield "<p>No interference was found with any single flow or lookup.</p></section>"
            return
        yield table(
            (
                "mechanism",
                "confirmed",
                "likely",
                "not decided",
                "targets and networks",
                "where forged frames come from",
            ),
            (
                (
                    f"{text(plain(group.mechanism))}<br><code>{text(group.mechanism)}</code>",
                    *(f"{group.counts.get(verdict, 0):,}" for verdict in ("confirmed", "likely", "insufficient")),
                    "<br>".join(
                        f"{text(self._title(target))} on {text(base(net))}: {n:,}"
                        for (net, target), n in sorted(group.by_target.items())[:24]
                    )
                    or "none",
                    text(_injectors(group.strongest)),
                )
                for group in groups
            ),
            "Flows and lookups. Confirmed: a frame or a contradiction proves it. Likely: what is known speaks for it, "
            "without proof. Not decided: too little to tell, and no accusation.",
            (1, 2, 3),
        )
        rows = list(self._findings())
        yield f"<details><summary>The {len(rows)} strongest findings, for Wireshark</summary>"
        yield table(
            ("time", "mechanism", "verdict", "name", "server", "capture", "flow", "Wireshark filter"), rows,
            "Client addresses are left out; <code>pcap-scan --json</code> gives every finding whole.",
        )  # fmt: skip
        yield "</details></section>"

    def _findings(self) -> Iterator[tuple[str, ...]]:
        best = [one for group in self.answer.groups for one in group.strongest][:LISTED]
        for one in sorted(best, key=lambda one: (one.time_ns or 0, one.capture, one.flow)):
            sure = "" if one.confidence is None else f" {min(0.9999, one.confidence):.4f}"
            yield (
                text(self.zone.full(one.time_ns)), text(one.mechanism), text(one.verdict + sure), text(one.name),
                text(f"{one.server} port {one.server_port}"), text(base(one.capture)), f"{one.flow}",
                f"<code>{text(_filter(one))}</code>",
            )  # fmt: skip

    # ------------------------------------------------------------ frames

    def _examples(self) -> Iterator[str]:
        yield '<section id="frames"><h2>Frames: examples</h2>'
        if not self.examples:
            yield "<p>There is no finding to show.</p>"
        for one in self.examples:
            yield from self._example(one)
        yield "</section>"

    def _example(self, one: Example) -> Iterator[str]:
        finding = one.finding
        name = f", name {text(finding.name)}" if finding.name is not None else ""
        yield f"<article><h3>{text(plain(finding.mechanism))}: {text(finding.verdict)}{name}</h3>"
        yield f"<p>{text(statement(finding))}</p>"
        yield (
            f"<p class=dim>{text(base(finding.capture))}, flow {finding.flow}, {text(finding.proto)} to "
            f"{text(finding.server)} port {finding.server_port}, {text(self.zone.full(finding.time_ns))}. Wireshark: "
            f"<code>{text(_filter(finding))}</code></p>"
        )
        steps = shown(one)
        title = f"Packets of flow {finding.flow}: frame number and seconds at the left, time runs downwards"
        yield f"<figure>{ladder(one, steps, title)}<figcaption>{title}. "
        hidden = one.left_out + len(one.steps) - len(steps)
        if any(step.role == "forged" for step in steps):
            yield "Dashed arrows with \u2715 are forged; where on the path they begin is not drawn to scale. "
        yield f"Not shown: {count(hidden, 'packet')}.</figcaption>" if hidden else "</figcaption>"
        yield "<details><summary>The same as a table</summary>"
        yield table(
            ("frame", "direction", "what", "bytes", "seq", "ack", "TTL", "IP ID", "is", "shows"),
            (
                (
                    f"{step.frame}", {True: "to server", False: "to client", None: "neither end"}[step.to_server],
                    text(flags(step)), f"{step.length}", _number(step.seq), _number(step.ack), f"{step.ttl}",
                    _number(step.ip_id), text(step.role or "\u00b7"),
                    text("; ".join(one.facts.get(step.frame, ())) or "\u00b7"),
                )
                for step in steps
            ),
        )  # fmt: skip
        yield "</details></figure>"
        for word, facts in (("For", finding.evidence), ("Against", finding.against)):
            if facts:
                yield f"<p>{word}:</p><ul>"
                for fact in facts:
                    where = f", frames {' '.join(map(str, fact.frames[:8]))}" if fact.frames else ""
                    yield f"<li>{text(fact.text)} ({text(fact.id)} {fact.weight:+.1f}{where})</li>"
                yield "</ul>"
        yield "</article>"

    # ------------------------------------------------------------ limits, custody

    def _limits(self) -> Iterator[str]:
        yield '<section id="limits"><h2>Limits</h2>'
        yield table(("question", "what packets answer"), LADDER)
        yield HOLDS
        if self.answer.limits:
            yield table(
                ("not judged or not seen", "how often"),
                ((text(one.text), "" if one.count is None else f"{one.count:,}") for one in self.answer.limits),
                numbers=(1,),
            )
        told = [one for one in self.notices if one.level != "info"]
        if told:
            yield "<p>Of the input:</p><ul>"
            for one in told[:40]:
                yield f"<li>{text(base(one.capture or ''))}: {text(one.text)}</li>"
            yield "</ul>" + (f"<p>And {len(told) - 40:,} more.</p>" if len(told) > 40 else "")
        yield "</section>"

    def _custody(self) -> Iterator[str]:
        answer, zone = self.answer, self.zone
        yield '<section id="custody"><h2>Method and files</h2>'
        yield METHOD
        hashes = {one.path: one for one in self.inputs}
        yield table(
            ("input", "SHA-256", "bytes", "frames", "packets", "first", "last"),
            (
                (
                    text(base(one.capture)), _sum(hashes.get(one.capture)), _size(hashes.get(one.capture)),
                    f"{one.frames:,}", f"{one.packets:,}", text(zone.full(one.first_ns)), text(zone.full(one.last_ns)),
                )
                for one in answer.summaries
            ),
            "Inputs. Times are those of the capturing clock; its error is not known.",
            (2, 3, 4),
        )  # fmt: skip
        yield table(
            ("data", "SHA-256", "bytes"), ((text(one.name), _sum(one), _size(one)) for one in self.data),
            f"Rules and tables; tamperscope {text(answer.version)}, rule set {text(answer.rules)}.", (2,),
        )  # fmt: skip
        values = [(text(key), text(str(value))) for key, value in self.options.items()]
        values += [(text(f"threshold: {key}"), f"{value:g}") for key, value in answer.thresholds.items()]
        yield table(("option or threshold", "value"), values)
        yield table(("custody", ""), ((word, "not stated") for word in STATED), "To be filled in by who collected.")
        yield CHECKED


def _swatch(css: str) -> str:
    shapes = {
        "fail": '<rect class="seen" width="18" height="14"/><rect class="fail" y="4" width="18" height="10"/>',
        "ok": '<rect class="seen" width="18" height="14"/><rect class="base" y="12" width="18" height="2"/>',
        "late": '<rect class="seen" width="18" height="14"/><rect class="late" x="1" y="6" width="16" height="7"/>',
        "unseen": '<rect width="18" height="14" fill="url(#hatch)"/>',
        "event": '<rect class="sure" y="4" width="18" height="7"/><rect class="event" y="6" width="18" height="3"/>',
    }
    return f'<svg width="18" height="14" aria-hidden="true">{shapes[css]}</svg>'


def _span(minutes: int) -> str:
    if minutes % 1440 == 0:
        return f"{minutes // 1440} day{'s' if minutes > 1440 else ''}"
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _shift(value: float | None) -> str:
    if not value:
        return "\u00b7"
    return f"+{value:.1f}" if value > 0 else f"\u2212{-value:.1f}"


def _tallies(tally: Tally) -> tuple[str, str]:
    return f"{tally.failed:,} of {tally.votes:,}", f"{tally.failed_before:,} of {tally.votes_before:,}"


def _number(value: int | None) -> str:
    return "\u00b7" if value is None else f"{value}"


def _sum(one: File | None) -> str:
    return f'<td class="hash">{one.sha256 if one and one.sha256 else "not known: it was read from a pipe"}</td>'


def _size(one: File | None) -> str:
    return "" if one is None or one.size is None else f"{one.size:,}"


def _filter(one: Finding) -> str:
    """What shows the telling frames in Wireshark."""
    frames = sorted({*([one.trigger_frame] if one.trigger_frame else []), *one.injected_frames, *one.genuine_frames})
    if not frames:
        return f"{one.proto}.port == {one.client_port}" if one.client_port else ""
    return f"frame.number in {{{', '.join(map(str, frames[:16]))}}}"


def _injectors(findings: Sequence[Finding]) -> str:
    """Distances and habits, of the strongest findings."""
    known = [one.injector for one in findings if one.injector]
    hops = [hop for one in known for hop in (one.get("hops_min"), one.get("hops_max")) if hop is not None]
    parts = []
    if hops:
        near, far = min(hops), max(hops)
        parts.append(f"{near} to {far} hops from the capture" if near < far else f"{near} hops from the capture")
    families = sorted({family["id"] for one in known for family in one.get("family") or []})
    if families:
        parts.append(f"habits like those filed as {listed(families)}, which others may share")
    return "; ".join(parts) or "not known"
