"""`-w`: the flows with findings as pcapng, with comments that Wireshark shows."""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import build
import tamperscope as ts
from corpus import DEMO
from tamperscope import pcapng
from tamperscope.report import evidence as module
from tamperscope.report.evidence import Evidence

COMMAND = [sys.executable, "-m", "tamperscope.cli"]
FRAMES = build.merged(build.web(port=40_001), build.forged_reset(), build.lookup())
FORGED = build.pcap(FRAMES)
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="no tshark to look at the comments with")


def written(capture: Any, name: str = "a.pcap", **settings: Any) -> tuple[Evidence, bytes]:
    file = io.BytesIO()
    evidence = Evidence(file)
    for found in ts.scan(capture, **settings):
        evidence.note(found)
    evidence.write(capture, name, **settings)
    return evidence, file.getvalue()


def run(*argv: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, argv)], capture_output=True, text=True, check=False, **more)


def key(frame: ts.Frame) -> tuple[Any, ...]:
    return frame.time_ns, frame.data, frame.wire_length, frame.link_type, frame.interface


def comments(path: pathlib.Path) -> dict[int, str]:
    """Comments as tshark shows them, by number in the evidence."""
    argv = [
        "tshark",
        "-r",
        str(path),
        "-Y",
        "frame.comment",
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.comment",
    ]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(number): text for number, _, text in (line.partition("\t") for line in lines)}


# ---------------------------------------------------------------- the library


def test_packets_are_those_of_the_flows() -> None:
    """Every packet of a flow with a finding and of no other, bytes and times as they were, in order."""
    findings = list(ts.scan(DEMO))
    flows = {found.flow for found in findings}
    evidence, data = written(DEMO)
    expected = [key(frame) for frame in ts.frames(DEMO) if frame.flow in flows]
    assert [key(frame) for frame in ts.frames(data)] == expected
    assert (evidence.flows, evidence.frames) == (len(flows), len(expected))


def test_findings_survive() -> None:
    """Scanned again, the evidence shows what proves them: forged frames, with the same bytes."""
    _, data = written(DEMO)
    again = {found.community_id: found for found in ts.scan(data) if found.verdict != "insufficient"}
    for found in ts.scan(DEMO):
        if found.proof == "contradiction" and found.verdict == "confirmed" and found.mechanism == "rst_injection":
            assert again[found.community_id].injected_total == found.injected_total


@pytest.mark.parametrize("digits", [3, 6, 9])
def test_interfaces_and_resolutions_are_kept(digits: int) -> None:
    """Numbers, link types, snap lengths and ticks of all interfaces, those without a telling packet too."""
    inner = [(seconds, data[14:]) for seconds, data in build.forged_reset()]
    out = [pcapng.section("x")]
    out += [pcapng.interface(1, 100, 6), pcapng.interface(101, 70_000, digits), pcapng.interface(113, 0, 9)]
    for seconds, data in inner:
        ticks = build.START * 10**digits + int(seconds * 10**digits)
        out.append(pcapng.packet(1, ticks, data, len(data) + 7))
    _, data = written(b"".join(out))
    with ts.open_capture(data) as capture:
        list(capture)
        assert capture.interfaces == [(1, 100, 10**6), (101, 70_000, 10**digits), (113, 0, 10**9)]
    assert [key(frame) for frame in ts.frames(data)] == [key(frame) for frame in ts.frames(b"".join(out))]


def test_resolutions_that_are_no_power_of_ten_become_nanoseconds() -> None:
    """As finely as times are kept; none is moved."""
    option = b"\x09\x00\x01\x00\x8a\0\0\0" + bytes(4)  # 2 ** -10
    interface = b"\x01\0\0\0\x20\0\0\0\x01\0\0\0\0\0\0\0" + option + b"\x20\0\0\0"
    packets = [pcapng.packet(0, (build.START << 10) + i * 30, data, len(data)) for i, (_, data) in enumerate(FRAMES)]
    capture = pcapng.section("x") + interface + b"".join(packets)
    _, data = written(capture)
    with ts.open_capture(data) as opened:
        list(opened)
        assert opened.interfaces[0][2] == 10**9
    times = {frame.data: frame.time_ns for frame in ts.frames(capture)}
    assert all(frame.time_ns == times[frame.data] for frame in ts.frames(data))


def test_several_captures_are_sections(tmp_path: pathlib.Path) -> None:
    """Flow numbers of one capture mean nothing in the next."""
    file = io.BytesIO()
    evidence = Evidence(file)
    for name, capture in (("a", FORGED), ("b", build.pcap(build.web())), ("c", FORGED)):
        for found in ts.scan(capture):
            evidence.note(found)
        evidence.write(capture, name)
    one = [frame.data for frame in ts.frames(written(FORGED)[1])]
    assert [frame.data for frame in ts.frames(file.getvalue())] == one + one
    assert file.getvalue().count(b" of c\n") == file.getvalue().count(b" of a\n") == evidence.comments // 2 > 0


def test_nothing_found_is_an_empty_capture() -> None:
    evidence, data = written(build.pcap(build.web()))
    assert list(ts.frames(data)) == [] and (evidence.flows, evidence.frames) == (0, 0)


def test_comments_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packets are there all the same, and how many lack a comment is known."""
    whole, _ = written(DEMO)
    monkeypatch.setattr(module, "MOST_COMMENTS", 10)
    evidence, data = written(DEMO)
    assert evidence.comments == 10 and evidence.frames == whole.frames == sum(1 for _ in ts.frames(data))
    assert evidence.left_out >= whole.comments - 10


def test_limit_is_that_of_the_scan() -> None:
    """With fewer frames scanned, fewer are written."""
    evidence, _ = written(FORGED, limit=9)
    assert evidence.frames <= 9


# ---------------------------------------------------------------- as Wireshark sees it


@needs_tshark
def test_tshark_shows_the_comments(tmp_path: pathlib.Path) -> None:
    """Each telling frame has one, with its number in the capture, what it is and the facts; no other has."""
    path = tmp_path / "e.pcapng"
    path.write_bytes(written(DEMO, "demo.pcap")[1])
    telling: dict[int, str] = {}
    for found in ts.scan(DEMO):
        telling.update(dict.fromkeys((frame for fact in found.evidence for frame in fact.frames), ""))
        telling.update(dict.fromkeys(found.genuine_frames, "genuine: "))
        if found.trigger_frame:
            telling[found.trigger_frame] = "trigger: "
        telling.update(dict.fromkeys(found.injected_frames, "forged: "))
    numbers = {int(text.split()[1]): text for text in comments(path).values()}
    assert numbers.keys() == telling.keys()
    for frame, text in numbers.items():
        assert text.startswith(f"frame {frame} of demo.pcap") and telling[frame] in text
    forged = next(found for found in ts.scan(DEMO) if found.injected_frames)
    said = numbers[forged.injected_frames[0]]
    assert forged.id in said and all(
        fact.text in said for fact in forged.evidence if forged.injected_frames[0] in fact.frames
    )


@needs_tshark
def test_tshark_finds_no_fault(tmp_path: pathlib.Path) -> None:
    """Not in a file of several sections and link types either."""
    path = tmp_path / "e.pcapng"
    done = run("-w", path, "-q", DEMO, *sorted((DEMO.parent / "interference").glob("dns-*.pcap")))
    assert done.returncode == 0
    tshark = subprocess.run(["tshark", "-r", str(path)], capture_output=True, text=True, check=True)
    assert len(tshark.stdout.splitlines()) == sum(1 for _ in ts.frames(path))
    assert "malformed" not in tshark.stderr.lower() and "damaged" not in tshark.stderr.lower()


def test_text_of_packets_is_escaped() -> None:
    """A name cannot start a line of its own in a comment, nor hold controls."""
    evil = b"GET / HTTP/1.1\r\nHost: \x1b]0;own\x07\xe2\x80\xae.example\r\n\r\n"
    talk = build.opened().client("PA", evil)
    talk.server("RA", ttl=61, ip_id=777, window=8192).server("PA", build.ANSWER).client("A").server("FA")
    evidence, data = written(build.pcap(talk.frames), "a\n\x1b.pcap")
    assert evidence.comments
    told = data.split(b"forged: ")[1].split(b"finding")[0]
    assert b"\x1b" not in told and told.isascii() and b"a\n\x1b.pcap" not in data


# ---------------------------------------------------------------- the command


def test_command(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "e.pcapng"
    done = run("-w", path, DEMO)
    assert done.returncode == 0 and done.stdout.startswith(str(DEMO))
    evidence, _ = written(DEMO)
    assert f"{evidence.frames} packets of {evidence.flows} flows, {evidence.comments} with a comment" in done.stderr
    assert path.read_bytes() == written(DEMO, str(DEMO))[1]
    assert run("-qw", path, DEMO).stderr == "" and os.listdir(tmp_path) == ["e.pcapng"]


@pytest.mark.parametrize("form", ["-", "/dev/stdin"])
def test_from_a_pipe(form: str, tmp_path: pathlib.Path) -> None:
    """What comes from a pipe is kept, and named as it was given."""
    path = tmp_path / "e.pcapng"
    with DEMO.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        done = run("--json", "-w", path, form, stdin=cat.stdout)
    assert done.returncode == 0 and f'"capture":"{form}"' in done.stdout
    assert [frame.data for frame in ts.frames(path)] == [frame.data for frame in ts.frames(written(DEMO)[1])]


def test_without_evidence_nothing_is_spooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is read as it comes; no temporary file is made."""
    code = (
        "import sys, tempfile\n"
        "from tamperscope import cli\n"
        "assert cli.main(['-']) == 0 and 'tamperscope.spool' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], input=FORGED, stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["-w"], "-w needs a value"), (["-w", "-", "x"], "standard output (-) has the findings")],
)
def test_wrong_usage(argv: list[str], said: str) -> None:
    done = run(*argv)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""


def test_capture_is_not_overwritten(tmp_path: pathlib.Path) -> None:
    """Not by another spelling of its name, nor through a link."""
    capture, link = tmp_path / "a.pcap", tmp_path / "link"
    capture.write_bytes(FORGED)
    link.symlink_to(capture)
    for name in (capture, link, tmp_path / "." / "a.pcap"):
        done = run("-w", name, capture)
        assert done.returncode == 2 and "is the capture itself" in done.stderr
    assert capture.read_bytes() == FORGED and sorted(os.listdir(tmp_path)) == ["a.pcap", "link"]


def test_own_output_in_a_folder_is_no_input(tmp_path: pathlib.Path) -> None:
    """Not that of this run, half written, nor that of the run before."""
    (tmp_path / "z.pcap").write_bytes(FORGED)
    for _ in range(2):
        done = run("-w", tmp_path / "e.pcapng", tmp_path)
        assert done.returncode == 0 and done.stdout.count("frames, ") == 1


def test_output_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    """The findings are printed all the same, the status is 5, and nothing half written stays."""
    for path in (tmp_path / "absent" / "e.pcapng", pathlib.Path("/dev/full")):
        done = run("-w", path, DEMO)
        assert done.returncode == 5 and "Interference found" in done.stdout
        assert "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_status_of_output_wins_over_that_of_input(tmp_path: pathlib.Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(DEMO.read_bytes()[:300_000])
    assert run("-w", tmp_path / "e.pcapng", cut).returncode == 4
    assert run("-w", "/dev/full", cut).returncode == 5


def test_damaged_capture_gives_what_was_read(tmp_path: pathlib.Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(DEMO.read_bytes()[:900_000])
    assert run("-w", tmp_path / "e.pcapng", cut).returncode == 4
    assert len(list(ts.frames(tmp_path / "e.pcapng"))) > 10


def test_closed_pipe_does_not_cost_the_evidence(tmp_path: pathlib.Path) -> None:
    """Whoever has seen enough of the text still wants the file."""
    path = tmp_path / "e.pcapng"
    argv = [*COMMAND, "--json", "--flows", "-l", "-w", str(path), str(DEMO)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read() and process.wait(30) == 0
    assert path.read_bytes() == written(DEMO, str(DEMO))[1]


def test_interrupt_leaves_the_evidence_so_far(tmp_path: pathlib.Path) -> None:
    """From a pipe that stays open: what was read is judged and written."""
    path = tmp_path / "e.pcapng"
    argv = [*COMMAND, "-w", str(path), "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(FORGED)
        process.stdin.flush()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and b"Interrupted" in out and b"Traceback" not in err
    assert [frame.data for frame in ts.frames(path)] == [frame.data for frame in ts.frames(written(FORGED)[1])]


def test_no_room_for_the_spool(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan goes on without it; only the evidence is lost, and that is said."""
    from tamperscope import spool

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    source = tmp_path / "a.pcap"
    source.write_bytes(FORGED)
    kept = spool.Spool(str(source))
    kept._kept = Full()
    assert len(list(ts.scan(kept))) == 1
    with pytest.raises(OSError, match="No space left"):
        kept.again()
    kept.close()
