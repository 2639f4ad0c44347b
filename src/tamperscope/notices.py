"""What the core's codes mean, in sentences: what, where, expected and found, consequence; without the file's name."""

from __future__ import annotations

import os

from tamperscope import core
from tamperscope.errors import CaptureError, LinkTypeError
from tamperscope.model import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

READ = "pcap and pcapng are read, plain or compressed by gzip, zstd, xz or lz4"

# First bytes of what people take for a capture.
FOREIGN = (
    (b"\x7fELF", "ELF"), (b"\x89PNG", "PNG"), (b"%PDF", "PDF"), (b"PK\x03\x04", "zip"), (b"snoo", "snoop"),
    (b"<?xm", "XML"), (b"BZh", "bzip2"), (b"\xfd7zX", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x8b", "gzip in gzip"), (b"RTSS", "NetXRay"), (b"{", "JSON"),
    (b"\x80\x04", "pickle"),
)  # fmt: skip

LEVELS = {"time_jump": "warning", "evicted": "warning", "spill_failed": "warning"}
NOWHERE = ("time_jump", "evicted", "out_of_memory", "unknown_link_type", "spill_failed")  # no place in the file
AT_THE_END = ("empty", "truncated_header", "truncated_record")  # only true of an input that was read to its end


def foreign(start: bytes) -> str:
    """What a file that is no capture starts with."""
    kinds = [kind for magic, kind in FOREIGN if start.startswith(magic)]
    return f"{start.hex(' ')}{f' ({kinds[0]})' if kinds else ''}"


def notice(raw: Any, capture: str) -> Notice:
    """A ``struct tscope_notice`` as a Notice."""
    code = core.code_name(raw.code)
    return Notice(
        LEVELS.get(code, "error"), code, text(code, raw), capture=capture,
        offset=None if code in NOWHERE else int(raw.offset), frame=int(raw.frame) or None, need=_signed(raw.need),
        have=_signed(raw.have),
    )  # fmt: skip


def refuse(scan: core.Core, capture: str, before: list[Notice]) -> None:
    """
    Raise where nothing at all could be read: that is no empty result.

    before: what was wrong before the bytes came to the core (compression), which explains what the core lacks.
    """
    raw = scan.notices()
    if not raw or scan.summary().n_interfaces:
        return
    cause = next((one for one in before if one.level == "error"), None) or notice(raw[0], capture)
    raise CaptureError(cause.text, code=cause.code, path=capture, offset=cause.offset, need=cause.need, have=cause.have)


def undecoded(scan: core.Core, capture: str) -> LinkTypeError | None:
    """The error for a capture that has frames, all of link types that are not decoded; else None."""
    summary = scan.summary()
    raw = [one for one in scan.notices() if core.code_name(one.code) == "unknown_link_type"]
    if summary.packets or not raw or summary.anomaly_count[17] != summary.frames:
        return None
    return LinkTypeError(
        text("unknown_link_type", raw[0]), link_type=int(raw[0].have), path=capture, frames=int(summary.frames)
    )


def _signed(value: int) -> int:
    return int(value) - (1 << 64 if value >> 63 else 0)


def text(code: str, raw: Any) -> str:
    """The sentence for a ``struct tscope_notice`` with this code."""
    sentence = _SENTENCES.get(code)
    # Each is made only for its own code: need and have are a length in one and a count of nanoseconds in another.
    return sentence(raw) if sentence else code.replace("_", " ") + _after(raw)


def _after(raw: Any) -> str:
    return f"; {int(raw.frame)} frames analysed"


def _record(raw: Any) -> str:
    return f"record {int(raw.frame) + 1} at offset {raw.offset}"


def _not_a_capture(raw: Any) -> str:
    if raw.offset == 0:
        return f"not a capture: {_start(raw)}; {READ}"
    found = int(raw.have).to_bytes(8, "big")[-4:].hex(" ")
    return f"block at offset {raw.offset - 8} has no byte order mark (found {found}){_after(raw)}"


def _start(raw: Any) -> str:
    if raw.have < 4:
        return f"{raw.have} bytes"
    return f"starts with {foreign(int(raw.need).to_bytes(8, 'big')[-4:])}"


def _block_length(raw: Any) -> str:
    why = f"which cannot be; smallest {raw.need}" if raw.have < raw.need else f"more than {raw.need} are not read"
    return f"block at offset {raw.offset} has length {raw.have}, {why}{_after(raw)}"


def _error_name(number: int) -> str:
    return os.strerror(number) if number < 1 << 31 else f"error {number}"


_SENTENCES: dict[str, Callable[[Any], str]] = {
    "empty": lambda raw: "empty file",
    "not_a_capture": _not_a_capture,
    "unknown_version": lambda raw: (
        f"version {raw.have >> 16}.{raw.have & 0xFFFF} at offset {raw.offset}; {raw.need}.x is read{_after(raw)}"
    ),
    "truncated_header": lambda raw: f"the file ends inside its header: {raw.need} bytes needed, {raw.have} there",
    "truncated_record": lambda raw: f"{_record(raw)} needs {raw.need} bytes, {raw.have} are left{_after(raw)}",
    "record_length": lambda raw: (
        f"{_record(raw)} claims {raw.need} bytes, at most {raw.have} can be there{_after(raw)}"
    ),
    "block_length": _block_length,
    "block_trailer": lambda raw: (
        f"the block that ends at offset {raw.offset + 4} repeats its length {raw.need} as {raw.have}{_after(raw)}"
    ),
    "unknown_interface": lambda raw: (
        f"packet block at offset {raw.offset} names interface {raw.need}, section has {raw.have}; block skipped"
    ),
    "unknown_link_type": lambda raw: (
        f"link type {raw.have} is not decoded; {raw.need} frames counted, none of them analysed"
    ),
    "second_file_header": lambda raw: (
        f"file header of a second capture at offset {raw.offset}: looks joined with cat; use mergecap{_after(raw)}"
    ),
    "read_failed": lambda raw: f"reading failed at offset {raw.offset}: {_error_name(raw.have)}{_after(raw)}",
    "time_jump": lambda raw: f"the capture's clock jumps by {_signed(raw.have) / 1e9:.0f} s at frame {raw.frame}",
    "time_resolution": lambda raw: (
        f"interface at offset {raw.offset} has a time resolution that cannot be represented{_after(raw)}"
    ),
    "spill_failed": lambda raw: (
        f"waiting candidates could not be written to a temporary file ({_error_name(raw.have)}); kept in memory"
    ),
    "out_of_memory": lambda raw: f"out of memory{_after(raw)}",
}
