"""Rows of the core as records for people and programs: addresses, words for numbers, ids."""

from __future__ import annotations

from tamperscope import core
from tamperscope.model import FlowRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
FINAL_BY = {1: "idle", 2: "closed", 3: "new_syn", 4: "evicted", 5: "cut_by_end"}
VANTAGES = ("client", "server", "middle", "unknown")
NO_VLAN = 0xFFFF
INITIAL_TTLS = (64, 128, 255)
MAPPED = bytes(10) + b"\xff\xff"

_WORDS: dict[str, dict[int, str]] = {}


def words(enum: str) -> dict[int, str]:
    """Value to word of an enumeration of the header, lowest first."""
    if enum not in _WORDS:
        _WORDS[enum] = dict(sorted(core.enum_words(enum).items()))
    return _WORDS[enum]


def word(enum: str, value: int) -> str:
    """One value of an enumeration of the header, as its word."""
    return words(enum)[value]


def bits(enum: str, value: int) -> tuple[str, ...]:
    """The words of all bits that are set, lowest first."""
    return tuple(name for bit, name in words(enum).items() if value & bit)


def address(raw: bytes) -> str:
    """Text of an address of 16 bytes; mapped ones as IPv4.  RFC 5952."""
    if raw[:12] == MAPPED:
        return f"{raw[12]}.{raw[13]}.{raw[14]}.{raw[15]}"
    import socket

    return socket.inet_ntop(socket.AF_INET6, raw)


def community_id(protocol: int, client: bytes, server: bytes, client_port: int, server_port: int) -> str:
    """Community ID version 1, seed 0, of a TCP or UDP flow (github.com/corelight/community-id-spec)."""
    from binascii import b2a_base64
    from hashlib import sha1

    ends = sorted((_wire(end), port.to_bytes(2, "big")) for end, port in ((client, client_port), (server, server_port)))
    (first, first_port), (second, second_port) = ends
    packed = b"\0\0" + first + second + bytes((protocol, 0)) + first_port + second_port
    return "1:" + b2a_base64(sha1(packed).digest(), newline=False).decode()


def _wire(raw: bytes) -> bytes:
    return raw[12:] if raw[:12] == MAPPED else raw


def vantage(votes: Any) -> str:
    """Where the capture was taken: what most flows that can say so say; "unknown" without a clear majority."""
    counts = [int(votes[i]) for i in range(3)]
    best = max(range(3), key=counts.__getitem__)
    return VANTAGES[best] if counts[best] * 3 > sum(counts) * 2 else "unknown"


class Votes:
    """
    The votes on the vantage of all flows until one, counted as the core counts them for its summary.

    A flow's record must not depend on how many flows happened to be final when its batch was taken.
    """

    def __init__(self) -> None:
        self.counts = [0, 0, 0, 0]

    def add(self, row: Any) -> str:
        """Count a row of the flows table; the vantage as it looks after it."""
        to_server, to_client = int(row["rtt_server_ns"]), int(row["rtt_client_ns"])
        if int(row["facts"]) & core.constant("FACT_HANDSHAKE") and to_server > 0 and to_client >= 0:
            client_whole, server_whole = (int(ttl) in INITIAL_TTLS for ttl in row["ttl_first"])
            near_client = client_whole and to_client < to_server // 4
            near_server = server_whole and to_server < to_client // 4
            if near_client != near_server:
                self.counts[0 if near_client else 1] += 1
            else:
                self.counts[3 if client_whole or server_whole else 2] += 1
        return vantage(self.counts)


def rtt_ms(row: Any) -> float | None:
    """Server's part and client's part together: the whole way, wherever the capture was taken; to the microsecond."""
    parts = [int(row[name]) for name in ("rtt_server_ns", "rtt_client_ns")]
    if parts[0] < 0:
        return None
    return round(sum(part for part in parts if part > 0) / 1e6, 3)


def conn_state(row: Any) -> str | None:
    """Zeek's conn_state from what both ends sent (docs.zeek.org, conn.log)."""
    if int(row["protocol"]) != 6:
        return None
    client, server = (int(flags) for flags in row["flags"])
    fin, syn, rst = 1, 2, 4
    if not client & syn:
        if not server & syn:
            return "OTH"
        return "RSTRH" if server & rst else "SHR" if server & fin else "OTH"
    if not int(row["facts"]) & core.constant("FACT_SYN_ACK"):
        if server & rst:
            return "REJ"
        quiet = "S0" if int(row["packets"][1]) == 0 else "OTH"  # answered, though the SYN+ACK is not there
        return "RSTOS0" if client & rst else "SH" if client & fin else quiet
    if client & rst and server & rst:  # whoever came first ended it
        history = bytes(row["history"]).decode()
        return "RSTO" if "R" in history.partition("r")[0] else "RSTR"
    if client & rst or server & rst:
        return "RSTO" if client & rst else "RSTR"
    closed = (client & fin, server & fin)
    return {(0, 0): "S1", (fin, 0): "S2", (0, fin): "S3", (fin, fin): "SF"}[closed]


def records(batch: core.Batch, capture: str, votes: Votes) -> Iterator[FlowRecord]:
    """A record for each flow of a batch."""
    text = batch.text
    rows = batch.table("flows", "tscope_flow", "n_flows")
    for row in rows:
        yield record(row, text, capture, votes.add(row))


def record(row: Any, text: bytes, capture: str, seen_from: str) -> FlowRecord:
    """One row of the flows table."""
    client, server = row["client"].tobytes(), row["server"].tobytes()
    ports = int(row["client_port"]), int(row["server_port"])
    start, length = int(row["name_offset"]), int(row["name_length"])
    name_from = int(row["name_from"])
    vlan = int(row["vlan"])
    stage = word("tscope_stage", int(row["stage"]))
    return FlowRecord(
        capture=capture,
        flow=int(row["number"]),
        time_ns=int(row["first_ns"]),
        end_ns=int(row["last_ns"]),
        first_frame=int(row["first_frame"]),
        last_frame=int(row["last_frame"]),
        proto=PROTOCOLS.get(int(row["protocol"]), "other"),
        client=address(client),
        client_port=ports[0],
        server=address(server),
        server_port=ports[1],
        client_by=word("tscope_client_by", int(row["client_by"])),
        community_id=community_id(int(row["protocol"]), client, server, *ports),
        vlan=None if vlan == NO_VLAN else vlan,
        tunnel=word("tscope_tunnel", tunnel) if (tunnel := int(row["tunnel"])) else None,
        packets_to_server=int(row["packets"][0]),
        packets_to_client=int(row["packets"][1]),
        bytes_to_server=int(row["bytes"][0]),
        bytes_to_client=int(row["bytes"][1]),
        conn_state=conn_state(row),
        history=bytes(row["history"]).decode() or None if int(row["protocol"]) == 6 else None,
        name=text[start : start + length] if length else None,
        name_from=word("tscope_name_from", name_from) if name_from else None,
        name_is_outer=bool(int(row["facts"]) & core.constant("FACT_ECH")) if length else None,
        outcome=word("tscope_outcome", int(row["outcome"])),
        stage=None if stage == "none" else stage,
        rtt_ms=rtt_ms(row),
        vantage=seen_from,
        final_by=FINAL_BY[int(row["final_by"])],
        marks=bits("tscope_flow_mark", int(row["marks"])),
        anomalies=bits("tscope_anomaly", int(row["anomalies"])),
    )
