"""
Which marks make a flow or a DNS transaction a candidate for tamperscope's own fingerprinters.

They stand here and not only in the fingerprinters because those import numpy, which a capture without a candidate must
not pay for.  A test holds both to each other.
"""

from __future__ import annotations

from tamperscope.core import constant

FLOW_MARKS = 0
for _mark in (
    "RST_UNLIKE", "SENDS_AFTER_RST", "RST_TOO_EARLY", "RST_FLAGS", "RST_IP_ID", "UNANSWERED", "TRIGGER_UNACKED",
    "ANSWER_UNLIKE", "ANSWER_TOO_EARLY", "ANSWER_CONFLICT", "ANSWER_PAGE", "ANSWER_PLAIN", "ISSUER_PRIVATE", "STALLED",
    "REFUSED",
):  # fmt: skip
    FLOW_MARKS |= constant("MARK_" + _mark)

TRANSACTION_MARKS = 0
for _mark in ("ANSWERS_DIFFER", "SPECIAL_ADDRESS", "WRONG_TYPE", "IP_ID_COPIED", "TOO_FAST", "ANSWER_TTL", "IGNORED"):
    TRANSACTION_MARKS |= constant("MARK_" + _mark)
