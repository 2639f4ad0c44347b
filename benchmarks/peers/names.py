"""Names in the first bytes of a TCP connection, as a plain script finds them; shared by the peers.

The least that finds every name: the first bytes of each sender put in order until the name is there or cannot come.
"""

from __future__ import annotations

LIMIT = 16384  # bytes kept of one sender, at most
NEED_MORE = ("", "")
NO_NAME = ("none", "")
METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")


class Sender:
    """One end of a flow: its first bytes in order, and whether there is still something to look for."""

    __slots__ = ("data", "done", "later", "next_seq")

    def __init__(self) -> None:
        self.data = b""
        self.done = False
        self.later: dict[int, bytes] | None = None
        self.next_seq = -1  # -1: no segment seen

    def add(self, seq: int, payload: bytes) -> bool:
        """Take a segment; true if the bytes in order grew."""
        if self.next_seq < 0:
            self.next_seq = seq
        ahead = (seq - self.next_seq) & 0xFFFFFFFF
        if ahead >= 0x80000000:  # old bytes, or new ones behind old ones
            payload = payload[0x100000000 - ahead :]
            if not payload:
                return False
        elif ahead:
            self.later = self.later or {}
            self.later.setdefault(seq, payload)
            return False
        self.data += payload
        self.next_seq = (self.next_seq + len(payload)) & 0xFFFFFFFF
        if self.later:
            self._take_later()
        return True

    def _take_later(self) -> None:
        waiting, self.later = self.later or {}, None
        for seq in sorted(waiting, key=lambda seq: (seq - self.next_seq) & 0xFFFFFFFF):
            self.add(seq, waiting[seq])


def find_name(data: bytes, dns: bool) -> tuple[str, str]:
    """(kind, name) in a sender's first bytes, or NEED_MORE, or NO_NAME; kind is sni, hosts or queries.

    dns: the flow is to or from port 53, where messages stand behind their length.
    """
    if dns:
        return _dns_over_tcp(data)
    if data[0] == 22:
        return _client_hello(data)
    if data.startswith(METHODS):
        return _http_request(data)
    if len(data) < 8 and any(method.startswith(data) for method in METHODS):
        return NEED_MORE
    return NO_NAME


def _client_hello(data: bytes) -> tuple[str, str]:
    message, at = b"", 0
    while at + 5 <= len(data) and data[at] == 22:
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        message += data[at + 5 : at + 5 + length]
        at += 5 + length
    if message[:1] not in (b"", b"\x01") or data[1:2] not in (b"", b"\x03"):
        return NO_NAME
    if len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        return NEED_MORE if len(data) < LIMIT else NO_NAME
    try:
        return _server_name(message)
    except IndexError:
        return NO_NAME


def _server_name(message: bytes) -> tuple[str, str]:
    at = 4 + 2 + 32
    at += 1 + message[at]  # session id
    at += 2 + int.from_bytes(message[at : at + 2], "big")  # cipher suites
    at += 1 + message[at]  # compression
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    at += 2
    while at + 4 <= end:
        kind = int.from_bytes(message[at : at + 2], "big")
        length = int.from_bytes(message[at + 2 : at + 4], "big")
        if kind == 0 and length > 5:  # list length, type, name length, name
            size = int.from_bytes(message[at + 7 : at + 9], "big")
            return "sni", message[at + 9 : at + 9 + size].decode("ascii", "backslashreplace")
        at += 4 + length
    return NO_NAME


def _http_request(data: bytes) -> tuple[str, str]:
    head = data.partition(b"\r\n\r\n")[0]
    complete = len(head) < len(data)
    for line in head.split(b"\r\n")[1 : None if complete else -1]:
        field, _, value = line.partition(b":")
        if field.lower() == b"host":
            return "hosts", value.strip().decode("ascii", "backslashreplace")
    return NO_NAME if complete or len(data) >= LIMIT else NEED_MORE


def _dns_over_tcp(data: bytes) -> tuple[str, str]:
    if len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        return NEED_MORE if len(data) < LIMIT else NO_NAME
    name = question(data[2:])
    return NO_NAME if name is None else ("queries", name)


def question(message: bytes) -> str | None:
    """Name of a DNS query's first question in presentation form; None for an answer or where there is none."""
    if len(message) < 17 or message[2] & 0x80 or message[4:6] == b"\0\0":
        return None
    labels, at = [], 12
    while at < len(message) and message[at]:
        if message[at] > 63:
            return None
        labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii", "backslashreplace").replace(".", "\\."))
        at += 1 + message[at]
    return ".".join(labels) if at + 5 <= len(message) else None
