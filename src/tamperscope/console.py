"""
The process around a command: standard output and error, signals, exit statuses.

Results go to standard output, everything else to standard error, one line a problem, and no traceback is shown unless
TAMPERSCOPE_DEBUG=1.
"""

from __future__ import annotations

import os
import sys

from tamperscope.errors import CaptureError
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
    from typing import Any, TypeVar

    T = TypeVar("T")

CHUNK = 1 << 16

OK, FOUND, USAGE, UNREADABLE, PARTIAL, UNWRITTEN = range(6)


class Interrupted(BaseException):
    """An interrupt while a scan runs; no Exception, so that nothing on the way takes it for an error."""


class Signals:
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
        except Interrupted:
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
            raise Interrupted


class Unwritten(BaseException):
    """
    Standard output takes no more; ``status`` is 0 where its reader has just closed the pipe, else 5.

    No Exception, so that what catches the errors of a scan lets it pass.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Output:
    """
    Standard output, in chunks.

    lines: write each at once; go_on: where the reader of a pipe has seen enough, the rest is dropped without a word,
    since there is other work to finish.
    """

    def __init__(self, lines: bool, go_on: bool = False) -> None:
        stream = sys.stdout
        if stream is None:  # closed by the caller; file number 1 may be anything by now
            say("pcap-scan: standard output is closed; nothing was written")
            raise Unwritten(UNWRITTEN)
        self._raw = getattr(stream, "buffer", None)
        self._stream = stream
        self._encoding = "utf-8" if "utf" in (stream.encoding or "ascii").lower() else "ascii"
        self.is_unicode = self._encoding == "utf-8"
        self._is_terminal = stream.isatty()
        self._chunk = 0 if lines or self._is_terminal else CHUNK
        self._go_on = go_on
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
            self._give_up()  # what is written later goes nowhere
            if not self._go_on:
                raise Unwritten(OK) from None
        except (OSError, ValueError) as error:  # ValueError: closed file
            reason = getattr(error, "strerror", None) or str(error)
            say(f"pcap-scan: standard output: {reason.lower()} after {self._written} bytes; the rest is lost")
            self._give_up()
            raise Unwritten(UNWRITTEN) from None

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


def say(text: str) -> None:
    """A line on standard error; where that is closed there is nobody to tell."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def debug() -> None:
    if os.environ.get("TAMPERSCOPE_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def file(path: str) -> str:
    return "standard input" if path == "-" else quoted(path)


def os_error(path: str, error: OSError) -> CaptureError:
    """A stable word and a sentence; never the number alone."""
    if isinstance(error, FileNotFoundError):
        return CaptureError("no such file", code="not_found", path=path)
    if isinstance(error, PermissionError):
        return CaptureError("permission to read it is missing", code="permission", path=path)
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return CaptureError(f"cannot be read: {reason}", code="os_error", path=path)


def internal(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory (--max-flows lowers the need)"
    text = visible(str(error), limit=400)
    return f"error in the program itself, please report it: {type(error).__name__}: {text}"


def shown(text: str) -> str:
    return f"'{visible(text)}'"
