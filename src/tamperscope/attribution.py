"""
What the forged packets of a finding say of the box that made them: how far away it is, and whose habits they show.

Separate from detection: a box that nobody knows is found just as well, and then the list is empty.  Families and what
their habits are worth are data (``data/injectors.toml``).  A family is named only where all its fields fit; its score
is its share among the families that fit and a box that is not listed, which is worth `UNLISTED`.

The distance assumes that the box starts at one of the usual TTLs, or at what was left of the trigger's where it met it,
and is no farther off than the end in whose name it speaks.  It is unknown where that end's own TTL was used, where the
TTL wanders, and for families whose TTL is no count of hops.
"""

from __future__ import annotations

import numpy as np

from tamperscope import catalogue
from tamperscope.fingerprint import WHAT_REFERENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tamperscope.weigh import Judgement

    Array = np.ndarray[Any, Any]

UNLISTED = 1.5  # log10, as a family's worth: most boxes are in no list
LEAST = 0.1  # a score below it is no lead
MOST = 3  # families named
PAGE = 3.0  # worth of a known page: others have no reason to send its very text
SUREST = 0.99  # a box can be made to look like another
INITIAL = (32, 64, 128, 255)
FARTHEST = 40  # hops: longer paths are not seen in the Internet
SWAY = 3  # TTLs of packets of one box differ by no more over equal-cost paths
FLAGS = {"R": 0x04, "RA": 0x14}
AA = 0x0400
FRAME_BITS = 44


class Boxes:
    """The known families, ready to be matched."""

    def __init__(self) -> None:
        self._families: dict[str, list[tuple[str, dict[str, Any], float]]] = {}
        for id, mechanism, match, worth in catalogue.injectors():
            self._families.setdefault(mechanism, []).append((id, match, worth))

    def of(self, judgement: Judgement) -> list[dict[str, Any] | None]:
        """The ``injector`` of a finding for each candidate of a judgement; None where nothing is known."""
        forged = _Forged(judgement)
        families = self._families.get(judgement.mechanism, [])
        fits = {id: forged.fits(match) for id, match, _ in families}
        lies = np.zeros(len(judgement.columns), np.bool_)
        for id, match, _ in families:
            if not match.get("ttl_tells", True):
                lies |= fits[id]
        low, high = forged.hops(lies)
        pages = _pages(judgement)
        out: list[dict[str, Any] | None] = []
        for index in range(len(judgement.columns)):
            shown = [(id, worth) for id, _, worth in families if fits[id][index]] + pages.get(index, [])
            hops = (int(low[index]), int(high[index])) if low[index] >= 0 else (None, None)
            family = _scored(shown)
            known = family or hops[0] is not None
            out.append({"hops_min": hops[0], "hops_max": hops[1], "family": family} if known else None)
        return out


def _pages(judgement: Judgement) -> dict[int, list[tuple[str, float]]]:
    """Families that an observation itself names, as that of a known page does, by candidate."""
    named: dict[int, list[tuple[str, float]]] = {}
    for o in judgement.observations:
        for row, id in zip(o.rows.tolist(), o.values.get("family", ()), strict=False):
            named.setdefault(row, []).append((str(id), PAGE))
    return named


def _scored(fitting: list[tuple[str, float]]) -> list[dict[str, Any]]:
    total = 10**UNLISTED + sum(10**worth for _, worth in fitting)
    scores = [(min(round(float(10**worth / total), 2), SUREST), id) for id, worth in fitting]
    ranked = sorted(scores, key=lambda one: (-one[0], one[1]))
    return [{"id": id, "score": score} for score, id in ranked if score >= LEAST][:MOST]


class _Forged:
    """The forged packets of all candidates of a judgement, of those that go one way: to the client where any do."""

    def __init__(self, judgement: Judgement) -> None:
        c: Any = judgement.columns  # Candidates or Transactions
        self.columns = c
        rows = c.rows
        known = c.owner.astype(np.uint64) << np.uint64(FRAME_BITS) | rows["frame"].astype(np.uint64)
        named = [
            np.repeat(o.rows, np.diff(o.offsets)).astype(np.uint64) << np.uint64(FRAME_BITS)
            | o.frames.astype(np.uint64)
            for o in judgement.observations
            if o.role == "injected" and len(o.frames)
        ]
        mask = np.isin(known, np.concatenate(named)) if named else np.zeros(len(rows), np.bool_)
        self.is_flow = c.unit == "flow"
        if self.is_flow:
            mask &= rows["what"] & np.uint16(WHAT_REFERENCE) == 0
            down = rows["from_server"] == 1
            mask &= down == c.spread(c.any(mask & down))
        self.mask: Array = mask
        self.count: Array = c.count(mask)
        self.v4: Array = c.units["ip_version"] == 4
        self.echoed = np.zeros(len(c), np.bool_)
        for o in judgement.observations:
            if o.id == "echo_ttl":
                self.echoed[o.rows] = True

    # ------------------------------------------------------------ habits

    def fits(self, match: dict[str, Any]) -> Array:
        """Candidates whose forged packets show every field of a family: bool, shape (n,)."""
        fit = self.count > 0
        for field, value in match.items():
            if not fit.any():
                break
            fit &= FIELDS[field](self, value)
        return fit

    def all(self, rows: Array) -> Array:
        """Candidates all of whose forged packets are in the mask."""
        found: Array = self.columns.count(self.mask & rows) == self.count
        return found

    def ip_id(self, low: int, high: int) -> Array:
        ids = self.columns.rows["ip_id"]
        return self.v4 & self.all((ids >= low) & (ids <= high))

    def same_ip_id(self, wanted: bool) -> Array:
        ids = self.columns.rows["ip_id"]
        first = self.columns.smallest(ids, self.mask, 0)
        same = (first == self.columns.largest(ids, self.mask, 0)) & (first > 0)
        fit: Array = self.v4 & (self.count > 1) & (same if wanted else ~same)
        return fit

    def steps(self, field: str, step: int) -> Array:
        """Three or more packets, each so much above the one before; 16-bit fields wrap."""
        at = np.flatnonzero(self.mask)
        owner, values = self.columns.owner[at], self.columns.rows[field][at].astype(np.int64)
        wrong = (owner[1:] == owner[:-1]) & ((values[1:] - values[:-1]) % 65536 != step)
        bad = np.zeros(len(self.columns), np.bool_)
        bad[owner[1:][wrong]] = True
        return (self.count >= 3) & ~bad

    def seq_steps(self, steps: list[int]) -> Array:
        """Sequence numbers are the first one's, and so much above it, each of these at least once."""
        first = self.columns.first(self.mask)
        seq = self.columns.rows["seq"].astype(np.int64)
        base = self.columns.spread(np.where(first >= 0, seq[first], 0)) if len(seq) else seq
        above = (seq - base) % 2**32
        fit = self.all(np.isin(above, [0, *steps]))
        for step in steps:
            fit &= self.columns.any(self.mask & (above == step))
        return fit

    def addresses(self, texts: list[str]) -> Array:
        """The first address of every forged answer is one of these."""
        first = self.columns.rows["addresses"][:, 0]
        wanted = np.frombuffer(b"".join(map(_packed, texts)), np.uint8).reshape(-1, 16)
        hit = (first[:, None, :] == wanted[None, :, :]).all(axis=2).any(axis=1)
        return self.all(hit & (self.columns.rows["n_addresses"] > 0))

    def prefix(self, text: str) -> Array:
        """... or lies in this prefix, of whole bytes, and is not its first address."""
        address, _, bits = text.partition("/")
        n = int(bits) // 8
        first = self.columns.rows["addresses"][:, 0]
        inside = (first[:, :n] == np.frombuffer(_packed(address)[:n], np.uint8)).all(axis=1)
        return self.all(inside & first[:, n:].any(axis=1) & (self.columns.rows["n_addresses"] > 0))

    # ------------------------------------------------------------ distance

    def hops(self, lies: Array) -> tuple[Array, Array]:
        """Fewest and most hops from the point of capture, -1 where unknown: two int64 arrays of shape (n,)."""
        c, ttl = self.columns, self.columns.rows["ttl"]
        low, high = c.smallest(ttl, self.mask, 0), c.largest(ttl, self.mask, 0)
        own_low, own_high = self._own_ttl()
        known = (self.count > 0) & (low > 0) & (high - low <= SWAY) & ~lies & ~self.echoed
        known &= (high < own_low) | (low > own_high) | (own_high == 0)
        # Of the end in whose name the box speaks: the most hops that its TTL allows.
        bound = np.full(len(c), FARTHEST)
        far = np.full(len(c), -1)
        for initial in INITIAL:
            apart = initial - own_low
            far = np.where((own_low > 0) & (apart >= 0) & (apart <= FARTHEST), np.maximum(far, apart), far)
        bound = np.where(far >= 0, far, bound)
        fewest, most = np.full(len(c), -1), np.full(len(c), -1)
        for initial in INITIAL:
            near, away = initial - high, initial - low
            possible: Array = known & (near >= 0) & (near <= bound)
            fewest = np.where(possible & ((fewest < 0) | (near < fewest)), near, fewest)
            most = np.where(possible, np.maximum(most, np.minimum(away, bound)), most)
        # A box that answers with what was left of the trigger's TTL: it was spent on both ways.
        spent = self._trigger_ttl() - high
        mirrored = (fewest >= 0) & (spent >= 0)
        return np.where(mirrored, np.minimum(fewest, spent // 2), fewest), most

    def _trigger_ttl(self) -> Array:
        """TTL of the end that the forged packets go to, as it passes the point of capture."""
        c = self.columns
        if not self.is_flow:
            ttl: Array = c.units["client_ttl"].astype(np.int64)
            return ttl
        receiver = np.where(c.any(self.mask & c.from_server), 0, 1)
        ttl = c.units["ttl_min"][np.arange(len(c)), receiver]
        return ttl.astype(np.int64)

    def _own_ttl(self) -> tuple[Array, Array]:
        """Smallest and largest TTL of the alleged sender's own packets; 0 where there are none."""
        c = self.columns
        if self.is_flow:
            sender = np.where(c.any(self.mask & c.from_server), 1, 0)
            rows = np.arange(len(c))
            return c.units["ttl_min"][rows, sender].astype(np.int64), c.units["ttl_max"][rows, sender].astype(np.int64)
        own = c.is_answer & ~self.mask
        mode = c.context["ttl_mode"].astype(np.int64)
        return c.smallest(c.rows["ttl"], own, 0) + np.where(c.any(own), 0, mode), c.largest(
            c.rows["ttl"], own, 0
        ) + np.where(c.any(own), 0, mode)


def _packed(text: str) -> bytes:
    """Address as the tables hold it."""
    import socket

    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, text)


def _of_initial(forged: _Forged, initial: int) -> Array:
    ttl = forged.columns.rows["ttl"].astype(np.int64)
    return forged.all((ttl <= initial) & (ttl > initial - FARTHEST))


def _equal(field: str) -> Callable[[_Forged, int], Array]:
    return lambda forged, value: forged.all(forged.columns.rows[field] == value)


FIELDS: dict[str, Callable[[_Forged, Any], Array]] = {
    "flags": lambda f, v: f.all(f.columns.rows["flags"] & 0x3F == FLAGS[v]),
    "count": lambda f, v: f.count == v,
    "df": lambda f, v: f.v4 & f.all(f.columns.rows["ip_flags"] >> 1 & 1 == v),
    "ip_id": lambda f, v: f.ip_id(v, v),
    "ip_id_min": lambda f, v: f.ip_id(v, 0xFFFF),
    "ip_id_max": lambda f, v: f.ip_id(0, v),
    "ip_id_same": lambda f, v: f.same_ip_id(v),
    "ip_id_step": lambda f, v: f.v4 & f.steps("ip_id", v),
    "window_step": lambda f, v: f.steps("window", v),
    "ttl_step": lambda f, v: f.steps("ttl", v),
    "ttl_initial": _of_initial,
    "ttl_tells": lambda f, v: f.count > 0,  # of the distance, not of the make
    "window": _equal("window"),
    "ack": _equal("ack"),
    "seq_steps": lambda f, v: f.seq_steps(v),
    "payload": lambda f, v: f.all(f.columns.rows["payload_length"] == len(v) // 2),  # the bytes themselves are gone
    "aa": lambda f, v: f.all((f.columns.rows["flags"] & AA != 0) == bool(v)),
    "record_ttl": _equal("record_ttl"),
    "addresses": lambda f, v: f.addresses(v),
    "aaaa_prefix": lambda f, v: f.prefix(v),
}
