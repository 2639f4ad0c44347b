"""Forged resets from every vantage, their look-alikes, and what only many flows show: small tables, and recordings."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest

from corpus import PCAPS
from reference import core, scan
from reference.tables import BODY, CLIENT, SERVER, flow, opened, tables
from tamperscope import weigh
from tamperscope.fingerprinters import RstInjection

WEIGHTS = weigh.load()
MEASURED = {"server_min_rtt_ns": 79_000_000, "server_flows": 9}
END = 1001 + len(BODY)  # of the hello
STAMPS = bytes.fromhex("0101080a0000000100000001")


def judged(columns: Any) -> list[dict[str, Any]]:
    judgement = weigh.judge(RstInjection(), columns, WEIGHTS)
    found = [judgement.finding(int(i)) for i in judgement.reported]
    return [{**f, "ids": {fact.id for fact in f["evidence"] + f["against"]}} for f in found]


def facts(columns: Any) -> dict[str, int]:
    """Ids of all observations, with the number of flows."""
    return {o.id: len(o.rows) for o in weigh.judge(RstInjection(), columns, WEIGHTS).observations}


def accused(columns: Any) -> list[dict[str, Any]]:
    return [f for f in judged(columns) if f["verdict"] != "insufficient"]


def at_server(*more: Any) -> list[Any]:
    """As the server's side sees it: its SYN+ACK goes out at once, and so does its answer to the hello."""
    shaken = [CLIENT("S", ms=0, ttl=50), SERVER("SA", ms=0.05, ttl=64), CLIENT("A", ms=80, ttl=50, ip_id=6)]
    return [*shaken, CLIENT("PA", data=BODY, ip_id=7, ttl=50), SERVER("PA", ms=0.5, data=b"x" * 90, ttl=64), *more]


def of_client(flags: str = "RA", **fields: Any) -> Any:
    """A forged reset in the client's name, 2 ms after its hello."""
    return CLIENT(flags, **{"ms": 2, "seq": END, "ttl": 200, "ip_id": 999, **fields})


OWN = CLIENT("R", ms=75, seq=END, ack=0, window=0, ttl=50)  # the client's kernel, to the server's late data
DOWN = [SERVER("SA", ms=0), SERVER("RA", ms=25, ttl=200, ip_id=999)]  # only the server's direction was captured

FORGED: dict[str, tuple[list[Any], set[str], list[int]]] = {
    "one direction: the server acknowledges more and sends after its reset": (
        [*DOWN, SERVER("A", ms=70, ack=END), SERVER("PA", ms=1, ack=END, data=b"x" * 90)],
        {"data_after_reset"},
        [2],
    ),
    "a SYN refused in the server's name, and accepted from another distance": (
        [CLIENT("S", ms=0), SERVER("RA", ms=9, seq=0, ack=1001, ttl=99, ip_flags=0), SERVER("SA", ms=70)],
        {"open_after_refusal", "synack_after_reset"},
        [2],
    ),
    "a forged FIN before the resets, in whose place data comes": (
        opened(
            SERVER("FA", ms=3, ttl=200),
            *(SERVER("RA", ms=0.1, seq=5001, ttl=200, ip_id=77) for _ in range(3)),
            SERVER("A", ms=76, seq=5001),
            SERVER("PA", ms=1, seq=5001, data=b"x" * 90),
        ),
        {"data_after_reset"},
        [5, 6, 7, 8],
    ),
    "in the client's name, before the resets of the client's own kernel": (
        at_server(of_client(ip_flags=0), OWN),
        {"resets_of_two_kinds", "reset_ttl"},
        [6],
    ),
    "to the server with the IP ID of the hello, from the client's distance": (
        at_server(of_client("R", ack=0, window=0, ttl=50, ip_id=7, ip_flags=0), OWN),
        {"own_ip_id_again", "resets_of_two_kinds", "reset_df"},
        [6],
    ),
    "windows that step with the TTL, and nothing after them": (
        opened(*(SERVER("RA", ms=85 * (not n), window=1980 + n, ttl=85 + n, ip_id=0) for n in range(3))),
        {"window_follows_ttl"},
        [5, 6, 7],
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_resets_are_found_and_named(case: str) -> None:
    """From the client, the server and one direction, each with its frames."""
    packets, ids, frames = FORGED[case]
    [found] = accused(tables(flow(packets, context={"server_min_rtt_ns": -1})))
    assert ids <= found["ids"] and found["injected_frames"] == frames


def test_the_servers_own_reset_among_forged_ones_is_not_named() -> None:
    """It has the server's TTL, and the late ACK that proves the forgery changed places with it."""
    forged, own = SERVER("R", ms=3, seq=5001, window=0, ttl=200), SERVER("R", ms=80, seq=5001, window=0)
    [found] = accused(tables(flow(opened(forged, own, SERVER("A", ms=30)), context=MEASURED)))
    assert found["injected_frames"] == [5]


def test_nothing_is_asked_of_a_trace_that_lost_its_beginning() -> None:
    """A flow that went well at first: what its own fields say of trigger and answer holds."""
    columns = tables(flow(at_server(of_client(ip_flags=0), OWN)))
    columns.flow["trigger_frame"], columns.flow["answer_ns"] = 1, 0
    columns.trace["what"][:5] |= 256
    columns._ready()
    assert RstInjection().stage(columns).tolist() == [4]


LOW = {"ttl": 6, "ip_id": 7}
INNOCENT: dict[str, tuple[list[Any], dict[str, int]]] = {
    "an evading client's own reset that dies on the way, before its hello": (
        [CLIENT("S", ms=0), SERVER("SA", ms=80), CLIENT("A"), CLIENT("RA", seq=1001, **LOW), CLIENT("PA", data=BODY)],
        {},
    ),
    "a client that aborts, and a NAT that answers what comes after": (
        at_server(of_client(ttl=50, ip_id=8), *(of_client(ms=20, ttl=240, ip_id=n) for n in (100, 105))),
        {},
    ),
    "both sides of a router in one capture": (
        at_server(of_client("R", ttl=51, ip_id=8, ack=0, window=0), OWN),
        {},
    ),
    "two hosts with one address, one of them with the port closed": (
        [CLIENT("S", ms=0), SERVER("RA", ms=80, seq=0, ack=1001, window=0), SERVER("SA", ms=0.1)],
        {},
    ),
    "a SYN sent again, refused first and then accepted": (
        [
            CLIENT("S", ms=0), SERVER("RA", ms=80, seq=0, ack=1001, window=0, ttl=99), CLIENT("S", ms=900, seq=1000),
            SERVER("SA", ms=80),
        ],
        {},
    ),
    "one direction: an answer to what the client had to send again": (
        [SERVER("SA", ms=0), SERVER("R", ms=80, window=0, ttl=200), SERVER("PA", ms=900, ack=END, data=b"x")],
        {},
    ),
    "bytes that were sent before a FIN and came after it": (
        opened(
            SERVER("FA", ms=80, seq=5091, ip_id=3), SERVER("PA", ms=1, seq=5001, data=b"x" * 90, ip_id=2),
            CLIENT("PA", ms=1, data=b"late"), SERVER("R", ms=80, seq=5092, window=0),
        ),
        {},
    ),
    "a segment of many packets (receive offload) that a closed socket answers one by one": (
        opened(CLIENT("PA", data=b"y", extra=5840), *(SERVER("R", ms=80 * (not n), window=0) for n in range(4))),
        MEASURED,
    ),
    "windows under 256 that happen to step with the TTL of parallel paths": (
        opened(*(SERVER("RA", ms=85 * (not n), window=63 + n, ttl=53 + n) for n in range(3))),
        MEASURED,
    ),
    "a SYN proxy whose resets have the TTL of its SYN+ACK, and the data another": (
        [
            CLIENT("S", ms=0), SERVER("SA", ms=80, ttl=120), CLIENT("A"), CLIENT("PA", data=BODY),
            SERVER("PA", ms=80, data=b"x" * 90), CLIENT("PA", data=b"more"), SERVER("RA", ms=80, ttl=120, window=0),
        ],
        MEASURED,
    ),
    "a firewall's idle time-out, told to both ends": (
        opened(
            SERVER("PA", ms=80, data=b"x"), CLIENT("A"), SERVER("RA", ms=300_000, ttl=250),
            CLIENT("RA", ms=0.1, ttl=250),
        ),
        MEASURED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INNOCENT)
def test_what_looks_like_it_accuses_nobody(case: str) -> None:
    packets, context = INNOCENT[case]
    columns = tables(flow(packets, marks=("RST_UNLIKE", "SENDS_AFTER_RST"), context={**MEASURED, **context}))
    assert accused(columns) == []


NO_FACT: dict[str, tuple[str, str]] = {
    "both sides of a router in one capture": ("resets_of_two_kinds", "reset_ttl"),
    "bytes that were sent before a FIN and came after it": ("fin_contradicted", "reset_ttl"),
    "a segment of many packets (receive offload) that a closed socket answers one by one": (
        "resets_exceed_causes", "resets_stepped",
    ),
    "a firewall's idle time-out, told to both ends": ("reset_ttl", "resets_of_two_kinds"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_FACT)
def test_what_looks_like_it_is_no_fact_at_all(case: str) -> None:
    packets, context = INNOCENT[case]
    seen = facts(tables(flow(packets, marks=("RST_UNLIKE", "SENDS_AFTER_RST"), context={**MEASURED, **context})))
    assert not seen.keys() & set(NO_FACT[case])


# ---------------------------------------------------------------- over many flows

# Of one name eight flows, all reset; of other names of that server twenty, none.  The core leaves the flow itself out.
BY_NAME = {
    "near_name_reset": 7, "near_name_disturbed": 7, "near_server_reset": 7, "near_server_disturbed": 7,
    "near_server_reached": 20, **MEASURED,
}  # fmt: skip
# The same resets, fallen on one in four flows of every name.
BY_CHANCE = {**BY_NAME, "near_name_reset": 2, "near_name_disturbed": 2, "near_name_reached": 6}


def group(*packets: Any, context: dict[str, int], stamped: bool = True, n: int = 8) -> Any:
    """Flows of two clients with one name, all alike."""
    packets = tuple({**p, "options": STAMPS if stamped and p["options"] == b"" else p["options"]} for p in packets)
    specs = [flow(list(packets), name="name.example", context=context) for _ in range(n)]
    columns = tables(*specs)
    columns.flow["client"][::2, 15] += 7
    return columns


def unstamped(**fields: Any) -> Any:
    return SERVER("RA", **{"ms": 81, "options": b"\0", "window": 64, **fields})


def test_a_copy_of_the_server_in_everything_is_found_by_its_choice_of_names() -> None:
    """At most likely, by correlation, and the counts are said."""
    columns = group(*opened(unstamped()), context=BY_NAME)
    columns.trace["options_length"][columns.is_reset] = 0
    found = judged(columns)
    assert [f["verdict"] for f in found] == ["likely"] * 8 and {f["proof"] for f in found} == {"correlation"}
    said = " ".join(fact.text for fact in found[0]["evidence"])
    assert "8 of 8" in said and "0 of 20" in said
    assert all(len(f["injected_frames"]) == 1 for f in found)


def test_one_client_is_no_group() -> None:
    """What is wrong with one client's connections may be wrong at its end."""
    columns = group(*opened(unstamped()), context=BY_NAME)
    columns.trace["options_length"][columns.is_reset] = 0
    columns.flow["client"][:, 15] = 1
    assert accused(columns) == []


def test_without_a_choice_of_names_there_is_no_finding() -> None:
    columns = group(*opened(unstamped()), context=BY_CHANCE)
    columns.trace["options_length"][columns.is_reset] = 0
    assert judged(columns) == []


def test_a_servers_own_rule_for_a_name_accuses_nobody() -> None:
    """Its resets carry on its stream: the next number, its TTL, its timestamps."""
    columns = group(*opened(SERVER("RA", ms=81)), context=BY_NAME)
    assert judged(columns) == [] and facts(columns)["reset_in_stream"] == 8


def test_a_servers_own_rule_without_timestamps_is_known_by_its_counter() -> None:
    packets = opened(SERVER("A", ms=80, ip_id=400), SERVER("RA", ms=1, ip_id=401))
    columns = group(*packets, context=BY_NAME, stamped=False)
    assert judged(columns) == [] and facts(columns)["reset_in_stream"] == 8


def test_a_front_end_that_refuses_a_name_accuses_nobody() -> None:
    """From its own plane of the site (another initial TTL, no options), after a full round trip."""
    columns = group(*opened(unstamped(ttl=241)), context=BY_NAME)  # 14 hops away, as the server's 50 is
    columns.trace["options_length"][columns.is_reset] = 0
    assert accused(columns) == [] and "reset_by_name" not in facts(columns)


def rejected(**fields: Any) -> Any:
    """A kernel's rule on the way: bare, early, from nearer than the server, and nothing after it."""
    return SERVER("R", **{"ms": 30, "seq": 5001, "window": 0, "ttl": 59, **fields})


def test_resets_as_of_no_connection_are_found_by_names_and_place() -> None:
    found = accused(group(*opened(rejected()), context=BY_NAME))
    assert len(found) == 8 and {"reset_by_name", "reset_ttl", "reset_before_rtt"} <= found[0]["ids"]
    assert accused(group(*opened(rejected()), context=BY_CHANCE)) == []


def test_a_server_that_resets_everybody_is_no_choice_of_names() -> None:
    everybody = {**BY_NAME, "near_server_reached": 0, "near_server_reset": 27, "near_server_disturbed": 27}
    assert accused(group(*opened(rejected()), context=everybody)) == []


def test_one_flow_that_was_spared_is_no_control() -> None:
    most = dict.fromkeys(("near_name_reset", "near_name_disturbed", "near_server_reset", "near_server_disturbed"), 199)
    columns = group(*opened(rejected()), context={**BY_NAME, **most, "near_server_reached": 1}, n=200)
    assert accused(columns) == []


def test_the_servers_own_reset_is_not_drawn_into_a_name_that_is_forged_elsewhere() -> None:
    proved = flow(opened(SERVER("RA", ms=3, window=99), SERVER("A", ms=77)), name="a.example")
    own = flow(opened(SERVER("A", ms=80, ip_id=400), SERVER("RA", ms=1, ip_id=401)), name="a.example")
    assert "name_proved_elsewhere" not in facts(tables(own, proved, proved))


def test_proofs_in_other_flows_with_the_name_count() -> None:
    """A flow with little to show, beside two in which the server contradicts the same resets."""
    little = flow(opened(SERVER("R", ms=85, seq=5001, window=0, ttl=99, ip_flags=0)), name="a.example")
    proved = flow(opened(SERVER("RA", ms=3, window=99), SERVER("A", ms=77)), name="a.example")
    alone, together = tables(little), tables(little, proved, proved)
    assert accused(alone) == []
    assert [f["verdict"] for f in judged(together)].count("likely") >= 1
    assert "name_proved_elsewhere" in judged(together)[0]["ids"]


def test_one_ip_id_in_the_name_of_many_supports() -> None:
    packets = opened(SERVER("RA", ms=85, ttl=99, ip_id=13330))
    columns = tables(*(flow(packets) for _ in range(4)))
    columns.flow["server"][::2, 15] += 9
    assert facts(columns)["one_ip_id_for_many"] == 4
    assert "one_ip_id_for_many" not in facts(tables(*(flow(packets) for _ in range(4))))


@functools.cache
def recording(name: str) -> core.Tables:
    return core.scan(next(PCAPS.rglob(name + ".pcap*")))


def names_of(t: core.Tables) -> list[str]:
    places = zip(t.flows["name_offset"].tolist(), t.flows["name_length"].tolist(), strict=True)
    return [t.text[start : start + length].decode() for start, length in places]


def renamed(t: core.Tables, names: list[str]) -> core.Tables:
    """The same flows under these names, with what the counts around them then say."""
    rows, text = t.flows.copy(), bytearray()
    for row, name in zip(rows, names, strict=True):
        row["name_offset"], row["name_length"] = len(text), len(name)
        text += name.encode()
    return t._replace(flows=rows, text=bytes(text), flow_context=core.flow_context(rows, t.trace, names))


def accusations(t: core.Tables) -> int:
    found = [f for f in scan.findings(t) if f["mechanism"] == "rst_injection"]
    return sum(f["verdict"] != "insufficient" for f in found)


def test_findings_by_name_vanish_when_the_names_are_shuffled() -> None:
    """An injector without a trace of its own: what finds it is which names are reset, and nothing else."""
    t = recording("resets-copied")
    names = names_of(t)
    assert accusations(renamed(t, names)) == 20
    named = [i for i, name in enumerate(names) if name]
    for seed in range(5):
        shuffled, order = list(names), list(named)
        random.Random(seed).shuffle(order)
        for i, j in zip(named, order, strict=True):
            shuffled[i] = names[j]
        assert accusations(renamed(t, shuffled)) == 0


def test_shuffled_names_accuse_nobody_of_what_servers_do_themselves() -> None:
    """Nor do the names as they are."""
    t = recording("servers-that-reset")
    assert accusations(t) == 0 and accusations(renamed(t, ["one.example"] * len(t.flows))) == 0


def test_every_group_takes_no_candidates() -> None:
    nothing = tables(flow(opened())).select(np.zeros(1, np.bool_))
    assert judged(nothing) == []
