"""
A page, or a redirect to one, that came in a server's name and is not that server's.

What tells it, and what innocent thing looks like it:

* the server's own answer follows, for the same place in the stream (`two_answers`), or the server counts on from before
  the page (`server_counts_from_before`): one stack sends one stream (RFC 9293 section 3.8.1).  A retransmission has the
  bytes of its original; damage on the way changes bytes, but neither distance nor options.
* it came from another distance than the handshake (`page_ttl` ...): a front end that answers SYNs for the server behind
  it looks alike, and then does so for every name, so answers of the same server under other names are the control.
* it came sooner than the path allows (`page_before_path`): a cache that lets the handshake pass looks alike, but gives
  the site's own page.
* it is a page that filters are known to send (`page_known`, data/signatures/blockpage.toml), or the same page for
  unrelated names.  A captive portal, an unpaid bill and a company's own filter send such pages too: the first two for
  every name (`page_for_everything`).

An ordinary refusal (403, 451, a redirect to HTTPS, a CDN's challenge) comes from its server's distance and stays alone.
"""

from __future__ import annotations

import numpy as np

from tamperscope import catalogue
from tamperscope.fingerprint import (
    ANSWER_ELSEWHERE,
    ANSWER_HTML,
    ANSWER_HTTP,
    CONTEXT,
    FIN,
    GENUINE,
    INJECTED,
    MARK_ANSWER_CONFLICT,
    MARK_ANSWER_PAGE,
    MARK_ANSWER_TOO_EARLY,
    MARK_ANSWER_UNLIKE,
    STAGE_AFTER_REQUEST,
    TRIGGER_DATA,
    TRIGGER_HTTP_REQUEST,
    WORD_LOCATION,
    WORD_PAGE,
    WORD_SERVER,
    WORD_TITLE,
    Candidates,
    Fingerprinter,
    Observation,
)
from tamperscope.first_answer import MS, FirstAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

WORDS = {"location": WORD_LOCATION, "server": WORD_SERVER, "title": WORD_TITLE, "body": WORD_PAGE}


class Blockpage(Fingerprinter):
    """Forged HTTP answers: pages and redirects, with or without a head."""

    mechanism = "blockpage"
    marks = MARK_ANSWER_UNLIKE | MARK_ANSWER_TOO_EARLY | MARK_ANSWER_CONFLICT | MARK_ANSWER_PAGE

    _known: KnownPages | None = None

    def pick(self, columns: Any) -> Array:
        """Requests that were answered with HTTP, or with HTML alone."""
        kind = columns.answer["kind"]
        is_page = (kind == ANSWER_HTTP) | (kind == ANSWER_HTML)
        trigger = columns.flow["trigger"]
        # Of a server's packets alone the request is not seen; two answers can be, all the same.
        alone = (trigger == 0) & (columns.flow["marks"] & np.uint32(MARK_ANSWER_CONFLICT) != 0)
        asked = (trigger == TRIGGER_HTTP_REQUEST) | (trigger == TRIGGER_DATA)  # the latter: cut by the snap length
        chosen: Array = super().pick(columns) & is_page & (asked | alone)
        return chosen

    def stage(self, columns: Any) -> Array:
        """Always after the request."""
        return np.full(len(columns), STAGE_AFTER_REQUEST, np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """See the module; what other flows show is in `compare`."""
        look, c = candidates.once(FirstAnswer), candidates
        two, doubtful = look.contradicted()
        counts = look.goes_on()
        goes_on = c.any(counts)
        strange = two | goes_on | look.alien
        fin = c.any(look.forged & (c.trace["flags"] & FIN != 0))
        html = c.answer["kind"] == ANSWER_HTML
        ttls = {"ttl": look.ttl, "usual": look.usual_ttl}
        resets = look.resets & c.spread(strange)
        return [
            c.observe("two_answers", two, look.rival, GENUINE),
            c.observe("answers_differ", doubtful, look.rival, CONTEXT),
            c.observe("server_counts_from_before", goes_on, counts, GENUINE),
            c.observe("page_forged", strange, look.forged, INJECTED),
            c.observe("page_ttl", look.unlike, look.forged, CONTEXT, ttls),
            c.observe("page_ttl_near", look.near, look.forged, CONTEXT, ttls),
            c.observe("page_options", look.bare, look.forged, CONTEXT),
            c.observe("page_df", look.df, look.forged, CONTEXT),
            c.observe("page_closes", fin & strange, look.forged, CONTEXT),
            c.observe("page_without_head", html, look.forged, CONTEXT),
            c.observe("page_and_reset", c.any(resets), resets, INJECTED),
        ]

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """Time against the server's other flows, and the page against what others got."""
        look, c, others = candidates.once(FirstAnswer), candidates, candidates.answer_context
        took, rtt, agree = look.took()
        # Scheduling and the capture's clock may take 2 ms off any interval.
        early = (took >= 0) & (took * 2 < rtt) & (rtt - took > 2 * MS)
        path = early & agree & (took * 4 < rtt)
        values = {"ms": took / MS, "rtt_ms": rtt / MS}
        filter_like = c.flow["marks"] & np.uint32(MARK_ANSWER_PAGE) != 0
        two, doubtful = look.contradicted()
        known, families = self._known_pages().of(c)
        strange = look.unlike | look.near | look.bare
        leads = c.answer["what"] & ANSWER_ELSEWHERE != 0
        told = filter_like & (leads | known | (c.answer["kind"] == ANSWER_HTML))
        shared = told & (others["page_names"] > 0)
        everybody = told & (others["near_client_same"] >= 2) & (others["near_client_others"] == 0)
        alike = strange & (others["server_alike"] > 0) & (others["server_unlike"] <= others["server_alike"])
        front = strange & (others["server_alike"] == 0) & (others["server_unlike"] >= 2) & ~two
        counts = {name: others[name] for name in ("page_names", "near_client_same", "server_alike", "server_unlike")}
        return [
            c.observe("page_before_path", path, look.forged, CONTEXT, values),
            c.observe("page_before_rtt", early & ~path, look.forged, CONTEXT, values),
            c.observe("page_known", known, look.forged, CONTEXT, {"family": families}),
            c.observe("page_shared", shared, None, CONTEXT, counts),
            c.observe("page_for_everything", everybody & ~two, None, CONTEXT, counts),
            c.observe("others_answered_from_there", alike, None, CONTEXT, counts),
            c.observe("server_behind_front", front, None, CONTEXT, counts),
            c.observe("page_unsuspicious", ~filter_like & ~known & ~two & ~doubtful, look.forged, CONTEXT),
        ]

    def _known_pages(self) -> KnownPages:
        if self._known is None:
            self._known = KnownPages()
        return self._known


class KnownPages:
    """Families of the catalogue that name texts: every text of a family must be there, upper and lower case alike."""

    def __init__(self) -> None:
        self._families = [
            (one.id, one.match.get("status"), [(WORDS[key], one.match[key].lower().encode()) for key in keys])
            for one in catalogue.families("blockpage")
            if one.match and (keys := [key for key in WORDS if key in one.match])
        ]

    def of(self, c: Candidates) -> tuple[Array, Array]:
        """(is the page known: bool, shape (n,); the family's id, or an empty text: object, shape (n,))."""
        families = np.full(len(c), "", object)
        status = c.answer["status"]
        for index in np.flatnonzero(c.answer["page"]).tolist():
            words = [c.word(index, which).lower() for which in range(4)]
            for id, wanted, texts in self._families:
                if wanted in (None, int(status[index])) and all(text in words[which] for which, text in texts):
                    families[index] = id
                    break
        return families != "", families
