"""What is written twice for the sake of speed says the same twice."""

from __future__ import annotations

import re

import numpy as np
import pytest

from corpus import DEMO, ROOT
from tamperscope import cli, core, fingerprint, fingerprinters, flows, marks
from tamperscope.scan import scan

FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK"]
PREFIXES = {
    "MARK_": ("tscope_flow_mark", "tscope_transaction_mark"), "FACT_": ("tscope_flow_fact",),
    "WHAT_": ("tscope_trace_what",), "MSG_": ("tscope_message_what",), "STAGE_": ("tscope_stage",),
    "ANSWER_": ("tscope_answer_kind", "tscope_answer_what"),
    "ADDR_": ("tscope_address_kind",), "TRIGGER_": ("tscope_trigger",), "": ("tscope_tcp_flag",),
}  # fmt: skip


def test_marks_are_the_union_over_the_fingerprinters() -> None:
    """A mark left out would hide candidates from a fingerprinter; one too many would load numpy for nothing."""
    for unit, ours in (("flow", marks.FLOW_MARKS), ("transaction", marks.TRANSACTION_MARKS)):
        wanted = 0
        for one in fingerprinters.ALL:
            wanted |= one.marks if one.unit == unit else 0
        assert ours == wanted, unit


def test_what_is_looked_for_is_what_the_fingerprinters_find() -> None:
    """The line that stands where nothing was found is no promise that nobody keeps."""
    assert sorted(cli.LOOKED_FOR) == sorted(one.mechanism for one in fingerprinters.ALL)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_constants_are_those_of_the_header(prefix: str) -> None:
    """Each constant of fingerprint.py is an enumerator of the header, of an enumeration that its prefix means."""
    enums = [core.enum_words(enum) for enum in PREFIXES[prefix]]
    names = [name for name in dir(fingerprint) if name.startswith(prefix)] if prefix else FLAGS
    assert names
    for name in names:
        word = name.removeprefix(prefix).lower()
        assert [True for words in enums if words.get(getattr(fingerprint, name)) == word], name


def test_unknown_offset_is_the_least_int32() -> None:
    assert np.iinfo(np.int32).min == fingerprint.UNKNOWN_OFFSET
    assert "INT32_MIN where that number is not known" in (ROOT / "csrc" / "tamperscope.h").read_text()


def test_words_of_two_enumerations_do_not_mix() -> None:
    """Marks of flows and of transactions share prefix and bits; a flow record bears words of the former only."""
    text = (ROOT / "csrc" / "tamperscope.h").read_text()
    body = re.search(r"enum tscope_flow_mark \{(.*?)\n\};", text, re.S)
    assert body
    names = re.findall(r"TSCOPE_MARK_(\w+) = 1 << (\d+)", body[1])
    assert core.enum_words("tscope_flow_mark") == {1 << int(bit): name.lower() for name, bit in names}
    assert set(flows.bits("tscope_flow_mark", 0xFFFFFFFF)) == {name.lower() for name, _ in names}


def test_flow_records_bear_the_marks_of_their_rows() -> None:
    """From the core's bits to the words of the record, for the bundled recording."""
    names = {name.lower() for name in dir(core.lib) if name.startswith("TSCOPE_MARK_")}
    assert "tscope_mark_rst_repeated" in names
    seen = {mark for record in scan(DEMO, flows=True) if hasattr(record, "marks") for mark in record.marks}
    assert {"rst_after_trigger", "rst_repeated", "unanswered", "trigger_unacked"} <= seen
    assert seen <= set(core.enum_words("tscope_flow_mark").values())
