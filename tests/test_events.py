"""Votes to events: how many it takes, what is none, and what the times mean."""

from __future__ import annotations

import numpy as np
import pytest

from tamperscope import changes
from tamperscope.answer import MINUTE, Event
from tamperscope.assess import fisher, mantel_haenszel
from tamperscope.ballots import Tries
from tamperscope.events import Search, wilson
from tamperscope.targets import Targets
from traffic import START, Traffic

TARGETS = Targets()
CLIENTS = [f"192.0.2.{i}" for i in range(1, 13)]


def events(t: Traffic) -> list[Event]:
    tries = Tries(TARGETS)
    tries.add(0, 0, *t.batch())
    return Search(tries.count(), ["n"], TARGETS.all).events()


def evening(failing: list[tuple[int, str]], minutes: int = 240, rate: int = 4) -> Traffic:
    """Everybody visits x.com now and then and gets there; then those (minute, client) who do not."""
    t = Traffic()
    bad = set(failing)
    for minute in range(0, minutes, rate):
        client = CLIENTS[minute // rate % len(CLIENTS)]
        if not any(90 <= m < 150 for m in (minute,)):
            t.flow(60 * minute, client, "x.com")
        t.flow(60 * minute + 20, client, "www.wiki.example", server="198.51.100.7")
    for minute, client in sorted(bad):
        t.flow(60 * minute, client, "x.com", "timeout", "after_name")
    return t


def test_nine_clear_votes_of_three_clients_are_enough() -> None:
    found = events(evening([(92 + 6 * i, CLIENTS[i % 3]) for i in range(9)]))
    (one,) = [event for event in found if event.target == "x"]
    assert (one.failed, one.failed_clients) == (9, 3) and one.onset is not None and one.end is not None
    assert one.onset.start is not None and one.onset.stop is not None
    assert one.onset.start <= START + 92 * MINUTE and one.onset.stop >= START + 90 * MINUTE
    assert one.seen["first_failed"] == (START // MINUTE + 92) * MINUTE
    assert one.controls["foreign"].failed == 0 and one.controls["foreign"].votes > 10


@pytest.mark.parametrize(
    "failing",
    [
        [(92 + 2 * i, CLIENTS[0]) for i in range(25)],  # a lone bad client
        [(92 + 2 * i, CLIENTS[i % 2]) for i in range(25)],  # two of them
        [(92 + 2 * i, CLIENTS[0]) for i in range(20)] + [(100, CLIENTS[1]), (120, CLIENTS[2])],  # one, two stray votes
        [(110, client) for client in CLIENTS[:3]],  # three votes
        [(20 * i, CLIENTS[i]) for i in range(12)],  # now and then, all evening
    ],
)
def test_no_event(failing: list[tuple[int, str]]) -> None:
    assert [one for one in events(evening(failing)) if one.target == "x" and one.onset] == []


def test_what_fails_from_the_start_has_no_onset() -> None:
    t = Traffic()
    for minute in range(0, 200, 5):
        state = ("timeout", "after_name") if minute < 80 else ("ok", "transfer")
        t.flow(60 * minute, CLIENTS[minute // 5 % 12], "x.com", *state)
    (one,) = events(t)
    assert one.onset is None and one.end is not None


def test_what_fails_all_the_time_has_neither() -> None:
    t = Traffic()
    for minute in range(0, 60, 3):
        t.flow(60 * minute, CLIENTS[minute // 3 % 12], "x.com", "timeout", "after_name")
        t.flow(60 * minute, CLIENTS[minute // 3 % 12], "www.wiki.example")
    (one,) = [event for event in events(t) if event.target == "x"]
    assert one.onset is None and one.end is None


def cease(kept: bool) -> Traffic:
    """Everybody is there in each ten minutes but for an hour; `kept`: a clock goes on asking."""
    t = Traffic()
    for minute in range(0, 300, 10):
        if not 120 <= minute < 180:
            for i, client in enumerate(CLIENTS):
                t.flow(60 * minute + 7 * i, client, f"www.site{i}.example")
    if kept:
        for minute in range(300):
            t.flow(60 * minute, "192.0.2.99", "", "unknown", "none", protocol=17, port=123)
    return t


def test_silence_of_clients_is_an_event_and_a_pause_of_the_capture_is_a_gap() -> None:
    (one,) = [event for event in events(cease(kept=True)) if event.kind == "volume"]
    assert one.target == "*" and one.onset is not None and abs(one.onset.at - START - 120 * MINUTE) <= 20 * MINUTE
    t = cease(kept=False)
    assert [event for event in events(t) if event.kind == "volume"] == []
    tries = Tries(TARGETS)
    tries.add(0, 0, *t.batch())
    (stretch,) = Search(tries.count(), ["n"], TARGETS.all).stretches
    assert any(high - low > 50 for low, high in stretch.gaps)


# -- the model


def brute(minute: list[int], failed: list[bool], first: int, last: int) -> np.ndarray:  # type: ignore[type-arg]
    """Posterior of the first minute inside, by trying every window of minutes one by one."""
    from math import exp, lgamma

    def beta(k: int, n: int, a: float, b: float) -> float:
        top = lgamma(k + a) + lgamma(n - k + b) - lgamma(n + a + b)
        return exp(top - lgamma(a) - lgamma(b) + lgamma(a + b))

    out = np.zeros(last - first + 2)
    for a in range(first, last + 1):
        for b in range(a + 1, last + 2):
            inside = [bad for at, bad in zip(minute, failed, strict=True) if a <= at < b]
            n, k = len(inside), sum(inside)
            all_n, all_k = len(failed), sum(failed)
            if n == 0 or (k + 0.5) / (n + 1) <= (all_k - k + 0.5) / (all_n - n + 1) + changes.LEAST_RISE:
                continue
            like = beta(k, n, *changes.INSIDE) * beta(all_k - k, all_n - n, *changes.OUTSIDE)
            out[a - first] += like**changes.EFFECTIVE
    return out / out.sum()


def test_posterior_is_that_of_every_window() -> None:
    minute = [2, 5, 9, 14, 15, 18, 22, 23, 27, 30, 33, 38]
    failed = [9 <= at < 27 for at in minute]
    window = changes.find([(np.array(minute), np.array(failed))], 0, 40, shared=False)
    assert window is not None
    expected = brute(minute, failed, 0, 40)
    assert np.abs(window.onset - expected).sum() < 0.05  # windows without sense keep a little weight in the program
    assert window.best == (9, 27) and window.log10_bayes > 0


def test_interval_is_the_shortest() -> None:
    p = np.array([0.01, 0.02, 0.5, 0.4, 0.05, 0.02])
    assert changes.interval(p, 0.9) == (2, 2, 3)


def test_rates_and_tables() -> None:
    """Known values: Wilson 1927; the table of Mantel and Haenszel with one stratum is the odds ratio; Fisher's tea."""
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-3) and wilson(0, 0) == (0, 1)
    odds, low, high = mantel_haenszel([(10, 5, 4, 12)])
    assert odds == pytest.approx(6.0) and low < 6 < high
    assert fisher(3, 1, 1, 3) == pytest.approx(17 / 70)
