"""
Blocks of pcapng files, to write them (draft-ietf-opsawg-pcapng); little-endian, times in 64-bit ticks.

Only what is written here: section header, interface description, enhanced packet, with comments.
"""

from __future__ import annotations

from struct import pack

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
OPTION_COMMENT, OPTION_USERAPPL, OPTION_TSRESOL = 1, 4, 9
MAX_OPTION = 0xFFFF


def section(application: str, comment: str | None = None) -> bytes:
    """Section header block: what follows is of one byte order; length unknown."""
    options = _text(OPTION_COMMENT, comment) + _text(OPTION_USERAPPL, application)
    return _block(SECTION, pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _ended(options))


def interface(link_type: int, snap_length: int = 0, digits: int = 9) -> bytes:
    """Interface description block; its clock ticks 10 ** digits times a second."""
    options = _option(OPTION_TSRESOL, pack("<B", digits))
    return _block(INTERFACE, pack("<HHI", link_type & 0xFFFF, 0, snap_length) + _ended(options))


def packet(number: int, ticks: int, data: bytes, wire_length: int, comment: str | None = None) -> bytes:
    """Enhanced packet block of interface `number` of its section."""
    head = pack("<IIIII", number, ticks >> 32 & 0xFFFFFFFF, ticks & 0xFFFFFFFF, len(data), wire_length)
    return _block(PACKET, head + data + bytes(-len(data) % 4) + _ended(_text(OPTION_COMMENT, comment)))


def _block(kind: int, body: bytes) -> bytes:
    length = pack("<I", len(body) + 12)
    return pack("<I", kind) + length + body + length


def _ended(options: bytes) -> bytes:
    return options + bytes(4) if options else b""


def _text(code: int, text: str | None) -> bytes:
    if not text:
        return b""
    value = text.encode("utf-8", "backslashreplace")[:MAX_OPTION]
    return _option(code, value.decode("utf-8", "ignore").encode())  # not cut inside a character


def _option(code: int, value: bytes) -> bytes:
    return pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
