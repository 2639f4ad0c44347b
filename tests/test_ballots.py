"""Flows and questions to attempts and ballots: what belongs together, what is counted, and that no split matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.ballots import BALLOT, INTERFERED, MEMBER, Tries, address_keys, merge, name_keys
from tamperscope.catalogue import MECHANISMS
from tamperscope.cells import cells, points, votes
from tamperscope.targets import Targets
from traffic import SECOND, START, Traffic, packed

TARGETS = Targets()
A, B = "192.0.2.1", "192.0.2.2"
WORDS = ("unknown", "ok", "degraded", "down", *MECHANISMS)


def collected(traffic: Traffic, found: list[tuple[int, int, str]] = ()) -> Any:  # type: ignore[assignment]
    tries = Tries(TARGETS)
    tries.add(0, 0, *traffic.batch())
    rows = [(0, flow, transaction, MECHANISMS.index(word), 7) for flow, transaction, word in found]
    tries.found(np.array(rows, np.uint64).reshape(-1, 5))
    return tries


def outcomes(traffic: Traffic, target: str = "x", found: list[tuple[int, int, str]] = ()) -> dict[str, list[str]]:  # type: ignore[assignment]
    """{point: what became of the attempts there} of one target."""
    ballots = collected(traffic, found).count().ballots
    number = [one.id for one in TARGETS.all].index(target)
    out: dict[str, list[str]] = {}
    for row in ballots[ballots["target"] == number]:
        point = ("dns", "connect", "name", "transfer", "attempt")[row["point"]]
        out.setdefault(point, []).extend([WORDS[row["outcome"]]] * int(row["count"]))
    return out


def test_sizes() -> None:
    """What a flow takes while it is collected, and what a ballot takes afterwards."""
    assert MEMBER.itemsize == 76 and BALLOT.itemsize == 22


# -- attempts


def test_retries_are_one_attempt() -> None:
    t = Traffic()
    for at in (0, 3, 9, 29.9):
        t.flow(at, A, "x.com", "timeout", "after_name")
    assert outcomes(t) == {"connect": ["ok"], "name": ["down"], "attempt": ["down"]}


def test_thirty_seconds_end_an_attempt() -> None:
    """Counted from its first row, so who tries all the time does not try once."""
    t = Traffic()
    for at in range(0, 120, 10):
        t.flow(at, A, "x.com", "timeout", "after_name")
    assert outcomes(t)["attempt"] == ["down"] * 4


def test_a_retry_that_works_is_degraded() -> None:
    t = Traffic()
    t.flow(0, A, "x.com", "timeout", "after_name")
    t.flow(2, A, "x.com")
    assert outcomes(t)["attempt"] == ["degraded"] and outcomes(t)["name"] == ["ok"]


def test_happy_eyeballs_are_one_attempt() -> None:
    t = Traffic()
    t.flow(0, A, "x.com", "timeout", "syn", server="2001:db8::1")
    t.flow(0.25, A, "x.com")
    assert outcomes(t)["attempt"] == ["degraded"]


def test_quic_beside_tcp_is_one_attempt() -> None:
    t = Traffic()
    t.flow(0, A, "x.com", "timeout", "after_name", protocol=17)
    t.flow(0.1, A, "x.com", "timeout", "after_name")
    assert outcomes(t) == {"connect": ["ok"], "name": ["down"], "attempt": ["down"]}


def test_lookup_and_connection_are_one_attempt() -> None:
    t = Traffic()
    t.lookup(0, A, "x.com", "198.51.100.1")
    t.flow(0.1, A, "abs.twimg.com")
    assert {point: len(states) for point, states in outcomes(t).items()} == {
        "dns": 1, "connect": 1, "name": 1, "transfer": 1, "attempt": 1,
    }  # fmt: skip


def test_clients_networks_and_targets_are_apart() -> None:
    t = Traffic()
    t.flow(0, A, "x.com")
    t.flow(1, B, "x.com")
    t.flow(2, A, "www.facebook.com")
    assert outcomes(t)["attempt"] == ["ok", "ok"] and outcomes(t, "facebook")["attempt"] == ["ok"]


def test_other_names_are_apart() -> None:
    """Two sites that are no platform are two intentions."""
    t = Traffic()
    t.flow(0, A, "one.example", "timeout", "syn")
    t.flow(1, A, "two.example")
    assert sorted(outcomes(t, "other")["attempt"]) == ["down", "ok"]


def test_attempt_belongs_to_the_minute_of_its_first_packet() -> None:
    t = Traffic()
    t.flow(50, A, "x.com", "timeout", "after_name")
    t.flow(70, A, "x.com", "timeout", "after_name")
    ballots = collected(t).count().ballots
    assert set(ballots["minute"].tolist()) == {START // (60 * SECOND)}


# -- what is counted


@pytest.mark.parametrize(
    ("flow", "state"),
    [
        ({"outcome": "ok", "stage": "transfer"}, "ok"),
        ({"outcome": "reset", "stage": "transfer"}, "ok"),  # something came before it
        ({"outcome": "reset", "stage": "after_name"}, "down"),
        ({"outcome": "timeout", "stage": "syn"}, "down"),
        ({"outcome": "refused", "stage": "syn"}, "down"),
        ({"outcome": "unknown", "stage": "handshake"}, "unknown"),
        ({"outcome": "timeout", "stage": "after_name", "facts": ("ONE_WAY",)}, "unknown"),
    ],
)
def test_outcomes(flow: dict[str, Any], state: str) -> None:
    t = Traffic()
    t.flow(0, A, "x.com", **flow)
    assert outcomes(t)["attempt"] == [state]


def test_what_the_end_of_the_capture_cut_is_unknown() -> None:
    t = Traffic()
    t.flow(0, A, "x.com", "timeout", "after_name", facts=("CUT_BY_END",))
    tries = collected(t)
    near, far = (tries.count({0: START + late * SECOND}).ballots for late in (3, 60))
    assert points(near)["attempt"]["unknown"] == 1 and points(far)["attempt"]["down"] == 1


def test_captures_of_one_direction_are_unknown() -> None:
    """Silence of a side that was not captured is no failure."""
    t = Traffic()
    for i in range(20):
        t.flow(60 * i, A, "x.com", "timeout", "syn", facts=("ONE_WAY",))
    assert set(outcomes(t)["attempt"]) == {"unknown"}


@pytest.mark.parametrize(("rcode", "state"), [(0, "unknown"), (3, "unknown"), (2, "down"), (5, "down")])
def test_answers_without_an_answer(rcode: int, state: str) -> None:
    """SERVFAIL and REFUSED are failures of the resolver; a lookup that nobody followed says nothing of the whole."""
    t = Traffic()
    t.lookup(0, A, "x.com", "198.51.100.1", rcode=rcode)
    t.flow(300, A, "x.com")
    assert sorted(outcomes(t)["attempt"]) == sorted([state, "ok"])


def test_clients_of_which_only_lookups_were_captured() -> None:
    t = Traffic()
    t.lookup(0, A, "x.com", "198.51.100.1")
    assert outcomes(t)["attempt"] == ["ok"]


@pytest.mark.parametrize(
    ("mechanism", "stage", "point"),
    [
        ("sni_drop", "after_name", "name"), ("sni_drop", "transfer", "transfer"), ("ip_block", "syn", "connect"),
        ("throttling", "transfer", "transfer"), ("tls_mitm", "transfer", "name"), ("rst_injection", "syn", "connect"),
    ],
)  # fmt: skip
def test_findings_say_where_it_failed(mechanism: str, stage: str, point: str) -> None:
    t = Traffic()
    number = t.flow(0, A, "x.com", "ok" if stage == "transfer" else "timeout", stage)
    found = outcomes(t, found=[(number, 0, mechanism)])
    assert found[point] == [mechanism] and found["attempt"] == [mechanism]


def test_forged_answers_outrank_true_ones() -> None:
    """A forged answer beside one that is not is forged; who got through nevertheless was reached."""
    t = Traffic()
    number = t.lookup(0, A, "x.com", "127.0.0.1")
    t.lookup(0, A, "x.com", "2001:db8::1")
    assert outcomes(t, found=[(number, 1, "dns_forgery")])["attempt"] == ["dns_forgery"]
    t.flow(1, A, "x.com")
    assert outcomes(t, found=[(number, 1, "dns_forgery")])["attempt"] == ["degraded"]


def test_nameless_flows_get_the_name_that_was_looked_up() -> None:
    """By the client itself, for that address, before; and no other client's."""
    t = Traffic()
    t.lookup(0, A, "x.com", "198.51.100.9")
    t.flow(1, A, "", "timeout", "syn", server="198.51.100.9")
    t.flow(1, B, "", "timeout", "syn", server="198.51.100.9")
    counted = collected(t).count()
    assert outcomes(t)["attempt"] == ["down"] and counted.nameless == 1


# -- votes and cells


def test_a_vote_is_one_per_client_target_and_minute() -> None:
    """Thirty connections of one client are one vote; it failed where more than half did."""
    t = Traffic()
    for i in range(30):
        t.flow(i, A, f"n{i}.example", "timeout" if i < 16 else "ok", "after_name" if i < 16 else "transfer")
    t.flow(5, B, "x.example")
    cast = votes(collected(t).count().ballots)
    assert len(cast) == 2 and cast["failed"].sum() == 1


def test_cells_have_only_what_reached_the_point() -> None:
    t = Traffic()
    t.lookup(0, A, "x.com", None)
    t.lookup(60, A, "x.com", "198.51.100.1")
    t.flow(61, A, "x.com", "timeout", "after_name")
    series = {one.point: one for one in cells(collected(t).count().ballots, ["n"], TARGETS.all)}
    assert series["dns"].reached == [1, 1] and series["dns"].down == [1, 0]
    assert series["name"].reached == [1] and series["name"].minute == series["dns"].minute[1:]
    assert series["attempt"].failed == [1, 1] and series["attempt"].clients == [1, 1]


# -- any split gives the same


@st.composite
def traffic(draw: st.DrawFn) -> Traffic:
    t = Traffic()
    names = st.sampled_from(["x.com", "t.co", "www.facebook.com", "one.example", "two.example", ""])
    for _ in range(draw(st.integers(1, 40))):
        at, client = draw(st.floats(0, 300)), draw(st.sampled_from([A, B]))
        if draw(st.booleans()):
            t.lookup(at, client, draw(names) or "x.com", draw(st.sampled_from([None, "198.51.100.1", "198.51.100.2"])))
        else:
            outcome, stage = draw(st.sampled_from([("ok", "transfer"), ("timeout", "after_name"), ("timeout", "syn")]))
            server = draw(st.sampled_from(["198.51.100.1", "198.51.100.2"]))
            t.flow(at, client, draw(names), outcome, stage, server=server)
    return t


@settings(max_examples=60, deadline=None)
@given(traffic(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_split_gives_the_same_ballots(t: Traffic, rng: Any, parts: int) -> None:
    """Batches of any cut, in any order, through one collector or several that are merged."""
    flow = t.flow(0, A, "x.com", "timeout", "after_name")
    findings = np.array([[0, flow, 0, MECHANISMS.index("sni_drop"), 1]], np.uint64)
    whole = collected(t, [(flow, 0, "sni_drop")]).count()
    order = list(range(len(t.rows)))
    rng.shuffle(order)
    collectors = [Tries(TARGETS) for _ in range(parts)]
    empty = Traffic().batch()[0]
    for part in range(parts):
        collectors[part].add(0, 0, *t.batch(order[part::parts]))
    _, learned, text = t.batch()
    collectors[-1].add(0, 0, empty, learned, text)
    collectors[0].found(findings)
    first = collectors[0]
    for other in collectors[1:]:
        first.merge(other)
    split = first.count()
    for table in ("ballots", "strata", "paths", "seen"):
        assert np.array_equal(getattr(whole, table), getattr(split, table)), table


def test_ballots_merge_by_summing() -> None:
    """What two captures have of different clients and minutes is the sum of both."""
    t = Traffic()
    for i in range(50):
        t.flow(60 * i, A if i % 3 else B, "x.com")
    ballots = collected(t).count().ballots
    merged = merge([ballots[::2], ballots[1::2], ballots])
    assert np.array_equal(merged["client"], ballots["client"]) and (merged["count"] == 2 * ballots["count"]).all()


def test_keys_do_not_depend_on_place_or_case() -> None:
    text = np.frombuffer(b"zzX.comx.COMx.co", np.uint8)
    keys = name_keys(text, np.array([2, 7, 12, 0]), np.array([5, 5, 4, 0]))
    assert keys[0] == keys[1] != keys[2] and keys[3] == 0
    raw = np.frombuffer(packed(A) + packed(B) + packed(A), np.uint8).reshape(3, 16)
    one, other, again = address_keys(raw).tolist()
    assert one == again != other


def test_interference_codes_follow_the_mechanisms() -> None:
    assert WORDS[INTERFERED] == MECHANISMS[0] and len(WORDS) == INTERFERED + len(MECHANISMS)
