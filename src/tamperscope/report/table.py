"""
The result for people: what was scanned, what was found and why, what could not be judged.

Wording follows what the evidence carries.  Proven forgery is said outright ("a third party on the path injected frame
5"), silence only as "consistent with", and a finding that is ``insufficient`` as not enough evidence, with what would
decide it.  Who is behind a box is never said.  Colour repeats what a word beside it says.
"""

from __future__ import annotations

from tamperscope.model import iso_time
from tamperscope.report.lines import Lines, clock, confidence, count, end, frames, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tamperscope.model import Evidence, Finding, FlowRecord, Summary

GROUPS = 2000  # groups of (mechanism, name) kept; an attacker can make a name a flow, so the rest is only counted
ROWS = 5  # flows shown in a group, the strongest

APART = frozenset(("not_ip", "transport_other"))  # counted with the oddities of packets, but none: ARP, SCTP and so on

VERDICTS = ("confirmed", "likely", "insufficient")

# What a mechanism does to packets, as the object of "injected" or of "consistent with".
_FORGED = {
    "rst_injection": "TCP resets",
    "dns_forgery": "DNS answers",
    "blockpage": "an HTTP answer",
    "tls_mitm": "a TLS handshake",
    "ip_block": "an answer",
}
_ABSENT = {
    "sni_drop": "dropping after the server name",
    "http_drop": "dropping after the HTTP request",
    "quic_drop": "dropping of QUIC",
    "dns_drop": "dropping of DNS by name",
    "throttling": "throttling",
    "ip_block": "blocking by address",
    "rst_injection": "injected resets",
    "dns_forgery": "a forged answer",
    "blockpage": "a forged page",
    "tls_mitm": "an exchanged certificate",
}
_DROPPED = {
    "sni_drop": "what came after the server name",
    "http_drop": "what came after the HTTP request",
    "quic_drop": "the QUIC packets",
    "dns_drop": "the DNS packets",
}

# What would decide it, for the codes of `missing`.
WANTED = {
    "control": "other flows in the same minutes to compare with",
    "proof": "a fact that no look-alike makes",
    "other_resolver": "what another resolver answers to this question",
    "small_answer": "a question that allows a small answer only",
    "small_segment": "a lost segment that is small enough for any path",
    "trigger_that_reaches": "a request that was sent with enough hops",
    "more_time": "a longer capture",
    "working_access": "minutes in which the client's access works",
    "server_speaks_tls": "handshakes of this server and port that go well",
    "issuers_that_take_turns": "handshakes in which the two issuers take turns",
}


class Table(Lines):
    """
    Collects one capture's findings and prints them.

    Args:
        write: takes text; called for a flow at once, for the rest by ``end``.
        width: columns; 40 at least.
        colour: whether escape sequences may be used.
        ascii_only: no character beyond ASCII of our own, for terminals that show none.
        looked_for: mechanisms that were judged, for "nothing found".
    """

    def __init__(
        self,
        write: Callable[[str], None],
        width: int = 80,
        colour: bool = False,
        ascii_only: bool = False,
        looked_for: Iterable[str] = (),
    ) -> None:
        super().__init__(write, width, colour, ascii_only)
        self._looked_for = tuple(looked_for)
        self._groups: dict[tuple[str, bytes | None], _Group] = {}
        self._left_out = 0
        self._flow_head = False
        self._captures = 0
        self._one_day = False

    def finding(self, finding: Finding) -> None:
        """Keep a finding for ``end``; memory is bounded, counts stay true."""
        key = finding.mechanism, finding.name
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= GROUPS:
                self._left_out += 1
                return
            group = self._groups[key] = _Group()
        group.add(finding)

    def flow(self, flow: FlowRecord) -> None:
        """Print a flow's row now: a capture may hold more of them than memory should."""
        if not self._flow_head:
            self._flow_head = True
            self._gap()
            head = f"{'FLOW':>6}  {'OUTCOME':<13}  {'STAGE':<13}  CLIENT -> SERVER  NAME"
            self.wrap(self.paint("bold", head), "", " " * 8)
        ends = f"{end(flow.client, flow.client_port)} -> {end(flow.server, flow.server_port)}"
        start = f"{flow.flow:>6}  {flow.outcome:<13}  {flow.stage or '-':<13}"
        self.wrap(f"{start}  {flow.proto} {ends}  {self.name(flow.name)}", "", " " * 8)

    def end(self, summary: Summary, interrupted: bool = False) -> None:
        """Print everything about one capture, and forget it."""
        if self._flow_head:
            self.line("")
        else:
            self._gap()
        self._one_day = _date(summary.first_ns) == _date(summary.last_ns)
        self._captures += 1
        self._scanned(summary, interrupted)
        self._verdict(summary)
        for mechanism in _order(self._groups):
            for name, group in _by_strength(self._groups, mechanism):
                self._group(mechanism, name, group)
        if self._left_out:
            self.line("")
            self.wrap(f"{self._left_out:,} more findings under further names are not shown; --json lists all.")
        self._groups.clear()
        self._left_out, self._flow_head = 0, False

    def _gap(self) -> None:
        if self._captures:
            self.line("")

    # -- what was scanned, and the verdict in a line

    def _scanned(self, summary: Summary, interrupted: bool) -> None:
        counts = [count(summary.frames, "frame"), count(summary.packets, "packet"), count(summary.flows, "flow")]
        if summary.transactions:
            counts.append(count(summary.transactions, "DNS question"))
        kind = f"{summary.format}, " if summary.format else ""
        capture = "standard input" if summary.capture == "-" else self.text(summary.capture)
        self.wrap(f"{self.paint('bold', capture)}  {kind}{', '.join(counts)}")
        if summary.first_ns is not None and summary.last_ns is not None:
            self.line(_span(summary.first_ns, summary.last_ns))
        if interrupted:
            self.wrap("Interrupted: this is what was read until then.")

    def _verdict(self, summary: Summary) -> None:
        confirmed, likely, open_ = (_units(summary.findings, verdict) for verdict in VERDICTS)
        self.line("")
        if confirmed or likely:
            parts = [self.paint(v, f"{v} for {n}") for v, n in (("confirmed", confirmed), ("likely", likely)) if n]
            self.wrap(f"{self.paint('bold', 'Interference found')}: {'; '.join(parts)}.")
        else:
            self._nothing(summary)
        if open_:
            self.wrap(f"{self.paint('insufficient', 'Not enough evidence to tell')} for {open_}.")
        self._not_judged(summary)

    def _nothing(self, summary: Summary) -> None:
        if not summary.packets:
            why = "there is no frame in it" if not summary.frames else "no frame in it holds an IP packet"
            self.wrap(f"{self.paint('bold', 'Nothing to judge')}: {why}.")
            return
        what = count(summary.flows, "flow")
        if summary.transactions:
            what += f" and {count(summary.transactions, 'DNS question')}"
        head = self.paint("bold", "No interference found")
        self.wrap(f"{head} in {what}; {summary.candidates:,} looked at closely.")
        if self._looked_for:
            self.wrap(f"Looked for: {', '.join(self._looked_for)}.")

    def _not_judged(self, summary: Summary) -> None:
        if summary.not_judged:
            reasons = ", ".join(f"{words(reason)} {n:,}" for reason, n in _largest(summary.not_judged))
            self.wrap(f"Could not be judged: {count(sum(summary.not_judged.values()), 'flow')} ({reasons}).")
        for head, names in (("Not looked into", APART), ("Odd packets", set(summary.anomalies) - APART)):
            counts = [f"{words(name)} {n:,}" for name, n in _largest(summary.anomalies) if name in names]
            if counts:
                self.wrap(f"{head}: {', '.join(counts)}.")
        if summary.evicted:
            self.wrap(f"{count(summary.evicted, 'flow')} closed early, table full: absences there are not judged.")
        if summary.limits:
            self.wrap(f"Limits reached: {', '.join(words(limit) for limit in summary.limits)}.")

    # -- one mechanism under one name

    def _group(self, mechanism: str, name: bytes | None, group: _Group) -> None:
        counts = ", ".join(self.paint(v, f"{group.counts[v]:,} {v}") for v in VERDICTS if v in group.counts)
        shown = self.name(name) if name is not None else "(no name)"
        self.line("")
        self.wrap(f"{self.paint('bold', f'{mechanism}  {shown}')}  {counts}")
        for finding in group.best:
            self._row(finding)
        more = sum(group.counts.values()) - len(group.best)
        if more:
            self.wrap(f"and {more:,} more; --json lists all", "  ")
        self._why(group.best[0], several=len(group.best) > 1)

    def _row(self, finding: Finding) -> None:
        sure = f" {confidence(finding.confidence)}" if finding.confidence is not None else ""
        ends = f"{end(finding.client, finding.client_port)} -> {end(finding.server, finding.server_port)}"
        when = "" if finding.time_ns is None else f"{clock(finding.time_ns, self._one_day)}  "
        head = f"{self.paint(finding.verdict, finding.verdict)}{sure}"
        self.wrap(f"{head}  {when}{finding.proto} {ends}", "  ", " " * 6)
        where = [f"flow {finding.flow}"]
        if finding.transaction is not None:
            where.append(f"question {finding.transaction}")
        if finding.trigger_frame is not None:
            where.append(f"trigger frame {finding.trigger_frame}")
        if finding.injected_frames:
            where.append(frames("injected frame", finding.injected_frames, finding.injected_total))
        self.wrap(", ".join(where), " " * 6)

    def _why(self, finding: Finding, several: bool) -> None:
        if several:
            self.wrap(f"flow {finding.flow}, the strongest:", "  ")
        self.wrap(statement(finding), "  ")
        for fact in finding.evidence:
            self._fact("+", fact)
        for fact in finding.against:
            self._fact("-", fact)
        about = box(finding)
        if about:
            self.wrap(about, "  ")
        if finding.also:
            self.wrap(f"also on this flow: {', '.join(finding.also)}", "  ")
        if finding.limits:
            self.wrap(f"seen only in part: {', '.join(words(code) for code in finding.limits)}", "  ")

    def _fact(self, sign: str, fact: Evidence) -> None:
        where = f" ({frames('frame', fact.frames, len(fact.frames))})" if fact.frames else ""
        self.wrap(f"{sign} {self.text(fact.text)}{where}", "    ", " " * 6)


class _Group:
    """Counts of all, and the strongest few, of one mechanism under one name."""

    __slots__ = ("best", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.best: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.counts[finding.verdict] = self.counts.get(finding.verdict, 0) + 1
        if len(self.best) == ROWS and _strength(finding) <= _strength(self.best[-1]):
            return
        self.best.append(finding)
        self.best.sort(key=_strength, reverse=True)  # stable: of equals, the first judged stays first
        del self.best[ROWS:]


def statement(finding: Finding) -> str:
    """One sentence, no stronger than the evidence."""
    mechanism = finding.mechanism
    if finding.verdict == "insufficient":
        lacking = "; ".join(WANTED.get(code, words(code)) for code in finding.missing)
        return f"Not enough evidence to tell: it may be {_ABSENT.get(mechanism, words(mechanism))}." + (
            f" It would take: {lacking}." if lacking else ""
        )
    who = "A third party" if finding.verdict == "confirmed" else "Most likely a third party"
    if finding.proof == "correlation":
        return "Flows with this name failed; comparable flows did not."
    if finding.proof == "absence":
        what = _ABSENT.get(mechanism, words(mechanism))
        return f"Consistent with {what}; for a single flow a fault would look alike."
    if finding.injected_frames:
        where = frames("frame", finding.injected_frames, finding.injected_total)
        return f"{who} on the path injected {_FORGED.get(mechanism, 'packets')} ({where})."
    if mechanism in _DROPPED:
        what = "Something" if finding.verdict == "confirmed" else "Most likely something"
        return f"{what} on the path dropped {_DROPPED[mechanism]}; the other end was alive."
    return f"{who} on the path interfered: {_ABSENT.get(mechanism, words(mechanism))}."


def box(finding: Finding) -> str:
    if not finding.injector:
        return ""
    low, high = finding.injector.get("hops_min"), finding.injector.get("hops_max")
    parts = []
    if low is not None and high is not None:
        hops = f"{low}" if low == high else f"{low} to {high}"
        parts.append(f"{hops} hop{'' if hops == '1' else 's'} away by its TTL")
    family = finding.injector.get("family") or []
    if family:
        alike = ", ".join(f"{one['id']} {one['score']:.2f}" for one in family[:3])
        parts.append(f"habits like {alike}")
    return f"injector: {'; '.join(parts)}" if parts else ""


def _strength(finding: Finding) -> tuple[int, float]:
    rank = len(VERDICTS) - VERDICTS.index(finding.verdict) if finding.verdict in VERDICTS else 0
    return rank, finding.confidence or 0.0


def _order(groups: dict[tuple[str, bytes | None], _Group]) -> list[str]:
    """Mechanisms, that with the strongest finding first; of equals, the first found."""
    best: dict[str, tuple[int, float]] = {}
    for (mechanism, _), group in groups.items():
        best[mechanism] = max(best.get(mechanism, (0, 0.0)), _strength(group.best[0]))
    return sorted(best, key=lambda mechanism: best[mechanism], reverse=True)


def _by_strength(groups: dict[tuple[str, bytes | None], _Group], mechanism: str) -> list[tuple[bytes | None, _Group]]:
    mine = [(name, group) for (kind, name), group in groups.items() if kind == mechanism]
    return sorted(mine, key=lambda pair: _strength(pair[1].best[0]), reverse=True)


def _largest(tally: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(tally.items(), key=lambda item: (-item[1], item[0]))


def _date(time_ns: int | None) -> str:
    return (iso_time(time_ns) or "")[:10]


def _span(first_ns: int, last_ns: int) -> str:
    first, last = iso_time(first_ns) or "", iso_time(last_ns) or ""
    end = last[11:19] if first[:10] == last[:10] else f"{last[:10]} {last[11:19]}"
    return f"{first[:10]} {first[11:19]} to {end} UTC"


def _units(findings: dict[str, dict[str, int]], verdict: str) -> str:
    """How many flows and DNS questions got a verdict; empty for none."""
    questions = flows = 0
    for mechanism, verdicts in findings.items():
        if mechanism.startswith("dns_"):
            questions += verdicts.get(verdict, 0)
        else:
            flows += verdicts.get(verdict, 0)
    parts = [count(flows, "flow")] if flows else []
    return " and ".join(parts + ([count(questions, "DNS question")] if questions else []))
