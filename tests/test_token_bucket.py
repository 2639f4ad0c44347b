"""The token bucket test on senders and boxes made here: what polices is found, what only looks like it is not."""

from __future__ import annotations

import pathlib
import random
import sys

import numpy as np
import pytest

from tamperscope.token_bucket import Fit, fit

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

SIZE = 1500
RTT = 0.1


def flights(seed: int, rounds: int = 150) -> list[float]:
    """Times of packets: flights of 2 to 40, one a round trip, as a window that is cut and grows again sends them."""
    rng, out, window = random.Random(seed), [], 2
    for turn in range(rounds):
        start = turn * RTT + rng.uniform(0, 0.02)
        out += [start + i * 0.0005 for i in range(window)]
        window = window + 2 if window < 40 else 8
    return out


def police(times: list[float], rate: float, burst: float) -> list[bool]:
    """Lost or not, behind a bucket."""
    tokens, last, out = burst, times[0], []
    for time in times:
        tokens = min(burst, tokens + (time - last) * rate)
        last = time
        out.append(tokens < SIZE)
        tokens -= 0 if out[-1] else SIZE
    return out


def queue(times: list[float], rate: float, room: float) -> tuple[list[bool], list[float]]:
    """Lost or not, and the delay, behind a queue of `room` bytes."""
    held, last, lost, delay = 0.0, times[0], [], []
    for time in times:
        held = max(0.0, held - (time - last) * rate)
        last = time
        lost.append(held + SIZE > room)
        held += 0 if lost[-1] else SIZE
        delay.append(float("nan") if lost[-1] else RTT + held / rate)
    return lost, delay


def fitted(times: list[float], lost: list[bool], delay: list[float] | None = None) -> Fit | None:
    still = [float("nan") if one else RTT for one in lost] if delay is None else delay
    return fit(np.array(times), np.full(len(times), SIZE), np.array(lost), np.array(still))


@pytest.mark.parametrize(("rate", "burst"), [(150_000, 20_000), (220_000, 30_000), (100_000, 30_000)])
def test_policer_is_found_with_its_rate(rate: float, burst: float) -> None:
    times = flights(1)
    found = fitted(times, police(times, rate, burst))
    assert found and found.kind == "policing", found
    assert found.rate == pytest.approx(rate, rel=0.15)
    assert found.burst < 1.35 * burst  # as far as the flow let it fill up


def test_small_bucket_gives_a_least_rate() -> None:
    """Full again before each flight: any larger rate lets the same packets pass, and the least is what is said."""
    times = flights(1)
    found = fitted(times, police(times, 220_000, 15_000))
    assert found and found.kind == "policing" and found.rate < 1.1 * 220_000


@pytest.mark.parametrize("rate", [150_000, 220_000])
def test_full_queue_is_congestion(rate: float) -> None:
    """It drops by the same law; the delay before its losses is what tells it apart."""
    times = flights(1)
    lost, delay = queue(times, rate, 20_000)
    found = fitted(times, lost, delay)
    assert found and found.lawful and found.kind == "congestion"


def test_without_delay_nobody_can_say() -> None:
    """A policer and a queue look alike where no packet near a loss was timed."""
    times = flights(1)
    lost = police(times, 150_000, 20_000)
    found = fitted(times, lost, [float("nan")] * len(times))
    assert found and found.lawful and found.kind == "unknown"


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(8))
def test_loss_by_chance_follows_no_bucket(share: float, seed: int) -> None:
    times, rng = flights(seed), random.Random(seed)
    found = fitted(times, [rng.random() < share for _ in times])
    assert not found or found.kind == "unknown", (found.odds, found.by_law, found.by_chance)


@pytest.mark.parametrize("seed", range(8))
def test_bursts_of_loss_follow_no_bucket(seed: int) -> None:
    """A radio that fades, or an uplink that is handed over: losses in runs, whatever was sent."""
    times, rng = flights(seed), random.Random(seed)
    fades = [(at := rng.uniform(0, times[-1]), at + rng.uniform(0.01, 0.3)) for _ in range(40)]
    found = fitted(times, [any(a <= time < b for a, b in fades) for time in times])
    assert not found or found.kind == "unknown", (found.odds, found.by_law, found.by_chance)


def test_few_losses_prove_nothing() -> None:
    times = flights(1)
    lost = police(times, 150_000, 20_000)
    kept = iter(range(5))
    assert fitted(times, [one and next(kept, None) is not None for one in lost]) is None


def test_hostile_rows_give_no_error() -> None:
    """All at one time, all lost, none of any size: nothing is divided by."""
    n = 64
    for lost in (np.ones(n, np.bool_), np.arange(n) % 2 == 0, np.arange(n) % 8 == 0):
        for time in (np.zeros(n), np.arange(n) / 10):
            for size in (np.zeros(n), np.full(n, SIZE)):
                found = fit(time, size, lost, np.full(n, np.nan))
                assert not found or found.kind == "unknown"


def test_labelled_traces(capsys: pytest.CaptureFixture[str]) -> None:
    """The levels to reach, where the corpus is there."""
    from benchmarks import evaluate_policing

    from corpus import CORPUS

    if not (CORPUS / "policing" / "labels.json").exists():
        pytest.skip("no policing traces (TAMPERSCOPE_CORPUS says where)")
    assert evaluate_policing.main([str(CORPUS / "policing")]) == 0, capsys.readouterr().out
