"""
Finds network interference in packet captures, and names the frames that prove it.

    import tamperscope as ts

    for finding in ts.scan("evening.pcap.gz"):
        print(finding.mechanism, finding.name, finding.injected_frames, finding.confidence)

    with ts.open_capture("evening.pcap.gz") as capture:
        for batch in capture:
            resets = batch.packets.flags & ts.RST != 0

Names are imported when they are used: a plain scan pays for nothing else.
"""

from __future__ import annotations

import sys

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from tamperscope.capture import Batch, Capture, Table, frames, open_capture
    from tamperscope.errors import CaptureError, CatalogueError, LinkTypeError, TamperscopeError, UsageError
    from tamperscope.fingerprint import Candidates, Fingerprinter, Observation, Transactions
    from tamperscope.frame import Frame
    from tamperscope.model import Evidence, Finding, FlowRecord, Notice, Summary
    from tamperscope.scan import Scan, scan

if not TYPE_CHECKING:
    ModuleType = type(sys)

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80

_WHERE = {
    "Batch": "capture", "Capture": "capture", "Table": "capture", "frames": "capture", "open_capture": "capture",
    "Frame": "frame",
    "CaptureError": "errors", "CatalogueError": "errors", "LinkTypeError": "errors", "TamperscopeError": "errors",
    "UsageError": "errors",
    "Candidates": "fingerprint", "Fingerprinter": "fingerprint", "Observation": "fingerprint",
    "Transactions": "fingerprint",
    "Evidence": "model", "Finding": "model", "FlowRecord": "model", "Notice": "model", "Summary": "model",
    "Scan": "scan", "scan": "scan",
}  # fmt: skip

__all__ = [
    "ACK", "CWR", "ECE", "FIN", "PSH", "RST", "SYN", "URG",
    "Batch", "Candidates", "Capture", "CaptureError", "CatalogueError", "Evidence", "Finding", "Fingerprinter",
    "FlowRecord", "Frame", "LinkTypeError", "Notice", "Observation", "Scan", "Summary", "Table", "TamperscopeError",
    "Transactions", "UsageError", "frames", "open_capture", "scan",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps ``tamperscope.scan`` the function: whoever imports the module of that name would put it in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "scan" and isinstance(value, ModuleType):
            value = value.scan
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
