"""
A ClientHello, or everything after it, disappears because of the server name.

* The server shows that it never got the ClientHello (`hello_never_arrived`): its later packets acknowledge less than
  all of it, though copies were sent again and again.  Of these, `hello_cut_short` (it has one part and never the rest)
  is the stronger: the path carried this very flow's data until the name had passed.
* The server says that it sent an answer, and the client never got a byte of it (`answer_never_arrived`).
* A packet forged in the server's name before the silence (`empty_push_copied`).
* Nothing comes at all, or nothing more: an absence, which says something only beside a control.

What looks alike, and how it is told: ``tamperscope.silence``.
"""

from __future__ import annotations

from tamperscope.fingerprint import STAGE_AFTER_NAME, TRIGGER_TLS_HELLO
from tamperscope.silence import Silence


class SniDrop(Silence):
    """Silence by server name after the ClientHello."""

    mechanism = "sni_drop"
    trigger = TRIGGER_TLS_HELLO
    word = "hello"
    stage_ = STAGE_AFTER_NAME
