"""Questions that vanish by name, and all that looks just so: whole captures, packet by packet."""

from __future__ import annotations

import struct
from typing import Any

import pytest

import tamperscope as ts
from build import CLIENT, Frames, merged, pcap, udp
from tamperscope.model import Finding

A, AAAA, HTTPS = 1, 28, 65
QUERY, ANSWER, SERVFAIL, NXDOMAIN = 0x0100, 0x8180, 0x8182, 0x8183
HERE, THERE = "9.9.9.9", "1.1.1.1"
NAME = "www.listed.example"


def message(name: str, id: int, flags: int = QUERY, kind: int = A, records: int = 0, edns: int = 0) -> bytes:
    """A question, or an answer with that many addresses; `edns`: the size that an OPT record offers."""
    head = struct.pack(">HHHHHH", id, flags, 1, records, 0, 1 if edns else 0)
    asked = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
    data = bytes(15) + b"\x09" if kind == AAAA else b"\x5d\xb8\xd8\x22"
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 300, len(data)) + data
    option = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    return head + asked + struct.pack(">HH", kind, 1) + record * records + option


class Scene:
    """Lookups of one client: each attempt has a port and an id of its own."""

    def __init__(self) -> None:
        self.frames: Frames = []
        self.port = 40_000

    def ask(self, at: float, name: str, resolver: str = HERE, answer: int | None = ANSWER, **how: Any) -> Scene:
        """A lookup; `answer`: flags of the answer 20 ms later; `repeats`: times, each 2 s after the one before."""
        self.port += 1
        repeats, after = how.pop("repeats", 1), how.pop("after", 0.02)
        query = message(name, self.port, how.pop("flags", QUERY), **how)
        for i in range(repeats):
            self.frames.append((at + 2 * i, udp(CLIENT, self.port, resolver, 53, query)))
        if answer is not None:
            records = int(answer & 15 == 0)
            reply = message(name, self.port, answer, how.get("kind", A), records, how.get("edns", 0))
            self.frames.append((at + 2 * (repeats - 1) + after, udp(resolver, 53, CLIENT, self.port, reply, 55)))
        return self

    def others(self, resolver: str = HERE, count: int = 24, **how: Any) -> Scene:
        """Lookups of other names, all answered."""
        for i in range(count):
            self.ask(1 + i, f"www.other{i}.example", resolver, **how)
        return self

    def vanish(self, **how: Any) -> Scene:
        """The listed name, in two attempts of three questions, never answered here."""
        for at in (5, 15):
            self.ask(at + 0.5, NAME, answer=None, **{"repeats": 3, **how})
        return self

    def end(self, at: float = 90) -> list[Finding]:
        """Findings of dns_drop; a packet of another kind ends the capture."""
        last = [(at, udp(CLIENT, 5000, "192.0.2.77", 5000, b"x"))]
        found = list(ts.scan(pcap(merged(self.frames, last))))
        assert all(isinstance(one, Finding) for one in found)
        return [one for one in found if isinstance(one, Finding) and one.mechanism == "dns_drop"]


def verdicts(found: list[Finding]) -> list[str]:
    return [one.verdict for one in found]


def test_a_name_that_vanishes_is_found() -> None:
    """Others are answered meanwhile, and another resolver answers the name."""
    found = Scene().others().vanish().ask(7, NAME, THERE).end()
    assert verdicts(found) == ["likely", "likely"]
    assert found[0].name == NAME.encode() and found[0].proof == "absence"
    assert {one.id for one in found[0].evidence} == {
        "ignored_beyond_loss", "others_answered", "name_answered_elsewhere"
    }  # fmt: skip


def test_a_name_that_vanishes_before_the_capture_ends_is_found() -> None:
    """What counts is how long the last question waited, not that the transaction was settled."""
    assert verdicts(Scene().others().vanish().ask(7, NAME, THERE).end(at=25)) == ["likely", "likely"]


def test_without_another_resolver_it_cannot_be_decided() -> None:
    """A zone whose servers are dead looks just alike."""
    found = Scene().others().vanish().end()
    assert verdicts(found) == ["insufficient", "insufficient"] and found[0].missing == ["other_resolver"]


def test_large_answers_cannot_be_decided() -> None:
    """Fragments are lost on many paths: some question must allow a small answer only."""
    found = Scene().others().vanish(edns=4096).ask(7, NAME, THERE).end()
    assert verdicts(found) == ["insufficient", "insufficient"] and found[0].missing == ["small_answer"]
    assert verdicts(Scene().others().vanish(edns=1232).ask(7, NAME, THERE).end()) == ["likely", "likely"]


def lossy() -> Scene:
    scene = Scene()
    for i in range(24):
        scene.ask(1 + i, f"www.other{i}.example", answer=ANSWER, repeats=1 + i % 2)
    return scene


def lossy_with_new_ports() -> Scene:
    scene = Scene().others()
    for i in range(0, 24, 2):
        scene.ask(0.5 + i, f"www.other{i}.example", answer=None)
    return scene


def hung(at: float) -> Scene:
    scene = Scene()
    for i in range(30):
        scene.ask(1 + i, f"www.other{i}.example", answer=ANSWER if i < at else None, repeats=1 if i < at else 3)
    return scene


INNOCENT = {
    "a path that loses every second question": lambda: lossy().vanish(),
    "the same, repeated from other ports": lambda: lossy_with_new_ports().vanish(),
    "a resolver that fails": lambda: hung(4).vanish(),
    "a resolver that answers nothing": lambda: Scene().others(answer=None).vanish(),
    "a resolver slow with one zone": lambda: Scene().others().vanish().ask(8, NAME).ask(18, NAME).ask(30, NAME)
    .ask(31, NAME).ask(32, NAME).ask(33, NAME).ask(34, NAME).ask(35, NAME).ask(36, NAME),
    "a resolver that ignores a type": lambda: Scene().others().others(kind=AAAA, answer=None, repeats=2)
    .vanish(kind=AAAA).ask(6, NAME).ask(7, NAME, THERE, kind=AAAA),
    "a type that nobody else asked for": lambda: Scene().others().vanish(kind=HTTPS).ask(7, NAME, THERE, kind=HTTPS),
    "a server that is no resolver": lambda: Scene().others(answer=0x8400).vanish(flags=0x0000),
    "a SERVFAIL in the end": lambda: Scene().others().ask(5, NAME, answer=SERVFAIL, repeats=3, after=9),
    "one lost question, asked once": lambda: Scene().others().ask(5, NAME, answer=None),
    "another client's control": lambda: Scene().vanish(),
}  # fmt: skip


@pytest.mark.parametrize("case", INNOCENT)
def test_innocent_silence_accuses_nobody(case: str) -> None:
    """Loss, dead resolvers, slow zones, types and servers that are not answered for any name."""
    scene = INNOCENT[case]().ask(7, NAME, THERE)
    assert not [one for one in scene.end() if one.verdict != "insufficient"]


@pytest.mark.parametrize("name", ["printer", "nas.local", "gw.lan", "4.3.2.1.in-addr.arpa", "wpad.corp"])
def test_names_of_local_use_are_no_candidates(name: str) -> None:
    """No resolver need know them."""
    scene = Scene().others().ask(7, name, THERE)
    for at in (5, 15):
        scene.ask(at, name, answer=None, repeats=3)
    assert scene.end() == []


def test_a_dead_zone_cannot_be_decided() -> None:
    """Another resolver fails at it, too, and says so."""
    found = Scene().others().vanish().ask(7, NAME, THERE, answer=SERVFAIL).end()
    assert verdicts(found) == ["insufficient", "insufficient"]


def test_the_end_of_the_capture_is_no_silence() -> None:
    """Questions that had no time to be answered do not count."""
    scene = Scene().others().ask(7, NAME, THERE).ask(23, NAME, answer=None)
    assert scene.end(at=24.5) == []


def test_multicast_lookups_are_none() -> None:
    """mDNS and LLMNR ask whoever is there; silence is the rule."""
    scene = Scene().others().ask(7, NAME, THERE)
    for at in (5.0, 7.0, 9.0, 15.0, 17.0):
        for group, port in (("224.0.0.251", 5353), ("224.0.0.252", 5355), ("192.168.1.255", 137)):
            scene.frames.append((at, udp(CLIENT, port, group, port, message(NAME, 1))))
    assert scene.end() == []
