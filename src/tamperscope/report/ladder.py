"""
One flow for people: a ladder of its packets, and beneath it what was weighed and how it adds up.

Forged, genuine and trigger stand as words beside the packets; colour only repeats them.
"""

from __future__ import annotations

from tamperscope.model import iso_time
from tamperscope.report.lines import Lines, count, end, frames, words
from tamperscope.report.table import WANTED, box, statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tamperscope.explain import Explanation, Step, Unit
    from tamperscope.weigh import Opinion

FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG"))
HEAD, TAIL, AROUND = 12, 4, 2  # packets of a long flow that are shown: from its start, its end, around telling ones
STYLES = {"forged": "confirmed", "suspect": "likely", "genuine": "insufficient", "trigger": "bold"}
WIDE, MIDDLE = 72, 54  # columns that a row takes with everything, and without IP ID and ack
TELLING = 0x01 | 0x02 | 0x04


class Ladder(Lines):
    """Prints explanations."""

    def explanation(self, told: Explanation, every_packet: bool = False) -> None:
        """
        Print one explanation.

        every_packet: also those that tell nothing, which else are summed up in a line.
        """
        self._head(told)
        self.line()
        self._packets(told, every_packet)
        for unit in told.units:
            self._unit(told, unit)
        if not told.findings:
            self.line()
            self.wrap(f"{self.paint('bold', 'Nothing is reported')} about this flow.")
        self._not_looked(told)
        if told.limits:
            self.line()
            self.wrap(f"Seen only in part: {', '.join(words(code) for code in told.limits)}.")

    def _head(self, told: Explanation) -> None:
        flow = told.flow
        ends = f"{flow.proto} {end(flow.client, flow.client_port)} -> {end(flow.server, flow.server_port)}"
        name = f"  {self.name(flow.name)}" if flow.name is not None else ""
        outer = " (outer name)" if flow.name_is_outer else ""
        self.wrap(f"{self.paint('bold', f'flow {flow.flow}')}  {ends}{name}{outer}", "", "    ")
        facts = [(iso_time(flow.time_ns) or "")[:26].replace("T", " ") + " UTC"]
        facts.append(f"{count(flow.packets_to_server, 'packet')} to the server, {flow.packets_to_client:,} back")
        if flow.rtt_ms is not None:
            facts.append(f"round trip {flow.rtt_ms:g} ms")
        if flow.vantage != "unknown":
            facts.append(f"captured at the {flow.vantage}" if flow.vantage != "middle" else "captured on the way")
        self.wrap(", ".join(facts))
        what = [f"outcome {words(flow.outcome)}", f"final by {words(flow.final_by)}"]
        if flow.stage:
            what.insert(1, f"stage {words(flow.stage)}")
        self.wrap(", ".join(what))
        if flow.marks:
            self.wrap(f"marks: {', '.join(words(mark) for mark in flow.marks)}", "", "    ")

    # -- packets

    def _packets(self, told: Explanation, every_packet: bool) -> None:
        what = ("FLAGS", "SEQ", "ACK") if told.flow.proto == "tcp" else ("PAYLOAD",)
        self.wrap(self.paint("bold", self._columns("FRAME", "SECONDS", "  ", what, "TTL", "IP ID")), "", " " * 8)
        steps = told.steps
        shown = range(len(steps)) if every_packet else _shown(steps, told.asked_frame)
        start = next((step.time_ns for step in steps if step.time_ns >= 0), 0)
        before = -1
        for at in shown:
            self._gap(steps[before + 1 : at], told.left_out)
            self._step(steps[at], start)
            before = at
        self._gap(steps[before + 1 :], 0)

    def _gap(self, between: list[Step], left_out: int) -> None:
        if not between:
            return
        to_server = sum(step.length for step in between if step.to_server)
        back = sum(step.length for step in between if step.to_server is False)
        more = f" and {left_out:,} that are not kept" if left_out else ""
        text = f"{count(len(between), 'packet')} without news{more} ({to_server:,} bytes to the server, {back:,} back)"
        self.wrap(self.paint("dim", f"... {text}"), " " * 8, " " * 12)

    def _step(self, step: Step, start: int) -> None:
        time = f"+{(step.time_ns - start) / 1e9:.6f}" if step.time_ns >= start else "-"
        if step.time_ns >= 0 and step.time_ns < start:
            time = f"-{(start - step.time_ns) / 1e9:.6f}"
        way = {True: "->", False: "<-", None: "**"}[step.to_server]
        ip_id = "-" if step.ip_id is None else f"{step.ip_id}"
        if step.seq is not None:
            size = f":{step.seq + step.length}" if step.length else ""
            what: tuple[str, ...] = _flags(step.flags), f"{step.seq}{size}", "" if step.ack is None else f"{step.ack}"
        else:
            what = (step.note if step.to_server is None else f"{step.length} bytes",)
        line = self._columns(f"{step.frame}", time, way, what, f"{step.ttl}", ip_id)
        if step.role:
            line += f" {self.paint(STYLES[step.role], step.role)}"
        self.wrap(line, "", " " * 8)
        if step.note and step.to_server is not None:
            self.wrap(self.text(step.note), " " * 22, " " * 24)

    def _columns(self, frame: str, time: str, way: str, what: tuple[str, ...], ttl: str, ip_id: str) -> str:
        """A row; on narrow terminals without IP ID and ack, with milliseconds; on narrower ones without seq, too."""
        wide, middle = self._width >= WIDE, self._width >= MIDDLE
        time = time if wide or "." not in time else time[:-3]
        if len(what) == 1:
            told = f"{what[0]:<32}" if wide else f"{what[0]:<22}" if middle else what[0]
        else:
            told = f"{what[0]:<8}" + (f" {what[1]:<13}" if middle else "") + (f" {what[2]:<9}" if wide else "")
        return f"{frame:>7} {time:>{10 if wide else 7}} {way} {told} {ttl:>3}" + (f" {ip_id:>5}" if wide else "")

    # -- what was weighed

    def _unit(self, told: Explanation, unit: Unit) -> None:
        if unit.transaction is not None:
            self.line()
            self.wrap(self.paint("bold", f"question {unit.transaction}  {self.name(unit.name)}"))
        for opinion in sorted(unit.opinions, key=lambda one: -one.total):
            self._opinion(opinion, unit)

    def _opinion(self, opinion: Opinion, unit: Unit) -> None:
        finding = unit.finding
        if not opinion.facts:
            self.line()
            self.wrap(f"{self.paint('bold', opinion.mechanism)}  not reported: nothing that it looks for is there.")
            return
        stands = finding is not None and finding.mechanism == opinion.mechanism
        self.line()
        verdict = opinion.verdict or "not reported"
        sure = f", confidence {_confidence(opinion)}" if opinion.verdict != "insufficient" else ""
        head = f"{opinion.mechanism}  {self.paint(verdict, verdict) if opinion.verdict else verdict}{sure}"
        self.wrap(self.paint("bold", head) if not opinion.verdict else head)
        if stands and finding is not None:
            self.wrap(statement(finding))
            if about := box(finding):
                self.wrap(about)
        elif opinion.verdict and finding is not None:
            self.wrap(f"Not reported on its own: {finding.mechanism} came first.")
        stage = "" if opinion.stage == "default" else f", stage {words(opinion.stage)}"
        self.line()
        self._weight(opinion.prior, f"before any evidence (prior of {opinion.mechanism}{stage})")
        for fact, weight in opinion.facts:
            if weight.weight:
                where = f" ({frames('frame', fact.frames, len(fact.frames))})" if fact.frames else ""
                mark = f" [{weight.group}{', proof' if weight.proof else ''}]"
                self._weight(weight.weight, f"{self.text(fact.text)}{where}{mark}")
        for group, (whole, counted) in opinion.groups.items():
            if whole != counted:
                self._weight(counted - whole, f"facts of one cause count {counted:+.1f} at most [{group}]")
        self._weight(opinion.total, self._sum(opinion))
        unweighed = [fact for fact, weight in opinion.facts if not weight.weight]
        for fact in unweighed:
            where = f" ({frames('frame', fact.frames, len(fact.frames))})" if fact.frames else ""
            self.wrap(f"{self.text(fact.text)}{where}", "        ", "        ")
        if opinion.missing:
            lacking = "; ".join(WANTED.get(code, words(code)) for code in opinion.missing)
            self.wrap(f"missing: {lacking}", "  ", "        ")

    def _sum(self, opinion: Opinion) -> str:
        odds = "in log10 odds"
        if opinion.verdict == "insufficient":
            return f"the sum {odds}; it cannot be decided, so no confidence is given"
        if opinion.verdict is None:
            return f"the sum {odds}: a probability of {_confidence(opinion)}; below 0.5 nothing is reported"
        return f"the sum {odds}: a confidence of {_confidence(opinion)}"

    def _weight(self, value: float, text: str) -> None:
        self.wrap(f"{value:+6.1f}  {text}", "", " " * 8)

    def _not_looked(self, told: Explanation) -> None:
        if told.not_looked:
            self.line()
        by_reason: dict[str, list[str]] = {}
        for mechanism, why in told.not_looked:
            by_reason.setdefault(why, []).append(mechanism)
        for why, several in by_reason.items():
            were = "were" if len(several) > 1 else "was"
            self.wrap(f"{', '.join(several)} {were} not looked for: {why}.", "", "    ")


def _confidence(opinion: Opinion) -> str:
    """Four digits, cut and not rounded: what is not certain must not read 1."""
    return ">0.9999" if opinion.confidence >= 0.9999 else f"{int(opinion.confidence * 10_000) / 10_000:.4f}"


def _flags(flags: int) -> str:
    """SYN, SYN ACK, RST ACK ...; PSH, which tells nothing, only where it is alone."""
    names = [name for bit, name in FLAGS if flags & bit and (name != "PSH" or flags & 0x3F == 0x08)]
    return " ".join(names) or "none"


def _shown(steps: list[Step], asked: int | None) -> list[int]:
    """Which packets are printed: first and last ones, telling ones and those around them."""
    if len(steps) <= 3 * HEAD:
        return list(range(len(steps)))
    chosen = {*range(HEAD), *range(len(steps) - TAIL, len(steps))}
    for at, step in enumerate(steps):
        tells = step.role or step.note or step.frame == asked or (step.protocol == "tcp" and step.flags & TELLING)
        if tells:
            chosen.update(range(max(0, at - AROUND), min(len(steps), at + AROUND + 1)))
    return sorted(chosen)
