"""An answer with one of everything, for tests of what is built on it."""

from __future__ import annotations

from typing import Any

from records import finding
from tamperscope.answer import (
    CAUSES,
    MINUTE,
    Answer,
    Assessment,
    Cells,
    Event,
    Feature,
    Group,
    Limit,
    Moment,
    Network,
    Tally,
    Target,
)  # fmt: skip
from tamperscope.model import Summary

START = 1705755600_000000000  # 2024-01-20 13:00 UTC


def event(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "id": "0123456789abcdef",
        "target": "x",
        "network": "a",
        "onset": Moment(START + 62 * MINUTE, START + 60 * MINUTE, START + 65 * MINUTE),
        "end": Moment(START + 244 * MINUTE, START + 238 * MINUTE, START + 249 * MINUTE),
        "points": {
            "name": {"reached": 390, "ok": 0, "degraded": 0, "down": 2, "unknown": 3, "interfered": {"sni_drop": 388}}
        },
        "mechanisms": {"sni_drop": 388},
        "votes": 350,
        "failed": 348,
        "votes_before": 400,
        "failed_before": 3,
        "clients": 57,
        "failed_clients": 56,
        "unknown_share": 0.01,
        "controls": {"same_server": Tally(952, 1, 1000, 2, 57)},
        "log10_bayes": 210.5,
        "seen": {"last_ok_before": START + 61 * MINUTE, "first_failed": START + 62 * MINUTE, "last_failed": None,
                 "first_ok_after": None},
        "findings": ["0123456789abcdef"],
        "findings_total": 388,
    }  # fmt: skip
    return Event(**(values | changes))


def assessment(**changes: Any) -> Assessment:
    values: dict[str, Any] = {
        "id": "fedcba9876543210",
        "events": ["0123456789abcdef"],
        "targets": ["x"],
        "networks": ["a"],
        "onset": event().onset,
        "end": event().end,
        "cause": "targeted_interference",
        "score": 0.98,
        "scope": "network",
        "scores": dict(zip(CAUSES, (0.98, 0.01, 0.01, 0.0, 0.0, 0.0), strict=True)),
        "features": [
            Feature("same_server_odds", "selectivity", 61.0, "other names of the same servers were reached", low=20.0,
                    high=180.0, n=1300, shift={"targeted_interference": 3.0, "platform_outage": -3.0}),
        ],
        "for_": ["same_server_odds"],
        "gates": [{"id": "votes_and_clients", "passed": True, "text": "350 votes of 57 clients"}],
        "changes": ["the same platforms failing elsewhere in these minutes"],
        "controls": {"same_server": Tally(952, 1, 1000, 2, 57)},
        "mechanisms": {"a": {"sni_drop": 388}},
        "votes": 350,
        "failed": 348,
        "clients": 57,
        "recurrence": ["2023-12-17"],
        "calendar": {"events": 3, "met": 2, "chance": 0.001},
        "statement": "X was interfered with.",
    }  # fmt: skip
    return Assessment(**(values | changes))


def cells() -> Cells:
    one = Cells("a", "x", "name")
    one.minute, one.ok, one.down, one.unknown = [28_429_260, 28_429_262], [3, 0], [0, 1], [0, 0]
    one.degraded = [1, 0]
    one.interfered = {"sni_drop": [0, 2]}
    one.reached, one.votes, one.failed, one.clients = [3, 3], [2, 2], [0, 2], [2, 2]
    return one


def answer() -> Answer:
    whole = Answer(version="0.1.0", rules="0")
    whole.statements = ["X was interfered with."]
    whole.first_ns, whole.last_ns = START, START + 300 * MINUTE
    whole.targets = [Target("x", "X", "x", "social")]
    whole.networks = [Network("a", "label", ["a.pcap"], 57, "client", START, START + 300 * MINUTE, 300,
                              [(START + MINUTE, START + 9 * MINUTE)])]  # fmt: skip
    whole.cells = [cells()]
    whole.events, whole.assessments = [event()], [assessment()]
    group = Group("sni_drop")
    group.counts, group.by_target, group.strongest = {"likely": 388}, {("a", "x"): 388}, [finding()]
    whole.groups = [group]
    whole.summaries = [Summary("a.pcap", version="0.1.0", rules="0")]
    whole.limits = [Limit("one_direction", "flows seen in one direction only", 3)]
    whole.thresholds = {"votes": 9}
    return whole
