"""The public layout of candidates: helpers per flow, selections, observations, constants as in the header."""

from __future__ import annotations

import numpy as np
import pytest

from reference import layout
from reference.tables import CLIENT, SERVER, flow, tables
from tamperscope import fingerprint
from tamperscope.fingerprint import Candidates, Fingerprinter, Ragged, unlike


def ragged() -> Ragged:
    """Three owners with two, no and three rows."""
    return Ragged(np.array([2, 0, 3]))


def test_helpers_give_owners_without_rows_their_empty_value() -> None:
    """reduceat alone would give an empty owner the next one's first row."""
    r, mask = ragged(), np.array([False, True, True, False, True])
    assert r.count(mask).tolist() == [1, 0, 2]
    assert r.any(mask).tolist() == [True, False, True]
    assert r.first(mask).tolist() == [1, -1, 2]
    assert r.last(mask).tolist() == [1, -1, 4]
    values = np.array([9, 7, 5, 1, 6])
    assert r.smallest(values, mask, -1).tolist() == [7, -1, 5]
    assert r.largest(values, mask, -1).tolist() == [7, -1, 6]


def test_running_helpers_stay_within_their_owner() -> None:
    """What came before in another flow never counts."""
    r, mask = ragged(), np.array([True, True, False, True, False])
    assert r.before(mask).tolist() == [0, 1, 0, 0, 1]
    assert r.latest(mask).tolist() == [-1, 0, -1, -1, 3]
    assert r.spread(np.array([4, 5, 6])).tolist() == [4, 4, 6, 6, 6]


def test_no_candidates_at_all() -> None:
    """Every helper takes empty tables."""
    r, nothing = Ragged(np.zeros(0, np.int64)), np.zeros(0, np.bool_)
    for helper in (r.count, r.any, r.first, r.last, r.before, r.latest):
        assert len(helper(nothing)) == 0


def test_unlike_needs_a_baseline_of_the_same_sender() -> None:
    """A value differs only from what this owner and key had; without any there is no difference."""
    r = Ragged(np.array([3, 2]))
    values, key = np.array([64, 50, 50, 50, 64]), np.array([1, 1, 0, 1, 0])
    subject = np.array([False, True, True, True, False])
    reference = np.array([True, False, False, False, True])
    assert unlike(r, values, subject, reference, key).tolist() == [False, True, False, False, False]


def test_selection_gathers_the_rows_of_its_flows() -> None:
    """Rows follow their flow, and `original` says which it was."""
    c = tables(
        flow([CLIENT("S"), SERVER("SA")], name="a.example"),
        flow([CLIENT("S")]),
        flow([CLIENT("S"), SERVER("R")], name="c.example"),
    )
    picked = c.select(np.array([True, False, True]))
    assert picked.original.tolist() == [0, 2]
    assert picked.trace["frame"].tolist() == [1, 2, 4, 5]
    assert picked.owner.tolist() == [0, 0, 1, 1]
    assert [picked.name(i) for i in range(2)] == [b"a.example", b"c.example"]
    assert c.name(1) is None


def test_iteration_gives_one_flow_at_a_time() -> None:
    """For those who experiment: rows, trace and name of each."""
    c = tables(flow([CLIENT("S"), SERVER("SA")], name="a.example"), flow([CLIENT("S")]))
    assert [(one.index, len(one.trace), one.name) for one in c] == [(0, 2, b"a.example"), (1, 1, None)]


def test_observation_keeps_frames_of_its_rows_only() -> None:
    """Frames of flows that are not in it are left out; values are cut to its rows."""
    c = tables(flow([CLIENT("S"), SERVER("R")]), flow([CLIENT("S"), SERVER("R")]))
    seen = c.observe("x", np.array([False, True]), c.is_reset, values={"n": np.array([1, 2])})
    assert (seen.rows.tolist(), seen.frames_of(0), seen.values["n"].tolist()) == ([1], [4], [2])


@pytest.mark.parametrize("prefix", ["MARK_", "FACT_", "WHAT_", "MSG_", "STAGE_", "ADDR_", "TRIGGER_"])
def test_constants_are_those_of_the_header(prefix: str) -> None:
    """Written twice so that numpy users need no C library; held together here."""
    header = layout.enumeration(prefix)
    ours = {name[len(prefix) :]: getattr(fingerprint, name) for name in dir(fingerprint) if name.startswith(prefix)}
    assert ours and all(header[name] == value for name, value in ours.items())


def test_a_fingerprinter_of_ones_own_is_a_small_class() -> None:
    """Marks pick, one hook looks."""

    class Refused(Fingerprinter):
        mechanism = "ip_block"
        marks = layout.enumeration("MARK_")["RST_ON_SYN"]

        def examine(self, candidates: Candidates) -> list[fingerprint.Observation]:
            return [candidates.observe("refused", candidates.any(candidates.is_reset), candidates.is_reset)]

    c = tables(flow([CLIENT("S"), SERVER("RA", seq=0)], marks=("RST_ON_SYN",)), flow([CLIENT("S"), SERVER("SA")]))
    one = Refused()
    assert one.pick(c).tolist() == [True, False]
    assert one.examine(c.select(one.pick(c)))[0].frames_of(0) == [2]
