#!/usr/bin/env python3
"""Holds indexes against their captures as tshark reads them; shares no code with what recorded them.

    python3 pcaps/record/check.py [pcaps/demo.json]... [--across pcaps/demo-server.pcap] [--self-test]

Folders are walked for indexes. With --across, a capture of the same minutes at the other end, forged frames must be
missing there and genuine ones must not; in the collection the other end (NAME and NAME-server) is found by itself.
Exit status 1 and one line for each thing that does not fit. --self-test spoils copies of the index, each in one way,
and fails unless every one of them is found out.
"""

import argparse
import copy
import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
LIMIT = 2 * 1024 * 1024
MIN_RTT = 0.040
LEAST_INTERFERED, LEAST_LOOKALIKES, LEAST_ORDINARY = 8, 5, 200
LOOKALIKES = (
    "server_reset_after_hello", "server_reset_after_request", "closed_port", "close_with_unread_data",
    "reset_after_fin", "late_data_after_close", "loss_of_hello", "loss_of_several", "dead_server",
    "resolver_answers_twice", "client_abort_after_hello", "client_abort_in_transfer", "line_outage",
)  # fmt: skip

FIELDS = (
    "frame.number", "frame.time_epoch", "frame.len", "frame.cap_len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst",
    "ip.ttl", "ipv6.hlim", "ip.id", "ip.flags.df", "ipv6.flow", "tcp.srcport", "tcp.dstport", "udp.srcport",
    "udp.dstport", "tcp.flags", "tcp.len", "tcp.seq_raw", "tcp.ack_raw", "dns.id", "dns.qry.name",
    "dns.flags.response", "dns.a", "dns.aaaa", "tls.handshake.extensions_server_name", "http.host",
    "ip.checksum.status", "tcp.checksum.status", "tcp.checksum", "tcp.checksum_calculated", "udp.checksum.status",
    "icmp.type", "icmpv6.type", "dns.flags.rcode", "udp.length",
)  # fmt: skip

# What can be seen at the servers: forged resets, and no hello where it was dropped; forged answers never come there.
INTERFERENCE = {
    "client": ("rst_injection", "sni_drop", "dns_forgery"),
    "server": ("rst_injection", "hello_swallowed", "forged_elsewhere"),
}

# Of the collection: what a forged frame of each mechanism may be, and what a flow may not show.
FORGERIES = ("rst_injection", "dns_forgery", "blockpage", "tls_mitm", "ip_block")
HALF = 0.5
MOVED, ALIKE = 10_000, 0.5

Index = dict[str, Any]


@dataclass
class Frame:
    number: int
    time: float
    src: str
    dst: str
    ttl: int
    tcp: bool
    flags: int
    length: int
    seq: int
    ack: int
    dns_id: str
    name: str
    answers: frozenset[str]
    response: bool
    rcode: str
    error: bool  # an ICMP error about a packet of this flow; src and dst are those of that packet
    header: tuple[str, str, str]  # IPv4 identification and "don't fragment", IPv6 flow label

    def likeness(self) -> tuple[object, ...]:
        """What stays the same on the way. A client's own reset may differ from a forged one by DF or label alone."""
        sent = (self.src, self.dst, self.header, self.flags, self.seq, self.ack, self.length)
        return (*sent, self.dns_id, self.name, self.answers, self.response, self.rcode, self.error)


@dataclass
class Flow:
    frames: list[Frame] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    http: bool = False
    tls: bool = False

    def sent(self, src: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.src == src and not frame.error]


class Capture:
    """All TCP and UDP frames, by flow; and what is wrong with the file on its own."""

    def __init__(self, path: Path, cut: bool = False, unordered: bool = False) -> None:
        self.faults: list[str] = []
        self.flows: dict[frozenset[str], Flow] = defaultdict(Flow)
        self.frames: dict[int, Frame] = {}
        options = [word for field_ in FIELDS for word in ("-e", field_)]
        checks = [word for kind in ("ip", "tcp", "udp") for word in ("-o", f"{kind}.check_checksum:TRUE")]
        done = subprocess.run(
            ["tshark", "-n", "-r", str(path), *checks, "-Y", "tcp or udp", "-T", "fields",
             "-E", "occurrence=a", *options],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        last = 0.0
        for line in done.stdout.splitlines():
            row = dict(zip(FIELDS, line.split("\t"), strict=True))
            frame = self.frame(row)
            if frame.time < last and not unordered:
                self.faults.append(f"frame {frame.number}: time goes backwards")
            last = frame.time
            if row["frame.len"] != row["frame.cap_len"] and not cut:
                self.faults.append(f"frame {frame.number}: cut")
            if (row["tcp.checksum"], row["tcp.checksum_calculated"]) == ("0xffff", "0x0000"):
                row["tcp.checksum.status"] = "1"  # the same number in one's complement; Linux writes it so
            if (
                not frame.error
                and not cut
                and "0" in (row["ip.checksum.status"], row["tcp.checksum.status"], row["udp.checksum.status"])
            ):
                self.faults.append(f"frame {frame.number}: bad checksum")
            self.frames[frame.number] = frame
            flow = self.flows[frozenset((frame.src, frame.dst))]
            flow.frames.append(frame)
            if frame.error:
                continue
            flow.tls |= bool(row["tls.handshake.extensions_server_name"])
            flow.http |= bool(row["http.host"])
            shown = row["tls.handshake.extensions_server_name"].split(",")
            flow.names |= set(filter(None, (*shown, frame.name)))
            flow.names |= {row["http.host"].split(":")[0]} - {""}

    @staticmethod
    def frame(row: dict[str, str]) -> Frame:
        error = bool(row["icmp.type"] or row["icmpv6.type"])
        if error:  # of each field the last is that of the packet it is about
            row |= {key: value.rpartition(",")[2] for key, value in row.items()}
        tcp = bool(row["tcp.srcport"])
        source, target = (row["tcp.srcport"], row["tcp.dstport"]) if tcp else (row["udp.srcport"], row["udp.dstport"])
        six = bool(row["ipv6.src"])
        src, dst = (f"[{row['ipv6.src']}]", f"[{row['ipv6.dst']}]") if six else (row["ip.src"], row["ip.dst"])
        answers = frozenset(filter(None, (row["dns.a"] + "," + row["dns.aaaa"]).split(",")))
        return Frame(
            int(row["frame.number"]), float(row["frame.time_epoch"]), f"{src}:{source}", f"{dst}:{target}",
            int((row["ipv6.hlim"] if six else row["ip.ttl"]) or 0), tcp, int(row["tcp.flags"] or "0", 16),
            int(row["tcp.len"] or int(row["udp.length"] or 8) - 8), int(row["tcp.seq_raw"] or 0),
            int(row["tcp.ack_raw"] or 0), row["dns.id"],
            row["dns.qry.name"], answers, row["dns.flags.response"] in ("1", "True"), row["dns.flags.rcode"], error,
            (row["ip.id"], row["ip.flags.df"], row["ipv6.flow"]),
        )  # fmt: skip


def less(a: int, b: int) -> bool:
    return 0 < (b - a) & 0xFFFFFFFF < 1 << 31


class Checker:
    def __init__(self, index: Index, capture: Capture) -> None:
        self.index = index
        self.capture = capture
        self.faults: list[str] = []
        self.server_side = index["vantage"] == "server"
        self.demo = "demo" in index["source"]["path"]
        self.edits = index["source"].get("edits", [])

    def want(self, holds: bool, text: str) -> None:
        if not holds:
            self.faults.append(text)

    def run(self) -> list[str]:
        listed = set()
        counts: Counter[str] = Counter()
        for label in self.index["flows"]:
            ends = frozenset((label["client"], label["server"]))
            self.want(ends not in listed, f"{label['client']}: listed twice")
            listed.add(ends)
            kind = label["expected"]
            counts[kind if kind not in ("none", "insufficient") else label["why"].split(":")[0]] += 1
            if ends not in self.capture.flows:
                if label["why"].startswith("not_in_this_file") and self.edits:
                    continue
                self.want(False, f"{label['client']}: no such flow")
                continue
            if self.demo:
                self.flow(label, self.capture.flows[ends])
            else:
                self.collected(label, self.capture.flows[ends])
        if not self.demo:
            self.want(bool(self.index["flows"] or "ordinary" in self.index["summary"]), "nothing to see here")
            return self.faults
        for kind in INTERFERENCE[self.index["vantage"]]:
            self.want(counts[kind] >= LEAST_INTERFERED, f"{kind}: only {counts[kind]} flows")
        for kind in LOOKALIKES:
            self.want(counts[kind] >= LEAST_LOOKALIKES, f"{kind}: only {counts[kind]} flows")
        self.ordinary(listed)
        self.round_trips()
        return self.faults

    def flow(self, label: Index, flow: Flow) -> None:
        """What holds of every label, then what holds of its kind."""
        who = f"{label['expected']} {label['client']}"
        client, server = label["client"], label["server"]
        numbers = {frame.number: frame for frame in flow.frames}
        triggers = [] if label["trigger_frame"] is None else [label["trigger_frame"]]
        named = [*triggers, *label["injected_frames"], *label["genuine_frames_of_interest"]]
        strangers = [number for number in named if number not in numbers]
        self.want(not strangers, f"{who}: frames {strangers} are not of this flow")
        if strangers:
            return
        injected = [numbers[number] for number in label["injected_frames"]]
        genuine = [numbers[number] for number in label["genuine_frames_of_interest"]]
        self.want(all(numbers[n].src == client for n in triggers), f"{who}: trigger {triggers} is not the client's")
        # Of forged packets the capture has those towards its own end; the alleged sender is the other end.
        sender = client if self.server_side and injected else server
        self.want(all(f.src == sender for f in injected + genuine), f"{who}: a frame of the wrong direction")
        self.want(
            not set(label["injected_frames"]) & set(label["genuine_frames_of_interest"]), f"{who}: forged and true"
        )
        self.want(label["quality"] in ("A", "B", "C"), f"{who}: quality {label['quality']}")
        if label["expected"] in ("rst_injection", "sni_drop", "dns_forgery"):
            self.want(label["name"] in flow.names, f"{who}: name {label['name']} not in {sorted(flow.names)}")
        first = {"rst_injection": self.reset, "sni_drop": self.drop, "dns_forgery": self.forgery}.get(label["expected"])
        if first and not triggers:
            self.want(False, f"{who}: no trigger")
        elif first:
            first(who, label, flow, numbers[triggers[0]], injected, genuine)
        else:
            self.want(not injected, f"{who}: forged frames in a flow without forgery")
            self.lookalike(who, label["why"].split(":")[0], flow, client, server)

    def collected(self, label: Index, flow: Flow) -> None:
        """What holds of a label of the collection, whatever was done to the capture afterwards."""
        kind, client, server = label["expected"], label["client"], label["server"]
        who = f"{kind} {client}"
        numbers = {frame.number: frame for frame in flow.frames}
        triggers = [] if label["trigger_frame"] is None else [label["trigger_frame"]]
        named = [*triggers, *label["injected_frames"], *label.get("injected_also", [])]
        named += label["genuine_frames_of_interest"]
        strangers = [number for number in named if number not in numbers]
        self.want(not strangers, f"{who}: frames {strangers} are not of this flow")
        if strangers:
            return
        injected = [numbers[number] for number in label["injected_frames"]]
        genuine = [numbers[number] for number in label["genuine_frames_of_interest"]]
        self.want(not {f.number for f in injected} & {f.number for f in genuine}, f"{who}: forged and true")
        self.want(label["quality"] in ("A", "B", "C"), f"{who}: quality {label['quality']}")
        if kind in ("none", "insufficient"):
            self.want(not injected, f"{who}: forged frames in a flow without forgery")
            if not self.edits and not label["why"].startswith(("forged_elsewhere", "swallowed_elsewhere")):
                self.lookalike(who, label["why"].split(":")[0], flow, client, server)
            return
        plain = not self.edits or all(edit.startswith("Evening") for edit in self.edits)
        if plain and label["name"] and kind != "ip_block" and self.index["vantage"] != "server":
            self.want(label["name"] in flow.names, f"{who}: name {label['name']} not in {sorted(flow.names)}")
        self.want(kind in FORGERIES or not [f for f in injected if f.length and f.tcp], f"{who}: forged data")
        theirs = [f for f in flow.sent(server) if f not in injected and not f.error]
        first = injected[0].number if injected and kind != "dns_forgery" else 0
        later = [f for f in genuine if injected and f.number > first and not f.flags & RST]
        cut = "Snap(size=96)" in self.edits
        if cut and kind in ("dns_forgery", "blockpage"):
            self.want(label["quality"] == "C", f"{who}: quality {label['quality']} of what is cut off")
            return
        if kind in ("rst_injection", "blockpage", "dns_forgery"):
            self.want(bool(injected), f"{who}: no forged frame")
            senders = {f.src for f in injected}
            self.want(self.index["vantage"] != "client" or senders == {server}, f"{who}: forged by {senders}")
            self.want(
                (label["quality"] == "A") == bool(later), f"{who}: quality {label['quality']}, later {len(later)}"
            )
        if kind == "rst_injection":
            self.want(any(f.flags & RST for f in injected), f"{who}: no forged frame is a reset")
            self.want(all(f.flags & (RST | FIN) for f in injected), f"{who}: a forged frame is no reset")
        elif kind == "blockpage":
            self.want(any(f.length or f.flags & FIN for f in injected), f"{who}: a page without a byte")
        elif kind == "dns_forgery":
            self.want(
                all(f.response and f.name.lower() == label["name"].lower() for f in injected), f"{who}: no answer"
            )
            said = {(f.answers, f.rcode) for f in injected}
            true = {(f.answers, f.rcode) for f in genuine if f.response and f.dns_id in {i.dns_id for i in injected}}
            self.want(not said & true, f"{who}: forged {said}, true {true}")
        elif kind == "dns_drop":
            self.want(not theirs, f"{who}: answered after all")
        elif kind == "tls_mitm":
            self.want(bool(injected) and all(f.length and f.src == server for f in injected), f"{who}: no handshake")
        elif kind == "ip_block" and not injected:
            self.want(not theirs, f"{who}: the server answers")
        elif kind == "ip_block":
            self.want(all(f.error or f.flags & RST for f in injected), f"{who}: neither reset nor ICMP")
        elif kind in ("sni_drop", "http_drop", "quic_drop") and triggers and not self.server_side:
            start = numbers[triggers[0]]
            last = [f for f in flow.frames if f.number > start.number or f is start]
            self.want(any(f.src == client for f in last), f"{who}: nothing of the client after the trigger")
            if kind != "quic_drop":
                end = (start.seq + start.length) & 0xFFFFFFFF
                proof = [f for f in theirs if f.time > start.time + 1 and f.flags & ACK and less(f.ack, end)]
                stepped = any(edit.startswith("ClockStep") for edit in self.edits)
                right = (label["quality"] == "A") == bool(proof) or bool(injected) or stepped
                self.want(right, f"{who}: quality {label['quality']}, {len(proof)} proofs")
        elif kind == "throttling" and label["quality"] != "C":
            best = max(map(self.rate, self.others(label, server)), default=0.0)
            own = self.rate(flow.sent(server))
            self.want(own < HALF * best, f"{who}: {own:.0f} bytes/s against {best:.0f}")

    def others(self, label: Index, server: str) -> list[list[Frame]]:
        """What the same server port sent in other flows that moved enough."""
        slow = {f["client"] for f in self.index["flows"] if f["expected"] == "throttling"}
        sent = [
            flow.sent(server) for ends, flow in self.capture.flows.items() if server in ends and not slow & set(ends)
        ]
        own = self.capture.flows[frozenset((label["client"], server))].sent(server)
        least = max(MOVED, ALIKE * sum({f.seq: f.length for f in own}.values()))
        return [frames for frames in sent if sum(f.length for f in frames) >= least]

    @staticmethod
    def rate(frames: list[Frame]) -> float:
        data = [f for f in frames if f.length]
        return sum(f.length for f in data) / max(1e-3, data[-1].time - data[0].time) if data else 0.0

    def reset(
        self, who: str, label: Index, flow: Flow, trigger: Frame, injected: list[Frame], genuine: list[Frame]
    ) -> None:
        self.want(bool(injected), f"{who}: no forged frame")
        self.want(all(f.flags & RST and not f.length for f in injected), f"{who}: a forged frame is no reset")
        self.want(all(f.number > trigger.number for f in injected), f"{who}: reset before the hello")
        self.want(trigger.length > 0, f"{who}: trigger without data")
        later = [f for f in genuine if injected and f.number > injected[0].number and not f.flags & RST]
        self.want(
            (label["quality"] == "A") == bool(later), f"{who}: quality {label['quality']}, {len(later)} later frames"
        )
        others = [f for f in flow.sent(label["server"]) if f.flags & RST and f not in injected and f not in genuine]
        self.want(self.server_side or not others, f"{who}: resets {[f.number for f in others]} are not accounted for")

    def drop(
        self, who: str, label: Index, flow: Flow, trigger: Frame, injected: list[Frame], genuine: list[Frame]
    ) -> None:
        end = (trigger.seq + trigger.length) & 0xFFFFFFFF
        again = [f for f in flow.sent(label["client"]) if f.number > trigger.number and f.length]
        reply = [f for f in flow.sent(label["server"]) if f.number > trigger.number]
        self.want(not injected, f"{who}: forged frames")
        self.want(trigger.length > 0, f"{who}: trigger without data")
        self.want(bool(again), f"{who}: the hello was not sent again")
        self.want(not any(f.length for f in reply), f"{who}: the server answered with data")
        self.want(all(less(f.ack, end) for f in reply if f.flags & ACK), f"{who}: the server acknowledged the hello")
        proof = [f for f in genuine if f.time > trigger.time + 1 and f.flags & ACK and less(f.ack, end)]
        self.want((label["quality"] == "A") == bool(proof), f"{who}: quality {label['quality']}, {len(proof)} proofs")

    def forgery(
        self, who: str, label: Index, flow: Flow, trigger: Frame, injected: list[Frame], genuine: list[Frame]
    ) -> None:
        queries = [f for f in flow.frames if not f.response]
        self.want(len(queries) == 1, f"{who}: {len(queries)} queries on one port")
        self.want(bool(injected), f"{who}: no forged answer")
        same = [f for f in injected + genuine if f.response and f.dns_id == trigger.dns_id and f.name == label["name"]]
        self.want(len(same) == len(injected) + len(genuine), f"{who}: an answer to another question")
        false = set().union(*(f.answers for f in injected))
        true = set().union(*(f.answers for f in genuine))
        self.want(bool(false) and not false & true, f"{who}: forged {sorted(false)}, true {sorted(true)}")
        later = [f for f in genuine if injected and f.number > injected[0].number]
        self.want((label["quality"] == "A") == bool(later), f"{who}: quality {label['quality']}, {len(later)} later")

    def lookalike(self, who: str, kind: str, flow: Flow, client: str, server: str) -> None:
        ours, theirs = flow.sent(client), flow.sent(server)
        data = [f for f in theirs if f.length]
        resets = [f for f in theirs if f.flags & RST]
        fins = [f for f in theirs if f.flags & FIN]
        sent = Counter(f.seq for f in ours if f.length or f.flags & SYN)
        early = Counter(f.seq for f in ours if f.length and data and f.number < data[0].number)
        tests: dict[str, Callable[[], bool]] = {
            "server_reset_after_hello": lambda: bool(resets) and not data,
            "server_reset_after_request": lambda: bool(resets) and not data,
            "closed_port": lambda: bool(resets) and not any(f.flags & SYN for f in theirs),
            "close_with_unread_data": lambda: bool(resets and data) and not fins,
            "reset_after_fin": lambda: bool(resets and fins) and fins[0].number < resets[0].number,
            "late_data_after_close": lambda: bool(resets and fins) and fins[0].number < resets[0].number,
            "loss_of_hello": lambda: bool(data) and (self.server_side or max(early.values()) > 1),
            "loss_of_several": lambda: len(data) > 0,
            "dead_server": lambda: not data and any(f.ack == (ours[0].seq + 1) & 0xFFFFFFFF for f in theirs),
            "resolver_answers_twice": lambda: len(ours) > 1 and len(theirs) > 1,
            "client_abort_after_hello": lambda: any(f.flags & RST for f in ours) and not resets,
            "client_abort_in_transfer": lambda: any(f.flags & RST for f in ours) and bool(data) and not resets,
            "line_outage": lambda: self.server_side or max(sent.values()) > 1,
            "hello_swallowed": lambda: not data and not flow.names,
            "forged_elsewhere": lambda: len(ours) == 1 and len(theirs) == 1,
        }
        if kind in tests or self.demo:
            self.want(kind in tests and tests[kind](), f"{who}: does not look like {kind}")

    def across(self, other: Capture) -> None:
        there = {frame.likeness() for frame in other.frames.values()}
        # What came from the other end without having left it must be named as forged, in whatever flow.
        named = {n for f in self.index["flows"] for n in (*f["injected_frames"], *f.get("injected_also", []))}
        ends = {frame.src for frame in other.frames.values()}
        for frame in self.capture.frames.values():
            inward = frame.src.rpartition(":")[2] in ("443", "80", "53")
            if inward == self.server_side or frame.error or frame.src not in ends:
                continue
            strange = frame.likeness() not in there and frame.number not in named
            self.want(not strange, f"frame {frame.number}: came from nowhere, and the index does not name it")
        for label in self.index["flows"]:
            for number in label["injected_frames"]:
                frame = self.capture.frames.get(number)
                self.want(
                    not frame or frame.likeness() not in there, f"frame {number}: forged, but at the other end too"
                )
            for number in label["genuine_frames_of_interest"]:
                frame = self.capture.frames.get(number)
                own = frame is not None and self.server_side and not label["injected_frames"]  # sent at this very end
                known = frame is None or own or frame.likeness() in there
                self.want(known, f"frame {number}: genuine, but not at the other end")

    def ordinary(self, listed: set[frozenset[str]]) -> None:
        kinds: Counter[str] = Counter()
        clients: set[str] = set()
        names: dict[str, set[str]] = defaultdict(set)
        six = split = total = 0
        for ends, flow in self.capture.flows.items():
            if ends in listed or not any(f.length or f.response for f in flow.frames):
                continue
            first = flow.frames[0]
            if not any(f.src == first.dst and (f.length or f.response) for f in flow.frames):
                continue
            total += 1
            kinds["tls" if flow.tls else "http" if flow.http else "dns" if not first.tcp else "other"] += 1
            six += first.src.startswith("[")
            clients.add(first.src.rpartition(":")[0])
            if first.tcp:
                names[first.dst] |= flow.names
                sizes = [f.length for f in flow.sent(first.src) if f.length]
                split += flow.tls and len(sizes) > 1 and sizes[0] > 1300
        self.want(total >= LEAST_ORDINARY, f"only {total} ordinary flows")
        for kind in ("tls", "http", "dns"):
            self.want(kinds[kind] >= 30, f"only {kinds[kind]} ordinary {kind} flows")
        self.want(six >= 20, f"only {six} ordinary IPv6 flows")
        self.want(split >= 20, f"only {split} ordinary hellos in two segments")
        self.want(len(clients) >= 4, f"only {len(clients)} clients")
        self.want(sum(len(n) > 3 for n in names.values()) >= 2, "servers with several names are missing")

    def round_trips(self) -> None:
        for ends, flow in self.capture.flows.items():
            ask = next((f for f in flow.frames if f.flags & (SYN | ACK) == SYN), None)
            reply = next((f for f in flow.frames if f.flags & (SYN | ACK) == SYN | ACK), None)
            if self.server_side and reply:  # here the answer of the client is what takes a round trip
                later = [f for f in flow.frames if f.number > reply.number and f.src == reply.dst]
                ask, reply = reply, later[0] if later else None
            if ask and reply:
                self.want(reply.time - ask.time >= MIN_RTT, f"{sorted(ends)}: SYN answered too early")


def spoiled(index: Index) -> dict[str, Index]:
    """Copies of the index, each wrong in one way."""

    def of(kind: str, document: Index) -> Index:
        return next(flow for flow in document["flows"] if flow["expected"] == kind)

    copies: dict[str, Index] = {}

    def spoil(name: str, change: Callable[[Index], None]) -> None:
        copies[name] = copy.deepcopy(index)
        try:
            change(copies[name])
        except StopIteration:  # this index has no flow of that kind
            del copies[name]

    def shift(document: Index) -> None:
        of("rst_injection", document)["injected_frames"][0] += 1

    def swap(document: Index) -> None:
        flow = of("rst_injection", document)
        flow["injected_frames"], flow["genuine_frames_of_interest"] = (
            flow["genuine_frames_of_interest"], flow["injected_frames"],
        )  # fmt: skip

    def answered(document: Index) -> None:
        flow = of("dns_forgery", document)
        flow["injected_frames"], flow["genuine_frames_of_interest"] = (
            flow["genuine_frames_of_interest"], flow["injected_frames"],
        )  # fmt: skip

    def relabel(document: Index) -> None:
        flow = next(f for f in document["flows"] if f["why"].startswith("dead_server"))
        flow["expected"] = "sni_drop"

    spoil("a forged frame moved by one", shift)
    spoil("forged and genuine resets exchanged", swap)
    spoil("forged and true DNS answers exchanged", answered)
    spoil("a dead server called a drop", relabel)
    spoil("a name changed", lambda d: of("sni_drop", d).update(name="nobody.example"))
    spoil("a quality raised", lambda d: next(f for f in d["flows"] if f["quality"] == "B").update(quality="A"))
    if "demo" in index["file"]:  # how many there must be is known of the demonstration only
        spoil("a kind thinned out", lambda d: d.update(flows=[f for f in d["flows"] if f["expected"] != "sni_drop"]))
    spoil("a flow listed twice", lambda d: d["flows"].append(d["flows"][0]))
    return copies


def indexes(paths: list[Path]) -> list[Path]:
    found = []
    for path in paths:
        inside = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        found += [p for p in inside if "flows" in json.loads(p.read_text())]
    return found


def examine(path: Path, across: Path | None, self_test: bool) -> int:
    """Checks one index, says what does not fit, returns the number of faults."""
    index = json.loads(path.read_text())
    file = path.parent / index["file"]
    edits = " ".join(index["source"].get("edits", []))
    # Two devices captured as one are out of order by microseconds.
    unordered = "ClockStep" in edits or index["source"].get("point") == "any" or "reordered" in index["summary"]
    capture = Capture(file, "Snap" in edits or "Evening" in edits, unordered)
    faults = list(capture.faults)
    if hashlib.sha256(file.read_bytes()).hexdigest() != index["sha256"]:
        faults.append("sha256 is that of another file")
    if file.stat().st_size > LIMIT:
        faults.append(f"{file.stat().st_size} bytes, more than {LIMIT}")
    sibling = path.with_name(path.name.replace("-server.json", ".json")) if "-server" in path.name else None
    if sibling is None:
        sibling = path.with_name(path.name.replace(".json", "-server.json"))
    if across is None and not edits and "demo" not in index["file"] and sibling.exists():
        there = json.loads(sibling.read_text())
        if not there["source"]["edits"] and {there["vantage"], index["vantage"]} == {"client", "server"}:
            across = sibling.parent / there["file"]
    other = Capture(across) if across else None

    def check(document: Index) -> list[str]:
        checker = Checker(document, capture)
        if other:
            checker.across(other)
        return checker.run()

    faults += check(index)
    if self_test:
        for name, document in spoiled(index).items():
            found = check(document)
            print(f"{'found out' if found else 'NOT FOUND OUT'}: {name}: {found[0] if found else ''}")
            if not found:
                faults.append(f"not found out: {name}")
    for fault in faults[:40]:
        print(f"{path.name}: {fault}")
    flows, frames, labels = len(capture.flows), len(capture.frames), len(index["flows"])
    print(f"{file.name}: {labels} labels, {flows} flows, {frames} frames, {len(faults)} faults")
    return len(faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent
    parser.add_argument("index", type=Path, nargs="*", default=[here.parent / "demo.json"])
    parser.add_argument("--across", type=Path, help="the capture of the other end")
    parser.add_argument("--self-test", action="store_true", help="show that the check can fail")
    options = parser.parse_args()
    faults = [examine(path, options.across, options.self_test) for path in indexes(options.index)]
    return 1 if any(faults) else 0


if __name__ == "__main__":
    sys.exit(main())
