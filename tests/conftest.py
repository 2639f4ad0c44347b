"""What all tests need of their process."""

from __future__ import annotations

import signal

# A shell ignores interrupts in what it starts in the background, and children inherit that: tests that interrupt a scan
# need them as a terminal gives them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
