"""Evidence to verdicts: caps, proofs, requirements, absences, one finding a unit."""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

import numpy as np
import pytest

from reference.tables import CLIENT, SERVER, flow, tables
from tamperscope import weigh
from tamperscope.fingerprint import CONTEXT, INJECTED, Observation
from tamperscope.fingerprinters import ALL
from tamperscope.model import Evidence


def weights(prior: float = -2.0, **entries: dict[str, Any]) -> weigh.Weights:
    """Weights of the mechanism `rst_injection`: id to what differs from a plain fact."""
    plain = {
        "mechanism": "rst_injection",
        "group": "g",
        "weight": 1.0,
        "class": "injected_frame",
        "reason": "r",
        "text": "t",
    }
    return weigh.Weights(
        {
            "prior": {"rst_injection": {"default": prior}},
            "observation": [plain | {"id": i} | e for i, e in entries.items()],
        }
    )


def seen(id: str, frames: tuple[int, ...] = (), role: str = CONTEXT, **values: int) -> Observation:
    """An observation of the only candidate."""
    numbers = {name: np.array([value]) for name, value in values.items()}
    return Observation(id, np.array([0]), np.array([0, len(frames)]), np.array(frames, np.uint64), role, numbers)


def judgement(table: weigh.Weights, *observations: Observation, mechanism: str = "rst_injection") -> weigh.Judgement:
    columns = tables(flow([CLIENT("S"), SERVER("SA")]))
    return weigh.Judgement(mechanism, columns, list(observations), table, table.prior("rst_injection", np.array([0])))


def verdict(table: weigh.Weights, *ids: str) -> str | None:
    return weigh.VERDICTS[judgement(table, *map(seen, ids)).verdict[0]]


def test_facts_of_one_group_count_two_at_most() -> None:
    """TTL, DF and IP ID of one frame have one cause."""
    table = weights(a={}, b={}, c={})
    assert judgement(table, *map(seen, "abc")).log_odds.tolist() == [0.0]


def test_a_proof_lifts_the_cap_of_its_group() -> None:
    """And only of its own."""
    table = weights(a={"weight": 3.0, "proof": True}, b={}, c={"group": "h", "weight": 5.0})
    assert judgement(table, *map(seen, "abc")).log_odds.tolist() == [4.0]


@pytest.mark.parametrize(
    ("weight", "proof", "expected"),
    [
        (5.0, True, "confirmed"),
        (5.0, False, "insufficient"),
        (3.0, True, "likely"),
        (2.0, False, "insufficient"),
        (1.0, False, None),
    ],
)
def test_thresholds(weight: float, proof: bool, expected: str | None) -> None:
    """0.99 with a proof, 0.9, 0.5; without a proof a group's cap holds the sum down."""
    assert verdict(weights(a={"weight": weight, "proof": proof}), "a") == expected


def test_without_a_proof_nothing_is_confirmed() -> None:
    """However much was added up."""
    table = weights(a={"weight": 2.0}, b={"weight": 2.0, "group": "h"}, c={"weight": 2.0, "group": "i"})
    assert verdict(table, "a", "b", "c") == "likely"


def test_a_failed_requirement_makes_it_insufficient_and_says_what_is_missing() -> None:
    """Confidence is null then."""
    table = weights(a={"weight": 5.0, "proof": True}, b={"weight": 0.0, "missing": "more_time"})
    found = judgement(table, seen("a"), seen("b")).finding(0)
    assert (found["verdict"], found["confidence"], found["missing"]) == ("insufficient", None, ["more_time"])


def test_an_absence_needs_a_control() -> None:
    """Alone it is insufficient; with one it is likely and no more."""
    table = weights(
        prior=-1.0,
        a={"weight": 2.0, "class": "absence"},
        c={"weight": 1.5, "group": "control", "control": True, "class": "correlation"},
    )
    assert verdict(table, "a") == "insufficient"
    assert verdict(table, "a", "c") == "likely"
    assert "control" in judgement(table, seen("a")).finding(0)["missing"]


def test_evidence_against_lowers_and_is_listed_apart() -> None:
    """With the sentence made of its values."""
    table = weights(a={"weight": 4.0, "proof": True}, n={"weight": -1.0, "group": "h", "text": "{n} times"})
    found = judgement(table, seen("a"), seen("n", n=3)).finding(0)
    assert found["confidence"] == round(1 / (1 + 10**-1), 4)
    assert [fact.text for fact in found["against"]] == ["3 times"]
    assert all(isinstance(fact, Evidence) for fact in found["evidence"])


def test_frames_are_named_by_role_and_once() -> None:
    """Injected ones of all observations together, ascending, with their number."""
    table = weights(a={"weight": 4.0, "proof": True}, b={"weight": 0.0})
    found = judgement(table, seen("a", (9, 7), INJECTED), seen("b", (7,), INJECTED)).finding(0)
    assert (found["injected_frames"], found["injected_total"]) == ([7, 9], 2)


def test_one_accusing_finding_a_unit_by_the_earliest_forged_frame() -> None:
    """The others stand in `also`."""
    table = weights(a={"weight": 4.0, "proof": True})
    late = judgement(table, seen("a", (9,), INJECTED))
    table.entries["blockpage", "a"] = table.entries["rst_injection", "a"]
    early = judgement(table, seen("a", (4,), INJECTED), mechanism="blockpage")
    [(chosen, _, found)] = weigh.resolve([late, early])
    assert (chosen, found["mechanism"], found["also"]) == (early, "blockpage", ["rst_injection"])


def test_a_weight_must_say_why() -> None:
    """Neither n, source nor reason: refused."""
    with pytest.raises(ValueError, match="neither n, source nor reason"):
        weights(a={"reason": None})


def test_shipped_weights() -> None:
    """Bounded by n where they name it, by a reason beyond 2; every mechanism has a prior."""
    shipped = weigh.load()
    assert {f.mechanism for f in ALL} <= set(shipped.priors)
    entries = tomllib.loads(pathlib.Path(weigh.WEIGHTS).read_text())["observation"]
    for entry in entries:
        if "n" in entry:
            assert entry["weight"] <= np.log10(entry["n"] / 3) + 0.01, entry["id"]
        if entry["weight"] > 2:
            assert entry["reason"], entry["id"]
        if entry.get("proof"):
            assert entry["class"] in ("injected_frame", "contradiction"), entry["id"]


def test_what_is_changed_in_a_table_stays_in_it() -> None:
    """The file is read once; whoever strikes an entry of its table, as leave-one-out does, strikes nobody else's."""
    mine = weigh.load()
    mine.entries.clear()
    assert weigh.load().entries
