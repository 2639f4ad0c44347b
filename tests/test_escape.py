"""Attacker text on its way out: nothing that moves the cursor, hides, turns round or breaks a line gets through."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import finding, flow_record
from tamperscope.model import Summary
from tamperscope.report import jsonl
from tamperscope.report.escape import quoted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "-"),
        ("", ""),
        (b"x.example", "x.example"),
        ("bücher.example", "bücher.example"),
        (b"\x1b]0;own\x07", "\\x1b]0;own\\x07"),
        ("a\nb\rc\td\0e", "a\\x0ab\\x0dc\\x09d\\x00e"),
        ("\x7f\x80\x9b\x9f", "\\x7f\\x80\\x9b\\x9f"),
        ("\u202egpj.exe\u2066", "\\u{202e}gpj.exe\\u{2066}"),
        ("a\u200bb\u200db\ufeff", "a\\u{200b}b\\u{200d}b\\u{feff}"),
        ("\u2028\u2029\u0085", "\\u{2028}\\u{2029}\\x85"),
        ("\u00a0\u3000", "\\u{a0}\\u{3000}"),
        ("\u3164\u2800\u00ad", "\\u{3164}\\u{2800}\\u{ad}"),
        ("e\u0301\u0489", "e\\u{301}\\u{489}"),
        ("\ue000\U000e0041", "\\u{e000}\\u{e0041}"),
        (b"\xff\xc3\x28", "\\xff\\xc3("),
        ("caf\udce9.pcap", "caf\\xe9.pcap"),
        ("\ud800", "\\u{d800}"),
        ("a" * 255, "a" * 255),
        ("a" * 300, "a" * 255 + "…(+45)"),
    ],
)
def test_visible(text: str | bytes | None, shown: str) -> None:
    assert visible(text) == shown


def test_ellipsis_in_ascii() -> None:
    assert visible("abcdef", limit=3, ellipsis="...") == "abc...(+3)"


@given(st.one_of(st.text(), st.binary()))
def test_visible_is_always_harmless(text: str | bytes) -> None:
    """Whatever comes in: one line of printable characters, never longer than the cap and its note."""
    shown = visible(text)
    assert shown.isprintable() and len(shown) < 275
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Mn", "Me") for char in shown)
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert not any(unicodedata.bidirectional(char) in turns for char in shown)


def test_every_character() -> None:
    """All of Unicode, so that a new table of it in a later Python is looked at too."""
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category in ("Cn", "Co") and code % 97:  # a million of them, alike
            continue
        if category[0] in "CM" or category in ("Zl", "Zp"):
            assert visible(chr(code)) != chr(code) and visible(chr(code)).isascii(), hex(code)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("evening.pcap", "evening.pcap"),
        ("/data/20 Jan/é.pcap", "/data/20 Jan/é.pcap"),
        ("esc\x1b]0;own\x07.pcap", "'esc\\x1b]0;own\\x07.pcap'"),
        ("", "''"),
        (" x", "' x'"),
        ("a\udcff", "'a\\xff'"),
    ],
)
def test_quoted(path: str, shown: str) -> None:
    assert quoted(path) == shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_encode_is_json(value: object) -> None:
    """Same bytes as the standard encoder, so any reader of JSON reads it."""
    assert jsonl.encode(value) == json.dumps(value, separators=(",", ":"), allow_nan=False)


@given(st.text(st.characters(), max_size=20))
def test_strings_have_no_lone_surrogates(text: str) -> None:
    """A path that is no UTF-8 must not make output that strict readers refuse."""
    line = jsonl.encode(text + "\udcff\ud800")
    assert line.isascii() and line.isprintable()
    json.loads(line).encode("utf-8")


def test_bytes_of_a_path_are_shown() -> None:
    assert jsonl.encode("caf\udce9.pcap") == '"caf\\\\xe9.pcap"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON has no"):
        jsonl.line(finding(rtt_ms=value))


@pytest.mark.parametrize("value", [b"bytes", {1: 2}, {1, 2}, object()])
def test_unknown_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        jsonl.encode(value)


@given(
    st.one_of(st.none(), st.binary(max_size=300)),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.floats(0, 1e6)),
    st.lists(st.sampled_from(("late_data", "stall")), unique=True).map(tuple),
)
def test_fast_flow_line_is_the_slow_one(
    name: bytes | None, time_ns: int | None, rtt_ms: float | None, marks: tuple[str, ...]
) -> None:
    """The formatted line and the general encoder give the same bytes."""
    flow = flow_record(name=name, time_ns=time_ns, rtt_ms=rtt_ms, marks=marks, vlan=7, capture="é\udcff")
    text = jsonl.line(flow)
    assert text == jsonl.encode(flow.to_dict())
    assert text.isascii() and "\n" not in text
    assert text.startswith('{"type":"flow","schema":1,')


def test_lines_start_with_type() -> None:
    assert jsonl.line(finding()).startswith('{"type":"finding","schema":1,"id":')
    assert jsonl.line(Summary("a", version="1", rules="1")).startswith('{"type":"summary"')
