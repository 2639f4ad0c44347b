"""Server names and DNS messages, read naively."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Any


def digest(data: bytes, size: int) -> int:
    """Any digest will do: only equality is ever used.  0 stands for no data."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=size).digest(), "big") | 1 if data else 0


def hello(stream: bytes) -> tuple[int, str | None, bool, bool] | None:
    """ClientHello at the stream's start: (bytes it fills, name, is it complete, has it ECH); None where it is none."""
    if stream[:2] != b"\x16\x03" or len(stream) < 6 or stream[5] != 1:
        return None
    body, at = b"", 0
    while stream[at : at + 2] == b"\x16\x03" and len(stream) >= at + 5:
        length = int.from_bytes(stream[at + 3 : at + 5], "big")
        body += stream[at + 5 : at + 5 + length]
        at += 5 + length
        if len(body) >= 4 and len(body) >= 4 + int.from_bytes(body[1:4], "big"):
            break
    whole = len(body) >= 4 and len(body) >= 4 + int.from_bytes(body[1:4], "big")
    name, ech = _extensions(body)
    return min(at, len(stream)), name, whole, ech


def _extensions(body: bytes) -> tuple[str | None, bool]:
    name, ech, at = None, False, 38
    at += 1 + (body[at] if at < len(body) else 0)
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + (body[at] if at < len(body) else 0) + 2
    while at + 4 <= len(body):
        kind, length = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        value = body[at + 4 : at + 4 + length]
        if kind == 0 and len(value) > 5:
            name = value[5:].decode("latin-1").lower()
        ech |= kind in (0xFE0D, 0xFFCE)
        at += 4 + length
    return name, ech


def request(stream: bytes) -> tuple[int, str | None, bool] | None:
    """HTTP/1 request at the stream's start: (bytes of its head, Host, is the head complete)."""
    if not re.match(rb"(GET|POST|HEAD|PUT|DELETE|OPTIONS|CONNECT|TRACE|PATCH) ", stream):
        return None
    end = stream.find(b"\r\n\r\n")
    head = stream if end < 0 else stream[: end + 4]
    host = re.search(rb"\r\nhost:[ \t]*([^\r\n]*?)[ \t]*(?:\r\n|$)", head, re.I)
    return len(head), host[1].decode("latin-1").lower() if host else None, end >= 0


def dns(data: bytes) -> dict[str, Any] | None:
    """One DNS message; `malformed` where it cannot be parsed to its end."""
    if len(data) < 12:
        return None
    word = [int.from_bytes(data[n : n + 2], "big") for n in range(0, 12, 2)]
    m: dict[str, Any] = {
        "id": word[0],
        "flags": word[1],
        "counts": word[2:],
        "name": "",
        "type": 0,
        "class_": 0,
        "malformed": False,
    }
    m.update(records=[], edns=False, edns_size=0, record_ttl=0, first_type=0, trailing=False)
    try:
        m["trailing"] = _records(data, m) < len(data)
    except (IndexError, ValueError):
        m["malformed"] = True
    return m


def _records(data: bytes, m: dict[str, Any]) -> int:
    at = 12
    for n in range(m["counts"][0]):
        name, at = _name(data, at)
        kind, class_ = _word(data, at), _word(data, at + 2)
        at += 4
        if n == 0:
            m["name"], m["type"], m["class_"] = name, kind, class_
    for section, count in enumerate(m["counts"][1:]):
        for _ in range(count):
            _, at = _name(data, at)
            kind, size, length = _word(data, at), _word(data, at + 2), _word(data, at + 8)
            if at + 10 + length > len(data):
                raise IndexError
            if section == 0:
                m["records"].append((kind, data[at + 10 : at + 10 + length]))
                if len(m["records"]) == 1:
                    m["first_type"], m["record_ttl"] = kind, int.from_bytes(data[at + 4 : at + 8], "big")
            elif kind == 41:
                m["edns"], m["edns_size"] = True, size
            at += 10 + length
    return at


def _word(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _name(data: bytes, at: int) -> tuple[str, int]:
    labels, after, jumps = [], 0, 0
    while data[at]:
        if data[at] & 0xC0 == 0xC0:
            after, at, jumps = after or at + 2, _word(data, at) & 0x3FFF, jumps + 1
            if jumps > 32:
                raise ValueError
        elif data[at] & 0xC0:
            raise ValueError
        else:
            labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1").lower().replace(".", "\\."))
            at += 1 + data[at]
    return ".".join(labels), after or at + 1


NETWORKS = [
    (kind, ipaddress.ip_network(net))
    for kind, nets in (
        (4, "0.0.0.0/8 ::/128"),
        (3, "127.0.0.0/8 ::1/128"),
        (2, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"),
        (5, "169.254.0.0/16 fe80::/10"),
        (6, "100.64.0.0/10"),
        (10, "198.18.0.0/15"),
        (9, "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32"),
        (7, "224.0.0.0/4 ff00::/8"),
        (8, "240.0.0.0/4 192.0.0.0/24"),
    )
    for net in nets.split()
]


def address_kind(address: bytes) -> int:
    """enum tscope_address_kind of a 16-byte address."""
    if not any(address):
        return 4
    ip = ipaddress.ip_address(address[12:] if address[:12] == b"\0" * 10 + b"\xff\xff" else address)
    return next((kind for kind, net in NETWORKS if ip in net), 1)
