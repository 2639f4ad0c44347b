"""The small rows that the core counts by: one of each flow and each DNS question, as the large rows say."""

from __future__ import annotations

import numpy as np
import pytest

from corpus import DEMO
from tamperscope import core


def tables(cut: int | None = None) -> tuple[list[core.Batch], list[core.Batch], int]:
    """Batches of tries, batches of flows, and the number that failed; the demo fed in pieces of `cut` bytes."""
    data = DEMO.read_bytes()
    scan = core.Core(core.TRIES | core.FLOWS, key=bytes(16))
    tries, flows = [], []
    at = 0
    while True:
        code, used = scan.feed(data[at : at + (cut or len(data))])
        at += used
        for kind, out in ((core.TRIES, tries), (core.FLOWS, flows)):
            while batch := scan.take(kind):
                out.append(batch)
        if code < 0 or at >= len(data):
            break
    scan.end()
    for kind, out in ((core.TRIES, tries), (core.FLOWS, flows)):
        while batch := scan.take(kind):
            out.append(batch)
    return tries, flows, int(scan.summary().failed)


def rows(batches: list[core.Batch], field: str, struct: str, count: str) -> list[tuple[bytes, dict[str, object]]]:
    out = []
    for batch in batches:
        text = batch.text
        for row in batch.table(field, struct, count):
            name = text[int(row["name_offset"]) :][: int(row["name_length"])]
            out.append((name, {key: row[key].tolist() for key in row.dtype.names if key != "name_offset"}))
    return out


def test_every_flow_has_its_row() -> None:
    """The same numbers, names, outcomes and stages; DNS flows are told by their questions."""
    tries, flows, failed = tables()
    small = {row["flow"]: (name, row) for name, row in rows(tries, "tries", "tscope_try", "n_tries")
             if not row["transaction"]}  # fmt: skip
    large = {row["number"]: (name, row) for name, row in rows(flows, "flows", "tscope_flow", "n_flows")
             if row["server_port"] != 53}  # fmt: skip
    assert small.keys() == large.keys() and small
    for number, (name, row) in small.items():
        other = large[number][1]
        assert name == large[number][0]
        for key in ("client", "server", "server_port", "protocol", "outcome", "stage", "first_ns", "facts"):
            assert row[key] == other[key], key
        assert row["packets"] == sum(other["packets"])
    bad = sum(row["outcome"] > core.constant("OUT_OK") and row["stage"] != core.constant("STAGE_TRANSFER")
              for _, row in rows(tries, "tries", "tscope_try", "n_tries"))  # fmt: skip
    assert failed == bad > 0


def test_every_question_has_its_row_and_its_addresses() -> None:
    tries, _, _ = tables()
    questions = [(name, row) for name, row in rows(tries, "tries", "tscope_try", "n_tries") if row["transaction"]]
    assert len(questions) == len({row["transaction"] for _, row in questions}) > 100
    learned = rows(tries, "learned", "tscope_learned", "n_learned")
    assert {name for name, _ in learned} <= {name for name, _ in questions} and len(learned) > 100
    assert all(any(row["address"]) for _, row in learned)


@pytest.mark.parametrize("cut", [997, 40_000])
def test_cut_of_the_input_does_not_matter(cut: int) -> None:
    one, other = (tables(size)[0] for size in (None, cut))
    fields = (("tries", "tscope_try", "n_tries"), ("learned", "tscope_learned", "n_learned"))
    for field in fields:
        assert rows(one, *field) == rows(other, *field)


def test_rows_outlive_the_scan() -> None:
    batch = tables()[0][-1]
    table = batch.table("tries", "tscope_try", "n_tries")
    del batch
    assert np.count_nonzero(table["flow"]) == len(table)
