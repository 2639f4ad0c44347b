"""
Is a flow's loss that of a token bucket: the test behind `throttling`.

A policer lets pass what its bucket has tokens for and drops the rest; it has no queue.  So the bucket is empty at every
loss, and between two losses no more passes than the rate gives, and, where the bucket did not fill up, no less.  A rate
is sought under which the losses are those packets that found the bucket empty, while the packets that passed seldom
did.  Loss by chance strikes at any level, and no rate does better than chance.

A full queue drops by the same law, but holds packets back first: by its length over its rate.  `Fit.queued` is that
delay's share in what a queue as large as the bucket would cause.

Source: the law is that of Flach et al., "An Internet-Wide Analysis of Traffic Policing" (SIGCOMM 2016); their test
takes the flow's own goodput for the rate, and so misses policers that a flow does not fill.
"""

from __future__ import annotations

import numpy as np

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

FLIGHT = 3  # packets between two losses that make the second a test of its own: a burst that is cut off is one loss
TESTS = 5  # fewer prove nothing
DRIFT = 0.04  # of what passed since the last loss: error of the rate, headers of other sizes
BEYOND_RATE = 0.05  # of the stretches between losses may be against the rate: not every loss is the bucket's
NEAR = 0.05  # seconds between a loss and the packet before it that was timed
QUEUED = 0.1  # share of the bucket's delay from which on it is a queue
BY_LAW = 0.8  # of the losses met an empty bucket
BY_CHANCE = 0.6  # of the packets that passed may have met one as well
ODDS = 2.0  # log10 of how much likelier the losses are by the bucket than by chance
WHOLE = 0.97  # of the losses that the best rate meets
SPREAD = 0.9  # of the best odds: rates that do as well


class Fit:
    """
    The bucket that explains a flow's losses best.

    rate: bytes per second, the least of those that do about as well; burst: bytes.  Both count the sizes that were
    given.  tests: losses after at least FLIGHT packets; by_law, by_chance: share of these, and of the packets that
    passed, that met an empty bucket; odds: log10 of the likelihood ratio.  queued: delay before losses (their lower
    quartile, beyond the flow's least) as a share of burst / rate; None where no packet near a loss was timed.
    """

    __slots__ = ("burst", "by_chance", "by_law", "odds", "queued", "rate", "tests")

    def __init__(
        self, rate: float, burst: float, tests: int, by_law: float, by_chance: float, odds: float, queued: float | None
    ) -> None:
        self.rate = rate
        self.burst = burst
        self.tests = tests
        self.by_law = by_law
        self.by_chance = by_chance
        self.odds = odds
        self.queued = queued

    @property
    def lawful(self) -> bool:
        """The losses are a token bucket's, or a full queue's."""
        sure = self.tests >= TESTS and self.odds >= ODDS
        return sure and self.by_law >= BY_LAW and self.by_chance <= BY_CHANCE

    @property
    def kind(self) -> str:
        """Word of the `throttle` object: policing, congestion (a queue, whoever made it) or unknown."""
        if not self.lawful or self.queued is None:
            return "unknown"
        return "policing" if self.queued < QUEUED else "congestion"


class _Rows:
    """A flow's packets from its first loss on, where the bucket is known to be empty."""

    def __init__(self, time: Array, size: Array, lost: Array) -> None:
        self.time = time - time[0]
        self.lost = lost
        self.paid: Array = np.where(lost, 0, size.astype(np.float64))  # tokens taken
        self.passed: Array = np.cumsum(self.paid)
        self.losses = np.flatnonzero(lost)
        self.unit = float(np.median(size))
        before = np.concatenate(([0], np.cumsum(lost)[:-1] - 1))  # index of the loss before each row
        self.stretch = before
        self.since: Array = self.passed - self.paid - self.passed[self.losses][before]
        far = self.since >= FLIGHT * self.unit
        self.tests = lost & far
        self.trials = ~lost & far

    def rates(self) -> Array:
        """Rates to try: what passed between losses, and the flow's own rate times up to 40; ascending."""
        at = self.losses
        time, passed = np.diff(self.time[at]), np.diff(self.passed[at])
        use = (passed >= FLIGHT * self.unit) & (time > 0)
        own = self.passed[-1] / max(float(self.time[-1]), 1e-3)
        spread = np.geomspace(0.8 * own, 40 * own, 16)
        if not use.any():
            return spread
        slopes = np.quantile(passed[use] / time[use], np.linspace(0.05, 1, 24))
        out: Array = np.unique(np.concatenate((slopes, spread)))
        return out

    def under(self, rate: float) -> Fit | None:
        """How well one rate explains the losses; None where stretches passed more than it gives."""
        balance = self.passed - self.paid - rate * self.time  # grows where more passes than the rate gives
        start = balance[self.losses][self.stretch]
        # The least balance since the latest loss: every stretch is put far below the one before, so that one running
        # minimum serves all.
        apart = 4 * (np.abs(balance).max() + 1) * self.stretch
        least = np.minimum.accumulate(balance - apart) + apart
        slack = DRIFT * self.since
        against = self.trials & (balance + self.paid - start > self.unit + slack)
        risen = np.zeros(int(self.stretch[-1]) + 1)
        np.maximum.at(risen, self.stretch, np.where(self.lost, 0, balance + self.paid - least))
        odd = np.unique(self.stretch[against])
        if len(odd) > max(1.0, BEYOND_RATE * float(self.tests.sum())):
            return None
        risen[odd] = 0
        burst = max(self.unit, float(risen.max()))
        tokens = burst - np.maximum(balance - start + burst, balance - least)
        empty = tokens < 1.5 * self.unit + slack
        tests = int(self.tests.sum())
        by_law, by_chance = float(empty[self.tests].mean()), float(empty[self.trials].mean())
        return Fit(rate, burst, tests, by_law, by_chance, _odds(tests, by_law, by_chance), None)


def _odds(n: int, by_law: float, by_chance: float) -> float:
    least = 1 / (n + 2)
    p = min(max(by_law, least), 1 - least)
    q = min(max(by_chance, 0.001), 0.999)
    if p <= q:
        return 0.0
    return float(n * (p * np.log10(p / q) + (1 - p) * np.log10((1 - p) / (1 - q))))


def _queued(fit: Fit, rows: _Rows, delay: Array) -> float | None:
    timed = ~np.isnan(delay)
    if not timed.any():
        return None
    latest = np.maximum.accumulate(np.where(timed, np.arange(len(delay)), -1))
    near = rows.tests & (latest >= 0) & (rows.time - rows.time[latest] < NEAR)
    if not near.any():
        return None
    grown = np.quantile(delay[latest][near], 0.25) - np.quantile(delay[timed], 0.05)
    return max(0.0, float(grown)) * fit.rate / fit.burst


def fit(time: Array, size: Array, lost: Array, delay: Array) -> Fit | None:
    """
    The token bucket that explains best which packets of one direction were lost; None where too few losses test it.

    time: float64 seconds, ascending; size: bytes on the wire; lost: bool, never arrived behind the bucket; delay:
    float64 seconds, round trip or one way, NaN where not known.  All of shape (n,), in the order of sending.
    """
    first = np.flatnonzero(lost)
    if len(first) < TESTS + 1:
        return None
    rows = _Rows(time[first[0] :], size[first[0] :], lost[first[0] :])
    if rows.unit <= 0 or rows.tests.sum() < TESTS or not rows.trials.any():
        return None
    tried = [one for rate in rows.rates() if (one := rows.under(float(rate)))]
    if not tried:
        return None
    best = sorted(tried, key=lambda one: -one.odds)[:3]
    finer = np.outer([one.rate for one in best], np.geomspace(0.85, 1.15, 9)).ravel()
    tried.extend(one for rate in finer if (one := rows.under(float(rate))))
    # A rate that is too high finds fewer packets near an empty bucket, and so gains odds as it begins to miss losses.
    lawful = [one for one in tried if one.lawful] or tried
    most = max(one.by_law for one in lawful)
    tried = [one for one in lawful if one.by_law >= WHOLE * most]
    top = max(one.odds for one in tried)
    chosen = min((one for one in tried if one.odds >= SPREAD * top), key=lambda one: one.rate)
    chosen.queued = _queued(chosen, rows, delay[first[0] :])
    return chosen
