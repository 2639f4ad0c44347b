"""
Resets that the end in whose name they come did not send.

Only *suspect* resets are looked at: no FIN of their sender before them, no reset of the other end before them, an
answer to a packet (within 3 s of the other end's latest one), and no copies.  What comes later is housekeeping of
either end, a balancer or a NAT, and may bear any TTL.

What tells a forged reset, and what innocent thing looks like it:

* the alleged sender goes on, with new bytes or an acknowledgement of what the reset was an answer to
  (`data_after_reset`): a stack that has reset keeps no state (RFC 9293 section 3.10.7).  Reordering looks alike within
  a quarter of the round trip (RFC 8985 section 6.2 allows as much); a flap between the servers of an anycast address
  looks alike where the client had to send its packet again.
* it acknowledges the client's packet sooner than light can have gone there and back (`reset_before_rtt`): a handshake
  slowed down by a sleeping radio looks alike, so other flows of the server have to agree for a proof.
* it acknowledges a packet that expired on the way, as a router reports (`trigger_expired`).
* it carries the client packet's IP ID or the next one (`echo_ip_id`): ends that share a host or a device that answers
  in place look alike, but then DF and TTL are those of the server, too.
* sequence numbers beyond what its stack could choose (`resets_stepped`), equal IP IDs in several (`resets_alike`).
* header fields unlike that sender's (`reset_ttl` ...): balancers, proxies and NATs have that too; never decisive.
"""

from __future__ import annotations

import numpy as np

from tamperscope import in_common
from tamperscope.by_name import ByName
from tamperscope.fingerprint import (
    ACK,
    CONTEXT,
    FACT_ONE_WAY,
    FIN,
    GENUINE,
    INJECTED,
    MARK_RST_AFTER_TRIGGER,
    MARK_RST_FLAGS,
    MARK_RST_IP_ID,
    MARK_RST_TOO_EARLY,
    MARK_RST_UNLIKE,
    MARK_SENDS_AFTER_RST,
    MARK_UNANSWERED,
    RST,
    STAGE_AFTER_NAME,
    STAGE_AFTER_REQUEST,
    STAGE_HANDSHAKE,
    STAGE_TRANSFER,
    SYN,
    TRIGGER_TLS_HELLO,
    UNKNOWN_OFFSET,
    WHAT_DUPLICATE,
    WHAT_ICMP,
    WHAT_KEEP_ALIVE,
    WHAT_REFERENCE,
    WHAT_RETRANSMISSION,
    Candidates,
    Fingerprinter,
    Observation,
    unlike,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

MS = 1_000_000
PROMPT_NS = 3000 * MS  # an injector answers a packet; timers of servers, balancers and NATs run for longer
REORDER_NS = 50 * MS  # reordering that is still believed where no round trip is known
RESEND_NS = 200 * MS  # nobody sends again sooner for want of an answer (RFC 6298 says 1 s, kernels do 200 ms)
HELLO = 16384  # bytes: longer ones the core does not read
TRACED = 24  # packets of a flow that the core keeps in any case
SEGMENT = 500  # bytes: a captured packet may be several on the wire (segmentation offload), each drawing a reset
TIME_EXCEEDED = 11 << 8


class RstInjection(Fingerprinter):
    """Forged TCP resets towards one or both ends."""

    mechanism = "rst_injection"
    marks = (
        MARK_RST_UNLIKE
        | MARK_SENDS_AFTER_RST
        | MARK_RST_TOO_EARLY
        | MARK_RST_FLAGS
        | MARK_RST_IP_ID
        | MARK_UNANSWERED
    )  # fmt: skip

    def pick(self, columns: Any) -> Array:
        """A server's reset after it had answered is no candidate for being that alone."""
        marks = columns.flow["marks"]
        strong = marks & np.uint32(self.marks & ~MARK_UNANSWERED) != 0
        abort = np.uint32(MARK_RST_AFTER_TRIGGER | MARK_UNANSWERED)
        chosen: Array = (columns.flow["protocol"] == 6) & (strong | (marks & abort == abort))
        return chosen

    def stage(self, columns: Any) -> Array:
        """Where the flow stood at its first suspect reset, not where it ended: data may have come after it."""
        look = columns.once(Resets)
        at = columns.first(look.suspect)
        index = np.maximum(at, 0)
        # Seen at the server, its answer leaves while a reset in the client's name is still on its way.
        known = np.where(columns.from_server, look.answered_before, look.heard_before)
        answered = known[index] if len(at) and len(columns.trace) else np.zeros(len(at), np.bool_)
        asked = look.asked_before[index] if len(at) and len(columns.trace) else np.zeros(len(at), np.bool_)
        named = np.where(columns.flow["trigger"] == TRIGGER_TLS_HELLO, STAGE_AFTER_NAME, STAGE_AFTER_REQUEST)
        stage = np.where(answered, STAGE_TRANSFER, np.where(asked, named, STAGE_HANDSHAKE))
        return np.where(at >= 0, stage, columns.flow["stage"]).astype(np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """See the module; the comparison with other flows of the server is in `compare`."""
        look = candidates.once(Resets)
        return [
            *look.contradictions(candidates.flow["rtt_server_ns"]),
            *look.syn_ack_after(),
            look.fin_contradicted(),
            look.expired(),
            look.echo_ip_id(),
            look.own_ip_id_again(),
            look.echo_window(),
            look.alike(),
            look.two_kinds(),
            look.exceeding(),
            look.stepped(),
            look.behind(),
            look.of_no_number(),
            look.odd_flags(),
            look.header("reset_df", look.df),
            look.header("reset_tos", candidates.trace["tos"]),
            look.header("reset_window", candidates.trace["window"], wanted=candidates.trace["window"] > 0),
            look.options(),
            look.ip_id(),
            look.beyond_reach(),
        ]

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """Distance and round trip, against this flow and the server's other flows; names, over all candidates."""
        look = candidates.once(Resets)
        alone = [*look.before_rtt(context), *look.ttl(context), *look.in_common()]
        named = look.by_name(context)
        return [*alone, *named, look.in_stream(), look.as_of_no_connection(), look.more_of_them()]


class Resets:
    """The suspect resets of some candidates, and one method a fact about them."""

    def __init__(self, c: Candidates) -> None:
        self.c, self.t = c, c.trace
        self.side = c.trace["from_server"]
        self.df: Array = c.trace["ip_flags"] & 2
        self.proved: Array = np.zeros(len(c), np.bool_)  # filled by those who prove
        flags = c.trace["flags"]
        server, client = c.from_server, ~c.from_server
        payload = c.trace["payload_length"] > 0
        self.one_way: Array = c.spread(c.flow["facts"] & FACT_ONE_WAY != 0)
        self.forged_fin = self._forged_fins()
        self.plain: Array = c.is_plain & ~self.forged_fin
        # Of a flow that went well at first, the trace has lost its beginning; the flow's own fields have not.
        asked = c.spread(c.flow["trigger_frame"] > 0) & (c.trace["frame"] > c.spread(c.flow["trigger_frame"]))
        answer = c.spread(c.flow["answer_ns"])
        answered = (answer >= 0) & (c.trace["time_ns"] > answer)
        self.answered_before = answered | (c.before(self.plain & server & payload) > 0)
        self.asked_before = asked | (c.before(self.plain & client & payload) > 0) | self._overtook()
        self.heard_before = self._heard_before()
        fin = self.plain & (flags & FIN != 0)
        own_fin = np.where(server, c.before(fin & server), c.before(fin & client)) > 0
        other_fin = np.where(server, c.before(fin & client), c.before(fin & server)) > 0
        other_reset = np.where(server, c.before(c.is_reset & client), c.before(c.is_reset & server)) > 0
        since = np.where(self.one_way, self._since_own(), c.trace["since_other_ns"])
        prompt = (since >= 0) & (since < PROMPT_NS)
        # A client's FIN after an unanswered request is its giving up; after anything else it is the end of the flow.
        over = other_fin & ~(server & ~self.answered_before)
        # Programs that evade filters send resets of their own that are to die on the way, before they ask.
        self.unclosed: Array = c.is_reset & ~own_fin & prompt & (server | self.asked_before)
        self.suspect: Array = self.unclosed & ~other_reset & ~over
        self.plain_of_client = self.plain & client
        self.plain_of_server = self.plain & server
        self.stateless: Array = self._stateless()
        self.references = self.plain | (c.trace["what"] & WHAT_REFERENCE != 0)

    def _forged_fins(self) -> Array:
        """FINs in whose place the same end sends data later: what it numbered as FIN cannot become a byte."""
        c, t = self.c, self.t
        fin = c.is_plain & (t["flags"] & FIN != 0)
        ends = t["seq"] + t["payload_length"]
        out = np.zeros(len(t), np.bool_)
        for side in (0, 1):
            mine = c.is_plain & (self.side == side)
            at = c.spread(c.first(fin & mine))
            index = np.maximum(at, 0)
            into = (ends[index] - t["seq"]).astype(np.int32)
            late = mine & (at >= 0) & (at < np.arange(len(t))) & (into >= 0) & (into < t["payload_length"])
            out |= fin & mine & c.spread(c.any(late)) & (ends == ends[index])
        return out

    def _overtook(self) -> Array:
        """Resets in the client's name with a number behind a hello that comes after them, or was lost."""
        ahead = self.t["seq_offset"]
        out: Array = self.c.is_reset & ~self.c.from_server & (ahead > 0) & (ahead <= HELLO)
        return out

    def _heard_before(self) -> Array:
        """Had the client acknowledged payload of the server before the row."""
        c, t = self.c, self.t
        first = c.spread(c.first(self.plain & c.from_server & (t["payload_length"] > 0)))
        beyond = (t["ack"] - t["seq"][np.maximum(first, 0)]).astype(np.int32)
        heard = self.plain & ~c.from_server & (first >= 0) & (t["flags"] & ACK != 0) & (beyond > 0)
        out: Array = c.before(heard) > 0
        return out

    def _since_own(self) -> Array:
        """Nanoseconds since the sender's packet before; -1 where there is none."""
        c, t = self.c, self.t
        own = c.is_packet | (t["what"] & WHAT_REFERENCE != 0)
        before = np.where(c.from_server, c.latest(own & c.from_server), c.latest(own & ~c.from_server))
        return np.where(before >= 0, t["time_ns"] - t["time_ns"][np.maximum(before, 0)], -1)

    def _stateless(self) -> Array:
        """
        Resets as anything without state for the flow sends them: RFC 9293 section 3.5.2, group 1.

        To a packet with ACK: bare, window 0, its acknowledgement as sequence number.  To a SYN: RST+ACK, window 0,
        sequence number 0.  A firewall, a NAT, another server of an anycast address, or the kernel below a program that
        runs a TCP of its own.
        """
        c, t = self.c, self.t
        cause = np.where(c.from_server, c.latest(self.plain_of_client), c.latest(self.plain_of_server))
        index = np.maximum(cause, 0)
        has_ack = t["flags"] & ACK != 0
        to_ack = ~has_ack & (t["ack"] == 0) & (t["seq"] == t["ack"][index])
        to_syn = has_ack & (t["seq"] == 0) & (t["flags"][index] & (SYN | ACK) == SYN)
        unseen = self.one_way & ~has_ack & (t["ack"] == 0)  # what it answers is not in the capture
        out: Array = c.is_reset & (t["window"] == 0) & (((cause >= 0) & (to_ack | to_syn)) | unseen)
        return out

    # ------------------------------------------------------------ what the sender's stack cannot have done

    def contradictions(self, rtt: Array) -> list[Observation]:
        """New bytes, or an acknowledgement of the reset's cause, from the sender after its reset."""
        c, t = self.c, self.t
        reset_at, gap, fresh = self._after_first_reset()
        sharp = self.distinct(reset_at) | (gap > c.spread(np.where(rtt > 0, np.maximum(rtt // 4, MS), REORDER_NS)))
        # After a forged FIN its number is counted, so that genuine bytes look like old ones.
        revived = c.spread(c.any(self.forged_fin))
        candidate = self.plain & fresh & sharp & (t["flags"] & SYN == 0)
        candidate &= revived | (t["what"] & WHAT_KEEP_ALIVE == 0)
        new = candidate & (t["payload_length"] > 0) & (revived | (t["what"] & WHAT_RETRANSMISSION == 0))
        cause, answering = self._acknowledges_cause(reset_at)
        answers = candidate & (t["flags"] & ACK != 0) & answering
        again = self._repeated_between(reset_at) | ((cause < 0) & (gap >= RESEND_NS))
        stateless = (reset_at >= 0) & self.stateless[np.maximum(reset_at, 0)]
        # A kernel below a program with a TCP of its own sits where the program sits, and resets the SYN as well.
        no_kernel = self._other_distance(reset_at) | self._opened_in_peace(reset_at)
        elsewhere = answers & c.from_server & no_kernel
        sure = ((new | answers) & ~again & ~stateless) | (elsewhere & ~again)
        answered = answers & ~again & stateless & c.from_server
        proof, middling, weak = c.any(sure), c.any(answered), c.any(new | answers)
        self.proved |= proof
        return [
            c.observe("data_after_reset", proof, sure, GENUINE),
            c.observe("resets_contradicted", proof | middling, self._before_late(sure | answered), INJECTED),
            c.observe("answer_after_stateless_reset", middling & ~proof, answered, GENUINE),
            c.observe("more_after_reset", weak & ~proof & ~middling, new | answers, CONTEXT),
        ]

    def _after_first_reset(self) -> tuple[Array, Array, Array]:
        """Per row: index of its sender's first suspect reset before it (-1), time since, and is it not older bytes."""
        c, t = self.c, self.t
        at = np.full(len(t), -1)
        for side in (0, 1):
            first = c.spread(c.first(self.suspect & (self.side == side)))
            mine = (self.side == side) & (first >= 0) & (first < np.arange(len(t)))
            at = np.where(mine, first, at)
        index = np.maximum(at, 0)
        gap = t["time_ns"] - t["time_ns"][index]
        ahead = (t["seq"] - t["seq"][index]).astype(np.int32)
        return at, gap, (at >= 0) & (ahead >= 0)

    def _acknowledges_cause(self, reset_at: Array) -> tuple[Array, Array]:
        """
        Index of the other end's latest payload before the reset (-1), and does the row acknowledge bytes of it.

        Where the capture has no such payload: does the row acknowledge more than its sender had before the reset.
        """
        c, t = self.c, self.t
        index = np.maximum(reset_at, 0)
        payload, acks = self.plain & (t["payload_length"] > 0), self.plain & (t["flags"] & ACK != 0)
        cause = np.where(c.from_server, c.latest(payload & ~c.from_server), c.latest(payload & c.from_server))[index]
        before = np.where(c.from_server, c.latest(acks & c.from_server), c.latest(acks & ~c.from_server))[index]
        beyond = (t["ack"] - t["seq"][np.maximum(cause, 0)]).astype(np.int32)
        more = (t["ack"] - t["ack"][np.maximum(before, 0)]).astype(np.int32)
        out: Array = (reset_at >= 0) & np.where(cause >= 0, beyond > 0, (before >= 0) & (more > 0))
        return cause, out

    def _opened_in_peace(self, reset_at: Array) -> Array:
        """Came the server's SYN+ACK before the reset, and no reset of it before."""
        t, c = self.t, self.c
        syn_ack = self.plain_of_server & (t["flags"] & (SYN | ACK) == SYN | ACK)
        first = np.maximum(reset_at, 0)
        earlier = c.before(c.is_reset & c.from_server)
        out: Array = (reset_at >= 0) & (c.before(syn_ack)[first] > 0) & (earlier[first] == 0)
        return out

    def _repeated_between(self, reset_at: Array) -> Array:
        """Had the other end sent bytes again between the reset and the row."""
        c = self.c
        again = c.is_plain & (self.t["what"] & WHAT_RETRANSMISSION != 0) & (self.t["payload_length"] > 0)
        seen = np.where(c.from_server, c.before(again & ~c.from_server), c.before(again & c.from_server))
        return (reset_at >= 0) & (seen > seen[np.maximum(reset_at, 0)])

    def _before_late(self, late: Array) -> Array:
        """Suspect resets before the last late packet of their sender."""
        c, rows = self.c, np.arange(len(self.t))
        out = np.zeros(len(rows), np.bool_)
        for side in (0, 1):
            out |= self.suspect & (self.side == side) & (rows < c.spread(c.last(late & (self.side == side))))
        return self._told_apart(out)

    def _told_apart(self, resets: Array) -> Array:
        """Of these, where some have a TTL that their sender never has, only those: the others are its own."""
        c, alien = self.c, resets & self.alien_ttl()
        out = resets
        for side in (0, 1):
            both = c.spread(c.any(alien & (self.side == side))) & (self.side == side)
            out = out & (alien | ~both)
        return out

    def distinct(self, reset_at: Array) -> Array:
        """Has the row another TTL than the reset: then the two did not come from one sender in another order."""
        out: Array = (reset_at >= 0) & (self.t["ttl"] != self.t["ttl"][np.maximum(reset_at, 0)])
        return out

    def _other_distance(self, reset_at: Array) -> Array:
        """Did the reset come over a way that differs by more than three hops, whatever its initial TTL."""
        ttl = self.t["ttl"].astype(np.int64)
        out: Array = (reset_at >= 0) & (np.abs(hops(ttl) - hops(ttl[np.maximum(reset_at, 0)])) > 3)
        return out

    def syn_ack_after(self) -> list[Observation]:
        """
        The server's SYN+ACK after its reset, without a SYN between.

        After the handshake that says that the server never saw its end.  But where the reset refused the SYN, a port
        was first closed and then open: two hosts that share an address would say so from one distance.
        """
        c, t = self.c, self.t
        first = c.spread(c.first(self.suspect & c.from_server))
        is_syn = t["flags"] & (SYN | ACK | RST)
        asked = c.before(c.is_plain & (is_syn == SYN))
        late = c.is_plain & (is_syn == SYN | ACK) & c.from_server & (first >= 0) & (first < np.arange(len(t)))
        late &= asked == asked[np.maximum(first, 0)]
        syn = c.latest(self.plain_of_client & (is_syn == SYN))
        refused = self.suspect & c.from_server & (t["flags"] & ACK != 0) & (syn >= 0)
        refused &= (t["ack"] == t["seq"][np.maximum(syn, 0)] + np.uint32(1)) & (c.before(self.plain_of_server) == 0)
        opened = late & (c.spread(c.first(refused)) == first) & self._other_distance(first)
        proof = c.any(opened)
        self.proved |= proof
        return [
            c.observe("synack_after_reset", c.any(late), late, GENUINE),
            c.observe("open_after_refusal", proof, refused, INJECTED),
        ]

    def fin_contradicted(self) -> Observation:
        """FINs that their sender's later bytes contradict, before or among its resets."""
        c = self.c
        beside = self.forged_fin & c.spread(c.any(self.suspect))
        return c.observe("fin_contradicted", c.any(beside), beside, INJECTED)

    def expired(self) -> Observation:
        """A reset that acknowledges the client's payload although a router reports that packet as expired."""
        c, t = self.c, self.t
        quote = (t["what"] & WHAT_ICMP != 0) & (t["flags"] == TIME_EXCEEDED) & c.from_server
        payload = self.plain_of_client & (t["payload_length"] > 0)
        whose = c.owner.astype(np.int64) << 32
        gone = payload & np.isin(whose | t["seq"], (whose | t["seq"])[quote])
        gone &= np.isin(whose | t["ip_id"], (whose | t["ip_id"])[quote])
        cause = c.latest(payload)
        sent = payload & (t["what"] & WHAT_RETRANSMISSION == 0)
        forged = self.suspect & c.from_server & (t["flags"] & ACK != 0) & (t["ack_offset"] == 0)
        forged &= (cause >= 0) & gone[np.maximum(cause, 0)] & (c.before(payload & ~sent) == 0)
        self.proved |= c.any(forged)
        return c.observe("trigger_expired", c.any(forged), forged, INJECTED)

    def before_rtt(self, context: Array) -> list[Observation]:
        """
        Answers a packet of the other end in under half the shortest round trip known to its sender.

        For the server's resets that is the handshake of this flow or of the server's others; for the client's, as seen
        nearer the server, the time from SYN+ACK to ACK.
        """
        c, t = self.c, self.t
        own, others = c.flow["rtt_server_ns"], context["server_min_rtt_ns"]
        rtt = np.where((own > 0) & (others > 0), np.minimum(own, others), np.maximum(own, others))
        limit = np.where(c.from_server, c.spread(rtt), c.spread(c.flow["rtt_client_ns"]))
        cause = self._answered()
        took = t["time_ns"] - t["time_ns"][np.maximum(cause, 0)]
        asked = np.where(c.from_server, self.asked_before, self.answered_before)
        # Scheduling and the capture's clock may take 2 ms off any interval.
        early = self.suspect & asked & (cause >= 0) & (took * 2 < limit) & (limit - took > 2 * MS)
        proof = c.any(early & c.from_server & (took * 4 < limit) & c.spread((own > 0) & (others > 0)))
        self.proved |= proof
        self.early: Array = early
        # The shortest of several handshakes is the path's own length; queues only add to it.
        measured = c.spread((own > 0) & (others > 0) & (context["server_flows"] >= 3))
        soon = self.suspect & c.from_server & asked & measured & (cause >= 0) & (took * 4 < limit * 3)
        soon &= (limit - took > 5 * MS) & ~c.spread(c.any(early))
        out = []
        for id, units, rows in (
            ("reset_before_path", proof, early),
            ("reset_before_rtt", c.any(early) & ~proof, early),
            ("reset_before_others", c.any(soon), soon),
        ):
            values = {"ms": c.smallest(took, rows, -1) / MS, "rtt_ms": c.largest(limit, rows, -1) / MS}
            out.append(c.observe(id, units, rows, INJECTED, values))
        return out

    def _answered(self) -> Array:
        """Index of the earliest packet of the other end that each reset can be an answer to (-1)."""
        c, t = self.c, self.t
        # A reset that acknowledges all: the packet that first carried the last byte, not a copy of it.
        covers = (t["flags"] & ACK != 0) & (t["ack_offset"] == 0)
        original = c.is_plain & (t["payload_length"] > 0) & (t["what"] & WHAT_RETRANSMISSION == 0)
        latest = np.where(c.from_server, c.latest(original & ~c.from_server), c.latest(original & c.from_server))
        return np.where(self.stateless, self._first_with_that_ack(), np.where(covers, latest, -1))

    def _first_with_that_ack(self) -> Array:
        """Index of the other end's first packet that acknowledges the row's sequence number (-1)."""
        c, t = self.c, self.t
        out = np.full(len(t), -1)
        for side in (0, 1):
            sent = np.flatnonzero(c.is_plain & (self.side != side) & (t["flags"] & ACK != 0))
            if not len(sent):
                continue
            whose = c.owner.astype(np.int64) << 32
            values, first = np.unique((whose | t["ack"])[sent], return_index=True)
            wanted = whose | t["seq"]
            at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
            out = np.where((values[at] == wanted) & (self.side == side), sent[first][at], out)
        return out

    # ------------------------------------------------------------ what it was copied from

    def echo_ip_id(self) -> Observation:
        """IP ID of the client's latest packet, or the next one, where the server's own packets have nothing of it."""
        c, t = self.c, self.t
        ids = t["ip_id"]
        cause = c.latest(self.plain_of_client)
        step = (ids - ids[np.maximum(cause, 0)]).astype(np.uint16)
        near = (cause >= 0) & (ids > 0) & (step <= 1)
        shares = self.plain_of_server & (cause >= 0) & (ids > 0) & (step <= 64)
        alien = self.alien_ttl() | unlike(c, t["ip_flags"] & 2, self.suspect, self.plain_of_server)
        forged = self.suspect & c.from_server & near & alien & c.spread(~c.any(shares))
        self.proved |= c.any(forged)
        return c.observe("echo_ip_id", c.any(forged), forged, INJECTED)

    def own_ip_id_again(self) -> Observation:
        """
        IP ID of a packet that its alleged sender had sent before, where no two of the sender's own packets share one.

        A box that tells both ends makes the reset out of the packet that it saw.
        """
        c, t = self.c, self.t
        numbered = self.plain & (t["ip_id"] > 0)
        forged = np.zeros(len(t), np.bool_)
        for side in (0, 1):
            mine = numbered & (self.side == side)
            code = c.owner << 16 | t["ip_id"]
            known, times = np.unique(code[mine], return_counts=True)
            twice = c.any(mine & np.isin(code, known[times > 1]))
            reset = self.suspect & (self.side == side) & (t["ip_id"] > 0) & np.isin(code, known)
            forged |= reset & c.spread(~twice & (c.count(mine) >= 2))
        return c.observe("own_ip_id_again", c.any(forged), forged, INJECTED)

    def echo_window(self) -> Observation:
        """Window of the client's latest packet, which no packet of the server had."""
        c, t = self.c, self.t
        cause = c.latest(self.plain_of_client)
        same = (cause >= 0) & (t["window"] > 0) & (t["window"] == t["window"][np.maximum(cause, 0)])
        forged = same & unlike(c, t["window"], self.suspect & c.from_server, self.references, self.side)
        return c.observe("echo_window", c.any(forged), forged, CONTEXT, {"window": c.largest(t["window"], forged, 0)})

    # ------------------------------------------------------------ several at once

    def _run(self) -> Array:
        """Index of the sender's suspect reset just before each, no packet of the other end between them (-1)."""
        c, suspect = self.c, self.suspect
        server, client = c.from_server, ~c.from_server
        ours = np.where(server, c.latest(suspect & server), c.latest(suspect & client))
        other = np.where(server, c.latest(c.is_packet & client), c.latest(c.is_packet & server))
        return np.where(suspect & (ours >= 0) & (ours > other), ours, -1)

    def alike(self) -> Observation:
        """Two or more resets with one IP ID (not 0) and one sequence number, in a flow without copies of frames."""
        c, t = self.c, self.t
        before = self._run()
        index = np.maximum(before, 0)
        same = (before >= 0) & (t["ip_id"] > 0)
        for field in ("ip_id", "seq", "ack", "flags", "window", "ttl"):
            same &= t[field] == t[field][index]
        same &= c.spread(~c.any(t["what"] & WHAT_DUPLICATE != 0))
        members = same.copy()
        np.logical_or.at(members, before[same], True)
        many = c.count(same) + 1
        return c.observe("resets_alike", c.any(same), members, CONTEXT, {"count": many})

    def two_kinds(self) -> Observation:
        """
        Some resets have TTL and DF of their sender's other packets and some have not.

        That a sender's resets differ from its data (planes of a host, a kernel below a program) is ruled out here.  A
        balancer and the server behind it do make two kinds: of a server's resets only those are compared that answer
        without state, which one kernel makes in one way.
        """
        c, t = self.c, self.t
        comparable = c.is_reset & (self.stateless | ~c.from_server)
        other_ttl = unlike(c, t["ttl"], comparable, self.references, self.side)
        other_df = unlike(c, self.df, comparable, self.plain, self.side)
        alien = self.suspect & comparable & ((self.alien_ttl() & ~self._near()) | (other_df & ~c.from_server))
        own = comparable & ~other_ttl & (~other_df | c.from_server)
        # An end that has reset, and a NAT before it that answers what still comes, make two kinds in the other order.
        before = np.where(c.from_server, c.before(own & c.from_server), c.before(own & ~c.from_server))
        alien &= (before == 0) | c.from_server
        mixed = np.zeros(len(c), np.bool_)
        for side in (0, 1):
            mixed |= c.any(alien & (self.side == side)) & c.any(own & (self.side == side))
        self.of_two_kinds: Array = alien & c.spread(mixed)
        return c.observe("resets_of_two_kinds", mixed, alien, INJECTED)

    def exceeding(self) -> Observation:
        """More resets in a row than packets of the other end that could have drawn one each."""
        c, t = self.c, self.t
        before = self._run()
        segments = np.where(c.is_plain, 1 + t["payload_length"] // SEGMENT, 0).astype(np.int64)
        causes = c._reduce(np.add, np.where(~c.from_server, segments * (c.before(self.suspect) == 0), 0), 0)
        joined = c.count((before >= 0) & c.from_server) + 1
        handshake = 2  # SYN and the ACK that ends the handshake were answered, or need no answer
        more = c.any((before >= 0) & c.from_server) & (joined > np.maximum(causes - handshake, 1))
        return c.observe("resets_exceed_causes", more, (before >= 0) & c.from_server, CONTEXT, {"count": joined})

    def stepped(self) -> Observation:
        """Resets in a row whose sequence numbers climb past everything that was sent or acknowledged."""
        c, t = self.c, self.t
        before = self._run()
        climb = (t["seq"] - t["seq"][np.maximum(before, 0)]).astype(np.int32)
        side = self.side.astype(np.int64)
        ahead = (t["seq_offset"] > 0) & (c.flow["missing"][c.owner, side] == 0)
        forged = (before >= 0) & (climb > 0) & ahead
        members = forged.copy()
        np.logical_or.at(members, before[forged], True)
        self.proved |= c.any(forged)
        return c.observe("resets_stepped", c.any(forged), members, INJECTED, {"step": c.largest(climb, forged, 0)})

    def behind(self) -> Observation:
        """
        A reset with ACK whose number lies below what its sender had already sent.

        From a live connection it would be the next number (RFC 9293 section 3.10.5); one that answers a packet without
        a connection has no ACK.  Looked for even after resets of the other end, for a stack never answers these.
        """
        t, c = self.t, self.c
        offset = t["seq_offset"]
        odd = self.unclosed & (t["flags"] & ACK != 0) & (offset < -1) & (offset != UNKNOWN_OFFSET)
        return c.observe("reset_behind_data", c.any(odd), odd, INJECTED)

    def of_no_number(self) -> Observation:
        """
        A bare reset whose number is neither its sender's next nor one that the other end had acknowledged.

        It was taken from the middle of what the sender sent.  Only where the capture has all packets of both ends.
        """
        t, c = self.t, self.c
        whole = (c.flow["packets"].sum(axis=1) <= TRACED) & (c.flow["missing"].sum(axis=1) == 0)
        offset = t["seq_offset"]
        odd = self.suspect & (t["flags"] & ACK == 0) & (offset < -1) & (offset != UNKNOWN_OFFSET) & c.spread(whole)
        odd &= self._first_with_that_ack() < 0
        return c.observe("reset_of_no_number", c.any(odd), odd, INJECTED)

    def odd_flags(self) -> Observation:
        """A reset that also pushes, ends or opens, or with a reserved bit (0x100, AE, is none any more)."""
        odd = self.suspect & (self.t["flags"] & (0xE00 | 0x08 | FIN | SYN) != 0)
        return self.c.observe("reset_flags", self.c.any(odd), odd, CONTEXT)

    # ------------------------------------------------------------ headers unlike the sender's

    def header(self, id: str, values: Array, wanted: Array | None = None) -> Observation:
        """A header field that none of the sender's other packets has, though these agree with one another on it."""
        c = self.c
        subject = self.suspect if wanted is None else self.suspect & wanted
        odd = unlike(c, values, subject, self.plain, self.side)
        return c.observe(id, c.any(odd), odd)

    def alien_ttl(self, subject: Array | None = None) -> Array:
        """Suspect resets (or others) whose TTL lies outside what their sender's other packets had."""
        c, t = self.c, self.t
        low, high = c.flow["ttl_min"], c.flow["ttl_max"]
        ttl = t["ttl"].astype(np.int64)
        side = self.side.astype(np.int64)
        outside = (ttl < low[c.owner, side].astype(np.int64)) | (ttl > high[c.owner, side].astype(np.int64))
        outside |= c.spread(c.any(self.forged_fin))  # whose TTL went into the range
        resets = self.suspect if subject is None else subject
        return unlike(c, t["ttl"], resets, self.references, self.side) & outside

    def _usual_ttl(self) -> Array:
        """The highest TTL of the row's sender in packets that are no resets."""
        c = self.c
        high = c.flow["ttl_max"].astype(np.int64)
        return np.where(c.from_server, c.spread(high[:, 1]), c.spread(high[:, 0]))

    def _near(self) -> Array:
        """TTL within three of the sender's: parallel paths, and both sides of a router in one capture."""
        out: Array = np.abs(self.t["ttl"].astype(np.int64) - self._usual_ttl()) <= 3
        return out

    def ttl(self, context: Array) -> list[Observation]:
        """
        Another distance than the sender's, and no TTL of the server's other flows.

        Paths that share traffic differ by a few hops, and stacks of one host by their initial TTL: both count for less.
        """
        c, t = self.c, self.t
        ttl = t["ttl"].astype(np.int64)
        usual = c.from_server & self._within(ttl, context["server_ttl_min"], context["server_ttl_max"])
        alien = self.alien_ttl() & ~usual
        known, near = self._usual_ttl(), self._near()
        same_way = hops(ttl) == hops(known)
        clear = alien & ~near & ~same_way
        habits = context["server_rst_ttl"][c.owner].astype(np.int64)
        habit = alien & c.from_server & (habits == ttl[:, None]).any(axis=1)
        self.clear: Array = clear & ~habit
        values = {"ttl": c.largest(ttl, alien, 0), "usual": c.largest(known, alien, 0)}
        strong = c.any(clear)
        return [
            c.observe("reset_ttl", strong, alien, INJECTED, values),
            c.observe("reset_ttl_near", c.any(alien) & ~strong, alien, INJECTED, values),
            c.observe("reset_ttl_habit", c.any(habit), habit, CONTEXT, values),
        ]

    def _within(self, ttl: Array, low: Array, high: Array) -> Array:
        known = self.c.spread(low > 0)
        return known & (ttl >= self.c.spread(low).astype(np.int64)) & (ttl <= self.c.spread(high).astype(np.int64))

    def options(self) -> Observation:
        """No options on a reset with ACK, though all its sender's packets have ten bytes or more (timestamps)."""
        c, t = self.c, self.t
        odd = self.suspect & self._stamped() & (t["options_length"] == 0) & (t["flags"] & ACK != 0)
        self.lacking: Array = odd
        return c.observe("reset_options", c.any(odd), odd, CONTEXT)

    def _stamped(self) -> Array:
        """Do all other packets of the row's sender carry ten bytes of options or more (timestamps)."""
        c = self.c
        with_some = self.t["options_length"] >= 10
        out = np.zeros(len(self.t), np.bool_)
        for side in (0, 1):
            mine = self.plain & (self.side == side)
            out |= c.spread(c.any(mine) & ~c.any(mine & ~with_some)) & (self.side == side)
        return out

    def ip_id(self) -> Observation:
        """IP ID far from where the sender's counter stood, where three of its packets or more had counted."""
        c, t = self.c, self.t
        ids = t["ip_id"]
        counted = self.references & (ids > 0)
        odd = np.zeros(len(t), np.bool_)
        for side in (0, 1):
            mine = counted & (self.side == side)
            before = c.latest(mine)
            step = (ids - ids[np.maximum(before, 0)]).astype(np.uint16)
            jumps = mine & (before >= 0) & (step > 256)
            counts = c.spread((c.count(mine) >= 3) & ~c.any(jumps))
            odd |= (
                self.suspect & (self.side == side) & counts & (before >= 0) & (ids > 0) & (step > 1024) & (step < 64512)
            )
        return c.observe("reset_ip_id", c.any(odd), odd, CONTEXT)

    def beyond_reach(self) -> Observation:
        """The client sent its payload with fewer hops to live than the server is away (a traceroute with payload)."""
        c, t = self.c, self.t
        ttl = t["ttl"].astype(np.int64)
        away = c.smallest(hops(ttl), self.plain_of_server, 255)
        payload = self.plain_of_client & (t["payload_length"] > 0)
        cause = c.latest(payload)
        short = ttl[np.maximum(cause, 0)]
        usual = c.spread(c.largest(ttl, self.plain_of_client & ~payload, 0))
        answer = self.suspect & c.from_server & (t["flags"] & ACK != 0) & (t["ack_offset"] == 0) & (cause >= 0)
        beyond = answer & (short <= c.spread(away)) & (usual - short > 8)
        return c.observe("reset_beyond_reach", c.any(beyond), beyond, INJECTED)

    # ------------------------------------------------------------ over many flows

    def in_common(self) -> list[Observation]:
        """What the resets that are unlike their senders have in common with each other."""
        follows = in_common.window_follows_ttl(self.c, self.alien_ttl())
        self.proved[follows.rows] = True
        return [follows, in_common.one_ip_id(self.c, self.alien_ttl())]

    def by_name(self, context: Array) -> list[Observation]:
        """
        How resets fall on names, where something in the flow says that its resets are not their sender's own.

        For a server may refuse a name by itself; another distance, or a time before its answer could come, is not its.
        """
        c = self.c
        sign = (self.suspect & (self.clear | self.early)) | (self.suspect & ~c.from_server & self._alien_client())
        named = self._told_apart(self.suspect & self.asked_before & ~self.in_stream_rows())
        names = ByName(c, context, named)
        found = [*names.selective(c.any(sign)), names.proved_elsewhere(self.proved)]
        # Resets of another plane of the site (a balancer's) have no options; those with the TTL of its data should.
        ought = self._stamped() & self.suspect & (self.t["flags"] & ACK != 0)
        found += names.unlike_its_stack(self.lacking & ~self.alien_ttl(), ought)
        self.excused: Array = np.zeros(len(c), np.bool_)
        for one in found:
            self.excused[one.rows] = True
        return found

    def _alien_client(self) -> Array:
        """Resets in the client's name unlike its other packets in TTL, or the first of two kinds."""
        return self.alien_ttl() | self.of_two_kinds

    def _of_one_make(self) -> Array:
        """Resets that are in all but numbers like the first suspect one of their sender, which comes before them."""
        c, t = self.c, self.t
        out = np.zeros(len(t), np.bool_)
        for side in (0, 1):
            first = c.spread(c.first(self.suspect & (self.side == side)))
            same = c.is_reset & (self.side == side) & (first >= 0) & (first <= np.arange(len(t)))
            for field in ("flags", "ttl", "tos", "ip_flags", "options_length"):
                same &= t[field] == t[field][np.maximum(first, 0)]
            out |= same
        return out

    # ------------------------------------------------------------ against

    def in_stream_rows(self) -> Array:
        """
        Resets that carry on their sender's stream: its next number and TTL, and its timestamps.

        Where none were agreed: the next value of its IP ID.
        """
        c, t = self.c, self.t
        next_ = self.suspect & (t["flags"] & ACK != 0) & (t["seq_offset"] == 0) & ~self.alien_ttl()
        ids = t["ip_id"]
        numbered = self.references & (ids > 0)
        before = np.where(c.from_server, c.latest(numbered & c.from_server), c.latest(numbered & ~c.from_server))
        step = (ids - ids[np.maximum(before, 0)]).astype(np.uint16)
        counts = (ids > 0) & (before >= 0) & (step > 0) & (step <= 64)
        stamped = self._stamped()
        out: Array = next_ & np.where(stamped, t["options_length"] >= 10, counts)
        return out

    def in_stream(self) -> Observation:
        """All suspect resets are the next packets of their sender, as far as its header can say."""
        rows = self.in_stream_rows()
        every = self.c.any(self.suspect) & ~self.c.any(self.suspect & ~rows) & ~self.proved
        return self.c.observe("reset_in_stream", every, rows, CONTEXT)

    def as_of_no_connection(self) -> Observation:
        """All suspect resets are such as anything without state sends; no proof, no choice of names contradicts it."""
        every = self.c.any(self.suspect) & ~self.c.any(self.suspect & ~self.stateless) & ~self.proved & ~self.excused
        return self.c.observe("reset_as_of_no_connection", every, self.suspect, CONTEXT)

    def more_of_them(self) -> Observation:
        """
        Further resets of the first suspect one's make; where that is proved forged, those of a TTL that its end never
        has; and what a mirror port made of all these.
        """
        c, t = self.c, self.t
        side = np.zeros(len(t), np.bool_)
        for one in (0, 1):
            side |= c.spread(c.any(self.suspect & (self.side == one))) & (self.side == one)
        alien = c.spread(self.proved) & unlike(c, t["ttl"], c.is_reset, self.references, self.side)
        more = side & (alien | (self._of_one_make() & ~self.stateless))
        copies = side & (t["what"] & WHAT_DUPLICATE != 0) & (t["flags"] & RST != 0)
        code = c.owner << 32 | t["seq"].astype(np.int64)
        copies &= np.isin(code, code[self.suspect | more]) & (self.alien_ttl(copies) | c.spread(self.proved))
        return c.observe("resets_of_the_same", c.any(self.suspect), more | copies, INJECTED)


def hops(ttl: Array) -> Array:
    """Hops behind a TTL, if it began at the next of 32, 64, 128 and 255."""
    start = np.select([ttl <= 32, ttl <= 64, ttl <= 128], [32, 64, 128], 255)
    return start - ttl
