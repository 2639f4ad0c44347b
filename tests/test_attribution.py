"""What forged packets say of their sender: distance and family, apart from whether they are forged at all."""

from __future__ import annotations

import collections
import json
import pathlib
import re
from typing import Any

import pytest

import build
import tamperscope as ts
from corpus import PCAPS
from records import check
from tamperscope import attribution, catalogue

SERVER_TTL = 52  # of build's server: 12 hops from 64


def injected(*resets: dict[str, Any], client: str = build.CLIENT, server: str = build.SERVER) -> ts.Finding:
    """The finding on a connection in which such resets come before the server's answer."""
    talk = build.opened(client=client, server=server).client("PA", build.REQUEST)
    for one in resets:
        header = {field: value for field, value in one.items() if field in ("ttl", "ip_id", "window")}
        talk.server(one.get("flags", "RA"), one.get("payload", b""), **header)
        if not one.get("df", 1):
            talk.frames[-1] = talk.frames[-1][0], fragmentable(talk.frames[-1][1])
    talk.server("PA", build.ANSWER).client("A").server("FA")
    (found,) = ts.scan(build.pcap(talk.frames))
    assert isinstance(found, ts.Finding)
    check(found.to_dict())
    return found


def fragmentable(frame: bytes) -> bytes:
    """The frame without its bit that forbids fragments."""
    header = bytearray(frame[14:34])
    header[6] &= ~0x40
    header[10:12] = bytes(2)
    header[10:12] = build.checksum(bytes(header)).to_bytes(2, "big")
    return frame[:14] + bytes(header) + frame[34:]


def hops(found: ts.Finding) -> tuple[int | None, int | None]:
    return (found.injector["hops_min"], found.injector["hops_max"]) if found.injector else (None, None)


def family(found: ts.Finding) -> dict[str, float]:
    return {one["id"]: one["score"] for one in (found.injector or {"family": []})["family"]}


# ---------------------------------------------------------------- distance


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (61, (1, 3)),  # 64 - 3, or the trigger's 64 spent on both ways
        (250, (5, 5)),
        (128, (0, 0)),
        (29, (3, 3)),  # 64 - 35 would be farther than the server
        (30, (2, 2)),
        (150, (None, None)),  # no usual start
        (52, (None, None)),  # the server's own
        (100, (None, None)),  # 28 hops from 128: farther than the server
    ],
)
def test_hops(ttl: int, expected: tuple[int | None, int | None]) -> None:
    """From the usual initial values, no farther than the end whose name is used."""
    assert hops(injected({"ttl": ttl, "ip_id": 777, "window": 8192})) == expected


def test_wandering_ttl_says_nothing() -> None:
    assert hops(injected({"ttl": 250, "ip_id": 777}, {"ttl": 243, "ip_id": 778})) == (None, None)
    low, high = hops(injected({"ttl": 250, "ip_id": 777}, {"ttl": 249, "ip_id": 778}))
    assert (low, high) == (5, 6)


def test_nothing_known_is_null() -> None:
    """Neither a distance nor a family: no object of empty values."""
    found = injected({"ttl": 150, "ip_id": 4711, "window": 8192})
    assert found.injector is None


def test_without_proof_no_attribution() -> None:
    """What is not decided is nobody's."""
    for found in ts.scan(PCAPS / "demo.pcap"):
        assert found.injector is None or found.verdict != "insufficient"


# ---------------------------------------------------------------- families


def test_one_field_that_does_not_fit_is_enough() -> None:
    """All fields fit, or the family is not named."""
    exact = {"flags": "R", "ttl": 120, "ip_id": 30000, "window": 0}
    assert family(injected({**exact, "df": 0})) == {"tm.rst": 0.99}
    for change in ({"ip_id": 30001}, {"flags": "RA"}, {"window": 1}, {"ttl": 20}, {"df": 1}):
        assert "tm.rst" not in family(injected({**exact, "df": 0, **change}))


def test_ip_version_6_has_no_ip_id() -> None:
    """What a packet cannot show is not taken for shown."""
    found = injected({"flags": "R", "ttl": 200, "window": 0}, client="2001:db8::1", server="2001:db8:2::7")
    assert family(found) == {}


def test_payload_and_steps() -> None:
    assert "tj.zeros22" in family(injected({"ttl": 70, "ip_id": 5, "payload": bytes(22)}))
    assert "tj.zeros22" not in family(injected({"ttl": 70, "ip_id": 5, "payload": bytes(21)}))


def test_scores_leave_room_for_the_unlisted() -> None:
    """A family of weak habits is a lead and no more; together with the unlisted all scores make 1."""
    assert attribution._scored([("weak", 0.5)]) == []
    assert attribution._scored([("as_good", attribution.UNLISTED)]) == [{"id": "as_good", "score": 0.5}]
    several = attribution._scored([("a", 2.0), ("b", 2.0), ("c", 1.5), ("d", 1.5)])
    assert [one["id"] for one in several] == ["a", "b", "c"] and sum(one["score"] for one in several) < 1
    assert attribution._scored([("sure", 9.0)]) == [{"id": "sure", "score": attribution.SUREST}]


def test_every_family_with_a_worth_can_be_matched() -> None:
    """No field that a flow's packets do not show: such a family would be named without it."""
    known = catalogue.load()
    for id, _, match, worth in catalogue.injectors():
        assert set(match) <= set(attribution.FIELDS), id
        assert known[id].worth == worth and known[id].why
    assert [one for one in known if one.kind == "family" and one.worth is None]


RECORDED = {  # what the recordings' boxes were made after, to the family that describes it
    "type_3": "gfw.type3", "stepped": "gfw.steps1460", "ten_bytes": "cn.henan", "fixed_30000": "tm.rst",
    "constant_13330": "eg.packetlogic", "zeros": "tj.zeros22", "type_2": "gfw.type2", "type_1": "gfw.type1",
    "national": "ir.dns", "loopback": "tm.dns", "injector_3": "gfw.dns3", "trailing": "gfw.dns3",
    "injector_1": "gfw.dns1", "forbidden": "ir.frame", "surf_safely": "pk.surf_safely",
    "frame_and_reset": "in.airtel", "two_kinds": "cn.anti_fraud", "fake_ok": "netsweeper", "moved": "id.lamanlabuh",
}  # fmt: skip
AAAA = {"gfw.teredo"}  # what several of them answer to AAAA questions


def recorded() -> list[tuple[str, ts.Finding]]:
    """(behaviour of the box, finding) over the recordings."""
    out = []
    for index in sorted((PCAPS / "interference").glob("*.json")):
        truth = json.loads(index.read_text())
        made = {frame: flow["why"] for flow in truth["flows"] for frame in flow["injected_frames"]}
        for found in ts.scan(index.parent / truth["file"]):
            assert isinstance(found, ts.Finding)
            if found.injected_frames and (name := re.search(r"Family '(\w+)'", made.get(found.injected_frames[0], ""))):
                out.append((name[1], found))
    return out


def test_recorded_boxes_are_told_apart() -> None:
    """A family is named for the boxes that have its habits, and a strong one for no other."""
    named: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for behaviour, found in recorded():
        for id, score in family(found).items():
            if score >= 0.9 and id not in AAAA:
                named[behaviour][id] += 1
            if id == RECORDED.get(behaviour):
                named[behaviour]["right"] += 1
    for behaviour, counts in named.items():
        strong = set(counts) - {"right"}
        assert strong <= {RECORDED.get(behaviour)}, (behaviour, counts)
    assert {behaviour for behaviour, counts in named.items() if counts["right"]} >= set(RECORDED)


def test_families_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Without any family the same findings come, down to the evidence; only the attribution is empty."""

    def bare(found: ts.Finding) -> dict[str, Any]:
        return {**found.to_dict(), "injector": None}

    with_families = [bare(found) for found in ts.scan(PCAPS / "demo.pcap")]
    monkeypatch.setattr(catalogue, "injectors", lambda path=None: [])
    found = list(ts.scan(PCAPS / "demo.pcap"))
    assert [bare(one) for one in found] == with_families
    assert not any(family(one) for one in found)
