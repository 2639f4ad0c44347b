"""
A TLS handshake that is not the server's: another certificate, or something else where TLS belongs.

What tells it, and what innocent thing looks like it:

* a certificate for the very name that was asked for, of an issuer that is no public authority, while the same name
  shows another issuer elsewhere in the capture (`issuer_contested`).  A site that moves from one authority to another
  looks alike, and then every name moves once and in one direction (`issuer_changed`); a name that is served inside and
  outside of a firm looks alike, but such names have one owner, so a proof takes names of two.
* the issuer's other names (`issuer_of_contested_names`): who exchanges the certificates of some names is not believed
  for others.
* HTTP in answer to a ClientHello (`plain_for_tls`), where the same server and port speak TLS otherwise: servers that
  speak HTTP there, and proxies, look alike without that control.
* an alert or handshake from another sender than the server's own, which follows (`tls_two_answers`).

Several public authorities for one name are how large sites live, and no sign at all.  An antivirus program, a firm's
proxy and a state's box make one picture: that a handshake was exchanged is shown, by whom is not (`may_be_local`).
From TLS 1.3 on certificates are encrypted: where a box speaks TLS 1.3 to the client, nothing of this can be seen.
"""

from __future__ import annotations

import numpy as np

from tamperscope import catalogue
from tamperscope.fingerprint import (
    ANSWER_CERTIFICATE,
    ANSWER_FOR_NAME,
    ANSWER_HTML,
    ANSWER_HTTP,
    ANSWER_PUBLIC,
    CONTEXT,
    GENUINE,
    INJECTED,
    MARK_ANSWER_CONFLICT,
    MARK_ANSWER_PLAIN,
    MARK_ANSWER_TOO_EARLY,
    MARK_ANSWER_UNLIKE,
    MARK_ISSUER_PRIVATE,
    STAGE_AFTER_NAME,
    TRIGGER_TLS_HELLO,
    WORD_ISSUER,
    WORD_ISSUER_ORGANISATION,
    Candidates,
    Fingerprinter,
    Observation,
)
from tamperscope.first_answer import MS, FirstAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]


class TlsMitm(Fingerprinter):
    """Exchanged certificates, and what is no TLS in a TLS server's place."""

    mechanism = "tls_mitm"
    marks = (
        MARK_ISSUER_PRIVATE
        | MARK_ANSWER_PLAIN
        | MARK_ANSWER_CONFLICT
        | MARK_ANSWER_UNLIKE
        | MARK_ANSWER_TOO_EARLY
    )  # fmt: skip

    _known: dict[str, str] | None = None

    def pick(self, columns: Any) -> Array:
        """Flows whose ClientHello was answered."""
        answered = (columns.flow["trigger"] == TRIGGER_TLS_HELLO) & (columns.answer["kind"] != 0)
        chosen: Array = super().pick(columns) & answered
        return chosen

    def stage(self, columns: Any) -> Array:
        """Always after the name."""
        return np.full(len(columns), STAGE_AFTER_NAME, np.uint8)

    def examine(self, candidates: Candidates) -> list[Observation]:
        """Two answers, as in `blockpage`; certificates need `compare`."""
        look, c = candidates.once(FirstAnswer), candidates
        two, _ = look.contradicted()
        counts = look.goes_on()
        goes_on = c.any(counts)
        plain = self._plain(c)
        strange = two | goes_on | (plain & look.alien)
        resets = look.resets & c.spread(strange)
        took, rtt, _ = look.took()
        early = strange & (took >= 0) & (took * 2 < rtt) & (rtt - took > 2 * MS)
        ttls = {"ttl": look.ttl, "usual": look.usual_ttl}
        return [
            c.observe("tls_two_answers", two, look.rival, GENUINE),
            c.observe("tls_counts_from_before", goes_on, counts, GENUINE),
            c.observe("tls_forged", strange, look.forged, INJECTED),
            c.observe("tls_ttl", strange & look.unlike, look.forged, CONTEXT, ttls),
            c.observe("tls_options", strange & look.bare, look.forged, CONTEXT),
            c.observe("tls_before_rtt", early, look.forged, CONTEXT, {"ms": took / MS, "rtt_ms": rtt / MS}),
            c.observe("tls_and_reset", c.any(resets), resets, INJECTED),
        ]

    def compare(self, candidates: Candidates, context: Array) -> list[Observation]:
        """Issuers of the same name, and of the issuer's other names, elsewhere in the capture."""
        look, c, others = candidates.once(FirstAnswer), candidates, candidates.answer_context
        what = c.answer["what"]
        private = (what & ANSWER_CERTIFICATE != 0) & (what & ANSWER_PUBLIC == 0) & (what & ANSWER_FOR_NAME != 0)
        contested = others["issuer_contested"]
        # Of two private issuers the one that is seen for no name of its own, where the other is.
        smaller = (contested == others["issuer_names"]) & (others["contested_larger"] > 0)
        stranger = (others["contested_public"] > 0) | smaller
        stranger &= private & (contested > 0)
        once = (others["contested_before"] == contested) | (others["contested_after"] == contested)
        own = stranger & (others["name_issuer_others"] > 0)
        several = stranger & (others["issuer_contested_sites"] >= 2) & ~once
        family = self._families(c)
        alone = private & (contested == 0) & (others["issuer_sites"] >= 3)
        plain = self._plain(c)
        speaks_tls = plain & (others["server_tls"] > 0) & (others["server_plain"] == 0)
        shown = c.trace["frame"] == c.spread(c.answer["frame"])
        names = ("name_issuer_others", "issuer_names", "issuer_sites", "issuer_contested", "issuer_contested_sites")
        counts = {name: others[name] for name in (*names, "server_tls", "server_plain", "name_tls_1_3")}
        return [
            c.observe("issuer_contested", own, shown, INJECTED, counts),
            c.observe("issuer_of_several_owners", several & own, None, CONTEXT, counts),
            c.observe("issuer_of_contested_names", several & ~own, shown, INJECTED, counts),
            c.observe("issuer_changed", stranger & once, None, CONTEXT, counts),
            c.observe("issuer_known", private & (family != ""), shown, CONTEXT, {"family": family}),
            c.observe("issuer_of_everything", alone, None, CONTEXT, counts),
            c.observe("tls_1_3_elsewhere", stranger & (others["name_tls_1_3"] > 0), None, CONTEXT, counts),
            c.observe("plain_for_tls", speaks_tls, look.forged, CONTEXT, counts),
            c.observe("plain_without_control", plain & ~speaks_tls & ~look.contradicted()[0], None, CONTEXT, counts),
        ]

    def _plain(self, c: Candidates) -> Array:
        kind = c.answer["kind"]
        plain: Array = (kind == ANSWER_HTTP) | (kind == ANSWER_HTML)
        return plain

    def _families(self, c: Candidates) -> Array:
        """Id of the family whose issuer the certificate names, or an empty text: object, shape (n,)."""
        if self._known is None and c.answer["issuer"].any():
            families = catalogue.families("tls_mitm")
            self._known = {one.match["issuer"].lower(): one.id for one in families if one.match}
        out = np.full(len(c), "", object)
        seen: dict[int, str] = {}
        known = self._known or {}
        for index in np.flatnonzero(c.answer["issuer"]).tolist():
            issuer = int(c.answer["issuer"][index])
            if issuer not in seen:
                words = (c.word(index, WORD_ISSUER), c.word(index, WORD_ISSUER_ORGANISATION))
                text = b"\n".join(words).decode("utf-8", "replace").lower()
                seen[issuer] = next((id for part, id in known.items() if part in text), "")
            out[index] = seen[issuer]
        return out
