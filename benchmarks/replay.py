"""Show samples that were measured in an interleaved batch as rows of pytest-benchmark.

pytest-benchmark runs all rounds of one benchmark, then all of the next: on a machine that others use, the ratio of two
such rows is mostly the neighbours' doing.  So the batch is measured first, tools in shuffled order (measure.py), and
each row is then replayed: its timer is not a clock, but the sum of the samples shown so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

_shown = 0.0


def now() -> float:
    """The timer: seconds shown so far.  Use with @pytest.mark.benchmark(timer=replay.now)."""
    return _shown


def show(benchmark: Any, samples: Sequence[float]) -> None:
    """Replay samples (seconds) as the rounds of a pytest-benchmark fixture."""
    benchmark.pedantic(_advance, args=(iter(samples),), rounds=len(samples), iterations=1)


def _advance(samples: Iterator[float]) -> None:
    global _shown
    _shown += next(samples)
