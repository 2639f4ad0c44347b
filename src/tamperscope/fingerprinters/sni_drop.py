"""
A ClientHello, or everything after it, disappears because of the server name.

* The server shows that it never got the ClientHello (`hello_never_arrived`): its later packets acknowledge less than
  all of it, though copies were sent again and again.  Of these, `hello_cut_short` (it has one part and never the rest)
  is the stronger: the path carried this very flow's data until the name had passed.
* Nothing comes at all (`hello_unanswered`): loss, a dead server or a black hole of large packets look just alike, so
  it is an absence, and says something only beside a control.

What looks alike: large packets lost in a tunnel (no segment small enough was tried: `may_be_size`), an uplink that
broke (other flows of the client are silent, too), a capture that misses the server's packets (then nothing is missing
in the acknowledgements), a client that limits the TTL of its probe (a router says so).
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    ACK,
    CONTEXT,
    FACT_CUT_BY_END,
    FACT_ONE_WAY,
    FACT_TRIGGER_REPEATED,
    FIN,
    GENUINE,
    MARK_TRIGGER_UNACKED,
    MARK_UNANSWERED,
    RST,
    STAGE_AFTER_NAME,
    SYN,
    TRIGGER,
    TRIGGER_TLS_HELLO,
    WHAT_ICMP,
    WHAT_KEEP_ALIVE,
    WHAT_RETRANSMISSION,
    WHAT_TRIGGER,
    Candidates,
    Fingerprinter,
    Observation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

SECOND = 1_000_000_000
COPIES = 3  # of one segment: with a loss of one in ten, three in a row happen once in a thousand
SURE_SIZE = 1200  # bytes of payload that pass wherever IPv6 does (RFC 8200 section 5: an MTU of 1,280)


class SniDrop(Fingerprinter):
    """Silence by server name after the ClientHello."""

    mechanism = "sni_drop"
    marks = MARK_UNANSWERED | MARK_TRIGGER_UNACKED

    def pick(self, columns: Any) -> Array:
        """TLS hellos that were sent again, in flows of which both directions were seen, and no answer."""
        flow = columns.flow
        again = flow["facts"] & np.uint32(FACT_TRIGGER_REPEATED) != 0
        both = flow["facts"] & np.uint32(FACT_ONE_WAY) == 0
        lost = flow["trigger_acked"] < flow["trigger_length"]
        hello = (flow["trigger"] == TRIGGER_TLS_HELLO) & (flow["protocol"] == 6)
        chosen: Array = hello & again & both & lost & (flow["answer_ns"] < 0)
        return chosen

    def stage(self, columns: Any) -> Array:
        """Always after the name."""
        return np.full(len(columns), STAGE_AFTER_NAME, np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """What the flow's own packets show."""
        c, t, flow = candidates, candidates.trace, candidates.flow
        copies = self._copies(c)
        count = c.count(copies)
        last_copy, first_copy = c.last(copies), c.first(copies)
        lasted = np.where(count > 0, t["time_ns"][last_copy] - t["time_ns"][first_copy], 0) if len(t) else count
        enough = (count >= COPIES) & (lasted >= SECOND)
        third = c.before(copies) >= COPIES
        # A reset that acknowledges is the server's last word; one without could be anybody's.
        speaks = c.is_packet & c.from_server & (t["flags"] & ACK != 0) & third
        opening = c.any(speaks & (t["flags"] & SYN != 0))
        speaks &= (t["flags"] & SYN == 0) & (
            (t["flags"] & (FIN | RST) != 0) | (t["payload_length"] > 0) | self._keeps_alive(c)
        )
        part = flow["trigger_acked"] > 0
        alive = c.any(speaks) & enough
        small = self._small(c, copies)
        values = {
            "copies": count,
            "seconds": lasted / SECOND,
            "acked": flow["trigger_acked"],
            "length": flow["trigger_length"],
        }
        return [
            c.observe("hello_cut_short", alive & part & small, speaks, GENUINE, values),
            c.observe("hello_never_arrived", alive & ~(part & small), speaks, GENUINE, values),
            c.observe("handshake_never_arrived", enough & ~alive & opening, copies, TRIGGER, values),
            c.observe("hello_unanswered", enough & ~alive, copies, TRIGGER, values),
            c.observe("hello_repeated_little", ~enough, copies, TRIGGER, values),
            c.observe("may_be_size", ~small, copies, CONTEXT, values),
            c.observe(
                "expired_on_the_way",
                c.any((t["what"] & WHAT_ICMP != 0) & (t["flags"] >> 8 == 11)),
                t["what"] & WHAT_ICMP != 0,
                CONTEXT,
            ),
            c.observe(
                "capture_ended", (flow["facts"] & np.uint32(FACT_CUT_BY_END) != 0) & (count < COPIES), None, CONTEXT
            ),
        ]

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """Controls: what the same client got from the same server, and from others, in the same minutes."""
        c = candidates
        others = (context["near_pair_reached"] > 0) & (context["near_pair_reached"] >= context["near_pair_silent"])
        path = (context["near_client_reached"] > 0) & (context["near_client_reached"] > context["near_client_silent"])
        elsewhere = context["near_client_silent"].astype(np.int64) - context["near_pair_silent"]
        outage = (elsewhere > 0) & (context["near_client_reached"] <= context["near_client_silent"])
        down = (context["near_server_silent"] > 0) & (context["near_server_reached"] == 0) & (elsewhere <= 0)
        named = {key: context["near_name_" + key].astype(np.int64) for key in ("reached", "silent")}
        rest = {key: context["near_server_" + key].astype(np.int64) - named[key] for key in named}
        by_name = (named["silent"] >= 1) & (named["reached"] <= named["silent"])
        by_name &= (rest["reached"] >= 5) & (rest["silent"] * 10 <= rest["reached"])
        values = {"reached": context["near_pair_reached"], "silent": context["near_pair_silent"]}
        return [
            c.observe("server_reached_otherwise", others, None, CONTEXT, values),
            c.observe(
                "client_reaches_others", path & ~others, None, CONTEXT, {"reached": context["near_client_reached"]}
            ),
            c.observe("client_silent_elsewhere", outage, None, CONTEXT, {"silent": elsewhere}),
            c.observe("server_silent_to_all", down, None, CONTEXT, {"silent": context["near_server_silent"]}),
            c.observe(
                "drop_by_name", by_name, None, CONTEXT, {"silent": named["silent"] + 1, "others": rest["reached"]}
            ),
            c.observe(
                "name_answered_too",
                named["reached"] > named["silent"] + 1,
                None,
                CONTEXT,
                {"reached": named["reached"]},
            ),
        ]

    def _copies(self, c: Candidates) -> Array:
        """Packets of the client that carry the first bytes which the server never acknowledged, sent again."""
        t, flow = c.trace, c.flow
        start = c.spread(flow["trigger_seq"] + flow["trigger_acked"])
        at = (start - t["seq"]).astype(np.int32)
        carries = (at >= 0) & (at < t["payload_length"].astype(np.int64))
        out: Array = c.is_plain & ~c.from_server & carries & (t["what"] & WHAT_RETRANSMISSION != 0)
        return out

    def _keeps_alive(self, c: Candidates) -> Array:
        """An empty ACK that is no answer: nothing of the client came within the second before it."""
        t = c.trace
        out: Array = (t["payload_length"] == 0) & (t["since_other_ns"] > SECOND)
        return out

    def _small(self, c: Candidates, copies: Array) -> Array:
        """
        Was something lost that is no larger than what surely fits, or than what the server had acknowledged.

        A copy, a later segment of the hello, or the client's FIN behind it: each would have drawn an acknowledgement.
        """
        t = c.trace
        empty = c.is_plain & c.from_server & (t["payload_length"] == 0) & (t["flags"] & (SYN | FIN) == 0)
        asked = c.before(t["what"] & WHAT_TRIGGER != 0) > 0
        drew = c.any(empty & asked & (t["what"] & WHAT_KEEP_ALIVE == 0) & (t["since_other_ns"] < SECOND))
        later = c.is_plain & ~c.from_server & ((t["payload_length"] > 0) | (t["flags"] & FIN != 0)) & asked
        smallest = c.smallest(t["payload_length"], copies | (later & c.spread(~drew)), 65535)
        return (smallest <= SURE_SIZE) | (smallest <= c.flow["trigger_acked"])
