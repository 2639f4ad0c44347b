"""
``pcap-scan``: captures in, findings out.

Results go to standard output, everything else to standard error, one line a problem.  Whatever happens, the exit
status says it (``HELP`` has the list) and no traceback is shown, unless TAMPERSCOPE_DEBUG=1.

Options are read by a few lines of our own: argparse, with what it imports, takes longer than a small capture.
"""

# pathlib would cost a plain scan its import.
from __future__ import annotations

import os
import sys

from tamperscope.errors import CaptureError, UsageError
from tamperscope.model import Finding, FlowRecord, Notice
from tamperscope.report.escape import quoted, visible

TYPE_CHECKING = False
if not TYPE_CHECKING:
    try:  # the C module under signal, which imports enum and wraps every constant
        import _signal as signals
    except ImportError:  # pragma: no cover - another Python
        import signal as signals
else:
    import signal as signals
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol, TypeVar

    from tamperscope.model import Summary

    T = TypeVar("T")

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

Find network interference in packet captures: injected TCP resets, TLS
connections dropped by server name, forged DNS answers; with the frames that
prove it.

A CAPTURE is a pcap or pcapng file, plain or compressed; a folder, which is
searched for captures; or - for standard input.

  -r FILE          a capture, as with tcpdump; may be repeated
  -c N             stop after N frames of each capture
  --json           JSON Lines for programs: findings, notices, then a summary
  --flows          also every flow: a record each with --json, else a table
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

LOOKED_FOR = ("rst_injection", "sni_drop", "dns_forgery")
EXTENSIONS = (".pcap", ".pcapng", ".cap", ".ntar")
COMPRESSIONS = (".gz", ".zst", ".xz", ".lz4")
MAGICS = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a")
MAX_PROBLEMS = 10  # lines on standard error for each capture; the rest is counted
CHUNK = 1 << 16

OK, FOUND, USAGE, UNREADABLE, PARTIAL, UNWRITTEN = range(6)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        options = _options(sys.argv[1:] if argv is None else argv)
        return _run(options)
    except UsageError as error:
        _say(f"pcap-scan: {error}")
        _say("try: pcap-scan --help")
        return USAGE
    except _Unwritten as error:
        return error.status
    except KeyboardInterrupt:  # outside of a scan
        return 130
    except Exception as error:
        _debug()
        _say(f"pcap-scan: {_internal(error)}")
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

    __slots__ = ("captures", "check", "flows", "json", "limit", "lines", "max_flows", "quiet", "show", "verbose")

    def __init__(self) -> None:
        self.captures: list[str] = []
        self.limit: int | None = None
        self.max_flows = 1 << 20
        self.json = self.flows = self.check = self.lines = self.quiet = self.verbose = False
        self.show: str | None = None


_FLAGS = {
    "--json": "json", "--flows": "flows", "--check": "check", "-l": "lines", "-q": "quiet", "--quiet": "quiet",
    "-v": "verbose", "--verbose": "verbose", "-n": "", "-h": "help", "--help": "help", "-V": "version",
    "--version": "version",
}  # fmt: skip
_VALUES = {"-r": "captures", "-c": "limit", "--max-flows": "max_flows"}
_MOST = {"-c": 10**18 - 1, "--max-flows": 1 << 30}


def _options(argv: list[str]) -> _Options:
    options = _Options()
    rest = iter(argv)
    for word in rest:
        if word == "--":
            options.captures.extend(rest)
        elif word == "-" or not word.startswith("-"):
            options.captures.append(word)
        elif word.startswith("--"):
            name, has_value, value = word.partition("=")
            _option(options, name, value if has_value else None, rest)
        else:
            _letters(options, word, rest)
        if options.show:
            return options
    if not options.captures:
        raise UsageError("no capture given (- is standard input)")
    if options.captures.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    return options


def _letters(options: _Options, word: str, rest: Iterator[str]) -> None:
    """-qv, -c5, -rFILE: flags together, and a value that may follow at once."""
    for at in range(1, len(word)):
        letter = "-" + word[at]
        if letter in _VALUES:
            _option(options, letter, word[at + 1 :] or None, rest)
            return
        _option(options, letter, None, rest)


def _option(options: _Options, name: str, value: str | None, rest: Iterator[str]) -> None:
    if name in _FLAGS:
        if value is not None:
            raise UsageError(f"{name} takes no value, got {_shown(value)}")
        key = _FLAGS[name]
        if key in ("help", "version"):
            options.show = key
        elif key:
            setattr(options, key, True)
    elif name in _VALUES:
        value = next(rest, None) if value is None else value
        if value is None:
            raise UsageError(f"{name} needs a value")
        if name == "-r":
            options.captures.append(value)
        else:
            setattr(options, _VALUES[name], _number(name, value))
    else:
        raise UsageError(f"unknown option {_shown(name)}")


def _number(name: str, text: str) -> int:
    most = _MOST[name]
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}: {_shown(text)} is not a number")
    if len(text) > 18 or not 1 <= int(text) <= most:
        raise UsageError(f"{name}: {_shown(text)} is out of range, 1 to {most}")
    return int(text)


def _shown(text: str) -> str:
    return f"'{visible(text)}'"


# -- the run


def _run(options: _Options) -> int:
    output = _Output(options.lines)
    if options.show:
        output.write(HELP if options.show == "help" else f"pcap-scan {_version()}\n")
        output.flush()
        return OK
    run = _Run(options, output)
    signal_state = _Signals()
    try:
        run.all(signal_state)
    except _Unwritten as error:
        if error.status == UNWRITTEN:
            return UNWRITTEN
        # The reader of a pipe has seen enough: what is known by now decides the status.
    finally:
        signal_state.restore()
    return run.status(signal_state.number)


class _Run:
    """All captures of one command, and what became of them."""

    def __init__(self, options: _Options, output: _Output) -> None:
        self.options = options
        self.output = output
        self.sink: _Json | _Text = _Json(output) if options.json else _Text(output)
        self.read = self.failed = self.partial = 0
        self.found = False

    def all(self, signal_state: _Signals) -> None:
        """Scan capture after capture, until the last or a signal."""
        for path in self.options.captures:
            for capture in signal_state.watch(_walk(path)):
                if isinstance(capture, CaptureError):
                    self._refused(capture)
                else:
                    self._one(capture, signal_state)
            if signal_state.number:
                break
        self.output.flush()

    def status(self, signal_number: int) -> int:
        if signal_number:
            return 128 + signal_number
        if self.failed and not self.read and not self.partial:
            return UNREADABLE
        if self.failed or self.partial:
            return PARTIAL
        return FOUND if self.options.check and self.found else OK

    def _one(self, path: str, signal_state: _Signals) -> None:
        from tamperscope.scan import scan

        options = self.options
        try:
            with signal_state:  # opening waits where the other end of a pipe has nothing to say yet
                opened = scan(path, max_flows=options.max_flows, flows=options.flows, limit=options.limit)
        except _Interrupted:
            return
        except CaptureError as error:
            error.path = error.path or path
            self._refused(error)
        except OSError as error:
            self._refused(_os_error(path, error))
        else:
            self._scan(path, opened, signal_state)

    def _scan(self, path: str, opened: Scan, signal_state: _Signals) -> None:
        trouble: list[Notice] = []
        try:
            self._records(signal_state.watch(opened))
            if signal_state.number:  # judge what was read; a second signal ends that, too
                self._records(getattr(opened, "rest", tuple)())
        except CaptureError as error:
            trouble.append(_notice(path, error))
        except OSError as error:
            trouble.append(_notice(path, _os_error(path, error)))
        except Exception as error:  # ours to mend, but what was found until here is worth having
            _debug()
            trouble.append(Notice("error", "internal", _internal(error), capture=path))
        notices, summary = opened.notices + trouble, opened.summary
        opened.close()
        self._account(summary, notices)
        self._tell(path, notices)
        self.sink.end(summary, notices, bool(signal_state.number))

    def _records(self, records: Iterable[Finding | FlowRecord]) -> None:
        for record in records:
            if isinstance(record, Finding):
                self.found |= record.verdict in ("confirmed", "likely")
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
            _say(f"pcap-scan: {_file(path)}: {visible(notice.text, limit=1024)}")
        if len(shown) > MAX_PROBLEMS:
            _say(f"pcap-scan: {_file(path)}: {len(shown) - MAX_PROBLEMS} further problems; --json lists all")

    def _refused(self, error: CaptureError) -> None:
        """An input that gives nothing."""
        self.failed += 1
        path = error.path or ""
        _say(f"pcap-scan: {_file(path)}: {visible(error.text, limit=1024)}")
        self.sink.refused(_notice(path, error))


class _Json:
    """Records as JSON Lines."""

    def __init__(self, output: _Output) -> None:
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


class _Text:
    """The table for people."""

    def __init__(self, output: _Output) -> None:
        from tamperscope.report.table import Table

        self._output = output
        self._table = Table(output.write, output.width(), output.colour(), not output.is_unicode, LOOKED_FOR)

    def record(self, record: Finding | FlowRecord) -> None:
        if isinstance(record, FlowRecord):
            self._table.flow(record)
        else:
            self._table.finding(record)

    def end(self, summary: Summary, notices: list[Notice], interrupted: bool) -> None:
        self._table.end(summary, interrupted)
        self._output.flush()

    def refused(self, notice: Notice) -> None:
        """Standard error has it; a table has nothing to add."""


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
            yield _os_error(folder, error)
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


def _file(path: str) -> str:
    return "standard input" if path == "-" else quoted(path)


def _notice(path: str, error: CaptureError) -> Notice:
    return Notice(
        "error", error.code, error.text, capture=path, offset=error.offset, frame=error.frame, need=error.need,
        have=error.have,
    )  # fmt: skip


def _os_error(path: str, error: OSError) -> CaptureError:
    """A stable word and a sentence; never the number alone."""
    if isinstance(error, FileNotFoundError):
        return CaptureError("no such file", code="not_found", path=path)
    if isinstance(error, PermissionError):
        return CaptureError("permission to read it is missing", code="permission", path=path)
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return CaptureError(f"cannot be read: {reason}", code="os_error", path=path)


def _internal(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory (--max-flows lowers the need)"
    text = visible(str(error), limit=400)
    return f"error in the program itself, please report it: {type(error).__name__}: {text}"


# -- signals


class _Interrupted(BaseException):
    """An interrupt while a scan runs; no Exception, so that nothing on the way takes it for an error."""


class _Signals:
    """
    SIGINT and SIGTERM, let through only while the scan works.

    Elsewhere a record may be half written, and a line cut in the middle would make the output unreadable: there the
    signal waits for the end of the record.  A second one ends the process at once.
    """

    def __init__(self) -> None:
        self.number = 0
        self._open = False
        self._old: dict[int, Any] = {}
        for number in (signals.SIGINT, signals.SIGTERM):
            try:
                if signals.getsignal(number) != signals.SIG_IGN:  # as under nohup: stay deaf
                    self._old[number] = signals.signal(number, self._caught)
            except ValueError:  # not the main thread: somebody else minds the signals
                return

    def __enter__(self) -> None:
        self._open = True

    def __exit__(self, *_: object) -> None:
        self._open = False

    def watch(self, records: Iterable[T]) -> Iterator[T]:
        """The records, until their end or a signal; open to a signal only while the next one is awaited."""
        rest = iter(records)
        try:
            while not self.number:
                with self:
                    record = next(rest, None)
                if record is None:
                    return
                yield record
        except _Interrupted:
            return

    def restore(self) -> None:
        for number, old in self._old.items():
            signals.signal(number, signals.SIG_DFL if old is None else old)

    def _caught(self, number: int, _frame: object) -> None:
        if self.number:
            signals.signal(number, signals.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        if self._open:
            self._open = False
            raise _Interrupted


# -- outputs


class _Unwritten(BaseException):
    """
    Standard output takes no more; ``status`` is 0 where its reader has just closed the pipe, else 5.

    No Exception, so that what catches the errors of a scan lets it pass.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Output:
    """Standard output, in chunks."""

    def __init__(self, lines: bool) -> None:
        stream = sys.stdout
        if stream is None:  # closed by the caller; file number 1 may be anything by now
            _say("pcap-scan: standard output is closed; nothing was written")
            raise _Unwritten(UNWRITTEN)
        self._raw = getattr(stream, "buffer", None)
        self._stream = stream
        self._encoding = "utf-8" if "utf" in (stream.encoding or "ascii").lower() else "ascii"
        self.is_unicode = self._encoding == "utf-8"
        self._is_terminal = stream.isatty()
        self._chunk = 0 if lines or self._is_terminal else CHUNK
        self._waiting: list[str] = []
        self._size = self._written = 0

    def write(self, text: str) -> None:
        self._waiting.append(text)
        self._size += len(text)
        if self._size >= self._chunk:
            self.flush()

    def flush(self) -> None:
        text, self._waiting, self._size = "".join(self._waiting), [], 0
        try:
            self._put(text)
        except BrokenPipeError:
            self._give_up()
            raise _Unwritten(OK) from None
        except (OSError, ValueError) as error:  # ValueError: closed file
            reason = getattr(error, "strerror", None) or str(error)
            _say(f"pcap-scan: standard output: {reason.lower()} after {self._written} bytes; the rest is lost")
            self._give_up()
            raise _Unwritten(UNWRITTEN) from None

    def _put(self, text: str) -> None:
        if self._raw is None:  # a stream of text only, as a caller of main may set
            self._stream.write(text)
            self._stream.flush()
            return
        data = memoryview(text.encode(self._encoding, "backslashreplace"))
        while data:  # unbuffered (python -u), a write may be short
            size = self._raw.write(data)
            if not size:
                raise BlockingIOError(11, "the other end takes no more for now")
            data = data[size:]
            self._written += size
        self._raw.flush()

    def width(self) -> int:
        columns = os.environ.get("COLUMNS", "")
        if columns.isascii() and columns.isdigit() and 0 < len(columns) < 6 and int(columns):
            return int(columns)
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def colour(self) -> bool:
        return self._is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def _give_up(self) -> None:
        """Point file number 1 elsewhere, so that Python's own flush at exit does not complain again."""
        try:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, self._stream.fileno())
            os.close(sink)
        except (OSError, ValueError):
            pass


def _say(text: str) -> None:
    """A line on standard error; where that is closed there is nobody to tell."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _debug() -> None:
    if os.environ.get("TAMPERSCOPE_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def _version() -> str:
    import tamperscope

    return str(getattr(tamperscope, "__version__", "unknown"))


if __name__ == "__main__":
    sys.exit(main())
