"""`explain`: the packets of one flow, what was weighed, and the command that prints it."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import build
from corpus import DEMO, PCAPS
from tamperscope import explain as module
from tamperscope.errors import NotThereError
from tamperscope.explain import Explanation, explain
from tamperscope.report.ladder import Ladder
from tamperscope.scan import scan
from tamperscope.weigh import GROUP_CAP

COMMAND = [sys.executable, "-m", "tamperscope.cli", "explain"]
FRAMES = build.merged(build.web(port=40_001), build.forged_reset(), build.lookup())
FORGED = build.pcap(FRAMES)


def printed(told: Explanation, width: int = 80, every_packet: bool = False, **look: Any) -> str:
    lines: list[str] = []
    Ladder(lines.append, width, **look).explanation(told, every_packet)
    return "".join(lines)


def run(*argv: Any, columns: int = 80, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8", **more.pop("env", {})}
    return subprocess.run([*COMMAND, *map(str, argv)], capture_output=True, text=True, env=environment, **more)


# ---------------------------------------------------------------- the library


def test_packets_and_roles() -> None:
    """Every packet of the flow and of no other, relative numbers, and what each is."""
    (found,) = scan(FORGED)
    told = explain(FORGED, flow=found.flow)
    packets = list(enumerate(FRAMES, 1))
    assert [step.frame for step in told.steps] == [n for n, (_, data) in packets if b"\x9c\x40" in data[34:38]]
    syn, syn_ack, ack, request = told.steps[:4]
    assert (syn.seq, syn.ack, syn_ack.seq, syn_ack.ack, ack.seq, ack.ack) == (0, None, 0, 1, 1, 1)
    assert (request.seq, request.length, request.role) == (1, len(build.REQUEST), "trigger")
    roles = {step.frame: step.role for step in told.steps}
    assert [frame for frame, role in roles.items() if role == "forged"] == found.injected_frames
    assert [frame for frame, role in roles.items() if role == "genuine"] == found.genuine_frames
    assert [step.to_server for step in told.steps[:3]] == [True, False, True]


def test_opinion_adds_up() -> None:
    """Prior and what counts of each group give the sum that the verdict rests on, in every finding of the recording."""
    for found in list(scan(DEMO))[::7]:
        told = explain(DEMO, flow=found.flow)
        (unit,) = [unit for unit in told.units if unit.transaction == found.transaction]
        assert unit.finding is not None and unit.finding.to_dict() == found.to_dict()
        (opinion,) = [one for one in unit.opinions if one.mechanism == found.mechanism]
        assert opinion.prior + sum(counted for _, counted in opinion.groups.values()) == pytest.approx(opinion.total)
        assert opinion.verdict == found.verdict
        assert {fact.id for fact, weight in opinion.facts if weight.weight} == {
            fact.id for fact in (*found.evidence, *found.against)
        }


def test_capped_group_is_said() -> None:
    """Facts of one cause count 2 at most, and the sum shows it."""
    capped = [
        (found, opinion)
        for found in scan(DEMO)
        if found.mechanism == "dns_forgery"
        for opinion in explain(DEMO, flow=found.flow).opinions[:1]
        if any(whole > counted for whole, counted in opinion.groups.values())
    ]
    found, opinion = capped[0]
    assert {counted for whole, counted in opinion.groups.values() if whole > counted} == {GROUP_CAP}
    assert "facts of one cause count +2.0 at most" in printed(explain(DEMO, flow=found.flow))


def test_flow_without_finding() -> None:
    """What was looked for, and why nothing is reported."""
    told = explain(FORGED, flow=1)
    assert told.findings == [] and told.units == []
    assert {mechanism for mechanism, _ in told.not_looked} >= {"rst_injection", "sni_drop", "dns_forgery"}
    text = printed(told)
    assert "Nothing is reported about this flow." in text
    assert (
        "dns_forgery, dns_drop were not looked for: DNS questions alone" in " ".join(text.split())
        and "rst_injection" in text
    )


def test_candidate_without_finding() -> None:
    """A reset that may be the server's own: its facts and their sum stand there, below what is reported."""
    talk = build.opened().client("PA", build.REQUEST).server("RA", ttl=200)
    told = explain(build.pcap(talk.frames), flow=1)
    (opinion,) = told.opinions
    assert opinion.verdict is None and opinion.facts and told.findings == []
    text = " ".join(printed(told).split())
    assert "not reported" in text and "below 0.5 nothing is reported" in text and "Nothing is reported" in text


def test_by_frame() -> None:
    """Every frame of the flow leads to it; a frame of a DNS answer to its question."""
    by_number = printed(explain(FORGED, flow=2))
    told = explain(FORGED, flow=2)
    for step in told.steps:
        assert printed(explain(FORGED, frame=step.frame)) == by_number
    found = next(one for one in scan(DEMO) if one.transaction is not None)
    told = explain(DEMO, frame=found.injected_frames[0])
    assert [unit.transaction for unit in told.units] == [found.transaction]
    notes = {step.frame: step.note for step in told.steps}
    assert notes[found.injected_frames[0]].startswith("answer ") and "query" in notes[found.trigger_frame or 0]


def test_question_of_the_frame_among_many() -> None:
    """One socket asks twice: the frame says which question is meant."""
    told = {
        question: explain(PCAPS / "demo.pcap", frame=question)
        for found in scan(DEMO)
        if found.transaction and (question := found.injected_frames[0])
    }
    assert all(len(one.units) == 1 for one in told.values()) and len(told) > 20


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"flow": 4}, "no flow 4; the capture has 3"),
        ({"frame": 20}, "no frame 20; the capture has 19"),
        ({"frame": 10**17}, "the capture has 19"),
    ],
)
def test_not_there(asked: dict[str, int], text: str) -> None:
    with pytest.raises(NotThereError, match=text):
        explain(FORGED, **asked)


def test_frame_without_flow() -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    with pytest.raises(NotThereError, match=r"frame 1 belongs to no flow \(not ip\)"):
        explain(build.pcap([(0, arp), *build.web()]), frame=1)


def test_one_of_flow_and_frame() -> None:
    for asked in ({}, {"flow": 1, "frame": 1}):
        with pytest.raises(ValueError, match="a flow or a frame"):
            explain(FORGED, **asked)


def test_long_flow_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer of many packets: first, last and telling ones are kept, the others counted."""
    monkeypatch.setattr(module, "MOST", 50)
    monkeypatch.setattr(module, "LAST", 10)
    talk = build.opened()
    for _ in range(500):
        talk.client("A", b"x" * 10).server("A")
    talk.server("RA")
    for _ in range(100):
        talk.client("A", b"y")
    told = explain(build.pcap(talk.frames), flow=1)
    frames = [step.frame for step in told.steps]
    assert frames == [*range(1, 51), 1004, *range(1095, 1105)] and told.left_out == 1104 - len(frames)
    assert f"{told.left_out:,} that are not kept" in printed(told)


def test_packets_without_news_are_summed_up() -> None:
    talk = build.opened()
    for _ in range(40):
        talk.client("A", b"x" * 10).server("A")
    told = explain(build.pcap(talk.frames), flow=1)
    short, whole = printed(told), printed(told, every_packet=True)
    assert "packets without news" in short and "packets without news" not in whole
    assert len(short.splitlines()) < 50 < 80 < len(whole.splitlines())


def test_without_syn_numbers_are_relative_all_the_same() -> None:
    talk = build.opened().client("PA", build.REQUEST).server("PA", build.ANSWER)
    told = explain(build.pcap(talk.frames[3:]), flow=1)
    assert [(step.seq, step.ack) for step in told.steps] == [(0, 0), (0, len(build.REQUEST))]


# ---------------------------------------------------------------- how it looks


@pytest.mark.parametrize("width", [40, 54, 60, 72, 80, 110])
def test_no_line_is_too_long(width: int) -> None:
    """But for words that cannot be broken: addresses and names."""
    for asked in ({"flow": 166}, {"flow": 158}, {"flow": 162}, {"flow": 1}):
        for line in printed(explain(DEMO, **asked), width).splitlines():
            assert len(line) <= width or max(map(len, line.split())) >= 16, line


def test_colour_repeats_words() -> None:
    """Taken away, the colours leave the same text."""
    import re

    told = explain(DEMO, flow=166)
    colours = printed(told, colour=True)
    assert "\x1b[" in colours and re.sub(r"\x1b\[[0-9;]*m", "", colours) == printed(told)


def test_text_of_packets_is_escaped() -> None:
    evil = b"GET / HTTP/1.1\r\nHost: \x1b]0;own\x07\xe2\x80\xae.example\r\n\r\n"
    talk = build.opened().client("PA", evil).server("RA", ttl=61).server("PA", build.ANSWER)
    text = printed(explain(build.pcap(talk.frames), flow=1))
    assert text.isascii() and all(char.isprintable() or char == "\n" for char in text) and "example" in text


# ---------------------------------------------------------------- the command


def test_command() -> None:
    done = run(DEMO, "--flow", 166)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed(explain(DEMO, flow=166))
    assert run("--frame=1886", DEMO).stdout == done.stdout


def test_command_reads_pipes() -> None:
    """By frame, too, which reads twice."""
    for asked in ("--flow=166", "--frame=1886"):
        with DEMO.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
            done = run("-", asked, stdin=cat.stdout)
        assert done.returncode == 0 and "flow 166" in done.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no capture given"),
        (["a", "b", "--flow", "1"], "takes one capture"),
        ([DEMO], "give --flow N or --frame N"),
        ([DEMO, "--flow", "1", "--frame", "1"], "give --flow N or --frame N"),
        ([DEMO, "--flow", "0"], "out of range"),
        ([DEMO, "--flow", "x"], "not a number"),
        ([DEMO, "--flow"], "needs a value"),
        ([DEMO, "--json", "--flow", "1"], "unknown option '--json'"),
        ([DEMO, "--flow", "10000"], "no flow 10000; the capture has 577"),
        ([DEMO, "--frame", "10000"], "no frame 10000"),
    ],
)
def test_wrong_usage(argv: list[Any], said: str) -> None:
    done = run(*argv)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and "Traceback" not in done.stderr


def test_unreadable(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text").write_text("no capture")
    for path in (tmp_path / "text", tmp_path / "absent", tmp_path, "a\0b"):
        if "\0" not in str(path):
            done = run(path, "--flow", 1)
            assert done.returncode == 3 and done.stdout == "" and len(done.stderr.splitlines()) == 1


def test_damage_is_told(tmp_path: pathlib.Path) -> None:
    """What could be read is explained; the status says that it was not all."""
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(DEMO.read_bytes()[:300_000])
    done = run(cut, "--flow", 1)
    assert done.returncode == 4 and "flow 1" in done.stdout and "needs" in done.stderr


def test_help_is_right() -> None:
    done = run("--help")
    assert done.returncode == 0 and "--frame N" in done.stdout and max(map(len, done.stdout.splitlines())) <= 80


def test_full_disk_and_closed_pipe() -> None:
    with pathlib.Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, DEMO, "--flow", "1"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5 and "no space left" in done.stderr
    with subprocess.Popen([*COMMAND, DEMO, "--flow", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(20) == 0


def test_interrupt() -> None:
    """A pipe from which nothing comes is left at once, and quietly."""
    with subprocess.Popen([*COMMAND, "-", "--flow", "1"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(FORGED)
        process.stdin.flush()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130 and process.stderr.read() == b""


def test_no_colour_in_a_pipe() -> None:
    assert "\x1b" not in run(DEMO, "--flow", 166, env={"TERM": "xterm"}).stdout
