"""Each rule and each look-alike on small tables; on the labelled captures, what remains when a leg is taken away."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reference import core, scan
from reference.tables import ANSWER, BODY, CLIENT, QUERY, SERVER, flow, opened, questions, tables, transaction
from tamperscope import weigh
from tamperscope.fingerprinters import ALL, DnsForgery, RstInjection, SniDrop

WEIGHTS = weigh.load()
CASES = pathlib.Path(os.environ.get("TAMPERSCOPE_CORPUS", "../shared")) / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="no labelled captures (TAMPERSCOPE_CORPUS)")


def judged(fingerprinter: Any, columns: Any) -> list[dict[str, Any]]:
    """Findings, with the ids of their evidence under `ids`."""
    judgement = weigh.judge(fingerprinter(), columns, WEIGHTS)
    found = [judgement.finding(int(i)) for i in judgement.reported]
    return [{**f, "ids": {fact.id for fact in f["evidence"] + f["against"]}} for f in found]


def accused(fingerprinter: Any, columns: Any) -> list[dict[str, Any]]:
    """Findings that accuse."""
    return [f for f in judged(fingerprinter, columns) if f["verdict"] != "insufficient"]


def forged(**fields: Any) -> Any:
    """A reset in the server's name that acknowledges the hello after 3 ms, where the server is 80 ms away."""
    return SERVER("RA", **{"ms": 3, "window": 99, **fields})


LATE = SERVER("A", ms=77)
ALONE = {"server_min_rtt_ns": -1}
MEASURED = {"server_min_rtt_ns": 79_000_000, "server_flows": 3}

RESETS: dict[str, tuple[list[Any], dict[str, int], set[str]]] = {
    "the server acknowledges the hello after its reset": (opened(forged(), LATE), ALONE, {"data_after_reset"}),
    "the server sends data after its reset": (
        opened(forged(), SERVER("PA", ms=77, data=b"x" * 99)),
        ALONE,
        {"data_after_reset"},
    ),
    "an answer sooner than the path": (opened(forged(ttl=57)), MEASURED, {"reset_before_path"}),
    "the hello's IP ID from another distance": (
        opened(forged(ms=85, ip_id=7, ttl=200, ip_flags=0)),
        ALONE,
        {"echo_ip_id", "reset_ttl", "reset_df"},
    ),
    "three of one kind, far too soon": (
        opened(*(forged(ms=n, ip_id=77) for n in (5, 0.1, 0.1))),
        ALONE,
        {"resets_alike", "reset_before_rtt"},
    ),
    "numbers that climb": (
        opened(forged(ms=85), forged(ms=0.1, seq=6461), forged(ms=0.1, seq=9381)),
        ALONE,
        {"resets_stepped"},
    ),
}


@pytest.mark.parametrize("case", RESETS)
def test_forged_resets_are_found_by(case: str) -> None:
    """Each leg stands by itself, with the frames of the resets and of nothing else."""
    packets, context, ids = RESETS[case]
    [found] = accused(RstInjection, tables(flow(packets, context=context)))
    assert ids <= found["ids"]
    frames = [n for n, p in enumerate(packets, 1) if p["flags"] & 4]
    assert set(found["injected_frames"]) <= set(frames) and found["injected_frames"]


FIN_FIRST = [SERVER("PA", data=b"x" * 9), CLIENT("FA"), SERVER("FA"), CLIENT("A")]
INNOCENT: dict[str, list[Any]] = {
    "the server's own reset after a round trip": opened(SERVER("RA", ms=81, window=500)),
    "a balancer's reset of another distance": opened(SERVER("RA", ms=81, ttl=231, ip_flags=0, window=0)),
    "a balancer's idle reset": opened(SERVER("PA", data=b"x"), CLIENT("A"), SERVER("RA", ms=60_000, ttl=231)),
    "resets of another distance after FIN": opened(*FIN_FIRST, SERVER("R", ms=1, ttl=59), SERVER("R", ms=0, ttl=59)),
    "a late reset by a NAT": opened(SERVER("PA", data=b"x"), CLIENT("RA"), SERVER("RA", ms=18_000, ttl=255)),
    "a reset and an acknowledgement that changed places": opened(SERVER("RA", ms=81, window=500), SERVER("A", ms=0.2)),
    "one reset for each late packet of a client": opened(
        SERVER("PA", data=b"x" * 900),
        CLIENT("RA"),
        SERVER("PA", ms=1, data=b"x" * 900),
        CLIENT("R", ack=0),
        CLIENT("R", ack=0),
    ),
    "a kernel below a program with a TCP of its own": [
        CLIENT("S", ms=0),
        SERVER("SA", ms=80),
        CLIENT("R", seq=1001, window=0, ip_flags=2),
        CLIENT("A", ms=30, ip_flags=0),
        CLIENT("PA", ms=30, data=BODY, ip_flags=0),
        SERVER("A", ms=80),
    ],
    "another server of an anycast address": opened(
        SERVER("PA", data=b"x" * 9),
        CLIENT("PA", data=b"y" * 9),
        SERVER("R", ms=70, seq=5010, window=0, ttl=40),
        CLIENT("PA", ms=200, data=b"y" * 9, seq=1001 + len(BODY)),
        SERVER("PA", ms=80, data=b"z" * 9),
    ),
    "a closed port": [CLIENT("S", ms=0), SERVER("RA", seq=0, window=0)],
    "a hello that was sent twice, and the answer to the first": opened(
        CLIENT("PA", ms=85, data=BODY, seq=1001, ip_id=8), SERVER("RA", ms=2, window=500)
    ),
    "a mirror port's copies": opened(
        *(SERVER("RA", ms=81 - 80.9 * (n > 0), ip_id=9, window=500, copy=n > 0) for n in range(4))
    ),
}


@pytest.mark.parametrize("case", INNOCENT)
def test_innocent_resets_accuse_nobody(case: str) -> None:
    """What looks just like it, and must not be taken for it."""
    columns = tables(flow(INNOCENT[case], marks=("RST_UNLIKE", "SENDS_AFTER_RST"), context=MEASURED))
    assert accused(RstInjection, columns) == []


def test_the_servers_own_resets_are_not_named_among_the_forged() -> None:
    """A reset of the server's distance, to the client's FIN, after three that are not."""
    resets = [forged(ttl=128, ip_id=5, ms=n) for n in (3, 0.1, 0.1)]
    packets = opened(*resets, CLIENT("FA", ms=3000, seq=1001), SERVER("R", ms=80, seq=5001, window=0))
    [found] = accused(RstInjection, tables(flow(packets, context=MEASURED)))
    assert found["injected_frames"] == [5, 6, 7]


def repeated(times: int, data: bytes = BODY, seq: int = 1001) -> list[Any]:
    return [CLIENT("PA", ms=300 * 2**n, data=data, seq=seq, ip_id=20 + n) for n in range(times)]


LATER = {"near_pair_last_ns": 10**18, "near_server_last_ns": 10**18, "near_client_last_ns": 10**18}
CONTROL = {"near_pair_reached": 4, "near_client_reached": 4, "near_server_reached": 4, **LATER}


def test_a_server_that_never_got_the_hello_shows_it() -> None:
    """Its FIN acknowledges nothing of the hello that was sent five times."""
    [found] = accused(SniDrop, tables(flow(opened(*repeated(4), SERVER("FA", ms=9000, ack=1001)))))
    assert (
        "hello_never_arrived" in found["ids"] and found["genuine_frames"] == [9] and found["proof"] == "contradiction"
    )


def test_a_hello_cut_after_its_first_part() -> None:
    """The server acknowledged the first bytes, and only these, to the end."""
    part = SERVER("A", ms=80, ack=1011)
    packets = opened(part, *repeated(4, BODY[10:], 1011), SERVER("FA", ms=9000, ack=1011))
    [found] = accused(SniDrop, tables(flow(packets, context=CONTROL)))
    assert "hello_cut_short" in found["ids"] and found["verdict"] == "confirmed"


def test_silence_alone_is_likely_with_a_control_and_insufficient_without() -> None:
    """The same packets, with and without other flows of the pair."""
    silent = opened(*repeated(5))
    with_control, without = tables(flow(silent, context=CONTROL)), tables(flow(silent))
    assert [f["verdict"] for f in judged(SniDrop, with_control)] == ["likely"]
    assert [(f["verdict"], f["confidence"], f["missing"]) for f in judged(SniDrop, without)] == [
        ("insufficient", None, ["control"])
    ]


SILENT: dict[str, tuple[list[Any], dict[str, int]]] = {
    "one loss": (opened(*repeated(1), SERVER("A", ms=80), SERVER("PA", ms=1, data=b"x" * 90)), CONTROL),
    "an outage of the client": (opened(*repeated(5)), {"near_client_silent": 5}),
    "a handshake whose end was lost as well": (opened(*repeated(4), SERVER("SA", ms=9000, seq=5000, ack=1001)), {}),
    "large packets only": (
        opened(*(CLIENT("PA", ms=300 * 2**n, data=BODY, extra=1400, seq=1001) for n in range(5))),
        {},
    ),
    "an answer that the capture missed": (opened(*repeated(3), SERVER("FA", ms=80, seq=5910)), CONTROL),
}


@pytest.mark.parametrize("case", SILENT)
def test_innocent_silence_accuses_nobody(case: str) -> None:
    """Loss, outages, black holes of large packets and gaps of the capture."""
    packets, context = SILENT[case]
    assert accused(SniDrop, tables(flow(packets, context=context))) == []


HABIT = {"answered": 9, "ttl_mode": 55, "ttl_mode_count": 9, "ordinary": 9, "min_rtt_ns": 25_000_000}
DIFFER = 1 << 1 | 1 << 3 | 1 << 7


def asked(*messages: Any, context: dict[str, Any] | None = None, server: str = "9.9.9.9") -> Any:
    return questions(transaction(list(messages), HABIT | (context or {}), server, marks=DIFFER))


DNS: dict[str, tuple[Any, list[int]]] = {
    "two answers, one of another distance": (asked(QUERY(), ANSWER("1.2.3.4", ttl=90, ms=3), ANSWER("5.6.7.8")), [2]),
    "the forged one comes second": (asked(QUERY(), ANSWER("5.6.7.8"), ANSWER("10.0.0.1", ttl=90)), [3]),
    "the query's own IP ID": (asked(QUERY(ip_id=77), ANSWER("10.0.0.1", ip_id=77)), [2]),
    "two forged and a true one": (
        asked(QUERY(), ANSWER("1.2.3.4", ttl=90, ms=3), ANSWER("1.2.3.9", ttl=77, ms=0.1), ANSWER("5.6.7.8")),
        [2, 3],
    ),
}


@pytest.mark.parametrize("case", DNS)
def test_forged_answers_are_found_and_named(case: str) -> None:
    """With the forged frames, and not the resolver's own."""
    columns, frames = DNS[case]
    [found] = accused(DnsForgery, columns)
    assert found["injected_frames"] == frames


PLAIN_DNS: dict[str, Any] = {
    "a repeated query with rotated answers": asked(QUERY(), QUERY(ms=900), ANSWER("1.2.3.4"), ANSWER("5.6.7.8")),
    "the same answer twice": asked(QUERY(), ANSWER("1.2.3.4"), ANSWER("1.2.3.4", ms=0.02)),
    "a private zone on a private resolver": asked(QUERY(), ANSWER("10.0.0.1"), server="10.0.0.53"),
    "an owner's private address": asked(QUERY(), ANSWER("10.0.0.1")),
    "a resolver that answers in place": asked(
        QUERY(ip_id=77), ANSWER("1.2.3.4", ip_id=77), context={"ip_id_copied": 9}
    ),
    "a doubled query with balanced answers": asked(QUERY(), ANSWER("1.2.3.4"), ANSWER("5.6.7.8", ms=1)),
}


@pytest.mark.parametrize("case", PLAIN_DNS)
def test_innocent_answers_accuse_nobody(case: str) -> None:
    """Balancing, repeats, split horizons and odd but steady resolvers."""
    assert accused(DnsForgery, PLAIN_DNS[case]) == []


# A resolver 30 ms away that was heard often, before and after; its name has ordinary addresses otherwise.
KNOWN = {
    "answered": 20, "ttl_mode": 55, "ttl_mode_count": 20, "ttl_mode_around": 3, "near_usual": 9, "ordinary": 18,
    "timed": 20, "min_rtt_ns": 30_000_000, "name_ordinary": 4, "other_resolver_ordinary": 2,
}  # fmt: skip
SHARED = {"address_contested": 2, "address_contested_here": 1}


def lone(answer: Any, kind: int = 1, **context: int) -> Any:
    """One question with one answer."""
    return questions(transaction([QUERY(), answer], KNOWN | context, marks=1 << 9, type=kind))


REPLACED: dict[str, Any] = {
    "a private address, from elsewhere and too soon": lone(ANSWER("10.10.34.36", ttl=90, ms=9)),
    "a private address, too soon, where the name has others": lone(ANSWER("10.10.34.36", ms=9)),
    "a name denied, from elsewhere and too soon": lone(ANSWER(flags=0x8183, rcode=3, ttl=90, ms=9)),
    "no record, from elsewhere and too soon": lone(ANSWER(ttl=90, ms=9)),
    "0.0.0.0, from elsewhere and too soon": lone(ANSWER("0.0.0.0", ttl=90, ms=9)),
    "one address for several names, from elsewhere and too soon": lone(ANSWER("1.2.3.4", ttl=90, ms=9), **SHARED),
}


@pytest.mark.parametrize("case", REPLACED)
def test_replaced_answers_are_found_and_named(case: str) -> None:
    """Two respects speak: what it says, where it comes from, when it comes."""
    [found] = accused(DnsForgery, REPLACED[case])
    assert found["injected_frames"] == [2] and found["verdict"] == "likely"


LONE: dict[str, Any] = {
    "a filter chosen by the user": lone(ANSWER("0.0.0.0", ms=29)),
    "a filter's NXDOMAIN out of its cache": lone(ANSWER(flags=0x8183, rcode=3, ms=9)),
    "no such name anywhere": lone(ANSWER(flags=0x8183, rcode=3, ttl=90, ms=9), name_ordinary=0),
    "a second server, nearer, that others confirm": lone(ANSWER("1.2.3.4", ttl=90, ms=9), ttl_vouched=1, **SHARED),
    "a nearer server that gives other addresses": lone(ANSWER("1.2.3.4", ttl=90, ms=9)),
    "a route that changed for good": lone(ANSWER("1.2.3.4", ttl=90, ms=9), ttl_mode_around=1, **SHARED),
    "two servers of like share": lone(ANSWER("1.2.3.4", ttl=90, ms=9), ttl_count=9, **SHARED),
    "a captive portal, before anything else came": lone(
        ANSWER("10.0.0.1", ttl=90, ms=9), ttl_mode_around=2, near_usual=0, name_ordinary=0
    ),
    "an owner's private address out of the cache": lone(ANSWER("10.0.0.1", ms=9), name_ordinary=0),
    "a router's own name": lone(ANSWER("192.168.1.1", ttl=64, ms=1), name_ordinary=0),
    "a delivery network's nearest host, cached": lone(ANSWER("1.2.3.4", ms=9), **SHARED),
    "an answer cut by its size": lone(ANSWER(flags=0x8380, ttl=90, ms=9)),
    "a failure": lone(ANSWER(flags=0x8182, rcode=2, ttl=90, ms=9)),
    "an owner's private address everywhere": lone(
        ANSWER("10.0.0.1", ttl=90, ms=9), name_ordinary=0, other_resolver_agrees=2
    ),
}


@pytest.mark.parametrize("case", LONE)
def test_innocent_lone_answers_accuse_nobody(case: str) -> None:
    """Filters, second servers, changed routes, portals, caches and devices that answer for themselves."""
    assert accused(DnsForgery, LONE[case]) == []


def test_answers_in_one_burst_need_no_baseline() -> None:
    """The question is not in the capture: distances and a fifth of a millisecond speak."""
    rival = ANSWER("5.6.7.8", ttl=243, ms=60)
    burst = [ANSWER("1.2.3.4", ttl=91), ANSWER("1.2.3.9", ttl=154, ms=0.05), ANSWER("1.2.3.5", ttl=57, ms=0.02), rival]
    [found] = accused(DnsForgery, questions(transaction(burst, {}, marks=2)))
    assert found["injected_frames"] == [1, 2, 3]
    slow = [ANSWER("1.2.3.4", ttl=91), ANSWER("1.2.3.9", ttl=57, ms=9), rival]
    assert accused(DnsForgery, questions(transaction(slow, {}, marks=2))) == []


# ---------------------------------------------------------------- the labelled captures, with a leg taken away


@functools.cache
def capture(path: pathlib.Path) -> core.Tables:
    return core.scan(path)


def ends(finding: dict[str, Any]) -> frozenset[str]:
    return frozenset(f"{finding[e]}:{finding[e + '_port']}" for e in ("client", "server"))


def found_with(mask: Callable[[core.Tables], core.Tables], mechanism: str) -> tuple[int, int, list[str]]:
    """(labelled flows found, all of them, accusations of flows labelled `none` or `insufficient`)."""
    right, total, wrong = 0, 0, []
    for path in sorted(CASES.glob("*.json")):
        label = json.loads(path.read_text())
        findings = [
            f for f in scan.findings(mask(capture(path.with_suffix(".pcap")))) if f["verdict"] != "insufficient"
        ]
        said = {ends(f): f["mechanism"] for f in findings}
        for one in label["flows"]:
            mine = said.get(frozenset((one["client"], one["server"])))
            total += one["expected"] == mechanism
            right += one["expected"] == mechanism == mine
            if one["expected"] in ("none", "insufficient") and mine and mine not in one.get("accept", []):
                wrong.append(f"{path.stem}: {one['client']} {mine}")
    return right, total, wrong


def flat(tables_: core.Tables, fields: dict[str, tuple[str, ...]]) -> core.Tables:
    """Copies in which the fields named have one value everywhere: they can tell nothing apart."""
    out = {}
    for table, names in fields.items():
        array = getattr(tables_, table).copy()
        for name in names:
            array[name] = -1 if name.endswith("_ns") else 64
        out[table] = array
    return tables_._replace(**out)


def without_ttl(t: core.Tables) -> core.Tables:
    fields = {"trace": ("ttl",), "flows": ("ttl_min", "ttl_max", "ttl_first"), "messages": ("ttl",)}
    context = {"flow_context": ("server_ttl_min", "server_ttl_max", "server_rst_ttl")}
    return flat(t, fields | context | {"transaction_context": ("ttl_mode",)})


def without_ip_id(t: core.Tables) -> core.Tables:
    masked = flat(t, {"trace": ("ip_id",), "messages": ("ip_id",)})
    masked.trace["ip_id"], masked.messages["ip_id"] = 0, 0
    return masked


def without_timing(t: core.Tables) -> core.Tables:
    """No round trips known; the order of packets stays."""
    return flat(
        t,
        {
            "flows": ("rtt_server_ns", "rtt_client_ns"),
            "flow_context": ("server_min_rtt_ns",),
            "transaction_context": ("min_rtt_ns",),
        },
    )


def without_late_data(t: core.Tables) -> core.Tables:
    """Packets of a server after its first reset are turned into rows that no rule looks at."""
    trace = t.trace.copy()
    after = (trace["what"] & 32 != 0) & (trace["flags"] & 4 == 0)
    trace["what"][after] |= 256
    return t._replace(trace=trace)


# Of 31, 6 (two of them lie in silence without a control) and 15 labelled flows: what is left without the leg.  TTL: one
# flow whose late ACK could be reordered, DNS answers without a rival.  IP ID: resets and
# lone answers that copy the client's.  Timing: single resets with nothing after them.
# What is lost becomes `insufficient` or is not reported.
REMAIN = {
    "nothing": (lambda t: t, {"rst_injection": 31, "sni_drop": 4, "dns_forgery": 15}),
    "ttl": (without_ttl, {"rst_injection": 30, "sni_drop": 4, "dns_forgery": 13}),
    "ip_id": (without_ip_id, {"rst_injection": 25, "sni_drop": 4, "dns_forgery": 14}),
    "timing": (without_timing, {"rst_injection": 22, "sni_drop": 4, "dns_forgery": 15}),
    "late_data": (without_late_data, {"rst_injection": 31, "sni_drop": 4, "dns_forgery": 15}),
}


@needs_cases
@pytest.mark.parametrize("leg", REMAIN)
def test_what_remains_without(leg: str) -> None:
    """Proofs stand on legs of their own, and taking one away accuses nobody."""
    mask, expected = REMAIN[leg]
    for mechanism, count in expected.items():
        right, _, wrong = found_with(mask, mechanism)
        assert (mechanism, right, wrong) == (mechanism, count, [])


def test_every_fingerprinter_takes_no_candidates() -> None:
    """Empty columns give no observation and no finding."""
    flows, dns = tables(flow([CLIENT("S")])), questions(transaction([QUERY()]))
    for fingerprinter in ALL:
        columns = flows if fingerprinter.unit == "flow" else dns
        nothing = columns.select(np.zeros(len(columns), np.bool_))
        assert judged(fingerprinter, nothing) == []
