"""The readable result: says what the evidence carries and no more, at any width, on any terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fakes import FakeScan
from records import finding, flow_record
from tamperscope.model import Evidence, Finding
from tamperscope.report.table import GROUPS, ROWS, Table, statement


def render(records: Any = (), width: int = 80, interrupted: bool = False, **options: Any) -> str:
    """What a terminal gets; keywords are those of Table or of the summary."""
    looks = {key: options.pop(key) for key in ("colour", "ascii_only", "looked_for") if key in options}
    out: list[str] = []
    table = Table(out.append, width, **looks)
    scan = FakeScan("evening.pcap", records, **options)
    for record in scan:
        if isinstance(record, Finding):
            table.finding(record)
        else:
            table.flow(record)
    table.end(scan.summary, interrupted)
    return "".join(out)


def undecided(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "mechanism": "sni_drop",
        "verdict": "insufficient",
        "confidence": None,
        "proof": "absence",
        "injected_frames": [],
        "genuine_frames": [],
        "missing": ["control", "server_direction"],
        "evidence": [],
    }
    values.update(changes)
    return finding(**values)


def words(text: str) -> str:
    return " ".join(text.split())


def test_finding_is_shown_with_its_proof() -> None:
    """Who, when, which frames, how sure, and why."""
    text = words(render([finding()]))
    assert "evening.pcap pcap, 10 frames, 9 packets, 3 flows 2024-01-20 14:02:11 to 14:03:11 UTC" in text
    assert "Interference found: confirmed for 1 flow." in text
    assert "rst_injection x.example 1 confirmed" in text
    assert "confirmed 0.9994 14:02:11.482911Z tcp 10.20.0.7:51544 -> 192.0.2.44:443" in text
    assert "flow 17, trigger frame 1204, injected frames 1205 1206" in text
    assert "A third party on the path injected TCP resets (frames 1205 1206)." in text
    assert "+ the server went on sending after its reset (frame 1209)" in text
    assert "injector: 3 to 4 hops away by its TTL; habits like gfw.type2 0.80" in text


def test_nothing_found_says_what_was_looked_at() -> None:
    text = words(
        render(
            flows=812,
            transactions=38,
            candidates=44,
            not_judged={"no_server_direction": 4, "cut": 40},
            anomalies={"short_header": 2, "not_ip": 7},
            evicted=5,
            limits=["max_flows"],
            looked_for=("rst_injection", "sni_drop"),
        )
    )
    assert "No interference found in 812 flows and 38 DNS questions; 44 looked at closely." in text
    assert "Looked for: rst_injection, sni_drop." in text
    assert "Could not be judged: 44 flows (cut 40, no server direction 4)." in text
    assert "Not looked into: not ip 7. Odd packets: short header 2." in text
    assert "5 flows closed early" in text and "Limits reached: max flows." in text


@pytest.mark.parametrize(
    ("counts", "said"),
    [({"frames": 0, "packets": 0, "first_ns": None}, "no frame in it"), ({"packets": 0}, "holds an IP packet")],
)
def test_nothing_to_judge(counts: dict[str, Any], said: str) -> None:
    """A capture without packets is not called free of interference."""
    text = words(render(**counts))
    assert "Nothing to judge" in text and said in text and "No interference" not in text


def test_insufficient_is_not_an_accusation() -> None:
    """Neither the headline nor the sentence accuses, and no number stands beside the word."""
    text = words(render([undecided()]))
    assert "No interference found" in text and "Interference found" not in text
    assert "Not enough evidence to tell for 1 flow." in text
    assert "It would take: other flows in the same minutes to compare with; server direction." in text
    assert "insufficient 14:02:11" in text
    assert "third party" not in text and "blocked" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "A third party on the path injected TCP resets (frames 1205 1206)."),
        ({"verdict": "likely"}, "Most likely a third party on the path injected TCP resets (frames 1205 1206)."),
        ({"mechanism": "dns_forgery", "injected_frames": [7]}, "party on the path injected DNS answers (frame 7)."),
        ({"injected_frames": list(range(1, 12)), "injected_total": 5000}, "(frames 1 2 3 4 5 6 7 8 and 4,992 more)."),
        ({"verdict": "likely", "proof": "correlation"}, "Flows with this name failed; comparable flows did not."),
        (
            {"verdict": "likely", "proof": "absence", "mechanism": "sni_drop"},
            "Consistent with dropping after the server name; for a single flow a fault would look alike.",
        ),
        (
            {"mechanism": "sni_drop", "injected_frames": []},
            "Something on the path dropped what came after the server name; the other end was alive.",
        ),
        (
            {"mechanism": "dns_drop", "injected_frames": [], "verdict": "likely"},
            "Most likely something on the path dropped the DNS packets; the other end was alive.",
        ),
        ({"mechanism": "own_kind", "injected_frames": []}, "A third party on the path interfered: own kind."),
    ],
)
def test_statement(changes: dict[str, Any], said: str) -> None:
    assert statement(finding(**changes)).endswith(said)


def test_confidence_never_rounds_up() -> None:
    assert "confirmed 0.9998 " in render([finding(confidence=0.99989)])
    assert "confirmed >0.9999 " in render([finding(confidence=0.99999)])
    assert "confirmed >0.9999 " in render([finding(confidence=1.0)])


def test_against_and_limits_are_shown() -> None:
    against = [Evidence("same_ttl", "header", -0.4, [], "the TTL is the server's")]
    text = words(render([finding(against=against, limits=["one_direction"], also=["sni_drop"])]))
    assert "- the TTL is the server's" in text
    assert "seen only in part: one direction" in text
    assert "also on this flow: sni_drop" in text


def test_strongest_first_and_the_rest_counted() -> None:
    """A group shows its strongest flows; those left out are counted, never dropped in silence."""
    weak = [finding(flow=i, verdict="likely", confidence=0.9 + i / 1000) for i in range(20)]
    text = render([undecided(mechanism="rst_injection"), *weak, finding(flow=99)])
    assert text.count("-> 192.0.2.44:443") == ROWS
    assert "and 17 more; --json lists all" in text
    assert "flow 99, the strongest:" in text
    assert re.findall(r"flow (\d+), trigger", text) == ["99", "19", "18", "17", "16"]


def test_many_names_do_not_fill_memory() -> None:
    """A name a flow is an attack on a table that groups by name."""
    text = render(finding(name=b"%d.example" % i) for i in range(GROUPS + 7))
    assert "7 more findings under further names are not shown" in text
    assert f"confirmed for {GROUPS + 7:,} flows" in text


def test_strongest_mechanism_first() -> None:
    """What is proven comes before what is likely, and that before what is open."""
    likely = finding(mechanism="sni_drop", verdict="likely", confidence=0.95)
    text = render([undecided(mechanism="ip_block"), likely, finding()])
    assert re.findall(r"^(\w+)  x.example", text, re.M) == ["rst_injection", "sni_drop", "ip_block"]


def test_dns_counts_questions() -> None:
    text = words(render([finding(mechanism="dns_forgery", proto="udp", transaction=3), finding()]))
    assert "confirmed for 1 flow and 1 DNS question" in text
    assert "question 3" in text


@pytest.mark.parametrize("width", [1, 40, 41, 60, 80, 110, 5000])
def test_lines_keep_to_the_width(width: int) -> None:
    """No line is longer, unless by one word, which stays whole so that it can be copied."""
    records = [flow_record(), finding(), undecided(client="2001:db8:1234:5678:9abc:def0:1234:5678")]
    for line in render(records, width).splitlines():
        assert len(line) <= max(40, min(width, 110)) or len(line.split()) == 1, line


def test_colour_repeats_words() -> None:
    """Without the colour sequences the text is the same, and no style runs over a line's end."""
    records = [finding(), undecided(), finding(verdict="likely", confidence=0.95)]
    plain, coloured = render(records, 40), render(records, 40, colour=True)
    assert "\x1b" not in plain and "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    for line in coloured.splitlines():
        assert line.count("\x1b[0m") * 2 == line.count("\x1b[")


def test_captured_text_is_escaped() -> None:
    """Names, capture names and sentences can hold anything; the terminal sees none of it."""
    nasty = b"\x1b]0;own\x07\r\n\xe2\x80\xae\xff"
    evil = nasty.decode("utf-8", "surrogateescape")
    records = [
        flow_record(name=nasty),
        finding(name=nasty, evidence=[Evidence("x", "y", 1.0, [1], f"Host was {evil}")]),
    ]
    text = render(records)
    assert "\\x1b]0;own\\x07\\x0d\\x0a\\u{202e}\\xff" in text
    assert all(line.isprintable() for line in text.splitlines())
    out: list[str] = []
    Table(out.append).end(FakeScan(evil).summary)
    assert all(line.isprintable() for line in "".join(out).splitlines())


def test_long_name_is_cut() -> None:
    assert "…(+45)" in render([finding(name=b"a" * 300)])
    assert "...(+45)" in render([finding(name=b"a" * 300)], ascii_only=True)


def test_flow_table() -> None:
    text = render([flow_record(), flow_record(flow=18, name=None, outcome="ok", stage=None)], width=100)
    assert re.search(r"^ +FLOW  OUTCOME +STAGE +CLIENT -> SERVER  NAME$", text, re.M)
    assert re.search(r"^ +17  reset +after_name +tcp 10.20.0.7:51544 -> 192.0.2.44:443  x.example$", text, re.M)
    assert re.search(r"^ +18  ok +- +tcp 10.20.0.7:51544 -> 192.0.2.44:443  -$", text, re.M)


def test_dates_where_the_capture_has_several() -> None:
    text = words(render([finding()], last_ns=1705899391000000000))
    assert "2024-01-20 14:02:11 to 2024-01-22 04:56:31 UTC" in text
    assert "2024-01-20T14:02:11.482911Z" in text


def test_interrupted_is_said() -> None:
    assert "Interrupted: this is what was read until then." in render(interrupted=True)


def test_unknown_times_and_ends() -> None:
    """Captures without timestamps, and findings without a trigger, are still shown."""
    text = words(render([undecided(time_ns=None, trigger_frame=None, name=None)], first_ns=None, last_ns=None))
    assert " to UTC" not in text and "insufficient tcp 10.20.0.7" in text and "sni_drop (no name)" in text


def test_second_capture_starts_clean() -> None:
    out: list[str] = []
    table = Table(out.append)
    table.finding(finding())
    table.end(FakeScan("one.pcap").summary)
    first = len(out)
    table.end(FakeScan("two.pcap").summary)
    assert "x.example" in "".join(out[:first]) and "x.example" not in "".join(out[first:])
    assert out[first] == "\n"
