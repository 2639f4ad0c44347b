"""Joins the logs of boxes, servers and clients with two captures of the same minutes: an index for each of them.

A label is never drawn from how packets look. Interference comes from the boxes' log (packets by digest), look-alikes
from the log of whoever caused them, genuineness of a frame from its presence in the capture at its sender's end.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capture import Frame, frames
from clients import Job
from packet import ACK, RST, SYN, FlowKey, question

Event = dict[str, Any]

CONTROL_SECONDS = 60.0
HTTPS_RECORD = 65
LOSSES = ("lose", "swallow", "outage")
LATE = 1.0  # seconds after which a server that still lacks the hello has not just been a moment behind


class Broken(Exception):
    """The recording contradicts its logs and must not be shipped."""


@dataclass
class Flow:
    key: FlowKey
    frames: list[Frame] = field(default_factory=list)

    def side(self, frame: Frame) -> str:
        return "client" if frame.packet.src == self.key[1] and frame.packet.sport == self.key[2] else "server"

    def of(self, side: str) -> list[Frame]:
        return [frame for frame in self.frames if self.side(frame) == side]


def end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def before(a: int, b: int) -> bool:
    return 0 < (b - a) & 0xFFFFFFFF < 1 << 31


OTHER = {"client": "server", "server": "client"}


class Recording:
    """One capture, seen from its vantage, with the one at the other end and the boxes' log beside it."""

    def __init__(
        self,
        vantage: str,
        captures: dict[str, Path],
        clients: set[str],
        events: list[Event],
        hops: Callable[[Event], int],
    ) -> None:
        self.vantage = vantage
        self.flows: dict[FlowKey, Flow] = {}
        self.by_digest: dict[str, list[Frame]] = defaultdict(list)
        self.hops = hops
        for frame in frames(captures[vantage]):
            packet = frame.packet
            key = packet.key(packet.src in clients)
            self.flows.setdefault(key, Flow(key)).frames.append(frame)
            self.by_digest[frame.digest].append(frame)
        self.elsewhere: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames(captures[OTHER[vantage]]):
            self.elsewhere[frame.digest].append(frame)
        self.events: dict[FlowKey, list[Event]] = defaultdict(list)
        for event in events:
            if "flow" in event:
                self.events[tuple(event["flow"])].append(event)
        self.check_tuples()
        self.check_way()
        self.injected: dict[int, Event] = {}
        for event in events:
            if event["action"] == "inject" and event["toward"] == vantage:
                self.injected[self.find_injected(event).number] = event

    def check_tuples(self) -> None:
        for flow in self.flows.values():
            starts = {frame.packet.seq for frame in flow.of("client") if frame.packet.flags & SYN}
            if flow.key[0] == "tcp" and len(starts) != 1:
                raise Broken(f"{flow.key}: {len(starts)} connections on one 5-tuple")

    def check_way(self) -> None:
        """Each packet of this end arrived at the other, or a log says where it was lost."""
        lost = {event["digest"] for flow in self.events.values() for event in flow if event["action"] in LOSSES}
        sent = [frame for flow in self.flows.values() for frame in flow.of(self.vantage)]
        last = max(frame.time for frame in sent)
        for frame in sent:
            if frame.time < last - LATE and frame.digest not in lost and not self.elsewhere.get(frame.digest):
                raise Broken(f"frame {frame.number} of the {self.vantage}s' capture vanished on its way")

    def find_injected(self, event: Event) -> Frame:
        """Digest, TTL and time must fit: the client's kernel can make a reset with the same bytes."""
        ttl = event["ttl"] - self.hops(event)
        for frame in self.by_digest[event["digest"]]:
            if frame.packet.ttl == ttl and abs(frame.time - event["time"]) < 0.5 and frame.number not in self.injected:
                return frame
        raise Broken(f"injected packet not in the capture: {event}")

    def find_trigger(self, event: Event) -> Frame:
        found = [frame for frame in self.by_digest[event["digest"]] if abs(frame.time - event["time"]) < 0.5]
        if not found:
            raise Broken(f"trigger not in the capture: {event}")
        return found[0]

    def genuine(self, flow: Flow, side: str = "server") -> list[Frame]:
        """Frames from that side which that side did send."""
        mine = [frame for frame in flow.of(side) if frame.number not in self.injected]
        return mine if side == self.vantage else [frame for frame in mine if self.elsewhere.get(frame.digest)]

    def arrived(self, frame: Frame) -> bool:
        """Whether it was seen at the other end too."""
        return any(abs(there.time - frame.time) < 2.0 for there in self.elsewhere.get(frame.digest, []))

    def control(self, flow: Flow, when: float) -> Flow | None:
        """Another flow of this client to the same server port that got data back within a minute."""
        for other in self.flows.values():
            same = other.key[0] == flow.key[0] and other.key[1] == flow.key[1] and other.key[3:] == flow.key[3:]
            if not same or other is flow or any(e["action"] in ("inject", "swallow") for e in self.events[other.key]):
                continue
            if any(f.packet.payload and abs(f.time - when) < CONTROL_SECONDS for f in self.genuine(other)):
                return other
        return None


def entry(flow: Flow, name: str | None, expected: str, quality: str, trigger: Frame | None, why: str,
          injected: list[int] | None = None, genuine: list[Frame] | None = None) -> dict[str, Any]:  # fmt: skip
    proto, client, client_port, server, server_port = flow.key
    return {
        "proto": proto,
        "client": end(client, client_port),
        "server": end(server, server_port),
        "name": name,
        "expected": expected,
        "quality": quality,
        "trigger_frame": trigger.number if trigger else None,
        "injected_frames": injected or [],
        "genuine_frames_of_interest": [frame.number for frame in genuine or []][:8],
        "why": why,
    }


def reset_entry(rec: Recording, flow: Flow, events: list[Event]) -> dict[str, Any]:
    start = next(event for event in events if event["action"] == "trigger")
    trigger = rec.find_trigger(start)
    injected = sorted(n for n, event in rec.injected.items() if tuple(event["flow"]) == flow.key)
    sender = OTHER[rec.vantage]
    after = [f for f in rec.genuine(flow, sender) if f.number > injected[0] and not f.packet.flags & RST]
    control = rec.control(flow, trigger.time)
    quality = "A" if after else "B" if control else "C"
    proof = (
        f"{len(after)} genuine frames of the {sender} arrive after the first of them"
        if after
        else f"no genuine frame of the {sender} follows but resets"
    )
    why = (
        f"Box log: family '{start['family']}' fired on the hello for {start['name']}, {len(injected)} forged resets to "
        f"the {rec.vantage}. {proof}."
    )
    label = entry(flow, start["name"], "rst_injection", quality, trigger, why, injected, after)
    # Without a proof a careful reader may say that it cannot be decided.
    return label if after else label | {"accept": ["insufficient"]}


def drop_entry(rec: Recording, flow: Flow, events: list[Event]) -> dict[str, Any]:
    start = next(event for event in events if event["action"] == "trigger")
    if rec.vantage == "server":
        why = "hello_swallowed: the box dropped the hello on its way, here its absence is all there is. Box log."
        label = entry(flow, start["name"], "insufficient", "A", None, why, None, rec.genuine(flow)[-8:])
        return label | {"accept": ["sni_drop"]}
    trigger = rec.find_trigger(start)
    if rec.arrived(trigger):
        raise Broken(f"a swallowed packet was seen at the servers: {start}")
    swallowed = sum(event["action"] == "swallow" for event in events)
    lacking = [
        f for f in rec.genuine(flow)
        if f.time > trigger.time + LATE and f.packet.flags & ACK and before(f.packet.ack, start["end"])
    ]  # fmt: skip
    control = rec.control(flow, trigger.time)
    quality = "A" if lacking else "B" if control else "C"
    if lacking:
        proof = f"{len(lacking)} later frames of the server acknowledge less than the hello's end"
    elif control:
        proof = f"silence; this client's flow from port {control.key[2]} to the same server was answered meanwhile"
    else:
        proof = "silence; no flow of this client to this server within a minute was answered"
    why = (
        f"Box log: hello for {start['name']} and what followed swallowed (mode '{start['mode']}', {swallowed} packets)."
        f" {proof}."
    )
    return entry(flow, start["name"], "sni_drop", quality, trigger, why, None, lacking)


def dns_entry(rec: Recording, flow: Flow, events: list[Event]) -> dict[str, Any]:
    start = next(event for event in events if event["action"] == "trigger")
    forged = [event for event in events if event["action"] == "inject"]
    if rec.vantage == "server":
        why = "forged_elsewhere: the forged answer went to the client only. Box log."
        label = entry(flow, start["name"], "none", "A", rec.find_trigger(start), why, None, rec.genuine(flow))
        return label | {"accept": ["dns_forgery"]}
    injected = sorted(n for n, event in rec.injected.items() if tuple(event["flow"]) == flow.key)
    after = [f for f in rec.genuine(flow) if f.number > injected[0]]
    quality = "A" if after else "C"
    why = f"Box log: family '{start['family']}' answered {start['name']} with {forged[0]['address']}. " + (
        "The resolver's own answer follows." if after else "No answer of the resolver is in this file."
    )
    return entry(flow, start["name"], "dns_forgery", quality, rec.find_trigger(start), why, injected, after)


INTERFERENCE = {"reset_injector": reset_entry, "dropper": drop_entry, "dns_forger": dns_entry}


# What happened, and whose log says so.
LOOKALIKES = {
    "server_reset_after_hello": "the server closes with SO_LINGER 0 after the hello for this name; server's log",
    "server_reset_after_request": "the server closes with SO_LINGER 0 after the request; server's log",
    "closed_port": "nobody listens on this port; client's log",
    "close_with_unread_data": "the server closes with bytes of the request unread; server's log",
    "reset_after_fin": "the server sends FIN and resets 0.4 s later; server's log",
    "late_data_after_close": "the client sends more after the server's close, whose kernel resets; logs of both",
    "dead_server": "the server's kernel accepts and acknowledges, its program never reads; server's log",
    "client_abort_after_hello": "the client itself resets after its hello; client's log",
    "client_abort_in_transfer": "the client itself resets in a download; client's log",
    "resolver_answers_twice": "a queue delays the answer, the client asks again, both are answered; client's log",
    "line_outage": "the line to the server was out for all names; line's log",
    "loss_of_hello": "a line loses packets by a coin, here part of the hello; line's log",
    "loss_of_several": "a line loses packets by a coin; line's log",
}
CURL_NO_CONNECTION = 7


def first_data(flow: Flow) -> Frame | None:
    sent = flow.of("client")
    return next((frame for frame in sent if frame.packet.payload), sent[0] if sent else None)


def loss_kind(events: list[Event]) -> str | None:
    lost = [event for event in events if event["action"] == "lose"]
    if any(event["hello"] for event in lost):
        return "loss_of_hello"
    return "loss_of_several" if len(lost) >= 3 else None


def lookalike_entry(
    rec: Recording, flow: Flow, job: Job, result: Job | None, said: set[str], events: list[Event]
) -> dict[str, Any] | None:
    """A label only where the causer's own log says that it happened; a planned look-alike that did not, has none."""
    purpose = job["purpose"]
    genuine = rec.genuine(flow)
    resets = [f for f in genuine if f.packet.flags & RST]
    result = result or {}
    done = result.get("action")
    sent_twice = result.get("sent", 0) > 1 and len(genuine) > 1
    facts: dict[str, tuple[bool, list[Frame]]] = {
        "server_reset_after_hello": ("reset_after_hello" in said, resets),
        "server_reset_after_request": ("reset_after_request" in said, resets),
        "closed_port": (result.get("exit") == CURL_NO_CONNECTION, resets),
        "close_with_unread_data": ("close_with_unread_data" in said, resets),
        "reset_after_fin": ("reset_after_fin" in said, resets),
        "late_data_after_close": ("closed_before_late_data" in said and done == "late_data", resets),
        "dead_server": ("accepted_never_read" in said, genuine),
        "client_abort_after_hello": (done == "reset_after_hello", genuine),
        "client_abort_in_transfer": (done == "reset_in_transfer", genuine),
        "resolver_answers_twice": (sent_twice, genuine),
    }
    if purpose == "line_outage":
        lost = [event for event in events if event["action"] == "outage"]
        if not any(event["hello"] for event in lost):
            return None
        why = f"line_outage: {LOOKALIKES['line_outage']} ({len(lost)} packets of this flow lost)."
        return entry(flow, job["name"], "insufficient", "A", first_data(flow), why, None, genuine)
    if purpose == "lossy_line":
        kind = loss_kind(events)
        if kind is None:
            return None
        lost = sum(event["action"] == "lose" for event in events)
        why = f"{kind}: {LOOKALIKES[kind]} ({lost} packets of this flow lost)."
        data = [f for f in genuine if f.packet.payload]
        return entry(flow, job["name"], "none", "A", first_data(flow), why, None, data)
    if purpose not in facts:
        return None
    happened, telling = facts[purpose]
    if not happened:
        return None
    why = f"{purpose}: {LOOKALIKES[purpose]}."
    return entry(flow, job["name"], "none", "A", first_data(flow), why, None, telling)


def index(
    rec: Recording, jobs: list[Job], results: dict[int, Job], server_log: list[Event]
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Labels in the order of the flows' first frames, and what was counted."""
    by_flow = {}
    for job in jobs:
        proto = "udp" if job["kind"] in ("dig", "stub") else "tcp"
        by_flow[(proto, job["client"], job["source_port"], job["server"], job["port"])] = job
    said: dict[FlowKey, set[str]] = defaultdict(set)
    for line in server_log:
        if "client" in line:
            said[("tcp", *line["client"], *line["server"])].add(line["action"])
    labels: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for key, flow in rec.flows.items():
        events = rec.events[key]
        box = next((event["box"] for event in events if event["action"] == "trigger"), None)
        task = by_flow.get(key)
        if box is not None:
            label: dict[str, Any] | None = INTERFERENCE[box](rec, flow, events)
        elif task is not None:
            label = lookalike_entry(rec, flow, task, results.get(task["id"]), said[key], events)
        else:
            # Browsers ask for the HTTPS record of a name on their own, from a port that the kernel picks.
            asked = question(flow.frames[0].packet.payload) if key[0] == "udp" else None
            if asked is None or asked.kind != HTTPS_RECORD:
                raise Broken(f"a flow that no job opened: {key}")
            counts["browser's own lookup"] += 1
            continue
        if label is not None:
            labels.append(label)
            accused = label["expected"] not in ("none", "insufficient")
            counts[f"{label['expected']} {label['quality']}" if accused else label["why"].split(":")[0]] += 1
        else:
            answered = any(f.packet.payload for f in rec.genuine(flow))
            counts["ordinary" if task and task["purpose"] == "ordinary" and answered else "unlisted"] += 1
    return labels, counts
