"""
An address is blocked: no connection to it comes about, whatever would be asked for.

* A router that is no end says that it is prohibited (`syn_prohibited`).
* A reset answers the SYN in under half of the way to the server, from another distance than it (`syn_reset_nearby`).
* SYNs vanish (`syn_ignored`), while the server accepts others on that port: an absence.

What looks alike: a rule of the client's own network (the port is closed to all servers, most targets are prohibited),
the owner's border router (its address is in the server's network), a closed port or a dead host (nobody else is
accepted), a server that bans one client (only that one is ignored) or is overloaded (it accepts the client later),
scans, broken IPv6 (nothing of the client is accepted).  The core hands over only flows whose server is known to accept
connections, or whose router speaks, so that scans and floods cost nothing here.
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    CONTEXT,
    FACT_SYN_ACK,
    INJECTED,
    MARK_REFUSED,
    STAGE_SYN,
    SYN,
    TRIGGER,
    WHAT_BY_NEIGHBOUR,
    Candidates,
    Fingerprinter,
    Observation,
)
from tamperscope.silence import SECOND, is_prohibition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

SYNS = 3  # repeats after 1 and 3 s (RFC 6298): with a loss of one in ten, three are lost once in a thousand


class IpBlock(Fingerprinter):
    """Connections to an address that do not come about."""

    mechanism = "ip_block"
    marks = MARK_REFUSED

    def pick(self, columns: Any) -> Array:
        """TCP without a handshake, which by the rest of the capture is no closed port or dead host."""
        flow = columns.flow
        refused = flow["marks"] & np.uint32(MARK_REFUSED) != 0
        chosen: Array = refused & (flow["protocol"] == 6) & (flow["facts"] & np.uint32(FACT_SYN_ACK) == 0)
        return chosen

    def stage(self, columns: Any) -> Array:
        """Always at the SYN."""
        return np.full(len(columns), STAGE_SYN, np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """What the flow's own packets show."""
        c, t = candidates, candidates.trace
        said = c.is_icmp & is_prohibition(c)
        near_server = said & (t["what"] & WHAT_BY_NEIGHBOUR != 0)
        syns = c.is_plain & ~c.from_server & (t["flags"] & SYN != 0)
        lasted = c.flow["last_ns"] - c.flow["first_ns"]
        silent = ~c.any(said) & ~c.any(c.is_packet & c.from_server)
        ignored = silent & (c.count(syns) >= SYNS) & (lasted >= 2 * SECOND)
        values = {"count": c.count(syns), "seconds": lasted / SECOND}
        return [
            c.observe("syn_prohibited", c.any(said), said, INJECTED),
            c.observe("prohibited_by_neighbour", c.any(near_server), near_server, CONTEXT),
            c.observe("syn_ignored", ignored, syns, TRIGGER, values),
        ]

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """Who else reaches the server, and what else the client reaches."""
        c, t = candidates, candidates.trace
        since = c.flow["first_ns"]
        reset = c.is_reset & c.from_server
        early = reset & (t["since_other_ns"] >= 0) & (t["since_other_ns"] < c.spread(context["host_min_rtt_ns"] // 2))
        early &= (t["ttl"] < c.spread(context["host_ttl_min"])) | (t["ttl"] > c.spread(context["host_ttl_max"]))
        ignored = ~c.any(reset | c.is_icmp)
        others = context["near_server_connected"].astype(np.int64) - context["near_pair_connected"]
        other_silent = context["near_server_ignored"].astype(np.int64) - context["near_pair_ignored"]
        during = context["near_server_connected_ns"] > since
        again = context["near_pair_connected_ns"] > since
        elsewhere = context["near_client_ignored"].astype(np.int64) - context["near_pair_ignored"]
        connected = context["near_client_connected"].astype(np.int64)
        works = context["near_client_connected_ns"] > since
        port_open = context["near_port_connected"] > 0
        values = {"others": others, "silent": other_silent, "connected": connected, "elsewhere": elsewhere}
        prohibited = context["near_client_prohibited"]
        scan = prohibited >= np.maximum(connected, 1) * 2
        accepts = ignored & (others > 0) & (context["server_connected_during"] > 0) & ~again
        before = ignored & (context["near_server_connected"] > 0) & ~during
        open_ = {"count": context["near_port_connected"]}
        return [
            c.observe("syn_reset_nearby", c.any(early), early, INJECTED),
            c.observe("syn_reset_ttl", c.any(early), early, INJECTED),
            c.observe("port_open_elsewhere", ~ignored & port_open, None, CONTEXT, open_),
            c.observe("port_closed_everywhere", ~ignored & ~port_open, None, CONTEXT),
            c.observe("prohibited_everywhere", scan, None, CONTEXT, {"count": prohibited}),
            c.observe("server_accepts_others", accepts, None, CONTEXT, values),
            c.observe("server_accepted_before", before, None, CONTEXT),
            c.observe("others_ignored_too", accepts & (other_silent > 0), None, CONTEXT, values),
            c.observe("accepted_later", ignored & again, None, CONTEXT),
            c.observe("client_connects_elsewhere", ignored & works & (connected > elsewhere), None, CONTEXT, values),
            c.observe(
                "client_ignored_elsewhere", ignored & (elsewhere >= np.maximum(connected, 1)), None, CONTEXT, values
            ),
        ]
