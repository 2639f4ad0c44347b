"""
When failing began and ended: the exact two-change-point model on votes.

Votes fail with one rate outside of a window and with another, higher one inside.  Rates are integrated out (Beta
priors), the window has a uniform prior over minutes, and all windows are summed, so onset and end come as posterior
distributions and the Bayes factor of a change against none is exact.  Targets of one network may share a window: then
each either takes part in it or does not, and a few votes of each together place it (Barry and Hartigan 1993 for the
product partition; the sum over all pairs is feasible because only minutes with votes matter).
"""

from __future__ import annotations

from math import lgamma, log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Array = np.ndarray[Any, Any]

OUTSIDE = (0.5, 9.5)  # Beta prior of the rate of failing outside: one in twenty fails on ordinary evenings
INSIDE = (1.0, 1.0)
STEADY = 0.1  # prior weight of "this target fails at any steady rate" among the ways of not changing
TAKES_PART = 0.5  # prior probability that a target takes part in a window of its network
LEAST_RISE = 0.1
# Votes of one client in neighbouring minutes say little new: for onset and end five count as four.
EFFECTIVE = 0.8
MAX_PLACES = 1200  # minutes with votes that are told apart; neighbours are joined beyond that


class Window:
    """
    The posterior of one window over minutes.

    ``minutes``: the first is `first`, shape (n + 1,) each: ``onset[i]`` is the probability that minute first + i is
    the first inside, ``end[i]`` that it is the first after it.  ``log10_bayes``: change against none.  ``best``: (a,
    b), the most probable window, minutes; ``takes_part``: probability of each target.
    """

    def __init__(
        self, first: int, onset: Array, end: Array, log10_bayes: float, best: tuple[int, int], takes_part: list[float]
    ) -> None:
        self.first = first
        self.onset = onset
        self.end = end
        self.log10_bayes = log10_bayes
        self.best = best
        self.takes_part = takes_part


def find(series: Sequence[tuple[Array, Array]], first: int, last: int, shared: bool = True) -> Window | None:
    """
    The window of a number of targets.

    Args:
        series: of each target (minute, failed), one entry for each vote, in any order.
        first, last: the stretch of minutes that was captured, both included.
        shared: whether a target may stay out; False for one target alone.
    Returns:
        None where no vote failed.
    """
    if not any(failed.any() for _, failed in series):
        return None
    places = _places(series)
    n = len(places)
    a, b = np.triu_indices(n + 1, 1)  # windows from place a up to and without place b
    total = np.zeros(len(a))
    own = []
    for minute, failed in series:
        where = np.searchsorted(places, minute, "right") - 1
        rise = _rise(np.bincount(where, minlength=n), np.bincount(where, failed, n).astype(int), a, b)
        own.append(rise)
        total += np.logaddexp(log(1 - TAKES_PART), log(TAKES_PART) + rise) if shared else rise
    before = np.log(_weights(places, first, last))
    posterior = total + before[a] + before[b]
    top = float(posterior.max())
    mass = np.exp(posterior - top)
    whole = float(mass.sum())
    span = last - first + 1
    bayes = (top + log(whole) - log(span * (span + 1) / 2)) / log(10)
    mass /= whole
    best = int(mass.argmax())
    part = [float((mass * _share(rise)).sum()) if shared else 1.0 for rise in own]
    blunt = EFFECTIVE * total + before[a] + before[b]
    blunt = np.exp(blunt - blunt.max())
    blunt /= blunt.sum()
    onset, end = (_spread(np.bincount(side, blunt, n + 1), places, first, last) for side in (a, b))
    edges = [*places.tolist(), last + 1]
    return Window(first, onset, end, bayes, (edges[a[best]], edges[b[best]]), part)


def _share(rise: Array) -> Array:
    inside: Array = np.exp(np.minimum(rise, 700)) * TAKES_PART
    return inside / (inside + 1 - TAKES_PART)


def _places(series: Sequence[tuple[Array, Array]]) -> Array:
    """Distinct minutes with votes, ascending; of more than MAX_PLACES each so manieth."""
    minutes = np.unique(np.concatenate([minute for minute, _ in series]))
    return minutes[:: -(-len(minutes) // MAX_PLACES)]


def _weights(places: Array, first: int, last: int) -> Array:
    """
    How many minutes each boundary stands for: those after the place before it, up to the place itself; then the rest.
    """
    edges = np.concatenate([[first - 1], places, [last + 1]])
    return np.maximum(np.diff(edges), 1).astype(float)


def _spread(marginal: Array, places: Array, first: int, last: int) -> Array:
    """Probability by boundary to probability by minute first to last + 1."""
    out = np.zeros(last - first + 2)
    edges = [first - 1, *places.tolist(), last + 1]
    for low, high, p in zip(edges[:-1], edges[1:], marginal.tolist(), strict=True):
        low = min(low, high - 1)
        out[low + 1 - first : high + 1 - first] += p / (high - low)
    return out


def _rise(votes: Array, failed: Array, a: Array, b: Array) -> Array:
    """log of the Bayes factor of each window of places [a, b) against no change, shape of `a`."""
    n, k = (np.concatenate([[0], np.cumsum(column)]) for column in (votes, failed))
    all_n, all_k = int(n[-1]), int(k[-1])
    inside_n, inside_k = n[b] - n[a], k[b] - k[a]
    outside_n, outside_k = all_n - inside_n, all_k - inside_k
    rise = _beta(inside_k, inside_n, INSIDE, all_n) + _beta(outside_k, outside_n, OUTSIDE, all_n)
    steady = [float(_beta(np.array(all_k), np.array(all_n), prior, all_n)) for prior in (OUTSIDE, INSIDE)]
    rise -= np.logaddexp(log(1 - STEADY) + steady[0], log(STEADY) + steady[1])
    higher = (inside_k + 0.5) / (inside_n + 1) > (outside_k + 0.5) / (outside_n + 1) + LEAST_RISE
    # A window without votes of this target says nothing about it; one in which it fails less is no window of failing.
    out: Array = np.where(inside_n == 0, 0.0, np.where(higher, rise, np.minimum(rise, -log(10))))
    return out


def _beta(k: Array, n: Array, prior: tuple[float, float], most: int) -> Array:
    """log of B(k + a, n - k + b) / B(a, b)."""
    a, b = prior
    base = lgamma(a + b) - lgamma(a) - lgamma(b)
    out: Array = _gammas(a, most)[k] + _gammas(b, most)[n - k] - _gammas(a + b, most)[n] + base
    return out


def _gammas(offset: float, most: int) -> Array:
    """lgamma(offset + i) for i = 0 ... most."""
    out: Array = lgamma(offset) + np.concatenate([[0.0], np.cumsum(np.log(offset + np.arange(most)))])
    return out


def interval(p: Array, level: float) -> tuple[int, int, int]:
    """(median, low, high): indices of the shortest interval with at least `level` of the probability `p`."""
    cumulated = np.concatenate([[0.0], np.cumsum(p)])
    median = int(np.searchsorted(cumulated[1:], 0.5 * cumulated[-1]))
    highs = np.searchsorted(cumulated, cumulated[:-1] + level * cumulated[-1] - 1e-12)
    fits = highs < len(cumulated)
    width = np.where(fits, highs - np.arange(len(highs)), len(p) + 2)
    low = int(width.argmin())
    return median, low, int(highs[low]) - 1
