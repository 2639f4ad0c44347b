"""
The packets of a server's first answer, and whose they are: columns that several mechanisms start from.

Every forged answer stands beside packets that the server did send: its SYN+ACK before, and often its own answer after.
Here they are compared; what a difference means is each mechanism's to say.
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    ACK,
    FIN,
    RST,
    SYN,
    UNKNOWN_OFFSET,
    WHAT_RETRANSMISSION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tamperscope.fingerprint import Candidates

    Array = np.ndarray[Any, Any]

MS = 1_000_000
REORDER_NS = 50 * MS  # reordering that is still believed where no round trip is known
RESET_NS = 1000 * MS  # a reset that belongs to a forged answer comes with it
TOGETHER_NS = 20 * MS  # two packets of one sender, sent in the same moment
BURST_NS = 200 * MS  # so do its further segments


class FirstAnswer:
    """
    For some candidates, each of which has an answer whose first packet stands in the trace (`found`).

    Bool columns over the trace: of_server (its packets, no resets), before (of these, those before the answer), forged
    (packets of the answer that is not the server's, if one of them is not), rival (packets of the other one), resets
    (resets that come with the forged one).  Per candidate: unlike, near (the forged one's TTL is none of the server's
    before it; but about as far), bare (it lacks the timestamps of the handshake), df (it has DF otherwise
    than all the server's other packets), ttl and usual_ttl.
    """

    def __init__(self, c: Candidates) -> None:
        self.c, self.t = c, c.trace
        t, rows = c.trace, np.arange(len(c.trace))
        self.of_server: Array = c.is_plain & c.from_server
        payload = self.of_server & (t["payload_length"] > 0)
        first = self._row_of(c.answer["frame"])
        second = self._row_of(c.answer["conflict_frame"])
        self.found: Array = first >= 0
        self.before: Array = self.of_server & (rows < c.spread(first))
        swap = self._is_stranger(second) & ~self._is_stranger(first)
        self.forged_at: Array = np.where(swap, second, first)
        self.rival_at: Array = np.where(swap, first, second)
        self.first_at, self.second_at = first, second
        self.unlike, self.near = self._distance()
        self.bare = self._lacks_timestamps(self.forged_at)
        self.df = self._flag_unlike(t["ip_flags"] & 2)
        self.alien: Array = self.unlike | self.near | self.bare
        self.forged: Array = self._burst(payload)
        self.rival: Array = rows == c.spread(np.where(self.rival_at >= 0, self.rival_at, -2))
        self.resets: Array = self._resets()

    def _row_of(self, frames: Array) -> Array:
        """Index of the trace row with this frame of each candidate; -1 where it is not there."""
        c = self.c
        return c.first(c.from_server & c.is_packet & (self.t["frame"] == c.spread(frames)) & (c.spread(frames) > 0))

    def _of(self, values: Array, at: Array, empty: int = 0) -> Array:
        """Value in the row `at` of each candidate."""
        if not len(values):
            return np.full(len(at), empty)
        return np.where(at >= 0, values.astype(np.int64)[np.maximum(at, 0)], empty)

    def _usual(self, values: Array, largest: bool) -> Array:
        """Least or greatest value of the server's packets before the answer; -1 where there are none."""
        pick = self.c.largest if largest else self.c.smallest
        return pick(values, self.before, -1)

    def _ttl_unlike(self, at: Array) -> Array:
        ttl = self._of(self.t["ttl"], at)
        low, high = self._usual(self.t["ttl"], largest=False), self._usual(self.t["ttl"], largest=True)
        outside: Array = (at >= 0) & (low >= 0) & ((ttl < low) | (ttl > high))
        return outside

    def _lacks_timestamps(self, at: Array) -> Array:
        """No options though all the server's packets before it have ten bytes or more (RFC 7323 section 3.2)."""
        least = self._usual(self.t["options_length"], largest=False)
        later = self.c.any(self.before & (self.t["flags"] & SYN == 0))
        # A SYN+ACK has options anyway: where it is all there is, the client must show that timestamps were agreed on.
        plain = self.c.is_plain & ~self.c.from_server & (self.t["flags"] & SYN == 0)
        client = self.c.smallest(self.t["options_length"], plain, 0)
        both = (least >= 10) & (later | (client >= 10))
        bare: Array = (at >= 0) & both & (self._of(self.t["options_length"], at) == 0)
        return bare

    def _is_stranger(self, at: Array) -> Array:
        return self._ttl_unlike(at) | self._lacks_timestamps(at)

    def _distance(self) -> tuple[Array, Array]:
        ttl = self._of(self.t["ttl"], self.forged_at)
        low, high = self._usual(self.t["ttl"], largest=False), self._usual(self.t["ttl"], largest=True)
        outside = self._ttl_unlike(self.forged_at)
        off = np.minimum(np.abs(ttl - low), np.abs(ttl - high))
        same_way = hops(ttl) == hops(high)
        near = outside & ((off <= 3) | same_way)
        self.ttl, self.usual_ttl = ttl, high
        return outside & ~near, near

    def _flag_unlike(self, values: Array) -> Array:
        """A flag otherwise than in all of two or more other packets of the server, the rival's too."""
        others = self.of_server & (np.arange(len(self.t)) != self.c.spread(self.forged_at))
        others &= self.before | (self.t["ttl"] == self.c.spread(np.maximum(self.usual_ttl, 0)))
        low, high = self.c.smallest(values, others, -1), self.c.largest(values, others, -1)
        own = self._of(values, self.forged_at, -1)
        odd: Array = (self.forged_at >= 0) & (self.c.count(others) >= 2) & (low == high) & (own != low)
        return odd

    def _burst(self, payload: Array) -> Array:
        """The forged answer's segments: its first, and what follows at once with its TTL and options."""
        c, t, rows = self.c, self.t, np.arange(len(self.t))
        at = self.forged_at
        out: Array = rows == c.spread(np.where(at >= 0, at, -2))
        start = c.spread(self._of(t["time_ns"], at))
        like = (t["ttl"] == c.spread(self._of(t["ttl"], at))) & (
            t["options_digest"] == c.spread(self._of(t["options_digest"], at))
        )
        fin = self.of_server & (t["flags"] & FIN != 0)
        further = (payload | fin) & like & (rows > c.spread(at)) & c.spread((at >= 0) & self.alien)
        further &= (t["time_ns"] - start < BURST_NS) & (rows != c.spread(self.rival_at))
        out |= further
        return out

    def _resets(self) -> Array:
        """Resets in the server's name that come at once after the forged answer, from another distance than its own."""
        c, t, rows = self.c, self.t, np.arange(len(self.t))
        at = self.forged_at
        start = self._of(t["time_ns"], at)
        soon = c.is_reset & c.from_server & (rows > c.spread(at)) & c.spread(at >= 0)
        soon &= t["time_ns"] - c.spread(start) < RESET_NS
        low, high = self._usual(t["ttl"], largest=False), self._usual(t["ttl"], largest=True)
        ttl = t["ttl"].astype(np.int64)
        alien = (ttl < c.spread(low)) | (ttl > c.spread(high))
        alien |= ttl == c.spread(np.where(self.unlike | self.near, self.ttl, -1))
        # A forged answer that is told by other things: its reset comes in the same burst, numbered from it.
        place = (t["seq"] - c.spread(self._of(t["seq"], at)).astype(np.uint32)).astype(np.int32)
        length = c.spread(self._of(t["payload_length"], at)) + 1
        together = (t["time_ns"] - c.spread(start) < TOGETHER_NS) & (place >= 0) & (place <= length)
        out: Array = soon & c.spread(low >= 0) & (alien | (together & c.spread(self.second_at >= 0)))
        # One that overtook the answer: it is numbered from the answer's end, which nobody else could know yet.
        ahead = c.is_reset & c.from_server & (rows < c.spread(at)) & (place > 0) & (place <= length)
        out |= ahead & (c.spread(start) - t["time_ns"] < TOGETHER_NS)
        return out

    # ------------------------------------------------------------ facts

    def contradicted(self) -> tuple[Array, Array]:
        """
        Two answers for one place in the stream: (they have different senders, they have one).

        A retransmission has the bytes of its original (RFC 9293 section 3.8.1); damage on the way changes bytes, but
        neither distance nor options.
        """
        t = self.t
        both = self.found & (self.rival_at >= 0) & (self.forged_at >= 0)
        differ = np.zeros(len(both), np.bool_)
        for field in ("ttl", "options_length"):
            differ |= self._of(t[field], self.forged_at) != self._of(t[field], self.rival_at)
        return both & differ, both & ~differ

    def goes_on(self) -> Array:
        """
        Rows in which the server, from its own distance, still counts from before the answer.

        A stack that has sent an answer counts from its end; an older packet can be overtaken for a quarter of the round
        trip, and a retransmission carries bytes.
        """
        c, t, rows = self.c, self.t, np.arange(len(self.t))
        at = self.forged_at
        place = (t["seq"] - c.spread(self._of(t["seq"], at)).astype(np.uint32)).astype(np.int32)
        rtt = c.flow["rtt_server_ns"]
        late = t["time_ns"] - c.spread(self._of(t["time_ns"], at))
        sharp = late > c.spread(np.where(rtt > 0, np.maximum(rtt // 4, MS), REORDER_NS))
        other = t["ttl"] != c.spread(self._of(t["ttl"], at))
        bare = self.of_server & (t["payload_length"] == 0) & (t["flags"] & (SYN | FIN | RST) == 0)
        bare &= (t["flags"] & ACK != 0) & (t["what"] & WHAT_RETRANSMISSION == 0)
        behind = (t["seq_offset"] < -1) & (t["seq_offset"] != UNKNOWN_OFFSET)
        out: Array = bare & c.spread(at >= 0) & (rows > c.spread(at)) & (place == 0) & behind & sharp & other
        return out

    def took(self) -> tuple[Array, Array, Array]:
        """
        (nanoseconds from the request to the forged answer, shortest round trip known, do two handshakes agree on it).

        -1 where the request was sent more than once, or where no handshake was seen.
        """
        c, t = self.c, self.t
        trigger = c.flow["trigger_ns"]
        own, others = c.flow["rtt_server_ns"], c.context["server_min_rtt_ns"]
        rtt = np.where((own > 0) & (others > 0), np.minimum(own, others), own)
        took = self._of(t["time_ns"], self.forged_at) - trigger
        known = (self.forged_at >= 0) & (rtt > 0) & (trigger >= 0)
        return np.where(known, took, -1), np.where(known, rtt, -1), known & (own > 0) & (others > 0)


def hops(ttl: Array) -> Array:
    """Hops behind a TTL, if it began at the next of 32, 64, 128 and 255."""
    start = np.select([ttl <= 32, ttl <= 64, ttl <= 128], [32, 64, 128], 255)
    return start - ttl
