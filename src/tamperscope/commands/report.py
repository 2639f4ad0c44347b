"""``--report``: what the page needs while captures are scanned, and the files that it goes to."""

from __future__ import annotations

import os

from tamperscope.commands.evidence import is_same
from tamperscope.console import debug, file, say
from tamperscope.errors import CaptureError, UsageError
from tamperscope.report.examples import Examples
from tamperscope.report.lines import count
from tamperscope.report.manifest import File, data_files, hashed, manifest
from tamperscope.report.zone import Zone
from tamperscope.spool import Spool, is_read_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tamperscope.answer import Answer
    from tamperscope.model import Finding, Notice, Summary


class ReportFile:
    """
    One page for all captures of a command, and its manifest beside it.

    Both appear under their names only when both are whole.  ``failed``: they could not be written, which has been said.
    Raises UsageError: no such zone, or the page is one of the captures.
    """

    def __init__(
        self, path: str, captures: Sequence[str], tables: Sequence[str], zone: str | None, options: dict[str, Any]
    ) -> None:
        if path == "-":
            raise UsageError("--report: standard output (-) has the findings; give a file")
        for one in captures:
            if is_same(path, one) and not os.path.isdir(one):
                raise UsageError(f"--report: {file(path)} is the capture itself")
        try:
            self._zone = Zone(zone or "UTC")
        except ValueError as error:
            raise UsageError(f"--tz: {error}") from None
        self.failed = False
        self._path = path
        self._tables = tables
        self._options = options
        self._inputs: list[File] = []
        self._notices: list[Notice] = []
        self._examples = Examples()
        self._spool: Spool | None = None
        if not os.path.isdir(os.path.dirname(path) or "."):  # to be said before a long scan
            self._fail(FileNotFoundError(2, "there is no such folder"))

    def source(self, path: str) -> str | Spool:
        """What to scan in place of a path: what comes from a pipe is kept, as it is read twice.  Raises OSError."""
        if self.failed or not is_read_once(path):
            return path
        self._spool = Spool(path)
        return self._spool

    def note(self, finding: Finding) -> None:
        self._examples.note(finding)

    def capture(
        self, source: str | Spool, path: str, summary: Summary, notices: Sequence[Notice], max_flows: int
    ) -> None:
        """A capture was scanned: hash it, and read the flows that are shown."""
        self._notices += notices
        if self.failed:
            return
        try:
            if isinstance(source, str):
                self._inputs.append(hashed(source))
                self._examples.read(source, limit=summary.frames or None, max_flows=max_flows)
            else:
                self._inputs.append(File(path, path, None, None))
                self._examples.read(source.again(), limit=summary.frames or None, max_flows=max_flows)
        except (OSError, CaptureError) as error:  # the page can be written without these
            reason = getattr(error, "strerror", None) or str(error)
            say(f"pcap-scan: {file(path)}: cannot be read again for the report: {reason.lower()}")
        finally:
            self._end_spool()

    def refused(self, notice: Notice) -> None:
        """An input that gives nothing."""
        self._notices.append(notice)

    def finish(self, answer: Answer | None, quiet: bool) -> None:
        """All captures are done."""
        self._end_spool()
        if self.failed:
            return
        if answer is None:
            self._fail(OSError(0, "there is no answer to report"))
            return
        try:
            from tamperscope.report.html import base, page

            data = [*data_files(), *(hashed(path) for path in self._tables)]
            text = page(
                answer, self._examples.all, self._inputs, [_plain(one) for one in data], self._notices, self._options,
                self._zone,
            )  # fmt: skip
            self._write(text.encode("utf-8", "replace"), answer, data, base(self._path))
        except OSError as error:
            self._fail(error)
        except (MemoryError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            debug()
            self._fail(OSError(0, f"error in the program itself, please report it: {type(error).__name__}"))
        else:
            if not quiet:
                captures = count(len(answer.summaries), "capture")
                say(f"pcap-scan: {file(self._path)}: report of {captures}, with a manifest beside it")

    def _write(self, page: bytes, answer: Answer, data: Sequence[File], name: str) -> None:
        from hashlib import sha256

        if os.path.exists(self._path) and not os.path.isfile(self._path):  # a pipe or a device: no name to give later
            with open(self._path, "wb") as out:
                out.write(page)
            return
        output = File(name, name, len(page), sha256(page).hexdigest())
        beside = manifest(answer, self._inputs, data, [output], self._options).encode("ascii")
        parts = [(f"{self._path}.part", self._path, page)]
        parts.append((f"{self._path}.manifest.json.part", f"{self._path}.manifest.json", beside))
        try:
            for part, _, content in parts:
                with open(part, "wb") as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
            for part, final, _ in parts:
                os.replace(part, final)
        finally:
            for part, _, _ in parts:
                try:  # noqa: SIM105 - nothing is there when all went well
                    os.unlink(part)
                except OSError:
                    pass

    def _fail(self, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        say(f"pcap-scan: {file(self._path)}: cannot be written: {reason}; nothing new stands under that name")
        self.failed = True

    def _end_spool(self) -> None:
        if self._spool:
            self._spool.close()
            self._spool = None


def _plain(one: File) -> File:
    return File(one.path, one.name.rpartition("/")[2] if os.path.isabs(one.name) else one.name, one.size, one.sha256)
