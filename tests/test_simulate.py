"""The simulated evenings, a few of each kind; `python tests/simulate.py --cases 299` has the bounds."""

from __future__ import annotations

import pytest

import simulate
from tamperscope.targets import Targets

SEED = 20_000_033


@pytest.mark.parametrize("kind", ["forged answers", "drops by name", "mixed"])
def test_interference_is_told(kind: str) -> None:
    """Most of what is there to be found is, and the cause is right as a rule."""
    score = simulate.Score()
    for case in range(4):
        e = simulate.evening(simulate.TARGETED[kind], SEED + case)
        score.add(e, *e.answer(Targets()))
    assert score.events >= 8 and score.found >= 0.8 * score.events
    assert score.held >= 0.8 * score.intervals and score.wrong == 0


@pytest.mark.parametrize("kind", simulate.FAULTS)
def test_faults_are_not_called_targeted(kind: str) -> None:
    for case in range(2):
        answer, _ = simulate.evening(simulate.FAULTS[kind][0], SEED + case).answer(Targets())
        assert "targeted_interference" not in [one.cause for one in answer.assessments]


def test_an_ordinary_evening_has_no_event() -> None:
    for case in range(4):
        answer, _ = simulate.evening(simulate.FAULTS["nothing"][0], SEED + 100 + case).answer(Targets())
        assert answer.events == [] and answer.assessments == []


def test_a_site_is_not_called_more() -> None:
    """A firewall of one site injects indeed; what may be claimed is that network."""
    for case in range(2):
        answer, _ = simulate.evening(simulate._site, SEED + case).answer(Targets())
        assert all(one.scope in (None, "site", "network") for one in answer.assessments)


def test_upper_bound() -> None:
    """0 of 299 and 1 of 473 are the least for 1 % (Clopper and Pearson)."""
    assert simulate.upper(0, 299) < 0.01 <= simulate.upper(0, 298)
    assert simulate.upper(1, 473) < 0.01 <= simulate.upper(1, 472)
