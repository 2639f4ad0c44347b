"""
An HTTP request, or everything after it, disappears because of its Host or target.

As with names in a ClientHello: the server shows that it never got the request (`request_never_arrived`,
`request_cut_short`), or says that it answered and the client never got a byte (`answer_never_arrived`), or nothing
comes at all, which is an absence and says something only beside a control.

What looks alike, and how it is told: ``tamperscope.silence``.
"""

from __future__ import annotations

from tamperscope.fingerprint import STAGE_AFTER_REQUEST, TRIGGER_HTTP_REQUEST
from tamperscope.silence import Silence


class HttpDrop(Silence):
    """Silence by Host or URL after the request."""

    mechanism = "http_drop"
    trigger = TRIGGER_HTTP_REQUEST
    word = "request"
    stage_ = STAGE_AFTER_REQUEST
