"""The truth of the collection: what the captures before and behind the censor say when held against each other.

A frame that arrives at one end and was never sent at the other is forged; one that was sent, did not arrive and was
not lost by a line (the lines write down their losses) was swallowed. Packets are the same when all bytes but TTL and
header checksum are, and the TTL fits the number of routers between. The rules say which mechanism that was; where the
interferer is one of our own boxes, its log must say the same.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from boxes import Heads
from capture import HEADER, Frame, Record
from clients import Job
from packet import ACK, ICMP, ICMP6, RST, SYN, TCP, UDP, FlowKey, Packet, digest, parse, question, quoted
from scenario import Rule
from truth import Broken, Event, Flow, before, entry, first_data

SLOW = 10.0  # seconds on the way at most
LATE = 1.0
CONTROL_SECONDS = 60.0
MOVED, ALIKE = 10_000, 0.5  # bytes that a control must have carried at least, and its share of the slow flow's
CONTENT = ("dns_forgery", "blockpage", "tls_mitm")  # told by what frames say
BY_LINE = ("lose", "outage", "expire")
OTHER = {"client": "server", "server": "client"}


def frame(number: int, record: Record, link: int) -> Frame | None:
    packet = parse(record.data[HEADER[link] :])
    return None if packet is None else Frame(number, record.time_ns / 1e9, packet, digest(packet.raw))


def flow_key(packet: Packet, clients: set[str]) -> FlowKey | None:
    """The flow that a packet belongs to; an ICMP error belongs to the flow that it is about."""
    if packet.proto in (ICMP, ICMP6):
        inner = quoted(packet)
        return None if inner is None or inner.src not in clients else inner.key(True)
    if packet.src in clients:
        return packet.key(True)
    return packet.key(False) if packet.dst in clients else None


@dataclass
class Facts:
    """What was done to one flow."""

    forged: dict[str, list[Frame]] = field(default_factory=lambda: {"client": [], "server": []})  # by who got them
    swallowed: dict[str, list[Frame]] = field(default_factory=lambda: {"client": [], "server": []})  # by who sent them

    @property
    def any(self) -> bool:
        return any(self.forged.values()) or any(self.swallowed.values())


class Comparison:
    """Captures at both ends of one recording."""

    def __init__(
        self, ends: dict[str, list[Frame]], clients: set[str], hops: Callable[[str], int], events: list[Event]
    ) -> None:
        self.clients = clients
        self.facts: dict[FlowKey, Facts] = defaultdict(Facts)
        self.events: dict[FlowKey, list[Event]] = defaultdict(list)
        self.lost_by_line = Counter(
            event["digest"] for event in events if event["action"] in BY_LINE and "flow" in event
        )
        for event in events:
            if "flow" in event:
                self.events[tuple(event["flow"])].append(event)
        close = min(max(f.time for f in ends["client"]), max(f.time for f in ends["server"])) - LATE
        for sender in ("client", "server"):
            self.match(sender, ends[sender], ends[OTHER[sender]], hops, close)

    def match(
        self, sender: str, sent: list[Frame], came: list[Frame], hops: Callable[[str], int], close: float
    ) -> None:
        """Pairs what one end sent with what the other got, in the order of time."""
        here: dict[tuple[str, int], list[Frame]] = defaultdict(list)
        for frame in came:
            if (frame.packet.src in self.clients) == (sender == "client"):
                here[(frame.digest, frame.packet.ttl)].append(frame)
        for frame in sent:
            packet = frame.packet
            if (packet.src in self.clients) != (sender == "client"):
                continue
            server = packet.dst if sender == "client" else packet.src
            waiting = here.get((frame.digest, packet.ttl - hops(server)), [])
            match = next((f for f in waiting if -0.01 < f.time - frame.time < SLOW), None)
            if match is not None:
                waiting.remove(match)
                continue
            if self.lost_by_line[frame.digest]:
                self.lost_by_line[frame.digest] -= 1
                continue
            key = flow_key(packet, self.clients)
            if key is not None and frame.time < close:
                self.facts[key].swallowed[sender].append(frame)
        for left in here.values():
            for frame in left:
                key = flow_key(frame.packet, self.clients)
                if key is not None:
                    self.facts[key].forged[OTHER[sender]].append(frame)
        for facts in self.facts.values():
            facts.forged[OTHER[sender]].sort(key=lambda f: f.number)

    def agree(self) -> None:
        """Where no tool but only boxes of our own interfere: their log and the captures say the same."""
        for key, facts in self.facts.items():
            logged: dict[str, Counter[str]] = {"inject": Counter(), "swallow": Counter()}
            for event in self.events[key]:
                if event["action"] in logged:
                    logged[event["action"]][event["digest"]] += 1
            forged = Counter(f.digest for frames in facts.forged.values() for f in frames)
            if forged - logged["inject"]:
                raise Broken(f"{key}: {sum((forged - logged['inject']).values())} forged packets that no box logged")
            swallowed = Counter(f.digest for frames in facts.swallowed.values() for f in frames)
            if swallowed - logged["swallow"]:
                left = sum((swallowed - logged["swallow"]).values())
                raise Broken(f"{key}: {left} packets vanished that no box logged")
        for key, events in self.events.items():
            for event in events:
                if event["action"] != "inject":
                    continue
                side = event["toward"]
                if event["digest"] not in {f.digest for f in self.facts[key].forged[side]}:
                    lost = event.get("may_die") or self.lost_by_line[event["digest"]]
                    if not lost:
                        raise Broken(f"{key}: injected packet not in the capture: {event}")


class View:
    """One file of the collection: its frames by flow, and which of them are forged."""

    def __init__(
        self,
        vantage: str,
        frames: Iterable[Frame],
        comparison: Comparison,
        offset: Callable[[str, str], tuple[int, ...]],
    ) -> None:
        self.vantage = vantage
        self.comparison = comparison
        self.flows: dict[FlowKey, Flow] = {}
        self.errors: dict[FlowKey, list[Frame]] = defaultdict(list)
        for frame in frames:
            key = flow_key(frame.packet, comparison.clients)
            if key is None:
                continue
            if frame.packet.proto in (TCP, UDP):
                self.flows.setdefault(key, Flow(key)).frames.append(frame)
            else:
                self.errors[key].append(frame)
        self.forged: dict[FlowKey, list[Frame]] = defaultdict(list)
        self.copies: dict[FlowKey, list[Frame]] = defaultdict(list)
        for key, facts in comparison.facts.items():
            for side, forged in facts.forged.items():
                self.find(key, forged, offset(side, key[3]))

    def find(self, key: FlowKey, forged: list[Frame], offsets: tuple[int, ...]) -> None:
        """Looks forged packets up here: same bytes, fitting TTL, nearest in time."""
        here = self.flows[key].frames if key in self.flows else []
        here = [*here, *self.errors.get(key, [])]
        taken: set[int] = set()
        for original in forged:
            for position, offset in enumerate(offsets):
                same = [
                    f for f in here
                    if f.digest == original.digest and f.packet.ttl == original.packet.ttl + offset
                    and f.number not in taken and abs(f.time - original.time) < 1.0
                ]  # fmt: skip
                if not same:
                    continue
                nearest = min(same, key=lambda f: abs(f.time - original.time))
                taken.add(nearest.number)
                (self.copies if position else self.forged)[key].append(nearest)

    def genuine(self, flow: Flow, side: str) -> list[Frame]:
        strange = {f.number for f in [*self.forged[flow.key], *self.copies[flow.key]]}
        return [f for f in flow.of(side) if f.number not in strange]

    def control(self, flow: Flow, when: float, mechanism: str) -> Flow | None:
        """Another flow, untouched, that shows that client, path and server were all right."""
        proto, client, _, server, port = flow.key
        for other in self.flows.values():
            if other.key == flow.key or other.key[3] != server or self.comparison.facts[other.key].any:
                continue
            same_service = other.key[1] == client and other.key[0] == proto and other.key[4] == port
            if mechanism not in ("ip_block", "quic_drop") and not same_service:
                continue
            if mechanism == "quic_drop" and other.key[1] != client:
                continue
            got = [f for f in self.genuine(other, "server") if f.packet.payload]
            if mechanism == "throttling":
                own = sum({f.packet.seq: len(f.packet.payload) for f in flow.of("server")}.values())
                if sum(len(f.packet.payload) for f in got) >= max(MOVED, ALIKE * own) and other.key not in self.slowed:
                    return other
            elif any(abs(f.time - when) < CONTROL_SECONDS for f in got):
                return other
        return None

    slowed: frozenset[FlowKey] = frozenset()
    one_way: bool = False
    cut: int = 0  # bytes that each frame keeps in the file, where they are too few for names and answers


def trigger(flow: Flow, mechanism: str, view: View) -> Frame | None:
    """The client's frame that the interferer reacts to: as its log says, else the one that completes the name."""
    ours = flow.of("client")
    for event in view.comparison.events[flow.key]:
        if event["action"] == "trigger":
            return next((f for f in flow.frames if f.digest == event["digest"]), None)
    if mechanism == "ip_block" or not ours:
        return ours[0] if ours else None
    heads = Heads()
    for frame in ours:
        if frame.packet.proto == UDP or heads.name(flow.key, frame.packet):
            return frame
    return first_data(flow)


def claim(view: View, flow: Flow, rule: Rule, name: str | None, twin: bool) -> dict[str, Any]:
    """The label of a flow to which something was done, as far as this file can show it."""
    facts = view.comparison.facts[flow.key]
    forged = sorted(view.forged[flow.key], key=lambda f: f.number)
    start = trigger(flow, rule.mechanism, view)
    done = f"{sum(map(len, facts.forged.values()))} packets forged, {sum(map(len, facts.swallowed.values()))} swallowed"
    log = next((e for e in view.comparison.events[flow.key] if e["action"] == "trigger"), None)
    family = f" Family '{log['family']}'." if log and "family" in log else ""
    said = f"{rule.why}: {done}.{family}"
    telling = rule.by_rule_alone or rule.mechanism == "throttling" or forged
    if start and start.packet.flags & SYN:
        name = None  # nobody had said it yet
    if not telling and (view.vantage == "server" or any(facts.forged.values())):
        seen = view.genuine(flow, "server")[-8:]
        if any(facts.swallowed.values()):
            why = f"swallowed_elsewhere: {said} Here its absence is all there is."
            return entry(flow, name, "insufficient", "A", None, why, None, seen) | {"accept": [rule.mechanism]}
        why = f"forged_elsewhere: {said} Nothing of it came here."
        return entry(flow, name, "none", "A", start, why, None, seen) | {"accept": [rule.mechanism]}
    # Absence counts only in a direction that was captured.
    blind = not telling and (view.one_way or not start)
    if blind or (not flow.of("client") and not forged):
        why = f"not_in_this_file: {said} The frames that would show it are not in this file."
        return entry(flow, name, "insufficient", "A", None, why) | {"accept": [rule.mechanism, "none"]}
    when = start.time if start else flow.frames[0].time
    control = view.control(flow, when, rule.mechanism)
    proof: list[Frame] = []
    injected = forged
    also = view.copies[flow.key]
    if rule.mechanism == "tls_mitm":
        flight = [f for f in flow.of("server") if f.packet.payload]
        answer = next((f.number for f in flow.of("client") if flight and f.packet.payload
                       and f.number > flight[0].number), 1 << 60)  # fmt: skip
        injected = [f for f in flight if f.number < answer]
        also = [f for f in forged if f not in injected]
        proof_text = "the same name shows another issuer elsewhere in this file" if twin else ""
    elif rule.mechanism in ("sni_drop", "http_drop") and not forged:
        end = start.packet.end if start else 0
        proof = [
            f for f in view.genuine(flow, "server")
            if f.time > when + LATE and f.packet.flags & ACK and before(f.packet.ack, end)
        ]  # fmt: skip
        proof_text = f"{len(proof)} later frames of the server acknowledge less than the request's end" if proof else ""
    elif forged:
        sender = flow.side(forged[0])
        if forged[0].packet.proto in (ICMP, ICMP6):
            proof_text = "a router that is neither end says so"
        else:
            # Of two answers to a question either may be first.
            since = 0 if rule.mechanism == "dns_forgery" else forged[0].number
            after = [f for f in view.genuine(flow, sender) if f.number > since]
            proof = [f for f in after if not f.packet.flags & RST]
            proof_text = (
                f"{len(proof)} genuine frames of the {sender} {'are there too' if not since else 'follow'}"
                if proof
                else ""
            )
    else:
        proof_text = ""
    if proof_text:
        quality, why = "A", proof_text
    elif control:
        quality, why = "B", f"no proof in the flow; the client's flow from port {control.key[2]} shows the difference"
    else:
        quality, why = "C", "no proof in the flow and no other flow to hold it against"
    if view.cut and rule.mechanism in CONTENT:
        quality, why = "C", f"frames are cut to {view.cut} bytes, what would tell is cut off"
        rule = replace(rule, accept=(*rule.accept, "none"))
    label = entry(flow, name, rule.mechanism, quality, start, f"{said} {why}.", [f.number for f in injected], proof)
    if also:
        label["injected_also"] = sorted(f.number for f in also)
    accept = [*rule.accept, *(["insufficient"] if quality != "A" or not start else [])]
    return label | ({"accept": accept} if accept else {})


# Innocent things: what happened and whose log says so, with the catalogue's id; expected verdict.
LOOKALIKES: dict[str, tuple[str, str]] = {
    "server_reset_after_hello": ("none", "la-waf: the server closes with SO_LINGER 0 after the hello; its log"),
    "server_reset_after_request": ("none", "la-linger: the server closes with SO_LINGER 0 after the request; its log"),
    "closed_port": ("none", "la-closed: nobody listens on this port; client's log"),
    "close_with_unread_data": ("none", "la-unread: the server closes with bytes of the request unread; its log"),
    "reset_after_fin": ("none", "la-linger: the server sends FIN and resets 0.4 s later; its log"),
    "late_data_after_close": ("none", "la-stackrst: data after the server's close, whose kernel resets; both logs"),
    "dead_server": ("insufficient", "la-server: the kernel accepts and acknowledges, the program never reads; its log"),
    "client_abort_after_hello": ("none", "la-tabclose: the client itself resets after its hello; its log"),
    "client_abort_in_transfer": ("none", "la-tabclose: the client itself resets in a download; its log"),
    "resolver_answers_twice": ("none", "la-dnsretry: the answer is late, asked again, both answered; client's log"),
    "line_outage": ("insufficient", "la-outage: the line to the server was out for all names; line's log"),
    "loss": ("none", "la-loss: lines lose packets by a coin; their log"),
    "idle_reset": ("none", "la-lbrst: the server's side resets a connection that was idle too long; its log"),
    "tls_alert": ("none", "la-waf: the server refuses an unknown name with alert 112; client's log"),
    "certificate_refused": ("none", "la-certreject: the client does not trust the issuer and leaves; its log"),
    "self_signed": ("none", "la-selfsigned: the server's own certificate is self-signed; its configuration"),
    "happy_eyeballs_loser": ("none", "la-happy: the slower of two connections is given up; client's log"),
    "preconnect": ("none", "la-preconnect: a connection opened on suspicion, never used; client's log"),
    "port_scan": ("none", "la-scan: SYNs to many ports, closed or reset by the scanner; client's log"),
    "truncated_dns": ("none", "la-dnsrrl: the answer is too long for UDP and is asked for again by TCP; client's log"),
    "name_is_private": ("none", "la-dnslocal: the owner of the name publishes a private address; zone"),
    "rotating_answer": ("none", "la-cdn: the resolvers give other addresses of the same site each time; zone"),
    "absent_name": ("none", "la-dnsprivate: the name does not exist; zone"),
    "resolver_down": ("insufficient", "la-dnsdown: the resolver was unreachable for all names; line's log"),
    "insertion": ("none", "geneva: a low-TTL packet of an evasion tool dies on the way; client's log"),
    "quic_refused": ("none", "la-quicoff: the server has no QUIC and says so by ICMP; client's log"),
    "quic_silent": ("insufficient", "la-udp: UDP port 443 is closed to all names here; rules"),
    "big_packets_lost": ("insufficient", "la-pmtud: packets over 1300 bytes vanish for all names; line's log"),
    "router_says_unreachable": ("insufficient", "la-outage: a router reports that it has no route; rules"),
    "overloaded": ("none", "la-server: the server answers 503 or late, for all names; its log"),
    "syn_proxy": ("none", "la-synproxy: the site's SYN proxy answers the handshake for all names; rules"),
    "slow_for_all": ("none", "la-cong: the line is slow for all names; rules"),
    "slow_reader": ("none", "la-appltd: the client reads slowly; its log"),
    "firewall_for_all": ("insufficient", "la-fwboth: the office firewall resets a forbidden port for all; rules"),
    "portal": ("insufficient", "la-captive: every plain page redirects to the login page; rules"),
    "redirect": ("none", "la-http-redirect: the server itself redirects; its configuration"),
    "refused_by_law": ("none", "la-geo451: the server itself says 451; its configuration"),
    "other_ttl": ("none", "la-frontend, la-ttlos: the site answers handshakes and resets with other TTLs; rules"),
    "upstream_fault": ("insufficient", "la-cable: the network's upstream line fails for all names; line's log"),
    "resolver_fault": ("insufficient", "la-dnsdown: the network's resolver fails for all names; line's log"),
    "platform_fault": ("insufficient", "la-outage: the platform cannot be reached from anywhere; line's log"),
    "nat": ("none", "la-natrebind: a NAT stands before the clients; rules"),
    "retransmitted_query": ("none", "la-dnsretry: a stub repeats its query; client's log"),
}  # fmt: skip


FAULTS = ("upstream_fault", "resolver_fault", "platform_fault")
# What a reader of one file may also say without being wrong: the difference lies outside the packets.
ACCEPT = {
    "firewall_for_all": ["ip_block", "rst_injection", "none"],
    "portal": ["blockpage", "none"],
    "quic_silent": ["quic_drop", "none"],
    "router_says_unreachable": ["ip_block", "none"],
    "upstream_fault": ["none"],
    "resolver_fault": ["none"],
    "platform_fault": ["none"],
    "line_outage": ["none"],
    "resolver_down": ["none"],
    "big_packets_lost": ["none"],
    "dead_server": ["none"],
}


def innocent(view: View, flow: Flow, job: Job, result: Job, said: set[str], lost: list[Event]) -> dict[str, Any] | None:
    """A label only where the causer's own log says that it happened; a planned look-alike that did not, has none."""
    purpose = job["purpose"]
    if purpose not in LOOKALIKES:
        return None
    expected, text = LOOKALIKES[purpose]
    needs = {
        "server_reset_after_hello": "reset_after_hello" in said,
        "server_reset_after_request": "reset_after_request" in said,
        "close_with_unread_data": "close_with_unread_data" in said,
        "reset_after_fin": "reset_after_fin" in said,
        "late_data_after_close": "closed_before_late_data" in said,
        "dead_server": "accepted_never_read" in said,
        "idle_reset": "idle_reset" in said,
        "client_abort_after_hello": result.get("action") == "reset_after_hello",
        "client_abort_in_transfer": result.get("action") == "reset_in_transfer",
        "closed_port": result.get("exit") == 7,
        "resolver_answers_twice": result.get("sent", 0) > 1 and result.get("answers", 0) > 1,
        "line_outage": any(event["action"] == "outage" for event in lost),
        "resolver_down": any(event["action"] == "outage" for event in lost),
        **dict.fromkeys(FAULTS, any(event["action"] == "outage" for event in lost)),
        "big_packets_lost": any(event["action"] == "outage" for event in lost),
        "loss": len(lost) > 1,
    }
    if not needs.get(purpose, True):
        return None
    why = f"{purpose}: {text}."
    genuine = [f for f in view.genuine(flow, "server") if f.packet.proto == TCP and f.packet.flags & (RST | SYN)]
    label = entry(flow, job["name"], expected, "A", first_data(flow), why, None, genuine)
    return label | ({"accept": ACCEPT[purpose]} if purpose in ACCEPT else {})


def labels(
    view: View,
    jobs: list[Job],
    results: dict[int, Job],
    rules: list[Rule],
    said: dict[FlowKey, set[str]],
    blanket: bool = False,
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Labels in the order of the flows' first frames, and what was counted."""
    by_flow = {}
    for job in [part for whole in jobs for part in whole.get("flows", [whole])]:
        proto = "udp" if job["kind"] in ("dig", "stub", "quic") else "tcp"
        by_flow[(proto, job.get("seen_as", job["client"]), job["source_port"], job["server"], job["port"])] = job
    comparison = view.comparison
    known: dict[FlowKey, tuple[Job | None, str | None, Rule | None]] = {}
    for key, flow in view.flows.items():
        task = by_flow.get(key)
        first = flow.frames[0].packet
        asked = question(first.payload) if key[0] == "udp" and key[4] == 53 else None
        name = task["name"] if task else asked.name if asked else None
        rule = next((rule for rule in rules if rule.matches(name, key[1], key[3], key[4])), None)
        if task is None and asked is None and not (key[0] == "tcp" and key[4] == 53):
            raise Broken(f"a flow that no job opened: {key}")
        known[key] = task, name, rule
    untouched = {(name, key[4]) for key, (_, name, _) in known.items() if not comparison.facts[key].any}
    view.slowed = frozenset(key for key, (_, _, rule) in known.items() if rule and rule.mechanism == "throttling")
    found: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for key, flow in view.flows.items():
        task, name, rule = known[key]
        facts = comparison.facts[key]
        only_errors = facts.any and not any(facts.swallowed.values()) and all(
            f.packet.proto in (ICMP, ICMP6) for frames in facts.forged.values() for f in frames
        )  # fmt: skip
        label: dict[str, Any] | None = None
        if rule and (facts.any or (rule.by_rule_alone and rule_saw(flow, rule))):
            label = claim(view, flow, rule, name, (name, key[4]) in untouched)
        elif facts.any and not only_errors and not blanket:
            raise Broken(f"{key}: something was done to a flow that no rule covers ({name}): {facts}"[:600])
        elif task is not None:
            lost = [event for event in comparison.events[key] if event["action"] in BY_LINE]
            label = innocent(view, flow, task, results.get(task["id"], {}), said[key], lost)
        if label is None:
            answered = any(f.packet.payload for f in view.genuine(flow, "server"))
            counts["ordinary" if answered else "unlisted"] += 1
            continue
        found.append(label)
        accused = label["expected"] not in ("none", "insufficient")
        counts[f"{label['expected']} {label['quality']}" if accused else label["why"].split(":")[0]] += 1
    return found, counts


def rule_saw(flow: Flow, rule: Rule) -> bool:
    return any(f.packet.payload for f in flow.of("client"))
