"""Dropped requests: each form of silence, its look-alikes, and what is judged of it with and without a control."""

from __future__ import annotations

from typing import Any

import pytest

from reference.tables import BODY, CLIENT, SERVER, flow, opened, tables
from tamperscope import weigh
from tamperscope.fingerprinters import HttpDrop, SniDrop

WEIGHTS = weigh.load()
LATER = {"near_pair_last_ns": 10**18, "near_server_last_ns": 10**18, "near_client_last_ns": 10**18}
CONTROL = {"near_pair_reached": 4, "near_client_reached": 4, "near_server_reached": 4, "near_pair_large": 2, **LATER}
BEFORE = {**CONTROL, "near_pair_last_ns": 1, "near_server_last_ns": 1, "near_client_last_ns": 1}
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
DATA = b"x" * 40
PAGE = b"y" * 1000


def judged(fingerprinter: Any, packets: list[Any], context: dict[str, int]) -> list[dict[str, Any]]:
    """Findings on one flow, with the ids of their evidence under `ids`."""
    columns = tables(flow(packets, context=context))
    if packets[-1]["flags"] & 1:  # after a FIN the capture goes on
        columns.flow["final_ns"] += 60 * 10**9
    judgement = weigh.judge(fingerprinter(), columns, WEIGHTS)
    found = [judgement.finding(int(i)) for i in judgement.reported]
    return [{**f, "ids": {fact.id for fact in f["evidence"] + f["against"]}} for f in found]


def verdicts(packets: list[Any], context: dict[str, int], fingerprinter: Any = SniDrop) -> list[str]:
    return [f["verdict"] for f in judged(fingerprinter, packets, context)]


def again(times: int, data: bytes, seq: int, ms: float = 300) -> list[Any]:
    return [CLIENT("PA", ms=ms * 2**n, data=data, seq=seq, ip_id=20 + n) for n in range(times)]


def fins(times: int, ms: float) -> list[Any]:
    """A FIN after `ms`, repeated."""
    return [CLIENT("FA", ms=ms), *(CLIENT("FA", ms=300 * 2**n, seq=1001 + len(BODY)) for n in range(times))]


def answered(size: int) -> list[Any]:
    """An answer in packets of at most 1,000 bytes, each acknowledged."""
    out = [SERVER("A", ms=80)]
    for start in range(0, size, len(PAGE)):
        out += [SERVER("PA", ms=1, data=PAGE[: size - start]), CLIENT("A")]
    return out


NEXT = 1001 + len(BODY)
STALLED = opened(*answered(1500), CLIENT("PA", data=DATA), *again(5, DATA, NEXT))
CUT = opened(*answered(15_000), CLIENT("PA", data=DATA), *again(5, DATA, NEXT))
SWALLOWED = opened(SERVER("A", ms=80), CLIENT("FA", ms=6000), SERVER("A", ms=80, seq=5001 + 2000))
FORMS = {
    "stalled_early": STALLED,
    "delivery_cut": CUT,
    "answer_never_arrived": SWALLOWED,
    "hello_unanswered": opened(*again(5, BODY, 1001)),
    "hello_and_fin_unanswered": opened(CLIENT("FA", ms=3000)),
}


@pytest.mark.parametrize("id", FORMS)
def test_each_form_is_likely_with_a_control_and_insufficient_without(id: str) -> None:
    """What was answered before the silence only is no control: a server that died answered before, too."""
    [found] = judged(SniDrop, FORMS[id], CONTROL)
    assert id in found["ids"] and found["proof"] != "contradiction"
    assert found["verdict"] == "likely"
    assert verdicts(FORMS[id], BEFORE) in (["insufficient"], [])


def test_requests_are_judged_as_hellos_are() -> None:
    """The same packets with a request, by the other mechanism, and only by that."""
    handshake = [CLIENT("S", ms=0), SERVER("SA", ms=80), CLIENT("A"), CLIENT("PA", data=REQUEST)]
    silent = [*handshake, *again(5, REQUEST, 1001)]
    assert verdicts(silent, CONTROL, HttpDrop) == ["likely"] and verdicts(silent, CONTROL) == []
    [proved] = judged(HttpDrop, [*silent, SERVER("FA", ms=9000, ack=1001)], CONTROL)
    assert "request_never_arrived" in proved["ids"] and proved["verdict"] == "confirmed"
    assert verdicts(opened(*again(5, BODY, 1001)), CONTROL, HttpDrop) == []


def test_a_push_without_data_is_named() -> None:
    """It has the request's IP ID and another distance; the answer never comes."""
    push = SERVER("PA", ms=3, ttl=125, ip_id=7)
    [found] = judged(SniDrop, opened(push, *SWALLOWED[4:]), CONTROL)
    assert found["injected_frames"] == [5] and found["verdict"] == "confirmed"


def test_a_probe_that_does_not_repeat_needs_a_server_that_was_heard() -> None:
    """Acknowledged FINs of other flows, and handshakes afterwards, show that neither server nor path is down."""
    heard = {"near_pair_heard": 4, "near_pair_silent": 4, "near_pair_connected_ns": 10**18, "near_client_silent": 4}
    packets = opened(CLIENT("FA", ms=3000))
    assert verdicts(packets, heard) == ["likely"]
    assert verdicts(packets, {**heard, "near_pair_heard": 0}) in (["insufficient"], [])
    assert verdicts(packets, {**heard, "near_pair_connected_ns": -1}) in (["insufficient"], [])


def test_all_flows_of_a_name_are_a_control() -> None:
    """After a wait nobody knows when the silence began; four of four of one name do not stall by chance."""
    packets = opened(*answered(15_000), *fins(5, 20_000))
    context = {"near_name_silent": 3, "near_server_silent": 5, "near_server_reached": 13}
    assert verdicts(packets, context) == ["likely"]
    assert verdicts(packets, {**context, "near_server_silent": 12}) in (["insufficient"], [])


INNOCENT: dict[str, tuple[list[Any], dict[str, int]]] = {
    "a client that moved": (STALLED, BEFORE),
    "a box that lost its state": (STALLED, {**CONTROL, "near_client_silent": 3, "near_client_reached": 9}),
    "an idle connection that was forgotten": (
        opened(*answered(15_000), CLIENT("PA", ms=90_000, data=DATA), *again(5, DATA, NEXT)),
        CONTROL,
    ),
    "a long delivery that stalls": (
        opened(*answered(40_000), CLIENT("PA", data=DATA), *again(5, DATA, NEXT)),
        CONTROL,
    ),
    "deliveries that are cut whatever the name": (CUT, {**CONTROL, "near_pair_large": 0}),
    "a server that hangs": (opened(SERVER("A", ms=80), CLIENT("FA", ms=6000), SERVER("FA", ms=80)), CONTROL),
    "an answer that the capture missed": (
        opened(SERVER("A", ms=80), CLIENT("FA", ms=6000, ack=7001), SERVER("A", ms=80, seq=7001)),
        CONTROL,
    ),
    "an answer of one large packet": (
        opened(SERVER("A", ms=80), CLIENT("FA", ms=6000), SERVER("A", ms=80, seq=5001 + 1400)),
        CONTROL,
    ),
    "a proxy's push before the answer": (
        opened(SERVER("PA", ms=3, ttl=125), SERVER("PA", ms=80, data=PAGE), CLIENT("A")),
        CONTROL,
    ),
    "a loss that the second repeat mended": (
        opened(*answered(1500), CLIENT("PA", data=DATA), *again(2, DATA, NEXT), SERVER("A", ms=80), CLIENT("A")),
        CONTROL,
    ),
    "the end of the capture": (opened(*again(1, BODY, 1001)), CONTROL),
    "a syn proxy before a dead server": (
        opened(*again(5, BODY, 1001)),
        {"near_pair_silent": 4, "near_pair_connected_ns": 10**18, "near_client_silent": 4, "near_client_reached": 9},
    ),
}


@pytest.mark.parametrize("case", INNOCENT)
def test_look_alikes_accuse_nobody(case: str) -> None:
    """Never more than `insufficient`."""
    packets, context = INNOCENT[case]
    assert verdicts(packets, context) in (["insufficient"], [])


def test_one_direction_speaks_only_where_the_other_is_captured() -> None:
    """The client's repeats show that it got nothing; a capture of one direction shows that of every flow."""
    upward = [p for p in opened(*again(5, BODY, 1001)) if not p["side"]]
    assert verdicts(upward, CONTROL) == ["likely"]
    assert verdicts(upward, {"near_client_silent": 9}) == []


def test_a_name_that_was_not_captured_accuses_nobody() -> None:
    """The snap length left the beginning of the hello."""
    packets = opened(*again(5, BODY, 1001))
    columns = tables(flow(packets, context=CONTROL))
    columns.flow["facts"] |= 1 << 7
    judgement = weigh.judge(SniDrop(), columns, WEIGHTS)
    [found] = [judgement.finding(int(i)) for i in judgement.reported]
    assert found["verdict"] == "insufficient" and "name" in found["missing"]
