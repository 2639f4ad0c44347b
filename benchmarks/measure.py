"""Measuring on a machine that others use too: CPU time, interleaved, with the surroundings written down.

All times are CPU seconds (user and system, all threads, children included).  Wall clock says at load 8 how busy the
others are; CPU time then moves by a tenth or two, and a ratio of two candidates of the same interleaved batch by less.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

HERE = Path(__file__).resolve().parent
LAUNCHER = HERE / "launcher.py"
RESULTS = HERE / "results"


Sample = TypeVar("Sample", float, "Cost")
Timed = Callable[[], float]  # a candidate: does its task once and says what it took, in the unit of the samples


class CommandError(Exception):
    """A measured command ended with a status other than 0: its time says nothing."""


class Cost(NamedTuple):
    """What one run of a command took: CPU seconds, and the peak resident set in KiB."""

    cpu: float
    peak_kib: int


class Spread(NamedTuple):
    """Median, least and largest of a candidate's repetitions, in the unit of the samples."""

    median: float
    least: float
    most: float


def run_command(command: Sequence[str], output: str | os.PathLike[str] = os.devnull) -> Cost:
    """Run a command through the launcher, its standard output into a file; raises CommandError."""
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), os.fspath(output)]
    launched = subprocess.run([*launcher, *command], capture_output=True, text=True, check=False)
    fields = launched.stdout.split()
    if launched.returncode or len(fields) != 4 or int(fields[0]) != 0:
        status = fields[0] if fields else "none"
        raise CommandError(f"{' '.join(command)}: exit status {status}\n{launched.stderr.strip()[-2000:]}")
    return Cost(float(fields[1]) + float(fields[2]), int(fields[3]))


def cpu_of_command(command: Sequence[str]) -> Timed:
    """A candidate for interleave(): CPU seconds of the whole process."""
    return lambda: run_command(command).cpu


def cpu_of_call(function: Callable[[], object]) -> Timed:
    """A candidate for interleave(): CPU seconds of a call in this process, all threads; imports are already done."""

    def timed() -> float:
        start = time.process_time()
        function()
        return time.process_time() - start

    return timed


def interleave(
    candidates: Mapping[str, Callable[[], Sample]], repetitions: int, seed: int = 1
) -> dict[str, list[Sample]]:
    """Samples of every candidate: each repetition runs all once, in a shuffled order; a first one is dropped.

    The dropped repetition warms the page cache and the interpreter's caches.
    """
    order, shuffler = list(candidates), random.Random(seed)
    samples: dict[str, list[Sample]] = {name: [] for name in order}
    for repetition in range(repetitions + 1):
        shuffler.shuffle(order)
        for name in order:
            sample = candidates[name]()
            if repetition:
                samples[name].append(sample)
    return samples


def run_batch(commands: Mapping[str, Sequence[str]], repetitions: int, seed: int = 1) -> dict[str, list[Cost]]:
    """Costs of several commands, interleaved, each through the launcher."""
    return interleave({name: partial(run_command, command) for name, command in commands.items()}, repetitions, seed)


def spread(samples: Sequence[float]) -> Spread:
    """Median and min-max."""
    return Spread(statistics.median(samples), min(samples), max(samples))


# ---------------------------------------------------------------- what a result has to be read with


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def environment() -> dict[str, Any]:
    """Kernel, processor, load and versions at this moment."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("tamperscope", "dpkt", "scapy", "numpy", "pytest-benchmark")},
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def store(kind: str, result: Mapping[str, Any]) -> Path:
    """Write a result as JSON into results/ (ignored by git); returns the file."""
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = RESULTS / f"{kind}-{stamp}-{os.getpid()}.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path
