"""Flows and their trace, from whole lists of packets: what the C core does in one bounded pass.

Definitions that the header leaves open, as fixed here:

* Client: sender of a SYN; else receiver of a SYN+ACK; else sender of a ClientHello or request; of a DNS query; of a
  QUIC Initial; else the end whose port is 1024 or more where the other's is not; else the first sender.  Judged over
  the whole flow.
* next (a sender's next sequence number): moved by payload, SYN and FIN of packets that are neither resets nor copies,
  and by acknowledgements of what is not in the capture.
* seq_offset and ack_offset of a packet are taken before it moves `next`; ack_offset is INT32_MIN without the ACK flag.
* RETRANSMISSION: begins below `next`, carries payload, SYN or FIN, and is no KEEP_ALIVE (at next - 1, at most a byte).
* DUPLICATE: equal in IP ID, sequence, acknowledgement, flags, window, options and payload to a packet of its sender at
  most 100 ms before, IP ID other than 0 or both within 2 ms.  A reset is one only where its pair (interface, interface,
  TTL difference) was learned from three other packets before it: equal resets are a known signature.
* Trigger: what the client says before the server's first payload, from its first byte on, if that is a whole
  ClientHello or an HTTP request as far as its Host, or (DATA) anything in a flow with a SYN seen.  QUIC: an Initial of
  at least 1,200 bytes.
* A reset that takes its number from the other end's latest acknowledgement, as stacks without a connection do, is not
  off its sequence (RFC 9293 section 3.10.7.1).
* An acknowledgement 2^24 or more ahead of everything sent is not believed.
* Acknowledgements count only in packets that are no resets.
* ICMP row: ttl and tos of the outer packet, flags = type << 8 | code, ip_id and seq as quoted, from_server = 1 where
  the quoted packet was the client's.  At most 16 a flow.
* rtt_server_ns: from the last SYN before the first SYN+ACK, so that a lost SYN does not lengthen it.
* rtt_client_ns: from the last SYN+ACK before its ACK, likewise.
* Unheard: a sender's repeats (QUIC: the client's packets) in a row with no packet of the other end between them.
* ttl_first: of a sender's first packet that is no reset.
* retransmissions: segments with payload only.  last_frame: ICMP errors that quote a flow are none of its packets.
* missing: holes in a sender's bytes between its first and last known one, where acknowledged ones count as sent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import names, quic
from reference.layout import FLOW, TRACE, enumeration

FIN, SYN, RST, ACK = 1, 2, 4, 16
MARK, FACT, WHAT, BY = enumeration("MARK_"), enumeration("FACT_"), enumeration("WHAT_"), enumeration("BY_")
TRIGGER, OUT, STAGE, NAME, FINAL = (enumeration(p) for p in ("TRIGGER_", "OUT_", "STAGE_", "NAME_", "FINAL_"))
UNKNOWN = -(2**31)
SECOND = 10**9
Packet = dict[str, Any]


def wrap(value: int) -> int:
    """Difference of two sequence numbers as a signed number (RFC 9293 section 3.4)."""
    return (value + 2**31) % 2**32 - 2**31


class Flow:
    """All packets of one flow; `finish` makes its row, its trace rows and its name."""

    def __init__(self, number: int, first: Packet) -> None:
        self.number, self.packets = number, [first]
        self.final = (0, 0, 0)
        self.name, self.name_from = "", NAME["NONE"]

    def seconds_to_live(self) -> int:
        """Idle time after which it is final: a TCP connection that was made, or that carried data, has longer."""
        tcp = [p for p in self.packets if p["protocol"] == 6 and not p.get("quoted")]
        made = {p["flags"] & (SYN | ACK) for p in tcp if not p["flags"] & RST} >= {SYN, SYN | ACK, ACK}
        return 300 if made or any(p["length"] for p in tcp) else 60

    def deadline(self) -> int:
        """Time at which it becomes final: idle, or 30 s after a RST or both FINs."""
        last = self.packets[-1]["time_ns"]
        fins = {p["side"]: p["time_ns"] for p in reversed(self.packets) if p["flags"] & FIN}
        closed = [p["time_ns"] for p in self.packets if p["flags"] & RST][:1]
        if len(fins) == 2:
            closed.append(max(fins.values()))
        return min([last + self.seconds_to_live() * SECOND] + [t + 30 * SECOND for t in closed])

    def is_closed(self) -> bool:
        """Reset, or closed by both ends."""
        fins = {p["side"] for p in self.packets if p["flags"] & FIN and not p.get("quoted")}
        return len(fins) == 2 or any(p["flags"] & RST and not p.get("quoted") for p in self.packets)

    def is_reused_by(self, p: Packet) -> bool:
        """A SYN with another ISN after a close or after data: a new connection on the same ports."""
        if p["protocol"] != 6 or p["flags"] & (SYN | ACK | RST) != SYN:
            return False
        isns = [q["seq"] for q in self.packets if q["flags"] & (SYN | ACK) == SYN and q["side"] == p["side"]]
        over = any(q["flags"] & (RST | FIN) or q["length"] for q in self.packets)
        return over and p["seq"] not in isns

    def client(self) -> tuple[int, int]:
        """(side of the client, enum tscope_client_by)."""
        for p in self.packets:
            if p["protocol"] == 6 and p["flags"] & (SYN | RST) == SYN:
                return (1 - p["side"], BY["SYN_ACK"]) if p["flags"] & ACK else (p["side"], BY["SYN"])
        for p in self.packets:
            if names.hello(p["payload"]) or names.request(p["payload"]):
                return p["side"], BY["HELLO"] if names.hello(p["payload"]) else BY["REQUEST"]
        for p in self.packets:
            if p["protocol"] == 17 and 53 in (p["dport"], p["sport"]) and (asked := names.dns(p["payload"])):
                return p["side"] ^ bool(asked["flags"] & 0x8000), BY["QUERY"]
            if is_initial(p):
                return p["side"], BY["QUIC_INITIAL"]
        first = self.packets[0]
        if (first["sport"] < 1024) != (first["dport"] < 1024):
            return first["side"] if first["dport"] < 1024 else 1 - first["side"], BY["PORT"]
        return first["side"], BY["FIRST_SENDER"]

    # ------------------------------------------------------------ one pass over the packets

    def finish(self) -> tuple[Any, list[Any]]:
        """(row of FLOW, rows of TRACE)."""
        client, self.client_by = self.client()
        for p in self.packets:
            p["from"] = p["side"] ^ client
        self._find_trigger()
        self._follow()
        self._choose()
        return self._row(), [self._trace_row(p) for p in self.traced]

    def _find_trigger(self) -> None:
        """Sets kind, start, length, name, packets (frames) of the trigger."""
        self.trigger, self.trigger_seq, self.trigger_length, self.trigger_frames = TRIGGER["NONE"], 0, 0, []
        self.incomplete = self.ech = self.no_sni = False
        sent = [
            p for p in self.packets if p["from"] == 0 and p["length"] and not p.get("quoted") and not p["flags"] & RST
        ]
        if self.packets[0]["protocol"] == 17:
            self._find_question(sent)
            return
        if not sent:
            return
        start = self._first_payload(sent)
        stream = self._stream(sent, start)
        found, asked = names.hello(stream), names.request(stream)
        if found and found[2]:
            self.trigger, (_, name, _, self.ech) = TRIGGER["TLS_HELLO"], found
            self._name(name, NAME["TLS_SNI"])
            self.no_sni = name is None
        elif asked and (asked[1] or asked[2]):
            self.trigger = TRIGGER["HTTP_REQUEST"]
            self._name(asked[1], NAME["HTTP_HOST"])
        elif sent[0]["seq"] == start and (begun := self._begun(sent[0])):
            self.trigger = begun
        elif any(p["flags"] & SYN for p in self.packets if p["from"] == 0):
            self.trigger = TRIGGER["DATA"]
        else:
            return
        self.incomplete = bool(found and not found[2]) or bool(asked and not asked[1] and not asked[2])
        answered = next((p["frame"] for p in self.packets if self._is_answer(p, sent[0])), None)
        inside = [p for p in sent if answered is None or p["frame"] < answered]
        self.trigger_seq = start
        self.trigger_length = max(wrap(p["seq"] + p["length"] - start) for p in inside)
        self.trigger_frames = [p["frame"] for p in inside]

    def _begun(self, p: Packet) -> int:
        """What the snap length left of a ClientHello or a request shows that it is one."""
        data = p["payload"]
        if p["length"] == len(data):
            return 0
        if names.hello(data) and len(data) > 5 and data[5] == 1:
            return TRIGGER["TLS_HELLO"]
        target = data.partition(b" ")[2]
        begun = names.request(data) and (target[:1] == b"/" or target[:7] == b"http://")
        return TRIGGER["HTTP_REQUEST"] if begun else 0

    def _is_answer(self, p: Packet, first: Packet) -> bool:
        """The server's payload after the client's first."""
        plain = p["from"] == 1 and p["length"] and not p.get("quoted") and not p["flags"] & RST and not p.get("copy")
        return bool(plain) and p["frame"] > first["frame"]

    def _find_question(self, sent: list[Packet]) -> None:
        for p in self.packets:
            asked = names.dns(p["payload"]) if 53 in (p["sport"], p["dport"]) and not p.get("quoted") else None
            if asked and asked["name"] and not asked["flags"] & 0x7800:
                self._name(asked["name"], NAME["DNS_QUERY"])
                break
        initials = [p for p in sent if is_initial(p)]
        if not initials:
            return
        found = quic.hello([p["payload"] for p in initials])
        self.trigger, parts = TRIGGER["QUIC_INITIAL"], initials[:1]
        if found:
            name, self.ech, whole, brought = found
            self._name(name if whole else None, NAME["QUIC_SNI"])
            self.incomplete, self.no_sni = not whole, whole and name is None
            parts = [initials[n] for n in brought] or parts
        self.trigger_length = sum(p["length"] for p in parts)
        self.trigger_frames = [p["frame"] for p in parts]

    def _first_payload(self, sent: list[Packet]) -> int:
        syn = next((p["seq"] + 1 for p in self.packets if p["from"] == 0 and p["flags"] & SYN), None)
        return syn % 2**32 if syn is not None else sent[0]["seq"]

    def _stream(self, sent: list[Packet], start: int) -> bytes:
        """The client's first bytes as far as they follow one another, at most 16 KiB."""
        stream = b""
        for p in sorted(sent, key=lambda p: wrap(p["seq"] - start)):
            skip = len(stream) - wrap(p["seq"] - start)
            if 0 <= skip < len(p["payload"]) and len(stream) < 16384:
                stream += p["payload"][skip:]
        return stream

    def _name(self, name: str | None, source: int) -> None:
        if name and not self.name:
            self.name, self.name_from = name, source

    def _follow(self) -> None:
        """Offsets, what-bits and marks: what the core keeps up to date packet by packet."""
        self.next: list[int | None] = [None, None]
        self.acked: list[int | None] = [None, None]
        self.marks = self.facts = 0
        self.last_ack: list[int | None] = [None, None]
        self.latest: list[Packet | None] = [None, None]
        self.reset: list[Packet | None] = [None, None]
        self.in_trigger: set[int] = set()
        self.answer: Packet | None = None
        self.trigger_packet: Packet | None = None
        self.repeated_at: int | None = None
        self.server_fin = self.client_fin = False
        self.reset_run = [False, False]
        self.unheard = [0, 0]
        self.rtt = [-1, -1]
        for p in self.packets:
            if not p.get("quoted"):
                self._one(p)
        self._close()

    def _one(self, p: Packet) -> None:
        s, o = p["from"], 1 - p["from"]
        other, before = self.latest[o], self.latest[s]
        p["since_other"] = p["time_ns"] - other["time_ns"] if other else -1
        p["seq_offset"] = wrap(p["seq"] - self.next[s]) if self.next[s] is not None and p["protocol"] == 6 else UNKNOWN
        has_ack = p["flags"] & ACK and self.next[o] is not None
        p["ack_offset"] = wrap(p["ack"] - self.next[o]) if has_ack else UNKNOWN
        p["what"] = self._what(p)
        if p["what"] & WHAT["DUPLICATE"]:
            return
        if p["flags"] & RST:
            self._reset(p, other, before)
        else:
            self._plain(p)
            quic = p["protocol"] == 17 and s == 0 and self.trigger_packet is not None
            if quic or p["what"] & WHAT["RETRANSMISSION"]:
                answered = other is not None and (before is None or other["time_ns"] > before["time_ns"])
                self.unheard[s] = 1 if answered else self.unheard[s] + 1
        self.latest[s] = p
        self.reset_run[o] = False

    def _what(self, p: Packet) -> int:
        s, offset, what = p["from"], p["seq_offset"], 0
        carries = p["length"] or p["flags"] & (SYN | FIN)
        if p["protocol"] == 6 and not p["flags"] & RST and offset != UNKNOWN:
            if offset == -1 and p["length"] <= 1 and not p["flags"] & (SYN | FIN):
                what |= WHAT["KEEP_ALIVE"]
            elif offset < 0 and carries:
                what |= WHAT["RETRANSMISSION"]
            elif offset > 0:
                what |= WHAT["AHEAD"]
        if p["frame"] in self.trigger_frames and not what & WHAT["RETRANSMISSION"]:
            what |= WHAT["TRIGGER"]
        what |= WHAT["AFTER_RST"] if self.reset[s] else 0
        what |= WHAT["CUT"] if p["length"] > len(p["payload"]) else 0
        return what | (WHAT["DUPLICATE"] if p.get("copy") else 0)

    def _reset(self, p: Packet, other: Packet | None, before: Packet | None) -> None:
        s = p["from"]
        ttls = {q["ttl"] for q in self.packets if q["from"] == s and q["frame"] < p["frame"] and not q.get("quoted")}
        self._mark("RST_UNLIKE", bool(ttls) and p["ttl"] not in ttls)
        self._mark(
            "RST_REPEATED",
            before is not None and bool(before["flags"] & RST) and (other is None or other["frame"] < before["frame"]),
        )
        stateless = self.last_ack[1 - s] == p["seq"]
        self._mark("RST_SEQUENCE", p["seq_offset"] not in (0, UNKNOWN) and not stateless)
        self._mark("RST_PAYLOAD", bool(p["length"]))
        self._mark("RST_FLAGS", bool(p["flags"] & (FIN | SYN | 8 | 0xE00)))
        same = other is not None and p["ip_id"] == other["ip_id"]
        run = self.reset_run[s]
        same |= before is not None and not run and p["ip_id"] == before["ip_id"]
        self._mark("RST_IP_ID", same and p["ip_id"] != 0)
        self.reset_run[s] = True
        if s == 1:
            trigger = self.trigger_packet
            self._mark("RST_AFTER_TRIGGER", trigger is not None and not self.server_fin)
            early = (
                trigger is not None and self.rtt[0] > 0 and (p["time_ns"] - trigger["time_ns"]) * 4 < self.rtt[0] * 3
            )
            self._mark("RST_TOO_EARLY", early)
            self._mark("RST_ON_SYN", self.next[1] is None and other is not None and bool(other["flags"] & SYN))
        elif self.trigger_packet is not None and not p["flags"] & ACK and not self.client_fin:
            self._mark("RST_TOO_EARLY", (p["time_ns"] - self.trigger_packet["time_ns"]) * 4 < self.rtt[1] * 3)
        self.reset[s] = self.reset[s] or p

    def _plain(self, p: Packet) -> None:
        s, o = p["from"], 1 - p["from"]
        self._mark("SENDS_AFTER_RST", self.reset[s] is not None and p["protocol"] == 6)
        if p["protocol"] == 6:
            self._handshake(p)
            if s == 1 and self.repeated_at is not None and p["flags"] & ACK:
                self._mark("TRIGGER_UNACKED", wrap(p["ack"] - self.trigger_seq) < self.trigger_length)
            self.last_ack[s] = p["ack"] if p["flags"] & ACK else self.last_ack[s]
            if p["flags"] & ACK and self._is_believed(p, o):
                high = self.acked[o]
                self.acked[o] = p["ack"] if high is None or wrap(p["ack"] - high) > 0 else high
                if self.next[o] is None or wrap(p["ack"] - (self.next[o] or 0)) > 0:
                    self.next[o] = p["ack"]
            end = p["seq"] + p["length"] + bool(p["flags"] & SYN) + bool(p["flags"] & FIN)
            if self.next[s] is None or wrap(end - (self.next[s] or 0)) > 0:
                self.next[s] = end % 2**32
        if p["frame"] in self.trigger_frames:
            self.trigger_packet = self.trigger_packet or p
        if p["frame"] in self.trigger_frames and p["what"] & WHAT["RETRANSMISSION"]:
            self.repeated_at = self.repeated_at or p["frame"]
        if s == 1 and p["length"] and self.trigger_packet and self.answer is None:
            self.answer = p
        self.server_fin |= s == 1 and bool(p["flags"] & FIN)
        self.client_fin |= s == 0 and bool(p["flags"] & FIN)

    def _is_believed(self, p: Packet, other: int) -> bool:
        return self.next[other] is None or wrap(p["ack"] - (self.next[other] or 0)) < 1 << 24

    def _handshake(self, p: Packet) -> None:
        s, kind = p["from"], p["flags"] & (SYN | ACK)
        if kind == SYN | ACK and s == 1:
            isn = getattr(self, "server_isn", None)
            self._mark("SYN_ACK_CONFLICT", isn is not None and isn != p["seq"])
            self.syn_ack_ns = p["time_ns"]
            if isn is None:
                self.server_isn = p["seq"]
                syns = [
                    q["time_ns"]
                    for q in self.packets
                    if q["frame"] < p["frame"] and q["from"] == 0 and q["flags"] & (SYN | ACK) == SYN
                ]
                self.rtt[0] = p["time_ns"] - syns[-1] if syns else -1
        if kind == ACK and s == 0 and hasattr(self, "syn_ack_ns") and self.rtt[1] < 0:
            self.rtt[1] = p["time_ns"] - self.syn_ack_ns

    def _close(self) -> None:
        flags = [0, 0]
        for p in self.packets:
            flags[p["from"]] |= 0 if p.get("quoted") else p["flags"]
        self.flags = flags
        tcp = self.packets[0]["protocol"] == 6
        named = self.trigger not in (TRIGGER["NONE"], TRIGGER["DATA"]) and self.trigger_packet is not None
        self._mark("UNANSWERED", named and self.answer is None)
        syn = any(p["flags"] & (SYN | ACK) == SYN and p["from"] == 0 for p in self.packets)
        syn_ack = hasattr(self, "server_isn")
        answered = any(p["from"] == 1 and not p.get("quoted") for p in self.packets)
        self._mark("SYN_UNANSWERED", tcp and syn and not answered)
        ends = [p["time_ns"] if p else 0 for p in self.latest]
        quiet = self.answer is not None and not flags[1] & (FIN | RST) and ends[0] - ends[1] >= 3 * SECOND
        self._mark("STALLED", quiet and self.unheard[0] >= 3)
        self._mark("PROHIBITED", any(p["from"] == 1 and is_prohibition(p) for p in self.packets if p.get("quoted")))
        self._fact("SYN", tcp and syn)
        self._fact("SYN_ACK", syn_ack)
        self._fact("HANDSHAKE", syn and syn_ack and self.rtt[1] >= 0)
        self._fact("SNAP_CUT", any(p["length"] > len(p["payload"]) for p in self.packets if not p.get("quoted")))
        self._fact("NAME_INCOMPLETE", self.incomplete)
        self._fact("ECH", self.ech)
        self._fact("ONE_WAY", len({p["from"] for p in self.packets if not p.get("quoted")}) == 1)
        self._fact("TRIGGER_REPEATED", self.repeated_at is not None)
        self._fact("HELLO_NO_SNI", self.no_sni)
        self._fact("CUT_BY_END", self.final[0] == FINAL["END"])
        self.missing = [self._missing(side) for side in (0, 1)] if tcp else [0, 0]
        for side, fact in ((0, "UNSEEN_CLIENT"), (1, "UNSEEN_SERVER")):
            self._fact(fact, self.missing[side] > 0)

    def _mark(self, name: str, holds: bool) -> None:
        self.marks |= MARK[name] if holds else 0

    def _fact(self, name: str, holds: bool) -> None:
        self.facts |= FACT[name] if holds else 0

    def _missing(self, side: int) -> int:
        mine = [p for p in self.packets if p["from"] == side and not p.get("quoted") and not p["flags"] & RST]
        mine = [p for p in mine if abs(p["seq_offset"]) < 1 << 24 or p["seq_offset"] == UNKNOWN]
        if not mine:
            return 0
        base = mine[0]["seq"]
        spans = []
        for p in mine:
            start = wrap(p["seq"] - base)
            spans.append((start, start + p["length"] + bool(p["flags"] & SYN) + bool(p["flags"] & FIN)))
        high = self.acked[side]
        low, top = (
            min(s for s, _ in spans),
            max([e for _, e in spans] + ([wrap(high - base)] if high is not None else [])),
        )
        covered, reach = 0, low
        for start, end in sorted(spans):
            covered += max(end - max(start, reach), 0)
            reach = max(reach, end)
        return min(top - low - covered, 2**32 - 1)

    # ------------------------------------------------------------ the trace

    def _choose(self) -> None:
        """The packets that are traced, a REFERENCE row (a dict marked so) before a reset where due."""
        tcp = self.packets[0]["protocol"] == 6
        self.traced: list[Packet] = []
        latest: list[Packet | None] = [None, None]
        chosen: set[int] = set()
        after = {0: 16, 1: 16}
        unanswered = 64
        closing = awaiting = False
        icmp = 16
        for n, p in enumerate(self.packets):
            s = p["from"]
            if p.get("quoted"):
                if icmp:
                    self.traced.append(p)
                    icmp -= 1
                continue
            take = n < (24 if tcp else 6) or bool(tcp and p["flags"] & (SYN | FIN | RST))
            if not take and closing and after[s]:
                after[s] -= 1
                take = True
            if not take and awaiting and unanswered and (s == 1 or p["frame"] in self.trigger_frames):
                unanswered -= 1
                take = True
            silent = p["time_ns"] - (latest[1] or {"time_ns": 0})["time_ns"] >= SECOND
            again = p.get("what", 0) & WHAT["RETRANSMISSION"] if tcp else self.trigger_packet and unanswered > 48
            if not take and not (awaiting and tcp) and unanswered and s == 0 and again and silent:
                unanswered -= 1
                take = True
            reference = latest[s]
            if take and p["flags"] & RST and reference and reference["frame"] not in chosen:
                self.traced.append({**reference, "reference": True})
            if take:
                chosen.add(p["frame"])
                self.traced.append(p)
            closing |= tcp and bool(p["flags"] & (RST | FIN))
            awaiting = (awaiting or bool(p.get("what", 0) & WHAT["TRIGGER"])) and not (s == 1 and p["length"])
            latest[s] = p
        if len(self.traced) > 4096:
            self.traced = self.traced[:4096]
            self.facts |= FACT["TRACE_FULL"]

    def _trace_row(self, p: Packet) -> Any:
        row = np.zeros((), TRACE)
        row["frame"], row["time_ns"], row["ttl"], row["ip_id"] = p["frame"], p["time_ns"], p["ttl"], p["ip_id"]
        row["from_server"] = p["from"]
        if p.get("quoted"):
            row["what"], row["flags"], row["tos"] = WHAT["ICMP"] | said_by(p), p["error"], p["tos"]
            row["seq"], row["ip_id"] = p["quoted"]["seq"] if p["quoted"]["protocol"] == 6 else 0, p["quoted"]["ip_id"]
            row["since_other_ns"], row["seq_offset"], row["ack_offset"] = -1, UNKNOWN, UNKNOWN
            return row
        row["window"], row["flags"] = p["window"], p["flags"]
        if p.get("reference"):
            row["what"], row["seq"] = (
                WHAT["REFERENCE"],
                (p["seq"] + p["length"] + bool(p["flags"] & SYN) + bool(p["flags"] & FIN)) % 2**32,
            )
            row["since_other_ns"], row["seq_offset"], row["ack_offset"] = -1, UNKNOWN, UNKNOWN
            return row
        for key in ("seq", "ack", "seq_offset", "ack_offset", "what", "tos", "ip_flags"):
            row[key] = p[key]
        row["since_other_ns"], row["payload_length"] = p["since_other"], p["length"]
        row["payload_digest"] = names.digest(p["payload"][:32], 4)
        row["options_length"], row["options_digest"] = len(p["options"]), options_digest(p["options"])
        return row

    def _row(self) -> Any:
        row, first = np.zeros((), FLOW), self.packets[0]
        mine = [[p for p in self.packets if p["from"] == s and not p.get("quoted")] for s in (0, 1)]
        example = (mine[0] or mine[1])[0]
        ends = [(example["source"], example["sport"]), (example["destination"], example["dport"])]
        ends = ends if example["from"] == 0 else ends[::-1]
        row["number"], row["protocol"], row["ip_version"] = self.number, first["protocol"], first["ip_version"]
        last = max(mine[0] + mine[1], key=lambda p: p["frame"])
        row["first_frame"], row["last_frame"] = first["frame"], last["frame"]
        row["first_ns"], row["last_ns"] = first["time_ns"], last["time_ns"]
        row["final_by"], row["final_frame"], row["final_ns"] = self.final
        row["client"], row["server"] = (np.frombuffer(end[0], "u1") for end in ends)
        row["client_port"], row["server_port"] = ends[0][1], ends[1][1]
        row["client_by"], row["interface"], row["vlan"] = self.client_by, first["interface"], 0xFFFF
        row["marks"], row["facts"], row["missing"], row["flags"] = self.marks, self.facts, self.missing, self.flags
        for s in (0, 1):
            row["packets"][s], row["bytes"][s] = len(mine[s]), sum(p["length"] for p in mine[s])
            row["resets"][s] = sum(bool(p["flags"] & RST) for p in mine[s])
            row["retransmissions"][s] = sum(bool(p["what"] & WHAT["RETRANSMISSION"] and p["length"]) for p in mine[s])
            plain = [p["ttl"] for p in mine[s] if not p["flags"] & RST]
            row["ttl_min"][s], row["ttl_max"][s] = (min(plain), max(plain)) if plain else (0, 0)
            row["ttl_first"][s] = plain[0] if plain else 0
            row["isn"][s] = next((p["seq"] for p in mine[s] if p["flags"] & SYN), 0)
        self._trigger_fields(row)
        row["name_from"], row["name_length"] = self.name_from, len(self.name)
        row["outcome"], row["stage"] = self._outcome()
        if not mine[0]:
            row["outcome"] = OUT["UNKNOWN"]
        return row

    def _trigger_fields(self, row: Any) -> None:
        t, acked = self.trigger_packet, self.acked[0]
        row["trigger_frame"], row["trigger_ns"] = (t["frame"], t["time_ns"]) if t else (0, -1)
        row["answer_ns"] = self.answer["time_ns"] if self.answer else -1
        row["rtt_server_ns"], row["rtt_client_ns"] = self.rtt
        row["trigger"] = self.trigger if t else 0
        row["trigger_seq"], row["trigger_length"] = self.trigger_seq, self.trigger_length
        if t and acked is not None:
            row["trigger_acked"] = min(max(wrap(acked - self.trigger_seq), 0), self.trigger_length)

    def _outcome(self) -> tuple[int, int]:
        server_reset = bool(self.flags[1] & RST)
        if self.packets[0]["protocol"] == 17 and 53 in (self.packets[0]["sport"], self.packets[0]["dport"]):
            return OUT["OK" if any(p["from"] for p in self.packets) else "NO_ANSWER"], STAGE["DNS"]
        if self.answer:
            return OUT["RESET" if server_reset and not self.flags[1] & FIN else "OK"], STAGE["TRANSFER"]
        if self.trigger_packet:
            http = self.trigger == TRIGGER["HTTP_REQUEST"]
            return OUT["RESET" if server_reset else "TIMEOUT"], STAGE["AFTER_REQUEST" if http else "AFTER_NAME"]
        if self.packets[0]["protocol"] != 6:
            return OUT["UNKNOWN"], STAGE["NONE"]
        if self.facts & FACT["SYN_ACK"]:
            spoke = any(p["from"] and p["length"] for p in self.packets)
            return OUT["RESET" if server_reset else "OK" if spoke else "UNKNOWN"], STAGE["HANDSHAKE"]
        if self.facts & FACT["SYN"]:
            silent = self.marks & MARK["SYN_UNANSWERED"]
            word = "REFUSED" if self.marks & MARK["RST_ON_SYN"] else "TIMEOUT" if silent else "UNKNOWN"
            return OUT[word], STAGE["SYN"]
        return OUT["UNKNOWN"], STAGE["NONE"]


def is_prohibition(p: Packet) -> bool:
    """An ICMP error of a host that is no end: administratively prohibited."""
    kinds = {(1, 1), (1, 5), (1, 6)} if p["ip_version"] == 6 else {(3, 9), (3, 10), (3, 13)}
    return divmod(p["error"], 256) in kinds and not said_by(p) & WHAT["BY_END"]


def said_by(p: Packet) -> int:
    """Bits of `what` for the sender of an ICMP error."""
    sender, far = p["source"], p["quoted"]["destination"]
    if sender in (far, p["quoted"]["source"]):
        return WHAT["BY_END"]
    network = 15 if far[:12] == bytes(10) + b"\xff\xff" else 6
    return WHAT["BY_NEIGHBOUR"] if sender[:network] == far[:network] else 0


def is_initial(p: Packet) -> bool:
    data = p["payload"]
    return (
        p["protocol"] == 17
        and p["length"] >= 1200
        and data[:1] >= b"\xc0"
        and data[1:5] in (b"\0\0\0\1", b"\x6b\x33\x43\xcf")
    )


def options_digest(options: bytes) -> int:
    """Kinds and lengths of the TCP options, values left out."""
    kinds, at = b"", 0
    while at < len(options) and options[at]:
        step = 1 if options[at] == 1 else max(options[at + 1], 2) if at + 1 < len(options) else 1
        kinds += bytes((options[at], step))
        at += step
    return names.digest(kinds, 2)
