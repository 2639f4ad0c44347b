"""
Ballots to votes and cells: what statistics and figures are made of.

A vote is one per client, target and minute: failed where more than half of its judged attempts failed, marred where
more than half failed or were reached only in part.  Flows of one client are not independent, so nothing else is a
sample size.  What could not be judged is in no denominator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tamperscope.answer import POINTS, Cells
from tamperscope.ballots import ATTEMPT, DEGRADED, DOWN, INTERFERED, OK, UNKNOWN
from tamperscope.catalogue import MECHANISMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from tamperscope.answer import Target

    Array = np.ndarray[Any, Any]

VOTE = np.dtype(
    [("client", "u8"), ("minute", "i4"), ("network", "u2"), ("target", "u2"), ("failed", "?"),
     ("marred", "?")]
)  # fmt: skip


def _changes(table: Array, *columns: str) -> Array:
    """True where a row differs from the one before it, and for the first."""
    new = np.zeros(len(table), bool)
    new[:1] = True
    for column in columns:
        new[1:] |= table[column][1:] != table[column][:-1]
    return new


def votes(ballots: Array) -> Array:
    """`BALLOT` rows, sorted, to `VOTE` rows, sorted by network, target, minute, client."""
    whole = ballots[(ballots["point"] == ATTEMPT) & (ballots["outcome"] != UNKNOWN)]
    if not len(whole):
        return np.zeros(0, VOTE)
    starts = np.flatnonzero(_changes(whole, "network", "target", "minute", "client"))
    all_ = np.add.reduceat(whole["count"].astype(np.int64), starts)
    bad = np.add.reduceat(np.where(whole["outcome"] >= DOWN, whole["count"], 0).astype(np.int64), starts)
    out = np.zeros(len(starts), VOTE)
    for column in ("client", "minute", "network", "target"):
        out[column] = whole[column][starts]
    out["failed"] = 2 * bad > all_
    marred = np.add.reduceat(np.where(whole["outcome"] >= DEGRADED, whole["count"], 0).astype(np.int64), starts)
    out["marred"] = 2 * marred > all_
    return out


def cells(ballots: Array, networks: Sequence[str], targets: Sequence[Target]) -> Iterator[Cells]:
    """Series of all networks, targets and points that were seen, in that order."""
    cast = votes(ballots)
    edges = np.append(np.flatnonzero(_changes(ballots, "network", "target", "point")), len(ballots))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = ballots[start:stop]
        network, target = int(part["network"][0]), int(part["target"][0])
        one = Cells(networks[network], targets[target].id, POINTS[int(part["point"][0])])
        mine = cast[(cast["network"] == network) & (cast["target"] == target)]
        _fill(one, part, mine)
        yield one


def _fill(one: Cells, part: Array, cast: Array) -> None:
    minutes, at = np.unique(part["minute"], return_inverse=True)
    n = len(minutes)

    def sums(where: Array) -> list[int]:
        out: list[int] = np.bincount(at[where], part["count"][where], n).astype(int).tolist()
        return out

    one.minute = minutes.tolist()
    one.ok = sums((part["outcome"] == OK) | (part["outcome"] == DEGRADED))
    one.degraded, one.down, one.unknown = (sums(part["outcome"] == code) for code in (DEGRADED, DOWN, UNKNOWN))
    for i, mechanism in enumerate(MECHANISMS):
        struck = part["outcome"] == INTERFERED + i
        if struck.any():
            one.interfered[mechanism] = sums(struck)
    one.reached = sums(part["outcome"] != UNKNOWN)
    one.clients = np.bincount(at[_changes(part, "minute", "client")], minlength=n).tolist()
    there = np.isin(cast["minute"], minutes)
    place = np.searchsorted(minutes, cast["minute"][there])
    one.votes = np.bincount(place, minlength=n).tolist()
    one.failed = np.bincount(place, cast["failed"][there], n).astype(int).tolist()


def points(ballots: Array) -> dict[str, dict[str, Any]]:
    """
    Attempts by point: {"reached", "ok", "degraded", "down", "unknown", "interfered": {mechanism: attempts}}; empty
    points left out.
    """
    out: dict[str, dict[str, Any]] = {}
    for number, point in enumerate(POINTS):
        mine = ballots[ballots["point"] == number]
        if len(mine):
            out[point] = _point(np.bincount(mine["outcome"], mine["count"], INTERFERED + len(MECHANISMS)).astype(int))
    return out


def _point(counts: Array) -> dict[str, Any]:
    struck = {name: int(n) for name, n in zip(MECHANISMS, counts[INTERFERED:], strict=False) if n}
    return {
        "reached": int(counts[OK:].sum()), "ok": int(counts[OK] + counts[DEGRADED]), "degraded": int(counts[DEGRADED]),
        "down": int(counts[DOWN]), "unknown": int(counts[UNKNOWN]), "interfered": struck,
    }  # fmt: skip
