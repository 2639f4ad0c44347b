"""
``pcap-scan``: captures in, findings out.

Results go to standard output, everything else to standard error, one line a problem.  Whatever happens, the exit
status says it (``HELP`` has the list) and no traceback is shown, unless TAMPERSCOPE_DEBUG=1.

What a plain scan does not need stands elsewhere: ``commands/`` has the subcommands.
"""

# pathlib would cost a plain scan its import.
from __future__ import annotations

import os
import sys

from tamperscope.arguments import Grammar
from tamperscope.console import (
    FOUND,
    OK,
    PARTIAL,
    UNREADABLE,
    UNWRITTEN,
    USAGE,
    Interrupted,
    Output,
    Signals,
    Unwritten,
    debug,
    file,
    internal,
    os_error,
    say,
    shown,
)
from tamperscope.errors import CaptureError, UsageError
from tamperscope.model import Finding, FlowRecord, Notice
from tamperscope.report.escape import visible
from tamperscope.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from tamperscope.answer import Answer
    from tamperscope.commands.evidence import EvidenceFile
    from tamperscope.commands.report import ReportFile
    from tamperscope.model import Summary
    from tamperscope.spool import Spool

    class Scan(Protocol):
        """What this module needs of ``tamperscope.scan.Scan``."""

        @property
        def notices(self) -> list[Notice]: ...
        @property
        def summary(self) -> Summary: ...
        def __iter__(self) -> Iterator[Finding | FlowRecord]: ...
        def __next__(self) -> Finding | FlowRecord: ...
        def close(self) -> None: ...


HELP = """\
usage: pcap-scan [OPTION]... CAPTURE...
       pcap-scan explain CAPTURE --flow N | --frame N
       pcap-scan signatures [ID]
       pcap-scan verify MANIFEST

Find network interference in packet captures: injected TCP resets, TLS
connections dropped by server name, forged DNS answers; with the frames that
prove it.

explain shows one flow's packets, and what speaks for and against; signatures
what is looked for, with sources and look-alikes; verify holds a report to its
manifest.  Each has its own --help.

A CAPTURE is a pcap or pcapng file, plain or compressed; a folder, which is
searched for captures; or - for standard input.

  -r FILE          a capture, as with tcpdump; may be repeated
  -w FILE          write the flows with findings to this pcapng file, with a
                   comment on each packet that tells something
  -c N             stop after N frames of each capture
  --json           JSON Lines for programs: findings, notices, then a summary
  --flows          also every flow: a record each with --json, else a table
  --report FILE    write a report to this HTML file, and a manifest beside it
  --tz ZONE        time zone of the report, as Asia/Karachi (default UTC)
  --label N=GLOB   captures whose name fits GLOB are of network N
  --targets FILE   further platforms and controls, in TOML
  --check          for CI: exit with 1 if a finding is confirmed or likely
  --max-flows N    flows kept in memory at once (default 1048576)
  -n               do not look names up; accepted, as they never are
  -l               write each line at once
  -q               no warnings
  -v               also remarks on the input
  --version        print the version
  -h, --help       print this

examples:
  pcap-scan evening.pcapng.gz
  pcap-scan --json captures/ | jq 'select(.type == "finding")'
  tcpdump -i eth0 -w - | pcap-scan -
  pcap-scan -w evidence.pcapng evening.pcap; wireshark evidence.pcapng
  pcap-scan --check --json nightly.pcap > findings.jsonl

exit status:
  0    scanned, whatever was found
  1    with --check: at least one finding is confirmed or likely
  2    wrong usage
  3    no input could be read at all, or nothing in it could be decoded
  4    an input could be read only in part, or one of several not at all
  5    the output could not be written
  130, 143  interrupted, terminated; what was found until then is printed
"""

COMMANDS = ("explain", "signatures", "verify")
LOOKED_FOR = (
    "rst_injection", "sni_drop", "http_drop", "quic_drop", "blockpage", "tls_mitm", "ip_block", "dns_forgery",
    "dns_drop",
)  # fmt: skip
EXTENSIONS = (".pcap", ".pcapng", ".cap", ".ntar")
COMPRESSIONS = (".gz", ".zst", ".xz", ".lz4")
MAGICS = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a")
MAX_PROBLEMS = 10  # lines on standard error for each capture; the rest is counted
HELD = 1 << 22  # characters of tables that wait for the answer


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    command = argv[0] if argv and argv[0] in COMMANDS else ""
    try:
        if command == "explain":
            from tamperscope.commands import explain

            return explain.main(argv[1:])
        if command == "signatures":
            from tamperscope.commands import signatures

            return signatures.main(argv[1:])
        if command == "verify":
            from tamperscope.commands import verify

            return verify.main(argv[1:])
        return _run(_options(argv))
    except UsageError as error:
        say(f"pcap-scan: {error}")
        say(f"try: pcap-scan {command + ' ' if command else ''}--help")
        return USAGE
    except Unwritten as error:
        return error.status
    except KeyboardInterrupt:  # outside of a scan
        return 130
    except Exception as error:
        debug()
        say(f"pcap-scan: {internal(error)}")
        return PARTIAL


def entry() -> int:
    """
    The console script: ``main``, then out at once.

    Taking the interpreter down in good order, module by module, is a fair part of what a small scan costs; everything
    that matters is written by then.
    """
    status = main()
    if os.environ.get("TAMPERSCOPE_DEBUG") == "1":
        return status
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib is one import more
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(status)


# -- arguments


class _Options:
    """What the command line asks for."""

    __slots__ = (
        "check", "evidence", "flows", "json", "labels", "limit", "lines", "max_flows", "quiet", "report", "show",
        "targets", "verbose", "words", "zone",
    )  # fmt: skip

    def __init__(self) -> None:
        self.words: list[str] = []  # captures, those of -r among them
        self.labels: list[str] = []
        self.targets: list[str] = []
        self.limit: int | None = None
        self.evidence: str | None = None
        self.report: str | None = None
        self.zone: str | None = None
        self.max_flows = 1 << 20
        self.json = self.flows = self.check = self.lines = self.quiet = self.verbose = False
        self.show: str | None = None


_FLAGS = {
    "--json": "json", "--flows": "flows", "--check": "check", "-l": "lines", "-q": "quiet", "--quiet": "quiet",
    "-v": "verbose", "--verbose": "verbose", "-n": "", "-h": "help", "--help": "help", "-V": "version",
    "--version": "version",
}  # fmt: skip
_VALUES = {
    "-r": "words", "-c": "limit", "-w": "evidence", "--max-flows": "max_flows", "--label": "labels",
    "--targets": "targets", "--report": "report", "--tz": "zone",
}  # fmt: skip
_MOST = {"-c": 10**18 - 1, "--max-flows": 1 << 30}


def _options(argv: list[str]) -> _Options:
    options = _Options()
    Grammar(_FLAGS, _VALUES, _MOST).read(argv, options)
    if options.show:
        return options
    if not options.words:
        raise UsageError("no capture given (- is standard input)")
    if options.words.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    if options.evidence == "-":
        raise UsageError("-w: standard output (-) has the findings; give a file")
    return options


def _label(text: str) -> tuple[str, str]:
    label, _, pattern = text.partition("=")
    if not label or not pattern:
        raise UsageError(f"--label: {shown(text)} is not NAME=GLOB")
    return label, pattern


# -- the run


def _run(options: _Options) -> int:
    output = Output(options.lines, go_on=bool(options.evidence or options.report))
    if options.show:
        output.write(HELP if options.show == "help" else f"pcap-scan {_version()}\n")
        output.flush()
        return OK
    run = _Run(options, output)
    signal_state = Signals()
    try:
        run.all(signal_state)
    except Unwritten as error:
        if error.status == UNWRITTEN:
            return UNWRITTEN
        # The reader of a pipe has seen enough: what is known by now decides the status.
    finally:
        signal_state.restore()
        if run.evidence:
            run.evidence.abandon()
    return run.status(signal_state.number)


class _Run:
    """All captures of one command, and what became of them."""

    def __init__(self, options: _Options, output: Output) -> None:
        self.options = options
        self.output = output
        self.evidence: EvidenceFile | None = None
        if options.evidence is not None:
            from tamperscope.commands.evidence import EvidenceFile, is_same

            if any(is_same(options.evidence, word) for word in options.words if not os.path.isdir(word)):
                raise UsageError(f"-w: {file(options.evidence)} is the capture itself")
            self.evidence = EvidenceFile(options.evidence, options.quiet)
        self.report: ReportFile | None = None
        if options.report is not None:
            from tamperscope.commands.report import ReportFile

            asked = {"frames of each capture": options.limit, "max_flows": options.max_flows, "labels": options.labels}
            self.report = ReportFile(options.report, options.words, options.targets, options.zone, asked)
        self.sink: _Json | _Text = _Json(output) if options.json else _Text(output, hold=not options.flows)
        self.watch = Watch(options.targets, [_label(one) for one in options.labels])
        self.read = self.failed = self.partial = 0
        self.found = False

    def all(self, signal_state: Signals) -> None:
        """Scan capture after capture, until the last or a signal."""
        for path in self.options.words:
            for capture in signal_state.watch(_walk(path)):
                if isinstance(capture, CaptureError):
                    self._refused(capture)
                elif not (self.evidence and self.evidence.is_own(capture)):
                    self._one(capture, signal_state)
            if signal_state.number:
                break
        answer = None
        try:
            answer = self.watch.answer(always=self.report is not None)
            self.sink.answer(answer)
        except (MemoryError, ArithmeticError, LookupError, TypeError, ValueError) as error:  # findings stand without it
            debug()
            self.partial += 1
            say(f"pcap-scan: {internal(error)}")
            self.sink.answer(None)
        self.output.flush()
        if self.evidence:
            self.evidence.finish()
        if self.report:
            self.report.finish(answer, self.options.quiet)

    def status(self, signal_number: int) -> int:
        if signal_number:
            return 128 + signal_number
        if (self.evidence and self.evidence.failed) or (self.report and self.report.failed):
            return UNWRITTEN
        if self.failed and not self.read and not self.partial:
            return UNREADABLE
        if self.failed or self.partial:
            return PARTIAL
        return FOUND if self.options.check and self.found else OK

    def _one(self, path: str, signal_state: Signals) -> None:
        from tamperscope.scan import scan

        options = self.options
        try:
            source = self.evidence.source(path) if self.evidence else path
            if self.report and source is path:
                source = self.report.source(path)
            with signal_state:  # opening waits where the other end of a pipe has nothing to say yet
                opened = scan(
                    source, max_flows=options.max_flows, flows=options.flows, limit=options.limit,
                    counted=self.watch.batch,
                )  # fmt: skip
        except Interrupted:
            return
        except CaptureError as error:
            error.path = error.path or path
            self._refused(error)
        except OSError as error:
            self._refused(os_error(path, error))
        else:
            self._scan(path, source, opened, signal_state)

    def _scan(self, path: str, source: str | Spool, opened: Scan, signal_state: Signals) -> None:
        trouble: list[Notice] = []
        self.watch.begin(path)
        try:
            self._records(signal_state.watch(opened))
            if signal_state.number:  # judge what was read; a second signal ends that, too
                self._records(getattr(opened, "rest", tuple)())
        except CaptureError as error:
            trouble.append(_notice(path, error))
        except OSError as error:
            trouble.append(_notice(path, os_error(path, error)))
        except Exception as error:  # ours to mend, but what was found until here is worth having
            debug()
            trouble.append(Notice("error", "internal", internal(error), capture=path))
        notices, summary = opened.notices + trouble, opened.summary
        self.watch.end(summary, getattr(opened, "failed", 0))
        opened.close()
        if self.report:
            self.report.capture(source, path, summary, notices, self.options.max_flows)
        if self.evidence:
            self.evidence.write(path, summary.frames, self.options.max_flows)
        self._account(summary, notices)
        self._tell(path, notices)
        self.sink.end(summary, notices, bool(signal_state.number))

    def _records(self, records: Iterable[Finding | FlowRecord]) -> None:
        for record in records:
            if isinstance(record, Finding):
                self.found |= record.verdict in ("confirmed", "likely")
                if self.evidence:
                    self.evidence.note(record)
                if self.report:
                    self.report.note(record)
                self.watch.finding(record)
            self.sink.record(record)

    def _account(self, summary: Summary, notices: list[Notice]) -> None:
        damaged = any(notice.level == "error" for notice in notices)
        if damaged and summary.frames and not summary.packets:  # read, but nothing of it could be decoded
            self.failed += 1
        elif damaged:
            self.partial += 1
        else:
            self.read += 1

    def _tell(self, path: str, notices: list[Notice]) -> None:
        """Notices to standard error, a line each, the worst ones first where there are many."""
        shown = [one for one in notices if one.level == "error" or not self.options.quiet]
        shown = [one for one in shown if one.level != "info" or self.options.verbose]
        shown.sort(key=lambda one: ("error", "warning", "info").index(one.level))  # stable
        for notice in shown[:MAX_PROBLEMS]:
            say(f"pcap-scan: {file(path)}: {visible(notice.text, limit=1024)}")
        if len(shown) > MAX_PROBLEMS:
            say(f"pcap-scan: {file(path)}: {len(shown) - MAX_PROBLEMS} further problems; --json lists all")

    def _refused(self, error: CaptureError) -> None:
        """An input that gives nothing."""
        self.failed += 1
        path = error.path or ""
        say(f"pcap-scan: {file(path)}: {visible(error.text, limit=1024)}")
        self.sink.refused(_notice(path, error))
        if self.report:
            self.report.refused(_notice(path, error))


class _Json:
    """Records as JSON Lines."""

    def __init__(self, output: Output) -> None:
        from tamperscope.report.jsonl import line

        self._output = output
        self._format = line

    def record(self, record: Finding | FlowRecord) -> None:
        self._output.write(self._format(record) + "\n")

    def end(self, summary: Summary, notices: list[Notice], interrupted: bool) -> None:
        for notice in notices:
            self._output.write(self._format(notice) + "\n")
        self._output.write(self._format(summary) + "\n")
        self._output.flush()

    def refused(self, notice: Notice) -> None:
        self._output.write(self._format(notice) + "\n")

    def answer(self, answer: Answer | None) -> None:
        for event in answer.events if answer else ():
            self._output.write(self._format(event) + "\n")
        for assessment in answer.assessments if answer else ():
            self._output.write(self._format(assessment) + "\n")


class _Text:
    """
    For people: the answer, then a table for each capture.

    Tables are held until the answer is known, unless there is much of them.
    """

    def __init__(self, output: Output, hold: bool) -> None:
        from tamperscope.report.table import Table

        self._output = output
        self._held: list[str] | None = [] if hold else None
        self._size = 0
        self._table = Table(self._write, output.width(), output.colour(), not output.is_unicode, LOOKED_FOR)

    def record(self, record: Finding | FlowRecord) -> None:
        if isinstance(record, FlowRecord):
            self._table.flow(record)
        else:
            self._table.finding(record)

    def end(self, summary: Summary, notices: list[Notice], interrupted: bool) -> None:
        self._table.end(summary, interrupted)
        if self._held is None:
            self._output.flush()

    def refused(self, notice: Notice) -> None:
        """Standard error has it; a table has nothing to add."""

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._held is None:
            self._output.write(text)
        elif self._size > HELD:
            self._let_go()
            self._output.write(text)
        else:
            self._held.append(text)

    def _let_go(self) -> None:
        for text in self._held or ():
            self._output.write(text)
        self._held = None

    def answer(self, answer: Answer | None) -> None:
        if answer and answer.assessments:
            from tamperscope.report.answer import lines

            first = self._held is not None or not self._size
            text = "".join(f"{line}\n" for line in lines(answer, self._output.width(), not self._output.is_unicode))
            self._output.write(text + "\n" if first and self._held else text if first else "\n" + text)
        self._let_go()


# -- inputs


def _walk(path: str) -> Iterator[str | CaptureError]:
    """
    The path itself, or the captures in a folder and below it in the order of names; errors come in their place.

    Links to folders are not followed, as they can go round in circles.
    """
    if "\0" in path:
        yield CaptureError("no such file: a name cannot hold a NUL byte", code="not_found", path=path)
        return
    if path == "-" or not os.path.isdir(path):
        yield path
        return
    found = False
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            found = True
            yield os_error(folder, error)
            continue
        for entry in entries:
            if _is_capture(entry):
                found = True
                yield entry.path
        folders.extend(entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False))
    if not found:
        text = "no capture in this folder (looked for .pcap, .pcapng, .cap, or the first bytes of one)"
        yield CaptureError(text, code="no_capture", path=path)


def _is_capture(entry: os.DirEntry[str]) -> bool:
    """By name or by first bytes; a damaged capture must be named as such, so the name alone is enough."""
    stem, extension = os.path.splitext(entry.name.lower())
    try:
        if not entry.is_file():
            return False
        if extension in EXTENSIONS or (extension in COMPRESSIONS and stem.endswith(EXTENSIONS)):
            return True
        with open(entry.path, "rb", buffering=0) as file:
            return file.read(4) in MAGICS
    except OSError:
        return False


def _notice(path: str, error: CaptureError) -> Notice:
    return Notice(
        "error", error.code, error.text, capture=path, offset=error.offset, frame=error.frame, need=error.need,
        have=error.have,
    )  # fmt: skip


def _version() -> str:
    import tamperscope

    return str(getattr(tamperscope, "__version__", "unknown"))


if __name__ == "__main__":
    sys.exit(main())
