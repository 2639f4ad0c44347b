"""What the core's codes mean, in sentences: what, where, expected and found, consequence; without the file's name."""

from __future__ import annotations

import os

from tamperscope import core
from tamperscope.errors import CaptureError
from tamperscope.model import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READ = "pcap, pcapng and gzip of them are read"

# First bytes of what people take for a capture.
FOREIGN = (
    (b"\x7fELF", "ELF"), (b"\x89PNG", "PNG"), (b"%PDF", "PDF"), (b"PK\x03\x04", "zip"), (b"snoo", "snoop"),
    (b"<?xm", "XML"), (b"BZh", "bzip2"), (b"\xfd7zX", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x8b", "gzip in gzip"), (b"\xa1\xb2\xcd\x34", "modified pcap"), (b"\x34\xcd\xb2\xa1", "modified pcap"),
    (b"RTSS", "NetXRay"), (b"{", "JSON"), (b"\x80\x04", "pickle"),
)  # fmt: skip

LEVELS = {"time_jump": "warning", "evicted": "warning", "spill_failed": "warning"}


def foreign(start: bytes) -> str:
    """What a file that is no capture starts with."""
    kinds = [kind for magic, kind in FOREIGN if start.startswith(magic)]
    return f"{start.hex(' ')}{f' ({kinds[0]})' if kinds else ''}"


def notice(raw: Any, capture: str) -> Notice:
    """A ``struct tscope_notice`` as a Notice."""
    code = core.code_name(raw.code)
    level = LEVELS.get(code, "error")
    # An offset says nothing where the trouble is not at a place of the file.
    offset = None if code in ("time_jump", "evicted", "out_of_memory", "unknown_link_type") else int(raw.offset)
    return Notice(
        level, code, _text(code, raw), capture=capture, offset=offset, frame=int(raw.frame) or None,
        need=_signed(raw.need), have=_signed(raw.have),
    )  # fmt: skip


def error(raw: Any) -> CaptureError:
    """The same as an exception, where nothing at all could be read."""
    code = core.code_name(raw.code)
    return CaptureError(_text(code, raw), code=code, offset=int(raw.offset), need=_signed(raw.need), have=_signed(raw.have))


def _signed(value: int) -> int:
    return int(value) - (1 << 64 if value >> 63 else 0)


def _text(code: str, raw: Any) -> str:
    offset, need, have = int(raw.offset), int(raw.need), int(raw.have)
    after = f"; {int(raw.frame)} frames analysed"
    record = f"record {int(raw.frame) + 1} at offset {offset}"
    sentences = {
        "empty": "empty file",
        "not_a_capture": f"not a capture: starts with {foreign(need.to_bytes(4, 'big'))}; {READ}" if offset == 0 and have >= 4
        else f"not a capture: {have} bytes; {READ}" if offset == 0
        else f"block at offset {offset - 8} has no byte order mark (found {have.to_bytes(8, 'big')[-4:].hex(' ')}){after}",
        "unknown_version": f"version {have >> 16}.{have & 0xFFFF} at offset {offset}; {need}.x is read{after}",
        "truncated_header": f"the file ends inside its header: {need} bytes needed, {have} there",
        "truncated_record": f"{record} needs {need} bytes, {have} are left{after}",
        "record_length": f"{record} claims {need} bytes, at most {have} can be there{after}",
        "block_length": f"block at offset {offset} has length {have}, which cannot be; smallest {need}{after}"
        if have < need
        else f"block at offset {offset} has length {have}, more than {need} are not read{after}",
        "block_trailer": f"the block that ends at offset {offset + 4} repeats its length {need} as {have}{after}",
        "unknown_interface": f"packet block at offset {offset} names interface {need}, section has {have}; block skipped",
        "unknown_link_type": f"link type {have} is not decoded; {need} frames counted, none of them analysed",
        "second_file_header": f"file header of a second capture at offset {offset}: looks joined with cat; use mergecap{after}",
        "read_failed": f"reading failed at offset {offset}: {os.strerror(have)}{after}",
        "time_jump": f"the capture's clock jumps by {_signed(have) / 1e9:.0f} s at frame {int(raw.frame)}",
        "time_resolution": f"interface at offset {offset} has a time resolution that cannot be represented{after}",
        "spill_failed": f"waiting candidates could not be written to a temporary file ({os.strerror(have)}); kept in memory",
        "out_of_memory": f"out of memory{after}",
    }  # fmt: skip
    return sentences.get(code, code.replace("_", " ") + after)
