"""DNS over TCP: messages however they are cut; names that flows without one get from answers."""

from __future__ import annotations

import struct

import pytest

from build import CLIENT, SERVER, Frames, Talk, lookup, merged, pcap, question, udp, web
from hostile import drive
from tamperscope import core
from tamperscope.model import FlowRecord

RESOLVER = "9.9.9.9"
NAMES = [f"host{i}.example" for i in range(5)]
QUESTIONS = [question(name, 10 + i) for i, name in enumerate(NAMES)]
ANSWERS = [question(name, 10 + i, f"198.51.100.{i}") for i, name in enumerate(NAMES)]


def framed(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


def told(frames: Frames) -> list[tuple[int, bytes, int, bool]]:
    """(id, name, records, is an answer) of each message of the dns table."""
    one = core.Core(core.constant("DNS"))
    data = pcap(frames)
    assert one.feed(data)[1] == len(data)
    one.end()
    out = []
    while batch := one.take(core.constant("DNS")):
        for m in batch.table("dns", "tscope_dns", "n_dns"):
            name = batch.text[int(m["name_offset"]) :][: int(m["name_length"])]
            out.append((int(m["id"]), name, int(m["record_count"]), bool(m["flags"] & 0x8000)))
    return out


def talk(opened: bool = True) -> Talk:
    one = Talk(server=RESOLVER, to=53)
    return one.client("S").server("SA").client("A") if opened else one


WANTED = [(10 + i, name.encode(), 1, True) for i, name in enumerate(NAMES)]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 30, 64, 500])
def test_messages_are_told_however_they_are_cut(step: int) -> None:
    """Several in a segment, and one in many."""
    stream, one = framed(ANSWERS), talk()
    for at in range(0, len(stream), step):
        one.server("PA", stream[at : at + step])
    assert told(one.frames) == WANTED


def test_segments_out_of_order_and_twice() -> None:
    stream, one = framed(ANSWERS), talk()
    for at in range(0, len(stream), 20):
        one.server("PA", stream[at : at + 20])
    first, rest = one.frames[:3], one.frames[3:]
    turned = [(frame[0], other[1]) for frame, other in zip(rest, reversed(rest), strict=True)]
    assert told(first + turned) == WANTED
    assert told(first + [frame for frame in rest for _ in (0, 1)]) == WANTED


def test_questions_and_answers_are_one_transaction() -> None:
    """Pipelined questions, answers in another order; the flow has the first name."""
    one = talk().client("PA", framed(QUESTIONS)).server("PA", framed(ANSWERS[::-1])).client("FA").server("FA")
    assert len(told(one.frames)) == 10
    outcome = drive.scan(pcap(one.frames))
    assert outcome.summary.transactions == 5 and outcome.summary.candidates == 0
    assert [flow.name for flow in outcome.flows] == [NAMES[0].encode()]
    assert outcome.flows[0].name_from == "dns_query" and outcome.flows[0].client == CLIENT


def test_messages_longer_than_what_is_kept_are_stepped_over() -> None:
    """A zone transfer; what comes after it is told again."""
    long = ANSWERS[0] + bytes(40_000)
    stream, one = framed([ANSWERS[1], long, ANSWERS[2]]), talk()
    for at in range(0, len(stream), 1400):
        one.server("PA", stream[at : at + 1400])
    assert [row[0] for row in told(one.frames)] == [11, 12]


def test_a_stream_that_begins_in_its_middle() -> None:
    """Only what looks like a message is taken for one."""
    assert [row[0] for row in told(talk(False).server("PA", framed(ANSWERS)).frames)] == [10, 11, 12, 13, 14]
    assert told(talk(False).server("PA", framed(ANSWERS)[5:]).frames) == []
    assert told(talk().server("PA", b"\0\5" + bytes(60) + framed(ANSWERS)).frames) == []


def test_a_hole_ends_the_stream_and_nothing_else() -> None:
    stream, one = framed(ANSWERS), talk()
    for at in range(0, len(stream), 20):
        one.server("PA", stream[at : at + 20])
    assert told(one.frames[:6] + one.frames[7:]) == WANTED[:1]


def test_what_the_snap_length_cuts() -> None:
    """One message in a segment is told as far as it goes; more than one, and the stream is lost."""
    frames = talk().server("PA", framed(ANSWERS[:1])).server("PA", framed(ANSWERS[1:2])).frames
    snapped = pcap(frames, snap=54 + 2 + 12 + 19)
    one = core.Core(core.constant("DNS"))
    one.feed(snapped)
    one.end()
    batch = one.take(core.constant("DNS"))
    rows = batch.table("dns", "tscope_dns", "n_dns") if batch else []
    assert [int(row["id"]) for row in rows] == [10, 11] and all(int(row["what"]) & 2 for row in rows)


# ---------------------------------------------------------------- names from answers


def flows(*parts: Frames) -> list[FlowRecord]:
    return [flow for flow in drive.scan(pcap(merged(*parts))).flows if flow.server_port != 53]


def answered(name: str, at: float, port: int, address: str = SERVER, client: str = CLIENT) -> Frames:
    query, answer = question(name, port), question(name, port, address)
    return [
        (at, udp(client, port, RESOLVER, 53, query, ip_id=port)),
        (at + 0.02, udp(RESOLVER, 53, client, port, answer, 55, port)),
    ]


def syn(at: float, client: str = CLIENT, port: int = 40_001) -> Frames:
    return Talk(client=client, port=port, to=443, start=at).client("S").frames


def test_a_nameless_flow_gets_the_name_its_client_was_told() -> None:
    [flow] = flows(answered("listed.example", 0, 30_000), syn(1))
    assert (flow.name, flow.name_from) == (b"listed.example", "dns_answer")


def test_the_latest_name_before_the_flow_counts() -> None:
    """Of several names at one address, told to this client."""
    asked = answered("first.example", 0, 30_000), answered("second.example", 2, 30_001)
    late = answered("third.example", 5, 30_002)
    [one, two] = flows(*asked, late, syn(1), syn(4, port=40_002))
    assert (one.name, two.name) == (b"first.example", b"second.example")


def test_names_of_others_and_old_ones_do_not_count() -> None:
    """Another client's question, an answer that came later, one that is forgotten."""
    asked = answered("theirs.example", 0, 30_000, client="192.0.2.9")
    assert flows(asked, syn(1))[0].name is None
    assert flows(syn(0), answered("later.example", 1, 30_000))[0].name is None
    assert flows(answered("old.example", 0, 30_000), lookup(start=3601), syn(3700))[0].name is None


def test_a_name_of_its_own_is_kept() -> None:
    [flow] = flows(answered("cname.example", 0, 30_000), web(start=1))
    assert (flow.name, flow.name_from) == (b"plain.example", "http_host")
