"""
What the mechanisms that drop by name have in common: a request of the client, and then nothing, or nothing more.

Four forms, each of its own look-alikes:

* lost: the request is repeated and never acknowledged whole.
* unanswered: the request is acknowledged, and no byte of the answer comes.
* stalled: some packets of the server come, and then none, while the client goes on.
* cut: the same after 12 to 25 KB from the server.

What looks alike: large packets lost in a tunnel (no segment small enough was tried: `may_be_size`), an uplink that
broke or a client that moved (nothing reaches this client after it, or other servers are silent to it, too), a server
that died (nobody is answered by it later), a box that lost its state (connections to several servers stall), an idle
connection that was forgotten (`idle_before`), a server that hangs (it never says that it sent anything), a capture that
misses the server's packets (the client acknowledges them), a client that limits its probe's TTL (a router says so).
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    ACK,
    CONTEXT,
    FACT_CUT_BY_END,
    FACT_NAME_INCOMPLETE,
    FACT_ONE_WAY,
    FACT_TRIGGER_REPEATED,
    FIN,
    GENUINE,
    INJECTED,
    MARK_STALLED,
    MARK_TRIGGER_UNACKED,
    MARK_UNANSWERED,
    PSH,
    RST,
    SYN,
    TRIGGER,
    WHAT_AHEAD,
    WHAT_BY_END,
    WHAT_KEEP_ALIVE,
    WHAT_RETRANSMISSION,
    WHAT_TRIGGER,
    Candidates,
    Fingerprinter,
    Observation,
    unlike,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

SECOND = 1_000_000_000
COPIES = 3  # of one segment: with a loss of one in ten, three in a row happen once in a thousand
SURE_SIZE = 1200  # bytes of payload that pass wherever IPv6 does (RFC 8200 section 5: an MTU of 1,280)
FULL_SEGMENT = 1460  # bytes of payload in a packet of 1,500 bytes
CUT = 12_000, 25_600  # bytes to the client after which known boxes cut a delivery
IDLE = 60 * SECOND  # boxes forget an idle connection after minutes; programs wait for an answer less long
CHANCE = 0.025
PATIENCE = 10 * SECOND  # in which even a lost first repeat is followed by others
V4, V6 = (0x309, 0x30A, 0x30D), (0x101, 0x105, 0x106)  # type << 8 | code
ACTIVE = 5 * SECOND  # the first repeat of what was sent at once: some RTTs (RFC 6298)


class Silence(Fingerprinter):
    """
    Base of the mechanisms that drop by what a TCP client asks for.

    trigger: enum tscope_trigger; word: what the request is called in the ids of observations; stage_: for the prior.
    """

    marks = MARK_UNANSWERED | MARK_TRIGGER_UNACKED | MARK_STALLED
    trigger = 0
    word = ""
    stage_ = 0

    def pick(self, columns: Any) -> Array:
        """Requests without an answer, in flows of which both directions were seen, and flows that fell silent."""
        flow = columns.flow
        # The client's own repeats say that it got nothing, but only where its server's packets are captured at all.
        both = (flow["facts"] & np.uint32(FACT_ONE_WAY) == 0) | (columns.context["near_pair_reached"] > 0)
        again = flow["facts"] & np.uint32(FACT_TRIGGER_REPEATED) != 0
        whole = flow["trigger_acked"] >= flow["trigger_length"]
        closed = flow["flags"][:, 0] & FIN != 0
        silent = (flow["answer_ns"] < 0) & (again | whole | closed)
        stalled = flow["marks"] & np.uint32(MARK_STALLED) != 0
        chosen: Array = (flow["trigger"] == self.trigger) & (flow["protocol"] == 6) & both & (silent | stalled)
        return chosen

    def stage(self, columns: Any) -> Array:
        """Always after the request."""
        return np.full(len(columns), self.stage_, np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """What the flow's own packets show."""
        c = candidates
        cut = c.flow["facts"] & np.uint32(FACT_CUT_BY_END) != 0
        cut &= c.flow["final_ns"] - c.flow["trigger_ns"] < PATIENCE
        lost = self._is_lost(c)
        unnamed = (c.flow["facts"] & np.uint32(FACT_NAME_INCOMPLETE) != 0) & (c.flow["name_length"] == 0)
        expired = c.is_icmp & (c.trace["flags"] >> 8 == 11)
        return [
            *self._lost(c),
            *self._unanswered(c),
            *self._stalled(c),
            c.observe("expired_on_the_way", c.any(expired), expired, CONTEXT),
            c.observe("capture_ended", cut & lost & (c.count(self._copies(c)) < COPIES), None, CONTEXT),
            c.observe("name_not_captured", unnamed, None, CONTEXT),
        ]

    # ------------------------------------------------------------ forms

    def _lost(self, c: Candidates) -> list[Observation]:
        """The request, or its end, was never acknowledged."""
        t, flow = c.trace, c.flow
        form = self._is_lost(c)
        copies = self._copies(c)
        count = c.count(copies)
        lasted = _span(c, copies)
        enough = form & (count >= COPIES) & (lasted >= SECOND)
        third = c.before(copies) >= COPIES
        # A probe that does not repeat: its request and its FIN, seconds apart, are two packets lost.
        closing = c.is_plain & ~c.from_server & (t["flags"] & FIN != 0) & (c.before(t["what"] & WHAT_TRIGGER != 0) > 0)
        closing &= t["time_ns"] - c.spread(flow["trigger_ns"]) >= 2 * SECOND
        both_lost = form & (count == 0) & c.any(closing) & (c.last(closing) > c.last(c.is_packet & c.from_server))
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
            "copies": count, "seconds": lasted / SECOND, "acked": flow["trigger_acked"],
            "length": flow["trigger_length"],
        }  # fmt: skip
        return [
            c.observe(f"{self.word}_cut_short", alive & part & small, speaks, GENUINE, values),
            c.observe(f"{self.word}_never_arrived", alive & ~(part & small), speaks, GENUINE, values),
            c.observe("handshake_never_arrived", enough & ~alive & opening, copies, TRIGGER, values),
            c.observe(f"{self.word}_unanswered", enough & ~alive, copies, TRIGGER, values),
            c.observe(f"{self.word}_and_fin_unanswered", both_lost, closing, TRIGGER),
            c.observe(f"{self.word}_repeated_little", form & ~enough & ~both_lost, copies, TRIGGER, values),
            c.observe("may_be_size", form & ~small, copies, CONTEXT, values),
        ]

    def _unanswered(self, c: Candidates) -> list[Observation]:
        """The request was acknowledged, and no byte came back."""
        t, flow = c.trace, c.flow
        form = (flow["answer_ns"] < 0) & (flow["trigger_acked"] >= flow["trigger_length"])
        mine = c.spread(form) & (c.before(t["what"] & WHAT_TRIGGER != 0) > 0)
        bare = mine & c.is_plain & c.from_server & (t["payload_length"] == 0) & (t["flags"] & SYN == 0)
        # The server's number is beyond all that came from it: it sent an answer.  The client, a second after its
        # request was acknowledged or later, acknowledges nothing of it, so that it is no gap of the capture.
        sent = bare & (t["what"] & WHAT_AHEAD != 0)
        end = c.spread(flow["trigger_seq"] + flow["trigger_length"])
        taken = c.spread(c.first(bare & ((t["ack"] - end).astype(np.int32) >= 0)))
        late = mine & c.is_plain & ~c.from_server & (taken >= 0) & (t["time_ns"] - t["time_ns"][taken] >= SECOND)
        waits = c.any(late & (t["ack"] == c.spread(flow["isn"][:, 1]) + np.uint32(1)))
        answered = form & waits & c.any(sent)
        length = c.largest(t["seq_offset"], sent, 0)
        tail = length % FULL_SEGMENT
        closing = late & (t["flags"] & FIN != 0) & (t["what"] & WHAT_RETRANSMISSION != 0)
        alone = form & ~answered & (c.count(closing) >= COPIES)
        push = bare & (t["flags"] & PSH != 0)
        alien = unlike(c, t["ttl"], push, c.is_plain & c.from_server & ~push)
        copied = alien & (t["ip_id"] != 0) & (t["ip_id"] == c.spread(self._trigger_ip_id(c)))
        return [
            c.observe("answer_never_arrived", answered, sent, GENUINE, {"length": length}),
            c.observe("answer_may_be_size", answered & ((tail > SURE_SIZE) | (tail == 0)), sent, CONTEXT),
            c.observe("acked_then_silent", alone, closing, CONTEXT, {"copies": c.count(closing)}),
            c.observe("empty_push_copied", form & c.any(copied), copied, INJECTED),
            c.observe("empty_push", form & c.any(alien) & ~c.any(copied), alien, INJECTED),
        ]

    def _stalled(self, c: Candidates) -> list[Observation]:
        """The server answered, and then fell silent."""
        form = self._is_stalled(c)
        copies = c.spread(form) & self._unheard(c)
        gap = self._gap(c, copies)
        bytes_down = c.flow["bytes"][:, 1].astype(np.int64)
        cut = (bytes_down >= CUT[0]) & (bytes_down <= CUT[1])
        enough = form & (c.count(copies) >= COPIES) & (_span(c, copies) >= SECOND)
        values = {"copies": c.count(copies), "bytes": bytes_down, "seconds": gap / SECOND}
        early = bytes_down < CUT[0]
        return [
            c.observe("delivery_cut", enough & cut & (gap <= IDLE), copies, TRIGGER, values),
            c.observe("stalled_early", enough & early & (gap <= ACTIVE), copies, TRIGGER, values),
            c.observe("idle_before", form & (gap > IDLE), copies, CONTEXT, values),
        ]

    # ------------------------------------------------------------ controls

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """What the same client got from the same server, and from others, in the same minutes, and afterwards."""
        c = candidates
        stalled = self._is_stalled(c)
        since = self._since(c)
        pair, silent = context["near_pair_reached"], context["near_pair_silent"]
        # A flow of another name that was cut at the same place would be no control for a delivery.
        delivered = c.flow["bytes"][:, 1] >= CUT[0]
        reached = np.where(stalled & delivered, context["near_pair_large"], pair)
        others = (reached > 0) & (stalled | (pair >= silent))
        # Afterwards: an answer or a handshake between the two, or answers of this server and answers to this client.
        alive = (context["near_server_last_ns"] > since) & (context["near_client_last_ns"] > since)
        after = alive | (context["near_pair_last_ns"] > since) | (context["near_pair_connected_ns"] > since)
        # An acknowledgement is no answer, but it comes neither from a dead server nor from a proxy for SYNs.
        heard = ~others & self._is_lost(c) & (context["near_pair_heard"] > 0)
        named = {key: context["near_name_" + key].astype(np.int64) for key in ("reached", "silent")}
        rest = {key: context["near_server_" + key].astype(np.int64) - named[key] for key in named}
        # That all of this name were silent by chance, if the other names' share of silent flows (Laplace) held for it.
        share = (rest["silent"] + 1) / (rest["reached"] + rest["silent"] + 2)
        by_name = (named["silent"] >= 1) & (named["reached"] <= named["silent"] / 4) & (rest["reached"] >= 5)
        by_name &= share ** (named["silent"] + 1.0) <= CHANCE
        elsewhere = context["near_client_silent"].astype(np.int64) - silent
        path = context["near_client_reached"] > context["near_client_silent"]
        outage = (elsewhere > 0) & (context["near_client_reached"] <= context["near_client_silent"])
        down = (context["near_server_silent"] > 0) & (context["near_server_reached"] == 0) & (elsewhere <= 0)
        values = {"reached": reached, "silent": silent}
        return [
            c.observe("server_reached_otherwise", others & after, None, CONTEXT, values),
            c.observe("server_reached_before", others & ~after, None, CONTEXT, values),
            c.observe("server_heard_otherwise", heard & after, None, CONTEXT, {"heard": context["near_pair_heard"]}),
            c.observe(
                "client_reaches_others", path & ~others, None, CONTEXT, {"reached": context["near_client_reached"]}
            ),
            c.observe("client_silent_elsewhere", outage, None, CONTEXT, {"silent": elsewhere}),
            c.observe("others_stall_too", stalled & (elsewhere > 0) & ~outage, None, CONTEXT, {"silent": elsewhere}),
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

    # ------------------------------------------------------------ packets

    def _is_lost(self, c: Candidates) -> Array:
        out: Array = (c.flow["answer_ns"] < 0) & (c.flow["trigger_acked"] < c.flow["trigger_length"])
        return out

    def _is_stalled(self, c: Candidates) -> Array:
        out: Array = (c.flow["marks"] & np.uint32(MARK_STALLED) != 0) & (c.flow["answer_ns"] >= 0)
        return out

    def _copies(self, c: Candidates) -> Array:
        """Packets of the client that carry the first bytes which the server never acknowledged, sent again."""
        t, flow = c.trace, c.flow
        start = c.spread(flow["trigger_seq"] + flow["trigger_acked"])
        at = (start - t["seq"]).astype(np.int32)
        carries = (at >= 0) & (at < t["payload_length"].astype(np.int64))
        out: Array = c.is_plain & ~c.from_server & carries & (t["what"] & WHAT_RETRANSMISSION != 0)
        return out

    def _unheard(self, c: Candidates) -> Array:
        """What the client repeated after the server's last packet."""
        heard = c.last(c.is_packet & c.from_server)
        later = np.arange(len(c.owner)) > c.spread(heard)
        out: Array = c.is_plain & ~c.from_server & (c.trace["what"] & WHAT_RETRANSMISSION != 0) & later
        return out

    def _gap(self, c: Candidates, copies: Array) -> Array:
        """From the server's last packet to the first repeat: int64, ns, shape (n,)."""
        if not len(c.trace):
            return np.zeros(len(c), np.int64)
        return np.where(c.any(copies), c.trace["since_other_ns"][c.first(copies)], 0)

    def _since(self, c: Candidates) -> Array:
        """
        When the silence began: int64, ns, shape (n,).

        After a wait that is when the client spoke again: nobody knows what would have come before.
        """
        if not len(c.trace):
            return c.flow["trigger_ns"].copy()
        copies = self._unheard(c)
        gap = self._gap(c, copies)
        began = c.trace["time_ns"][c.first(copies)] - np.where(gap <= ACTIVE, gap, 0)
        return np.where(self._is_stalled(c) & c.any(copies), began, c.flow["trigger_ns"])

    def _trigger_ip_id(self, c: Candidates) -> Array:
        if not len(c.trace):
            return np.zeros(len(c), np.uint16)
        at = c.first(c.is_plain & ~c.from_server & (c.trace["what"] & WHAT_TRIGGER != 0))
        return np.where(at >= 0, c.trace["ip_id"][at], 0)

    def _keeps_alive(self, c: Candidates) -> Array:
        """An empty ACK that is no answer: nothing of the client came within the second before it."""
        t = c.trace
        out: Array = (t["payload_length"] == 0) & (t["since_other_ns"] > SECOND)
        return out

    def _small(self, c: Candidates, copies: Array) -> Array:
        """
        Was something lost that is no larger than what surely fits, or than what the server had acknowledged.

        A copy, a later segment of the request, or the client's FIN behind it: each would have drawn an acknowledgement.
        """
        t = c.trace
        empty = c.is_plain & c.from_server & (t["payload_length"] == 0) & (t["flags"] & (SYN | FIN) == 0)
        asked = c.before(t["what"] & WHAT_TRIGGER != 0) > 0
        drew = c.any(empty & asked & (t["what"] & WHAT_KEEP_ALIVE == 0) & (t["since_other_ns"] < SECOND))
        later = c.is_plain & ~c.from_server & ((t["payload_length"] > 0) | (t["flags"] & FIN != 0)) & asked
        smallest = c.smallest(t["payload_length"], copies | (later & c.spread(~drew)), 65535)
        return (smallest <= SURE_SIZE) | (smallest <= c.flow["trigger_acked"])


def is_prohibition(c: Candidates) -> Array:
    """
    ICMP errors of a router that is no end: administratively prohibited.  bool over the trace.

    RFC 1812 section 5.2.7.1, RFC 4443 section 3.1.
    """
    kinds = np.where(c.spread(c.flow["ip_version"]) == 6, np.isin(c.trace["flags"], V6), np.isin(c.trace["flags"], V4))
    out: Array = c.is_icmp & kinds.astype(np.bool_) & (c.trace["what"] & WHAT_BY_END == 0) & c.from_server
    return out


def _span(c: Candidates, rows: Array) -> Array:
    """From the first to the last of a flow's rows in the mask: int64, ns, shape (n,)."""
    if not len(c.trace):
        return np.zeros(len(c), np.int64)
    time = c.trace["time_ns"]
    return np.where(c.any(rows), time[c.last(rows)] - time[c.first(rows)], 0)
