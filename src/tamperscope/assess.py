"""
Events to an assessment: what caused them, and how far they reach.

Events that overlap in time are one case.  Facts about it (features) shift the log odds of six causes by amounts that
stand in ``data/causes.toml``; facts of one source are one group with a cap.  Targeted interference is only said when
every gate is passed, and no cause at all where the next best is too near or votes are too few.  Cause and scope are
two outputs.  Who ordered anything is never one.
"""

from __future__ import annotations

import os
import tomllib
from hashlib import blake2b
from math import exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from tamperscope import wording
from tamperscope.answer import CAUSES, MINUTE, OTHER, Assessment, Event, Feature, Moment, Tally
from tamperscope.ballots import STRATUM
from tamperscope.catalogue import DATA
from tamperscope.events import wilson
from tamperscope.targets import DOMESTIC, WATCHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tamperscope.events import Search

    Array = np.ndarray[Any, Any]

SHORT = dict(zip("TPFRBL", CAUSES, strict=True))
T = CAUSES[0]


class Rules:
    """``data/causes.toml``."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.features: dict[str, dict[str, Any]] = data.pop("features")
        self.limits: dict[str, float] = data

    def __getitem__(self, name: str) -> float:
        return float(self.limits[name])

    def shift(self, feature: str, case: str) -> dict[str, float]:
        """{cause: change of log odds} of one case of a feature."""
        return {SHORT[letter]: float(value) for letter, value in self.features[feature]["cases"][case].items()}


def load() -> Rules:
    with open(os.path.join(DATA, "causes.toml"), "rb") as file:
        return Rules(tomllib.load(file))


def assess(
    search: Search, events: Sequence[Event], by: Mapping[str, str], rules: Rules | None = None
) -> list[Assessment]:
    """
    Assessments of events, by onset.

    Args:
        search: that found the events.
        by: network to how it is told from others (`tamperscope.answer.Network.by`).
    """
    rules = rules or load()
    out = [_Case(search, group, by, rules).assessment() for group in _groups(events, search.spans)]
    _recurrence(out)
    return out


def _groups(events: Sequence[Event], spans: Mapping[str, tuple[int, int]]) -> list[list[Event]]:
    """Events of which each overlaps one of the others by half of the shorter of both."""
    groups: list[list[Event]] = []
    for event in sorted(events, key=lambda one: spans[one.id]):
        near = [group for group in groups if any(_overlap(spans[event.id], spans[one.id]) for one in group)]
        groups = [group for group in groups if group not in near]
        groups.append([one for group in near for one in group] + [event])
    # What only names that are no platform suffer is nobody's outage, and no event to tell of.
    return [group for group in groups if any(one.target not in (OTHER, DOMESTIC) for one in group)]


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    common = min(a[1], b[1]) - max(a[0], b[0])
    return 2 * common >= min(a[1] - a[0], b[1] - b[0])


class _Case:
    """One group of events: its features, scores, gates."""

    def __init__(self, search: Search, events: list[Event], by: Mapping[str, str], rules: Rules) -> None:
        self.search = search
        self.events = events
        self.by = by
        self.rules = rules
        self.number = {target.id: i for i, target in enumerate(search.targets)}
        named = [one for one in events if one.target in self.number]
        self.main = [one for one in named if one.target not in (OTHER, DOMESTIC)]
        self.failing = [one for one in self.main if one.kind == "failure"]
        self.networks = sorted({one.network for one in events})
        self.targets = sorted({one.target for one in self.main}, key=lambda one: self.number[one])
        self.spans = {network: self._span(network) for network in self.networks}
        self.features: list[Feature] = []
        self.tallies: dict[str, Tally] = {}
        self.clients = self.failed = self.proven = self.elsewhere = 0
        self.fine_elsewhere = self.everywhere = False
        self._votes = search.votes
        self._look()

    def _span(self, network: str) -> tuple[int, int]:
        spans = [self.search.spans[one.id] for one in self.events if one.network == network]
        return min(a for a, _ in spans), max(b for _, b in spans)

    def _index(self, network: str) -> int:
        return self.search.networks.index(network)

    def _hit(self, network: str) -> set[int]:
        return {self.number[one.target] for one in self.main if one.network == network}

    def _inside(self, network: str) -> Array:
        a, b = self.spans[network]
        votes = self._votes
        mine: Array = votes[(votes["network"] == self._index(network)) & (votes["minute"] >= a) & (votes["minute"] < b)]
        return mine

    # ---------------------------------------------------------------- features

    def _add(
        self,
        ident: str,
        case: str | None,
        text: str,
        value: float | None,
        *,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
    ) -> None:
        shift = self.rules.shift(ident, case) if case else {}
        group = self.rules.features[ident]["group"]
        rounded = [None if one is None else round(one, 4) for one in (value, low, high)]
        self.features.append(Feature(ident, group, rounded[0], text, low=rounded[1], high=rounded[2], n=n, shift=shift))

    def _look(self) -> None:
        self.volume = [one for one in self.events if one.kind == "volume"]
        if self.volume:
            text = f"clients ceased to be seen on {wording.count(len(self.volume), 'network')}"
            self._add("volume", "ceased", text, float(len(self.volume)), n=len(self.volume))
        if not self.main:
            return
        self._selectivity()
        self._controls()
        self._extent()
        self._frames()
        self._way()
        self._names()
        self._line()
        self._time()
        self._place()
        self._servers()
        self._clients()

    def _selectivity(self) -> None:
        tables, good, bad = [], 0, 0
        voiced = failed = 0
        for network in self.networks:
            hit = self._hit(network)
            if not hit:
                continue
            a, b = self.spans[network]
            strata, inside, failing = self.search.strata(self._index(network), sorted(hit), a, b)
            here = strata[inside & failing]
            mine = np.isin(here["target"], list(hit))
            voiced, failed = voiced + int(here[mine]["voiced"].sum()), failed + int(here[mine]["failed"].sum())
            for server in np.unique(here["server"]):
                on = here["server"] == server
                cells = []
                for part in (here[on & mine], here[on & ~mine & (here["target"] != self.number[DOMESTIC])]):
                    cells += [int(part["failed"].sum()), int(part["votes"].sum() - part["failed"].sum())]
                if cells[2] + cells[3]:
                    tables.append(cells)
                    bad, good = bad + cells[2], good + cells[3]
        if failed >= 10:
            case = "heard" if voiced > 0.3 * failed else None
            self._add("voice", case, f"the server itself said no in {voiced:,} of {failed:,} failed votes",
                      voiced / failed, n=failed)  # fmt: skip
        if not tables:
            self._add("same_server", None, "no other name was seen on the servers that failed", None, n=0)
            return
        odds, low, high = mantel_haenszel(tables)
        _, struck_high = wilson(bad, bad + good)
        struck_low, _ = wilson(bad, bad + good)
        text = f"other names on the same servers: {bad:,} of {bad + good:,} votes failed"
        case = None
        if low > 5 and struck_high < 0.3:
            case = "selective"
        elif high < 1.5 or (struck_low > 0.3 and low < 2):
            case = "struck" if struck_low > 0.3 else "alike"
        elif odds < 2:
            case = "alike"
        self._add("same_server", case, text, odds, low=low, high=high, n=bad + good)

    def _sum(self, kind: str) -> Tally:
        """Controls of one class over the networks; a platform counts once for each of them, not for each event."""
        out = Tally()
        for network in self.networks:
            tallies = [one.controls[kind] for one in self.main if one.network == network and kind in one.controls]
            if tallies:
                most = max(tallies, key=lambda one: one.votes)
                for key in Tally.__slots__:
                    setattr(out, key, getattr(out, key) + getattr(most, key))
        return out

    def _controls(self) -> None:
        self.tallies = {kind: self._sum(kind) for kind in ("same_server", "same_operator", "foreign", "domestic")}
        words = {"same_operator": "other services of the same operators", "foreign": "names on other servers",
                 "domestic": "domestic names"}  # fmt: skip
        for kind, what in words.items():
            tally = self.tallies[kind]
            if tally.votes < 10:
                self._add(kind, None, f"{what}: {tally.votes} votes, too few", None, n=tally.votes)
                continue
            low, high = wilson(tally.failed, tally.votes)
            usual = wilson(tally.failed_before, tally.votes_before)[0] if tally.votes_before else 0.0
            case = None
            if low - usual > 0.1:
                case = "struck"
            elif high - usual < 0.15:
                case = "healthy"
            elif kind == "foreign" and tally.failed / tally.votes - usual > 0.1:
                case = "partly"
            text = f"{what}: {tally.failed:,} of {tally.votes:,} votes failed"
            self._add(kind, case, text, tally.failed / tally.votes, low=low, high=high, n=tally.votes)

    def _extent(self) -> None:
        failed = all_ = 0
        for network in self.networks:
            mine = self._inside(network)
            mine = mine[~np.isin(mine["target"], list(self._hit(network)))]
            failed, all_ = failed + int(mine["failed"].sum()), all_ + len(mine)
        low, high = wilson(failed, all_)
        if all_ >= 10:
            case = "all" if low > 0.6 else "some" if high < 0.5 else None
            self._add("everything", case, f"all further names: {failed:,} of {all_:,} votes failed", failed / all_,
                      low=low, high=high, n=all_)  # fmt: skip
        beside = [one for one in self.events if one.target in (OTHER, DOMESTIC)]
        if beside:
            failed, all_ = sum(one.failed for one in beside), sum(one.votes for one in beside)
            text = f"names that are no platform failed from the same minutes on: {failed:,} of {all_:,} votes"
            self._add("bystanders", "struck", text, failed / all_, n=all_)
        operators = {self.search.targets[self.number[one]].operator for one in self.targets}
        case = "one" if len(operators) == 1 else "two" if len(operators) == 2 else "several"
        self._add("operators", case, f"{wording.count(len(operators), 'operator')} failed", float(len(operators)),
                  n=len(operators))  # fmt: skip
        self._theme()

    def _theme(self) -> None:
        """Fisher's exact test on platforms: failed or not against the kinds that interference aims at."""
        inside = np.concatenate([self._inside(network) for network in self.networks])
        seen = [int(one) for one in np.unique(inside["target"]) if one > 1 and (inside["target"] == one).sum() >= 5]
        hit = set(self.targets)
        table = [[0, 0], [0, 0]]
        for one in seen:
            target = self.search.targets[one]
            table[target.id not in hit][target.kind not in WATCHED] += 1
        (a, b), (c, d) = table
        if a + b and c + d and a + c and b + d:
            p = fisher(a, b, c, d)
            text = f"{a} of {a + b} platforms that failed, and {c} of {c + d} that did not, are for talk and pictures"
            self._add("thematic", "chosen" if p < 0.05 else None, text, p, n=a + b + c + d)

    def _frames(self) -> None:
        firm, counts = [], {}
        found = self.search.counted.found
        for network in self.networks:
            a, b = self.spans[network]
            mine = found[found["proven"] & (found["network"] == self._index(network))]
            mine = mine[np.isin(mine["target"], list(self._hit(network)))]
            mine = mine[(mine["time"] >= a * MINUTE) & (mine["time"] < b * MINUTE)]
            counts[network] = len(mine)
            if len(mine) >= 3 and len(np.unique(mine["client"])) >= 2:
                firm.append(network)
        total = sum(counts.values())
        case: str | None = "several" if len(firm) > 1 else "one" if firm else "none"
        text = f"forged frames proven in {total:,} flows and lookups, on {wording.count(len(firm), 'network')}"
        self._add("injected", case, text, float(len(firm)), n=total)
        self.proven = len(firm)
        struck = failed = 0
        for one in self.failing:
            whole = one.points.get("attempt", {})
            hits = sum(whole.get("interfered", {}).values())
            struck, failed = struck + hits, failed + hits + whole.get("down", 0)
        if failed:
            share = struck / failed
            case = "most" if share >= 0.5 and struck >= 5 else "some" if share >= 0.1 and struck >= 3 else None
            if share < 0.05 and failed >= 15:
                case = "none"
            text = f"interference found in {struck:,} of {failed:,} failed attempts"
            self._add("by_name", case, text, share, n=failed)

    def _ways(self) -> dict[str, dict[str, int]]:
        """{network: {way of failing: attempts}} over the main events."""
        out: dict[str, dict[str, int]] = {}
        for one in self.failing:
            ways = out.setdefault(one.network, {})
            for point in ("dns", "connect", "name", "transfer"):
                cell = one.points.get(point)
                if cell:
                    for mechanism, n in cell["interfered"].items():
                        ways[mechanism] = ways.get(mechanism, 0) + n
                    if cell["down"]:
                        ways[point] = ways.get(point, 0) + cell["down"]
        return {network: ways for network, ways in out.items() if ways}

    def _way(self) -> None:
        ways = self._ways()
        if ways:
            total = sum(sum(one.values()) for one in ways.values())
            share = sum(max(one.values()) for one in ways.values()) / total
            case = "pure" if share > 0.85 else "mixed" if share < 0.6 else None
            self._add("purity", case, f"{share:.0%} of failures on a network are of one kind", share, n=total)
            stages = {"dns": 0, "connect": 0, "name": 0}
            for mine in ways.values():
                for way, n in mine.items():
                    stages[_stage(way)] += n
            best = max(stages, key=lambda one: stages[one])
            share = stages[best] / total
            case = {"dns": "lookup", "connect": "connect", "name": "after_name"}[best] if share > 0.7 else None
            where = {"dns": "in the lookup", "connect": "before a name was sent", "name": "after the name"}[best]
            self._add("stage", case, f"{share:.0%} of failures come {where}", share, n=total)
        tops = {}
        for network in self.networks:
            mechanisms: dict[str, int] = {}
            for one in self.failing:
                if one.network == network:
                    for name, n in one.mechanisms.items():
                        mechanisms[name] = mechanisms.get(name, 0) + n
            if sum(mechanisms.values()) >= 3:
                tops[network] = max(sorted(mechanisms), key=lambda one: mechanisms[one])
        if len(tops) > 1:
            kinds = sorted(set(tops.values()))
            words = wording.listed([wording.plain(kind) for kind in kinds])
            case = "differs" if len(kinds) > 1 and self._same_targets() else None
            self._add("differs", case, f"{len(tops)} networks: {words}", float(len(kinds)))

    def _same_targets(self) -> bool:
        """Whether networks agree on the targets: at least half of all that any has, each."""
        sets = [self._hit(network) for network in self.networks if self._hit(network)]
        all_ = set().union(*sets)
        return all(2 * len(one) >= len(all_) for one in sets)

    def _names(self) -> None:
        failed = all_ = 0
        for network in self.networks:
            a, b = self.spans[network]
            strata, inside, failing = self.search.strata(self._index(network), sorted(self._hit(network)), a, b)
            here = strata[inside & failing & (strata["lookups"] == 1)]
            here = here[~np.isin(here["target"], list(self._hit(network)))]
            failed, all_ = failed + int(here["failed"].sum()), all_ + int(here["votes"].sum())
        if all_ >= 10:
            low, high = wilson(failed, all_)
            case = "all_names" if low > 0.5 else "fine" if high < 0.2 else None
            text = f"lookups of other names at the same resolvers: {failed:,} of {all_:,} failed"
            self._add("resolver", case, text, failed / all_, low=low, high=high, n=all_)
        else:
            lookups = sum(one.points.get("dns", {}).get("ok", 0) for one in self.failing)
            bad = sum(one.points.get("dns", {}).get("down", 0) for one in self.failing)
            if lookups + bad >= 10:
                case = "fine" if wilson(bad, lookups + bad)[1] < 0.2 else None
                self._add("resolver", case, f"{bad:,} of {lookups + bad:,} lookups of the targets failed",
                          bad / (lookups + bad), n=lookups + bad)  # fmt: skip

    def _line(self) -> None:
        inside, outside = [], []
        for network in self.networks:
            a, b = self.spans[network]
            paths = self.search.counted.paths
            mine = paths[(paths["network"] == self._index(network)) & ~np.isin(paths["target"], self._spared(network))]
            within = (mine["ten"] * STRATUM + STRATUM > a) & (mine["ten"] * STRATUM < b)
            inside.append(mine[within])
            outside.append(mine[~within])
        now, before = (_path(np.concatenate(parts)) for parts in (inside, outside))
        if now is not None and before is not None:
            slower, lossier = now[0] / before[0] - 1, now[1] - before[1]
            case = "worse" if lossier > 0.05 or slower > 0.5 else "flat" if lossier < 0.015 and slower < 0.2 else None
            if case == "flat" and self._case("foreign").get(SHORT["F"], 0) > 0:
                case = None  # what went through took another way than what did not
            text = f"what went through: round trips {slower:+.0%}, retransmissions {lossier:+.1%} of packets"
            self._add("line", case, text, lossier, n=int(now[2]))
        slow = [one for one in self.main if one.kind == "degradation"]
        if slow and 2 * len(slow) > len(self.main):
            text = f"{len(slow)} of {len(self.main)} targets were reached in part or late, not lost"
            self._add("degraded", "mostly", text, len(slow) / len(self.main), n=len(self.main))

    def _spared(self, network: str) -> list[int]:
        """Targets whose own traffic says nothing of the line: those that were slowed or cut by name."""
        return sorted({self.number[one.target] for one in self.main if one.network == network and one.mechanisms})

    def _case(self, ident: str) -> dict[str, float]:
        return next((one.shift for one in self.features if one.id == ident), {})

    def _time(self) -> None:
        firsts: dict[str, Moment] = {}
        for one in self.main:
            if one.onset is not None:
                firsts.setdefault(one.network, one.onset)
        if len(firsts) > 1:
            at = [one.at for one in firsts.values()]
            spread = (max(at) - min(at)) / MINUTE
            lows, highs = ([getattr(one, key) or one.at for one in firsts.values()] for key in ("start", "stop"))
            case = "together" if spread <= 10 else "apart" if max(lows) > min(highs) and spread > 30 else None
            self._add("onset", case, f"networks began within {spread:.0f} minutes of each other", spread, n=len(at))

    def _place(self) -> None:
        """The same targets in the same minutes on networks without an event."""
        a = min(one[0] for one in self.spans.values())
        b = max(one[1] for one in self.spans.values())
        votes = self._votes
        away = ~np.isin(votes["network"], [self._index(network) for network in self.networks])
        away &= np.isin(votes["target"], [self.number[one] for one in self.targets])
        there = votes[away & (votes["minute"] >= a) & (votes["minute"] < b)]
        self.elsewhere = len(there)
        if len(there) >= 10:
            failed = int(there["failed"].sum())
            low, high = wilson(failed, len(there))
            case = "fine" if high < 0.3 else "struck" if low > 0.15 else None
            text = f"the same platforms on networks without an event: {failed:,} of {len(there):,} votes failed"
            self._add("elsewhere", case, text, failed / len(there), low=low, high=high, n=len(there))
            self.fine_elsewhere, self.everywhere = case == "fine", case == "struck"
        elif len(self.networks) > 1:
            self.everywhere = True
            text = f"all {len(self.networks)} networks on which the platforms were seen have an event"
            self._add("elsewhere", "struck", text, float(len(self.networks)), n=len(self.networks))

    def _servers(self) -> None:
        """Whole servers that fail, whatever the name: here only, or for all who were watched."""
        alike = self._case("same_server").get(T, 0) < 0
        early = self._case("stage").get(T, 0) < 0
        lookups = self._case("stage").get(SHORT["P"], 0) < 0  # then it is resolvers that fail
        if lookups or not (alike or early) or self._case("foreign").get(SHORT["F"], 0) > 0:
            return
        what = "whole servers fail, whatever the name" if alike else "attempts fail before a name is sent"
        if self.fine_elsewhere:
            self._add("servers", "here" if alike else "perhaps_here", f"{what}, and not on other networks", None)
        elif self.everywhere:
            self._add("servers", "everywhere", f"{what}, on all networks", None)

    def _clients(self) -> None:
        failing = []
        for one in self.main:
            a, b = self.search.spans[one.id]
            mine = self._inside(one.network)
            mine = mine[(mine["target"] == self.number[one.target]) & (mine["minute"] >= a) & (mine["minute"] < b)]
            failing.append(mine[mine["failed" if one.kind == "failure" else "marred"]])
        failed = np.concatenate(failing)
        pairs = failed["client"] ^ (failed["network"].astype(np.uint64) << np.uint64(48))
        clients, counts = np.unique(pairs, return_counts=True)
        self.clients, self.failed = len(clients), len(failed)
        top = float(counts.max() / counts.sum()) if len(counts) else 0.0
        case = "few" if len(clients) < 3 or top > 0.5 else "many" if len(clients) >= 5 and top < 0.35 else None
        text = f"{wording.count(len(clients), 'client')}; the worst has {top:.0%} of the failed votes"
        self._add("clients", case, text, top, n=len(clients))
        case = "one" if len(self.networks) == 1 else "several"
        self._add("sites", case, f"{wording.count(len(self.networks), 'network')} with an event",
                  float(len(self.networks)), n=len(self.networks))  # fmt: skip

    # ---------------------------------------------------------------- scores

    def _scores(self) -> dict[str, float]:
        """Capped sums to probabilities; writes back to each feature what it counted."""
        cap = self.rules["cap"]
        odds = dict.fromkeys(CAUSES, 0.0)
        for group in sorted({one.group for one in self.features}):
            mine = [one for one in self.features if one.group == group and one.shift]
            for cause in CAUSES:
                strongest = sorted(mine, key=lambda one: -abs(one.shift.get(cause, 0.0)))[:2]
                total = sum(one.shift.get(cause, 0.0) for one in strongest)
                scale = min(1.0, cap / abs(total)) if total else 1.0
                odds[cause] += total * scale
                for one in mine:
                    if cause in one.shift:
                        one.shift[cause] = round(one.shift[cause] * scale, 3) if one in strongest else 0.0
        top = max(odds.values())
        weights = {cause: exp(value - top) for cause, value in odds.items()}
        total = sum(weights.values())
        ranked = sorted(weights, key=lambda cause: (-weights[cause], CAUSES.index(cause)))
        return {cause: round(weights[cause] / total, 4) for cause in ranked}

    def _gates(self) -> list[dict[str, Any]]:
        rules = self.rules
        votes = sum(one.votes for one in self.failing)
        by = {one.id: one for one in self.features}
        selective = by["same_server"].shift.get(T, 0) > 0 if "same_server" in by else False
        controls = sum(tally.votes for kind, tally in self.tallies.items() if kind != "domestic")
        operators = by["operators"].n or 0 if "operators" in by else 0
        not_platform = operators >= 3 or self.fine_elsewhere or self.proven > 0
        unknown = [one.unknown_share for one in self.failing if one.unknown_share is not None]
        share = max(unknown) if unknown else 0.0
        struck = by.get("by_name")
        named = self.proven > 0 or selective or bool(struck and struck.shift.get(T, 0) >= 2)
        gates: list[tuple[str, bool | None, str]] = [
            ("votes", votes >= rules["votes"] and self.clients >= rules["clients"],
             f"{votes:,} votes, {wording.count(self.clients, 'client')} that failed"),
            ("controls", controls >= rules["control_votes"], f"{controls:,} votes of comparable traffic"),
            ("no_platform_outage", not_platform,
             "more than two operators, forged frames, or the platforms fine elsewhere"),
            ("by_name", named, "other names of the same servers reached, forged frames, or drops by name"),
            ("unknown", share <= rules["unknown_share"], f"at most {share:.0%} of attempts could not be judged"),
        ]  # fmt: skip
        return [{"id": ident, "passed": passed, "text": text} for ident, passed, text in gates]

    def assessment(self) -> Assessment:
        """The verdict of this group of events."""
        scores = self._scores()
        gates = self._gates()
        ranked = list(scores)
        best = ranked[0]
        cause = self._cause(scores, gates)
        decided = cause in CAUSES
        movers = sorted((one for one in self.features if one.shift.get(best)), key=lambda one: -abs(one.shift[best]))
        onset, end = self._when("onset"), self._when("end")
        mechanisms: dict[str, dict[str, int]] = {}
        for one in self.main:
            for name, n in one.mechanisms.items():
                here = mechanisms.setdefault(one.network, {})
                here[name] = here.get(name, 0) + n
        ident = blake2b(" ".join(sorted(one.id for one in self.events)).encode(), digest_size=8).hexdigest()
        out = Assessment(
            id=ident, events=[one.id for one in self.events], targets=self.targets or ["*"], networks=self.networks,
            onset=onset, end=end, cause=cause, score=scores[cause] if decided else None,
            scope=self._scope() if decided else None, scores=scores, features=self.features,
            for_=[one.id for one in movers if one.shift[best] > 0][:5],
            against=[one.id for one in movers if one.shift[best] < 0][:5], gates=gates,
            controls={kind: tally for kind, tally in self.tallies.items() if tally.votes}, mechanisms=mechanisms,
            votes=sum(one.votes for one in self.main), failed=sum(one.failed for one in self.main),
            clients=self.clients, statement="-",
        )  # fmt: skip
        out.changes = wording.changes(out, self.elsewhere)
        titles = {target.id: target.title for target in self.search.targets}
        out.statement = wording.statement(out, self.main or self.events, titles, len(self.search.networks))
        return out

    def _cause(self, scores: dict[str, float], gates: list[dict[str, Any]]) -> str:
        rules = self.rules
        if not self.volume and (self.failed < rules["floor_votes"] or self.clients < rules["floor_clients"]):
            return "insufficient"
        first, second = list(scores)[:2]
        if scores[first] < exp(rules["lead"]) * scores[second]:
            return "inconclusive"
        if first == SHORT["P"] and not (self.everywhere or self._case("same_server").get(SHORT["P"], 0) > 0):
            return "inconclusive"  # from one network an outage and a rule look alike
        if first == T and not (self.failing and all(gate["passed"] for gate in gates)):
            return "inconclusive"
        return first

    def _scope(self) -> str:
        """How far it reaches: networks count only where something other than a file's name tells them apart."""
        told = [network for network in self.networks if self.by.get(network, "file") != "file"]
        firm = [network for network in told if self._firm(network)]
        if len(firm) >= 2:
            return "several_networks"
        return "network" if told and self.clients >= 5 else "site"

    def _firm(self, network: str) -> bool:
        mine = [one for one in self.events if one.network == network]
        return any((one.log10_bayes or 0) >= 2 for one in mine)

    def _when(self, which: str) -> Moment | None:
        """Of all events: the earliest onset, the latest end; None where one of them is not bounded."""
        all_: list[Moment | None] = [getattr(one, which) for one in self.main or self.events]
        known = [one for one in all_ if one is not None]
        if not known or len(known) < len(all_):
            return None
        return min(known, key=lambda one: one.at) if which == "onset" else max(known, key=lambda one: one.at)


def _stage(way: str) -> str:
    if way == "dns" or way.startswith("dns_"):
        return "dns"
    return "connect" if way in ("connect", "ip_block") else "name"


def _path(rows: Array) -> tuple[float, float, int] | None:
    """(round trip, share of packets sent again, packets), where there are enough of both."""
    packets, timed = int(rows["packets"].sum()), int(rows["rtts"].sum())
    if packets < 100 or timed < 10:
        return None
    return exp(float(rows["log_rtt"].sum()) / timed), float(rows["retransmissions"].sum()) / packets, packets


def mantel_haenszel(tables: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """
    Common odds ratio over strata, with its 95 % interval (Robins, Breslow and Greenland 1986).

    Args:
        tables: (a, b, c, d) of each stratum: failed and reached of the one, failed and reached of the other.  A half is
            added to each where a sum over strata would be zero.
    """
    cells = np.array(tables, float)
    if (cells.sum(axis=0) == 0).any():
        cells += 0.5 / len(cells)
    a, b, c, d = cells.T
    n = cells.sum(axis=1)
    r, s = a * d / n, b * c / n
    if r.sum() == 0 or s.sum() == 0:
        cells += 0.5 / len(cells)
        a, b, c, d = cells.T
        n = cells.sum(axis=1)
        r, s = a * d / n, b * c / n
    p, q = (a + d) / n, (b + c) / n
    up, down = r.sum(), s.sum()
    variance = (p * r).sum() / (2 * up**2) + (p * s + q * r).sum() / (2 * up * down) + (q * s).sum() / (2 * down**2)
    middle, half = log(up / down), 1.96 * sqrt(variance)
    return exp(middle), exp(middle - half), exp(middle + half)


def fisher(a: int, b: int, c: int, d: int) -> float:
    """One-sided p of a or more in the corner of a table with these margins."""
    from math import comb

    row, column, all_ = a + b, a + c, a + b + c + d
    ways = comb(all_, row)
    return sum(comb(column, k) * comb(all_ - column, row - k) for k in range(a, min(row, column) + 1)) / ways


def _recurrence(assessments: Sequence[Assessment]) -> None:
    """Days on which the same targets failed at that hour for that cause."""
    day = 24 * 60 * MINUTE
    for one in assessments:
        if one.onset is None or one.end is None:
            continue
        for other in assessments:
            if other is one or other.onset is None or other.end is None or other.cause != one.cause:
                continue
            apart = (other.onset.at - one.onset.at) % day
            near = min(apart, day - apart) <= 180 * MINUTE
            common = set(one.targets) & set(other.targets)
            if near and abs(other.onset.at - one.onset.at) >= day // 2 and 2 * len(common) >= len(one.targets):
                one.recurrence.append(wording.date(other.onset.at))
        one.recurrence = sorted(set(one.recurrence))
