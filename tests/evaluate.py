"""
How good the findings are: a table a mechanism with every error, and how far the confidence holds.

    make evaluate                                       everything
    python tests/evaluate.py --sets cases --only ir-    a part: sets by name, captures by a part of their path
    python tests/evaluate.py --mechanism dns_forgery    one mechanism's row and errors only

Sets: ``cases`` (labelled captures of others), ``pcaps`` (the project's own recordings), ``captures`` (200 captures of
other projects, of which 91 are known to hold nothing).  The corpus is that of ``corpus.py``; without it only the
project's own recordings are looked at.  The rules by which a flow is judged are those of ``truth.py``.

Exit status: 0; with --strict 1 where anybody was accused wrongly.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

from corpus import CASES, CORPUS, PCAPS
from tamperscope import weigh
from tamperscope.catalogue import MECHANISMS
from tamperscope.errors import TamperscopeError
from tamperscope.model import Finding
from tamperscope.scan import scan
from test_recordings import NOT_FOUND, RIGHT_ALL_THE_SAME
from truth import Outcome, judge

CAPTURES = CORPUS / "captures"
SETS = ("cases", "pcaps", "captures")
ACCUSING = ("confirmed", "likely")
COLUMNS = ("flows", "found", "accepted", "unsure", "other", "missed", "false", "overclaim", "murmur")
ERRORS = ("false", "overclaim", "other", "missed", "unsure", "murmur")
# Captures whose manifest says that nothing is in them, and what the packets say.
NOT_INNOCENT = {
    "tcp/qi_internet_SYNACK_curl_jsonip.pcap": "frame 5 is a forged answer, without timestamps and with IP ID 1; the "
    "server's own acknowledges only the request (frame 7) and comes in frame 9 for the same place in the stream",
}
# Confidence from, to (exclusive), and what it claims.
BANDS = ((0.9, 0.99, "0.9 to 0.99"), (0.99, 1.01, "0.99 and more"))


class Judged:
    """One labelled capture: where it comes from, and what became of its flows."""

    def __init__(self, path: pathlib.Path, source: str, outcomes: list[Outcome]) -> None:
        self.path = path
        self.source = source
        self.outcomes = outcomes


# ---------------------------------------------------------------- figures


def table(judged: list[Judged], mechanisms: Iterable[str]) -> Iterator[str]:
    """
    A row a mechanism: its own flows, and its accusations of others.

    flows: with a label of quality A or B that this mechanism was at work; false, overclaim, murmur: flows whose label
    is none, insufficient, none, that were said to be this mechanism's.
    """
    rows = {name: collections.Counter[str]() for name in mechanisms}
    frames = {name: [0, 0, 0] for name in mechanisms}  # right, named, known
    quiet = 0
    for one in (outcome for capture in judged for outcome in capture.outcomes):
        quiet += one.expected == "none"
        if one.outcome in ("false", "overclaim", "murmur"):
            for mechanism in said(one):
                if mechanism in rows:
                    rows[mechanism][one.outcome] += 1
        elif one.expected in rows and one.counts:
            rows[one.expected].update(("flows", one.outcome))
            if one.outcome == "found":
                named, known = one.frames
                frames[one.expected] = [
                    a + len(b) for a, b in zip(frames[one.expected], (named & known, named, known), strict=True)
                ]
    head = "".join(f"{column:>10}" for column in COLUMNS)
    yield f"{'mechanism':<14}{head}{'frames':>8}{'precision':>11}{'recall':>8}"
    for name, row in rows.items():
        right, named, known = frames[name]
        counts = "".join(f"{row[column] or '-':>10}" for column in COLUMNS)
        yield f"{name:<14}{counts}{known or '-':>8}{_share(right, named):>11}{_share(right, known):>8}"
    yield f"innocent flows looked at: {quiet:,}"


def said(one: Outcome) -> list[str]:
    """Mechanisms of the findings that made this outcome."""
    accusing = {found.mechanism for found in one.found if found.verdict in ACCUSING}
    return sorted(accusing - set(one.flow.get("accept") or []) or {found.mechanism for found in one.found})


def errors(judged: list[Judged], mechanisms: Iterable[str]) -> Iterator[str]:
    """Every flow that is not as it should be, the worst kind first; then frames named wrongly."""
    wanted = set(mechanisms)
    for kind in ERRORS:
        for capture in judged:
            for one in capture.outcomes:
                about = {one.expected, *said(one)}
                if one.outcome == kind and about & wanted and (one.counts or kind in ("false", "overclaim", "murmur")):
                    frames = f" (trigger {one.flow.get('trigger_frame')})" if one.flow.get("trigger_frame") else ""
                    known = RIGHT_ALL_THE_SAME.get(one.key) or NOT_FOUND.get(one.key)
                    yield f"{one}{frames}" + (f" (known: {known})" if known else "")
    for capture in judged:
        for one in capture.outcomes:
            if one.outcome == "found" and one.expected in wanted:
                named, known = one.frames
                if named != known:
                    where = f"{one.capture}: {one.flow['client']} {one.flow['server']}"
                    yield f"{where}: frames: {_few(named - known)} named wrongly, {_few(known - named)} not named"


def reliability(judged: list[Judged], innocent: list[tuple[str, Finding]]) -> Iterator[str]:
    """
    Of the findings of each band of confidence, how many are right, with the exact interval of 95 %.

    Right: the label names this mechanism, or accepts it.  Findings on flows that nobody has labelled are left out.
    Findings of one capture are no independent trials: the number of captures stands beside.
    """
    trials: dict[tuple[str, str], list[tuple[bool, str]]] = collections.defaultdict(list)
    for capture in judged:
        for one in capture.outcomes:
            right = {one.expected, *(one.flow.get("accept") or [])}
            for found in one.found:
                _trial(trials, found, found.mechanism in right, one.capture)
    for name, found in innocent:
        _trial(trials, found, False, name)
    yield f"{'confidence':<16}{'mechanism':<16}{'right':>12}{'share':>8}{'95 % interval':>18}{'captures':>10}"
    for _, _, band in BANDS:
        for mechanism in ("all", *MECHANISMS):
            seen = trials.get((band, mechanism))
            if seen:
                right = sum(ok for ok, _ in seen)
                low, high = interval(right, len(seen))
                share = f"{f'{right:,}/{len(seen):,}':>12}{right / len(seen):>8.3f}"
                captures = len({name for _, name in seen})
                yield f"{band:<16}{mechanism:<16}{share}{f'{low:.4f} to {high:.4f}':>18}{captures:>10}"


def _trial(trials: dict[tuple[str, str], list[tuple[bool, str]]], found: Finding, right: bool, capture: str) -> None:
    for low, high, band in BANDS:
        if found.confidence is not None and low <= found.confidence < high:
            for mechanism in ("all", found.mechanism):
                trials[band, mechanism].append((right, capture))


def interval(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share."""
    tail = (1 - level) / 2
    low = 0.0 if right == 0 else _root(lambda p: 1 - _at_most(right - 1, n, p) - tail)
    high = 1.0 if right == n else _root(lambda p: tail - _at_most(right, n, p))
    return low, high


def _at_most(k: int, n: int, p: float) -> float:
    """Probability of at most k successes in n trials."""
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 or k >= n else 0.0
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return math.fsum(map(math.exp, logs))


def _root(function: Callable[[float], float]) -> float:
    """Where an increasing function of 0 to 1 becomes positive."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2


# ---------------------------------------------------------------- leave one source out


def left_out(cases: list[Judged], lab: list[Judged]) -> Iterator[str]:
    """
    What is found in a source when all kinds of evidence that no other public source shows are struck.

    Weights rest on reasons and are not fitted, so there is nothing to fit again; but that a kind of evidence exists at
    all was often learned from one collection.  The project's own recordings count as one source and lend no kind to the
    others, since they were made by people who knew what is looked for.
    """
    kinds: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for capture in cases:
        for found in _right(capture):
            kinds[capture.source].update((found.mechanism, fact.id) for fact in found.evidence)
    yield f"{'source left out':<40}{'flows':>7}{'found':>7}{'without':>9}  kinds of evidence struck"
    sources = sorted({capture.source for capture in cases})
    groups = [(source, [one for one in cases if one.source == source]) for source in sources]
    for source, captures in [*groups, ("the project's own recordings", lab)]:
        others = set().union(*(kinds[other] for other in kinds if other != source))
        own = {(found.mechanism, fact.id) for one in captures for found in _right(one) for fact in found.evidence}
        struck = own - others
        flows = [one for capture in captures for one in capture.outcomes if one.counts and one.expected in MECHANISMS]
        before = sum(one.outcome == "found" for one in flows)
        if not before:
            continue
        after, false = before, ""
        if struck:
            again = [outcome for capture in captures for outcome in _without(struck, capture.path)]
            after = sum(one.outcome == "found" and one.counts for one in again)
            wrong = sum(one.outcome in ("false", "overclaim") for one in again)
            false = f"; {wrong} accused wrongly" if wrong else ""
        shown = ", ".join(sorted(id for _, id in struck)) or "none"
        yield f"{source:<40}{len(flows):>7}{before:>7}{after:>9}  {shown}{false}"


def _right(capture: Judged) -> Iterator[Finding]:
    for one in capture.outcomes:
        if one.outcome == "found":
            yield from (found for found in one.found if found.mechanism == one.expected)


def _without(struck: set[tuple[str, str]], index: pathlib.Path) -> list[Outcome]:
    """Judge a capture again, these kinds of evidence weighing nothing."""
    weights = weigh.load()
    for key in struck:
        weights.entries.pop(key, None)
    with mock.patch.object(weigh, "load", lambda: weights):
        return judge(index)


# ---------------------------------------------------------------- captures


def labelled(folder: pathlib.Path, only: str) -> Iterator[Judged]:
    for index in sorted(folder.rglob("*.json")):
        label = json.loads(index.read_text())
        if only not in str(index) or not isinstance(label, dict) or "flows" not in label or "file" not in label:
            continue
        source = label["source"]
        name = source["repository"] if source["repository"] != "tamperscope" else source["path"]
        yield Judged(index, name, judge(index))


def unlabelled(only: str) -> Iterator[tuple[str, str, list[Finding]]]:
    """(path, benign, findings) of each capture of ``captures``."""
    with (CAPTURES / "MANIFEST.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            if only not in row["path"]:
                continue
            found: list[Finding] = []
            with contextlib.suppress(TamperscopeError):  # not to be decoded, which is looked at elsewhere
                found.extend(one for one in scan(CAPTURES / row["path"]) if isinstance(one, Finding))
            yield row["path"], row["benign"], found


def others(captures: list[tuple[str, str, list[Finding]]], wanted: set[str]) -> Iterator[str]:
    innocent = [(path, found) for path, benign, found in captures if benign == "yes" and path not in NOT_INNOCENT]
    accused = [(path, one) for path, found in innocent for one in found if one.verdict in ACCUSING]
    murmurs = [(path, one) for path, found in innocent for one in found if one.verdict not in ACCUSING]
    yield f"{len(innocent)} captures without interference: {len(accused)} accusations, {len(murmurs)} insufficient"
    for path, one in accused + murmurs:
        if one.mechanism in wanted:
            yield f"  {_short(path, one)}"
    for path, _, found in captures:
        if path in NOT_INNOCENT:
            yield from (f"  {_short(path, one)} (right: {NOT_INNOCENT[path]})" for one in found)
    rest = [(path, one) for path, benign, found in captures if benign != "yes" for one in found]
    unknown = sum(benign != "yes" for _, benign, _ in captures)
    yield f"{unknown} captures that nobody has labelled: {len(rest)} findings, to be looked at"
    groups: dict[tuple[str, str, str], list[Finding]] = collections.defaultdict(list)
    for path, one in rest:
        if one.mechanism in wanted:
            groups[path, one.mechanism, one.verdict].append(one)
    for (path, _, _), found in groups.items():
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        yield f"  {_short(path, found[0])}{more}"


def _short(path: str, one: Finding) -> str:
    name = one.to_dict()["name"] or "-"
    facts = " ".join(fact.id for fact in one.evidence)
    return f"{path}: flow {one.flow} {name}: {one.mechanism} {one.verdict} {one.confidence or ''} ({facts})"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _few(frames: set[int]) -> str:
    shown = " ".join(map(str, sorted(frames)[:8])) or "none"
    return f"{shown} and {len(frames) - 8} more" if len(frames) > 8 else shown


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS), help="of cases,pcaps,captures")
    parser.add_argument("--only", default="", help="captures whose path contains this")
    parser.add_argument("--mechanism", choices=MECHANISMS, action="append", help="may be repeated")
    parser.add_argument("--no-errors", action="store_true", help="tables only")
    parser.add_argument("--no-left-out", action="store_true", help="without leave-one-source-out, which scans again")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where anybody was accused wrongly")
    options = parser.parse_args(argv)
    sets = options.sets.split(",")
    if set(sets) - set(SETS):
        parser.error(f"--sets: known are {', '.join(SETS)}")
    mechanisms = options.mechanism or MECHANISMS
    wrong = 0
    done: dict[str, list[Judged]] = {"cases": [], "pcaps": []}
    for name, folder in (("cases", CASES), ("pcaps", PCAPS)):
        if name not in sets:
            continue
        if not folder.is_dir():
            print(f"\n== {name}: left out, not there (TAMPERSCOPE_CORPUS says where)")
            continue
        done[name] = judged = list(labelled(folder, options.only))
        print(f"\n== {name}: {len(judged)} labelled captures")
        say(table(judged, mechanisms))
        if not options.no_errors:
            say(errors(judged, mechanisms), "  ")
        wrong += sum(one.outcome in ("false", "overclaim") for capture in judged for one in capture.outcomes)
    innocent: list[tuple[str, Finding]] = []
    if "captures" in sets and CAPTURES.is_dir():
        captures = list(unlabelled(options.only))
        print("\n== captures of other projects")
        say(others(captures, set(mechanisms)))
        innocent = [
            (path, one)
            for path, benign, found in captures
            if benign == "yes" and path not in NOT_INNOCENT
            for one in found
        ]
        wrong += sum(one.verdict in ACCUSING for _, one in innocent)
    for name, judged in done.items():
        if judged:
            print(f"\n== how far the confidence holds: {name}")
            say(reliability(judged, innocent if name == "cases" else []))
    if not options.no_left_out and done["cases"]:
        print("\n== leave one source out")
        say(left_out(done["cases"], done["pcaps"]))
    print("\n== throttling on traces whose policer is known: benchmarks/evaluate_policing.py, run next by make")
    return 1 if options.strict and wrong else 0


def say(lines: Iterable[str], indent: str = "") -> None:
    for line in lines:
        print(indent + line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
