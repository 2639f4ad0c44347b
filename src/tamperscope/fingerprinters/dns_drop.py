"""
A DNS question, or its answer, disappears because of the name.

Nothing but silence shows it, so all of it rests on controls, and it is `likely` at most:

* the question is lost oftener than this path loses any: of as many questions as were asked in these minutes, less than
  one in a thousand times (`ignored`) or in a million (`ignored_beyond_loss`) one would be lost so often.  How often one
  is lost is counted over those that the resolver answered at once, and only after a repeat;
* the same client is answered by the same resolver in the same minutes, and questions of the same type are
  (`others_answered`): no dead resolver, no broken line, no server that ignores a type;
* other resolvers answer this question (`name_answered_elsewhere`).  Without that a zone whose servers are dead looks
  just alike, since many a resolver waits for them in silence: then it cannot be decided.

What looks alike, too: large answers that a path loses (`answer_may_be_large`), names of local use (left out by the
core), names that this resolver did answer at other times, a capture that ends too soon after the question.
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import (
    CONTEXT,
    MARK_IGNORED,
    TRIGGER,
    Fingerprinter,
    Observation,
    Transactions,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

SECOND = 1_000_000_000
PATIENCE = 3 * SECOND  # an answer may be on its way so long: resolvers try a next server after 1 to 2 s
CONTROLS = 3  # answers to others that show a path at work
REPEATS = 3  # of a question, by most clients
RARE, VERY_RARE = 3.0, 6.0  # decimal places
SMALL = 1232  # bytes of an answer that pass wherever IPv6 does (RFC 8200 section 5, less the headers)
PLAIN = 512  # bytes of an answer to a question without EDNS (RFC 1035 section 4.2.1)
CLASS_IN = 1


class DnsDrop(Fingerprinter):
    """Silence by name of a resolver that answers other questions."""

    mechanism = "dns_drop"
    unit = "transaction"
    marks = MARK_IGNORED

    def pick(self, columns: Any) -> Array:
        """Questions of the Internet's class that were never answered."""
        chosen: Array = super().pick(columns) & (columns.transaction["class_"] == CLASS_IN)
        return chosen

    def compare(self, candidates: Transactions, context: Array) -> list[Observation]:
        """How rare such a loss is on this path, who was answered meanwhile, and who answers this question."""
        c = candidates
        asked = self._waited(c)
        times = c.count(asked) + context["near_name_silent"].astype(np.int64) + context["near_other_silent"]
        places = self._places(times, context)
        others = context["near_pair_answered"].astype(np.int64) + context["near_pair_late"]
        here, elsewhere = context["near_name_answered"], context["near_other_answered"]
        control = (others > 0) & (context["near_answered"] >= CONTROLS) & (context["near_type_answered"] > here)
        silent = context["near_silent"].astype(np.int64) - context["near_name_silent"]
        failing = silent > REPEATS * context["near_answered"].astype(np.int64)
        values = {"times": times, "others": others}
        absent = asked & c.spread(places >= RARE)
        size = np.where(c.message["edns_size"] > 0, c.message["edns_size"], PLAIN)
        large = c.smallest(size, c.is_query, PLAIN) > SMALL
        return [
            c.observe("ignored_beyond_loss", places >= VERY_RARE, asked, TRIGGER, values),
            c.observe("ignored", (places >= RARE) & (places < VERY_RARE), absent, TRIGGER, values),
            c.observe("others_answered", control, None, CONTEXT, values),
            c.observe("name_answered_elsewhere", elsewhere > 0, None, CONTEXT, {"times": elsewhere}),
            c.observe("name_unanswered_elsewhere", elsewhere == 0, None, CONTEXT),
            c.observe("name_answered_here", here >= times, None, CONTEXT, {"times": here}),
            c.observe("resolver_silent", failing, None, CONTEXT, {"times": silent}),
            c.observe("answer_may_be_large", large, None, CONTEXT),
        ]

    def _waited(self, c: Transactions) -> Array:
        """Questions whose answer had time to come: bool over the messages."""
        out: Array = c.is_query & (c.message["time_ns"] + PATIENCE <= c.spread(c.transaction["final_ns"]))
        return out

    def _places(self, times: Array, context: Array) -> Array:
        """
        Decimal places of how many questions, of all in these minutes, would be lost so often: float64, shape (n,).

        A question is lost as often as others of this resolver were at first, by the rule of succession.
        """
        late = context["near_late"].astype(np.float64)
        answered = context["near_answered"] + late
        out: Array = -times * np.log10((late + 1) / (answered + 2)) - np.log10(answered + context["near_silent"] + 1)
        return out
