"""The recorded evenings and their twins: what is said of each.  They served no fitting, and must not."""

from __future__ import annotations

import pytest

import evenings
from tamperscope.answer import Answer

GROUPS = evenings.groups(evenings.FOLDER)


@pytest.fixture(scope="module")
def answers() -> dict[str, Answer]:
    return {name: evenings.answer([path for path, _ in members]) for name, members in GROUPS.items()}


def test_interference_is_told(answers: dict[str, Answer]) -> None:
    """Four platforms on each network on which the mechanism is found."""
    (one,) = answers["evening"].assessments
    assert one.cause == "targeted_interference" and one.scope == "several_networks"
    wanted = set(evenings.expected([index for _, index in GROUPS["evening"]]))
    have = evenings.told(answers["evening"])
    assert have <= wanted and {event for event in wanted if event[1] in "ab"} <= have
    assert "interfered with on" in one.statement and "deliberate" not in one.statement


@pytest.mark.parametrize("twin", ["twin-dead-link", "twin-resolver", "twin-platform"])
def test_twins_are_faults(twin: str, answers: dict[str, Answer]) -> None:
    """Same people, same hours, same platforms, and nobody interfered."""
    (one,) = answers[twin].assessments
    assert one.cause == GROUPS[twin][0][1]["evening"]["cause"]


def test_the_three_hours_are_told(answers: dict[str, Answer]) -> None:
    """The onset's interval holds the time at which the rule was switched on, on each network that has an event."""
    for event in answers["evening"].events:
        index = next(index for path, index in GROUPS["evening"] if f"network-{event.network}" in path.name)
        hour, minute = map(int, index["evening"]["networks"][event.network]["from"].split(":"))
        assert event.onset is not None and event.onset.start is not None and event.onset.stop is not None
        midnight = event.onset.at // (86_400 * 10**9) * 86_400 * 10**9
        true = midnight + ((hour - 5) * 3600 + minute * 60) * 10**9  # the index has PKT
        assert event.onset.start <= true <= event.onset.stop
