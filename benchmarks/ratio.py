#!/usr/bin/env python3
"""CPU time of commands relative to the first one, on a machine that others use too.

    python benchmarks/ratio.py compare 'cat FILE' 'pcap-scan --json FILE'
    python benchmarks/ratio.py levels                    core, scan, start and memory against the levels
    python benchmarks/ratio.py levels core scan --packets 200000 --by-slope --gate
    python benchmarks/ratio.py levels instructions       instructions a packet (needs valgrind)

User and system time of the whole process with its children; every repetition runs all commands once in a shuffled
order, the first repetition is dropped; medians, with least and most beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import levels, measure, ours, workload
from benchmarks.measure import Cost

DPKT_SCRIPT = Path(__file__).resolve().with_name("peers") / "dpkt_flows.py"
TINY = 1_000  # packets of an ordinary small capture
MANY_FILES = 200
MEMORY_GROWTH = 8
TOLERANCE = {"instructions": 1.03}  # against a baseline; instruction counts repeat, times do not
TOLERANCE_OF_TIME = 1.25


@dataclass
class Run:
    """Options of this run and what it found: figures by key of levels.LEVELS, costs by batch and command."""

    packets: int
    repetitions: int
    seed: int
    by_slope: bool
    dpkt_packets: int
    instruction_packets: int
    figures: dict[str, float] = field(default_factory=dict)
    batches: dict[str, dict[str, list[Cost]]] = field(default_factory=dict)
    captures: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def capture(self, profile: str, packets: int, *extra: str) -> str:
        """Path of a generated capture, noted for the result."""
        made = workload.generated(profile, packets, *extra, seed=self.seed)
        if made.name not in self.captures:
            told = {"seed": made.seed, "packets": made.packets, "bytes": made.path.stat().st_size}
            self.captures[made.name] = {"sha256": measure.file_hash(made.path), **told}
        return str(made.path)

    def batch(self, name: str, commands: Mapping[str, Sequence[str]], repetitions: int | None = None) -> Batch:
        """Run one interleaved batch and keep its costs."""
        print(f"measuring {name}: {', '.join(commands)}", file=sys.stderr)
        self.batches[name] = measure.run_batch(commands, repetitions or self.repetitions, self.seed)
        return Batch(self.batches[name])


class Batch:
    """Medians of one interleaved batch."""

    def __init__(self, costs: Mapping[str, list[Cost]]) -> None:
        self.costs = costs

    def cpu(self, name: str, less: str | None = None) -> float:
        """Median CPU seconds of a command, without those of another one (its start-up)."""
        taken = self.cpu(less) if less else 0.0
        return statistics.median(cost.cpu for cost in self.costs[name]) - taken

    def peak_mb(self, name: str) -> float:
        """Median peak resident set in MB (10^6 bytes)."""
        return statistics.median(cost.peak_kib for cost in self.costs[name]) * 1024 / 1e6


def ratio(dividend: float, divisor: float) -> float:
    """A ratio of CPU times; the kernel's clock may have seen nothing of a very short run."""
    return dividend / divisor if divisor > 0 else float("inf")


# ---------------------------------------------------------------- what is measured


def measure_core(run: Run) -> None:
    """Read, decode, flows and names in C; Python's start-up (a tiny capture) taken out."""
    tiny = run.capture("web", TINY)
    for profile in ("web", "small"):
        path = run.capture(profile, run.packets)
        batch = run.batch(
            f"core {profile}",
            {"cat": ["cat", path], "core": ours.core_command(path), "core tiny": ours.core_command(tiny)},
        )
        run.figures[f"core.{profile}.cat"] = ratio(batch.cpu("core", "core tiny"), batch.cpu("cat"))


def measure_scan(run: Run) -> None:
    """The whole `pcap-scan --json`, start-up and output included (with by_slope: start-up taken out)."""
    web, tiny = run.capture("web", run.packets), run.capture("web", TINY)
    long, short = min(run.dpkt_packets, run.packets), min(run.dpkt_packets, run.packets) // 5
    batch = run.batch(
        "scan",
        {
            "cat": ["cat", web],
            "scan web": ours.scan_command(web),
            "scan censored": ours.scan_command(run.capture("censored", run.packets)),
            "scan half": ours.scan_command(run.capture("censored", run.packets, "--censored-share", "0.5")),
            "scan tiny": ours.scan_command(tiny),
            "dpkt long": dpkt_command(run.capture("web", run.packets), long),
            "dpkt short": dpkt_command(run.capture("web", run.packets), short),
        },
    )
    start = "scan tiny" if run.by_slope else None
    scan = batch.cpu("scan web", start)
    dpkt = batch.cpu("dpkt long", "dpkt short") / (long - short) * run.packets
    run.figures["scan.web.cat"] = ratio(scan, batch.cpu("cat"))
    run.figures["scan.web.dpkt"] = ratio(dpkt, scan)
    run.figures["scan.censored"] = ratio(batch.cpu("scan censored", start), scan)
    run.figures["scan.half"] = ratio(batch.cpu("scan half", start), scan)


def dpkt_command(path: str, packets: int) -> list[str]:
    """The dpkt script on the first packets of a capture."""
    return [sys.executable, str(DPKT_SCRIPT), path, str(packets)]


def measure_start(run: Run) -> None:
    """An ordinary capture of 1,000 packets, where nearly all of the time is start-up."""
    tiny = run.capture("web", TINY)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import tamperscope": [sys.executable, "-c", "import tamperscope"],
        "scan": ours.scan_command(tiny),
        "dpkt": dpkt_command(tiny, TINY),
        f"scan {MANY_FILES} files": [*ours.scan_command(tiny)[:-1], *copies(tiny, MANY_FILES)],
    }
    batch = run.batch("start", commands, max(run.repetitions, 9))
    nothing = batch.cpu("python -c pass")
    run.figures["start.scan"] = ratio(batch.cpu("scan"), nothing)
    run.figures["start.dpkt"] = ratio(batch.cpu("scan"), batch.cpu("dpkt"))
    run.figures["start.import"] = ratio(batch.cpu("import tamperscope"), nothing)
    run.figures["start.further"] = batch.cpu(f"scan {MANY_FILES} files", "scan") / (MANY_FILES - 1) * 1e3


def copies(path: str, number: int) -> list[str]:
    """Several names of one capture, in a folder of their own; the names follow no rotation."""
    folder = workload.cache_folder() / f"many-{Path(path).stem}"
    folder.mkdir(exist_ok=True)
    names = [folder / f"{chr(97 + i // 26)}{chr(97 + i % 26)}-site.pcap" for i in range(number)]
    for name in names:
        if not name.exists():
            os.link(path, name)
    return [str(name) for name in names]


def measure_memory(run: Run) -> None:
    """Peak resident set at two lengths with the same flows, and how CPU time grows between them."""
    length = run.packets // 2
    flows = ("--flows", str(max(length // 10, 1)))
    batch = run.batch(
        "memory",
        {
            "scan web": ours.scan_command(run.capture("web", run.packets)),
            "scan short": ours.scan_command(run.capture("small", length, *flows)),
            "scan long": ours.scan_command(run.capture("small", length * MEMORY_GROWTH, *flows)),
            "scan tiny": ours.scan_command(run.capture("web", TINY)),
        },
        3,
    )
    run.figures["memory.web"] = batch.peak_mb("scan web")
    run.figures["memory.growth"] = ratio(batch.peak_mb("scan long"), batch.peak_mb("scan short"))
    run.figures["growth.packets"] = ratio(batch.cpu("scan long", "scan tiny"), batch.cpu("scan short", "scan tiny"))


def measure_flows(run: Run) -> None:
    """Many flows alive at once (half as many as packets of --packets: 1 M at two million) against a hundredth."""
    packets = run.packets * 2
    many = run.capture("small", packets, "--flows", str(packets // 4), "--rate", "200000")
    few = run.capture("small", packets, "--flows", str(packets // 400), "--rate", "200000")
    batch = run.batch(
        "flows",
        {
            "core many": ours.core_command(many),
            "core few": ours.core_command(few),
            "core tiny": ours.core_command(run.capture("web", TINY)),
            "scan many": ours.scan_command(many),
        },
    )
    run.figures["core.flows"] = ratio(batch.cpu("core many", "core tiny"), batch.cpu("core few", "core tiny"))
    run.figures["memory.flows"] = batch.peak_mb("scan many")


def measure_forms(run: Run) -> None:
    """Other forms of the same packets: pcapng, a pipe, gzip, a short snap length."""
    packets = run.packets
    web, tiny = run.capture("web", packets), run.capture("web", TINY)
    small = run.capture("web", max(packets // 10, TINY))
    packed = gzipped(small)
    piped = f"cat {shlex.quote(web)} | {shlex.join([*ours.scan_command('-')])}"
    batch = run.batch(
        "forms",
        {
            "cat": ["cat", web],
            "core": ours.core_command(web),
            "core pcapng": ours.core_command(run.capture("web", packets, "--pcapng")),
            "core snap": ours.core_command(run.capture("web", packets, "--snaplen", "96")),
            "core tiny": ours.core_command(tiny),
            "scan": ours.scan_command(web),
            "cat | scan": ["sh", "-c", piped],
            "gzip -dc": ["gzip", "-dc", packed],
            "scan gz": ours.scan_command(packed),
        },
    )
    core = batch.cpu("core", "core tiny")
    run.figures["forms.pcapng"] = ratio(batch.cpu("core pcapng", "core tiny"), core)
    run.figures["forms.snap"] = ratio(batch.cpu("core snap", "core tiny"), core)
    run.figures["forms.pipe"] = ratio(batch.cpu("cat | scan", "cat"), batch.cpu("scan"))
    run.figures["forms.gz"] = ratio(batch.cpu("scan gz"), batch.cpu("gzip -dc"))


def gzipped(path: str) -> str:
    """The capture compressed, beside it."""
    packed = Path(path + ".gz")
    if not packed.is_file():
        part = Path(path + ".part")
        with part.open("wb") as file:
            subprocess.run(["gzip", "-c", path], stdout=file, check=True)
        part.replace(packed)
    return str(packed)


def measure_instructions(run: Run) -> None:
    """Instructions a packet of the core by callgrind: the slope between two lengths, so Python is not in it."""
    if shutil.which("valgrind") is None:
        run.skipped.append("instructions: valgrind is not installed")
        return
    long, short = run.instruction_packets, run.instruction_packets // 5
    for profile in workload.PROFILES:
        print(f"counting instructions: {profile}", file=sys.stderr)
        more = instructions(ours.core_command(run.capture(profile, long)))
        fewer = instructions(ours.core_command(run.capture(profile, short)))
        run.figures[f"core.{profile}.instructions"] = (more - fewer) / (long - short)


def instructions(command: Sequence[str]) -> int:
    """Instructions of a command under callgrind."""
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    surroundings = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([*tool, *command], capture_output=True, text=True, env=surroundings, check=False)
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode or not found:
        raise measure.CommandError(f"callgrind of {shlex.join(command)}: {done.stderr.strip()[-500:]}")
    return int(found.group(1))


SECTIONS: dict[str, Callable[[Run], None]] = {
    "core": measure_core,
    "scan": measure_scan,
    "start": measure_start,
    "memory": measure_memory,
    "flows": measure_flows,
    "forms": measure_forms,
    "instructions": measure_instructions,
}
USUAL = ("core", "scan", "start", "memory")


def measure_sections(run: Run, sections: Sequence[str]) -> None:
    """Measure what was asked for; a command that fails is a failure of its section only."""
    for name in sections:
        try:
            SECTIONS[name](run)
        except workload.AbsentError as reason:
            run.skipped.append(f"{name}: {reason}")
        except (measure.CommandError, OSError) as error:
            run.failures.append(f"{name}: {error}")


# ---------------------------------------------------------------- what is printed


def level_rows(figures: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Rows of the table of levels."""
    rows: list[tuple[str, ...]] = [("figure", "value", "first", "goal", "moonshot", "reached")]
    for key, value in figures.items():
        level = levels.LEVELS.get(key)
        if level is None:
            rows.append((key, f"{value:.2f}", "", "", "", ""))
            continue
        goals = (f"{goal:g}" for goal in (level.first, level.goal, level.moonshot))
        rows.append((level.figure, f"{value:.2f} {level.unit}".rstrip(), *goals, level.reached(value)))
    return rows


def cost_rows(costs: Mapping[str, list[Cost]]) -> list[tuple[str, ...]]:
    """Rows of one batch: CPU seconds, ratio to the first command, peak RSS."""
    rows: list[tuple[str, ...]] = [("command", "CPU s", "min-max", "x first", "peak MB")]
    reference = measure.spread([cost.cpu for cost in next(iter(costs.values()))]).median
    for name, samples in costs.items():
        middle, least, most = measure.spread([cost.cpu for cost in samples])
        peak = statistics.median(cost.peak_kib for cost in samples) * 1024 / 1e6
        rows.append(
            (name, f"{middle:.3f}", f"{least:.3f}-{most:.3f}", f"{ratio(middle, reference):.2f}", f"{peak:.0f}")
        )
    return rows


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; all but the first to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def missed(figures: Mapping[str, float]) -> list[str]:
    """Figures that do not reach their first level."""
    known = {key: levels.LEVELS[key] for key in figures if key in levels.LEVELS}
    return [
        f"{level.figure}: {figures[key]:.2f}, first level {level.first:g}"
        for key, level in known.items()
        if not level.within(figures[key], level.first)
    ]


def worse_than(baseline: Mapping[str, float], figures: Mapping[str, float]) -> list[str]:
    """Figures that got worse than a baseline by more than their noise: 3 % for instructions, 25 % for times."""
    lines = []
    for key in sorted(baseline.keys() & figures.keys()):
        level = levels.LEVELS.get(key)
        factor = TOLERANCE.get(key.rpartition(".")[2], TOLERANCE_OF_TIME)
        before, now = baseline[key], figures[key]
        worse = now * factor < before if level and level.more_is_better else now > before * factor
        if worse:
            lines.append(f"{level.figure if level else key}: {now:.2f}, baseline {before:.2f}")
    return lines


# ---------------------------------------------------------------- the command


def compare(options: argparse.Namespace) -> int:
    """Subcommand compare: any commands, the first is the reference."""
    commands = {text: shlex.split(text) for text in options.commands}
    try:
        costs = measure.run_batch(commands, options.repetitions, options.seed)
    except measure.CommandError as error:
        print(error, file=sys.stderr)
        return 1
    print_table(cost_rows(costs))
    return 0


def show_levels(options: argparse.Namespace) -> int:
    """Subcommand levels: measure sections, print the figures, store them, judge them."""
    sections = list(SECTIONS) if "all" in options.sections else list(options.sections or USUAL)
    if options.instructions and "instructions" not in sections:
        sections.append("instructions")
    run = Run(
        options.packets,
        options.repetitions,
        options.seed,
        options.by_slope,
        options.dpkt_packets,
        options.instruction_packets,
    )
    before = measure.environment()
    measure_sections(run, sections)
    for name, costs in run.batches.items():
        print(f"\n{name}")
        print_table(cost_rows(costs))
    print(f"\n{run.packets:,} packets a generated capture{', start-up taken out of scans' if run.by_slope else ''}")
    if run.packets != levels.PACKETS:
        print(f"(the levels belong to {levels.PACKETS:,} packets: other lengths say less)")
    print_table(level_rows(run.figures))
    stored = measure.store(
        "levels",
        {
            "environment": before,
            "load_after": measure.environment()["load"],
            "packets": run.packets,
            "by_slope": run.by_slope,
            "repetitions": run.repetitions,
            "seed": run.seed,
            "captures": run.captures,
            "figures": run.figures,
            "failures": run.failures,
            "skipped": run.skipped,
            "cpu_seconds": {
                name: {command: [cost.cpu for cost in samples] for command, samples in costs.items()}
                for name, costs in run.batches.items()
            },
        },
    )
    print(f"stored in benchmarks/results/{stored.name}")
    return judge(run, options)


def judge(run: Run, options: argparse.Namespace) -> int:
    """Exit status: with --gate or --baseline, 1 where a figure is missed, worse, or could not be measured."""
    problems = [f"failed: {line}" for line in run.failures]
    if options.gate:
        problems += [f"first level missed: {line}" for line in missed(run.figures)]
        if not run.figures:
            problems.append("nothing could be measured")
    if options.baseline and options.baseline.is_file():
        told = json.loads(options.baseline.read_text(encoding="utf-8"))
        problems += [f"worse than the baseline: {line}" for line in worse_than(told["figures"], run.figures)]
    for line in [f"skipped: {line}" for line in run.skipped] + problems:
        print(line, file=sys.stderr)
    if options.save_baseline:
        text = json.dumps({"packets": run.packets, "by_slope": run.by_slope, "figures": run.figures}, indent=1)
        options.save_baseline.write_text(text + "\n", encoding="utf-8")
    return 1 if run.failures or (problems and (options.gate or options.baseline)) else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-n", "--repetitions", type=int, default=7, help="counted repetitions (default 7)")
    common.add_argument("--seed", type=int, default=1, help="of the generator and of the order of runs (default 1)")
    parts = words.add_subparsers(dest="what", required=True)
    pair = parts.add_parser("compare", parents=[common], help="CPU time of commands relative to the first")
    pair.add_argument("commands", nargs="+", metavar="COMMAND", help="one argument each, quoted")
    pair.set_defaults(act=compare)
    whole = parts.add_parser("levels", parents=[common], help="tamperscope's figures against their levels")
    whole.add_argument(
        "sections",
        nargs="*",
        choices=[*SECTIONS, "all", []],
        metavar="SECTION",
        help=f"{', '.join(SECTIONS)} or all; default: {', '.join(USUAL)}",
    )
    whole.add_argument(
        "--packets", type=int, default=levels.PACKETS, help="of each generated capture (default 2 million)"
    )
    whole.add_argument("--dpkt-packets", type=int, default=100_000, help="that the dpkt script has to do")
    whole.add_argument("--instruction-packets", type=int, default=100_000, help="under callgrind")
    whole.add_argument("--by-slope", action="store_true", help="take start-up out of scans: for short captures")
    whole.add_argument("--instructions", action="store_true", help="count instructions a packet too (valgrind)")
    whole.add_argument("--gate", action="store_true", help="exit status 1 where a first level is missed")
    whole.add_argument("--baseline", type=Path, help="exit status 1 where a figure got worse than in this file")
    whole.add_argument("--save-baseline", type=Path, help="write the figures for a later --baseline")
    whole.set_defaults(act=show_levels)
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status comes back."""
    options = parser().parse_args(arguments)
    status: int = options.act(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
