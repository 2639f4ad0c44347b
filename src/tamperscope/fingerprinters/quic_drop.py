"""
QUIC disappears: its Initials by the server name in them, or UDP to port 443 as a whole.

Initials repeated into silence (`initials_unanswered`) and connections that go dead soon after their first flight
(`answered_then_silent`) are absences: they say something only beside QUIC of the same client and server, or of that
server, that is answered afterwards.  Where no QUIC at all is answered in the capture, the network or somebody else lets
no UDP to port 443 pass; many offices do, so that the verdict stays `insufficient` and says what it is.

What looks alike: a server without QUIC that was advertised once (it says so by ICMP, or nothing ever comes from it), a
version that it does not speak (it says so), a client for which TCP won the race (one or two Initials), loss, a NAT that
forgot an idle connection, the capture's end.
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    CONTEXT,
    FACT_QUIC_VERSIONS,
    MARK_STALLED,
    MARK_UNANSWERED,
    STAGE_AFTER_NAME,
    TRIGGER,
    TRIGGER_QUIC_INITIAL,
    WHAT_BY_END,
    WHAT_TRIGGER,
    Candidates,
    Fingerprinter,
    Observation,
)
from tamperscope.silence import CHANCE, IDLE, SECOND, is_prohibition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

INITIALS = 3  # with a loss of one in ten, three in a row are lost once in a thousand
EARLY = 30 * SECOND  # filters act on what they see first; later, NATs and moves end connections
ACTIVE = 5 * SECOND  # a connection in use: some of its probe time-outs (RFC 9002 section 6.2)


class QuicDrop(Fingerprinter):
    """Silence after QUIC Initials."""

    mechanism = "quic_drop"
    marks = MARK_UNANSWERED | MARK_STALLED

    def pick(self, columns: Any) -> Array:
        """QUIC that was not answered, or not any more."""
        flow = columns.flow
        silent = (flow["answer_ns"] < 0) | (flow["marks"] & np.uint32(MARK_STALLED) != 0)
        chosen: Array = (flow["protocol"] == 17) & (flow["trigger"] == TRIGGER_QUIC_INITIAL) & silent
        return chosen

    def stage(self, columns: Any) -> Array:
        """The name is in the first packet."""
        return np.full(len(columns), STAGE_AFTER_NAME, np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """What the flow's own packets show."""
        c, t, flow = candidates, candidates.trace, candidates.flow
        unanswered = flow["answer_ns"] < 0
        count, lasted = flow["packets"][:, 0], flow["last_ns"] - flow["trigger_ns"]
        enough = unanswered & (count >= INITIALS) & (lasted >= SECOND)
        sent = c.is_packet & ~c.from_server
        heard = c.last(c.is_packet & c.from_server)
        unheard = sent & (np.arange(len(c.owner)) > c.spread(heard)) & (t["since_other_ns"] >= SECOND)
        first = np.where(c.any(unheard), c.first(unheard), -1)
        gap = t["since_other_ns"][first] if len(t) else np.zeros(len(c), np.int64)
        began = (t["time_ns"][first] if len(t) else flow["trigger_ns"]) - gap
        early = began - flow["trigger_ns"] <= EARLY
        dead = ~unanswered & c.any(unheard) & early & (gap <= ACTIVE)
        refuses = c.is_icmp & (t["what"] & WHAT_BY_END != 0)
        prohibits = c.is_icmp & is_prohibition(c)
        values = {"count": count, "seconds": lasted / SECOND}
        return [
            c.observe("initials_unanswered", enough, t["what"] & WHAT_TRIGGER != 0, TRIGGER, values),
            c.observe("initials_repeated_little", unanswered & ~enough, None, CONTEXT, values),
            c.observe("answered_then_silent", dead, unheard, TRIGGER, {"bytes": flow["bytes"][:, 1]}),
            c.observe("idle_before", ~unanswered & (gap > IDLE), unheard, CONTEXT, {"seconds": gap / SECOND}),
            c.observe("server_says_no", c.any(refuses), refuses, CONTEXT),
            c.observe("udp_prohibited", c.any(prohibits), prohibits, CONTEXT),
            c.observe("version_refused", flow["facts"] & np.uint32(FACT_QUIC_VERSIONS) != 0, None, CONTEXT),
        ]

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """QUIC of the same server and of others, and TCP beside it, in the same minutes and afterwards."""
        c, since = candidates, candidates.flow["trigger_ns"]
        alive = context["near_client_last_ns"] > since
        server, pair = context["near_server_reached"], context["near_pair_reached"]
        after = (context["near_pair_last_ns"] > since) | ((context["near_server_last_ns"] > since) & alive)
        named = {key: context["near_name_" + key].astype(np.int64) for key in ("reached", "silent")}
        rest = {key: context["near_server_" + key].astype(np.int64) - named[key] for key in named}
        share = (rest["silent"] + 1) / (rest["reached"] + rest["silent"] + 2)
        by_name = (named["silent"] >= 1) & (named["reached"] <= named["silent"] / 4) & (rest["reached"] >= 5)
        by_name &= share ** (named["silent"] + 1.0) <= CHANCE
        several = context["near_quic_silent"] > context["near_pair_silent"]  # to more than one server
        none = (context["quic_reached"] == 0) & (c.flow["answer_ns"] < 0)
        values = {"reached": server, "silent": context["near_server_silent"]}
        tcp, again = context["near_other_reached"], named["reached"] > named["silent"] + 1
        chosen = {"silent": named["silent"] + 1, "others": rest["reached"]}
        return [
            c.observe("quic_reached_otherwise", (server > 0) & after, None, CONTEXT, values),
            c.observe("quic_reached_before", (server > 0) & ~after, None, CONTEXT, values),
            c.observe("tcp_reaches_server", tcp > 0, None, CONTEXT, {"reached": tcp}),
            c.observe("drop_by_name", by_name, None, CONTEXT, chosen),
            c.observe("udp_closed", none & several & (tcp > 0), None, CONTEXT, {"silent": context["quic_silent"] + 1}),
            c.observe(
                "no_quic_at_all", none & ~(several & (tcp > 0)), None, CONTEXT, {"silent": context["quic_silent"] + 1}
            ),
            c.observe("client_cut_off", ~alive & (pair == 0), None, CONTEXT),
            c.observe("name_answered_too", again, None, CONTEXT, {"reached": named["reached"]}),
        ]
