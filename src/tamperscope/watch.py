"""
From scans to the answer: what a run saw over all of its captures.

A `Watch` takes what the core counts (a small row for each flow and DNS question) and the findings, and says in the
end what happened.  Most captures hold nothing that could become an event.  So batches are kept as they are until
there are more than `HOLD` rows, a finding, enough that failed, or enough time for clients to cease; only then numpy
and the stages after it are imported.
"""

from __future__ import annotations

from tamperscope.answer import Answer, Group, Limit, Network
from tamperscope.catalogue import MECHANISMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tamperscope.ballots import Counted, Tries
    from tamperscope.core import Batch
    from tamperscope.events import Search
    from tamperscope.model import Finding, Summary
    from tamperscope.targets import Labels, Targets

HOLD = 1 << 18  # rows that wait without being looked at: 30 MB, where numpy alone takes as much
FAILED, CLIENTS = 6, 3  # fewer flows and questions that failed, or fewer clients, cannot be an event
LONG = 60 * 60 * 10**9  # a capture long enough for clients to cease
MANY = 200  # rows of such a capture
STRONGEST = 32
MAX_CAPTURES = (1 << 16) - 1
_RANK = {"confirmed": 2, "likely": 1}


class Watch:
    """
    Args:
        targets: the user's own tables of targets, on top of ``data/targets.toml``.
        labels: (network, pattern): captures whose path or name fits the pattern are of that network.
    Raises:
        UsageError: a table that cannot be read.
    """

    def __init__(self, targets: Sequence[str] = (), labels: Sequence[tuple[str, str]] = ()) -> None:
        self._paths = tuple(targets)
        self._given = tuple(labels)
        self._pending: list[tuple[int, int, Batch]] = []
        self._held = 0
        self._tries: Tries | None = None
        self._names: list[str] = []
        self._networks: dict[str, Network] = {}
        self._labels: Labels | None = None
        self._table_of_targets: Targets | None = None
        self._found: list[int] = []
        self._accusers: set[str] = set()
        self._groups: dict[str, Group] = {}
        self._summaries: list[Summary] = []
        self._failed = 0
        self._vantages: dict[str, set[str]] = {}
        if targets:  # a table that cannot be read has to be said before a long scan
            self._table()

    # ---------------------------------------------------------------- what happens during scans

    def begin(self, capture: str) -> None:
        """A capture begins; batches and findings from here on are of it."""
        self._names.append(capture)
        label, by = self._label(capture)
        network = self._networks.setdefault(label, Network(label, by))
        network.captures.append(capture)
        self._network = list(self._networks).index(label)

    def _label(self, capture: str) -> tuple[str, str]:
        if self._given:
            if self._labels is None:
                from tamperscope.targets import Labels

                self._labels = Labels(self._given)
            return self._labels.of(capture)
        return capture.rpartition("/")[2] or capture, "file"

    def batch(self, batch: Batch) -> None:
        """Rows that the core counted: the argument `counted` of `tamperscope.scan`."""
        rows = int(batch.handle.n_tries)
        self._pending.append((self._network, len(self._names) - 1, batch))
        self._held += rows
        if self._held > HOLD:
            self._fold()

    def finding(self, finding: Finding) -> None:
        """A finding of the capture under way."""
        group = self._groups.get(finding.mechanism)
        if group is None:
            group = self._groups[finding.mechanism] = Group(finding.mechanism)
        group.counts[finding.verdict] = group.counts.get(finding.verdict, 0) + 1
        rank = _strength(finding)
        if len(group.strongest) < STRONGEST or rank > _strength(group.strongest[-1]):
            group.strongest.append(finding)
            group.strongest.sort(key=_strength, reverse=True)  # stable: of equals, the first judged stays first
            del group.strongest[STRONGEST:]
        if finding.verdict in _RANK:
            proven = finding.verdict == "confirmed" and finding.proof in ("injected_frame", "contradiction")
            if len(self._accusers) < CLIENTS and (not finding.name or self._targets().find(finding.name)):
                self._accusers.add(finding.client)
            self._found += (
                len(self._names) - 1, finding.flow, finding.transaction or 0,
                MECHANISMS.index(finding.mechanism) + 256 * proven, int(finding.id[:16], 16),
            )  # fmt: skip

    def end(self, summary: Summary, failed: int) -> None:
        """The capture is over; `failed`: of `Scan.failed`."""
        self._summaries.append(summary)
        self._failed += failed

    # ---------------------------------------------------------------- the answer

    def _worth(self) -> bool:
        if self._tries is not None or self._enough():
            return True
        return self._held >= MANY and any(
            (one.last_ns or 0) - (one.first_ns or 0) >= LONG for one in self._summaries if one.first_ns is not None
        )

    def _targets(self) -> Targets:
        if self._table_of_targets is None:
            from tamperscope.targets import Targets

            self._table_of_targets = Targets(self._paths)
        return self._table_of_targets

    def _enough(self) -> bool:
        """
        Whether enough failed, of targets at which more than one client did, for anything to be an event.

        Names of no target are pooled, and the pool alone is nobody's event.  A flow without a name is of a target where
        that told its address to somebody.
        """
        if len(self._found) // 5 >= FAILED and len(self._accusers) >= CLIENTS:
            return True
        if self._failed < FAILED:
            return False
        targets = self._targets()
        places: dict[bytes | int, list[bytes]] = {}
        looked = count = 0
        told: set[bytes] | None = None
        for _, _, batch in self._pending:
            for client, server, name in batch.failed():
                looked += 1
                if not name and told is None:
                    told = {where for _, _, one in self._pending for where, of in one.learned() if targets.find(of)}
                place = targets.find(name) if name else server if told and server in told else 0
                if place:
                    places.setdefault(place, []).append(client)
                    count += 1
            if count > MANY or looked > HOLD:
                return True
        several = [client for who in places.values() if len(set(who)) > 1 for client in who]
        return len(several) >= FAILED and len(set(several)) >= CLIENTS

    def answer(self, always: bool = False) -> Answer:
        """All of it; without cells where there was nothing to count, unless `always`."""
        from tamperscope import __version__
        from tamperscope.catalogue import rules_id

        out = Answer(version=__version__, rules=rules_id())
        out.summaries = self._summaries
        times = [(one.first_ns, one.last_ns) for one in self._summaries]
        out.first_ns = min((first for first, _ in times if first is not None), default=None)
        out.last_ns = max((last for _, last in times if last is not None), default=None)
        out.networks = list(self._networks.values())
        out.groups = sorted(self._groups.values(), key=lambda one: (-sum(one.counts.values()), one.mechanism))
        out.limits = _limits(self._summaries)
        if self._worth() or always:
            self._fold()
            self._fill(out)
        if not out.statements:
            out.statements = [_nothing(out)]
        return out

    def _fill(self, out: Answer) -> None:
        from tamperscope.assess import assess, load
        from tamperscope.cells import cells
        from tamperscope.events import Search

        tries = self._fold()
        ends = {i: one.last_ns for i, one in enumerate(self._summaries) if one.last_ns is not None}
        counted = tries.count(ends)
        names = list(self._networks)
        search = Search(counted, names, tries.targets.all)
        out.events = search.events()
        rules = load()
        out.assessments = assess(search, out.events, {one.name: one.by for one in out.networks}, rules)
        told = {ident for one in out.assessments for ident in one.events}
        out.events = [one for one in out.events if one.id in told]  # pooled names alone are nobody's event
        out.statements = [one.statement for one in out.assessments]
        out.cells = list(cells(counted.ballots, names, tries.targets.all))
        seen = {one.target for one in out.cells}
        out.targets = [one for one in tries.targets.all if one.id in seen]
        out.thresholds = dict(rules.limits)
        self._fill_networks(out, counted, search)
        for group in out.groups:
            _by_target(group, counted, names, tries)
        if counted.nameless:
            out.limits.append(Limit("no_name", "flows without a name, also by address, in no ballot", counted.nameless))

    def _fill_networks(self, out: Answer, counted: Counted, search: Search) -> None:
        from tamperscope.answer import MINUTE

        for number, network in enumerate(out.networks):
            network.clients = counted.clients.get(number, 0)
            mine = [one for one in self._summaries if one.capture in network.captures]
            network.first_ns = min((one.first_ns for one in mine if one.first_ns is not None), default=None)
            network.last_ns = max((one.last_ns for one in mine if one.last_ns is not None), default=None)
            network.minutes = int((counted.seen["network"] == number).sum())
            holes = [gap for one in search.stretches if one.network == number for gap in one.gaps]
            network.gaps = [(low * MINUTE, high * MINUTE) for low, high in holes]

    def _table(self) -> Tries:
        if self._tries is None:
            from tamperscope.ballots import Tries

            self._tries = Tries(self._targets())
        return self._tries

    def _fold(self) -> Tries:
        """Reduce the batches that wait, and the findings."""
        import numpy as np

        tries = self._table()
        for network, capture, batch in self._pending:
            rows = batch.table("tries", "tscope_try", "n_tries")
            learned = batch.table("learned", "tscope_learned", "n_learned")
            tries.add(network, capture, rows, learned, batch.text)
        self._pending.clear()
        self._held = 0
        if self._found:
            tries.found(np.array(self._found, np.uint64).reshape(-1, 5))
            self._found.clear()
        return tries


def _by_target(group: Group, counted: Counted, names: list[str], tries: Tries) -> None:
    from tamperscope.ballots import NAMELESS

    mine = counted.found[counted.found["mechanism"] == MECHANISMS.index(group.mechanism)]
    for network, target in zip(mine["network"].tolist(), mine["target"].tolist(), strict=True):
        key = names[network], tries.targets.all[0 if target == NAMELESS else target].id
        group.by_target[key] = group.by_target.get(key, 0) + 1


def _strength(finding: Finding) -> tuple[int, float]:
    return _RANK.get(finding.verdict, 0), finding.confidence or 0.0


def _limits(summaries: Sequence[Summary]) -> list[Limit]:
    words = {
        "one_direction_or_cut": "flows seen in one direction only, or with cut payload: absences there are not judged",
        "flows_evicted": "flows closed early, as the table was full",
    }  # fmt: skip
    counts: dict[str, int] = {}
    for one in summaries:
        for code, n in one.not_judged.items():
            counts[code] = counts.get(code, 0) + n
        if one.evicted:
            counts["flows_evicted"] = counts.get("flows_evicted", 0) + one.evicted
    return [Limit(code, words.get(code, code.replace("_", " ")), n) for code, n in counts.items()]


def _nothing(out: Answer) -> str:
    """Why there is no event."""
    flows = sum(one.flows for one in out.summaries)
    accused = sum(n for group in out.groups for verdict, n in group.counts.items() if verdict in _RANK)
    if accused:
        return (
            f"Interference with {accused:,} flows and lookups, but no event: that takes failures of three clients, and "
            "minutes or names to compare with."
        )
    return f"No event: in {flows:,} flows no platform failed for three clients or more, and more than before or after."
