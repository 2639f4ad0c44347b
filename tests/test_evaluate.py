"""`make evaluate` prints what is true: its rules are those of the corpus' judge, its intervals exact."""

from __future__ import annotations

import collections
import importlib.util
import json
import pathlib
from typing import Any

import pytest

import evaluate
from corpus import CASES, CORPUS, PCAPS, needs_cases
from tamperscope.scan import scan


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [  # R: binom.test
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (9, 10, 0.5550, 0.9975),
        (490, 514, 0.9313, 0.9699),
        (1, 1, 0.025, 1.0),
    ],
)
def test_interval(right: int, n: int, low: float, high: float) -> None:
    assert evaluate.interval(right, n) == pytest.approx((low, high), abs=5e-5)


@needs_cases
@pytest.mark.skipif(not (CORPUS / "judge.py").exists(), reason="no judge.py (TAMPERSCOPE_CORPUS says where)")
def test_rules_are_those_of_the_corpus() -> None:
    """As many outcomes of each kind and mechanism as judge.py counts from the JSON Lines."""
    spec = importlib.util.spec_from_file_location("corpus_judge", CORPUS / "judge.py")
    assert spec and spec.loader
    theirs: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    here, there = collections.Counter[tuple[str, str]](), collections.Counter[tuple[str, str]]()
    for capture in evaluate.labelled(CASES, ""):
        here.update((one.expected, one.outcome) for one in capture.outcomes)
        label = json.loads(capture.path.read_text())
        findings = [one.to_dict() for one in scan(capture.path.parent / label["file"])]
        there.update(row[:2] for row in theirs.judge_capture(label, findings, "AB"))
    assert here == there


def wrong_truth(folder: pathlib.Path, old: str, new: str) -> list[evaluate.Judged]:
    (folder / "demo.pcap").symlink_to(PCAPS / "demo.pcap")
    index = (PCAPS / "demo.json").read_text()
    assert old in index
    (folder / "demo.json").write_text(index.replace(old, new))
    return list(evaluate.labelled(folder, ""))


def test_errors_are_listed(tmp_path: pathlib.Path) -> None:
    """An accusation that the truth denies stands in the table, in the list, and in the reliability."""
    judged = wrong_truth(tmp_path, '"expected": "dns_forgery"', '"expected": "none"')
    head, row, quiet = list(evaluate.table(judged, ["dns_forgery"]))
    counts = dict(zip(head.split(), row.split(), strict=True))
    assert counts["flows"] == "-" and counts["false"] == "24" and quiet.startswith("innocent flows")
    errors = list(evaluate.errors(judged, ["dns_forgery"]))
    assert len(errors) == 24 and all("expected none, said dns_forgery confirmed" in line for line in errors)
    assert not list(evaluate.errors(judged, ["sni_drop"]))
    assert any("dns_forgery" in line and "0/24" in line for line in evaluate.reliability(judged, []))


def test_frames_named_wrongly_are_listed(tmp_path: pathlib.Path) -> None:
    judged = wrong_truth(tmp_path, "    1873\n", "    9\n")
    assert "frames: 1873 named wrongly, 9 not named" in list(evaluate.errors(judged, ["rst_injection"]))[-1]
    head, row, _ = evaluate.table(judged, ["rst_injection"])
    counts = dict(zip(head.split(), row.split(), strict=True))
    assert 0.9 < float(counts["precision"]) == float(counts["recall"]) < 1


def test_strict(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Accused wrongly: exit status 1 where asked for."""
    wrong_truth(tmp_path, '"expected": "dns_forgery"', '"expected": "none"')
    monkeypatch.setattr(evaluate, "PCAPS", tmp_path)
    assert evaluate.main(["--sets", "pcaps"]) == 0
    assert evaluate.main(["--sets", "pcaps", "--strict", "--no-errors"]) == 1
    monkeypatch.setattr(evaluate, "PCAPS", PCAPS)
    assert evaluate.main(["--sets", "pcaps", "--only", "demo.json", "--strict"]) == 0
    assert "the confidence holds: pcaps" in capsys.readouterr().out


@needs_cases
def test_left_out() -> None:
    """Striking a source's own kinds of evidence never finds more."""
    judged = list(evaluate.labelled(CASES, "ttlcopy"))
    lines = list(evaluate.left_out(judged, []))
    flows, found, without = map(int, lines[1].split()[1:4])
    assert flows >= found >= 1 and without == 0 and not lines[1].endswith("none")
