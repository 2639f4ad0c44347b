"""The installed command as people and programs use it: real captures in, what comes out, with which exit status."""

from __future__ import annotations

import fcntl
import functools
import gzip
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import jsonschema
import pytest

import build
from corpus import DEMO, generated, needs_generator
from records import schema

COMMAND = shutil.which("pcap-scan", path=f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
TRUTH = json.loads(DEMO.with_suffix(".json").read_text())
Run = subprocess.CompletedProcess[bytes]


def run(*argv: str | bytes | pathlib.Path, data: bytes | None = None, status: int = 0, **environment: str) -> Run:
    """Run the command, with a plain environment; the status is checked, and no traceback is ever shown."""
    assert COMMAND, "pcap-scan is not installed"
    done = subprocess.run(
        [COMMAND, *argv], input=data, capture_output=True, env=clean(environment), timeout=60, check=False
    )
    assert done.returncode == status, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


def clean(more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    return {**kept, "PYTHONUTF8": "1", **more}


@functools.cache
def shape(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(kind))


def records(output: bytes, every: int = 1) -> list[dict[str, Any]]:
    """The lines as objects, each (or every n-th) held to its schema."""
    assert output.endswith(b"\n") and output.isascii()
    parsed = [json.loads(text) for text in output.splitlines()]
    for record in parsed[::every]:
        shape(record["type"]).validate(record)
    return parsed


def of(kind: str, parsed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in parsed if record["type"] == kind]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A plain capture, one with interference, a broken one, a nested folder and something else."""
    path = tmp_path_factory.mktemp("captures")
    (path / "plain.pcap").write_bytes(build.pcap(build.web() + build.lookup(start=1)))
    (path / "reset.pcap").write_bytes(build.pcap(build.forged_reset()))
    (path / "cut.pcap").write_bytes(build.pcap(build.forged_reset())[:-1])
    (path / "below").mkdir()
    (path / "below" / "deep.cap").write_bytes(build.pcap(build.web()))
    (path / "notes.txt").write_text("no capture")
    return path


# -- the table


def test_demo_shows_the_three_interferences_with_their_frames() -> None:
    """Each mechanism, some of its names and frames as the recording's own truth has them."""
    text = run(DEMO).stdout.decode()
    assert text.startswith(str(DEMO)) and "577 flows" in text and "Interference found: confirmed for" in text
    for mechanism in ("rst_injection", "sni_drop", "dns_forgery"):
        heads = re.findall(rf"^{mechanism}  (\S+)  ", text, re.M)
        names = {flow["name"] for flow in TRUTH["flows"] if flow["expected"] == mechanism}
        assert set(heads) == names
    forged = {frame for flow in TRUTH["flows"] for frame in flow["injected_frames"]}
    lines = re.sub(r"\n {6,}", " ", text)
    named = {int(n) for frames in re.findall(r"injected frames? ([\d ]+)", lines) for n in frames.split()}
    assert len(named) > 40 and named <= forged


def test_nothing_found_says_what_was_looked_at(folder: pathlib.Path) -> None:
    text = run(folder / "plain.pcap").stdout.decode()
    assert "No interference found in 2 flows and 1 DNS question; 0 looked at closely." in text
    assert "Looked for: rst_injection, sni_drop, http_drop, quic_drop, blockpage," in text


def test_flow_table(folder: pathlib.Path) -> None:
    text = run("--flows", folder / "plain.pcap", COLUMNS="110").stdout.decode()
    assert re.search(r"1  ok +transfer +tcp 192\.0\.2\.1:40000 -> 198\.51\.100\.7:80  plain\.example", text)


@pytest.mark.parametrize("columns", [40, 60, 110])
def test_narrow_terminal(columns: int) -> None:
    """Lines keep to the width, but for words that must stay whole to be copied."""
    text = run(DEMO, COLUMNS=str(columns)).stdout.decode()
    for line in text.splitlines():
        assert len(line) <= columns or len(line.split()) == 1 or len(max(line.split(), key=len)) > columns - 12, line


def terminal(*argv: str | pathlib.Path, columns: int = 80, **environment: str) -> str:
    """What the command shows on a terminal of its own."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    assert COMMAND
    with subprocess.Popen([COMMAND, *argv], stdout=other, stderr=other, env=clean(environment)) as process:
        os.close(other)
        shown = b""
        while True:
            try:
                part = os.read(main, 65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(main)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def test_colour_only_on_a_terminal_that_wants_it() -> None:
    """The words are the same with and without."""
    colour = terminal(DEMO, TERM="xterm")
    assert "\x1b[1;31mconfirmed\x1b[0m" in colour
    plain = re.sub(r"\x1b\[[\d;]*m", "", colour)
    assert terminal(DEMO, TERM="xterm", NO_COLOR="1") == plain == terminal(DEMO, TERM="dumb")
    assert run(DEMO).stdout.decode() == plain
    assert max(map(len, terminal(DEMO, TERM="dumb", columns=100).splitlines())) > 80


# -- JSON Lines


def test_json_of_the_demo() -> None:
    """Findings, then the summary, which counts them; flows too where asked for; each line fits its schema."""
    parsed = records(run("--json", DEMO).stdout)
    assert {record["type"] for record in parsed[:-1]} == {"finding"} and parsed[-1]["type"] == "summary"
    counted = sum(sum(verdicts.values()) for verdicts in parsed[-1]["findings"].values())
    assert counted == len(parsed) - 1 and parsed[-1]["frames"] == 6618
    both = records(run("--json", "--flows", DEMO).stdout)
    assert of("finding", both) == of("finding", parsed) and len(of("flow", both)) == parsed[-1]["flows"] == 577
    flows = {record["flow"]: record for record in of("flow", both)}
    for found in of("finding", both):
        flow = flows[found["flow"]]
        assert (found["client"], found["client_port"]) == (flow["client"], flow["client_port"])
        assert found["community_id"] == flow["community_id"]


def test_same_bytes_twice_and_however_they_come() -> None:
    """File, standard input and gzip differ in the capture's name only."""
    from_file = run("--json", "--flows", DEMO).stdout
    assert run("--json", "--flows", DEMO).stdout == from_file
    name = json.dumps(str(DEMO)).encode()
    piped = run("--json", "--flows", "-", data=DEMO.read_bytes()).stdout
    assert piped == from_file.replace(b'"capture":' + name, b'"capture":"-"')
    packed = run("--json", "--flows", "-", data=gzip.compress(DEMO.read_bytes())).stdout
    assert packed.replace(b'"format":"pcap.gz"', b'"format":"pcap"') == piped


# -- exit statuses


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["plain.pcap"], 0),
        (["reset.pcap"], 0),
        (["--check", "plain.pcap"], 0),
        (["--check", "reset.pcap"], 1),
        (["--check", "plain.pcap", "reset.pcap"], 1),
        (["--check", "cut.pcap"], 4),
        (["notes.txt"], 3),
        (["missing.pcap"], 3),
        (["missing.pcap", "plain.pcap"], 4),
        ([], 2),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_exit_status(argv: list[str], status: int, form: list[str], folder: pathlib.Path) -> None:
    done = run(*form, *(folder / word if word.endswith(("pcap", "txt")) else word for word in argv), status=status)
    assert bool(done.stderr) == (status > 1)


def test_one_of_two_files_is_broken(folder: pathlib.Path) -> None:
    """The good one is reported whole, the other as far as it goes, and it is said where that ends."""
    done = run("--json", folder / "cut.pcap", folder / "plain.pcap", status=4)
    parsed = records(done.stdout)
    assert [record["type"] for record in parsed] == ["finding", "notice", "summary", "summary"]
    assert (parsed[1]["level"], parsed[1]["code"], parsed[1]["frame"]) == ("error", "truncated_record", 7)
    line = done.stderr.decode()
    assert line.startswith(f"pcap-scan: {folder}/cut.pcap: record 8 at offset") and line.count("\n") == 1
    assert line.endswith("are left; 7 frames analysed\n")


def test_file_that_is_no_capture(folder: pathlib.Path) -> None:
    done = run("--json", folder / "notes.txt", folder / "missing.pcap", status=3)
    assert [(record["code"], record["level"]) for record in records(done.stdout)] == [
        ("not_a_capture", "error"),
        ("not_found", "error"),
    ]
    assert b"not a capture: starts with 6e 6f 20 63" in done.stderr and b"missing.pcap: no such file" in done.stderr


def test_link_type_that_is_not_decoded(tmp_path: pathlib.Path) -> None:
    """Read, but not understood: said once, and no result without interference."""
    path = tmp_path / "usb.pcap"
    path.write_bytes(build.pcap(build.web(), link_type=189))
    done = run("--json", path, status=3)
    assert [record["code"] for record in of("notice", records(done.stdout))] == ["unknown_link_type"]
    assert done.stderr.decode().splitlines() == [
        f"pcap-scan: {path}: link type 189 is not decoded; 9 frames counted, none of them analysed"
    ]


def test_unreadable_file(tmp_path: pathlib.Path) -> None:
    """What opens but gives an error at the first byte, and what does not open at all."""
    done = run("--json", "/proc/self/mem", status=3)
    assert [record["code"] for record in records(done.stdout)] == ["os_error"]
    assert b"/proc/self/mem: cannot be read: input/output error" in done.stderr
    if os.geteuid():
        locked = tmp_path / "locked.pcap"
        locked.touch(mode=0)
        assert b"permission to read it is missing" in run(locked, status=3).stderr


def test_folder_is_walked(folder: pathlib.Path) -> None:
    """Captures in it and below, in the order of names, and nothing else."""
    parsed = records(run("--json", folder, status=4).stdout)
    names = [pathlib.Path(record["capture"]).name for record in of("summary", parsed)]
    assert names == ["cut.pcap", "plain.pcap", "reset.pcap", "deep.cap"]
    (folder / "empty").mkdir(exist_ok=True)
    assert b"no capture in this folder" in run(folder / "empty", status=3).stderr


# -- hostile text


def test_escapes_in_names_of_files_and_hosts(tmp_path: pathlib.Path) -> None:
    """Neither a file's name nor a packet's text reaches the terminal raw."""
    host = b"\x1b]0;owned\x07\xff.example"
    frames = build.forged_reset()
    request = build.REQUEST.replace(b"plain.example", host)
    frames[3] = (frames[3][0], build.tcp(build.CLIENT, 40_000, build.SERVER, 80, "PA", 1001, 9_000_001, request))
    path = os.fsencode(tmp_path) + b"/\x1b[31m\n\xff.pcap"
    for data, status in ((build.pcap(frames), 0), (b"no capture", 3)):
        with open(path, "wb") as file:
            file.write(data)
        done = run(path, path, status=status)
        for stream in (done.stdout, done.stderr):
            assert b"\x1b" not in stream and b"\x07" not in stream and b"\xff" not in stream
        assert b"\\x1b[31m" in done.stdout + done.stderr
        for record in of("finding", records(run("--json", path, status=status).stdout)):
            assert record["name"] == "\\x1b]0;owned\\x07\\xff.example" and record["lossy"] is True


def test_escaped_host_is_still_readable(tmp_path: pathlib.Path) -> None:
    frames = build.web()
    request = build.REQUEST.replace(b"plain.example", b"a\x1b[2Jb.example")
    frames[3] = (frames[3][0], build.tcp(build.CLIENT, 40_000, build.SERVER, 80, "PA", 1001, 9_000_001, request))
    (tmp_path / "a.pcap").write_bytes(build.pcap(frames))
    assert b"a\\x1b[2jb.example" in run("--flows", tmp_path / "a.pcap").stdout


# -- pipes and signals


@pytest.mark.parametrize("form", ["", "--json", "--json --flows", "--flows"])
def test_closed_pipe(form: str) -> None:
    """`| head -1` gets its line; the command ends in silence."""
    script = f"set -o pipefail; {COMMAND} {form} '{DEMO}' | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.count(b"\n") == 1


def interrupted(path: pathlib.Path, number: signal.Signals, share: float) -> Run:
    """Give the command a part of a capture through a pipe, and the signal when it has read all of that."""
    assert COMMAND
    data = path.read_bytes()
    argv = [COMMAND, "--json", "--flows", "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=clean({}), **pipes) as process:  # type: ignore[call-overload]
        # Output goes to a file's worth of pipe at most while input is written: both are far apart in size here.
        os.set_blocking(process.stdout.fileno(), False)
        out = b""
        view = memoryview(data)[: int(len(data) * share)]
        while view:
            view = view[os.write(process.stdin.fileno(), view[:65_536]) :]
            out += process.stdout.read() or b""
        while struct.unpack("i", fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]:
            out += process.stdout.read() or b""
            time.sleep(0.001)
        time.sleep(0.1)
        process.send_signal(number)
        os.set_blocking(process.stdout.fileno(), True)
        out += process.stdout.read()
        errors = process.stderr.read()
        process.wait(30)
    return subprocess.CompletedProcess(argv, process.returncode, out, errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_in_the_middle(number: signal.Signals) -> None:
    """What was read is judged and reported, line by line whole; the input is not called damaged for it."""
    done = interrupted(DEMO, number, 0.6)
    assert done.returncode == 128 + number and done.stderr == b""
    parsed = records(done.stdout)
    whole = records(run("--json", "--flows", DEMO).stdout)
    assert parsed[-1]["type"] == "summary" and 3_000 < parsed[-1]["frames"] < 6_000
    assert of("notice", parsed) == [] and 10 < len(of("finding", parsed)) < len(of("finding", whole))


@needs_generator
def test_interrupt_of_a_large_capture(tmp_path: pathlib.Path) -> None:
    """Many flows, most of them final and written before the signal comes."""
    done = interrupted(generated(tmp_path, "censored", 200_000), signal.SIGINT, 0.7)
    assert done.returncode == 130
    parsed = records(done.stdout, every=50)
    assert parsed[-1]["type"] == "summary" and 100_000 < parsed[-1]["frames"] < 200_000
    assert len(of("flow", parsed)) == parsed[-1]["flows"] and len(of("finding", parsed)) > 100


def test_interrupt_while_nothing_comes() -> None:
    """At once, even where the other end of a pipe never says anything."""
    assert COMMAND
    with subprocess.Popen([COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean({})) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
