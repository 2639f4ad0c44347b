"""
Votes to events: one target on one network, from an onset to an end.

Each network is searched stretch by stretch (`changes.find`), first all of its targets with a window that they may
share, then each target that stayed out on its own, then what lies before and after.  An event needs `FAILED` failed
votes of `CLIENTS` clients, must stand without its worst client, and must be `BAYES` times likelier than no change.  A
target that fails all the time has no onset; it is an event where others on its network are reached.  When clients
cease to be seen, that is an event of its own kind; a stretch in which nothing at all was captured is a gap, which
nobody can tell from silence.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tamperscope import changes
from tamperscope.answer import CONTROLS, MINUTE, Event, Moment, Tally
from tamperscope.ballots import ATTEMPT, STRATUM
from tamperscope.cells import points, votes
from tamperscope.targets import DOMESTIC

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tamperscope.answer import Target
    from tamperscope.ballots import Counted

    Array = np.ndarray[Any, Any]

LEVEL = 0.95
BAYES = 2.0  # log10
FAILED, CLIENTS = 6, 3  # of a window; of each target that shares it LEAST
LEAST = 2
OTHERS = 4  # failed votes that are not of the client that failed most
WITHOUT_WORST = 1.0  # log10 of the Bayes factor that is left without the client that failed most
PART = 0.9  # probability with which a target takes part
STANDING = 0.3  # rate above which a target fails "all the time": the lower end of the interval
RATE = 0.2  # least rate inside
WHERE = 0.25  # share of a target's votes on a server that failed, from which on it fails there
APART = 4 * 60  # minutes without anything: another stretch
QUIET = 10  # minutes of a bin in which clients are counted
DEPTH = 6
MAX_FINDINGS = 32


class Stretch:
    """Minutes first to last of a network without a long pause, and the gaps in them: [(from, to)], minutes."""

    def __init__(self, network: int, first: int, last: int, gaps: list[tuple[int, int]]) -> None:
        self.network = network
        self.first = first
        self.last = last
        self.gaps = gaps


class Search:
    """
    The search for events in what was counted.

    Args:
        counted: of `Tries.count`.
        networks: name by number.
        targets: by number.
    """

    def __init__(self, counted: Counted, networks: Sequence[str], targets: Sequence[Target]) -> None:
        self.counted = counted
        self.networks = networks
        self.targets = targets
        self.votes = votes(counted.ballots)
        self.stretches = [one for n in range(len(networks)) for one in stretches(counted.seen, n)]
        self.spans: dict[str, tuple[int, int]] = {}  # event id: minutes [a, b)

    def events(self) -> list[Event]:
        """All events, by onset, network, target; with their controls."""
        out: list[Event] = []
        for stretch in self.stretches:
            out += self._stretch(stretch)
            out += self._volume(stretch)
        out.sort(key=lambda one: (self.spans[one.id][0], one.network, one.target))
        for one in out:
            if one.kind != "volume":
                one.controls = self.controls(one, out)
        return out

    # ---------------------------------------------------------------- windows

    def _stretch(self, stretch: Stretch) -> list[Event]:
        here = self.votes[self.votes["network"] == stretch.network]
        here = here[(here["minute"] >= stretch.first) & (here["minute"] <= stretch.last)]
        series = {int(target): here[here["target"] == target] for target in np.unique(here["target"])}
        out, moved = self._kind("failure", stretch, series)
        for target, mine in series.items():
            if target not in moved and self._stands(mine):
                out.append(self._event("failure", stretch, target, mine, None))
                moved.add(target)
        slow = {target: _marred(mine) for target, mine in series.items() if target not in moved}
        out += self._kind("degradation", stretch, slow)[0]
        return [one for one in out if one is not None]

    def _kind(self, kind: str, stretch: Stretch, series: dict[int, Array]) -> tuple[list[Event | None], set[int]]:
        windows: list[tuple[int, changes.Window]] = []
        self._search(series, stretch.first, stretch.last, windows, DEPTH)
        out = [
            self._event(kind, stretch, target, series[target], window, [series[t] for t, w in windows if w is window])
            for target, window in windows
        ]
        return out, {target for target, _ in windows}

    def _search(
        self, series: dict[int, Array], first: int, last: int, out: list[tuple[int, changes.Window]], depth: int
    ) -> None:
        if depth == 0 or last - first < 1:
            return
        # Who has not failed twice takes no part; what is left is searched together if it could be an event at all.
        series = {target: mine for target, mine in series.items() if mine["failed"].sum() >= LEAST}
        if not series or not _may(np.concatenate(list(series.values()))):
            return
        taken, window = self._shared(series, first, last) if len(series) > 1 else ({}, None)
        alone = [target for target in series if target not in taken]
        for target in alone:
            own = self._own(series[target], first, last)
            if own is not None:
                out.append((target, own))
                self._beside({target: series[target]}, own, first, last, out, depth)
        if window is not None:
            out += taken.items()
            self._beside({target: series[target] for target in taken}, window, first, last, out, depth)

    def _beside(
        self, series: dict[int, Array], window: changes.Window, first: int, last: int,
        out: list[tuple[int, changes.Window]], depth: int,
    ) -> None:  # fmt: skip
        """What lies before a window and after it is searched again."""
        a, b = window.best
        for low, high in ((first, a - 1), (b, last)):
            part = {t: mine[(mine["minute"] >= low) & (mine["minute"] <= high)] for t, mine in series.items()}
            self._search(part, low, high, out, depth - 1)

    def _shared(
        self, series: dict[int, Array], first: int, last: int
    ) -> tuple[dict[int, changes.Window], changes.Window | None]:
        window = self._find(series, first, last)
        if window is None or window.log10_bayes < BAYES:
            return {}, None
        inside = {target: _inside(mine, *window.best) for target, mine in series.items()}
        taken = {
            target: window
            for (target, mine), part in zip(inside.items(), window.takes_part, strict=True)
            if part >= PART and mine["failed"].sum() >= LEAST and _rate(mine) >= RATE
        }
        together = np.concatenate([inside[target] for target in taken]) if taken else np.zeros(0, self.votes.dtype)
        mine = {target: series[target] for target in taken}
        if not self._enough(together, mine, first, last):
            return {}, None
        window = self._sharper(mine, window, first, last)
        taken = dict.fromkeys(taken, window)
        for target in taken:  # a window of its own, if it is clearly another
            own = self._own(series[target], first, last)
            if own is not None and _differ(own, window):
                taken[target] = own
        return taken, window

    def _own(self, mine: Array, first: int, last: int) -> changes.Window | None:
        if not _may(mine):
            return None
        window = self._find({0: mine}, first, last)
        if window is None or window.log10_bayes < BAYES:
            return None
        inside = _inside(mine, *window.best)
        if _rate(inside) < RATE or not self._enough(inside, {0: mine}, first, last):
            return None
        return self._sharper({0: mine}, window, first, last)

    def _sharper(self, series: dict[int, Array], window: changes.Window, first: int, last: int) -> changes.Window:
        """
        The window without the clients that nothing happened to.

        A rule need not cover everybody.  Who reached all of it inside says nothing of when it began, but would move the
        onset behind each of its visits.
        """
        all_ = np.concatenate(list(series.values()))
        inside = _inside(all_, *window.best)
        struck = np.unique(inside["client"][inside["failed"]])
        spared = np.setdiff1d(np.unique(inside["client"]), struck)
        if not len(spared):
            return window
        rest = {target: mine[~np.isin(mine["client"], spared)] for target, mine in series.items()}
        again = self._find(rest, first, last)
        if again is None or again.log10_bayes < BAYES:
            return window
        again.log10_bayes = window.log10_bayes  # what was found, with all votes
        return again

    def _enough(self, inside: Array, series: dict[int, Array], first: int, last: int) -> bool:
        """Enough failed votes of enough clients, and a change that is there without the worst of them."""
        failed = inside[inside["failed"]]
        clients, counts = np.unique(failed["client"], return_counts=True)
        if len(failed) < FAILED or len(clients) < CLIENTS:
            return False
        worst = clients[counts.argmax()]
        if len(failed) - counts.max() < OTHERS:
            return False
        rest = {target: mine[mine["client"] != worst] for target, mine in series.items()}
        window = self._find(rest, first, last)
        return window is not None and window.log10_bayes >= WITHOUT_WORST

    @staticmethod
    def _find(series: dict[int, Array], first: int, last: int) -> changes.Window | None:
        columns = [(mine["minute"].astype(np.int64), mine["failed"]) for mine in series.values()]
        return changes.find(columns, first, last, shared=len(columns) > 1)

    @staticmethod
    def _stands(mine: Array) -> bool:
        failed = mine[mine["failed"]]
        clients, counts = np.unique(failed["client"], return_counts=True)
        if len(failed) < FAILED + 3 or len(clients) < CLIENTS or 2 * counts.max() > len(failed):
            return False
        return wilson(len(failed), len(mine))[0] > STANDING

    # ---------------------------------------------------------------- one event

    def _event(
        self, kind: str, stretch: Stretch, target: int, mine: Array, window: changes.Window | None,
        sharing: Sequence[Array] = (),
    ) -> Event | None:  # fmt: skip
        if window is None:
            onset = end = None
            a, b = stretch.first, stretch.last + 1
        else:
            onset, end = moments(window)
            a, b = (int(one.at // MINUTE) for one in (onset, end))
            # Nothing reached before or after: it may as well have begun before the capture or gone on after it.
            if not any(_reached(one[one["minute"] < a]) for one in sharing):
                onset = None
                a = stretch.first
            if not any(_reached(one[one["minute"] >= b]) for one in sharing):
                end = None
                b = stretch.last + 1
        inside = _inside(mine, a, b)
        failed = inside[inside["failed"]]
        if not len(failed):
            return None
        outside = mine[(mine["minute"] < a) | (mine["minute"] >= b)]
        network, name = self.networks[stretch.network], self.targets[target].id
        ballots = self.counted.ballots
        ballots = ballots[(ballots["network"] == stretch.network) & (ballots["target"] == target)]
        ballots = ballots[(ballots["minute"] >= a) & (ballots["minute"] < b)]
        ways = points(ballots)
        whole = ways.get("attempt", {"reached": 0, "unknown": 0, "interfered": {}})
        all_ = whole["reached"] + whole["unknown"]
        found = self.counted.found
        found = found[(found["network"] == stretch.network) & (found["target"] == target)]
        ids = [f"{one:016x}" for one in _inside_ns(found, a, b)["id"].tolist()]
        ident = event_id(kind, network, name, a)
        self.spans[ident] = (a, b)
        return Event(
            id=ident, target=name, network=network, kind=kind, onset=onset, end=end, points=ways,
            mechanisms=dict(whole["interfered"]), votes=len(inside), failed=len(failed), votes_before=len(outside),
            failed_before=int(outside["failed"].sum()), clients=len(np.unique(inside["client"])),
            failed_clients=len(np.unique(failed["client"])), unknown_share=whole["unknown"] / all_ if all_ else None,
            log10_bayes=None if window is None else round(window.log10_bayes, 2), seen=_brackets(mine, a, b),
            findings=ids[:MAX_FINDINGS], findings_total=len(ids), limits=self._limits(stretch, a, b),
        )  # fmt: skip

    @staticmethod
    def _limits(stretch: Stretch, a: int, b: int) -> list[str]:
        return ["capture_gap"] if any(low < b and high > a for low, high in stretch.gaps) else []

    # ---------------------------------------------------------------- volume

    def _volume(self, stretch: Stretch) -> list[Event]:
        """
        Clients that were there and cease to be seen, though the capture goes on.

        Bins of ten minutes; each known client votes whether it began anything: a burst of one client is one vote.
        """
        ballots = self.counted.ballots
        mine = ballots[(ballots["network"] == stretch.network) & (ballots["point"] == ATTEMPT)]
        mine = mine[(mine["minute"] >= stretch.first) & (mine["minute"] <= stretch.last)]
        clients = np.unique(mine["client"])
        low, high = stretch.first // QUIET, stretch.last // QUIET
        bins = high - low + 1
        if len(clients) < CLIENTS or bins < 6:
            return []
        active = np.zeros((len(clients), bins), bool)
        active[np.searchsorted(clients, mine["client"]), mine["minute"] // QUIET - low] = True
        usual = np.median(active.sum(axis=0)[active.any(axis=0)])
        if usual < CLIENTS:
            return []
        when = np.tile(np.arange(bins), len(clients)) + low
        window = changes.find([(when, ~active.ravel())], low, high, shared=False)
        if window is None or window.log10_bayes < BAYES:
            return []
        a, b = window.best
        inside, outside = active[:, a - low : b - low], np.delete(active, np.s_[a - low : b - low], axis=1)
        if b - a < 2 or outside.shape[1] < 2 or inside.mean() > 0.2 * outside.mean():
            return []
        seen = self.counted.seen
        seen = seen[(seen["network"] == stretch.network) & (seen["minute"] >= a * QUIET) & (seen["minute"] < b * QUIET)]
        if not len(seen):  # nothing at all: the capture may have paused
            return []
        onset, end = (_moment(p, window.first, QUIET) for p in (window.onset, window.end))
        network = self.networks[stretch.network]
        ident = event_id("volume", network, "*", a * QUIET)
        self.spans[ident] = (a * QUIET, b * QUIET)
        return [
            Event(
                id=ident, target="*", network=network, kind="volume", onset=None if a == low else onset,
                end=None if b > high else end, votes=inside.size, failed=int((~inside).sum()),
                votes_before=outside.size, failed_before=int((~outside).sum()), clients=len(clients),
                failed_clients=int((~inside.any(axis=1)).sum()), log10_bayes=round(window.log10_bayes, 2),
                limits=self._limits(stretch, a * QUIET, b * QUIET),
            )
        ]  # fmt: skip

    # ---------------------------------------------------------------- controls

    def controls(self, event: Event, events: Sequence[Event]) -> dict[str, Tally]:
        """
        Votes of comparable traffic in the same minutes; platforms that have an event there themselves are left out.
        """
        a, b = self.spans[event.id]
        network = self.networks.index(event.network)
        number = {target.id: i for i, target in enumerate(self.targets)}
        mine = number[event.target]
        hit = {
            number[one.target]
            for one in events
            if one.kind != "volume" and one.network == event.network and one.target in number
            and self.spans[one.id][0] < b and self.spans[one.id][1] > a
        }  # fmt: skip
        own = hit & {0, 1} if mine not in (0, 1) else {mine}
        hit -= own  # names that are no platform are a control even where some of them fail
        here = self.votes[self.votes["network"] == network]
        if event.kind == "degradation":
            here = _marred(here)
        out: dict[str, Tally] = {}
        operator = self.targets[mine].operator
        same = [i for i, one in enumerate(self.targets) if operator and one.operator == operator]
        for kind, who in (("same_operator", same), ("domestic", [number[DOMESTIC]])):
            chosen = [i for i in who if i != mine and i not in hit]
            tally = _tally(here[np.isin(here["target"], chosen)], a, b)
            if tally.votes:
                out[kind] = tally
        for kind, tally in self._by_server(network, mine, hit | {mine}, a, b).items():
            if tally.votes:
                out[kind] = tally
        elsewhen = self._same_hour(network, mine, a, b, events)
        if elsewhen.votes:
            out["same_hour"] = elsewhen
        return {kind: out[kind] for kind in CONTROLS if kind in out}

    def strata(self, network: int, targets: Sequence[int], a: int, b: int) -> tuple[Array, Array, Array]:
        """Strata of a network; a mask of those between a and b, a mask of servers on which the targets failed there."""
        all_ = self.counted.strata
        all_ = all_[all_["network"] == network]
        inside = (all_["ten"] * STRATUM + STRATUM > a) & (all_["ten"] * STRATUM < b)
        mine = all_[inside & np.isin(all_["target"], targets)]
        servers, at = np.unique(mine["server"], return_inverse=True)
        failed, cast = (np.bincount(at, mine[key], len(servers)) for key in ("failed", "votes"))
        share = failed / np.maximum(cast, 1)
        # A server that the targets reach as a rule is not where they fail, though one may have failed there once.
        return all_, inside, np.isin(all_["server"], servers[share >= WHERE])

    def _by_server(self, network: int, target: int, hit: set[int], a: int, b: int) -> dict[str, Tally]:
        """Other names on servers where the target failed, and names on other servers."""
        all_, inside, failing = self.strata(network, [target], a, b)
        _, _, struck = self.strata(network, sorted(hit), a, b)
        free = ~np.isin(all_["target"], [*hit, 1])
        away = free & ~struck & (all_["lookups"] == 0)

        def tally(mine: Array) -> Tally:
            within, without = all_[mine & inside], all_[mine & ~inside]
            return Tally(*(int(part[key].sum()) for part in (within, without) for key in ("votes", "failed")))

        return {"same_server": tally(free & failing), "foreign": tally(away)}

    def _same_hour(self, network: int, target: int, a: int, b: int, events: Sequence[Event]) -> Tally:
        """The same minutes of the day on other days, where there was no event of this target."""
        mine = self.votes[(self.votes["network"] == network) & (self.votes["target"] == target)]
        day = 24 * 60
        shift = (mine["minute"].astype(np.int64) - a) % day
        use = (shift < min(b - a, day)) & ((mine["minute"] < a) | (mine["minute"] >= b))
        for one in events:
            if one.target == self.targets[target].id and one.network == self.networks[network]:
                low, high = self.spans[one.id]
                use &= (mine["minute"] < low) | (mine["minute"] >= high)
        other = mine[use]
        return Tally(len(other), int(other["failed"].sum()), clients=len(np.unique(other["client"])))


# ---------------------------------------------------------------- small things


def stretches(seen: Array, network: int) -> list[Stretch]:
    """
    The stretches of one network: pauses of `APART` minutes and more are between them, shorter ones are gaps in them.
    """
    minutes = seen["minute"][seen["network"] == network].astype(int)
    if not len(minutes):
        return []
    pauses = np.diff(minutes)
    edges = np.flatnonzero(pauses >= APART)
    out = []
    for part in np.split(minutes, edges + 1):
        gaps = np.diff(part)
        # Silence that would come about once in ten thousand pauses, were they drawn from one rate.
        longest = max(3.0, np.log(1e4) * float(np.mean(gaps)) if len(gaps) else 0.0)
        holes = np.flatnonzero(gaps > longest)
        out.append(Stretch(network, int(part[0]), int(part[-1]), [(int(part[i]) + 1, int(part[i + 1])) for i in holes]))
    return out


def moments(window: changes.Window) -> tuple[Moment, Moment]:
    """Onset and end of a window of minutes."""
    onset, end = (_moment(p, window.first, 1) for p in (window.onset, window.end))
    return onset, end


def _moment(p: Array, first: int, step: int) -> Moment:
    median, low, high = changes.interval(p, LEVEL)
    # The minute in which it changed holds votes of both kinds, so the first minute inside may be that one or the next.
    at, start, stop = ((first + i) * step * MINUTE for i in (median, low, high))
    return Moment(at, start - step * MINUTE, stop + step * MINUTE, LEVEL)


def event_id(kind: str, network: str, target: str, minute: int) -> str:
    return blake2b(f"{kind} {network} {target} {minute}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a rate, 95 % by default; (0, 1) without a vote."""
    if n == 0:
        return 0.0, 1.0
    p, square = k / n, z * z
    middle = (p + square / (2 * n)) / (1 + square / n)
    half = z * ((p * (1 - p) / n + square / (4 * n * n)) ** 0.5) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _inside(mine: Array, a: int, b: int) -> Array:
    inside: Array = mine[(mine["minute"] >= a) & (mine["minute"] < b)]
    return inside


def _may(mine: Array) -> bool:
    """Whether there are enough failed votes of enough clients for an event anywhere in them."""
    failed = mine["failed"]
    return int(failed.sum()) >= FAILED and len(np.unique(mine["client"][failed])) >= CLIENTS


def _marred(mine: Array) -> Array:
    """The same votes, those that were reached only in part counted as failed."""
    out = mine.copy()
    out["failed"] = mine["marred"]
    return out


def _inside_ns(found: Array, a: int, b: int) -> Array:
    inside: Array = found[(found["time"] >= a * MINUTE) & (found["time"] < b * MINUTE)]
    return inside


def _rate(mine: Array) -> float:
    return (float(mine["failed"].sum()) + 0.5) / (len(mine) + 1)


def _reached(mine: Array) -> bool:
    return bool((~mine["failed"]).any())


def _differ(own: changes.Window, shared: changes.Window) -> bool:
    """Whether the intervals of onset or end have nothing in common."""
    for ours, theirs in ((own.onset, shared.onset), (own.end, shared.end)):
        _, low, high = changes.interval(ours, 0.99)
        _, first, last = changes.interval(theirs, 0.99)
        if high < first or low > last:
            return True
    return False


def _tally(mine: Array, a: int, b: int) -> Tally:
    inside = _inside(mine, a, b)
    outside = mine[(mine["minute"] < a) | (mine["minute"] >= b)]
    return Tally(
        len(inside), int(inside["failed"].sum()), len(outside), int(outside["failed"].sum()),
        len(np.unique(inside["client"])),
    )  # fmt: skip


def _brackets(mine: Array, a: int, b: int) -> dict[str, int | None]:
    """Hard brackets, by the minute: the last that reached it before, the first that failed, and the other way round."""
    inside = _inside(mine, a, b)
    bad = inside["minute"][inside["failed"]]
    good = mine["minute"][~mine["failed"]]
    before, after = good[good < a], good[good >= b]
    ends = (before.max() if len(before) else None, bad.min() if len(bad) else None, bad.max() if len(bad) else None,
            after.min() if len(after) else None)  # fmt: skip
    keys = ("last_ok_before", "first_failed", "last_failed", "first_ok_after")
    return {key: None if one is None else int(one) * MINUTE for key, one in zip(keys, ends, strict=True)}
