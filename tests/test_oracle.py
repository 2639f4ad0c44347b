"""
200 captures of other projects, held to what tshark says of them, category by category.

    pytest tests/test_oracle.py -s        prints the agreement

Differences that stay stand in oracle/reviewed.csv, each with its frames, the clause of the standard and the reason; a
difference more or less than these fails, so the list cannot grow stale.  The oracle is the corpus' own (see its README
for how it was made and where it is known to be wrong: disputed.csv).
"""

from __future__ import annotations

import collections
import csv
import importlib.util
import pathlib
from typing import Any

import pytest

from corpus import CORPUS
from oracle.interchange import account

CAPTURES = CORPUS / "captures"
REVIEWED = pathlib.Path(__file__).parent / "oracle" / "reviewed.csv"
MOST_REVIEWED = 20
EXACT = ("packets", "first_ns", "last_ns", "min_ns", "max_ns", "rst", "rst_detail")

pytestmark = pytest.mark.skipif(
    not (CAPTURES / "oracle").is_dir(), reason="no conformance captures (TAMPERSCOPE_CORPUS says where)"
)


def comparison() -> Any:
    """The corpus' compare.py as a module."""
    spec = importlib.util.spec_from_file_location("oracle_compare", CAPTURES / "compare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["FOLD"] = True  # the library gives names in lower case (RFC 4343)
    return module


def disputed() -> dict[str, set[str]]:
    out: dict[str, set[str]] = collections.defaultdict(set)
    with (CAPTURES / "disputed.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            out[row["path"]].add(row["category"])
    return out


def reviewed() -> list[dict[str, str]]:
    with REVIEWED.open(newline="") as rows:
        return list(csv.DictReader(rows))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """compare.py's result of each capture."""
    compare, excused = comparison(), disputed()
    return {
        name: compare.compare(account(str(CAPTURES / name)), compare.load(path), disputed=excused.get(name, ()))
        for name, path in compare.tree(str(CAPTURES / "oracle")).items()
    }


def test_differences_are_the_reviewed_ones(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """As many differences of each capture and category as were looked at; all others agree."""
    with capsys.disabled():
        print()
        comparison().report(results, summary=True)
    found = collections.Counter((name, category) for name, result in results.items() for category, _ in result.diffs)
    known: collections.Counter[tuple[str, str]] = collections.Counter()
    for row in reviewed():
        known[row["path"], row["category"]] += int(row["differences"])
    texts = [(name, *diff) for name, result in sorted(results.items()) for diff in result.diffs]
    assert found == known, [text for text in texts if found[text[:2]] != known[text[:2]]]


def test_packets_times_and_resets_agree(results: dict[str, Any]) -> None:
    """These leave nothing to review."""
    for category in EXACT:
        wrong = [name for name, result in results.items() if result.good[category] != result.total[category]]
        assert not wrong, (category, wrong)


def test_all_captures_are_compared(results: dict[str, Any]) -> None:
    assert len(results) == 200
    refused = {name for name, result in results.items() if "packets" in result.unreported}
    assert len(refused) <= 4, sorted(refused)


def test_review_says_why() -> None:
    """Few, and each with its frames, the clause and the reason."""
    rows = reviewed()
    assert len(rows) <= MOST_REVIEWED
    for row in rows:
        assert all(row[field].strip() for field in ("path", "category", "frames", "clause", "reason")), row
        assert int(row["differences"]) > 0, row
