"""pcap-scan: arguments, exit statuses, streams, signals.  The scan below it is a fake, so each case is exact."""

from __future__ import annotations

import io
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fakes import FakeScan
from records import check, finding, flow_record
from tamperscope import cli
from tamperscope.errors import CaptureError
from tamperscope.model import Notice

TESTS = pathlib.Path(__file__).parent
Scans = Callable[..., FakeScan]


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a scan of each path gives: a FakeScan or what makes one, or an exception; "calls" has the calls."""
    known: dict[str, Any] = {"calls": []}

    def scan(source: str, **options: Any) -> FakeScan:
        known["calls"].append((source, options))
        answer = known.get(source, known.get(pathlib.Path(source).name))
        if answer is None:
            answer = FakeScan(source)
        if isinstance(answer, Exception):
            raise answer
        result: FakeScan = answer() if callable(answer) else answer
        return result

    module = type(sys)("tamperscope.scan")
    module.scan = scan  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tamperscope.scan", module)
    return known


def damage(text: str = "record 5 at offset 426 is cut", level: str = "error", **more: Any) -> Notice:
    return Notice(level, "truncated_record", text, capture="x", **more)


# -- arguments


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no capture given"),
        (["-q"], "no capture given"),
        (["--jsno", "a"], "unknown option '--jsno'"),
        (["-x", "a"], "unknown option '-x'"),
        (["-qx", "a"], "unknown option '-x'"),
        (["--\x1b[31m"], "unknown option '--\\x1b[31m'"),
        (["--json=yes", "a"], "--json takes no value, got 'yes'"),
        (["-r"], "-r needs a value"),
        (["a", "-c"], "-c needs a value"),
        (["-c", "0", "a"], "-c: '0' is out of range, 1 to"),
        (["-c", "-5", "a"], "-c: '-5' is not a number"),
        (["-cx", "a"], "-c: 'x' is not a number"),
        (["-c", "", "a"], "-c: '' is not a number"),
        (["-c", "٣", "a"], "-c: '٣' is not a number"),
        (["-c", "9" * 5000, "a"], "is out of range"),
        (["--max-flows", "1e9x", "a"], "--max-flows: '1e9x' is not a number"),
        (["--max-flows=1_000", "a"], "--max-flows: '1_000' is not a number"),
        (["--max-flows", str(2**31), "a"], "is out of range, 1 to 1073741824"),
        (["-", "-"], "standard input (-) can be read only once"),
    ],
)
def test_wrong_usage(argv: list[str], said: str, capfd: pytest.CaptureFixture[str], scans: dict[str, Any]) -> None:
    """The argument is named, nothing is scanned, nothing is on standard output."""
    assert cli.main(argv) == 2
    out, err = capfd.readouterr()
    assert out == "" and said in err and "pcap-scan --help" in err
    assert scans["calls"] == []


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["a", "-qh"], ["--help", "--nonsense"]])
def test_help(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Help names every option that works, has examples and the exit statuses, and fits 80 columns."""
    assert cli.main(argv) == 0
    out, err = capfd.readouterr()
    assert err == "" and "examples:" in out and "exit status:" in out
    for option in {*cli._FLAGS, *cli._VALUES} - {"--quiet", "--verbose", "-V"}:
        assert option in out
    assert max(map(len, out.splitlines())) < 80


def test_help_has_no_stubs(capfd: pytest.CaptureFixture[str]) -> None:
    """Each option that help names is one that the parser takes."""
    cli.main(["--help"])
    lines = capfd.readouterr().out.split("examples:")[0].splitlines()
    words = [word.strip(",") for line in lines if line.startswith("  -") for word in line.split("  ")[1].split()]
    named = [word for word in words if word.startswith("-")]
    assert len(named) > 10 and set(named) <= {*cli._FLAGS, *cli._VALUES}


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("pcap-scan ")


@pytest.mark.parametrize(
    ("argv", "captures", "options"),
    [
        (["a"], ["a"], {"max_flows": 1 << 20, "flows": False, "limit": None}),
        (["-r", "a", "b", "-rc"], ["a", "b", "c"], {}),
        (["-c", "7", "a"], ["a"], {"limit": 7}),
        (["-qnvc7", "a"], ["a"], {"limit": 7}),
        (["a", "--max-flows=9", "--flows"], ["a"], {"max_flows": 9, "flows": True}),
        (["--max-flows", "9", "a"], ["a"], {"max_flows": 9}),
        (["--", "--json", "-c"], ["--json", "-c"], {}),
        (["-r", "--json"], ["--json"], {}),
        (["-"], ["-"], {}),
        (["./-"], ["./-"], {}),
    ],
)
def test_arguments_reach_the_scan(
    argv: list[str], captures: list[str], options: dict[str, Any], scans: dict[str, Any]
) -> None:
    assert cli.main(argv) == 0
    assert [source for source, _ in scans["calls"]] == captures
    for _, given in scans["calls"]:
        assert {key: given[key] for key in options} == options


# -- exit statuses


def accused(verdict: str = "confirmed") -> FakeScan:
    sure = {"confirmed": 0.999, "likely": 0.95, "insufficient": None}[verdict]
    return FakeScan("a", [finding(verdict=verdict, confidence=sure)])


def damaged(level: str = "error", **counts: int) -> FakeScan:
    return FakeScan("a", [finding()], [damage(level=level)], **counts)


@pytest.mark.parametrize(
    ("answers", "argv", "status"),
    [
        ({}, ["a"], 0),
        ({"a": accused}, ["a"], 0),
        ({"a": accused}, ["--check", "a"], 1),
        ({"a": lambda: accused("likely")}, ["--check", "a"], 1),
        ({"a": lambda: accused("insufficient")}, ["--check", "a"], 0),
        ({"b": accused}, ["--check", "a", "b"], 1),
        ({"a": CaptureError("empty file")}, ["a"], 3),
        ({"a": FileNotFoundError(2, "x")}, ["a", "a"], 3),
        ({"a": CaptureError("empty file")}, ["a", "b"], 4),
        ({"a": CaptureError("empty file"), "b": accused}, ["--check", "a", "b"], 4),
        ({"a": damaged}, ["a"], 4),
        ({"a": damaged}, ["--check", "a"], 4),
        ({"a": lambda: damaged(frames=0, packets=0)}, ["a"], 4),
        ({"a": lambda: damaged(frames=26, packets=0)}, ["a"], 3),
        ({"a": lambda: damaged(frames=26, packets=0)}, ["a", "b"], 4),
        ({"a": lambda: FakeScan("a", frames=0, packets=0)}, ["a"], 0),
        ({"a": lambda: FakeScan("a", frames=9, packets=0)}, ["a"], 0),
        ({"a": lambda: damaged("warning")}, ["a"], 0),
        ({"a": lambda: damaged("warning")}, ["--check", "a"], 1),
        ({"a": lambda: damaged("info")}, ["a"], 0),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_exit_status(
    answers: dict[str, Any], argv: list[str], status: int, form: list[str], scans: dict[str, Any]
) -> None:
    """The table of exit statuses, whatever the form of the output."""
    scans.update(answers)
    assert cli.main([*form, *argv]) == status


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CaptureError("not a capture: 7f 45 4c 46"), "pcap-scan: a: not a capture: 7f 45 4c 46\n"),
        (FileNotFoundError(2, "No such file"), "pcap-scan: a: no such file\n"),
        (PermissionError(13, "Permission denied"), "pcap-scan: a: permission to read it is missing\n"),
        (IsADirectoryError(21, "Is a directory"), "pcap-scan: a: cannot be read: is a directory\n"),
        (OSError(5, "Input/output error"), "pcap-scan: a: cannot be read: input/output error\n"),
    ],
)
def test_refused_input_is_one_line(
    error: Exception, said: str, scans: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    scans["a"] = error
    assert cli.main(["a"]) == 3
    assert capfd.readouterr() == ("", said)


def test_refused_input_is_a_notice_in_json(scans: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    scans["a"] = CaptureError("cut", code="truncated_record", offset=426, need=100, have=3)
    assert cli.main(["--json", "a"]) == 3
    (record,) = map(json.loads, capfd.readouterr().out.splitlines())
    check(record)
    assert (record["level"], record["code"]) == ("error", "truncated_record")
    assert (record["capture"], record["offset"], record["need"], record["have"]) == ("a", 426, 100, 3)


# -- output


def test_json_lines_fit_the_schemas(scans: dict[str, Any], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Flows and findings as they come, then notices, then the summary; all ASCII; nothing else on standard output."""
    nasty = b"\x1b]0;own\x07\xff"
    records = [flow_record(name=nasty), finding(name=nasty)]
    scans["a"] = FakeScan("a", records, [damage(level="warning", offset=3), damage(level="info")])
    assert cli.main(["--json", "--flows", "-q", "a"]) == 0
    out, err = capfdbinary.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        check(line)
    assert [line["type"] for line in lines] == ["flow", "finding", "notice", "notice", "summary"]
    assert out.isascii() and b"\x1b" not in out and err == b""
    assert lines[1]["lossy"] is True and lines[-1]["findings"] == {"rst_injection": {"confirmed": 1}}


def test_notices_on_standard_error(scans: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Errors always, warnings unless -q, remarks with -v; ten lines at most, errors first; text is escaped."""
    notices = [damage("i", level="info"), damage("w\x1b[2J", level="warning"), damage("e")]

    def said(*argv: str) -> list[str]:
        scans["a"] = FakeScan("a", notices=notices)
        cli.main([*argv, "a"])
        return capfd.readouterr().err.splitlines()

    assert said() == ["pcap-scan: a: e", "pcap-scan: a: w\\x1b[2J"]
    assert said("-q") == ["pcap-scan: a: e"]
    assert said("-v") == ["pcap-scan: a: e", "pcap-scan: a: w\\x1b[2J", "pcap-scan: a: i"]
    notices[:] = [damage(f"e{i}") for i in range(33)]
    lines = said()
    assert len(lines) == 11 and lines[-1] == "pcap-scan: a: 23 further problems; --json lists all"


def test_several_captures_in_a_table(scans: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["a", "b"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("a  pcap") and "\n\nb  pcap" in out


def test_scans_are_closed(scans: dict[str, Any]) -> None:
    scans["a"] = FakeScan("a")
    cli.main(["a"])
    assert scans["a"].closed


def broken(records: list[Any], error: BaseException) -> Iterator[Any]:
    yield from records
    raise error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (CaptureError("file shrank"), 4, "pcap-scan: a: file shrank"),
        (OSError(5, "Input/output error"), 4, "cannot be read: input/output error"),
        (MemoryError(), 4, "out of memory (--max-flows lowers the need)"),
        (RecursionError("deep"), 4, "RecursionError: deep"),
        (ValueError("a \x1b b"), 4, "error in the program itself, please report it: ValueError: a \\x1b b"),
    ],
)
def test_failure_on_the_way_keeps_what_was_found(
    error: Exception, status: int, said: str, scans: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    scans["a"] = FakeScan("a", broken([finding()], error))
    assert cli.main(["a"]) == status
    out, err = capfd.readouterr()
    assert "x.example" in out and said in err and "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_debug_shows_the_traceback(
    scans: dict[str, Any], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMPERSCOPE_DEBUG", "1")
    scans["a"] = FakeScan("a", broken([], ValueError("x")))
    assert cli.main(["a"]) == 4
    assert "Traceback" in capfd.readouterr().err


def test_bug_in_opening_is_no_traceback(scans: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    scans["a"] = KeyError("x")
    assert cli.main(["a"]) == 4
    err = capfd.readouterr().err
    assert "please report it: KeyError" in err and "Traceback" not in err


# -- inputs


def test_nul_in_a_path(scans: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["a\0b"]) == 3
    assert "pcap-scan: 'a\\x00b': no such file" in capfd.readouterr().err
    assert scans["calls"] == []


def test_odd_file_names_are_escaped(scans: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    name = "esc\x1b]0;own\x07\udcff.pcap"
    scans[name] = FileNotFoundError(2, "x")
    assert cli.main([name]) == 3
    assert capfd.readouterr().err == "pcap-scan: 'esc\\x1b]0;own\\x07\\xff.pcap': no such file\n"


def test_folder_is_walked(tmp_path: pathlib.Path, scans: dict[str, Any]) -> None:
    """By name or first bytes, in the order of names, below as well; what is no capture is passed over in silence."""
    (tmp_path / "b").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.pcap").symlink_to(tmp_path / "none")
    (tmp_path / "self.pcap").symlink_to(tmp_path / "self.pcap")
    os.mkfifo(tmp_path / "pipe.pcap")
    for name, data in {
        "a.pcap": b"", "c.PCAPNG": b"", "d.pcap.gz": b"", "notes.txt": b"hello", "e": b"\xd4\xc3\xb2\xa1",
        "short": b"\xd4", "b/f.cap": b"", "b/g.tar.gz": b"", "b/h": b"\x0a\x0d\x0d\x0a",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
    assert cli.main([str(tmp_path)]) == 0
    found = [os.path.relpath(source, tmp_path) for source, _ in scans["calls"]]
    assert found == ["a.pcap", "c.PCAPNG", "d.pcap.gz", "e", "b/f.cap", "b/h"]


def test_folder_without_capture(
    tmp_path: pathlib.Path, scans: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert cli.main([str(tmp_path)]) == 3
    assert "no capture in this folder" in capfd.readouterr().err
    assert cli.main([str(tmp_path), "a"]) == 4


def test_unreadable_folder(
    tmp_path: pathlib.Path,
    scans: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One folder that cannot be listed does not hide the others."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b.pcap").write_bytes(b"")
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert cli.main([str(tmp_path)]) == 4
    assert "/a: permission to read it is missing" in capfd.readouterr().err


# -- processes: pipes, signals, imports

CHILD = """
import sys, time
sys.path[:0] = {paths!r}
from fakes import FakeScan, install
from records import finding, flow_record

def slow(records, wait):
    yield from records
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(wait)

def endless():
    while True:
        yield flow_record()

def scan(source, **options):
    {body}

install(scan)
from tamperscope.cli import entry
sys.exit(entry())
"""


def child(body: str, *argv: str, python: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[bytes]:
    """pcap-scan in a process of its own over a scan whose body is given."""
    paths = [str(TESTS), *[path for path in sys.path if path and path != str(TESTS)]]
    code = CHILD.format(paths=paths, body=textwrap.indent(textwrap.dedent(body), "    ").strip())
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, *python, "-c", code, *argv], **pipes)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("form", ["--json", "-v"])
def test_interrupt_reports_what_was_found(number: int, status: int, form: str) -> None:
    process = child("return FakeScan(source, slow([finding()], 60))", form, "a", "b")
    assert process.stderr is not None and process.stderr.readline() == b"waiting\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == status and err == b""
    if form == "--json":
        assert [json.loads(line)["type"] for line in out.splitlines()] == ["finding", "summary"]
    else:
        assert b"Interrupted" in out and b"x.example" in out and out.count(b"2024-01-20") == 1


def test_interrupt_judges_what_was_read() -> None:
    """Findings need the whole of what there is: after a signal that is what was read until then."""
    body = """
        scan = FakeScan(source, slow([flow_record()], 60))
        scan.late = [flow_record(flow=18), finding()]
        return scan
    """
    process = child(body, "--json", "--flows", "--check", "a")
    assert process.stderr is not None and process.stderr.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["flow", "flow", "finding", "summary"]


def test_interrupt_while_opening() -> None:
    """A pipe that nobody writes to must not hold the command."""
    process = child('print("waiting", file=sys.stderr, flush=True)\ntime.sleep(60)', "a")
    assert process.stderr is not None and process.stderr.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


def test_ignored_interrupt_stays_ignored() -> None:
    """As under nohup or in the background of a shell."""
    process = child(
        "return FakeScan(source, slow([finding()], 1))",
        "--json",
        "a",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stderr is not None and process.stderr.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_interrupt_never_cuts_a_line() -> None:
    """Signals at any moment of a busy scan leave whole lines and a summary."""
    for delay in range(8):
        process = child("return FakeScan(source, endless())", "--json", "--flows", "a")
        assert process.stdout is not None
        select.select([process.stdout], [], [], 20)
        head = os.read(process.stdout.fileno(), 10)
        time.sleep(delay / 1000)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        lines = (head + out).splitlines()
        assert process.returncode == 143 and err == b""
        assert json.loads(lines[-1])["type"] == "summary"
        assert all(line.endswith(b"}") for line in lines)


@pytest.mark.parametrize("form", [["--json", "--flows"], ["--flows"]])
def test_closed_pipe_is_quiet(form: list[str]) -> None:
    process = child("return FakeScan(source, endless())", *form, "a")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 0


def test_full_disk() -> None:
    with pathlib.Path("/dev/full").open("wb") as full:
        process = child("return FakeScan(source)", "--json", "a", stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 5
    assert err == b"pcap-scan: standard output: no space left on device after 0 bytes; the rest is lost\n"


def test_closed_streams() -> None:
    """Closed output is an output that cannot be written; closed standard error is nobody to tell."""
    process = child("return FakeScan(source)", "a", stdout=None, preexec_fn=lambda: os.close(1))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 5 and b"standard output is closed" in err
    process = child("raise FileNotFoundError(2, 'x')", "a", stderr=None, preexec_fn=lambda: os.close(2))
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 3 and out == b""


class _Narrow(io.RawIOBase):
    """A file that takes seven bytes at once, and nothing more after ``room`` of them."""

    def __init__(self, room: int) -> None:
        self.taken = b""
        self.room = room

    def write(self, data: Any) -> int | None:
        part = bytes(data[: min(7, self.room - len(self.taken))])
        self.taken += part
        return len(part) or None


@pytest.mark.parametrize(("room", "status"), [(10**6, 0), (40, 5)])
def test_short_writes(room: int, status: int, scans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unbuffered (python -u) a write may be short: the rest follows, or its loss is an error."""
    narrow = _Narrow(room)
    out = io.StringIO()
    out.buffer = narrow  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["--json", "a"]) == status
    assert len(narrow.taken) == room or json.loads(narrow.taken)["type"] == "summary"


def test_ascii_terminal() -> None:
    """No UTF-8 locale: plain ASCII of our own, escapes for the rest."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    process = child('return FakeScan("é.pcap", [finding(name=b"a" * 300)])', "a", env=env)
    out, _ = process.communicate(timeout=20)
    assert out.isascii() and b"\\xe9.pcap" in out and b"...(+45)" in out and process.returncode == 0


@pytest.mark.parametrize(
    ("argv", "extra"), [(["--json", "--flows"], set()), ([], {"tamperscope.report.table"}), (["--check", "-q"], set())]
)
def test_plain_scan_imports_little(argv: list[str], extra: set[str]) -> None:
    """What would cost a small capture more than its scan is not loaded; -S -E keep the machine's own out."""
    heavy = [
        "argparse", "dataclasses", "inspect", "hashlib", "json", "re", "enum", "typing", "numpy", "tomllib", "textwrap",
        "traceback", "signal",
    ]  # fmt: skip
    script = (
        "import sys, types\n"
        f"sys.path[:0] = {[path for path in sys.path if path.endswith('src') or 'site-packages' in path]!r}\n"
        "from tamperscope.model import Summary\n"
        "class Scan:\n"
        "    notices = []\n"
        "    summary = Summary('a', version='1', rules='1', frames=1, packets=1)\n"
        "    def __iter__(self): return iter(())\n"
        "    def close(self): pass\n"
        "module = types.ModuleType('tamperscope.scan')\n"
        "module.scan = lambda *a, **k: Scan()\n"
        "sys.modules['tamperscope.scan'] = module\n"
        "from tamperscope.cli import main\n"
        "status = main()\n"
        f"loaded = set({heavy!r}) & set(sys.modules)\n"
        "print(sorted(loaded), file=sys.stderr)\n"
        f"assert {extra!r} <= set(sys.modules)\n"
        "sys.exit(status)\n"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script, *argv, "a"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "[]\n")
