"""
A forged DNS answer that races or replaces the true one.

One question, once asked, draws one answer from a resolver.  Two that disagree (`answers_disagree`) can still be
innocent: a query that the client sent twice, or that the network doubled on its way to two servers of one address.  So
it becomes a proof only where one of the two cannot be that resolver's: another IP TTL than all its other answers, the
query's own IP ID, an IP ID off its counter, other header flags than it ever sets (`answer_alien`).

A lone answer is judged by contrast, in three respects of which two must speak:

* its content: a private, loopback or reserved address for a public name from a resolver on a public address that gives
  others otherwise; no address for a name that has some; one address for names that have others otherwise;
* its way: from a distance (IP TTL) that this resolver never has, before and after it and for other names at the time.
  A distance from which any answer came that another distance confirmed is a second server of that address;
* its time: sooner than the fastest of many answers of this resolver.  A cache is never faster than the path to it, but
  the other answers may all have come from beyond it: so time counts only beside one of the other two.

Split-horizon resolvers on private addresses, filters chosen by the user (0.0.0.0, NXDOMAIN from its own distance),
captive portals (all names, and no ordinary answer before) and documentation networks are the look-alikes.  Which of
several answers is forged is told by the same signs; where no sign tells them apart, no frame is named.
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    ADDR_DOCUMENTATION,
    ADDR_GLOBAL,
    ADDR_UNSPECIFIED,
    CONTEXT,
    GENUINE,
    INJECTED,
    MARK_ANSWER_TTL,
    MARK_ANSWERS_DIFFER,
    MARK_IP_ID_COPIED,
    MARK_SPECIAL_ADDRESS,
    MARK_TOO_FAST,
    MARK_WRONG_TYPE,
    MSG_CUT,
    MSG_EDNS,
    Fingerprinter,
    Observation,
    Transactions,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

MS = 1_000_000
BASELINE = 3  # other answers of the resolver that make a habit
FLOOR = 8  # other answers, of which one will have come straight from the resolver's cache
NAMES = 2  # other names that are sent to one address, and have others otherwise
BURST = MS // 5  # between two answers that no two round trips can tell apart
TYPE_A, TYPE_AAAA = 1, 28
NXDOMAIN = 3
AUTHORITATIVE, TRUNCATED, RECURSION_AVAILABLE = 0x0400, 0x0200, 0x0080
COUNTER_GAP = 4096  # IP IDs between two answers of a resolver whose counter is believed


class DnsForgery(Fingerprinter):
    """Forged DNS answers over UDP."""

    mechanism = "dns_forgery"
    unit = "transaction"
    marks = MARK_ANSWERS_DIFFER | MARK_SPECIAL_ADDRESS | MARK_WRONG_TYPE | MARK_IP_ID_COPIED | MARK_TOO_FAST
    marks |= MARK_ANSWER_TTL

    def examine(self, candidates: Transactions) -> list[Observation]:
        """Facts of one transaction; what needs a baseline of the resolver is in `compare`."""
        return candidates.once(Answers).conflict()

    def compare(self, candidates: Transactions, context: Array) -> list[Observation]:
        """Signs that need the resolver's other answers."""
        look = candidates.once(Answers)
        return [*look.signs(), *look.addresses(), look.named(), look.genuine(), *look.against()]


class Answers:
    """The answers of some transactions, with a score of alien signs for each."""

    def __init__(self, c: Transactions) -> None:
        self.c, self.m, self.context = c, c.message, c.context
        self.answer = c.is_answer
        self.alone = c.count(self.answer) == 1
        self.public = global_address(c.transaction["server"])
        self.ordinary = self.answer & np.isin(self.m["address_kind"], (ADDR_GLOBAL, ADDR_DOCUMENTATION))
        self.special = self._special()
        self.denied = self._denied()
        self.ttl_odd = self._ttl_odd()
        self.copied = self._copied()
        self.id_odd = self._id_odd()
        self.flags_odd = self._flags_odd()
        self.habit_odd = self._habit_odd()
        self.one_address = self._one_address()
        self.fast = self._fast()
        self.score = (
            2 * self.copied.astype(np.int64)
            + 2 * self.ttl_odd
            + 2 * self.special
            + self.denied
            + self.one_address
            + self.id_odd
            + self.flags_odd
            + self.fast
        )
        self.two_senders = self._two_senders()
        self.forged: Array = self._forged()

    def _forged(self) -> Array:
        """
        Answers with more signs than the one that has the fewest; a lone answer with any.

        Where no sign tells two senders apart, those are meant whose distance is not the last answer's: who sits nearer
        answers sooner.
        """
        c = self.c
        best = c.spread(c.smallest(self.score, self.answer, 0))
        worst = c.spread(c.largest(self.score, self.answer, 0))
        alone = c.spread(self.alone)
        last = np.maximum(c.spread(c.last(self.answer)), 0)
        nearer = c.spread(self.two_senders) & (best == worst) & (self.m["ttl"] != self.m["ttl"][last])
        out: Array = self.answer & (((self.score > 0) & ((self.score > best) | alone)) | nearer)
        return out

    def _two_senders(self) -> Array:
        """More answers than queries, from distances that differ by more than a hop: bool, shape (n,)."""
        c = self.c
        low, high = (f(self.m["ttl"], self.answer, 0) for f in (c.smallest, c.largest))
        return (c.transaction["answers"] > c.transaction["queries"]) & (high - low > 1)

    def _baseline(self) -> Array:
        return self.c.spread(self.context["answered"] >= BASELINE)

    def _ttl_odd(self) -> Array:
        """
        IP TTL other than the resolver's usual one, and no answer from there that another distance confirms.

        Beside another answer to the question it is enough that nearly all answers have the usual one.  A lone answer
        may be one of many: its distance must be rare, and the usual one seen before, after and at the time.
        """
        c, about = self.c, self.context
        steady = about["ttl_mode_count"] * 10 >= about["answered"] * 9
        rare = (about["ttl_count"] * 4 <= about["ttl_mode_count"]) & (about["ttl_mode_count"] * 2 >= about["answered"])
        at_the_time = (about["ttl_mode_around"] == 3) & (about["near_usual"] >= BASELINE)
        usual = c.spread(about["ttl_mode"]).astype(np.int64)
        off = np.abs(self.m["ttl"].astype(np.int64) - usual) > 1
        later = c.before(self.answer) > 0  # the context knows the first one's distance
        strange = np.where(self.alone, rare & at_the_time, steady & (about["ttl_count"] <= 1))
        strange = c.spread(strange & (about["ttl_vouched"] == 0))
        out: Array = self.answer & self._baseline() & off & np.where(later, c.spread(steady), strange)
        return out

    def _copied(self) -> Array:
        """The query's own IP ID, from a resolver that does not do so otherwise."""
        c = self.c
        whose = c.owner.astype(np.int64) << 16
        asked = (whose | self.m["ip_id"])[c.is_query]
        habit = c.spread(self.context["ip_id_copied"] * 2 > self.context["answered"])
        return self.answer & (self.m["ip_id"] > 0) & np.isin(whose | self.m["ip_id"], asked) & ~habit

    def _id_odd(self) -> Array:
        """IP ID outside the stretch between the resolver's answers before and after, which are close together."""
        before, after = self.context["ip_id_before"], self.context["ip_id_after"]
        span = (after - before).astype(np.uint16)
        known = (self.context["ip_id_known"] == 3) & (span > 0) & (span < COUNTER_GAP) & (before > 0)
        inside = (self.m["ip_id"] - self.c.spread(before)).astype(np.uint16) <= self.c.spread(span)
        return self.answer & self.c.spread(known) & ~inside

    def _flags_odd(self) -> Array:
        """Recursion not available, or EDNS missing, where the transaction's other answer has it."""
        ra = self.m["flags"] & RECURSION_AVAILABLE != 0
        edns = self.m["what"] & MSG_EDNS != 0
        c = self.c
        out: Array = self.answer & (
            (~ra & c.spread(c.any(self.answer & ra))) | (~edns & c.spread(c.any(self.answer & edns)))
        )
        return out

    def _habit_odd(self) -> Array:
        """Authority claimed, or EDNS left out, as nearly none of the resolver's other answers do."""
        c, about = self.c, self.context
        claims = self._baseline() & c.spread(about["authoritative"] * 20 <= about["answered"])
        claims &= self.m["flags"] & AUTHORITATIVE != 0
        asked = c.any(c.is_query & (self.m["what"] & MSG_EDNS != 0)) & (about["edns_asked"] >= BASELINE)
        omits = c.spread(asked & (about["edns_answered"] * 10 >= about["edns_asked"] * 9))
        omits &= self.m["what"] & (MSG_EDNS | MSG_CUT) == 0
        out: Array = self.answer & (claims | omits)
        return out

    def _fast(self) -> Array:
        """
        Sooner than the resolver answered anything else, and strange in another respect.

        Under half of the shortest time; under three quarters of it where that was measured often.
        """
        c, about = self.c, self.context
        floor = c.spread(about["min_rtt_ns"])
        took = self.m["time_ns"] - c.spread(c.transaction["query_ns"])
        asked = c.spread(c.transaction["query_ns"] > 0)
        sooner = (took * 2 < floor) | ((took * 4 < floor * 3) & c.spread(about["timed"] >= FLOOR))
        strange = self.ttl_odd | self.special | self.flags_odd | c.spread(~self.alone)
        out: Array = self.answer & asked & self._baseline() & sooner & (floor - took > 2 * MS) & strange
        return out

    def _special(self) -> Array:
        """A private, loopback or reserved address from a resolver on a public one."""
        kind = self.m["address_kind"]
        bogus = (kind > ADDR_GLOBAL) & ~np.isin(kind, (ADDR_UNSPECIFIED, ADDR_DOCUMENTATION))
        out: Array = self.answer & bogus & self.c.spread(self.public)
        return out

    def _denied(self) -> Array:
        """No such name, no such record or 0.0.0.0, where the same question got addresses at other times."""
        c, m = self.c, self.m
        kind, rcode = c.spread(c.transaction["type"]), m["rcode"]
        whole = m["what"] & MSG_CUT == 0
        empty = (rcode == 0) & (m["counts"][:, 1] == 0) & (m["first_type"] == 0) & (m["flags"] & TRUNCATED == 0) & whole
        none = (rcode == NXDOMAIN) | empty | (m["address_kind"] == ADDR_UNSPECIFIED)
        has = c.spread((self.context["name_ordinary"] > 0) | c.any(self.ordinary))
        out: Array = self.answer & ((kind == TYPE_A) | (kind == TYPE_AAAA)) & none & has
        return out

    def _one_address(self) -> Array:
        """An address to which several names are sent that get others at other times, this one among them."""
        about = self.context
        shared = (about["address_contested"] >= NAMES) & (about["address_contested_here"] > 0)
        out: Array = self.ordinary & self.c.spread(shared & self.alone)
        return out

    # ------------------------------------------------------------ observations

    def conflict(self) -> list[Observation]:
        """One question, several answers that share no address or no outcome."""
        c, m = self.c, self.m
        digest = np.where(m["addresses_digest"] > 0, m["addresses_digest"], m["records_digest"])
        first = np.maximum(c.first(self.answer), 0)
        differs = self.answer & (
            (digest != c.spread(digest[first] if len(m) else np.zeros(len(c), digest.dtype)))
            | (m["rcode"] != c.spread(m["rcode"][first] if len(m) else np.zeros(len(c), np.uint8)))
        )
        conflict = c.any(differs)
        more = c.transaction["answers"] > c.transaction["queries"]
        asked = c.transaction["queries"] > 0
        alien = c.any(self.forged & (self.ttl_odd | self.copied | self.flags_odd))
        values = {"answers": c.transaction["answers"].astype(np.int64)}
        both = conflict & more & asked
        burst = self.two_senders & c.any(differs & self._in_burst())
        return [
            c.observe("answer_alien", conflict & more & alien, self.answer, CONTEXT, values),
            c.observe("answers_disagree", both & ~alien, self.answer, CONTEXT, values),
            c.observe("answers_disagree_unasked", conflict & ~asked & ~alien, self.answer, CONTEXT, values),
            c.observe("answers_of_two_senders", both & ~alien & self.two_senders, self.answer, CONTEXT),
            c.observe("answers_in_burst", burst, self.answer, CONTEXT),
            c.observe("answers_disagree_repeated", conflict & ~more, self.answer, CONTEXT, values),
        ]

    def _in_burst(self) -> Array:
        """Right behind another answer, from another distance."""
        before = np.maximum(self.c.latest(self.answer), 0)
        m = self.m
        close = (self.c.before(self.answer) > 0) & (m["time_ns"] - m["time_ns"][before] <= BURST)
        out: Array = close & (np.abs(m["ttl"].astype(np.int64) - m["ttl"][before]) > 1)
        return out

    def signs(self) -> list[Observation]:
        """One observation a sign, of the answers that would be named."""
        c, forged = self.c, self.forged
        usual = self.context["ttl_mode"].astype(np.int64)
        strange = forged & self._impossible_ttl()
        return [
            c.observe("answer_ttl", c.any(forged & self.ttl_odd), forged & self.ttl_odd, CONTEXT, {"usual": usual}),
            c.observe("answer_echo_ip_id", c.any(forged & self.copied), forged & self.copied, CONTEXT),
            c.observe("answer_ip_id", c.any(forged & self.id_odd & ~self.copied), forged & self.id_odd, CONTEXT),
            c.observe("answer_flags", c.any(forged & self.flags_odd), forged & self.flags_odd, CONTEXT),
            c.observe("answer_habit", c.any(forged & self.habit_odd), forged & self.habit_odd, CONTEXT),
            c.observe("answer_before_rtt", c.any(forged & self.fast), forged & self.fast, CONTEXT),
            c.observe("answer_ttl_of_no_stack", c.any(strange), strange, CONTEXT),
        ]

    def _impossible_ttl(self) -> Array:
        """More than 40 hops from 64, 128 and 255 alike: no path is that long, so the sender made the number up."""
        ttl = self.m["ttl"].astype(np.int64)
        return ((ttl > 64) & (ttl < 88)) | ((ttl > 128) & (ttl < 215))

    def addresses(self) -> list[Observation]:
        """An address that cannot be the name's, or none, and what was given otherwise."""
        c = self.c
        about = self.context
        given = c.any(self.forged & self.special)
        contrast = given & (about["ordinary"] >= BASELINE) & (about["special"] * 3 <= about["ordinary"])
        other_times = about["name_ordinary"] + c.count(self.ordinary)
        shared = given & (about["address_names"] >= 1)
        denies, one = self.forged & self.denied, self.forged & self.one_address
        wrong = (c.transaction["type"] == TYPE_A) | (c.transaction["type"] == TYPE_AAAA)
        other = (
            self.answer
            & (self.m["first_type"] != c.spread(c.transaction["type"]))
            & (self.m["n_addresses"] > 0)
            & (self.m["n_cnames"] == 0)
        )
        wrong &= c.any(other & np.isin(self.m["first_type"], (TYPE_A, TYPE_AAAA)))
        frames = self.forged & self.special
        return [
            c.observe("answer_private_contrast", contrast, frames, CONTEXT, {"ordinary": about["ordinary"]}),
            c.observe("answer_private", given & ~contrast, frames, CONTEXT),
            c.observe("name_public_otherwise", given & (other_times > 0), frames, CONTEXT, {"times": other_times}),
            c.observe("answer_denies", c.any(denies), denies, CONTEXT, {"times": other_times}),
            c.observe("many_names_one_address", shared, frames, CONTEXT, {"names": about["address_names"]}),
            c.observe("one_address_instead", c.any(one), one, CONTEXT, {"names": about["address_contested"]}),
            c.observe("answer_wrong_type", wrong, other, CONTEXT),
        ]

    def named(self) -> Observation:
        """The answers that the signs single out."""
        return self.c.observe("answer_singled_out", self.c.any(self.forged), self.forged, INJECTED)

    def genuine(self) -> Observation:
        """Their rivals."""
        rival = self.answer & ~self.forged & self.c.spread(self.c.any(self.forged))
        return self.c.observe("answer_rival", self.c.any(rival), rival, GENUINE)

    def against(self) -> list[Observation]:
        """What an innocent sender explains: its owner, the site's own device, a second server of the address."""
        c, about = self.c, self.context
        agrees = (about["other_resolver_agrees"] > 0) & (about["other_resolver_differs"] == 0) & self.alone
        near = self.special & self.ttl_odd & ~self.copied & np.isin(self.m["ttl"], (63, 64, 127, 128, 254, 255))
        own = self.alone & c.any(near) & (about["name_ordinary"] == 0)
        content = self.special | self.denied | self.one_address | self.copied
        other = self.alone & c.any(self.forged) & ~c.any(content)
        return [
            c.observe("other_resolvers_agree", agrees, None, CONTEXT),
            c.observe("answer_from_next_hop", own, near, CONTEXT),
            c.observe("answer_itself_ordinary", other, None, CONTEXT),
        ]


def global_address(address: Array) -> Array:
    """Is a 16-byte address (shape (n, 16)) neither private, loopback, link-local nor shared: bool, shape (n,)."""
    a = address
    mapped = (a[:, :10] == 0).all(1) & (a[:, 10] == 255) & (a[:, 11] == 255)
    first, second = a[:, 12], a[:, 13]
    private4 = (first == 10) | (first == 127) | (first == 0) | ((first == 192) & (second == 168))
    private4 |= (
        ((first == 172) & (second & 0xF0 == 16))
        | ((first == 169) & (second == 254))
        | ((first == 100) & (second & 0xC0 == 64))
    )
    private6 = (a[:, 0] & 0xFE == 0xFC) | ((a[:, 0] == 0xFE) & (a[:, 1] & 0xC0 == 0x80)) | (a[:, :15] == 0).all(1)
    out: Array = np.where(mapped, ~private4, ~private6)
    return out


__all__ = ["ADDR_GLOBAL", "DnsForgery"]
